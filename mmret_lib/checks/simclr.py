"""The checks of exercise 05, one for each of its tasks.

    from mmret_lib import checks
    checks.simclr.check_info_nce(info_nce)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.contrastive`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmret_lib.checks.contrastive import closed_form, losses, properties, sum_terms, sums
from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.arguments import close
from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.pairs import HAND, SIZE, case
from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Case, Task

__all__ = [
    "check_info_nce",
    "check_log_sum_exp",
    "check_simclr",
    "check_simclr_weights",
    "check_temperature_gradient",
]

INF = math.inf

# ---------------------------------------------------------------------------------------------
# Task 1: the log-sum-exp


def numbers(*shape: int, scale: float = 1, shift: float = 0) -> Tensor:
    """Random numbers in float64, the same for the same shape."""
    generator = seeded(sum(shape))
    x = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    return scale * x + shift


def rows(*values: list[float]) -> Tensor:
    """A matrix in float64."""
    return torch.tensor(values, dtype=torch.float64, device="cpu")


AXIS = "dim is fixed in the code: take it as it is given, counted from either end"
LARGE = (
    "large entries go wrong, exp overflows to inf: subtract each row's largest entry before exp, "
    "and add it again after log"
)
LOW = (
    "low entries go wrong, all exponentials underflow to 0 and log(0) is -inf: subtract each row's "
    "own largest entry before exp, and add it again after log"
)
EMPTY = (
    "a row of -inf alone should give -inf, and the gradient 0: where the largest entry is not "
    "finite, subtract 0 instead"
)


def extremes(answers: Sequence[Tensor]) -> str | None:
    """What goes wrong where ordinary rows are right, by the places of SUM_TASK's cases."""
    cases = SUM_TASK.cases
    right = [
        close(answer, sums.log_sum_exp(*case.args))
        for answer, case in zip(answers, cases, strict=True)
    ]
    if not all(right[:6]):
        return None
    found = [case.hints[0] for case, good in zip(cases[6:], right[6:], strict=True) if not good]
    return found[0] if found and found[0] != AXIS else None


SUM_TASK = Task(
    name="log_sum_exp",
    right=sums.log_sum_exp,
    cases=[
        Case((numbers(4, 6, scale=5, shift=8), 1), "a matrix (4, 6) and dim 1"),
        Case((numbers(5, 3), 0), "a matrix (5, 3) and dim 0", (AXIS,)),
        Case((numbers(3, 4, 5), 1), "shape (3, 4, 5) and dim 1", (AXIS,)),
        Case((numbers(3, 4, 2), -1), "shape (3, 4, 2) and dim -1", (AXIS,)),
        Case((numbers(2, 3, 4), -2), "shape (2, 3, 4) and dim -2", (AXIS,)),
        Case((numbers(7), 0), "a vector of 7 and dim 0", (AXIS,)),
        Case((numbers(3, 4, scale=300, shift=1000), 1), "entries around 1000", (LARGE,)),
        Case((numbers(3, 5, scale=300, shift=-5000), 1), "entries around -5000", (LOW,)),
        Case(
            (rows([1e4, 1e4 - 1], [-1e4, -1e4 - 2], [0, 3]), 1),
            "rows of very different size",
            ("each row needs its own largest entry: amax(dim=dim, keepdim=True)",),
        ),
        Case(
            (rows([-INF, 2, 1], [-INF, -INF, -3], [0, 1, -INF]), 1),
            "rows in which some entries are -inf",
            ("an entry of -inf adds exp(-inf) = 0 to the sum, nothing else",),
        ),
        Case(
            (rows([1, 2, 3], [-INF, -INF, -INF], [0, -INF, 1]), 1),
            "a row of -inf alone",
            (EMPTY,),
            smooth=False,
        ),
        Case(
            (rows([1, INF, 3], [-INF, INF, INF], [0, 1, 2]), 1),
            "rows with +inf",
            ("a row with +inf should give +inf: where the largest is not finite, subtract 0",),
            smooth=False,
        ),
        Case((rows([5], [-2]), 1), "rows of one entry", (AXIS,)),
        Case(
            (numbers(1, 4), 1),
            "a single row of 4 (squeeze() drops every axis of size 1, squeeze(dim) only this one)",
        ),
        Case((rows([0, 0], [math.log(3), 0]), 1), "[[0, 0], [log 3, 0]], whose sums are 2 and 4"),
    ],
    mistakes=sums.WRONG_SUMS,
    gradient_mistakes=sums.WRONG_SUM_GRADIENTS,
    symptom=extremes,
    properties=(properties.writes_it_itself, properties.gradient_of_nothing),
    remark=(
        "Its gradient is the softmax of the row. For a row of -inf torch.logsumexp gives the "
        "gradient NaN; yours gives 0."
    ),
)

# ---------------------------------------------------------------------------------------------
# Tasks 2 and 3: the two losses

