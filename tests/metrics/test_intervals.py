"""Intervals and comparisons against plain loops over drawn images, and against known answers."""

import math

import numpy as np
import pytest

import mmret_lib.metrics.intervals
from mmret_lib.metrics import evaluate, report_from_scores
from mmret_lib.metrics.intervals import compare, compare_text, interval_text, intervals


def reports(images=60, seed=0, noises=(1.0, 1.2), per_image=None):
    """Two models of one pool, the second a little worse, with some scores that tie."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, images) if per_image is None else np.full(images, per_image)
    owner = np.repeat(np.arange(images), counts)
    image_emb = rng.normal(size=(images, 8))
    noise = rng.normal(size=(len(owner), 8))
    text_embs = [image_emb[owner] + n * noise for n in noises]
    for text_emb in text_embs:
        text_emb[len(owner) // 2 :] = text_emb[: -(len(owner) // 2)]  # the same captions again
    return [evaluate(image_emb, text_emb, owner) for text_emb in text_embs]


def drawn_figures(report, seed, draws):
    """The definition, query by query: each drawn image brings its own ranks and its captions'."""
    rng = np.random.default_rng(seed)
    figures = []
    for images in rng.integers(report.images, size=(draws, report.images)):
        t2i = np.concatenate([np.flatnonzero(report.owner == image) for image in images])
        row = {}
        for way, direction, queries in (("i2t", report.i2t, images), ("t2i", report.t2i, t2i)):
            ranks = direction.ranks[queries]
            row |= {f"{way}_r{k}": 100 * direction.hits(k)[queries].mean() for k in (1, 5, 10)}
            row[f"{way}_mean_rank"] = ranks.mean() + 1
            row[f"{way}_median_rank"] = np.floor(np.median(ranks)) + 1
        row["rsum"] = sum(row[f"{way}_r{k}"] for way in ("i2t", "t2i") for k in (1, 5, 10))
        figures.append(row)
    return {name: np.array([row[name] for row in figures]) for name in figures[0]}


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_intervals_are_those_of_drawn_images_with_their_captions(level):
    report, _ = reports()
    found = intervals(report, level=level, draws=50, seed=3)
    expected = drawn_figures(report, 3, 50)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        ends = np.percentile(values, [50 - 50 * level, 50 + 50 * level])
        assert found[name] == pytest.approx(ends), name
    assert all(isinstance(end, float) for ends in found.values() for end in ends)


def test_pieces_do_not_show(monkeypatch):
    one, other = reports()
    expected, table = intervals(one, draws=40), compare(one, other, draws=40)
    monkeypatch.setattr(mmret_lib.metrics.intervals, "PIECE", 7 * 60)
    assert intervals(one, draws=40) == expected
    again = compare(one, other, draws=40)
    np.testing.assert_allclose(again[["low", "high"]], table[["low", "high"]])


def test_captions_of_one_image_are_not_independent():
    """Five equal captions per image say no more than one: the interval must not shrink."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(200, 200)) + 1.5 * np.eye(200)
    owner = np.arange(200)
    single = intervals(report_from_scores(scores, owner=owner))
    five = intervals(report_from_scores(np.repeat(scores, 5, 1), owner=np.repeat(owner, 5)))
    widths = [ends["t2i_r5"][1] - ends["t2i_r5"][0] for ends in (single, five)]
    assert widths[1] == pytest.approx(widths[0]) and widths[0] > 5


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """R@1 of a world with known hit rate 0.5: about 95 of 100 intervals should hold it."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        hits = rng.random(150) < 0.5
        # Image i scores 1 with its own caption, and 2 with caption 0 or 1 where it misses.
        scores = np.eye(150)
        rival = np.where(np.arange(150) == 0, 1, 0)
        scores[np.arange(150)[~hits], rival[~hits]] = 2
        report = report_from_scores(scores, owner=range(150))
        low, high = intervals(report, draws=200)["i2t_r1"]
        covered += low <= 50 <= high
    assert 88 <= covered <= 99


def test_the_1k_protocol_draws_within_folds():
    rng = np.random.default_rng(6)
    owner = np.repeat(np.arange(5000), np.where(np.arange(5000) < 3000, 1, 2))
    image_emb = rng.normal(size=(5000, 6))
    text_emb = image_emb[owner] + 0.5 * rng.normal(size=(len(owner), 6))
    text_emb[owner >= 4000] = rng.normal(size=(2000, 6))  # the last fold fails, the others do not
    report = evaluate(image_emb, text_emb, owner, protocol="1k")
    found = intervals(report, draws=100)
    for name, value in {**report.as_dict(), "rsum": report.rsum}.items():
        if name not in ("images", "captions"):
            low, high = found[name]
            assert low - 1e-9 <= value <= high + 1e-9, name
    # Drawn from all 5,000 at once, the share of the failing fold would vary as well.
    spread = found["i2t_r1"][1] - found["i2t_r1"][0]
    folds = [fold.i2t.hits(1) for fold in report.folds]
    within = math.sqrt(sum(fold.var() / 1000 for fold in folds)) / 5
    assert spread == pytest.approx(100 * 2 * 1.96 * within, rel=0.3)


# --- comparison ---


