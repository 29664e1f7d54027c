"""How a loss weighs its negatives, in steps and with its mistakes.

This is exercise 04's last task, and but for one step exercise 14's. Without steps the formula
equals `mmret_lib.losses.negative_weights`; the tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes
from mmret_lib.checks.triplet.hinges import eye

Direction = Callable[[Tensor], Tensor]  # similarities (B, B), queries as rows -> their mean cost
ANY = "take the gradient of the function you are given, whatever it is"


def hinge_direction(margin: float, combine: Formula) -> Direction:
    """One direction of SumTriplet or MaxTriplet."""
    return lambda s: combine(
        (margin - s.diagonal()[:, None] + s).relu().masked_fill(eye(s), 0)
    ).mean()


def smooth_direction(temperature: float) -> Direction:
    """One direction of SimCLR."""

    def direction(similarity: Tensor) -> Tensor:
        s = similarity / temperature
        return (s.masked_fill(eye(s), -math.inf).logsumexp(dim=1) - s.diagonal()).mean()

    return direction


def small_direction(similarity: Tensor) -> Tensor:
    """A direction whose gradients are small."""
    return 0.008 * smooth_direction(0.2)(similarity)


def thresholds(similarity: Tensor) -> Tensor:
    """A direction that compares positives and negatives with fixed values, and not together."""
    pushed = (similarity + 1.1).square().masked_fill(eye(similarity), 0).sum(dim=1)
    return (pushed - 0.5 * similarity.diagonal()).mean()


def gradient(direction: Direction, rows: Tensor) -> Tensor:
    """The gradient of direction(rows), (B, B), queries as rows."""
    with torch.enable_grad():
        leaf = rows.detach().clone().requires_grad_()
        return torch.autograd.grad(direction(leaf), leaf)[0]


def without_diagonal(w: Tensor) -> Tensor:
    """(..., B, B) with 0 on the diagonal."""
    return w.masked_fill(eye(w), 0)


def by_sum(w: Tensor) -> Tensor:
    """(2, B, B) divided by the sums of the rows, where these are not 0."""
    total = w.sum(dim=2, keepdim=True)
    return w / total.where(total != 0, 1)


def negative_weights(
    direction: Direction,
    similarity: Tensor,
    *,
    both: Formula = lambda a, b: (a, b),
    push: Formula = lambda g, s: g,
    pushed: Formula = lambda g: g,
    negatives: Formula = without_diagonal,
    divide: Formula = by_sum,
    result: Formula = lambda w: w,
) -> Tensor:
    """(2, B, B): how hard `direction` pushes each negative, rows summing to 1 or to 0.

    In the steps a and b are the gradients (B, B) of both directions; g, s and w gradients,
    similarities and weights (2, B, B).
    """
    s = similarity.detach()
    gradients = torch.stack(both(gradient(direction, s), gradient(direction, s.T)))
    pushes = negatives(pushed(push(gradients, torch.stack([s, s.T]))))
    weights: Tensor = result(divide(pushes))
    return weights


def by(total: Formula) -> Formula:
    """A wrong `divide`, by something else than the sum of the row."""
    return lambda w: w / total(w).where(total(w) != 0, 1)


def even_where_quiet(w: Tensor) -> Tensor:
    """A wrong `divide`: a row of zeros becomes an even one."""
    even = without_diagonal(torch.ones_like(w)) / (w.shape[2] - 1)
    return by_sum(w).where(w.sum(dim=2, keepdim=True) > 0, even)


def softmax(g: Tensor, s: Tensor) -> Tensor:
    """A wrong `push`: a softmax over the negatives' derivatives."""
    return g.masked_fill(eye(g), -math.inf).softmax(dim=2)


def pull_as_total(pushed: Formula) -> Formula:
    """Wrong weights: divided by the pull on the positive."""

    def wrong(direction: Direction, similarity: Tensor) -> Tensor:
        g = torch.stack([gradient(direction, s) for s in (similarity, similarity.T)])
        pull = -g.diagonal(dim1=1, dim2=2)[:, :, None]
        return without_diagonal(pushed(g)) / pull.where(pull > 0, 1)

    return wrong


def diagonal_first(value: float, pushed: Formula) -> Formula:
    """Wrong weights: the diagonal of the similarities is changed before the gradient is taken."""

    def wrong(direction: Direction, similarity: Tensor) -> Tensor:
        rows = [s.masked_fill(eye(s), value) for s in (similarity, similarity.T)]
        return by_sum(without_diagonal(pushed(torch.stack([gradient(direction, s) for s in rows]))))

    return wrong


def least_sum(least: float) -> Formula:
    """A wrong `divide`: by the row's sum, but by no less than a constant."""
    return by(lambda w: w.sum(dim=2, keepdim=True).clamp(min=least))


