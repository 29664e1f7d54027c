"""The log-sum-exp of every row of a matrix that is made tile by tile, and how to get it wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes
from mmret_lib.checks.large.losses import numbers
from mmret_lib.checks.large.making import Largest, kept_by


def log_sum_exp_in_tiles(
    a: Tensor,
    b: Tensor,
    temperature: float,
    tile: int,
    *,
    scores: Formula = lambda a, b, temperature: a @ b.T / temperature,
    pool: Callable[[Tensor], Tensor] = lambda s: s.logsumexp(dim=1),
) -> Tensor:
    """(N,): the right answer, by the whole matrix."""
    return pool(scores(a, b, temperature))


def by_strips(
    a: Tensor,
    b: Tensor,
    temperature: float,
    tile: int,
    *,
    combine: Callable[[list[Tensor]], Tensor],
    starts: Callable[[int, int], Iterable[int]] = lambda size, tile: range(0, size, tile),
) -> Tensor:
    """A wrong answer: what it makes of the strips of the matrix, (N, at most tile) each."""
    s = a @ b.T / temperature
    strips = [s[:, start : start + tile] for start in starts(b.shape[0], tile)]
    return combine(strips) if strips else torch.full_like(s[:, 0], -torch.inf)


def sums(strips: list[Tensor]) -> list[Tensor]:
    """Each strip's sum of exponentials, less its row's largest, (N,)."""
    return [(s - s.amax(dim=1, keepdim=True)).exp().sum(dim=1) for s in strips]


def largest(strips: list[Tensor]) -> Tensor:
    """Each row's largest, (N,)."""
    return torch.cat(strips, dim=1).amax(dim=1)


def upside_down(strips: list[Tensor]) -> Tensor:
    """The sum so far is multiplied by exp(new - old)."""
    top = strips[0].amax(dim=1)
    total = torch.zeros_like(top)
    for strip in strips:
        new = torch.maximum(top, strip.amax(dim=1))
        total = total * (new - top).exp() + (strip - new[:, None]).exp().sum(dim=1)
        top = new
    return total.log() + top


def one_too_many(strips: list[Tensor]) -> Tensor:
    """The running total begins with exp(0)."""
    whole = torch.cat(strips, dim=1)
    return torch.cat([whole, torch.zeros_like(whole[:, :1])], dim=1).logsumexp(dim=1)


def square_tiles(a: Tensor, b: Tensor, temperature: float, tile: int) -> Tensor:
    """A wrong answer: row tile n meets column tile n alone."""
    found = []
    for start in range(0, len(a), tile):
        rows, columns = a[start : start + tile], b[start : start + tile]
        found.append((rows @ columns.T / temperature).logsumexp(dim=1))
    return torch.cat(found)


def stripped(says: str, **steps: Any) -> Mistake:
    """A mistake in what is done with the strips."""
    return Mistake(says, partial(by_strips, **steps))


RESCALE = (
    "what was summed before has to be brought to the new largest: total * exp(old - new) + the "
    "tile's sum of exp(s - new)"
)
LOW = (
    "scores of several hundred overflow, or underflow, in exp: subtract the largest so far before "
    "the exponential, or join the tiles' log-sum-exps by torch.logaddexp"
)
RISING = f"where a later tile has larger scores it overflows: {RESCALE}"
WRONG_TILES = [
    *mistakes(
        {
            "scores": "the scores are a @ b.T / temperature, as they are",
            "pool": "wanted is log(sum(exp(score))) over all rows of b",
        },
        scores={
            "the temperature is left out": lambda a, b, t: a @ b.T,
            "the scores are multiplied by the temperature": lambda a, b, t: a @ b.T * t,
            "the rows are normalised": (
                lambda a, b, t: F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / t
            ),
            "distances take the place of dot products": lambda a, b, t: -torch.cdist(a, b) / t,
            "the sign of the scores is wrong": lambda a, b, t: -(a @ b.T) / t,
            "a's rows are compared with each other": lambda a, b, t: a @ a.T / t,
            "the diagonal is left out, as if b's rows were a's partners: here every row of b "
            "counts": lambda a, b, t: (a @ b.T / t).where(
                ~torch.eye(len(a), len(b), dtype=torch.bool, device=a.device), -torch.inf
            ),
        },
        pool={
            "the sum goes over the rows of a": lambda s: s.logsumexp(dim=0),
            "the logarithm is missing": lambda s: s.exp().sum(dim=1),
            "the largest score is returned": lambda s: s.amax(dim=1),
            "the scores are added without exp": lambda s: s.sum(dim=1),
            "the mean of the exponentials is taken": lambda s: (
                s.logsumexp(dim=1) - math.log(s.shape[1])
            ),
            "the largest is subtracted, but not added again at the end": (
                lambda s: s.logsumexp(dim=1) - s.amax(dim=1)
            ),
            "log1p adds 1 to the sum": lambda s: s.exp().sum(dim=1).log1p(),
            LOW: lambda s: s.exp().sum(dim=1).log(),
            "the result is divided by the number of b's rows": lambda s: (
                s.logsumexp(dim=1) / s.shape[1]
            ),
            "the largest of the whole matrix is subtracted, and rows far below it underflow: each "
            "row has its own": lambda s: (s - s.max()).exp().sum(dim=1).log() + s.max(),
            "the mean over the rows is returned: one number for each is wanted": lambda s: (
                s.logsumexp(dim=1).mean()
            ),
        },
    ),
    stripped(
        "the largest changes from tile to tile, and the sum is not brought along: " + RESCALE,
        combine=lambda strips: torch.stack(sums(strips)).sum(dim=0).log() + largest(strips),
    ),
    stripped(
        "the sum keeps the earlier tiles' largest, and the last tile's is added at the end: "
        + RESCALE,
        combine=lambda strips: torch.stack(sums(strips)).sum(dim=0).log() + strips[-1].amax(dim=1),
    ),
    stripped(
        "the sum is brought to the new largest the wrong way round: total * exp(old - new), which "
        "makes it smaller",
        combine=upside_down,
    ),
    stripped(
        "the tiles' log-sum-exps are added: it is their exponentials that add up, torch.logaddexp",
        combine=lambda strips: torch.stack([s.logsumexp(dim=1) for s in strips]).sum(dim=0),
    ),
    stripped(
        "the mean of the tiles' log-sum-exps is taken: torch.logaddexp joins two of them",
        combine=lambda strips: torch.stack([s.logsumexp(dim=1) for s in strips]).mean(dim=0),
    ),
    stripped(
        "the largest of the tiles' log-sum-exps is taken: torch.logaddexp joins two of them",
        combine=lambda strips: torch.stack([s.logsumexp(dim=1) for s in strips]).amax(dim=0),
    ),
    stripped(
        "only the last column tile counts, each overwrites the one before: join them",
        combine=lambda strips: strips[-1].logsumexp(dim=1),
    ),
    stripped(
        "only the first column tile counts: join all",
        combine=lambda strips: strips[0].logsumexp(dim=1),
    ),
    stripped(
        "the running total begins at 0, which counts as one more score of 0: the logarithm of an "
        "empty sum is -inf",
        combine=one_too_many,
    ),
    stripped(
        "columns are left out at the end, where their number is no multiple of tile: the last tile "
        "is a smaller one, range(0, M, tile)",
        combine=lambda strips: torch.cat(strips, dim=1).logsumexp(dim=1),
        starts=lambda size, tile: range(0, size - tile + 1, tile),
    ),
    Mistake(
        "each tile of rows meets one tile of columns alone, those on the diagonal: two loops, one "
        "within the other, meet all",
        square_tiles,
    ),
]