def test_differences_are_of_the_same_drawn_images():
    one, other = reports()
    table = compare(one, other, draws=50, seed=3)
    first, second = drawn_figures(one, 3, 50), drawn_figures(other, 3, 50)
    assert list(table.index) == list(first)
    for name, row in table.iterrows():
        ends = np.percentile(first[name] - second[name], [2.5, 97.5])
        assert (row["low"], row["high"]) == pytest.approx(tuple(ends)), name
        assert row["difference"] == pytest.approx(row["one"] - row["other"])
    assert table.loc["i2t_r1", "one"] == one.i2t.recall[1]
    assert table.loc["rsum", "other"] == pytest.approx(other.rsum)


@pytest.mark.slow
def test_the_sign_flip_test_counts_every_sign():
    """Eight images, so that all 256 signs can be tried: p is their share, but for the draws."""
    one, other = reports(images=8, noises=(0.6, 2.5))
    table = compare(one, other, draws=20_000)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1).T  # (256, 8)
    for name in ("i2t_mean_rank", "t2i_mean_rank", "t2i_r1", "rsum"):
        per_image = np.zeros(8)
        for way in ("i2t", "t2i"):
            image = np.arange(8) if way == "i2t" else one.owner
            for k in (1, 5, 10):
                if name in (f"{way}_r{k}", "rsum"):
                    hits = [getattr(report, way).hits(k) for report in (one, other)]
                    change = (hits[0] - hits[1]) / len(image)
                    per_image += 100 * np.bincount(image, change)
            if name == f"{way}_mean_rank":
                change = getattr(one, way).ranks - getattr(other, way).ranks
                per_image += np.bincount(image, change / len(image))
        sums = np.abs(signs @ per_image)
        expected = np.mean(sums >= abs(per_image.sum()) - 1e-9)
        assert table.loc[name, "p"] == pytest.approx(expected, abs=0.015), name
    assert np.isnan(table.loc["i2t_median_rank", "p"])


def test_equal_runs_differ_by_nothing():
    one, _ = reports()
    table = compare(one, one)
    assert (table[["difference", "low", "high"]] == 0).all(axis=None)
    assert (table["p"].dropna() == 1).all()


def test_a_pair_shows_what_two_intervals_hide():
    one, other = reports(images=400, noises=(1.0, 1.1), per_image=2)
    apart = intervals(one)["t2i_r1"][0] > intervals(other)["t2i_r1"][1]
    row = compare(one, other).loc["t2i_r1"]
    assert not apart
    assert row["low"] > 0 and row["p"] < 0.01


@pytest.mark.slow
def test_chance_is_told_from_a_difference():
    """Two models that differ by noise alone: p is below 0.05 about once in 20 times."""
    rng = np.random.default_rng(0)
    small = 0
    for _ in range(60):
        shared = rng.normal(size=(80, 80)) + 2 * np.eye(80)
        one, other = (
            report_from_scores(shared + rng.normal(size=(80, 80)), owner=range(80)) for _ in "12"
        )
        small += compare(one, other, draws=200).loc["i2t_mean_rank", "p"] < 0.05
    assert small <= 9


def test_the_1k_protocol_can_be_compared():
    rng = np.random.default_rng(6)
    image_emb = rng.normal(size=(5000, 4))
    noise = rng.normal(size=(5000, 4))
    one, other = (
        evaluate(image_emb, image_emb + size * noise, range(5000), protocol="1k")
        for size in (0.3, 0.33)
    )
    row = compare(one, other, draws=100).loc["i2t_mean_rank"]
    assert row["difference"] < 0 and row["high"] < 0 and row["p"] == pytest.approx(1 / 101)


# --- what is printed and refused ---


def test_what_is_printed():
    one, other = reports()
    printed = interval_text(one, draws=50)
    assert "95 % intervals, images drawn 50 times" in printed
    low, high = intervals(one, draws=50)["t2i_r5"]
    assert f"{low:.1f}–{high:.1f}" in printed
    text = compare_text(compare(one, other, draws=50), "simclr", "max_triplet")
    assert "simclr" in text and "max_triplet" in text
    assert len(text.splitlines()) == 12
    assert "could be chance" in compare_text(compare(one, one, draws=50), "a", "b")


def test_what_is_refused():
    one, other = reports()
    with pytest.raises(ValueError, match="level is 95"):
        intervals(one, level=95)
    with pytest.raises(ValueError, match="level is 0"):
        compare(one, other, level=0)
    with pytest.raises(ValueError, match="draws is 1"):
        intervals(one, draws=1)
    with pytest.raises(ValueError, match=r"different pools \(60 images.*; 61 images"):
        compare(one, reports(images=61)[0])
    swapped = report_from_scores(np.eye(3)[:, [0, 0, 1, 2]], owner=[0, 0, 1, 2])
    with pytest.raises(ValueError, match="different pools"):
        compare(swapped, report_from_scores(np.eye(3)[:, [0, 1, 1, 2]], owner=[0, 1, 1, 2]))
    of_one, of_two = (report_from_scores(np.eye(3), owner=range(3), ks=ks) for ks in ((1,), (2,)))
    with pytest.raises(ValueError, match="different K"):
        compare(of_one, of_two)
