"""negative_weights against autograd on the formulas, at the limits, and for Barlow Twins' push."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_batches import (
    EVERY,
    IDS,
    LONELY,
    OF_ATLAS,
    WITH_NEGATIVES,
    ClipForm,
    pairs,
    quick,
    seeds,
)
from torch import Tensor

from mmret_lib.losses import (
    BarlowTwins,
    MaxTriplet,
    PairLoss,
    SimCLR,
    SumTriplet,
    negative_weights,
)
from mmret_lib.losses.base import checked_number, similarities
from mmret_lib.losses.negatives import effective_negatives, find_negatives

SAME = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 4), (4, 1)]  # the duplicates by IDS


def cosines(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    lengths = image_emb.square().sum(1).sqrt()[:, None] * text_emb.square().sum(1).sqrt()
    return (image_emb @ text_emb.T) / lengths


# One query's cost from its positive score and its negatives' scores, as the formulas have it ----


def sum_triplet(positive: Tensor, scores: Tensor) -> Tensor:
    return (0.2 - positive + scores).clamp(min=0).sum()


def max_triplet(positive: Tensor, scores: Tensor) -> Tensor:
    return (0.2 - positive + scores).clamp(min=0).max()


def decoupled(positive: Tensor, scores: Tensor) -> Tensor:
    return -positive / 0.07 + (scores / 0.07).exp().sum().log()


def clip(positive: Tensor, scores: Tensor) -> Tensor:
    return -(
        (positive / 0.07).exp() / torch.cat([positive[None], scores]).div(0.07).exp().sum()
    ).log()


FORMULAS = list(zip(WITH_NEGATIVES, [sum_triplet, max_triplet, decoupled, clip], strict=True))


@pytest.mark.parametrize(("make", "cost"), FORMULAS)
@pytest.mark.parametrize("ids", [{}, IDS])
@pytest.mark.parametrize("seed", range(3))
def test_is_the_derivative_by_each_similarity(
    make: Callable, cost: Callable, ids: dict, seed: int, device: str
) -> None:
    image_emb, text_emb = pairs(seed=seed)
    batch = range(len(image_emb))
    same = SAME if ids else []
    expected, total = [], 0.0
    for scores in (cosines(image_emb, text_emb), cosines(text_emb, image_emb)):
        leaf = scores.requires_grad_()
        costs = []
        for b in batch:
            negatives = [k for k in batch if k != b and (b, k) not in same]
            costs.append(cost(leaf[b, b], leaf[b, negatives]))
        value = torch.stack(costs).mean()
        (push,) = torch.autograd.grad(value, leaf)
        push.fill_diagonal_(0)  # the positive's own derivative is a pull
        sums = push.sum(dim=1, keepdim=True)
        expected.append(push / torch.where(sums > 0, sums, 1))
        total += value.item()

    # The formula is the loss, so its derivative is the loss's.
    loss = make()
    emb = image_emb.to(device), text_emb.to(device)
    assert loss(*emb, **ids).item() == pytest.approx(total)
    weights = negative_weights(loss, *emb, **ids)
    torch.testing.assert_close(weights.cpu(), torch.stack(expected))


@quick
@given(seed=seeds, batch=st.integers(2, 7), data=st.data())
@pytest.mark.parametrize("make", [*EVERY, *OF_ATLAS])
def test_rows_sum_to_one_or_nothing_and_masked_entries_are_zero(make, seed, batch, data) -> None:
    image_emb, text_emb = pairs(batch, 4, seed)
    image_ids, caption_ids = (
        data.draw(st.lists(st.integers(0, 3), min_size=batch, max_size=batch)) for _ in range(2)
    )
    weights = negative_weights(
        make(), image_emb, text_emb, image_ids=image_ids, caption_ids=caption_ids
    )
    assert weights.shape == (2, batch, batch) and weights.dtype == torch.float64
    assert not weights.requires_grad and (weights >= 0).all()
    sums = weights.sum(dim=2)
    assert (torch.isclose(sums, torch.ones_like(sums)) | (sums == 0)).all()
    for b in range(batch):
        for k in range(batch):
            same = image_ids[b] == image_ids[k] or caption_ids[b] == caption_ids[k]
            if b == k or (same and make is not BarlowTwins):
                assert (weights[:, b, k] == 0).all()


@quick
@given(seed=seeds, order=st.permutations(range(6)))
@pytest.mark.parametrize("make", [*EVERY, *OF_ATLAS])
def test_follows_its_pairs_and_its_branches(make, seed: int, order: list[int]) -> None:
    image_emb, text_emb = pairs(6, 4, seed)
    weights = negative_weights(make(), image_emb, text_emb)
    swapped = negative_weights(make(), text_emb, image_emb)
    torch.testing.assert_close(swapped, weights.flip(0))
    moved = negative_weights(make(), image_emb[order], text_emb[order])
    torch.testing.assert_close(moved, weights[:, order][:, :, order])


def test_temperature_leads_from_the_max_to_the_sum() -> None:
    image_emb, text_emb = pairs(8, 5)
    wide = 3.0  # a margin that every negative violates
    hardest = negative_weights(MaxTriplet(wide), image_emb, text_emb)
    alike = negative_weights(SumTriplet(wide), image_emb, text_emb)
    assert (hardest.amax(dim=2) == 1).all()
    torch.testing.assert_close(alike, (1 - torch.eye(8).double()).expand(2, 8, 8) / 7)
    for make in (SimCLR, ClipForm):
        torch.testing.assert_close(negative_weights(make(1e-5), image_emb, text_emb), hardest)
        warm = negative_weights(make(1e5), image_emb, text_emb)
        torch.testing.assert_close(warm, alike, rtol=1e-4, atol=0)
        spread = negative_weights(make(0.1), image_emb, text_emb).square().sum()
        assert alike.square().sum() < spread < hardest.square().sum()


def test_the_positive_in_the_denominator_changes_no_share() -> None:
    """Not even where the positive is so far ahead that the push itself underflows."""
    emb = torch.eye(4)
    emb[0, 1] = 0.5
    weights = negative_weights(ClipForm(0.005), emb, emb)
    torch.testing.assert_close(weights, negative_weights(SimCLR(0.005), emb, emb))
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 4))


def test_the_hardest_negatives_share_equally(device: str) -> None:
    """Rows of +-1 in a dimension of 4 have cosines that no rounding can tell apart."""
    image_emb = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, 1], [1, 1, -1, 1], [-1, -1, -1, -1]])
    text_emb = image_emb.clone().to(device).requires_grad_()
    image_emb = image_emb.to(device)
    weights = negative_weights(MaxTriplet(0.6), image_emb, text_emb)
    assert weights[0, 0].tolist() == [0, 0.5, 0.5, 0]
    assert weights[1, 0].tolist() == [0, 0.5, 0.5, 0]
    assert weights[0, 3].tolist() == [0, 0, 0, 0]  # -0.5 and -1 against 1: none is within 0.6
    MaxTriplet(0.6)(image_emb, text_emb).backward()
    assert text_emb.grad is not None
    # What autograd does agrees: pairs 1 and 2 take mirrored parts in the same gradient.
    torch.testing.assert_close(text_emb.grad[1], text_emb.grad[2][[0, 2, 1, 3]])


def test_satisfied_queries_push_nothing() -> None:
    emb = torch.eye(4)
    assert not negative_weights(SumTriplet(0.2), emb, emb).any()
    assert not negative_weights(MaxTriplet(0.2), emb, emb).any()
    assert negative_weights(SimCLR(), emb, emb).sum() == pytest.approx(8)


def test_a_query_without_negatives_pushes_nothing() -> None:
    image_emb, text_emb = pairs(3, 4)
    for make in WITH_NEGATIVES:
        loss = make(margin_or_temperature(make))
        weights = negative_weights(loss, image_emb, text_emb, **LONELY)
        assert weights[0].tolist() == weights[1].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
        assert not negative_weights(make(), image_emb, text_emb, image_ids=[1, 1, 1]).any()


def margin_or_temperature(make: Callable) -> float:
    return 3.0 if make in (SumTriplet, MaxTriplet) else 0.07


def test_duplicates_count_where_they_are_not_masked() -> None:
    for make in WITH_NEGATIVES:
        loss = make(margin_or_temperature(make), mask_duplicates=False)
        plain = negative_weights(loss, *pairs())
        assert torch.equal(negative_weights(loss, *pairs(), **IDS), plain)
    weights = negative_weights(BarlowTwins(), *pairs())
    assert torch.equal(negative_weights(BarlowTwins(), *pairs(), **IDS), weights)


def test_max_triplet_answers_for_its_next_call_and_does_not_count() -> None:
    early = MaxTriplet(0.5, all_negatives_steps=1)
    as_sum = negative_weights(SumTriplet(0.5), *pairs())
    as_max = negative_weights(MaxTriplet(0.5), *pairs())
    assert not torch.equal(as_sum, as_max)
    for _ in range(2):
        assert torch.equal(negative_weights(early, *pairs()), as_sum)
    early(*pairs())
    assert torch.equal(negative_weights(early, *pairs()), as_max)


# A loss that says nothing of its weights ---------------------------------------------------------


class SquaredHinges(PairLoss):
    """The example of base.py."""

    def __init__(self, margin: float = 0.2, mask_duplicates: bool = True) -> None:
        super().__init__(mask_duplicates)
        self.margin = checked_number("margin", margin, smallest=1e-6)

    def forward(self, image_emb, text_emb, *, image_ids=None, caption_ids=None) -> Tensor:
        image_emb, text_emb, ids = self.checked(image_emb, text_emb, image_ids, caption_ids)
        similarity = similarities(image_emb, text_emb)
        negatives = find_negatives(similarity, ids)
        return self.direction(similarity, negatives) + self.direction(similarity.T, negatives)

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        hinges = (self.margin - similarity.diagonal()[:, None] + similarity).relu()
        return (hinges.square() * negatives).sum(dim=1).mean()


def test_a_new_loss_needs_a_forward_and_a_direction_alone() -> None:
    image_emb, text_emb = pairs(6, 4)
    loss = SquaredHinges(0.5)
    assert loss(image_emb, text_emb) > 0
    similarity = cosines(image_emb, text_emb)
    negatives = ~torch.eye(6, dtype=torch.bool)
    for weights, rows in zip(
        negative_weights(loss, image_emb, text_emb), (similarity, similarity.T), strict=True
    ):
        hinges = (0.5 - rows.diagonal()[:, None] + rows).clamp(min=0) * negatives
        sums = hinges.sum(dim=1, keepdim=True)
        torch.testing.assert_close(weights, hinges / torch.where(sums > 0, sums, 1))
    assert repr(loss) == "SquaredHinges(margin=0.5, mask_duplicates=True)"
    assert not negative_weights(loss, image_emb, text_emb, image_ids=[1] * 6).any()


@pytest.mark.parametrize("make", [*EVERY, SquaredHinges])
@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_switched_off(make: Callable, without: Callable) -> None:
    loss, emb = make(0.5), pairs(6, 4)
    expected = negative_weights(loss, *emb)
    with without():
        leaves = [part.clone().requires_grad_() for part in emb]
        weights = negative_weights(loss, *leaves, image_ids=range(6))
    assert torch.equal(weights, expected) and not weights.requires_grad


@pytest.mark.parametrize("make", [SimCLR, ClipForm])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_a_closed_form_is_the_gradient(make: Callable, temperature: float) -> None:
    loss, similarity = make(temperature), similarities(*pairs(7, 4))
    negatives = ~torch.eye(7, dtype=torch.bool)
    closed = loss.push(similarity, negatives)
    gradient = PairLoss.push(loss, similarity, negatives)
    gradient = gradient / gradient.sum(dim=1, keepdim=True)
    torch.testing.assert_close(closed, gradient, rtol=1e-12, atol=1e-12)


# Barlow Twins ----------------------------------------------------------------------------------


def standardised(emb: Tensor) -> Tensor:
    centred = emb - emb.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + 1e-5).sqrt()


@pytest.mark.parametrize("seed", range(3))
def test_barlow_twins_pushes_images_apart_as_their_texts_are_alike(seed: int) -> None:
    batch = 6
    za, zb = (standardised(emb).requires_grad_() for emb in pairs(batch, 4, seed))
    correlation = za.T @ zb / batch
    alone = correlation.square().sum() - correlation.diagonal().square().sum()
    grads = torch.autograd.grad(alone, (za, zb))
    weights = negative_weights(BarlowTwins(), *pairs(batch, 4, seed))
    for own, other, grad, weight in zip((za, zb), (zb, za), grads, weights, strict=True):
        for b in range(batch):
            alike = [(other[b] @ other[k]).item() for k in range(batch)]
            pushed = sum(alike[k] * own[k] for k in range(batch)) * 2 / batch**2
            diagonal = correlation.diagonal() * other[b] * 2 / batch
            torch.testing.assert_close(grad[b], pushed - diagonal)
            positive = [max(0.0, alike[k]) if k != b else 0.0 for k in range(batch)]
            expected = [each / sum(positive) for each in positive]
            assert weight[b].tolist() == pytest.approx(expected)


def test_barlow_twins_pushes_the_image_with_the_same_text_hardest() -> None:
    image_emb, text_emb = pairs(6, 8)
    text_emb[4] = text_emb[1]
    weights = negative_weights(BarlowTwins(), image_emb, text_emb)
    assert weights[0, 1].argmax() == 4 and weights[0, 4].argmax() == 1


# How many of them count ---------------------------------------------------------------------------


def test_effective_negatives_by_hand() -> None:
    alike = torch.full((2, 5, 5), 0.25).double().masked_fill(torch.eye(5, dtype=torch.bool), 0)
    assert effective_negatives(alike) == pytest.approx((4, 4))
    alone = torch.eye(5).roll(1, 0).expand(2, 5, 5)
    assert effective_negatives(alone) == pytest.approx((1, 1))
    uneven = torch.tensor([[[0, 0.5, 0.3, 0.195, 0.005]]]).double()
    expected = 1 / (0.5**2 + 0.3**2 + 0.195**2 + 0.005**2)
    assert effective_negatives(uneven) == pytest.approx((expected, 3))
    assert effective_negatives(uneven, share=0.2)[1] == 2


def test_queries_that_push_nothing_are_left_out_of_the_count() -> None:
    weights = torch.zeros(2, 3, 3)
    weights[0, 0, 1:] = 0.5
    assert effective_negatives(weights) == (2, 2)
    assert all(math.isnan(count) for count in effective_negatives(torch.zeros(2, 3, 3)))


@quick
@given(seeds)
def test_a_lower_temperature_leaves_fewer_negatives(seed: int) -> None:
    image_emb, text_emb = pairs(9, 6, seed)
    counts = [
        effective_negatives(negative_weights(SimCLR(temperature), image_emb, text_emb))[0]
        for temperature in (100.0, 1.0, 0.1, 0.01)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == pytest.approx(8, abs=0.01) and counts[-1] >= 1


# Precision and refusals --------------------------------------------------------------------------


@pytest.mark.parametrize("make", EVERY)
def test_float32_inside_autocast(make: Callable, device: str) -> None:
    image_emb, text_emb = (emb.float().to(device).requires_grad_() for emb in pairs(8, 16))
    outside = negative_weights(make(learnable=True), image_emb, text_emb)
    with torch.autocast(device, dtype=torch.bfloat16):
        inside = negative_weights(make(learnable=True), image_emb, text_emb)
    assert inside.dtype == torch.float32 and not inside.requires_grad
    assert torch.equal(inside, outside)


def test_refuses_what_the_losses_refuse() -> None:
    emb = torch.ones(4, 3)
    with pytest.raises(ValueError, match="B = 1"):
        negative_weights(SimCLR(), emb[:1], emb[:1])
    with pytest.raises(ValueError, match="text_emb is not finite: row 0 holds nan"):
        negative_weights(SimCLR(), emb, emb * math.nan)
    with pytest.raises(ValueError, match="image_ids"):
        negative_weights(SimCLR(), emb, emb, image_ids=[1])
    with pytest.raises(TypeError, match="not CosineEmbeddingLoss"):
        negative_weights(torch.nn.CosineEmbeddingLoss(), emb, emb)  # type: ignore[arg-type]
