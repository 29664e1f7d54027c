"""Reports from embeddings and from finished scores."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rank_oracle import assert_hits, assert_ranks, cosines, oracle, world

from mmret_lib.metrics import evaluate, report_from_scores

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


def test_recall_is_its_expectation_and_not_the_threshold_of_the_expected_rank():
    scores = np.array([[1.0, 1.0, 0.0, 0.0], [0.0] * 4, [2.0] * 4, [0.0, 0.0, 0.0, 1.0]])
    report = report_from_scores(scores, owner=range(4), ks=(1, 2, 3, 9))
    np.testing.assert_array_equal(report.i2t.ranks, [0.5, 1.5, 1.5, 0])
    np.testing.assert_allclose(report.i2t.hits(1), [1 / 2, 1 / 4, 1 / 4, 1])
    assert report.i2t.recall == pytest.approx({1: 50.0, 2: 75.0, 3: 87.5, 9: 100.0})
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
    report = report_from_scores(first, owner=owner, ks=(1, 2, 5))
    assert_ranks(report, expected[0])
    assert_hits(report, lowest[0], owner, 0)
    assert_ranks(report_from_scores(first, second, owner=owner), (expected[0][0], expected[1][1]))


def test_scores_and_embeddings_give_one_report(device):
    image_emb, text_emb, owner = world(noise=2.0)
    scores = torch.tensor(cosines(image_emb, text_emb), device=device)
    kept = scores.clone()
    report = report_from_scores(scores, owner=owner)
    assert report == evaluate(image_emb, text_emb, owner)
    assert torch.equal(scores, kept)  # not written to
    assert report_from_scores(torch.eye(3, dtype=torch.int64), owner=[0, 1, 2]).rsum == 600


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
