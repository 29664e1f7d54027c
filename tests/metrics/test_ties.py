"""Expected hits against every order, drawn orders, and the formula in whole numbers."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmret_lib.metrics import evaluate, report_from_scores
from mmret_lib.metrics.chance import chance
from mmret_lib.metrics.ties import RankCounts


def counts(better, tied, own_tied=1):
    given = np.broadcast_arrays(better, tied, own_tied)
    return RankCounts(*(np.atleast_1d(values).astype(np.int64) for values in given))


def test_two_and_three_tied_at_the_top():
    """The expected ranks are 0.5 and 1: a threshold would call them a hit and a miss."""
    np.testing.assert_allclose(counts([0, 0, 0], [0, 1, 2]).hits(1), [1, 1 / 2, 1 / 3])
    np.testing.assert_array_equal(counts([0, 0, 0], [0, 1, 2]).ranks, [0, 0.5, 1])


def test_every_order_of_the_tied():
    """All places that the own ones can take among those that tie, counted one by one."""
    for better, tied, own_tied in itertools.product(range(3), range(5), range(1, 4)):
        places = list(itertools.combinations(range(tied + own_tied), own_tied))
        for k in range(1, 12):
            found = sum(better + first < k for first, *_ in places)
            expected = found / len(places)
            assert counts(better, tied, own_tied).hits(k) == pytest.approx(expected, abs=1e-12)


some = st.integers(0, 2000)


@settings(max_examples=200, deadline=None)
@given(some, some, st.integers(1, 300), st.integers(1, 3000))
def test_the_formula_in_whole_numbers(better, tied, own_tied, k):
    drawn = min(max(k - better, 0), tied + own_tied)
    missed = Fraction(math.comb(tied, drawn), math.comb(tied + own_tied, drawn))
    hit = counts(better, tied, own_tied).hits(k).item()
    assert hit == pytest.approx(float(1 - missed), abs=1e-12)
    one = counts(better, tied).hits(k).item()
    assert one == pytest.approx(min(1, max(0, (k - better) / (tied + 1))), abs=1e-12)
    assert counts(better, 0, own_tied).hits(k).item() == (better < k)  # no tie: plain recall
    assert 0 <= hit <= counts(better, tied, own_tied).hits(k + 1).item() + 1e-12  # grows with K
    assert hit <= counts(better, tied, own_tied + 1).hits(k).item() + 1e-12  # and with own ones


def test_millions_tied_overflow_nothing():
    hits = counts([0, 5, 10], [10**6, 10**9, 10**6], [5, 1, 5]).hits(10)
    tied, own = 10**6, 5
    missed = math.prod(1 - Fraction(own, tied + own - i) for i in range(10))
    np.testing.assert_allclose(hits, [float(1 - missed), 5 / (10**9 + 1), 0], rtol=1e-12)


def drawn_hits(scores, owner, k, draws=4000):
    """How often the best own answer comes among the first k, with ties in random order."""
    rng = np.random.default_rng(0)
    own = np.arange(len(scores))[:, None] == np.asarray(owner)  # (N, M)
    found = []
    for matrix, mine in ((scores, own), (scores.T, own.T)):
        hits = np.zeros(len(matrix))
        for _ in range(draws):
            order = np.lexsort((rng.random(matrix.shape), -matrix))
            hits += np.take_along_axis(mine, order, 1)[:, :k].any(1)
        found.append(hits / draws)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 4])
def test_drawn_orders(k):
    rng = np.random.default_rng(k)
    owner = rng.permutation(np.repeat(np.arange(7), [1, 2, 5, 3, 1, 4, 1]))
    scores = rng.integers(0, 3, size=(7, len(owner))).astype(float)
    report = report_from_scores(scores, owner=owner)
    drawn = drawn_hits(scores, owner, k)
    for direction, hits in zip((report.i2t, report.t2i), drawn, strict=True):
        expected = direction.hits(k)
        assert ((expected > 0) & (expected < 1)).mean() > 0.2  # ties decide much here
        np.testing.assert_allclose(expected, hits, atol=0.04)  # 5 standard errors


@pytest.mark.parametrize("owner", [np.arange(100), np.repeat(np.arange(20), [1, 5, 2, 7] * 5)])
def test_a_constant_model_has_the_recall_of_chance(device, owner):
    images = owner.max() + 1
    ones = torch.ones(images, 16, device=device), torch.ones(len(owner), 16)
    for report in (
        evaluate(*ones, owner, ks=(1, 5, 10, 1000)),
        report_from_scores(np.zeros((images, len(owner))), owner=owner, ks=(1, 5, 10, 1000)),
    ):
        random = chance(owner, ks=(1, 5, 10, 1000))
        assert {name: report.as_dict()[name] for name in random} == pytest.approx(random)
        assert report.t2i.recall[10] == pytest.approx(1000 / images)
        assert report.t2i.recall[1000] == report.i2t.recall[1000] == 100  # K beyond the pool


def test_own_captions_that_tie_among_themselves_lower_nothing(device):
    """As with the same caption written twice for one image."""
    emb = torch.eye(6, 8, device=device)
    owner = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 5])
    texts = emb[owner].cpu() * torch.rand(len(owner), 1).add(0.5)  # of one direction, any length
    report = evaluate(emb, texts, owner)
    assert report.rsum == 600
    assert (report.i2t.counts.own_tied == [1, 2, 3, 4, 5, 5]).all()
    texts[0] = texts[1]  # the only caption of image 0 is like both of image 1's
    report = evaluate(emb, texts, owner)
    # For image 1 two own ones tie with one other; for image 0 all 20 captions score 0.
    np.testing.assert_allclose(report.i2t.hits(1), [1 / 20, 2 / 3, 1, 1, 1, 1])
    np.testing.assert_allclose(report.i2t.hits(2)[1:], 1)


def test_an_image_shown_twice_is_found_by_half_of_the_orders(device):
    emb = torch.eye(4, device=device)
    emb[1] = emb[0]
    report = evaluate(emb, emb.cpu(), range(4), ks=(1, 2))
    np.testing.assert_allclose(report.t2i.hits(1), [1 / 2, 1 / 2, 1, 1])
    assert report.t2i.recall == report.i2t.recall == {1: 75.0, 2: 100.0}


def test_own_captions_within_the_tolerance_count_as_tied(device):
    """Image 0 has two captions 2e-7 apart, a third far below, and one wrong one between the two."""
    height = np.array([0.5, 0.5 - 2e-7, 0.1, 0.5 - 1e-7])
    texts = np.stack([height, np.sqrt(1 - height**2)], 1)
    images = torch.eye(2, dtype=torch.float64, device=device)
    report = evaluate(images, texts, [0, 0, 0, 1])
    found = report.i2t.counts
    assert (found.better[0], found.tied[0], found.own_tied[0]) == (0, 1, 2)
    assert report.i2t.hits(1)[0] == pytest.approx(2 / 3)
