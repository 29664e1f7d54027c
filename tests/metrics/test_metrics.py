"""Exact ranks, checked against a float64 matrix and plain loops."""

import json
import math
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mmret_lib.metrics.ranks
from mmret_lib.metrics import evaluate, report_from_scores
from mmret_lib.metrics.ranks import TIE_TOLERANCE

KEYS = {
    *(f"{way}_{name}" for way in ("i2t", "t2i") for name in ("r1", "r5", "r10")),
    *(f"{way}_{name}_rank" for way in ("i2t", "t2i") for name in ("mean", "median")),
    "images",
    "captions",
}
fast = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def cosines(image_emb, text_emb):
    """The full float64 matrix (N, M); a zero row scores 0."""
    sides = [np.asarray(torch.as_tensor(emb).double()) for emb in (image_emb, text_emb)]
    units = []
    for side in sides:
        length = np.linalg.norm(side, axis=1, keepdims=True)
        units.append(side / np.where(length > 0, length, 1))
    return units[0] @ units[1].T


def rank_of(target, others, tolerance):
    above = sum(1 for score in others - target if score > tolerance)
    tied = sum(1 for score in others - target if -tolerance <= score <= tolerance)
    return above + tied / 2


def oracle(scores, owner, tolerance=TIE_TOLERANCE):
    """0-based ranks of both directions, one query after the other."""
    owner = np.asarray(owner)
    with np.errstate(invalid="ignore"):  # -inf minus -inf, in tests that do not use it
        i2t = [
            rank_of(row[owner == i].max(), row[owner != i], tolerance)
            for i, row in enumerate(scores)
        ]
        t2i = [
            rank_of(column[owner[j]], np.delete(column, owner[j]), tolerance)
            for j, column in enumerate(scores.T)
        ]
    return np.array(i2t), np.array(t2i)


def assert_ranks(report, expected):
    np.testing.assert_array_equal(report.i2t.ranks, expected[0])
    np.testing.assert_array_equal(report.t2i.ranks, expected[1])


def world(images=40, dim=16, seed=0, noise=1.0, most=4):
    """Embeddings that half agree, 1 to `most` captions per image, owners unsorted."""
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.repeat(np.arange(images), rng.integers(1, most + 1, images)))
    image_emb = rng.normal(size=(images, dim)).astype(np.float32)
    text_emb = image_emb[owner] + noise * rng.normal(size=(len(owner), dim))
    return image_emb, text_emb.astype(np.float32), owner


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


# --- ranks against the oracle ---


@fast
@given(tied_worlds(), st.integers(1, 40))
def test_ties_duplicates_and_uneven_captions(device, case, tile):
    image_emb, text_emb, owner = case
    report = evaluate(
        torch.tensor(image_emb, device=device), torch.tensor(text_emb), owner, tile=tile
    )
    assert_ranks(report, oracle(cosines(image_emb, text_emb), owner, 1e-9))


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


# --- what naive evaluators get wrong ---


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
    assert report.i2t.recall[1] == report.t2i.recall[1] == 0


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


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("branch", ["image_emb", "text_emb"])
def test_one_bad_number_is_refused_by_row(device, branch, bad):
    image_emb, text_emb, owner = world()
    given = {"image_emb": image_emb, "text_emb": text_emb}
    given[branch][7, 3] = bad
    given = {name: torch.tensor(emb, device=device) for name, emb in given.items()}
    with pytest.raises(ValueError, match=rf"{branch} row 7 is not finite \(1 of"):
        evaluate(**given, owner=owner)


def test_a_length_beyond_float64_is_refused():
    image_emb, text_emb, owner = world()
    text_emb = text_emb.astype(np.float64)
    text_emb[2] = 1e200
    with pytest.raises(ValueError, match="text_emb row 2 is not finite"):
        evaluate(image_emb, text_emb, owner)


# --- what may be given ---


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types(device, dtype):
    image_emb, text_emb, owner = world(noise=2.0)
    image_emb, text_emb = (torch.tensor(emb).to(dtype) for emb in (image_emb, text_emb))
    report = evaluate(image_emb.to(device), text_emb.to(device), owner)
    assert_ranks(report, oracle(cosines(image_emb, text_emb), owner))


def test_zero_vectors_score_zero_with_everything(device):
    image_emb, text_emb, owner = world(noise=2.0)
    image_emb[3] = 0
    text_emb[owner == 5] = 0
    report = evaluate(torch.tensor(image_emb, device=device), text_emb, owner)
    assert_ranks(report, oracle(cosines(image_emb, text_emb), owner))
    assert report.i2t.ranks[3] == (len(owner) - (owner == 3).sum()) / 2


@pytest.mark.parametrize("scale", [1e-30, 1e-13, 1e30])
def test_length_does_not_matter(scale):
    image_emb, text_emb, owner = world(noise=2.0)
    report = evaluate(image_emb * np.float32(scale), text_emb * np.float32(scale), owner)
    assert_ranks(report, oracle(cosines(image_emb, text_emb), owner))


