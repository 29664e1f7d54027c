"""One number per query from the tiles of the similarities: a maximum, a sum, a log-sum-exp.

A reduction is made for one batch and keeps numbers (2, B). Their first index is the `way`: 0 where
images ask, 1 where texts ask. `update` takes in a tile of similarities; `spans` tells which images
are its rows and which texts its columns. `result` returns the numbers. `add_gradient` adds to
`out`, of the tile's shape, the gradient by the tile, given `grad` (2, B), the gradient by the
numbers. A `buffer` of the tile's shape may be written to. A query without negatives gets -inf, or 0
as the sum of its hinges.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# The largest |s| for which exp(s), sums of B of them, and one over these times 1 / B all stay far
# from the ends of the numbers' range.
SAFE = {torch.float32: 60.0, torch.float64: 600.0}

Spans = tuple[slice, slice]  # which images are a tile's rows, which texts its columns


def across(numbers: Tensor, way: int) -> Tensor:
    """Shape a number per query to broadcast over a tile: (R, 1) for images, (1, C) for texts."""
    return numbers.unsqueeze(1 - way)


def no_negative(emb: Tensor) -> float:
    """The value of a tile's entry that is no negative: less than any similarity.

    Finite, because the difference of two infinities is NaN; far enough from the least number that
    a pair may be ruled out three times over, by its place and by two ids.
    """
    return torch.finfo(emb.dtype).min / 8


class Reduction:
    """What every reduction can do; the module's docstring tells what its methods are given."""

    by_offset: Tensor | None = None  # (2, B): the numbers' gradient by the offset, if there is one

    def update(self, tile: Tensor, buffer: Tensor, spans: Spans) -> None:
        """Take in a tile of the similarities."""
        raise NotImplementedError

    def result(self) -> Tensor:
        """Return the numbers, (2, B)."""
        raise NotImplementedError

    def add_gradient(
        self, tile: Tensor, buffer: Tensor, spans: Spans, grad: Tensor, out: Tensor
    ) -> None:
        """Add the gradient by a tile to `out`."""
        raise NotImplementedError


class Hardest(Reduction):
    """max_k s_bk, and how many negatives tie for it: they share the gradient, as with amax."""

    def __init__(self, image_emb: Tensor) -> None:
        self.best = image_emb.new_full((2, len(image_emb)), -math.inf)
        self.ties = torch.zeros_like(self.best)

    def update(self, tile: Tensor, buffer: Tensor, spans: Spans) -> None:
        """Take in a tile of the similarities."""
        for way, span in enumerate(spans):
            best, ties = self.best[way, span], self.ties[way, span]
            higher = torch.maximum(best, tile.amax(dim=1 - way))
            torch.eq(tile, across(higher, way), out=buffer)
            ties.mul_(best == higher).add_(buffer.sum(dim=1 - way))
            best.copy_(higher)

    def result(self) -> Tensor:
        """Return the numbers, (2, B)."""
        return self.best.masked_fill(self.best < no_negative(self.best) / 2, -math.inf)

    def add_gradient(
        self, tile: Tensor, buffer: Tensor, spans: Spans, grad: Tensor, out: Tensor
    ) -> None:
        """Add the gradient by a tile to `out`."""
        # The tile comes from the same product as before, so that its bits are the same too.
        for way, span in enumerate(spans):
            torch.eq(tile, across(self.best[way, span], way), out=buffer)
            out.addcmul_(buffer, across(grad[way, span] / self.ties[way, span], way))


class HingeSum(Reduction):
    """sum_k [offset_b + s_bk]_+; how many hinges are open is the gradient by the offset."""

    def __init__(self, offset: Tensor) -> None:
        self.offset = offset.detach()  # (B,)
        self.sums = offset.new_zeros(2, len(offset))
        self.by_offset: Tensor = torch.zeros_like(self.sums)

    def update(self, tile: Tensor, buffer: Tensor, spans: Spans) -> None:
        """Take in a tile of the similarities."""
        for way, span in enumerate(spans):
            torch.add(tile, across(self.offset[span], way), out=buffer).clamp_min_(0)
            self.sums[way, span] += buffer.sum(dim=1 - way)
            self.by_offset[way, span] += torch.gt(buffer, 0, out=buffer).sum(dim=1 - way)

    def result(self) -> Tensor:
        """Return the numbers, (2, B)."""
        return self.sums.clone()

    def add_gradient(
        self, tile: Tensor, buffer: Tensor, spans: Spans, grad: Tensor, out: Tensor
    ) -> None:
        """Add the gradient by a tile to `out`."""
        for way, span in enumerate(spans):
            torch.gt(tile, across(-self.offset[span], way), out=buffer)
            out.addcmul_(buffer, across(grad[way, span], way))


class LogSumExp(Reduction):
    """log sum_k exp(s_bk) for any s: every query's sum is taken relative to its own maximum."""

    def __init__(self, image_emb: Tensor) -> None:
        self.best = image_emb.new_full((2, len(image_emb)), -math.inf)
        self.sums = torch.zeros_like(self.best)

    def update(self, tile: Tensor, buffer: Tensor, spans: Spans) -> None:
        """Take in a tile of the similarities."""
        for way, span in enumerate(spans):
            best, sums = self.best[way, span], self.sums[way, span]
            higher = torch.maximum(best, tile.amax(dim=1 - way))
            torch.sub(tile, across(higher, way), out=buffer).exp_()
            sums.mul_((best - higher).exp()).add_(buffer.sum(dim=1 - way))
            best.copy_(higher)

    def result(self) -> Tensor:
        """Return the numbers, (2, B)."""
        value = self.best + self.sums.log()
        return value.masked_fill(self.best < no_negative(self.best) / 2, -math.inf)

    def add_gradient(
        self, tile: Tensor, buffer: Tensor, spans: Spans, grad: Tensor, out: Tensor
    ) -> None:
        """Add the gradient by a tile to `out`."""
        for way, span in enumerate(spans):
            value = self.best[way, span] + self.sums[way, span].log()
            torch.sub(tile, across(value, way), out=buffer).exp_()
            out.addcmul_(buffer, across(grad[way, span], way))


class SmallLogSumExp(Reduction):
    """The same where no |s| exceeds SAFE: without a maximum, and one exp for both directions."""

    def __init__(self, image_emb: Tensor) -> None:
        self.sums = image_emb.new_zeros(2, len(image_emb))

    def update(self, tile: Tensor, buffer: Tensor, spans: Spans) -> None:
        """Take in a tile of the similarities."""
        tile.exp_()
        for way, span in enumerate(spans):
            self.sums[way, span] += tile.sum(dim=1 - way)

    def result(self) -> Tensor:
        """Return the numbers, (2, B)."""
        return self.sums.log()

    def add_gradient(
        self, tile: Tensor, buffer: Tensor, spans: Spans, grad: Tensor, out: Tensor
    ) -> None:
        """Add the gradient by a tile to `out`."""
        share = grad / self.sums.where(self.sums > 0, 1)  # (2, B)
        torch.add(share[0, spans[0], None], share[1, spans[1]], out=buffer)
        out.addcmul_(tile.exp_(), buffer)
