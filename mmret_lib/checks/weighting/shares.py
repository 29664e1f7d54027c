"""The shares of any loss, exercise 14's last task, in steps and with its mistakes.

For a loss of the library, whose negatives are only ever pushed, they equal
`mmret_lib.losses.negative_weights`; the tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.pairs import batch, cosines
from mmret_lib.checks.engine.task import CheckFailed, Formula, Mistake, mistakes
from mmret_lib.checks.triplet.weights import (
    by,
    by_sum,
    even_where_quiet,
    gradient,
    least_sum,
    without_diagonal,
)
from mmret_lib.checks.weighting.batches import eye
from mmret_lib.checks.weighting.directions import smooth_direction

Direction = Callable[[Tensor], Tensor]
ANY = "take the gradient of the function you are given, whatever it is"


def shares(
    loss: Direction,
    similarity: Tensor,
    *,
    both: Formula = lambda a, b: (a, b),
    push: Formula = lambda g, s: g,
    pushed: Formula = torch.relu,
    negatives: Formula = without_diagonal,
    divide: Formula = by_sum,
    result: Formula = lambda w: w,
) -> Tensor:
    """(2, B, B): each negative's share of what its query pushes, rows summing to 1 or to 0.

    In the steps a and b are the gradients (B, B) of both directions; g, s and w gradients,
    similarities and weights (2, B, B).
    """
    s = similarity.detach()
    gradients = torch.stack(both(gradient(loss, s), gradient(loss, s.T)))
    pushes = negatives(pushed(push(gradients, torch.stack([s, s.T]))))
    weights: Tensor = result(divide(pushes))
    return weights


def pull_as_total(loss: Direction, similarity: Tensor) -> Tensor:
    """Wrong shares: divided by the pull on the positive."""
    g = torch.stack([gradient(loss, s) for s in (similarity, similarity.T)])
    pull = -g.diagonal(dim1=1, dim2=2)[:, :, None]
    return without_diagonal(g.relu()) / pull.where(pull > 0, 1)


def diagonal_first(value: float) -> Formula:
    """Wrong shares: the diagonal of the similarities is changed before the gradient is taken."""

    def wrong(loss: Direction, similarity: Tensor) -> Tensor:
        rows = [s.masked_fill(eye(s), value) for s in (similarity, similarity.T)]
        g = torch.stack([gradient(loss, s) for s in rows])
        return by_sum(without_diagonal(g.relu()))

    return wrong


TURNED = "[1] is transposed: its rows are the texts (the queries), its columns the images"
COPIED = "[1] is [0] transposed: the texts' own push is wanted, the gradient of loss(similarity.T)"
PULLED = (
    "a negative with a derivative below 0 is pulled, not pushed: its share is 0, and it does not "
    "belong to the sum of its row"
)
WRONG_SHARES = [
    Mistake(
        "the pull on the positive, on the diagonal, is taken for the sum of the pushes, which not "
        "every loss makes equal: sum the negatives' derivatives",
        pull_as_total,
    ),
    *(
        Mistake(
            "the diagonal of the similarities is changed before the gradient is taken, so the "
            "loss does not see the positives: set the diagonal of the gradient to 0 instead",
            diagonal_first(value),
        )
        for value in (0, -1)
    ),
    *mistakes(
        {
            "both": "[0] and [1] are one direction each; in [0] the images are the queries, in [1] "
            "the texts, for which the loss gets similarity.T",
            "divide": "divide each row (one query) of each direction by its own sum, so that it "
            "adds up to 1",
            "push": "the derivative itself is the push, to be divided by the sum of its row",
        },
        pushed={
            f"derivatives below 0 are left in: {PULLED}": lambda g: g,
            f"absolute values are taken: {PULLED}": torch.abs,
        },
        several={
            f"derivatives below 0 are taken out only after the division: {PULLED}": {
                "pushed": lambda g: g,
                "result": torch.relu,
            },
            "absolute values are taken, with the diagonal among them: it holds the positive's "
            "pull, not a negative's push": {"pushed": torch.abs, "negatives": lambda w: w},
            "the diagonal is set to 0 only after the division: the row's sum still had the "
            "positive in it": {
                "pushed": lambda g: g,
                "negatives": lambda w: w,
                "result": without_diagonal,
            },
            "a softmax is taken of the gradient: the derivative itself is the push, to be divided "
            "by the sum of its row": {
                "pushed": lambda g: g.masked_fill(eye(g), -math.inf),
                "divide": lambda w: without_diagonal(w.masked_fill(eye(w), -math.inf).softmax(2)),
            },
        },
        negatives={
            "the diagonal is not left out: it belongs to the positive, whatever the sign of its "
            "derivative": lambda w: w
        },
        both={
            "the second direction equals the first": lambda a, b: (a, a),
            TURNED: lambda a, b: (a, b.T),
            COPIED: lambda a, b: (a, a.T),
            "the gradients of both directions are added": lambda a, b: (a + b.T, a.T + b),
            "the directions are swapped": lambda a, b: (b, a),
        },
        result={
            TURNED: lambda w: torch.stack([w[0], w[1].T]),
            COPIED: lambda w: torch.stack([w[0], w[0].T]),
        },
        divide={
            "the rows are not divided by their sums": lambda w: w,
            "the rows are multiplied by B": lambda w: w * w.shape[2],
            "divided by the sums over the wrong axis": by(lambda w: w.sum(1, keepdim=True)),
            "divided by the sum of the whole matrix": by(lambda w: w.sum((1, 2), keepdim=True)),
            "divided by one sum over both directions": by(lambda w: w.sum()),
            "divided by the row's sum over both directions": by(
                lambda w: w.sum((0, 2), keepdim=True)
            ),
            "divided by the row's largest": by(lambda w: w.amax(2, keepdim=True)),
            "divided by the row's length": by(lambda w: w.norm(dim=2, keepdim=True)),
            "divided by the row's mean": by(lambda w: w.mean(2, keepdim=True)),
            "divided by B - 1": lambda w: w / (w.shape[2] - 1),
            "a query that pushes nothing has the sum 0, and 0 / 0 is NaN: leave its row at zeros": (
                lambda w: w / w.sum(2, keepdim=True)
            ),
            "a query that pushes nothing gets an even row: leave it at zeros": even_where_quiet,
        },
        push={
            "the gradient is multiplied by the similarities": lambda g, s: g * s,
            "every negative that is pushed at all gets the same": lambda g, s: (g > 0).to(g.dtype),
            "the gradient is squared": lambda g, s: g.relu().square(),
            "the gradient has the wrong sign": lambda g, s: -g,
        },
    ),
    *(
        Mistake(
            "the least sum that is divided by (clamp) is too large: 1e-12 is enough against a sum "
            "of 0",
            {"divide": least_sum(least)},
        )
        for least in (0.001, 0.01, 0.1, 1)
    ),
    *(
        Mistake(
            "the epsilon added to the sum is too large: it changes the shares where the gradients "
            "are small",
            {"divide": by(lambda w, eps=10**power: w.sum(dim=2, keepdim=True) + eps)},
        )
        for power in range(-6, 0)
    ),
]


def symptom(answers: Sequence[Tensor]) -> str | None:
    """What is wrong with the answers to SHARES_TASK's cases, by what can be seen in them.

    The first three are the answers for three losses on one matrix of similarities.
    """
    first, second, third = answers[:3]
    if torch.allclose(first, second, equal_nan=True) and torch.allclose(first, third):
        return f"the result is the same whatever the loss: {ANY}"
    if any(answer.diagonal(dim1=1, dim2=2).abs().max() > 1e-9 for answer in answers):
        return (
            "the diagonal is not left out, it is not 0 everywhere: it holds the positive's pull, "
            "not a negative's push. Take it out before you sum"
        )
    sums = first.sum(dim=2)
    off = sums[~((sums - 1).abs() < 1e-3)]
    if len(off):
        return (
            f"a row does not sum to 1 (but to {off[0]:.4g}): divide by the sum of that very row, "
            "and that after the diagonal was taken out"
        )
    if any(answer.min() < -1e-9 for answer in answers):
        return f"a share is below 0: {PULLED}"
    return None


def works_without_gradients(function: Callable[..., Any]) -> str | None:
    """Whether it works in an evaluation, where the caller has switched gradients off."""
    similarity = cosines(*batch(4, 3, 0))
    with torch.no_grad():
        try:
            given = function(smooth_direction(0.2), similarity)
        except CheckFailed:
            raise
        except Exception as error:
            return (
                f"inside torch.no_grad(), where evaluations ask, it raises {type(error).__name__}: "
                "take the derivative within `with torch.enable_grad():`"
            )
        if not torch.allclose(given, shares(smooth_direction(0.2), similarity)):
            return (
                "inside torch.no_grad(), where evaluations ask, its numbers are others: take the "
                "derivative within `with torch.enable_grad():`"
            )
        if torch.is_grad_enabled():
            return (
                "gradients are switched on after it, and stay on for the caller: use `with "
                "torch.enable_grad():`, which ends with its block, and not set_grad_enabled"
            )
    return None
