"""What a loss needs to know of all B x B similarities, without ever holding them all.

At B = 32,768 the similarities of one batch fill 4 GiB, and a loss written out plainly keeps several
such matrices for its gradient. But each query's cost depends on its row only through one number:
its hardest negative, the sum of its hinges, its log-sum-exp. So the matrix is made one tile at a
time, every tile serves both directions (image queries read along its rows, text queries down its
columns), and only B numbers per direction are kept. The gradient makes each tile once more: one
matrix product more, instead of gigabytes of memory (the idea of FlashAttention, arXiv 2205.14135,
section 3.1; for contrastive losses, Inf-CL, arXiv 2410.17243).

    hardest(image_emb, text_emb, ids)              max_k s_bk
    hinge_sums(image_emb, text_emb, offset, ids)   sum_k [offset_b + s_bk]_+
    hinges(...)                                    both of these, from the same tiles
    log_sum_exp(image_emb, text_emb, ids)          log sum_k exp(s_bk)

Here s = image_emb @ text_emb.T of two (B, D), and k runs over the negatives of b: every other pair
that shares none of `ids` with it, each of them (B,). All give (2, B): [0] images ask, [1] texts
ask. A query without negatives gets -inf (its hinges sum to 0). Each can be differentiated once, by
the embeddings and the offset; asking for a second derivative raises RuntimeError.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# Rows and columns of a tile. On a CPU tiles should stay in its cache: this was the fastest of 128
# to 1,024 rows by 1,024 to 16,384 columns. On a GPU, where it was not measured, each step should
# outlast its launch.
SIDE = {"cpu": 1024, "cuda": 4096}
# The largest |s| for which exp(s), sums of B of them, and one over these times 1 / B all stay far
# from the ends of the numbers' range.
SAFE = {torch.float32: 60.0, torch.float64: 600.0}


class Hardest:
    """max_k s_bk, and how many negatives tie for it: they share the gradient, as with amax."""

    def __init__(self, image_emb: Tensor) -> None:
        self.best = image_emb.new_full((2, len(image_emb)), -math.inf)
        self.ties = torch.zeros_like(self.best)

    def see(self, tile: Tensor, spare: Tensor, spans: Spans) -> None:
        for way, span in enumerate(spans):
            best, ties = self.best[way, span], self.ties[way, span]
            higher = torch.maximum(best, tile.amax(dim=1 - way))
            torch.eq(tile, across(higher, way), out=spare)
            ties.mul_(best == higher).add_(spare.sum(dim=1 - way))
            best.copy_(higher)

    def result(self) -> Tensor:
        return self.best.masked_fill(self.best < no_negative(self.best) / 2, -math.inf)

    def slope(self, tile: Tensor, spare: Tensor, spans: Spans, grad: Tensor, out: Tensor) -> None:
        # The tile comes from the same product as before, so that its bits are the same too.
        for way, span in enumerate(spans):
            torch.eq(tile, across(self.best[way, span], way), out=spare)
            out.addcmul_(spare, across(grad[way, span] / self.ties[way, span], way))


class HingeSum:
    """sum_k [offset_b + s_bk]_+, and how many hinges are open: the derivative by the offset."""

    def __init__(self, offset: Tensor) -> None:
        self.offset = offset.detach()  # (B,)
        self.sums = offset.new_zeros(2, len(offset))
        self.open = torch.zeros_like(self.sums)

    def see(self, tile: Tensor, spare: Tensor, spans: Spans) -> None:
        for way, span in enumerate(spans):
            torch.add(tile, across(self.offset[span], way), out=spare).clamp_min_(0)
            self.sums[way, span] += spare.sum(dim=1 - way)
            self.open[way, span] += torch.gt(spare, 0, out=spare).sum(dim=1 - way)

    def result(self) -> Tensor:
        return self.sums.clone()

    def slope(self, tile: Tensor, spare: Tensor, spans: Spans, grad: Tensor, out: Tensor) -> None:
        for way, span in enumerate(spans):
            torch.gt(tile, across(-self.offset[span], way), out=spare)
            out.addcmul_(spare, across(grad[way, span], way))


class LogSumExp:
    """log sum_k exp(s_bk) for any s: every query's sum is taken relative to its own maximum."""

    def __init__(self, image_emb: Tensor) -> None:
        self.best = image_emb.new_full((2, len(image_emb)), -math.inf)
        self.sums = torch.zeros_like(self.best)

    def see(self, tile: Tensor, spare: Tensor, spans: Spans) -> None:
        for way, span in enumerate(spans):
            best, sums = self.best[way, span], self.sums[way, span]
            higher = torch.maximum(best, tile.amax(dim=1 - way))
            torch.sub(tile, across(higher, way), out=spare).exp_()
            sums.mul_((best - higher).exp()).add_(spare.sum(dim=1 - way))
            best.copy_(higher)

    def result(self) -> Tensor:
        value = self.best + self.sums.log()
        return value.masked_fill(self.best < no_negative(self.best) / 2, -math.inf)

    def slope(self, tile: Tensor, spare: Tensor, spans: Spans, grad: Tensor, out: Tensor) -> None:
        for way, span in enumerate(spans):
            value = self.best[way, span] + self.sums[way, span].log()
            torch.sub(tile, across(value, way), out=spare).exp_()
            out.addcmul_(spare, across(grad[way, span], way))


