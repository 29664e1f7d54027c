"""Where the losses of the atlas go over into each other and into the four of the course."""

import math

import pytest
import torch
from loss_batches import IDS, LONELY, ClipForm, pairs
from torch import Tensor

from mmret_lib.losses import MaxTriplet, PairLoss, SimCLR, SumTriplet, negative_weights
from mmret_lib.losses.atlas import (
    AdaptiveNCE,
    HardNegativeNCE,
    MarginSoftmax,
    MultiSimilarity,
    SigLIP,
    SmoothAP,
    TopKTriplet,
)

BATCHES = [(seed, ids) for seed in range(3) for ids in ({}, IDS)]


def gradients(loss: PairLoss, emb: tuple[Tensor, Tensor], **ids) -> list[Tensor]:
    leaves = [part.clone().requires_grad_() for part in emb]
    return list(torch.autograd.grad(loss(*leaves, **ids), leaves))


def assert_same(one: PairLoss, other: PairLoss, emb, rtol=1e-7, atol=1e-9, **ids) -> None:
    torch.testing.assert_close(one(*emb, **ids), other(*emb, **ids), rtol=rtol, atol=atol)
    for a, b in zip(gradients(one, emb, **ids), gradients(other, emb, **ids), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("seed", "ids"), BATCHES)
def test_a_cold_margin_softmax_is_max_triplet(seed: int, ids: dict) -> None:
    emb = pairs(5, 4, seed)
    assert_same(MarginSoftmax(0.5, 1e-4), MaxTriplet(0.5), emb, rtol=1e-6, atol=1e-6, **ids)
    above = [MarginSoftmax(0.5, t)(*emb, **ids) - MaxTriplet(0.5)(*emb, **ids) for t in (0.3, 0.03)]
    assert above[0] > above[1] > 0


@pytest.mark.parametrize(("seed", "ids"), BATCHES)
def test_margin_softmax_without_margin_is_info_nce(seed: int, ids: dict) -> None:
    emb = pairs(5, 4, seed)
    scaled = MarginSoftmax(0.0, 0.07)(*emb, **ids) / 0.07
    torch.testing.assert_close(scaled, ClipForm(0.07)(*emb, **ids))
    with_margin = negative_weights(MarginSoftmax(0.7, 0.07), *emb, **ids)
    torch.testing.assert_close(with_margin, negative_weights(SimCLR(0.07), *emb, **ids))


@pytest.mark.parametrize(("seed", "ids"), BATCHES)
def test_top_k_leads_from_the_max_to_the_sum(seed: int, ids: dict) -> None:
    emb = pairs(5, 4, seed)
    assert_same(TopKTriplet(1, 0.5), MaxTriplet(0.5), emb, **ids)
    for k in (4, 5, 1000):
        assert_same(TopKTriplet(k, 0.5), SumTriplet(0.5), emb, **ids)
    values = torch.stack([TopKTriplet(k, 0.5)(*emb, **ids) for k in (1, 2, 3, 4)])
    assert (values.diff() >= 0).all() and values[0] < values[-1]


# Rows of +-1 in a dimension of 4 have cosines that no rounding can tell apart.
TIED = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, 1], [1, 1, -1, 1], [-1, -1, -1, -1]])


@pytest.mark.parametrize("ids", [{}, {"image_ids": [0, 1, 1, 2]}])
def test_ties_share_the_places_that_are_left(ids: dict, device: str) -> None:
    emb = TIED.to(device), TIED.clone().to(device)
    assert_same(TopKTriplet(1, 0.6), MaxTriplet(0.6), emb, **ids)
    wide = 3.0
    for k, share in ((1, 0.5), (2, 1.0)):  # texts 1 and 2 tie before text 3
        push = TopKTriplet(k, wide).pushes(*emb, ~torch.eye(4, dtype=torch.bool, device=device))
        assert push[0, 0].tolist() == [0, share, share, 0]
    push = TopKTriplet(3, wide).pushes(*emb, ~torch.eye(4, dtype=torch.bool, device=device))
    assert push[0, 0].tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(("seed", "ids"), BATCHES)
def test_no_preference_for_hard_negatives_is_info_nce(seed: int, ids: dict) -> None:
    emb = pairs(5, 4, seed)
    assert_same(HardNegativeNCE(0.1, 0.0), ClipForm(0.1), emb, **ids)
    assert_same(AdaptiveNCE(0.1, 0.4, 1e5), ClipForm(0.1), emb, **ids)


@pytest.mark.parametrize("beta", [0.5, 5.0, 100.0])
def test_hard_negatives_are_a_lower_temperature(beta: float) -> None:
    emb = pairs(8, 5)
    lower = SimCLR(1 / (1 / 0.07 + beta))
    weights = negative_weights(HardNegativeNCE(0.07, beta), *emb)
    torch.testing.assert_close(weights, negative_weights(lower, *emb))


