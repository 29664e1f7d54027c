"""The reductions that the atlas adds to those of `mmret_lib.losses.reductions`; see there."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.losses.reductions import (
    LogSumExp,
    Reduction,
    SmallLogSumExp,
    Spans,
    across,
    no_negative,
)


class SoftplusSum(Reduction):
    """sum_k log(1 + e^s_bk), (B,), of the images alone: the texts' sums have the same terms."""

    def __init__(self, image_emb: Tensor) -> None:
        self.sums = image_emb.new_zeros(len(image_emb))

    def update(self, tile: Tensor, buffer: Tensor, spans: Spans) -> None:
        """Take in a tile of the similarities."""
        self.sums[spans[0]] += F.softplus(tile).sum(dim=1)

    def result(self) -> Tensor:
        """Return the numbers, (B,)."""
        return self.sums.clone()

    def add_gradient(
        self, tile: Tensor, buffer: Tensor, spans: Spans, grad: Tensor, out: Tensor
    ) -> None:
        """Add the gradient by a tile to `out`."""
        out.addcmul_(tile.sigmoid_(), grad[spans[0], None])


class WeightedLogSumExp(Reduction):
    """log sum_k w_bk exp(s_bk), the weights w of mean 1 over b's negatives and taken as constants.

    Args:
        image_emb: (B, D), for its shape.
        log_weights: makes log w, up to a constant in each row, from a tile of the similarities.
        small: neither |log w| nor |s + log w| exceeds `SAFE`.
    """

    def __init__(
        self, image_emb: Tensor, log_weights: Callable[[Tensor], Tensor], small: bool
    ) -> None:
        self.log_weights = log_weights
        kind = SmallLogSumExp if small else LogSumExp
        self.weighted: Reduction = kind(image_emb)  # log sum_k w_bk exp(s_bk)
        self.weights: Reduction = kind(image_emb)  # log sum_k w_bk
        self.count = image_emb.new_zeros(len(image_emb))  # of both directions: a symmetric mask

    def update(self, tile: Tensor, buffer: Tensor, spans: Spans) -> None:
        """Take in a tile of the similarities."""
        torch.gt(tile, no_negative(tile) / 2, out=buffer)
        self.count[spans[0]] += buffer.sum(dim=1)
        weights = self.of(tile)
        self.weighted.update(tile.add_(weights), buffer, spans)
        self.weights.update(weights, buffer, spans)

    def result(self) -> Tensor:
        """Return the numbers, (2, B)."""
        mean = self.weights.result() - self.count.log()
        return self.weighted.result() - mean.where(self.count > 0, 0)  # not -inf less -inf

    def add_gradient(
        self, tile: Tensor, buffer: Tensor, spans: Spans, grad: Tensor, out: Tensor
    ) -> None:
        """Add the gradient by a tile to `out`."""
        self.weighted.add_gradient(tile.add_(self.of(tile)), buffer, spans, grad, out)

    def of(self, tile: Tensor) -> Tensor:
        """Return the tile's log w, finite also where a pair is no negative."""
        return self.log_weights(tile).clamp_(min=no_negative(tile))


class SigmoidSum(Reduction):
    """sum_k sigmoid(offset_b + s_bk)."""

    def __init__(self, offset: Tensor) -> None:
        self.offset = offset.detach()  # (B,)
        self.sums = offset.new_zeros(2, len(offset))
        self.by_offset: Tensor = torch.zeros_like(self.sums)

    def update(self, tile: Tensor, buffer: Tensor, spans: Spans) -> None:
        """Take in a tile of the similarities."""
        for way, span in enumerate(spans):
            torch.add(tile, across(self.offset[span], way), out=buffer).sigmoid_()
            self.sums[way, span] += buffer.sum(dim=1 - way)
            self.by_offset[way, span] += self.slope(buffer).sum(dim=1 - way)

    def result(self) -> Tensor:
        """Return the numbers, (2, B)."""
        return self.sums.clone()

    def add_gradient(
        self, tile: Tensor, buffer: Tensor, spans: Spans, grad: Tensor, out: Tensor
    ) -> None:
        """Add the gradient by a tile to `out`."""
        for way, span in enumerate(spans):
            torch.add(tile, across(self.offset[span], way), out=buffer).sigmoid_()
            out.addcmul_(self.slope(buffer), across(grad[way, span], way))

    def slope(self, sigmoid: Tensor) -> Tensor:
        """Replace a sigmoid by its derivative, sigmoid (1 - sigmoid)."""
        return torch.addcmul(sigmoid, sigmoid, sigmoid, value=-1, out=sigmoid)