class SmallLogSumExp:
    """The same where no |s| exceeds SAFE: without a maximum, and one exp for both directions."""

    def __init__(self, image_emb: Tensor) -> None:
        self.sums = image_emb.new_zeros(2, len(image_emb))

    def see(self, tile: Tensor, spare: Tensor, spans: Spans) -> None:
        tile.exp_()
        for way, span in enumerate(spans):
            self.sums[way, span] += tile.sum(dim=1 - way)

    def result(self) -> Tensor:
        return self.sums.log()

    def slope(self, tile: Tensor, spare: Tensor, spans: Spans, grad: Tensor, out: Tensor) -> None:
        share = grad / self.sums.where(self.sums > 0, 1)  # (2, B)
        torch.add(share[0, spans[0], None], share[1, spans[1]], out=spare)
        out.addcmul_(tile.exp_(), spare)


Spans = tuple[slice, slice]  # which images are a tile's rows, which texts its columns
Reduction = Hardest | HingeSum | LogSumExp | SmallLogSumExp


def across(numbers: Tensor, way: int) -> Tensor:
    """One number per query, to be broadcast over a tile: (R, 1) for images, (1, C) for texts."""
    return numbers.unsqueeze(1 - way)


def no_negative(emb: Tensor) -> float:
    """What stands in a tile for a pair that is no negative: less than any similarity.

    Finite, because the difference of two infinities is NaN; far enough from the least number that
    a pair may be ruled out three times over, by its place and by two ids.
    """
    return torch.finfo(emb.dtype).min / 8


