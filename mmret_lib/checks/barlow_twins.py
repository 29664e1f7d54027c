"""The checks of exercise 06, one for each of its tasks.

    from mmret_lib import checks
    checks.barlow_twins.check_cross_correlation(cross_correlation)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.barlow`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmret_lib.checks.barlow import correlations, hidden, loss, running, standardising
from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.pairs import SIZE, case
from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Case, Task

__all__ = [
    "check_barlow_twins",
    "check_cross_correlation",
    "check_hidden_pairs",
    "check_running_standardiser",
    "check_standardise",
]


def tensor(rows: list[list[float]]) -> Tensor:
    """Numbers in float64."""
    return torch.tensor(rows, dtype=torch.float64, device="cpu")


# ---------------------------------------------------------------------------------------------
# Task 1: standardise

WIDE = pairs.batch(6, 4, 3)[0] * tensor([[0.02, 1, 7, 90]]) + tensor([[0.1, -2, 30, 100]])
CONSTANT = pairs.batch(5, 3, 4)[0]
CONSTANT[:, 1] = 4
FAR = pairs.batch(6, 3, 5)[0] + 300
SMALL = 0.003 * pairs.batch(5, 3, 6)[0]
BY_HAND = tensor([[1, 5], [3, 5]])

STANDARDISE_TASK = Task(
    name="standardise",
    right=standardising.standardise,
    cases=[
        case(pairs.batch(5, 3, 0)[:1]),
        case(pairs.batch(9, 4, 1)[1:], "9 rows of 4 numbers each", SIZE),
        case(pairs.batch(3, 7, 2)[:1], "3 rows of 7 numbers each", SIZE),
        case((WIDE,), "dimensions of very different offset and scale"),
        case(
            (pairs.batch(6, 4, 7)[1], 0.5),
            "an eps of 0.5",
            "eps is fixed in the code, or stands in the wrong place: it is (variance + eps).sqrt()",
        ),
        case(
            (SMALL,),
            "dimensions of small variance (1e-5)",
            "small variances go wrong: is eps added to the variance, inside of the root?",
        ),
        case(
            (CONSTANT,),
            "a batch in which one dimension is constant",
            "a constant dimension should become 0, and not NaN: eps is inside of the root for that",
        ),
        case(
            (FAR,),
            "dimensions with a mean of 300 and a deviation of about 2. If you compute the variance "
            "as the mean of the squares less the squared mean, float32 loses the digits: subtract "
            "the mean before you square. There",
        ),
        case((BY_HAND,), "[[1, 5], [3, 5]] (means 2 and 5, variances 1 and 0)", SIZE),
    ],
    mistakes=standardising.WRONG_STANDARDISING,
    gradient_mistakes=standardising.WRONG_STANDARDISING_GRADIENTS,
    remark=(
        "Add 50 to a dimension or multiply it by 100, and the result stays what it was: a loss "
        "that begins with it cannot see either."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 2: the cross-correlation

WITH_CONSTANT = pairs.batch(6, 3, 4)
WITH_CONSTANT[1][:, 0] = -2
WITH_CONSTANT[0][:, 2] *= 0.003
OPPOSED = pairs.batch(5, 3, 8)
OPPOSED = (OPPOSED[0], 3 - 2 * OPPOSED[0])
HAND = (tensor([[1, 0], [3, 0], [1, 4], [3, 4]]), tensor([[2, 1], [6, 1], [2, 1], [6, 3]]))
ABOUT_HAND = (
    "image_emb = [[1, 0], [3, 0], [1, 4], [3, 4]] and text_emb = [[2, 1], [6, 1], [2, 1], [6, 3]]"
)
EPS_HINT = "dimensions of small or no variance go wrong: use standardise (task 1)"
PAIR_CASES = [
    pairs.batch(5, 3, 0),
    pairs.batch(9, 4, 1),
    pairs.batch(3, 7, 2),
    (pairs.batch(6, 4, 3)[0] * 5 - 7, 0.2 * pairs.batch(6, 4, 9)[1] + 3),
]
ABOUTS = ["", "", "", "branches of other offset and scale"]
CORRELATION_CASES = [
    *(
        case(args, about, *((SIZE,) if place in (1, 2) else ()))
        for place, (args, about) in enumerate(zip(PAIR_CASES, ABOUTS, strict=True))
    ),
    case(OPPOSED, "branches that oppose each other (all C_ii = -1)"),
    case(WITH_CONSTANT, "a batch in which one dimension is constant", EPS_HINT),
    case(HAND, ABOUT_HAND, SIZE),
]
CORRELATION_TASK = Task(
    name="cross_correlation",
    right=correlations.cross_correlation,
    cases=CORRELATION_CASES,
    mistakes=correlations.WRONG_CORRELATIONS,
    gradient_mistakes=correlations.WRONG_CORRELATION_GRADIENTS,
    remark=(
        "It is (D, D) whatever B is: pairs have been averaged out of it. Where they went is task 4."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 3: the loss

LAMBDA = "lambda_ is fixed in the code, or stands in the wrong place: take the argument"
BARLOW_TASK = Task(
    name="barlow_twins",
    right=loss.barlow_twins,
    cases=[
        *(
            case((*args, lambda_), about, *((SIZE,) if place in (1, 2) else ()))
            for place, (args, about, lambda_) in enumerate(
                zip(PAIR_CASES, ABOUTS, (0.02, 0.02, 0.02, 0.3), strict=True)
            )
        ),
        case((*pairs.batch(5, 3, 3), 2.5), "a lambda_ of 2.5", LAMBDA),
        case((*pairs.batch(5, 3, 3), 0), "a lambda_ of 0", LAMBDA),
        case((*OPPOSED, 0.02), "branches that oppose each other (all C_ii = -1)"),
        case((*pairs.batch(6, 1, 6), 0.3), "a single dimension, where nothing is off the diagonal"),
        case((*WITH_CONSTANT, 0.1), "a batch in which one dimension is constant", EPS_HINT),
        case((*HAND, 0.5), f"{ABOUT_HAND} and lambda_ = 0.5", SIZE),
    ],
    mistakes=loss.WRONG_BARLOW,
    gradient_mistakes=loss.WRONG_BARLOW_GRADIENTS,
    remark=(
        "With random embeddings the first term is about D, the second about D (D - 1) / B: what "
        "lambda_ is worth depends on both sizes."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 4: the pairs that hide in the second term

HIDDEN_TASK = Task(
    name="hidden_pairs",
    right=hidden.hidden_pairs,
    cases=CORRELATION_CASES,
    mistakes=hidden.WRONG_HIDDEN,
    gradient_mistakes=hidden.WRONG_HIDDEN_GRADIENTS,
    properties=[hidden.makes_no_table],
    remark=(
        "Entry (b, k) of both matrices multiplied: how alike two images are times how alike their "
        "texts are. The loss names no negatives, and compares all pairs with all others."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 5: mean and variance for search time


def some_batches(sizes: Sequence[int], dim: int, seed: int) -> list[Tensor]:
    """Batches (B, D) of these sizes, each with another offset and scale per dimension."""
    generator = seeded(seed)
    result = []
    for size in sizes:
        offset, scale, *rows = torch.randn(2 + size, dim, generator=generator, dtype=torch.float64)
        result.append(torch.stack(rows) * (0.5 + scale.abs()) + 1 + offset)
    return result


MOMENTUM = "momentum is fixed in the code: take the argument"
RUNNING_TASK = Task(
    name="running_standardiser",
    right=running.running_standardiser,
    cases=[
        Case((some_batches([5, 5, 5], 3, 0), 0.3), "three batches of 5 rows, momentum 0.3"),
        Case((some_batches([4, 9, 2, 6], 5, 1), 0.3), "batches of 4, 9, 2 and 6 rows", (SIZE,)),
        Case((some_batches([6, 6, 6], 4, 2), 0.8), "momentum 0.8", (MOMENTUM,)),
        Case((some_batches([4] * 12, 2, 3), 0.05), "twelve batches, momentum 0.05", (MOMENTUM,)),
        Case((some_batches([6], 4, 5), 0.4), "a single batch, momentum 0.4"),
        Case((some_batches([7, 4], 3, 4), 1.0), "momentum 1, which keeps the last batch alone"),
        Case(
            ([tensor([[0, 4], [2, 4]]), tensor([[4, 0], [8, 4]])], 0.5),
            "the batches [[0, 4], [2, 4]] and [[4, 0], [8, 4]] with momentum 0.5",
            (SIZE,),
        ),
    ],
    mistakes=running.WRONG_RUNNING,
    has_gradient=False,
    remark=(
        "With momentum 0.1 the last ten batches or so make up two thirds of it. After training it "
        "stands still, so the answer to a query does not depend on the other queries."
    ),
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_standardise(function: Callable[..., Tensor]) -> None:
    """Task 1: function(emb (B, D), eps=1e-5) -> (B, D)."""
    check(STANDARDISE_TASK, function)


def check_cross_correlation(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Task 2: function(image_emb (B, D), text_emb (B, D)) -> (D, D)."""
    check(CORRELATION_TASK, function)


def check_barlow_twins(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Task 3: function(image_emb (B, D), text_emb (B, D), lambda_) -> scalar."""
    check(BARLOW_TASK, function)


def check_hidden_pairs(function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Task 4: function(image_emb (B, D), text_emb (B, D)) -> (off, on), two scalars."""
    check(HIDDEN_TASK, function)


def check_running_standardiser(
    function: Callable[[list[Tensor], float], tuple[Tensor, Tensor]],
) -> None:
    """Task 5: function(batches, each (B, D), momentum) -> (mean (D,), variance (D,))."""
    check(RUNNING_TASK, function)
