"""Exact ranks, checked against a float64 matrix and plain loops."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rank_oracle import assert_hits, assert_ranks, cosines, oracle, world

import mmret_lib.metrics.ranks
from mmret_lib.metrics import evaluate
from mmret_lib.metrics.chance import chance

KS = (1, 2, 3, 5, 10, 100)
fast = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def tied_worlds(draw):
    """Rows from a few small whole-number vectors: duplicates, exact ties and zero vectors abound,
    and cosines that differ at all differ by far more than rounding."""
    images = draw(st.integers(1, 12))
    dim = draw(st.integers(1, 5))
    extra = draw(st.lists(st.integers(0, images - 1), max_size=20))
    owner = draw(st.permutations([*range(images), *extra]))
    row = st.lists(st.integers(-1, 1), min_size=dim, max_size=dim)
    rows = [draw(st.lists(row, min_size=n, max_size=n)) for n in (images, len(owner))]
    return *(np.array(r, dtype=np.float32) for r in rows), np.array(owner)


@pytest.mark.slow
@fast
@given(tied_worlds(), st.integers(1, 40))
def test_ties_duplicates_and_uneven_captions(device, case, tile):
    image_emb, text_emb, owner = case
    report = evaluate(
        torch.tensor(image_emb, device=device), torch.tensor(text_emb), owner, ks=KS, tile=tile
    )
    scores = cosines(image_emb, text_emb)
    assert_ranks(report, oracle(scores, owner, 1e-9))
    assert_hits(report, scores, owner, 1e-9)


@pytest.mark.parametrize("dim", [1, 7, 128, 300])
def test_random_embeddings(device, dim):
    image_emb, text_emb, owner = world(60, dim, seed=dim, noise=2.0)
    report = evaluate(torch.tensor(image_emb, device=device), text_emb, owner, tile=33)
    assert_ranks(report, oracle(cosines(image_emb, text_emb), owner))


def test_agrees_with_exact_order_wherever_scores_differ_by_1e_6(device):
    image_emb, text_emb, owner = world(150, 128, noise=3.0)
    scores = cosines(image_emb, text_emb)
    report = evaluate(torch.tensor(image_emb, device=device), text_emb, owner)
    loose, strict = oracle(scores, owner, 1e-6), oracle(scores, owner, -1e-6)
    for ranks, one, other in zip((report.i2t.ranks, report.t2i.ranks), loose, strict, strict=True):
        clear = one == other  # no other score within 1e-6 of the right one
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(ranks[clear], one[clear])


def test_what_counts_as_a_tie(device):
    """Image 0's own caption scores 0.5; the others, all of image 1, as much more or less."""
    apart = np.array([0, 2e-6, 1e-7, -1e-7, -1e-7, -2e-6])
    height = 0.5 + apart
    text_emb = np.stack([height, -np.sqrt(1 - height**2)], 1)
    image_emb = torch.eye(2, dtype=torch.float64, device=device)
    report = evaluate(image_emb, text_emb, [0, 1, 1, 1, 1, 1])
    assert report.i2t.ranks[0] == 1 + 3 / 2


@pytest.mark.parametrize("spread", [3e-2, 3e-3, 1e-3])
def test_a_nearly_collapsed_model_is_ranked_by_its_hairs(device, spread):
    """Here float32 products are as coarse as the differences: the close calls decide."""
    image_emb, text_emb, owner = world(50, 100, noise=1.0)
    image_emb, text_emb = 1 + spread * image_emb, 1 + spread * text_emb
    report = evaluate(torch.tensor(image_emb, device=device), text_emb, owner, tile=37)
    assert_ranks(report, oracle(cosines(image_emb, text_emb), owner))
    assert_hits(report, cosines(image_emb, text_emb), owner)


def test_tiles_do_not_show(device):
    image_emb, text_emb, owner = world(30, 48, noise=2.0)
    image_emb[20:] = image_emb[:10]  # twins, so that ties lie in different tiles
    text_emb[40:] = text_emb[: len(text_emb) - 40]
    image_emb = torch.tensor(image_emb, device=device)
    expected = evaluate(image_emb, text_emb, owner)
    for tile in (2, 7, 8, 20, 64, 10_000):
        report = evaluate(image_emb, text_emb, owner, tile=tile)
        assert report == expected
        assert_ranks(report, (expected.i2t.ranks, expected.t2i.ranks))


@pytest.mark.parametrize("images", [300, 2100])
def test_counts_beyond_what_a_byte_holds(images):
    """All others lie above every positive, in tiles of over 255 rows and over 255 x 8 columns."""
    image_emb = np.random.default_rng(0).normal(size=(images, 8))
    report = evaluate(image_emb, -image_emb, range(images), tile=4096)
    assert (report.i2t.ranks == images - 1).all()
    assert (report.t2i.ranks == images - 1).all()


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_threads_do_not_show_and_leave_no_trace(three_threads, spread):
    image_emb, text_emb, owner = world(120, 64, noise=2.0)
    image_emb, text_emb = 1 + spread * image_emb, 1 + spread * text_emb
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        report = evaluate(image_emb, text_emb, owner, tile=16)
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"
    assert_ranks(report, oracle(cosines(image_emb, text_emb), owner))
    assert torch.get_num_threads() == 3
    counted = []
    asking = threading.Thread(target=lambda: counted.append(torch.get_num_threads()))
    asking.start()
    asking.join()
    assert counted == [3]
    assert torch.is_grad_enabled()


