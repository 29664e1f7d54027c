"""The checks of exercise 04, one for each of its tasks.

    from mmret_lib import checks
    checks.triplet_losses.check_sum_triplet(sum_triplet)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.triplet`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.pairs import HAND, SIZE, case
from mmret_lib.checks.engine.task import Case, Mistake, Task, mistakes
from mmret_lib.checks.triplet import hinges, weights
from mmret_lib.checks.triplet.cases import (
    LOSS_CASES,
    MARGIN,
    OPPOSITE,
    WRONG_SIMILARITIES,
    opposites,
)
from mmret_lib.checks.triplet.duplicates import WRONG_DUPLICATES
from mmret_lib.checks.triplet.semi_hard import SEMI_HARD_TASK

__all__ = [
    "check_cosine_similarity_matrix",
    "check_masked_max_triplet",
    "check_max_triplet",
    "check_negative_weights",
    "check_semi_hard_triplet",
    "check_sum_triplet",
]

# ---------------------------------------------------------------------------------------------
# Task 1: the matrix of cosines

WITH_ZEROS = pairs.batch(5, 3, 4)
WITH_ZEROS[0][1], WITH_ZEROS[1][3] = 0, 0
SHORT_AND_LONG = torch.tensor([[0.02], [1], [30], [2], [1000]], dtype=torch.float64, device="cpu")
WITH_LENGTHS = [emb / pairs.norm(emb) for emb in pairs.batch(5, 3, 5)]
WITH_LENGTHS = [WITH_LENGTHS[0] * SHORT_AND_LONG, WITH_LENGTHS[1] * SHORT_AND_LONG.flip(0)]
ZERO = "a row of zeros should have similarity 0 to everything"

COSINE_TASK = Task(
    name="cosine_similarity_matrix",
    right=pairs.cosines,
    cases=[
        case(pairs.batch(5, 3, 0)),
        case(pairs.batch(9, 4, 1), "", SIZE),
        case(pairs.batch(3, 7, 2), "", SIZE),
        case(
            WITH_LENGTHS,
            "rows of lengths from 0.02 to 1000",
            "short or long rows go wrong: the length of a row should not matter",
        ),
        case(WITH_ZEROS, "a batch with a row of zeros in each branch", ZERO),
        case(pairs.by_hand(), HAND, SIZE),
    ],
    mistakes=[
        *pairs.WRONG_COSINES,
        *mistakes(
            {},
            product={
                "the result is transposed: rows are images, columns are texts": lambda i, t: t @ i.T
            },
            normalise={
                f"a row of zeros is divided by its length 0 and becomes NaN: {ZERO}": (
                    pairs.each(lambda e: e / pairs.norm(e))
                )
            },
        ),
        *(
            Mistake(
                "the epsilon added to the length is too large: it changes the cosines of short "
                "rows",
                {"normalise": pairs.each(lambda e, power=power: e / (pairs.norm(e) + 10**power))},
            )
            for power in range(-6, 0)
        ),
        *(
            Mistake(
                "the least length that is divided by (clamp, eps) is too large: it changes the "
                "cosines of short rows. 1e-12 is enough against a length of 0",
                {"normalise": pairs.each(lambda e, eps=eps: e / pairs.norm(e).clamp(min=eps))},
            )
            for eps in (0.05, 0.1, 1)
        ),
    ],
    gradient_mistakes=pairs.WRONG_COSINE_GRADIENTS,
    remark=(
        "A cosine does not depend on length, so longer embeddings cannot lower the loss: only "
        "their directions count."
    ),
)

# ---------------------------------------------------------------------------------------------
# Tasks 2 and 3: the sum and the maximum of hinges

SUM_TASK = Task(
    name="sum_triplet",
    right=hinges.sum_triplet,
    cases=LOSS_CASES,
    mistakes=[*hinges.WRONG_HINGES, *hinges.WRONG_SUMS, *WRONG_SIMILARITIES],
    gradient_mistakes=hinges.WRONG_GRADIENTS,
    remark=(
        "In each direction its gradient by s_bk is 1 / B for every negative within the margin, far "
        "or near: the sum weighs them all alike, so easy ones can outvote the hard one."
    ),
)
WRONG_MAXIMA = [
    hinges.DIAGONAL_KEPT_MAX,
    *hinges.WRONG_HINGES,
    *hinges.WRONG_MAXIMA,
    *WRONG_SIMILARITIES,
]
MAX_TASK = Task(
    name="max_triplet",
    right=hinges.max_triplet,
    cases=LOSS_CASES,
    mistakes=WRONG_MAXIMA,
    gradient_mistakes=hinges.WRONG_GRADIENTS,
    remark=(
        "With all embeddings equal it is exactly 2 * margin, whatever B is: where a training curve "
        "stays there, look whether the embeddings have collapsed."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 4: duplicates are not negatives

LONELY = "a query without any negative should cost 0 (a maximum over nothing is -inf or an error)"
UNIQUE = "without duplicates the loss should be the plain max_triplet"
FAR = 3 * 10**18  # float64 cannot tell it from FAR + 1


def with_ids(
    batch: tuple[Tensor, Tensor], image_ids: list[int], caption_ids: list[int], *margin: float
) -> tuple[Any, ...]:
    """The arguments of masked_max_triplet."""
    ids = [torch.tensor(each, device="cpu") for each in (image_ids, caption_ids)]
    return *batch, *ids, *margin


MASKED_TASK = Task(
    name="masked_max_triplet",
    right=hinges.masked_max_triplet,
    cases=[
        case(with_ids(pairs.batch(5, 3, 0), [7, 7, 8, 9, 5], [3, 1, 3, 2, 1])),
        case(
            with_ids(
                pairs.batch(9, 4, 1), [1, 2, 3, 1, 5, 6, 2, 8, 1], [9, 8, 8, 9, 5, 4, 3, 2, 1]
            ),
            "",
            SIZE,
        ),
        case(
            with_ids(pairs.batch(5, 3, 3), [4, 4, 8, 9, 5], [3, 1, 3, 2, 1], 0.7),
            "a margin of 0.7",
            MARGIN,
        ),
        case(
            with_ids(pairs.batch(5, 3, 2), [FAR, FAR + 1, FAR, FAR + 2**32, -1], [0, 1, 2, 1, FAR]),
            "ids as large as 3 * 10**18",
            "ids are names, not positions or measures: they can be any whole numbers, so compare "
            "them as they are, and do not convert them, count or index by them",
        ),
        case(with_ids(opposites(5), [1, 2, 3, 4, 1], [7, 6, 5, 4, 3]), OPPOSITE),
        case(
            with_ids(pairs.batch(5, 3, 5), [1, 2, 3, 4, 5], [5, 1, 2, 3, 4]),
            "a batch without duplicates (image and caption ids share numbers, which means nothing)",
            UNIQUE,
        ),
        case(
            with_ids(pairs.batch(3, 4, 8), [7, 7, 8], [2, 1, 2]),
            "a query that has no negative left",
            LONELY,
        ),
        case(with_ids(opposites(3), [6, 6, 6], [1, 2, 3]), "three pairs of one image", LONELY),
        case(
            with_ids(pairs.by_hand(), [1, 2], [4, 5]),
            f"{HAND}, image_ids [1, 2], caption_ids [4, 5]",
            SIZE,
            UNIQUE,
        ),
    ],
    mistakes=[*WRONG_DUPLICATES, *WRONG_MAXIMA],
    gradient_mistakes=hinges.WRONG_GRADIENTS,
    remark=(
        "A duplicate is about as similar as the positive, so unmasked the maximum would often pick "
        "this false negative. In the sum it would be one among many."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 5: how a loss weighs its negatives

SIMILARITY = pairs.cosines(*pairs.batch(5, 3, 3))
WITH_QUIET = pairs.cosines(*pairs.batch(6, 8, 3))  # not every query has a negative in the margin
WITH_QUIET[2], WITH_QUIET[:, 4] = -0.5, -0.6
WITH_QUIET.diagonal().fill_(0.4)
WEIGHT_TASK = Task(
    name="negative_weights",
    right=weights.negative_weights,
    cases=[
        Case(
            (weights.smooth_direction(0.2), SIMILARITY),
            "the direction of SimCLR(0.2)",
            (f"right for hinges, wrong for a smooth loss: {weights.ANY}",),
        ),
        Case(
            (weights.hinge_direction(0.5, hinges.sum_of), SIMILARITY),
            "the direction of SumTriplet(0.5)",
            (f"right for other directions, wrong for the sum: {weights.ANY}",),
        ),
        Case(
            (weights.hinge_direction(0.5, hinges.max_of), SIMILARITY),
            "the direction of MaxTriplet(0.5)",
            (f"right for the sum, wrong for the max: {weights.ANY}",),
        ),
        Case(
            (weights.hinge_direction(0.2, hinges.sum_of), WITH_QUIET),
            "a query that pushes nothing, whose row is all zeros",
            ("a query that pushes nothing should have a row of zeros", SIZE),
        ),
        Case(
            (weights.small_direction, SIMILARITY),
            "0.008 times the direction of SimCLR(0.2)",
            (
                "right for large gradients, wrong for small ones: is a constant such as an epsilon "
                "or a least sum too large?",
            ),
        ),
        Case(
            (weights.thresholds, SIMILARITY),
            "a direction whose pull on the positive is not the sum of its pushes",
            (f"right where pull and push are equal, wrong where not: {weights.ANY}",),
        ),
        Case(
            (weights.hinge_direction(0.5, hinges.sum_of), pairs.cosines(*pairs.by_hand())),
            "SumTriplet(0.5) and the similarities [[0.8, 0], [0.96, 0.8]]",
            (SIZE,),
        ),
    ],
    mistakes=weights.WRONG_WEIGHTS,
    symptom=weights.symptom,
    has_gradient=False,
    remark=(
        "For the smooth loss these shares are softmax(s_bk / t) over the negatives: its "
        "temperature says how near it comes to the max."
    ),
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_cosine_similarity_matrix(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Task 1: function(image_emb (B, D), text_emb (B, D)) -> cosines (B, B)."""
    check(COSINE_TASK, function)


def check_sum_triplet(function: Callable[..., Tensor]) -> None:
    """Task 2: function(image_emb (B, D), text_emb (B, D), margin=0.2) -> scalar."""
    check(SUM_TASK, function)


def check_max_triplet(function: Callable[..., Tensor]) -> None:
    """Task 3: function(image_emb (B, D), text_emb (B, D), margin=0.2) -> scalar."""
    check(MAX_TASK, function)


def check_masked_max_triplet(function: Callable[..., Tensor]) -> None:
    """Task 4: function(image_emb, text_emb, image_ids (B,), caption_ids (B,), margin=0.2)."""
    check(MASKED_TASK, function)


def check_negative_weights(function: Callable[..., Tensor]) -> None:
    """Task 5: function(direction, similarity (B, B)) -> weights (2, B, B)."""
    check(WEIGHT_TASK, function)


def check_semi_hard_triplet(function: Callable[..., Tensor]) -> None:
    """Task 6: function(image_emb (B, D), text_emb (B, D), margin=0.2) -> scalar."""
    check(SEMI_HARD_TASK, function)
