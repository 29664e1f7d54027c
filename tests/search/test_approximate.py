"""FAISS and Milvus as indexes over vectors: what they find, and what is done where they do not."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmret_lib.files.errors import DataError
from mmret_lib.search.embed import MAX_REMEMBERED, Queries
from mmret_lib.search.faiss_index import FAISS_KINDS, FaissIndex
from mmret_lib.search.milvus_index import MilvusIndex, check_uri
from mmret_lib.search.vectors import TARGET_RECALL, Vectors, row_ids

pytest.importorskip("faiss")
pytest.importorskip("pymilvus")

ALL = (*FAISS_KINDS, "milvus")


def unit(emb: np.ndarray) -> np.ndarray:
    return (emb / np.linalg.norm(emb, axis=1, keepdims=True)).astype(np.float32)


def mixture(count: int, seed: int, dim: int = 32) -> np.ndarray:
    """Unit vectors around 50 centres, as captions and pictures lie around what they show."""
    centres = np.random.default_rng(99).normal(size=(50, dim))
    rng = np.random.default_rng(seed)
    return unit(centres[rng.integers(0, 50, count)] + 0.5 * rng.normal(size=(count, dim)))


def oracle(emb: np.ndarray, query: np.ndarray) -> np.ndarray:
    return emb.astype(np.float64) @ query.astype(np.float64)


@pytest.fixture
def index_over(tmp_path):
    """Vectors with an index over them; databases are closed in the end."""
    made: list[Vectors] = []

    def make(emb: np.ndarray, backend: str) -> Vectors:
        where = str(tmp_path / f"vectors{len(made)}.db")
        database = MilvusIndex(where, None, "image") if backend == "milvus" else None
        made.append(Vectors.build(torch.from_numpy(emb), backend, database))
        return made[-1]

    yield make
    for vectors in made:
        assert vectors.index is not None
        vectors.index.close()


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("backend", ALL)
def test_an_index_finds_what_the_exact_search_finds(index_over, backend):
    emb, queries = mixture(3000, 0), mixture(100, 1)
    vectors = index_over(emb, backend)
    shares = vectors.raise_effort({"queries": torch.from_numpy(queries)})
    assert shares["queries"] >= 0.95
    found = vectors.search(torch.from_numpy(queries), 10)
    shared = []
    for query, (scores, rows) in zip(queries, found, strict=True):
        true = oracle(emb, query)
        np.testing.assert_allclose(scores, true[rows], atol=1e-6)
        assert (np.diff(scores) <= 0).all() and len(set(rows)) == 10
        shared.append(len(set(rows) & set(np.argsort(-true)[:10])) / 10)
    assert np.mean(shared) == pytest.approx(shares["queries"], abs=1e-3)
    if backend == "flat":
        assert np.mean(shared) == 1


@pytest.mark.parametrize("backend", ALL)
def test_copies_are_found_with_all_the_others(index_over, backend):
    # Half of all captions are "A bear.": a graph that held each copy would link them to each other.
    emb = mixture(2000, 0)
    emb[::2] = emb[np.arange(0, 2000, 2) % 10]
    vectors = index_over(emb, backend)
    assert vectors.next_id == len(np.unique(emb, axis=0)) == 1005
    queries = torch.from_numpy(emb[[0, 1, 3, 5, 998, 999]])
    assert vectors.recall(queries, 300) >= 0.95
    for place, (scores, rows) in enumerate(vectors.search(queries, 300)):
        assert len(set(rows)) == 300
        copies = 200 if place in (0, 4) else 1
        assert np.allclose(scores[:copies], 1) and not np.allclose(scores[copies], 1)


@pytest.mark.parametrize("backend", ALL)
def test_what_is_removed_is_never_found_again(index_over, backend):
    emb = mixture(500, 0)
    vectors = index_over(emb, backend)
    assert vectors.index is not None and vectors.ids is not None
    gone = np.arange(0, 500, 3)
    vectors.index.remove(vectors.ids[gone])
    left = np.setdiff1d(np.arange(500), gone)
    fewer = Vectors(torch.from_numpy(emb[left]), vectors.ids[left], vectors.index, 500)
    queries = torch.from_numpy(emb[gone[:50]])
    ids = vectors.index.search(queries.numpy(), 20)
    assert not np.isin(ids, vectors.ids[gone]).any()
    assert fewer.recall(queries) >= 0.95
    # And it can take in more after that.
    more = mixture(100, 7)
    vectors.index.add(np.arange(500, 600), more, np.arange(100))
    assert (vectors.index.search(more, 1)[:, 0] == np.arange(500, 600)).mean() > 0.9


class Forgetful:
    """An index that finds every `step`-th vector only, and some that are none."""

    most_effort = 64

    def __init__(self, count: int, step: int) -> None:
        self.count, self.effort, self.asked = count, step, 0

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        self.asked += len(queries)
        found = np.full((len(queries), k), -1)
        ids = np.r_[np.arange(0, self.count, max(1, 64 // self.effort)), [self.count + 5, 10**12]]
        found[:, : min(k, len(ids))] = ids[:k]
        return found


def test_where_an_index_finds_too_little_the_exact_search_answers():
    emb, queries = mixture(300, 0), torch.from_numpy(mixture(5, 1))
    index = Forgetful(300, 8)  # 38 of the 300
    vectors = Vectors(torch.from_numpy(emb), np.arange(300), index, 300)  # type: ignore[arg-type]
    exact = Vectors(torch.from_numpy(emb))
    assert vectors.search(queries, 300) == exact.search(queries, 300)
    assert vectors.search(queries, 40) == exact.search(queries, 40)
    assert vectors.search(queries, 10) != exact.search(queries, 10)
    assert all(len(rows) == 10 for _, rows in vectors.search(queries, 10))


def test_effort_is_raised_until_enough_is_found_and_no_further():
    emb = mixture(300, 0)
    index = Forgetful(300, 16)
    vectors = Vectors(torch.from_numpy(emb), np.arange(300), index, 300)  # type: ignore[arg-type]
    # It proposes the first k that it knows, which are never the best.
    shares = vectors.raise_effort({"own": torch.from_numpy(emb[:20])})
    assert index.effort == index.most_effort and shares["own"] < TARGET_RECALL
    cells = Vectors.build(torch.from_numpy(mixture(3000, 0)), "ivf")
    assert cells.index is not None
    cells.index.effort = 1
    queries = torch.from_numpy(mixture(200, 1))
    before = cells.recall(queries)
    after = cells.raise_effort({"queries": queries})["queries"]
    assert before < TARGET_RECALL <= after and 1 < cells.index.effort < cells.index.most_effort


def test_recall_is_that_of_plain_sets_and_any_of_equal_rows_will_do():
    emb, queries = mixture(200, 0), mixture(30, 1)
    index = Forgetful(200, 32)  # every second one
    vectors = Vectors(torch.from_numpy(emb), np.arange(200), index, 200)  # type: ignore[arg-type]
    index.search = (
        lambda asked, k: np.stack(  # type: ignore[method-assign]
            [np.array([i for i in np.argsort(-emb @ one) if i % 2 == 0])[:k] for one in asked]
        )
    )
    shares = [np.mean(np.argsort(-oracle(emb, one))[:10] % 2 == 0) for one in queries]
    assert vectors.recall(torch.from_numpy(queries)) == pytest.approx(np.mean(shares))
    same = np.repeat(emb[:1], 200, axis=0)
    assert Vectors(torch.from_numpy(same), None, None).recall(torch.from_numpy(queries)) == 1


def test_few_vectors_are_enough(index_over):
    for backend in ALL:
        vectors = index_over(mixture(2, 0), backend)
        assert [rows for _, rows in vectors.search(torch.from_numpy(mixture(2, 0)), 5)] == [
            [0, 1],
            [1, 0],
        ]


# ---------------------------------------------------------------- equal vectors, one number


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(0, 30))
def test_equal_rows_have_equal_numbers(which, cut):
    emb = mixture(7, 3, dim=8)[which]
    cut = min(cut, len(which) - 1)
    ids = row_ids(emb)
    seen: dict[int, int] = {}
    assert ids.tolist() == [seen.setdefault(one, len(seen)) for one in which]
    if cut:
        # In two goes, and the first with an older number that nothing has any more.
        first = row_ids(emb[:cut]) + 1
        before = Vectors(torch.from_numpy(emb[:cut]), first, None, int(first.max()) + 1)
        both = np.concatenate([first, row_ids(emb[cut:], before)])
        assert both.tolist() == (ids + 1).tolist()


# ---------------------------------------------------------------- queries


class Model:
    """Counts what it embeds."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        self.batches.append(list(texts))
        return torch.tensor([[len(text), 1.0] for text in texts])