def detached_but_last(a: Tensor, b: Tensor, temperature: float, tile: int) -> Tensor:
    """A wrong gradient: what was summed before is cut off."""
    s = a @ b.T / temperature
    strips = [s[:, start : start + tile] for start in range(0, len(b), tile)]
    strips = [*(each.detach() for each in strips[:-1]), strips[-1]]
    return torch.cat(strips, dim=1).logsumexp(dim=1)


def by_largest(a: Tensor, b: Tensor, temperature: float, tile: int) -> Tensor:
    """A wrong gradient: that of the largest score alone."""
    s = a @ b.T / temperature
    top = s.amax(dim=1)
    return s.logsumexp(dim=1).detach() - top.detach() + top


WRONG_TILE_GRADIENTS = [
    Mistake(
        "the running total is detached, so only the last tile gets any: nothing but the largest "
        "may be detached",
        detached_but_last,
    ),
    Mistake("it reaches the largest score of each row alone", by_largest),
    *mistakes(
        {},
        scores={
            "a is detached": lambda a, b, t: a.detach() @ b.T / t,
            "b is detached": lambda a, b, t: a @ b.detach().T / t,
        },
    ),
]


# ---------------------------------------------------------------------------------------------
# The matrix must not be there, neither in the forward pass nor for the gradient

SIZE, TILE, DIM = 96, 8, 3


def makes_no_matrix(function: Formula) -> str | None:
    """No tensor has more numbers than a tile, or than a and b have; forward and backward."""
    a, b = (numbers(size, DIM, seed=size).requires_grad_() for size in (SIZE, SIZE + 8))
    enough = max(TILE * TILE, b.numel())
    with Largest() as watch:
        value = function(a, b, 0.5, TILE)
    if says := too_large(watch, enough):
        return says
    with Largest() as watch:
        value.sum().backward()
    if says := too_large(watch, enough):
        return f"in the backward pass {says}"
    return None


def too_large(watch: Largest, enough: int) -> str | None:
    """Which tensor has more than enough numbers."""
    if watch.numbers <= enough:
        return None
    shape = " × ".join(map(str, watch.shape))
    start = f"for {SIZE} rows and {SIZE + 8} columns in tiles of {TILE} a tensor of {shape}"
    if watch.numbers >= SIZE * SIZE:
        return f"{start} is made: that is the whole matrix, and only a tile of it may exist"
    return (
        f"{start} is made, larger than a tile: go in tiles along the rows of a and, within that "
        "loop, along those of b"
    )


def keeps_no_matrix(function: Formula) -> str | None:
    """What waits for the backward pass is far less than the matrix."""
    size, tile = 256, 32
    a, b = (numbers(size, 2, seed=seed).requires_grad_() for seed in (1, 2))
    kept, value = kept_by(lambda: function(a, b, 0.5, tile))
    if kept < size * size:
        return None
    del value
    return (
        f"the value needs no matrix, the gradient does: for {size} × {size} scores {kept:,} "
        "numbers are kept until the backward pass, every tile of them. Let a tile be made again "
        "there: checkpoint(of_tile, a[rows], b[columns], use_reentrant=False), where of_tile is a "
        "function from two parts to the tile's log-sum-exp"
    )
