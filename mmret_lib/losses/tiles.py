"""The losses of large batches, without ever holding all B x B similarities.

At B = 32,768 the similarities of one batch fill 4 GiB, and a loss written out plainly keeps several
such matrices for its gradient. But each query's cost depends on its row only through one number:
its hardest negative, the sum of its hinges, its log-sum-exp. So the matrix is made one tile at a
time, every tile serves both directions (image queries read along its rows, text queries down its
columns), and only B numbers per direction are kept. The gradient makes each tile once more: one
matrix product more, instead of gigabytes of memory (the idea of FlashAttention, arXiv 2205.14135,
section 3.1; for contrastive losses, Inf-CL, arXiv 2410.17243).

`sum_triplet`, `max_triplet` and `simclr` return what the losses of these names return, from checked
embeddings (B, D) and ids (B,). They can be differentiated once; a second derivative raises
RuntimeError.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mmret_lib.losses.base import unit_length
from mmret_lib.losses.reductions import (
    SAFE,
    Hardest,
    HingeSum,
    LogSumExp,
    Reduction,
    SmallLogSumExp,
    Spans,
    no_negative,
)

# The largest batch whose similarities are computed at once, which up to here is as fast as tiles.
WHOLE = 256
# Rows and columns of a tile. On a CPU a tile should fit into its cache: this was the fastest of 128
# to 1,024 rows by 1,024 to 16,384 columns. On a GPU (not measured) each step should take longer
# than its launch.
SIDE = {"cpu": 1024, "cuda": 4096}

Number = float | Tensor  # a loss's margin or temperature; a scalar tensor while it is learned


# The losses -----------------------------------------------------------------------------------


def sum_triplet(
    image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor], margin: Number
) -> Tensor:
    """Return what `SumTriplet` returns of a checked batch, a scalar."""
    image_emb, text_emb = unit_length(image_emb), unit_length(text_emb)
    offset = margin - positives(image_emb, text_emb)  # (B,)
    (sums,) = reduce(image_emb, text_emb, ids, HingeSum(offset), offset=offset)  # (2, B)
    return sums.mean(dim=1).sum()


def max_triplet(
    image_emb: Tensor,
    text_emb: Tensor,
    ids: Sequence[Tensor],
    margin: Number,
    early: Tensor | None = None,
) -> Tensor:
    """Return what `MaxTriplet` returns of a checked batch, a scalar.

    Args:
        early: a bool; where it is true, the sum of the hinges takes the place of the largest.
    """
    image_emb, text_emb = unit_length(image_emb), unit_length(text_emb)
    offset = margin - positives(image_emb, text_emb)  # (B,)
    if early is None:
        (hardest,) = reduce(image_emb, text_emb, ids, Hardest(image_emb))  # (2, B)
        costs = (offset + hardest).relu()
    else:
        both = HingeSum(offset), Hardest(image_emb)
        sums, hardest = reduce(image_emb, text_emb, ids, *both, offset=offset)
        costs = torch.where(early, sums, (offset + hardest).relu())
    return costs.mean(dim=1).sum()


def simclr(
    image_emb: Tensor,
    text_emb: Tensor,
    ids: Sequence[Tensor],
    temperature: Number,
    positive_in_denominator: bool = False,
) -> Tensor:
    """Return what `SimCLR` returns of a checked batch, a scalar."""
    image_emb, text_emb = unit_length(image_emb), unit_length(text_emb)
    positive = positives(image_emb, text_emb) / temperature  # (B,)
    summed = log_sum_exp(image_emb, text_emb, ids, temperature)  # (2, B)
    return simclr_of_sums(summed, positive, positive_in_denominator)


def simclr_of_sums(summed: Tensor, positive: Tensor, positive_in_denominator: bool) -> Tensor:
    """Return SimCLR from log sum_k exp(s_bk / t), (2, B), and s_bb / t, (B,): a scalar."""
    if positive_in_denominator:
        summed = torch.logaddexp(summed, positive)
    counted = summed > -math.inf  # (2, B): queries with a denominator
    costs = (summed - positive).where(counted, 0).sum(dim=1)  # (2,)
    return (costs / counted.sum(dim=1).clamp(min=1)).sum()


def log_sum_exp(
    image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor], temperature: Number
) -> Tensor:
    """Return log sum_k exp(s_bk / temperature) over the negatives, (2, B); -inf without any.

    Args:
        image_emb, text_emb: (B, D) each, rows of length 1.
        ids: (B,) each.
    """
    reduction = kind_of_sum(temperature, image_emb.dtype)(image_emb)
    (summed,) = reduce(image_emb / temperature, text_emb, ids, reduction)
    return summed


def kind_of_sum(temperature: Number, dtype: torch.dtype) -> type[LogSumExp] | type[SmallLogSumExp]:
    """Return which log-sum-exp suits cosines over this temperature."""
    # A learned temperature is not read: the processor would wait for the device.
    small = not isinstance(temperature, Tensor) and 1 / temperature <= SAFE[dtype]
    return SmallLogSumExp if small else LogSumExp


def positives(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """Return s_bb alone, (B,), from rows of length 1 (B, D)."""
    return (image_emb * text_emb).sum(dim=1)


# The walk over the tiles ----------------------------------------------------------------------


def reduce(
    image_emb: Tensor,
    text_emb: Tensor,
    ids: Sequence[Tensor],
    *reductions: Reduction,
    offset: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Return the result of each reduction, (2, B), over the negatives of every query.

    Args:
        image_emb, text_emb: (B, D) each; s = image_emb @ text_emb.T.
        ids: (B,) each; pairs that agree in one are not negatives of each other.
        reductions: each is walked through once, so new ones for every call.
        offset: (B,), what one of the reductions was given, so that it gets its gradient.
    """
    numbers = tuple(consecutive(values, image_emb.dtype) for values in ids)
    results: tuple[Tensor, ...] = _InTiles.apply(image_emb, text_emb, offset, numbers, reductions)
    return results


