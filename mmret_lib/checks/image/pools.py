"""Task 3 of exercise 02: the pooling, and the ways to get it wrong."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import mistakes


def global_pool(
    maps: Tensor, *, pooled: Callable[[Tensor], Tensor] = lambda m: m.mean((2, 3))
) -> Tensor:
    """The right formula: the mean over height and width."""
    return pooled(maps)


MEAN = "the mean over height and width is wanted"
WRONG_POOLS = mistakes(
    {"pooled": MEAN},
    pooled={
        "the sum is taken": lambda m: m.sum((2, 3)),
        "the maximum is taken": lambda m: m.amax((2, 3)),
        "the minimum is taken": lambda m: m.amin((2, 3)),
        "the median is taken": lambda m: m.flatten(2).median(dim=2).values,
        "the middle of the map is taken": lambda m: m[:, :, m.shape[2] // 2, m.shape[3] // 2],
        "the first place of the map is taken": lambda m: m[:, :, 0, 0],
        "squeeze() drops every dimension of size 1, batch and channels too: name the dimensions": (
            lambda m: m.mean((2, 3), keepdim=True).squeeze()
        ),
        "the sum is divided by the height alone": lambda m: m.sum((2, 3)) / m.shape[2],
        "the sum is divided by the width alone": lambda m: m.sum((2, 3)) / m.shape[3],
        "the sum is divided by H * H: the map need not be square": (
            lambda m: m.sum((2, 3)) / m.shape[2] ** 2
        ),
        "the sum is divided by W * W: the map need not be square": (
            lambda m: m.sum((2, 3)) / m.shape[3] ** 2
        ),
        "the sum is divided by H + W": lambda m: m.sum((2, 3)) / (m.shape[2] + m.shape[3]),
        "the sum is divided by 49, as if every map were 7 x 7": lambda m: m.sum((2, 3)) / 49,
        "the sum is divided by 16, as if every map were 4 x 4": lambda m: m.sum((2, 3)) / 16,
        "the mean is over channels and columns: channels are dim 1, and they stay": (
            lambda m: turned(m, m.mean((1, 3)))
        ),
        "the mean is over channels and rows: channels are dim 1, and they stay": (
            lambda m: turned(m, m.mean((1, 2)))
        ),
        "the mean is over the first two dimensions, batch and channels": (
            lambda m: turned(m, m.mean((0, 1)))
        ),
        "the mean is over the whole batch: each image keeps its own": (
            lambda m: m.mean((0, 2, 3)).expand(m.shape[:2])
        ),
        "the mean is over the channels, too": (
            lambda m: m.mean((1, 2, 3))[:, None].expand(m.shape[:2])
        ),
        "zeros are left out of the mean": (
            lambda m: m.sum((2, 3)) / (m != 0).sum((2, 3)).clamp(min=1)
        ),
        "a ReLU stands before the mean": lambda m: m.relu().mean((2, 3)),
        "a ReLU stands behind the mean": lambda m: m.mean((2, 3)).relu(),
        "the square root of the mean square is taken": lambda m: m.square().mean((2, 3)).sqrt(),
        "the means are divided by their length: nothing was said of normalising": (
            lambda m: torch.nn.functional.normalize(m.mean((2, 3)), dim=1)
        ),
    },
)


def turned(m: Tensor, result: Tensor) -> Tensor:
    """The result of a mean over wrong dimensions, where its shape happens to be right."""
    return result if result.shape == m.shape[:2] else m.new_full(m.shape[:2], torch.nan)