def test_multi_similarity_shares_as_simclr_does() -> None:
    emb = pairs(8, 5)
    weights = negative_weights(MultiSimilarity(3.0, 20.0, 0.9), *emb)
    torch.testing.assert_close(weights, negative_weights(SimCLR(1 / 20), *emb))


def curve(loss: PairLoss, positive: float) -> tuple[Tensor, Tensor]:
    """The push on one of a query's two negatives, against its similarity; the other is at 0.45."""
    similarity = torch.linspace(-0.9, 0.99, 190).double()
    pushes = []
    for s in similarity.tolist():
        rows = torch.full((3, 3), -1.0).double()
        rows[0] = torch.tensor([positive, s, 0.45]).double()
        pushes.append(loss.push(rows, ~torch.eye(3, dtype=torch.bool))[0, 1])
    return similarity, torch.stack(pushes).detach()


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.15])
def test_adaptive_nce_peaks_where_its_docstring_says(sigma: float) -> None:
    similarity, _ = curve(AdaptiveNCE(), 0.5)
    logits = similarity / 0.07 + AdaptiveNCE(0.07, 0.4, sigma).bell(similarity)
    peak = similarity[logits.argmax()].item()
    assert peak == pytest.approx(min(0.99, 0.4 + sigma**2 / 0.07), abs=0.006)


def test_the_shares_fall_again_at_the_top_only_where_that_is_said() -> None:
    falls = {
        MarginSoftmax(): False,
        MultiSimilarity(): False,
        SigLIP(): False,
        SmoothAP(): True,
        HardNegativeNCE(): False,
        AdaptiveNCE(): False,  # with the default sigma
        AdaptiveNCE(sigma=0.2): True,
        AdaptiveNCE(sigma=0.21): False,
    }
    for loss, falling in falls.items():
        _, push = curve(loss, 0.5)
        steps = push.diff()
        assert bool((steps < -1e-9).any()) is falling, loss


@pytest.mark.parametrize("rank", [2, 5, 20])
def test_smooth_ap_pushes_less_by_the_square_of_the_rank(rank: int) -> None:
    """All but one of the negatives above the positive are far above it and add no push."""

    def total(ahead: int) -> float:
        size = ahead + 2  # the positive, one negative just below it, and those far above
        rows = torch.full((size, size), -1.0).double()
        rows[0] = torch.tensor([0.2, 0.15, *[0.9] * ahead])
        negatives = ~torch.eye(size, dtype=torch.bool)
        return PairLoss.push(SmoothAP(), rows, negatives)[0].sum().item() * size

    below = 1 / (1 + math.exp(5))  # what the one just below adds to the rank
    expected = ((1 + below) / (rank + below)) ** 2
    assert total(rank - 1) / total(0) == pytest.approx(expected, rel=1e-6)


def test_a_gate_relative_to_the_positive_or_absolute() -> None:
    """Moving the positive moves the gate of the one, and not that of the other."""
    rows = torch.tensor([[0.9, 0.4, 0.3], [-1, 1, -1], [-1, -1, 1]]).double()
    negatives = ~torch.eye(3, dtype=torch.bool)
    moved = rows.clone()
    moved[0, 0] = 0.2

    def total(loss: PairLoss, rows: Tensor) -> float:
        return PairLoss.push(loss, rows, negatives)[0].sum().item()

    for loss in (MarginSoftmax(), TopKTriplet(), SmoothAP(), HardNegativeNCE(), AdaptiveNCE()):
        assert total(loss, moved) > 10 * total(loss, rows), loss
    for loss in (MultiSimilarity(), SigLIP(10.0, -2.0)):
        assert total(loss, moved) == pytest.approx(total(loss, rows)), loss


def test_only_siglips_negatives_do_not_compete() -> None:
    """A third negative takes from the push on the others, unless each stands alone."""
    few = torch.tensor([[0.5, 0.5, -1], [-1, 1, -1], [-1, -1, 1]]).double()
    many = few.clone()
    many[0, 2] = 0.5
    negatives = ~torch.eye(3, dtype=torch.bool)

    def on_the_first(loss: PairLoss, rows: Tensor) -> float:
        return PairLoss.push(loss, rows, negatives)[0, 1].item()

    for loss in (MarginSoftmax(), MultiSimilarity(), SmoothAP(), HardNegativeNCE(), AdaptiveNCE()):
        assert on_the_first(loss, many) < 0.95 * on_the_first(loss, few), loss
    assert on_the_first(TopKTriplet(1), many) == on_the_first(TopKTriplet(1), few) / 2
    for loss in (SigLIP(10.0, -2.0), TopKTriplet(2)):
        assert on_the_first(loss, many) == pytest.approx(on_the_first(loss, few)), loss


def test_lonely_queries_cost_nothing_where_that_is_said() -> None:
    emb = pairs(3, 4)
    for loss in (MarginSoftmax(), TopKTriplet(), SmoothAP(), HardNegativeNCE(), AdaptiveNCE()):
        assert loss(*emb, image_ids=[1, 1, 1]).item() == 0
        weights = negative_weights(loss, *emb, **LONELY)
        assert not weights[:, 0].any()