def test_a_text_is_embedded_once_and_a_batch_together():
    model = Model()
    queries = Queries(model)  # type: ignore[arg-type]
    first = queries.texts(["a", "bb", "a"])
    torch.testing.assert_close(first[0], torch.tensor([1.0, 1.0]) / 2**0.5)
    assert torch.equal(first[0], first[2])
    assert torch.equal(queries.texts(["bb", "ccc"])[0], first[1])
    assert model.batches == [["a", "bb"], ["ccc"]]


def test_what_is_remembered_is_bounded_and_the_last_used_stays():
    model = Model()
    queries = Queries(model)  # type: ignore[arg-type]
    queries.texts(["first"])
    for start in range(0, 2 * MAX_REMEMBERED, 100):
        queries.texts([f"text {number}" for number in range(start, start + 100)])
        queries.texts(["first"])
    queries.texts(["x" * 100_000])
    assert len(queries.remembered) == MAX_REMEMBERED and max(map(len, queries.remembered)) < 100
    assert sum("first" in batch for batch in model.batches) == 1
    assert len(queries.texts([f"new {n}" for n in range(2 * MAX_REMEMBERED)])) == 2 * MAX_REMEMBERED


def test_queries_of_several_threads_do_not_mix():
    queries = Queries(Model())  # type: ignore[arg-type]
    wrong = []

    def ask(start: int) -> None:
        for length in range(start, start + 200):
            emb = queries.texts(["x" * length, "y" * (length + 1)])
            if not torch.allclose(emb[:, 0] / emb[:, 1], torch.tensor([length, length + 1.0])):
                wrong.append(length)

    threads = [threading.Thread(target=ask, args=(start,)) for start in (1, 50, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---------------------------------------------------------------- what is missing or wrong


@pytest.mark.parametrize("kind", FAISS_KINDS)
def test_without_faiss_it_says_what_to_install(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(DataError, match=r'FAISS, which is not .* pip install "mmret\[search\]"'):
        Vectors.build(torch.from_numpy(mixture(50, 0)), kind)


@pytest.mark.parametrize("uri", ["vectors.db", "http://127.0.0.1:19530"])
def test_without_pymilvus_it_says_what_to_install(monkeypatch, tmp_path, uri):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(DataError, match=r'needs pymilvus, .* pip install "mmret\[search\]"'):
        MilvusIndex(uri, None, "name")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("vectors", "ends in"),
        ("localhost:19530", "ends in"),
        ("ftp://host:1", "no address"),
        ("http://", "no address"),
        ("http://[::1", "no address"),
        ("https://user:secret@host:19530", "token"),
        ("https://user@host:19530", "token"),
        ("\x1b[31mred", "␛"),
    ],
)
def test_an_address_that_is_none_is_refused(uri, said):
    with pytest.raises(DataError, match=said) as caught:
        check_uri(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:19530", "https://host", "folder/vectors.db"])
def test_an_address_is_taken_as_it_is(uri):
    check_uri(uri)


def test_a_database_that_does_not_answer_is_named():
    with pytest.raises(DataError, match=r"Milvus at http://127.0.0.1:9 failed while connecting"):
        MilvusIndex("http://127.0.0.1:9", None, "name")


@pytest.mark.parametrize("content", [b"", b"no database", b"\0" * 4096])
def test_a_file_that_is_no_database_is_named(tmp_path, content):
    (tmp_path / "vectors.db").write_bytes(content)
    with pytest.raises(DataError, match=r"vectors\.db failed while connecting"):
        MilvusIndex(str(tmp_path / "vectors.db"), None, "name")


@pytest.mark.parametrize("content", [b"", b"IxHNnonsense", b"\xff" * 1000])
def test_a_file_that_faiss_cannot_read_is_named(tmp_path, content):
    (tmp_path / "index.faiss").write_bytes(content)
    with pytest.raises(DataError, match=r"index\.faiss is no index that FAISS can read"):
        FaissIndex.read(tmp_path / "index.faiss", "hnsw", 64)


def test_an_index_of_another_kind_is_refused(tmp_path):
    index = Vectors.build(torch.from_numpy(mixture(50, 0)), "flat").index
    assert isinstance(index, FaissIndex)
    index.write(tmp_path / "index.faiss")
    assert len(FaissIndex.read(tmp_path / "index.faiss", "flat", 1)) == 50
    with pytest.raises(DataError, match="holds a IndexFlatIP, not a IndexHNSWFlat"):
        FaissIndex.read(tmp_path / "index.faiss", "hnsw", 64)


# ---------------------------------------------------------------- Milvus


def test_the_database_is_made_to_hold_what_it_should(tmp_path):
    emb, ids = mixture(300, 0), np.arange(300)
    index = MilvusIndex(str(tmp_path / "vectors.db"), None, "mmret_a_b_image")
    try:
        index.create(emb, ids, ids)
        index.remove(ids[:50])
        index.add(np.arange(1000, 1007), emb, np.arange(7))  # of a growth that was killed
        assert index.count() == 257
        right = ids[20:]
        index.reconcile(right, emb[20:], np.arange(280))
        assert index.count() == 280
        found = index.search(emb, 1)[:, 0]
        assert (found[20:] == right).mean() > 0.95 and (found[:20] >= 20).all()
        for name in ("mmret_a_old_image", "mmret_other_b_image", "somebodys"):
            index.client.create_collection(name, dimension=4)
        index.drop_others({"mmret_a_b_image"})
        assert sorted(index.client.list_collections()) == [
            "mmret_a_b_image",
            "mmret_other_b_image",
            "somebodys",
        ]
    finally:
        index.close()


OPEN = """
import sys
from mmret_lib.files.errors import DataError
from mmret_lib.search.milvus_index import MilvusIndex
try:
    index = MilvusIndex(sys.argv[1], None, "things")
    index.load()
    print(index.count())
    index.close()
except DataError as error:
    print(error)
"""


def test_a_file_belongs_to_one_process_until_it_is_closed(tmp_path):
    def elsewhere() -> str:
        command = [sys.executable, "-c", OPEN, str(tmp_path / "vectors.db")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr
        return done.stdout

    emb = mixture(20, 0)
    first = MilvusIndex(str(tmp_path / "vectors.db"), None, "things")
    first.create(emb, np.arange(20), np.arange(20))
    second = MilvusIndex(str(tmp_path / "vectors.db"), None, "things")
    first.close()
    first.close()
    assert second.count() == 20
    assert "another process may have the file open" in elsewhere()
    second.close()
    assert elsewhere() == "20\n"


# ---------------------------------------------------------------- FAISS beside torch

TOGETHER = """
import sys
for name in sys.argv[1:]:
    __import__(name)
import faiss, numpy as np
torch = sys.modules.get("torch")
faiss.omp_set_num_threads(2)
emb = np.random.default_rng(0).normal(size=(5000, 64)).astype(np.float32)
exact, graph = faiss.IndexFlatL2(64), faiss.IndexHNSWFlat(64, 16)
for number in range(3):
    if torch:
        torch.set_num_threads(2)
        weight = torch.zeros(64, 64, requires_grad=True)
        (torch.from_numpy(emb) @ weight @ torch.from_numpy(emb).T).square().mean().backward()
    for index in (exact, graph):
        index.add(emb + 10 * number)
        found = index.search(emb, 1)[1][:, 0]
        print(int((found == np.arange(5000)).sum()))
"""


def test_faiss_and_torch_run_threads_in_one_process():
    def found(*order: str) -> list[int]:
        command = [sys.executable, "-c", TOGETHER, *order]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return [int(line) for line in done.stdout.split()]

    alone = found("faiss")
    assert alone[::2] == [5000] * 3 and min(alone) > 4000
    for order in (("torch", "faiss"), ("faiss", "torch")):
        # Threads add to the graph in an order of their own, so that it differs by a few.
        np.testing.assert_allclose(found(*order), alone, atol=25)
