"""What the losses of exercise 14 share: both directions, the mean, and the mistakes in these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.contrastive.losses import DIRECTIONS, IN_SIMILARITIES
from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

__all__ = ["SHARED_GRADIENTS", "SHARED_MISTAKES", "both_ways", "eye", "others", "positives"]


def eye(rows: Tensor) -> Tensor:
    """(B, B), True on the diagonal, for (..., B, B)."""
    return torch.eye(rows.shape[-1], dtype=torch.bool, device=rows.device)


def others(rows: Tensor) -> Tensor:
    """(B, B), True where a negative stands."""
    return ~eye(rows)


def positives(rows: Tensor) -> Tensor:
    """The diagonals of (2, B, B) as columns, (2, B, 1)."""
    return rows.diagonal(dim1=1, dim2=2)[..., None]


def both_ways(
    image_emb: Tensor,
    text_emb: Tensor,
    cost: Formula,
    *,
    directions: Formula = torch.add,
    average: Formula = lambda costs: costs.mean(),
    **similarity: Any,
) -> Tensor:
    """The mean of cost(rows (2, B, B)) -> (2, B), whose first axis is the direction."""
    s = pairs.cosines(image_emb, text_emb, **similarity)
    loss: Tensor = average(directions(*cost(torch.stack([s, s.T]))))
    return loss


SHARED_MISTAKES: Sequence[Mistake] = [
    *DIRECTIONS,
    *mistakes(
        {"average": "the mean over the B pairs is wanted"},
        average={
            "the sum over the batch is taken": lambda costs: costs.sum(),
            "divided by B twice (a mean over the whole matrix)": lambda c: c.mean() / len(c),
            "divided by B - 1": lambda costs: costs.sum() / (len(costs) - 1),
            "the mean over the negatives is taken": lambda c: c.mean() / (len(c) - 1),
            "the largest cost is taken": lambda costs: costs.max(),
        },
    ),
    *IN_SIMILARITIES,
]
SHARED_GRADIENTS: Sequence[Mistake] = [
    *pairs.WRONG_COSINE_GRADIENTS,
    *pairs.WRONG_DIRECTION_GRADIENTS,
]