def test_any_container():
    image_emb, text_emb, owner = world(noise=2.0)
    expected = oracle(cosines(image_emb, text_emb), owner)
    frozen = text_emb.copy()
    frozen.flags.writeable = False
    weights = torch.tensor(image_emb, requires_grad=True)
    for image_given, text_given, owner_given in (
        (weights, frozen, owner.tolist()),
        (image_emb[::-1][::-1], text_emb.astype(">f4"), torch.tensor(owner, dtype=torch.int32)),
        (image_emb.tolist(), np.asfortranarray(text_emb), owner.astype(np.uint8)),
    ):
        assert_ranks(evaluate(image_given, text_given, owner_given), expected)


def test_one_image_is_first(device):
    report = evaluate(torch.ones(1, 4, device=device), torch.randn(3, 4), [0, 0, 0])
    assert_ranks(report, ([0.0], [0.0, 0.0, 0.0]))


@pytest.mark.parametrize("setting", ["autocast", "older", "newer"])
def test_training_precision_is_set_aside_and_put_back(device, setting):
    image_emb, text_emb, owner = world(60, 128, noise=2.0)
    expected = oracle(cosines(image_emb, text_emb), owner)
    image_emb, text_emb = torch.tensor(image_emb, device=device), torch.tensor(text_emb)
    matmul = torch.backends.cuda.matmul
    if setting == "autocast":
        with torch.autocast(device, dtype=torch.bfloat16):
            assert_ranks(evaluate(image_emb, text_emb, owner), expected)
        return
    try:
        if setting == "older":
            torch.set_float32_matmul_precision("medium")
        else:
            matmul.fp32_precision = "tf32"
        before = matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
        assert_ranks(evaluate(image_emb, text_emb, owner), expected)
        assert before == (matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision)
        with pytest.raises(ValueError, match="not finite"):
            evaluate(image_emb * math.nan, text_emb, owner)
        assert before == (matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision)
    finally:
        torch.set_float32_matmul_precision("highest")


# --- other evaluators ---


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


# --- finished scores ---


def test_a_worked_example():
    scores = np.array(
        [
            [0.9, 0.1, 0.8, 0.3],  # image 0 owns captions 0 and 1: best own 0.9, rank 0
            [0.7, 0.2, 0.6, 0.3],  # image 1 owns caption 2: 0.6 below 0.7, rank 1
            [0.5, 0.5, 0.5, 0.4],  # image 2 owns caption 3: below all three, rank 3
        ]
    )
    report = report_from_scores(scores, owner=[0, 0, 1, 2], ks=(1, 2))
    assert_ranks(report, ([0, 1, 3], [0, 2, 1, 0]))
    assert report.i2t.recall == {1: pytest.approx(100 / 3), 2: pytest.approx(200 / 3)}
    assert report.t2i.recall == {1: 50.0, 2: 75.0}
    assert (report.i2t.median_rank, report.i2t.mean_rank) == (2, pytest.approx(7 / 3))
    assert (report.t2i.median_rank, report.t2i.mean_rank) == (1, 1.75)  # floor(0.5) + 1


def test_recall_takes_the_expected_rank():
    scores = np.array([[1.0, 1.0, 0.0, 0.0], [0.0] * 4, [2.0] * 4, [0.0, 0.0, 0.0, 1.0]])
    report = report_from_scores(scores, owner=range(4), ks=(1, 2, 3))
    np.testing.assert_array_equal(report.i2t.ranks, [0.5, 1.5, 1.5, 0])
    assert report.i2t.recall == {1: 50.0, 2: 100.0, 3: 100.0}
    assert report.i2t.median_rank == 2  # floor(1.0) + 1


@fast
@given(st.data())
def test_scores_with_ties_and_impossible_pairs(data):
    images = data.draw(st.integers(1, 8))
    owner = data.draw(
        st.permutations([*range(images), *data.draw(st.lists(st.integers(0, images - 1)))])
    )
    values = st.lists(
        st.sampled_from([-math.inf, -3.0, 0.0, 1.0]), min_size=len(owner), max_size=len(owner)
    )
    first, second = (
        np.array(data.draw(st.lists(values, min_size=images, max_size=images))) for _ in "12"
    )
    # -inf stands for the lowest score; the oracle subtracts, so it gets a number that does.
    lowest = [np.maximum(scores, -9.0) for scores in (first, second)]
    expected = [oracle(scores, owner, 0) for scores in lowest]
    assert_ranks(report_from_scores(first, owner=owner), expected[0])
    assert_ranks(report_from_scores(first, second, owner=owner), (expected[0][0], expected[1][1]))


def test_scores_and_embeddings_give_one_report(device):
    image_emb, text_emb, owner = world(noise=2.0)
    scores = torch.tensor(cosines(image_emb, text_emb), device=device)
    kept = scores.clone()
    report = report_from_scores(scores, owner=owner)
    assert report == evaluate(image_emb, text_emb, owner)
    assert torch.equal(scores, kept)  # not written to
    assert report_from_scores(torch.eye(3, dtype=torch.int64), owner=[0, 1, 2]).rsum == 600


# --- the report ---