TEMPERATURE = "the temperature is fixed in the code: take the argument"
STEEP = (
    "a low temperature goes wrong, exp(s / temperature) overflows or underflows: use log_sum_exp "
    "(task 1), which takes the largest entry out first"
)
EQUAL_TEXTS = pairs.batch(5, 3, 6)
EQUAL_TEXTS[1][3] = EQUAL_TEXTS[1][0]
UNIT = torch.eye(4, dtype=torch.float64, device="cpu")
APART = tuple(sign * emb.abs() for sign, emb in zip((1, -1), pairs.batch(5, 3, 1), strict=True))
LOSS_CASES = [
    case(pairs.batch(5, 3, 7)),
    case(pairs.batch(9, 4, 1), "", SIZE),
    case(pairs.batch(3, 7, 2), "", SIZE),
    case(pairs.batch(2, 5, 9), "", SIZE),
    case((*pairs.batch(5, 3, 3), 0.5), "a temperature of 0.5", TEMPERATURE),
    case((*pairs.batch(6, 4, 4), 2.0), "a temperature of 2", TEMPERATURE),
    case((*pairs.batch(5, 3, 0), 0.001), "a temperature of 0.001", STEEP),
    case((*APART, 0.001), "a temperature of 0.001, all similarities below 0", STEEP),
    case(
        EQUAL_TEXTS,
        "two equal texts",
        "a negative exactly as similar as the positive is taken for it: tell the positive by its "
        "place, the diagonal, and not by its value",
    ),
    case((3 * UNIT, 6 * UNIT), "pairs at 1 and negatives at 0"),
    case(pairs.by_hand(), HAND, SIZE),
]
SIMCLR_TASK = Task(
    name="simclr",
    right=losses.simclr,
    cases=LOSS_CASES,
    mistakes=sum_terms.WRONG_SIMCLR,
    gradient_mistakes=losses.WRONG_GRADIENTS,
    properties=(properties.refuses_one_pair,),
    remark=(
        "No hinge and no floor: two pairs with positives at 1 and negatives at -1 cost about -57, "
        "and a query pushes with full force to the end."
    ),
)
INFO_NCE_TASK = Task(
    name="info_nce",
    right=losses.info_nce,
    cases=LOSS_CASES,
    mistakes=sum_terms.WRONG_INFO_NCE,
    gradient_mistakes=losses.WRONG_GRADIENTS,
    properties=(properties.one_pair_costs_nothing,),
    remark=(
        "It is a cross-entropy in each direction: which of the B is the right one? CLIP's is half "
        "of it, the mean of the two directions."
    ),
)

# ---------------------------------------------------------------------------------------------
# Tasks 4 and 5: the derivatives in closed form

FIVE = pairs.cosines(*pairs.batch(5, 3, 3))
NINE = pairs.cosines(*pairs.batch(9, 4, 1))
TIED = FIVE.clone()
TIED[0, 1:], TIED[1:, 2] = 0.3, -0.2
CLOSED_CASES = [
    Case((FIVE, 0.2), "5 pairs and a temperature of 0.2"),
    Case((NINE, 0.5), "9 pairs and a temperature of 0.5", (SIZE,)),
    Case(
        (pairs.cosines(*pairs.batch(3, 7, 2)), 0.07), "3 pairs and a temperature of 0.07", (SIZE,)
    ),
    Case((pairs.cosines(*pairs.batch(2, 3, 5)), 0.3), "2 pairs, one negative each", (SIZE,)),
    Case((FIVE, 3.0), "5 pairs and a temperature of 3", (TEMPERATURE,)),
    Case((TIED, 0.1), "negatives that are equally similar"),
    Case((FIVE, 0.001), "a temperature of 0.001", (STEEP,)),
    Case((FIVE / 9 - 0.85, 0.001), "a temperature of 0.001, all similarities below -0.7", (STEEP,)),
    Case(
        (pairs.cosines(*pairs.by_hand()), 1.0),
        "the similarities [[0.8, 0], [0.96, 0.8]] and a temperature of 1",
        (SIZE,),
    ),
]


def nearly(answers: Sequence[Tensor]) -> str | None:
    """Whether the gradients are those of a difference quotient."""
    right = [closed_form.temperature_gradient(*case.args) for case in CLOSED_CASES[:5]]
    if all(close(answer, wanted, 0.01) for answer, wanted in zip(answers, right, strict=False)):
        return (
            "the formula is only approximated, as by a difference quotient: write the derivative "
            "in closed form"
        )
    return None


WEIGHTS_TASK = Task(
    name="simclr_weights",
    right=closed_form.simclr_weights,
    cases=CLOSED_CASES,
    mistakes=closed_form.WRONG_WEIGHTS,
    symptom=closed_form.seen_in_weights,
    properties=(properties.needs_no_autograd,),
    has_gradient=False,
    remark=(
        "A negative that is more similar by one temperature gets e = 2.7 times the push. InfoNCE "
        "has the same shares: the positive in the sum only weakens a query as a whole."
    ),
)
TEMPERATURE_TASK = Task(
    name="temperature_gradient",
    right=closed_form.temperature_gradient,
    cases=[one for one in CLOSED_CASES if "below -0.7" not in one.about],  # coarse in float32
    mistakes=closed_form.WRONG_TEMPERATURE,
    symptom=nearly,
    properties=(properties.needs_no_autograd,),
    has_gradient=False,
    remark=(
        "It is positive where positives beat the negatives' weighted mean: then descent lowers the "
        "temperature, which makes the negatives harder."
    ),
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_log_sum_exp(function: Callable[[Tensor, int], Tensor]) -> None:
    """Task 1: function(x, dim) -> x without that dimension."""
    check(SUM_TASK, function)


def check_simclr(function: Callable[..., Tensor]) -> None:
    """Task 2: function(image_emb (B, D), text_emb (B, D), temperature=0.07) -> scalar."""
    check(SIMCLR_TASK, function)


def check_info_nce(function: Callable[..., Tensor]) -> None:
    """Task 3: function(image_emb (B, D), text_emb (B, D), temperature=0.07) -> scalar."""
    check(INFO_NCE_TASK, function)


def check_simclr_weights(function: Callable[[Tensor, float], Tensor]) -> None:
    """Task 4: function(similarity (B, B), temperature) -> weights (2, B, B)."""
    check(WEIGHTS_TASK, function)


def check_temperature_gradient(function: Callable[[Tensor, float], Tensor]) -> None:
    """Task 5: function(similarity (B, B), temperature) -> scalar."""
    check(TEMPERATURE_TASK, function)
