"""The shares of any loss, exercise 14's last task: exercise 04's, but that pulls do not count.

For a loss of the library, whose negatives are only ever pushed, they equal
`mmret_lib.losses.negative_weights`; the tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.pairs import SIZE, batch, by_hand, cosines
from mmret_lib.checks.engine.task import Case, CheckFailed, Formula, mistakes
from mmret_lib.checks.triplet import weights
from mmret_lib.checks.triplet.hinges import sum_of
from mmret_lib.checks.triplet.weights import ANY, Direction, without_diagonal
from mmret_lib.checks.weighting import directions


def shares(loss: Direction, similarity: Tensor, **steps: Formula) -> Tensor:
    """(2, B, B): each negative's share of what its query pushes, rows summing to 1 or to 0."""
    return weights.negative_weights(loss, similarity, **{"pushed": torch.relu, **steps})


PULLED = (
    "a negative with a derivative below 0 is pulled, not pushed: its share is 0, and it does not "
    "belong to the sum of its row"
)
WRONG_SHARES = weights.wrong_totals((0.001, 0.01, 0.1, 1), torch.relu) + mistakes(
    weights.REMEDIES,
    pushed={
        f"derivatives below 0 are left in: {PULLED}": lambda g: g,
        f"absolute values are taken: {PULLED}": torch.abs,
    },
    several={
        f"derivatives below 0 are taken out only after the division: {PULLED}": {
            "pushed": lambda g: g,
            "result": torch.relu,
        },
        f"absolute values are taken, with the diagonal among them: {weights.PULL}": {
            "pushed": torch.abs,
            "negatives": lambda w: w,
        },
        "the diagonal is set to 0 only after the division: the row's sum still had the positive in "
        "it": {"pushed": lambda g: g, "negatives": lambda w: w, "result": without_diagonal},
        "the gradient has the wrong sign: the derivative itself is the push": {
            "push": lambda g, s: -g
        },
    },
    negatives={
        "the diagonal is not left out: it belongs to the positive, whatever the sign of its "
        "derivative": lambda w: w
    },
    **weights.WRONG_STEPS,
)

SIMILARITY = cosines(*batch(5, 3, 3))
QUIET = cosines(*batch(6, 8, 3))  # not every query has a negative in the margin
QUIET[2], QUIET[:, 4] = -0.5, -0.6
QUIET.diagonal().fill_(0.4)
CASES = [
    Case(
        (directions.smooth_direction(0.2), SIMILARITY),
        "one direction of SimCLR(0.2)",
        (f"right for other losses, wrong for a softmax: {ANY}",),
    ),
    Case(
        (directions.top_two, SIMILARITY),
        "one direction of TopKTriplet(2, 0.5)",
        (f"right for other losses, wrong for hinges: {ANY}",),
    ),
    Case(
        (directions.siglip, SIMILARITY),
        "one direction of SigLIP(6, -1)",
        (f"right for other losses, wrong for SigLIP: {ANY}",),
    ),
    Case(
        (directions.smooth_ap, SIMILARITY),
        "one direction of SmoothAP(0.1)",
        (f"right for other losses, wrong for SmoothAP: {ANY}",),
    ),
    Case(
        (directions.towards_a_tenth, SIMILARITY),
        "a loss that draws every negative to 0.1, and so pulls those below",
        (PULLED,),
    ),
    Case(
        (directions.positives_too, SIMILARITY),
        "a loss that pushes some of the positives",
        ("the positive is no negative, whatever the sign of its derivative: its share is 0",),
    ),
    Case(
        (directions.hinge_direction(0.2, sum_of), QUIET),
        "a query that pushes nothing, whose row is all zeros",
        ("a query that pushes nothing should have a row of zeros", SIZE),
    ),
    Case(
        (directions.small, SIMILARITY),
        "0.004 times the direction of SimCLR(0.2)",
        (
            "right for large gradients, wrong for small ones: is a constant such as an epsilon "
            "or a least sum too large?",
        ),
    ),
    Case(
        (directions.thresholds, SIMILARITY),
        "a loss whose pull on the positive is not the sum of its pushes",
        (f"right where pull and push are equal, wrong where not: {ANY}",),
    ),
    Case(
        (directions.smooth_ap, cosines(*by_hand())),
        "SmoothAP(0.1) and the similarities [[0.8, 0], [0.96, 0.8]]",
        (SIZE,),
    ),
]


def symptom(answers: Sequence[Tensor]) -> str | None:
    """What is wrong with the answers to `CASES`, by what can be seen in them."""
    return weights.symptom(answers, PULLED)


def works_without_gradients(function: Callable[..., Any]) -> str | None:
    """Whether it works in an evaluation, where the caller has switched gradients off."""
    similarity = cosines(*batch(4, 3, 0))
    with torch.no_grad():
        try:
            given = function(directions.smooth_direction(0.2), similarity)
        except CheckFailed:
            raise
        except Exception as error:
            return (
                f"inside torch.no_grad(), where evaluations ask, it raises {type(error).__name__}: "
                "take the derivative within `with torch.enable_grad():`"
            )
        if not torch.allclose(given, shares(directions.smooth_direction(0.2), similarity)):
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