def consecutive(ids: Tensor, dtype: torch.dtype) -> Tensor:
    """(B,) ids as the numbers 0, 1, ..., in `dtype`: floats are compared faster than integers.

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
    """Every tile of the similarities, a spare of its shape, and where it lies; both reused."""
    batch = len(image_emb)
    side = SIDE.get(image_emb.device.type, SIDE["cuda"])
    room = image_emb.new_empty(2, min(side, batch) ** 2)
    for first in range(0, batch, side):
        rows = slice(first, min(first + side, batch))
        for start in range(0, batch, side):
            cols = slice(start, min(start + side, batch))
            shape = (rows.stop - rows.start, cols.stop - cols.start)
            tile, spare = (part[: math.prod(shape)].view(shape) for part in room)
            torch.mm(image_emb[rows], text_emb[cols].T, out=tile)
            tile.diagonal(first - start).fill_(no_negative(tile))  # a tile may have no such entry
            for numbers in ids:
                torch.eq(numbers[rows, None], numbers[None, cols], out=spare)
                tile.add_(spare, alpha=no_negative(tile))
            yield tile, spare, (rows, cols)


class InTiles(torch.autograd.Function):
    """One walk for the values of all `reductions`, (2, B) each, and one for the gradient."""

    @staticmethod
    def forward(image_emb, text_emb, offset, ids, reductions):
        for tile, spare, spans in walk(image_emb, text_emb, ids):
            for reduction in reductions:
                reduction.see(tile, spare, spans)
        return tuple(reduction.result() for reduction in reductions)

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.ids, ctx.reductions = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, *grads):
        return *Slopes.apply(*ctx.saved_tensors, ctx.ids, ctx.reductions, *grads), None, None


class Slopes(torch.autograd.Function):
    """The gradient of InTiles, as a step of its own so that its derivative is refused.

    torch's `once_differentiable` refuses only where the gradient that comes in can itself be
    differentiated. Here it is often constant, 1 / B, and a second derivative would silently miss
    all that depends on the similarities.
    """

    @staticmethod
    def forward(image_emb, text_emb, offset, ids, reductions, *grads):
        image_grad, text_grad = torch.zeros_like(image_emb), torch.zeros_like(text_emb)
        slope: Tensor | None = None
        # Autocast, if backward is called inside of it, must not round the products.
        with torch.autocast(image_emb.device.type, enabled=False):
            for tile, spare, (rows, cols) in walk(image_emb, text_emb, ids):
                if slope is None or slope.shape != tile.shape:
                    slope = torch.empty_like(tile)
                slope.zero_()
                for reduction, grad in zip(reductions, grads, strict=True):
                    reduction.slope(tile, spare, (rows, cols), grad, slope)
                image_grad[rows].addmm_(slope, text_emb[cols])
                text_grad[cols].addmm_(slope.T, image_emb[rows])
        offset_grad = None
        for reduction, grad in zip(reductions, grads, strict=True):
            if isinstance(reduction, HingeSum):
                offset_grad = (grad * reduction.open).sum(dim=0)
        return image_grad, text_grad, offset_grad

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *grads):
        raise RuntimeError(
            "a loss in tiles can be differentiated only once; batches small enough for the whole "
            "matrix (mmret_lib.losses.base.WHOLE pairs) can be differentiated again"
        )


def reduce(
    image_emb: Tensor,
    text_emb: Tensor,
    ids: Sequence[Tensor],
    *reductions: Reduction,
    offset: Tensor | None = None,
) -> tuple[Tensor, ...]:
    numbers = tuple(consecutive(one, image_emb.dtype) for one in ids)
    return InTiles.apply(image_emb, text_emb, offset, numbers, reductions)


def hardest(image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor] = ()) -> Tensor:
    """(2, B): each query's most similar negative's similarity. Ties share the gradient."""
    return reduce(image_emb, text_emb, ids, Hardest(image_emb))[0]


def hinge_sums(
    image_emb: Tensor, text_emb: Tensor, offset: Tensor, ids: Sequence[Tensor] = ()
) -> Tensor:
    """(2, B): sum_k [offset_b + s_bk]_+, with `offset` (B,) the same in both directions."""
    return reduce(image_emb, text_emb, ids, HingeSum(offset), offset=offset)[0]


def hinges(
    image_emb: Tensor, text_emb: Tensor, offset: Tensor, ids: Sequence[Tensor] = ()
) -> tuple[Tensor, ...]:
    """`hinge_sums` and `hardest` for little more than the price of one."""
    both = HingeSum(offset), Hardest(image_emb)
    return reduce(image_emb, text_emb, ids, *both, offset=offset)


def log_sum_exp(
    image_emb: Tensor,
    text_emb: Tensor,
    ids: Sequence[Tensor] = (),
    largest: float = math.inf,
) -> Tensor:
    """(2, B): log sum_k exp(s_bk), faster where `largest`, the most |s| can be, is small."""
    kind = SmallLogSumExp if largest <= SAFE[image_emb.dtype] else LogSumExp
    return reduce(image_emb, text_emb, ids, kind(image_emb))[0]
