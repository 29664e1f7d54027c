"""What an index finds, and what is done where it does not; equal rows have equal ids."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from indexes import MILVUS, mixture

from mmret_lib.search.faiss_index import FAISS_KINDS
from mmret_lib.search.milvus_index import MilvusIndex
from mmret_lib.search.vectors import TARGET_RECALL, Vectors, row_ids

pytest.importorskip("faiss")
pytest.importorskip("pymilvus")


ALL = (*FAISS_KINDS, MILVUS)


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


@pytest.mark.parametrize("backend", ALL)
def test_few_vectors_are_enough(index_over, backend):
    vectors = index_over(mixture(2, 0), backend)
    answers = vectors.search(torch.from_numpy(mixture(2, 0)), 5)
    assert [rows for _, rows in answers] == [[0, 1], [1, 0]]


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