def consecutive(ids: Tensor, dtype: torch.dtype) -> Tensor:
    """Replace ids (B,) by the numbers 0, 1, ... in `dtype`: floats compare faster than integers.

    NaN equals nothing, here as in `find_negatives`. Unlike torch.unique this does not make the
    processor wait for the device. Exact for B up to 2^24, the whole numbers that float32 holds.
    """
    ordered, order = ids.sort()
    steps = torch.zeros(len(ids), dtype=dtype, device=ids.device)
    steps[1:] = ordered[1:] != ordered[:-1]
    return torch.empty_like(steps).scatter_(0, order, steps.cumsum(0))


def walk(
    image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor, Spans]]:
    """Yield every tile of the similarities, a buffer of its shape, and its rows and columns.

    The memory of tile and buffer is used again for the next tile.
    """
    batch = len(image_emb)
    side = SIDE.get(image_emb.device.type, SIDE["cuda"])
    memory = image_emb.new_empty(2, min(side, batch) ** 2)
    for first in range(0, batch, side):
        rows = slice(first, min(first + side, batch))
        for start in range(0, batch, side):
            cols = slice(start, min(start + side, batch))
            shape = (rows.stop - rows.start, cols.stop - cols.start)
            tile, buffer = (part[: math.prod(shape)].view(shape) for part in memory)
            torch.mm(image_emb[rows], text_emb[cols].T, out=tile)
            tile.diagonal(first - start).fill_(no_negative(tile))  # a tile may have no such entry
            for numbers in ids:
                torch.eq(numbers[rows, None], numbers[None, cols], out=buffer)
                tile.add_(buffer, alpha=no_negative(tile))
            yield tile, buffer, (rows, cols)


class _InTiles(torch.autograd.Function):
    """Compute all `reductions`, (2, B) each, in one walk, and their gradient in another."""

    @staticmethod
    def forward(
        image_emb: Tensor,
        text_emb: Tensor,
        offset: Tensor | None,
        ids: Sequence[Tensor],
        reductions: Sequence[Reduction],
    ) -> tuple[Tensor, ...]:
        # Autocast, also where backward is called inside of it, must not round the products.
        with torch.autocast(image_emb.device.type, enabled=False):
            for tile, buffer, spans in walk(image_emb, text_emb, ids):
                for reduction in reductions:
                    reduction.update(tile, buffer, spans)
        return tuple(reduction.result() for reduction in reductions)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.ids, ctx.reductions = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return *_Gradients.apply(*ctx.saved_tensors, ctx.ids, ctx.reductions, *grads), None, None


class _Gradients(torch.autograd.Function):
    """The gradient of _InTiles, as a function of its own that refuses to be differentiated.

    torch's `once_differentiable` refuses only where the gradient that comes in can itself be
    differentiated. Here it is often constant, 1 / B, and a second derivative would silently miss
    all that depends on the similarities.
    """

    @staticmethod
    def forward(
        image_emb: Tensor,
        text_emb: Tensor,
        offset: Tensor | None,
        ids: Sequence[Tensor],
        reductions: Sequence[Reduction],
        *grads: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        image_grad, text_grad = torch.zeros_like(image_emb), torch.zeros_like(text_emb)
        memory: Tensor | None = None
        with torch.autocast(image_emb.device.type, enabled=False):
            for tile, buffer, (rows, cols) in walk(image_emb, text_emb, ids):
                if memory is None or memory.shape != tile.shape:
                    memory = torch.empty_like(tile)
                gradient = memory.zero_()  # with respect to the tile's similarities
                for reduction, grad in zip(reductions, grads, strict=True):
                    reduction.add_gradient(tile, buffer, (rows, cols), grad, gradient)
                image_grad[rows].addmm_(gradient, text_emb[cols])
                text_grad[cols].addmm_(gradient.T, image_emb[rows])
        offset_grad = None
        for reduction, grad in zip(reductions, grads, strict=True):
            if reduction.by_offset is not None:
                offset_grad = (grad * reduction.by_offset).sum(dim=0)
        return image_grad, text_grad, offset_grad

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(
            "a loss in tiles can be differentiated only once; batches small enough for the whole "
            "matrix (mmret_lib.losses.tiles.WHOLE pairs) can be differentiated again"
        )
