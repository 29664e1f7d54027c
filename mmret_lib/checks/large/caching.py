"""The gradient of a batch that goes through its branches in pieces, and the ways to get it wrong.

The tests hold it equal to the gradient of the whole batch at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

Branches = Sequence[nn.Module]
Loss = Callable[[Tensor, Tensor], Tensor]
Gradients = tuple[Tensor, ...]


def parameters(branches: Branches) -> list[nn.Parameter]:
    """List the parameters of the image branch, then those of the text branch."""
    return [parameter for branch in branches for parameter in branch.parameters()]


def gradients(outputs: Sequence[Tensor], branches: Branches, sent: Sequence[Tensor]) -> Gradients:
    """Send gradients back from embeddings to all parameters."""
    return torch.autograd.grad(outputs, parameters(branches), sent, materialize_grads=True)


def of_rows(branches: Branches, loss: Loss, batch: Sequence[Tensor], rows: slice) -> Gradients:
    """The gradient of the loss of some rows alone."""
    with torch.enable_grad():
        value = loss(*(branch(side[rows]) for branch, side in zip(branches, batch, strict=True)))
        return torch.autograd.grad(value, parameters(branches), materialize_grads=True)


def added(parts: Sequence[Gradients]) -> Gradients:
    """The sum over the pieces."""
    return tuple(torch.stack(each).sum(dim=0) for each in zip(*parts, strict=True))


def own_rows(cache: Sequence[Tensor], start: int, piece: int) -> list[Tensor]:
    """A piece's part of the cache of each side."""
    return [side[start : start + piece] for side in cache]


def cached_gradients(
    branches: Branches,
    loss: Loss,
    batch: Sequence[Tensor],
    piece: int,
    *,
    starts: Callable[[int, int], Iterable[int]] = lambda size, piece: range(0, size, piece),
    own: Formula = own_rows,
    total: Callable[[Sequence[Gradients]], Gradients] = added,
) -> Gradients:
    """The right answer: cache the loss's gradient by the embeddings, send it back in pieces."""
    with torch.enable_grad():
        embedded = [
            branch(side).detach().requires_grad_()
            for branch, side in zip(branches, batch, strict=True)
        ]
        cached = torch.autograd.grad(loss(*embedded), embedded, materialize_grads=True)
        parts = []
        for start in starts(len(batch[0]), piece):
            rows = slice(start, start + piece)
            emb = [branch(side[rows]) for branch, side in zip(branches, batch, strict=True)]
            parts.append(gradients(emb, branches, own(cached, start, piece)))
        zero = tuple(torch.zeros_like(each) for each in parameters(branches))
        return total(parts) if parts else zero


def accumulated(
    branches: Branches, loss: Loss, batch: Sequence[Tensor], piece: int, mean: bool
) -> Gradients:
    """A wrong answer: each piece has a loss of its own."""
    firsts = range(0, len(batch[0]), piece)
    parts = [of_rows(branches, loss, batch, slice(each, each + piece)) for each in firsts]
    divisor = len(firsts) if mean else 1
    return tuple(each / divisor for each in added(parts))


def one_side(place: int) -> Formula:
    """A wrong `own`: nothing is sent back into the other branch."""

    def wrong(cache: Gradients, start: int, piece: int) -> list[Tensor]:
        sides = [side[start : start + piece] for side in cache]
        return [side if each == place else 0 * side for each, side in enumerate(sides)]

    return wrong


NEGATIVES = (
    "each piece has a loss of its own, which knows no negatives but those of the piece: take one "
    "loss, of all B embeddings, before anything is sent back"
)
SUM = "the parameters' gradients of all pieces are added, as they are"
ROWS = "the cache has a row for each pair: a piece gets its own, cache[first : first + piece]"
WRONG_CACHES = [
    Mistake(
        f"{NEGATIVES} (the gradients of all pieces are added)", partial(accumulated, mean=False)
    ),
    Mistake(f"{NEGATIVES} (their mean is taken)", partial(accumulated, mean=True)),
    *mistakes(
        {"total": SUM, "own": ROWS},
        starts={
            "pairs are left out at the end, where B is no multiple of piece: the last piece is a "
            "smaller one, range(0, B, piece)": (
                lambda size, piece: range(0, size - piece + 1, piece)
            ),
            "the last piece is left out: range(0, B, piece) has them all": (
                lambda size, piece: range(0, size - piece, piece)
            ),
            "the first piece is left out: range(0, B, piece) has them all": (
                lambda size, piece: range(piece, size, piece)
            ),
            "only the first piece is sent back: range(0, B, piece) has them all": (
                lambda size, piece: [0]
            ),
            "pieces overlap, so pairs count more than once: go on by `piece`, range(0, B, piece)": (
                lambda size, piece: range(size)
            ),
        },
        own={
            "every piece gets the first piece's part of the cache": (
                lambda cache, start, piece: [side[:piece][: len(side) - start] for side in cache]
            ),
            "the caches are swapped, the images get the texts' gradients and the texts those of "
            "the images": lambda cache, start, piece: own_rows(cache[::-1], start, piece),
            "nothing is sent back into the text branch: both have a cache": one_side(0),
            "nothing is sent back into the image branch: both have a cache": one_side(1),
            "ones are sent back, as by emb.sum(), and not the cache: grad_outputs=, or "
            "(emb * cache).sum()": lambda cache, start, piece: [
                torch.ones_like(side) for side in own_rows(cache, start, piece)
            ],
        },
        total={
            "only the last piece's gradients are returned, each piece overwrites those before": (
                lambda parts: parts[-1]
            ),
            "only the first piece's gradients are returned": lambda parts: parts[0],
            "the gradients are divided by the number of pieces, but the loss has taken its mean "
            "already": lambda parts: tuple(each / len(parts) for each in added(parts)),
            "the gradients are multiplied by the number of pieces": (
                lambda parts: tuple(each * len(parts) for each in added(parts))
            ),
            "the gradients have the wrong sign: they are added, not subtracted": (
                lambda parts: tuple(-each for each in added(parts))
            ),
        },
    ),
]
