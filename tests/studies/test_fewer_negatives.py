"""A loss of which n negatives count: all is the loss itself, fewer push n, each pick as it says."""

import pytest
import torch
from loss_batches import IDS, WITH_NEGATIVES, pairs
from torch import Tensor

from mmret_lib.losses import (
    BarlowTwins,
    MaxTriplet,
    PairLoss,
    SimCLR,
    SumTriplet,
    negative_weights,
)
from mmret_lib.losses.base import similarities
from mmret_lib.losses.negatives import find_negatives
from mmret_lib.studies.fewer_negatives import FewerNegatives

PICKS = pytest.mark.parametrize("pick", ["random", "hardest"])


def pushed(loss: PairLoss, similarity: Tensor) -> Tensor:
    """Where the gradient of a direction is above zero off the diagonal: (B, B)."""
    rows = similarity.detach().clone().requires_grad_()
    negatives = ~torch.eye(len(rows), dtype=torch.bool)
    (gradient,) = torch.autograd.grad(loss.direction(rows, negatives), rows)
    return (gradient != 0) & negatives


@PICKS
@pytest.mark.parametrize("make", WITH_NEGATIVES)
@pytest.mark.parametrize("ids", [{}, IDS])
@pytest.mark.parametrize("count", [4, 99])
def test_all_negatives_are_the_loss_itself(make: type, pick: str, ids: dict, count: int) -> None:
    image_emb, text_emb = pairs()
    expected = make()(image_emb, text_emb, **ids)
    found = FewerNegatives(make(), count, pick)(image_emb, text_emb, **ids)
    torch.testing.assert_close(found, expected)


def test_barlow_twins_with_all_pairs_is_the_loss_itself() -> None:
    image_emb, text_emb = pairs(12, 5)
    found = FewerNegatives(BarlowTwins(0.05), 11)(image_emb, text_emb)
    torch.testing.assert_close(found, BarlowTwins(0.05)(image_emb, text_emb))
    fewer = FewerNegatives(BarlowTwins(0.05), 3)(image_emb, text_emb)
    assert not torch.isclose(fewer, found)


def test_barlow_twins_with_fewer_pairs_keeps_its_diagonal() -> None:
    image_emb, text_emb = pairs(12, 5)
    found = FewerNegatives(BarlowTwins(0.0), 3)(image_emb, text_emb)
    torch.testing.assert_close(found, BarlowTwins(0.0)(image_emb, text_emb))


@PICKS
@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_gradient_reaches_n_negatives_of_each_query(pick: str, count: int) -> None:
    similarity = similarities(*pairs(9, 6))
    for loss in (SimCLR(), SumTriplet(3.0)):  # so wide a margin pushes every negative
        where = pushed(FewerNegatives(loss, count, pick), similarity)
        assert where.sum(dim=1).tolist() == [count] * 9


def test_the_hardest_are_the_hardest() -> None:
    similarity = similarities(*pairs(9, 6))
    where = pushed(FewerNegatives(SimCLR(), 2, "hardest"), similarity)
    for query, row in enumerate(similarity.tolist()):
        order = sorted((k for k in range(9) if k != query), key=lambda k: -row[k])
        assert where[query].nonzero().flatten().tolist() == sorted(order[:2])


def test_duplicates_are_never_picked() -> None:
    image_emb, text_emb = pairs()
    weights = negative_weights(FewerNegatives(SimCLR(), 2, "hardest"), image_emb, text_emb, **IDS)
    ids = [torch.tensor([0, 0, 1, 2, 3]), torch.tensor([0, 1, 0, 2, 1])]
    allowed = find_negatives(image_emb, ids)
    assert (weights[:, ~allowed] == 0).all()
    expected = allowed.sum(dim=1).clamp(max=2)
    assert torch.equal((weights > 0).sum(dim=2), expected.expand(2, 5))


def test_each_direction_draws_its_own_each_call_anew_each_seed_again() -> None:
    similarity = similarities(*pairs(9, 6))
    first, same, other = (FewerNegatives(SimCLR(), 3, seed=seed) for seed in (0, 0, 1))
    draws = [pushed(first, similarity) for _ in range(3)]
    assert not torch.equal(draws[0], draws[1]), "the same negatives in two calls"
    assert all(torch.equal(draw, pushed(same, similarity)) for draw in draws)
    assert not torch.equal(draws[0], pushed(other, similarity))


def test_the_global_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    for loss in (SimCLR(), BarlowTwins()):
        FewerNegatives(loss, 1)(*pairs())
    assert torch.equal(torch.get_rng_state(), state)


def test_max_triplets_first_steps_are_counted() -> None:
    loss = MaxTriplet(all_negatives_steps=2)
    fewer = FewerNegatives(loss, 3)
    similarity = 0.1 * torch.ones(6, 6)  # within the margin everywhere
    kept = []
    for _ in range(3):
        kept.append(int(pushed(fewer, similarity)[0].sum()))
        fewer(*pairs(6, 4))
    assert kept[:2] == [3, 3], "all that count are pushed at first"
    assert len(loss.state_dict()) == len(MaxTriplet(all_negatives_steps=2).state_dict())
    assert not bool(loss.is_early(torch.device("cpu")))


def test_what_cannot_be_picked_is_refused() -> None:
    with pytest.raises(ValueError, match="count 0"):
        FewerNegatives(SimCLR(), 0)
    with pytest.raises(ValueError, match="pick 'easiest'"):
        FewerNegatives(SimCLR(), 1, "easiest")
    with pytest.raises(ValueError, match="no negatives"):
        FewerNegatives(BarlowTwins(), 1, "hardest")