TURNED = "[1] is transposed: its rows are the texts (the queries), its columns the images"
COPIED = (
    "[1] is [0] transposed: the texts' own push is wanted, the gradient of the function of "
    "similarity.T"
)
PULL = "it holds the positive's pull, not a negative's push"


def wrong_totals(leasts: Sequence[float], pushed: Formula = lambda g: g) -> list[Mistake]:
    """Mistakes in what a push is divided by.

    Args:
        leasts: the constants that a sum may have been clamped at.
        pushed: what of a gradient counts as a push.
    """
    return [
        Mistake(
            "the pull on the positive, on the diagonal, is taken for the sum of the pushes, which "
            "not every loss makes equal: sum the negatives' derivatives",
            pull_as_total(pushed),
        ),
        *(
            Mistake(
                "the diagonal of the similarities is changed before the gradient is taken, so the "
                "loss does not see the positives: set the diagonal of the gradient to 0 instead",
                diagonal_first(value, pushed),
            )
            for value in (0, -1)
        ),
        *(
            Mistake(
                "the least sum that is divided by (clamp) is too large: 1e-12 is enough against a "
                "sum of 0",
                {"divide": least_sum(least)},
            )
            for least in leasts
        ),
        *(
            Mistake(
                "the epsilon added to the sum is too large: it changes the shares where the "
                "gradients are small",
                {"divide": by(lambda w, eps=10**power: w.sum(dim=2, keepdim=True) + eps)},
            )
            for power in range(-6, 0)
        ),
    ]


REMEDIES = {
    "both": "[0] and [1] are one direction each; in [0] the images are the queries, in [1] the "
    "texts, for which the function gets similarity.T",
    "divide": "divide each row (one query) of each direction by its own sum, so that it adds up "
    "to 1",
    "push": "the derivative itself is the push, to be divided by the sum of its row",
}
WRONG_STEPS: dict[str, dict[str, Formula]] = {
    "both": {
        "the second direction equals the first": lambda a, b: (a, a),
        TURNED: lambda a, b: (a, b.T),
        COPIED: lambda a, b: (a, a.T),
        "the gradients of both directions are added": lambda a, b: (a + b.T, a.T + b),
        "the directions are swapped": lambda a, b: (b, a),
    },
    "result": {
        TURNED: lambda w: torch.stack([w[0], w[1].T]),
        COPIED: lambda w: torch.stack([w[0], w[0].T]),
    },
    "divide": {
        "the rows are not divided by their sums": lambda w: w,
        "the rows are multiplied by B": lambda w: w * w.shape[2],
        "divided by the sums over the wrong axis": by(lambda w: w.sum(1, keepdim=True)),
        "divided by the sum of the whole matrix": by(lambda w: w.sum((1, 2), keepdim=True)),
        "divided by one sum over both directions": by(lambda w: w.sum()),
        "divided by the row's sum over both directions": by(lambda w: w.sum((0, 2), keepdim=True)),
        "divided by the row's largest": by(lambda w: w.amax(2, keepdim=True)),
        "divided by the row's length": by(lambda w: w.norm(dim=2, keepdim=True)),
        "divided by the row's mean": by(lambda w: w.mean(2, keepdim=True)),
        "divided by B - 1": lambda w: w / (w.shape[2] - 1),
        "a query that pushes nothing has the sum 0, and 0 / 0 is NaN: leave its row at zeros": (
            lambda w: w / w.sum(2, keepdim=True)
        ),
        "a query that pushes nothing gets an even row: leave it at zeros": even_where_quiet,
    },
    "push": {
        "a softmax is taken of the gradient": softmax,
        "the gradient is multiplied by the similarities": lambda g, s: g * s,
        "every negative that is pushed at all gets the same": lambda g, s: (g > 0).to(g.dtype),
        "the gradient is squared": lambda g, s: g.relu().square(),
    },
}
WRONG_WEIGHTS = wrong_totals((0.01, 0.1)) + mistakes(
    REMEDIES,
    **WRONG_STEPS,
    negatives={
        f"the diagonal is not left out: {PULL}": lambda w: w,
        f"absolute values are taken, the diagonal among them: {PULL}": torch.abs,
    },
    several={
        "the diagonal is set to 0 only after the division: the row's sum still had the positive in "
        "it": {"negatives": lambda w: w, "result": without_diagonal}
    },
)


def symptom(
    answers: Sequence[Tensor],
    below: str = "what is it divided by, and does it have the gradient's sign?",
) -> str | None:
    """What is wrong with weights, by what can be seen in them.

    The first three are the answers for three losses on one matrix of similarities; `below` says
    what a share below 0 means.
    """
    first, *others = answers[:3]
    if all(torch.allclose(first, other, equal_nan=True) for other in others):
        return f"the result is the same whatever the function: {ANY}"
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
        return f"a share is below 0: {below}"
    return None