class TopHinges(Reduction):
    """The sum of the k largest [offset_b + s_bk]_+; hinges that tie for the last place share it."""

    def __init__(self, offset: Tensor, k: int) -> None:
        self.offset = offset.detach()  # (B,)
        self.best = offset.new_full((2, len(offset), k), -torch.inf)  # the k largest s_bk, sorted
        self.ties = offset.new_zeros(2, len(offset))  # how many s_bk equal the last of them

    def update(self, tile: Tensor, buffer: Tensor, spans: Spans) -> None:
        """Take in a tile of the similarities."""
        k = self.best.shape[2]
        for way, span in enumerate(spans):
            # In rows of a copy: down the columns of a tile it would take three times as long.
            rows = tile if way == 0 else buffer.view(tile.T.shape).copy_(tile.T)
            best, ties = self.best[way, span], self.ties[way, span]  # (R, k), (R,)
            largest = rows.topk(min(k, rows.shape[1]), dim=1).values
            higher = torch.cat([best, largest], dim=1).topk(k, dim=1).values
            last = higher[:, -1]
            # What equals the new last place stood in the old places, unless it is the old last.
            before = (best == last[:, None]).sum(dim=1)
            torch.eq(tile, across(last, way), out=buffer)
            ties.copy_(torch.where(best[:, -1] == last, ties, before) + buffer.sum(dim=1 - way))
            best.copy_(higher)

    def result(self) -> Tensor:
        """Return the numbers, (2, B)."""
        hinges = (self.best + self.offset[:, None]).clamp_min(0)  # (2, B, k)
        self.by_offset = (hinges > 0).sum(dim=2).to(hinges.dtype)
        return hinges.sum(dim=2)

    def add_gradient(
        self, tile: Tensor, buffer: Tensor, spans: Spans, grad: Tensor, out: Tensor
    ) -> None:
        """Add the gradient by a tile to `out`."""
        # The tile comes from the same product as before, so that its bits are the same too.
        for way, span in enumerate(spans):
            best, grads, closed = self.best[way, span], grad[way, span], -self.offset[span]
            last = best[:, -1]
            torch.gt(tile, across(torch.maximum(last, closed), way), out=buffer)
            out.addcmul_(buffer, across(grads, way))
            # The places that are left to those that tie for the last, if their hinges are open.
            places = (best == last[:, None]).sum(dim=1) / self.ties[way, span].clamp(min=1)
            torch.eq(tile, across(last, way), out=buffer)
            out.addcmul_(buffer, across(grads * places * (last > closed), way))


class Guided(Reduction):
    """Another reduction over those negatives alone that a guide scores below each query's limit.

    The directions drop different negatives, so that each has a reduction of its own.

    Args:
        make: makes the reduction.
        guide: (B, B), as in `FalseNegativeFilter`.
        limit: (B,), query b keeps the negatives k with guide_bk < limit_b.
    """

    def __init__(self, make: Callable[[], Reduction], guide: Tensor, limit: Tensor) -> None:
        self.parts = (make(), make())
        self.guide, self.limit = guide, limit

    def update(self, tile: Tensor, buffer: Tensor, spans: Spans) -> None:
        """Take in a tile of the similarities."""
        for way, part in enumerate(self.parts):
            part.update(self.kept(tile, buffer, spans, way), buffer, spans)

    def result(self) -> Tensor:
        """Return the numbers, (2, B)."""
        return torch.stack([part.result()[way] for way, part in enumerate(self.parts)])

    def add_gradient(
        self, tile: Tensor, buffer: Tensor, spans: Spans, grad: Tensor, out: Tensor
    ) -> None:
        """Add the gradient by a tile to `out`."""
        for way, part in enumerate(self.parts):
            alone = torch.zeros_like(grad)
            alone[way] = grad[way]
            part.add_gradient(self.kept(tile, buffer, spans, way), buffer, spans, alone, out)

    def kept(self, tile: Tensor, buffer: Tensor, spans: Spans, way: int) -> Tensor:
        """Return a copy of the tile in which the dropped negatives of one direction are none."""
        rows, cols = spans
        torch.ge(self.guide[rows, cols], across(self.limit[spans[way]], way), out=buffer)
        return torch.add(tile, buffer, alpha=no_negative(tile))
