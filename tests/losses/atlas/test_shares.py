"""The closed form of each loss's shares is the derivative of the loss itself."""

from collections.abc import Callable

import pytest
import torch
from atlas_losses import MADE
from hypothesis import given
from hypothesis import strategies as st
from loss_batches import IDS, LONELY, negatives_of, pairs, quick, seeds
from torch import Tensor

from mmret_lib.losses.base import PairLoss, similarities
from mmret_lib.losses.negatives import find_negatives


def assert_same_shares(closed: Tensor, gradient: Tensor) -> None:
    """Compare (B, B) by rows, up to the rounding of the gradient: 1 - sigmoid is off by 1e-16."""
    assert closed.dtype == gradient.dtype == torch.float64 and (closed >= 0).all()
    total = closed.sum(dim=1, keepdim=True)
    shares = closed / total.where(total > 0, 1)
    torch.testing.assert_close(
        shares * gradient.sum(dim=1, keepdim=True), gradient, rtol=1e-9, atol=1e-13
    )


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
@pytest.mark.parametrize("ids", [{}, IDS, LONELY])
@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_is_the_gradient(make: Callable, ids: dict, seed: int) -> None:
    batch = len(ids.get("image_ids", range(7)))
    loss, similarity = make(), similarities(*pairs(batch, 4, seed))
    numbers = [torch.tensor([values.index(v) for v in values]) for values in ids.values()]
    negatives = find_negatives(similarity, numbers)
    for rows in (similarity, similarity.T):
        closed = loss.push(rows, negatives).detach()
        assert_same_shares(closed, PairLoss.push(loss, rows, negatives))
        for b in range(batch):
            others = negatives_of(b, batch, **ids)
            assert not closed[b, [k for k in range(batch) if k not in others]].any()


@quick
@given(seed=seeds, batch=st.integers(2, 9), data=st.data())
@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_over_random_batches(make: Callable, seed: int, batch: int, data) -> None:
    few = st.lists(st.integers(0, 3), min_size=batch, max_size=batch)
    ids = [torch.tensor(data.draw(few)) for _ in range(2)]
    loss, similarity = make(), similarities(*pairs(batch, 4, seed))
    negatives = find_negatives(similarity, ids)
    closed = loss.push(similarity, negatives).detach()
    assert_same_shares(closed, PairLoss.push(loss, similarity, negatives))