def test_the_report_is_plain_numbers_and_names_its_pool():
    image_emb, text_emb, owner = world(40, noise=2.0)
    report = evaluate(image_emb, text_emb, owner)
    flat = report.as_dict()
    assert set(flat) == KEYS
    assert json.loads(json.dumps(flat)) == flat
    assert (flat["images"], flat["captions"]) == (40, len(owner))
    assert report.rsum == pytest.approx(
        sum(v for name, v in flat.items() if "_r" in name and name[-1].isdigit())
    )
    printed = str(report)
    assert "40 images" in printed and f"{len(owner)} captions" in printed
    assert "1 to 4 per image" in printed
    assert f"{report.i2t.recall[1]:.1f}" in printed
    assert "array" not in repr(report)


def test_other_ks():
    image_emb, text_emb, owner = world(40, noise=2.0)
    report = evaluate(image_emb, text_emb, owner, ks=[100, 2])
    assert list(report.t2i.recall) == [2, 100]
    assert report.t2i.recall[100] == 100
    assert {"i2t_r2", "t2i_r100"} <= set(report.as_dict())


def test_the_1k_protocol_is_five_folds_averaged():
    rng = np.random.default_rng(6)
    owner = np.repeat(np.arange(6000), np.where(np.arange(6000) < 4000, 1, 2))
    image_emb = rng.normal(size=(6000, 6))
    text_emb = image_emb[owner] + 0.3 * rng.normal(size=(len(owner), 6))
    report = evaluate(image_emb, text_emb, owner, protocol="1k")

    folds = []
    for first in range(0, 5000, 1000):
        mine = (owner >= first) & (owner < first + 1000)
        fold_images = image_emb[first : first + 1000]
        folds.append(evaluate(fold_images, text_emb[mine], owner[mine] - first))
    for name, value in report.as_dict().items():
        assert value == pytest.approx(np.mean([fold.as_dict()[name] for fold in folds]))
    assert report.images == 1000
    ranks = [(fold.i2t.ranks, fold.t2i.ranks) for fold in folds]
    assert_ranks(report, [np.concatenate(way) for way in zip(*ranks, strict=True)])
    assert (report.protocol, report.captions_per_image) == ("1k", (1, 2))
    assert "1k" in str(report) and "1,000 images" in str(report)


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_emb": torch.ones(3, 4, dtype=torch.int64)}, "image_emb holds torch.int64"),
        ({"text_emb": [[1, 2, 3, 4]] * 3}, "text_emb holds torch.int64"),
        ({"image_emb": torch.ones(3)}, r"image_emb has shape \(3,\)"),
        ({"image_emb": torch.ones(0, 4)}, r"image_emb has shape \(0, 4\)"),
        ({"text_emb": torch.ones(3, 5)}, "4 dimensions and text_emb 5"),
        ({"owner": [0, 1]}, r"owner has shape \(2,\)"),
        ({"owner": [0.0, 1.0, 2.0]}, "type float64"),
        ({"owner": [True, False, True]}, "type bool"),
        ({"owner": [0, 1, 3]}, r"owner\[2\] is 3, outside 0 to 2"),
        ({"owner": [0, -1, 2]}, r"owner\[1\] is -1"),
        ({"owner": [0, 2, 2]}, r"image 1 has no caption \(1 such\)"),
        ({"ks": ()}, "at least one K"),
        ({"ks": (0, 1)}, "each 1 or more"),
        ({"tile": 0}, "tile is 0"),
        ({"protocol": "5k"}, "protocol is '5k'"),
        ({"protocol": "1k"}, "it needs 5000 images or more"),
    ],
)
def test_what_cannot_be_ranked_is_named(change, message):
    given = {"image_emb": torch.ones(3, 4), "text_emb": torch.ones(3, 4), "owner": [0, 1, 2]}
    with pytest.raises(ValueError, match=message):
        evaluate(**(given | change))


def test_folds_need_whole_thousands_and_captions_in_order():
    row = torch.ones(5500, 2)
    with pytest.raises(ValueError, match="whole thousands, and there are 5500"):
        evaluate(row, row, range(5500), protocol="1k")
    owner = [*range(5000)]
    owner[10:12] = 11, 10
    with pytest.raises(ValueError, match=r"owner\[11\] = 10 follows 11"):
        evaluate(row[:5000], row[:5000], owner, protocol="1k")


def test_scores_that_cannot_be_ranked():
    scores = np.zeros((2, 3))
    scores[1, 2] = math.nan
    with pytest.raises(ValueError, match=r"i2t_scores\[1, 2\] is NaN"):
        report_from_scores(scores, owner=[0, 1, 1])
    with pytest.raises(ValueError, match=r"t2i_scores\[1, 2\] is NaN"):
        report_from_scores(np.zeros((2, 3)), scores, owner=[0, 1, 1])
    with pytest.raises(ValueError, match="of the same pool"):
        report_from_scores(np.zeros((2, 3)), np.zeros((3, 3)), owner=[0, 1, 1])
    with pytest.raises(ValueError, match="expected \\(images, captions\\)"):
        report_from_scores(np.zeros(3), owner=[0, 1, 1])
    with pytest.raises(ValueError, match="image 0 has no caption"):
        report_from_scores(np.zeros((2, 3)), owner=[1, 1, 1])
