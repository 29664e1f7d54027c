"""The loss that several processes share, and the ways to get its value or its gradient wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

Parts = Sequence[tuple[Tensor, Tensor]]


def together(loss: Formula, images: list[Tensor], texts: list[Tensor]) -> Tensor:
    """The loss of the whole batch."""
    value: Tensor = loss(torch.cat(images), torch.cat(texts))
    return value


def times(value: Tensor, factor: float) -> Tensor:
    """The same value, whose gradient is multiplied."""
    return value.detach() + factor * (value - value.detach())


def all_gather_loss(
    parts: Parts,
    loss: Formula,
    *,
    own: Formula = lambda rows: rows,
    foreign: Formula = lambda rows: rows.detach(),
    value: Formula = together,
    scale: Formula = lambda v, count: times(v, count),
    result: Formula = torch.stack,
) -> Any:
    """(P,): the loss of the whole batch, with each rank's share of its gradient; right."""
    values = []
    for rank in range(len(parts)):
        images, texts = (
            [own(p[side]) if r == rank else foreign(p[side]) for r, p in enumerate(parts)]
            for side in (0, 1)
        )
        values.append(scale(value(loss, images, texts), len(parts)))
    return result(values)


def local(parts: Parts, loss: Formula, average: bool = False) -> Tensor:
    """A wrong answer: each rank has the loss of its own part."""
    values = torch.stack([loss(*part) for part in parts])
    return values.mean().expand(len(parts)) if average else values


def shifted(parts: Parts, loss: Formula) -> Tensor:
    """A wrong answer: a rank's own images come first, the texts stay in the order of the ranks."""
    values = []
    for rank in range(len(parts)):
        order = [parts[rank], *parts[:rank], *parts[rank + 1 :]]
        values.append(together(loss, [p[0] for p in order], [p[1] for p in parts]))
    return torch.stack(values)


def first_as_own(parts: Parts, loss: Formula) -> Tensor:
    """A wrong gradient: each rank thinks that it is rank 0."""
    count = len(parts)
    sides = [
        [part[side] if r == 0 else part[side].detach() for r, part in enumerate(parts)]
        for side in (0, 1)
    ]
    return torch.stack([times(together(loss, *sides), count)] * count)


def one_side_kept(kept: int) -> Formula:
    """A wrong gradient: of a rank's own rows those of one branch are detached as well."""

    def wrong(parts: Parts, loss: Formula) -> Tensor:
        half = [
            tuple(rows if side == kept else rows.detach() for side, rows in enumerate(part))
            for part in parts
        ]
        return all_gather_loss(half, loss)  # type: ignore[arg-type, no-any-return]

    return wrong


GATHER = (
    "each rank takes the loss of the whole batch, from the rows of all ranks, in the order of the "
    "ranks: torch.cat([part[0] for part in parts]), and the same for the texts"
)
WRONG_GATHERS = [
    Mistake(f"each rank has the loss of its own part, with few negatives: {GATHER}", local),
    Mistake(f"the mean of the parts' own losses is taken: {GATHER}", partial(local, average=True)),
    Mistake(
        "images and texts are gathered in different orders, so that rows which belong together no "
        "longer stand in one row",
        shifted,
    ),
    *mistakes(
        {"value": GATHER},
        value={
            "the texts are handed over first": lambda loss, i, t: together(loss, t, i),
            "images are compared with images": lambda loss, i, t: together(loss, i, i),
            "texts are compared with texts": lambda loss, i, t: together(loss, t, t),
            "the ranks are interleaved (stacked): take torch.cat": lambda loss, i, t: loss(
                torch.cat([e.flip(0) for e in i]), torch.cat(t)
            ),
            "the last rank is left out": lambda loss, i, t: together(loss, i[:-1] or i, t[:-1]),
        },
        scale={
            "the value itself is multiplied by the number of ranks: the gradient is to be, the "
            "value stays. value.detach() + P * (value - value.detach())": lambda v, count: (
                v * count
            ),
            "the value is divided by the number of ranks, but each rank has the whole loss": (
                lambda v, count: v / count
            ),
        },
        result={
            "the ranks' losses are added up: the loss of each rank is wanted, (P,)": (
                lambda values: torch.stack(values).sum().expand(len(values))
            ),
        },
    ),
]
OTHER_WAY = "the rank's own rows are detached, and those of the others are not: the other way round"
CONSTANT = "the rows of other ranks arrive as numbers: detach them"
FACTOR = (
    "the mean over P ranks divides by P, so each rank's gradient has to be multiplied by P: "
    "value.detach() + P * (value - value.detach())"
)
WRONG_GATHER_GRADIENTS = [
    Mistake(
        f"every rank differentiates by its own rows, but once only: {FACTOR}",
        {"scale": lambda v, count: v},
    ),
    *mistakes(
        {"foreign": CONSTANT, "scale": FACTOR},
        scale={
            "it is divided by P": lambda v, count: times(v, 1 / count),
            "it is multiplied by P twice": lambda v, count: times(v, count * count),
            "it is multiplied by P - 1": lambda v, count: times(v, count - 1),
            "it is multiplied by 2, whatever P is": lambda v, count: times(v, 2),
        },
        several={
            f"nothing is detached, it reaches all ranks: {CONSTANT}, and multiply by P": {
                "foreign": lambda rows: rows,
                "scale": lambda v, count: v,
            },
            f"it is multiplied by P, but nothing is detached: {CONSTANT}": {
                "foreign": lambda rows: rows,
            },
            OTHER_WAY: {"own": lambda rows: rows.detach(), "foreign": lambda rows: rows},
            f"{OTHER_WAY} (and multiply by P)": {
                "own": lambda rows: rows.detach(),
                "foreign": lambda rows: rows,
                "scale": lambda v, count: v,
            },
        },
    ),
    Mistake("the first rank's rows are kept in every rank: each keeps its own", first_as_own),
    Mistake("the rank's own texts are detached, too", one_side_kept(0)),
    Mistake("the rank's own images are detached, too", one_side_kept(1)),
]