def test_an_error_in_one_thread_ends_the_others(three_threads, monkeypatch):
    calls = []

    def fails(self, columns):
        calls.append(columns)
        raise RuntimeError("no memory")

    monkeypatch.setattr(mmret_lib.metrics.ranks._Counter, "count", fails)
    rows = torch.ones(4000, 2)
    with pytest.raises(RuntimeError, match="no memory"):
        evaluate(rows, rows, range(4000), tile=1)
    assert len(calls) < 4000
    assert torch.get_num_threads() == 3


def test_what_is_given_is_not_written_to(device):
    image_emb, text_emb, owner = world(noise=2.0)
    given = [torch.tensor(emb, dtype=torch.float64, device=device) for emb in (image_emb, text_emb)]
    kept = [emb.clone() for emb in given]
    evaluate(*given, owner)
    assert torch.equal(given[0], kept[0]) and torch.equal(given[1], kept[1])


def test_a_long_count_shows_its_progress(monkeypatch, capsys):
    image_emb, text_emb, owner = world()
    evaluate(image_emb, text_emb, owner)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(mmret_lib.metrics.ranks, "LONG", 1)
    evaluate(image_emb, text_emb, owner)
    assert "ranking" in capsys.readouterr().err


@pytest.mark.parametrize("tile", [1, 3, 64, 704])
@pytest.mark.parametrize("dim", [3, 100, 128, 384, 768])
def test_a_constant_model_is_at_chance(device, dim, tile):
    """At 100 or 768 dimensions even the float32 product of equal rows varies with its shape."""
    images = 5 * tile if tile < 64 else 100
    owner = np.arange(3 * images) % images
    row = torch.ones(dim, device=device)
    report = evaluate(row.repeat(images, 1), row.repeat(3 * images, 1), owner, tile=tile)
    assert (report.i2t.ranks == (3 * images - 3) / 2).all()
    assert (report.t2i.ranks == (images - 1) / 2).all()
    random = chance(owner)
    assert {name: report.as_dict()[name] for name in random} == pytest.approx(random)


def test_the_same_direction_at_any_length_ties(device):
    rng = np.random.default_rng(1)
    lengths = [10.0 ** rng.uniform(-3, 3, (n, 1)) for n in (20, 60)]
    rows = [torch.tensor(rng.normal(size=(1, 96)) * length).float() for length in lengths]
    report = evaluate(rows[0].to(device), rows[1], np.arange(60) % 20, tile=9)
    assert (report.i2t.ranks == 57 / 2).all()
    assert (report.t2i.ranks == 19 / 2).all()


def test_a_positive_is_not_compared_with_itself():
    """The trap: the positive's score computed by itself, then looked for in the matrix."""
    image_emb, text_emb, owner = world(100, 128, noise=0.1)
    image_unit, text_unit = (F.normalize(torch.tensor(emb)) for emb in (image_emb, text_emb))
    alone = torch.stack([image_unit[i].dot(text) for i, text in zip(owner, text_unit, strict=True)])
    naive = (image_unit @ text_unit.T > alone).sum(0)
    assert (naive > 0).any(), "this pool no longer shows the trap: choose another"

    report = evaluate(image_emb, text_emb, owner)
    assert report.t2i.recall[1] == report.i2t.recall[1] == 100
    assert report.t2i.mean_rank == 1


def test_classic_argsort_evaluation_agrees_without_ties():
    """The usual way for five captions per image: sort everything, look where the right one is."""
    rng = np.random.default_rng(4)
    image_emb = rng.normal(size=(60, 32))
    owner = np.repeat(np.arange(60), 5)
    text_emb = image_emb[owner] + 2 * rng.normal(size=(300, 32))
    scores = cosines(image_emb, text_emb)
    assert len(np.unique(scores)) == scores.size

    captions_in_order = np.argsort(-scores, axis=1)
    first_own = [
        min(list(order).index(j) for j in range(5 * i, 5 * i + 5))
        for i, order in enumerate(captions_in_order)
    ]
    images_in_order = np.argsort(-scores, axis=0)
    found = [list(order).index(j // 5) for j, order in enumerate(images_in_order.T)]

    report = evaluate(image_emb, text_emb, owner)
    for direction, ranks in ((report.i2t, np.array(first_own)), (report.t2i, np.array(found))):
        for k in (1, 5, 10):
            recall = 100 * len(np.where(ranks < k)[0]) / len(ranks)
            assert direction.recall[k] == pytest.approx(recall)
        assert direction.median_rank == np.floor(np.median(ranks)) + 1
        assert direction.mean_rank == pytest.approx(ranks.mean() + 1)
        assert 5 < direction.recall[1] < 95  # neither trivial


def test_torchmetrics_hit_rate_agrees():
    """A hit within K is the same thing as a best rank below K."""
    retrieval = pytest.importorskip("torchmetrics.retrieval")
    image_emb, text_emb, owner = world(40, 16, noise=2.5)
    scores = torch.tensor(cosines(image_emb, text_emb)).float()
    right = torch.arange(40)[:, None] == torch.tensor(owner)  # (N, M)
    image_of, caption_of = (index.flatten() for index in np.indices(scores.shape))
    report = evaluate(image_emb, text_emb, owner)
    for k in (1, 5, 10):
        hits = retrieval.RetrievalHitRate(top_k=k)
        for query, direction in ((image_of, report.i2t), (caption_of, report.t2i)):
            theirs = hits(scores.flatten(), right.flatten(), indexes=torch.tensor(query))
            assert direction.recall[k] == pytest.approx(100 * float(theirs), abs=1e-3)
