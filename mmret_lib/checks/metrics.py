"""The checks of exercise 08, one for each of its tasks.

    from mmret_lib import checks
    checks.metrics.check_ranks(ranks)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.ranking`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.task import Case, Task
from mmret_lib.checks.ranking import bootstrap, counting, intervals, judged, recalls
from mmret_lib.checks.ranking.cases import (
    answers,
    by_query,
    counts,
    of_ranks,
    scores,
    whole,
    without,
)

__all__ = [
    "check_bootstrap_interval",
    "check_judged_recall",
    "check_median_rank",
    "check_ranks",
    "check_recall_at_k",
]


# ---------------------------------------------------------------------------------------------
# Task 1: what is above the right answers, and what ties with them

SIZE = "a size is fixed in the code: take N and M from scores.shape"
TIED = f"scores that tie go wrong: {counting.TIES}"
OWN_TIES = f"own captions that tie with each other go wrong: {counting.OWN}"
LOW = (
    "scores below 0 or -1 go wrong: is something masked with a number that can be a score? Set it "
    "to -inf"
)
NEAR = "scores that differ by a millionth go wrong: is there a tolerance? Compare them as they are"
TWO_OWN = scores(4, 8, 5, 3)
TWO_OWN[whole([0, 0, 2, 2]), whole([0, 2, 5, 6])] = 2.0
CLOSE = 2.0**-16 * scores(3, 5, 8) - 0.5
RANKS_TASK = Task(
    name="ranks",
    right=counting.ranks,
    cases=[
        Case(
            (scores(4, 7, 0), whole([2, 0, 1, 1, 3, 0, 2])),
            "4 images and 7 captions, whose owners are 2, 0, 1, 1, 3, 0, 2",
        ),
        Case(
            (scores(3, 15, 1), whole(range(3)).repeat_interleave(5)),
            "3 images with five captions each",
            (SIZE,),
        ),
        Case((scores(9, 9, 2), whole([3, 8, 1, 0, 7, 5, 2, 6, 4])), "9 images with one each"),
        Case(
            (scores(5, 9, 3, 3), whole([0, 4, 4, 1, 2, 2, 2, 3, 0])),
            "scores of which many tie",
            (TIED,),
        ),
        Case((scores(4, 6, 4, 1), whole([3, 2, 1, 0, 0, 1])), "equal scores everywhere", (TIED,)),
        Case(
            (TWO_OWN, whole([0, 1, 0, 3, 1, 2, 2, 0])),
            "images of which two own captions tie for the best",
            (OWN_TIES, TIED),
        ),
        Case(
            (scores(4, 9, 6, 9, -0.5), whole([1, 1, 2, 0, 3, 3, 1, 0, 2])),
            "low scores",
            (LOW, TIED),
        ),
        Case((scores(4, 9, 6, 0, -9), whole([1, 1, 2, 0, 3, 3, 1, 0, 2])), "scores of -9", (LOW,)),
        Case((CLOSE, whole([2, 1, 0, 2, 1])), "scores that differ by 2 to the -22", (NEAR,)),
        Case((scores(1, 3, 9), whole([0, 0, 0])), "one image, whose all captions are"),
        Case(
            (
                torch.tensor([[0.5, 0.75, 0.25], [0.5, 0.5, 0.75]], dtype=torch.float64),
                whole([0, 1, 0]),
            ),
            "scores [[0.5, 0.75, 0.25], [0.5, 0.5, 0.75]] and owner [0, 1, 0]",
            (TIED, SIZE),
        ),
    ],
    mistakes=counting.WRONG_RANKS,
    properties=[counting.tells_near_from_equal],
    has_gradient=False,
    batch=False,
    remark=(
        "Nothing was sorted, and no positive compared with itself: two comparisons and a sum serve "
        "both directions, also piece by piece where the matrix is too large."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 2: recall at K

K = "k is fixed in the code: take the argument"
TIES = f"ties go wrong: {recalls.EXPECTED}"
FEW = "where k is larger than all counts together every query is a hit, and the recall 100"


RECALL_TASK = Task(
    name="recall_at_k",
    right=recalls.recall_at_k,
    cases=[
        counts([0, 4, 1, 2, 0, 9, 3], [0] * 7, 1, "seven queries without ties, k = 1"),
        counts([0, 4, 1, 2, 0, 9, 3], [0] * 7, 3, "seven queries without ties, k = 3", K),
        counts([2, 0, 5], [0] * 3, 5, "three queries without ties, k = 5", K),
        counts([0, 0, 0, 1], [1, 2, 0, 3], 1, "queries that tie for the first place, k = 1", TIES),
        counts([0, 3, 1, 2, 8], [2, 4, 3, 9, 3], 4, "five queries with ties, k = 4", TIES),
        counts([9, 12, 7, 0, 10], [2, 1, 6, 99, 0], 10, "counts around k = 10", TIES, K),
        counts([0] * 6, [49] * 6, 10, "equal scores everywhere, k = 10 of 50", TIES),
        counts([3, 1, 0], [2, 0, 4], 100, "k = 100, more than there are answers", FEW),
        counts([7, 5], [1, 0], 5, "no query within the first 5 (recall 0)"),
        counts(
            [0, 1, 2, 8],
            [0, 3, 0, 1],
            3,
            "better [0, 1, 2, 8], tied [0, 3, 0, 1], k = 3",
            TIES,
        ),
    ],
    mistakes=recalls.WRONG_RECALLS,
    has_gradient=False,
    remark=(
        "A model that gives all N images the same score gets 100 k / N, what drawing lots gets. "
        "Without ties it is what every paper calls R@K."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 3: the median rank


MEDIAN_TASK = Task(
    name="median_rank",
    right=recalls.median_rank,
    cases=[
        of_ranks([5, 0, 2, 11, 3], "ranks 5, 0, 2, 11, 3"),
        of_ranks([7, 0, 11, 4, 240, 1], "ranks 7, 0, 11, 4, 240, 1", recalls.MIDDLE),
        of_ranks([4, 1, 1, 8, 7, 1, 3, 9], "eight ranks, one of them three times", recalls.MIDDLE),
        of_ranks([0.5, 3, 7.5, 2.5, 0], "expected ranks, some of them halves"),
        of_ranks([0.5, 4, 1.5, 3], "four ranks with halves", recalls.MIDDLE),
        of_ranks([2.5, 3.5, 9.5, 2.5], "four ranks, all of them halves", recalls.MIDDLE),
        of_ranks([17], "a single rank of 17"),
        of_ranks([1, 0], "ranks 1 and 0", recalls.MIDDLE),
        of_ranks([0, 0, 0, 999, 0], "ranks 0, 0, 0, 999, 0"),
        of_ranks([7, 2, 0, 4], "ranks 7, 2, 0, 4", recalls.MIDDLE),
    ],
    mistakes=recalls.WRONG_MEDIANS,
    has_gradient=False,
    half=False,
    remark=(
        "This is VSE++'s floor(median) + 1. Half of the queries decide it, and the other half may "
        "fail as badly as they like: report it beside recalls and the mean."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 4: an interval

INTERVAL_TASK = Task(
    name="bootstrap_interval",
    right=bootstrap.bootstrap_interval,
    cases=[],
    mistakes=[],
    properties=intervals.PROPERTIES,
    has_gradient=False,
    half=False,
    remark=(
        "Four times as many images make it half as wide. The chance in training is not in it: "
        "another seed gives another model."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 5: several right answers

SEVERAL = f"right answers that tie go wrong: {judged.DRAWN}"
MANY_WRONG = f"wrong answers that tie with the right one go wrong: {judged.DRAWN}"
PAST = (
    "where k is larger than better, tied and equal together the query is a hit: m is at most as "
    "many as there are"
)


JUDGED_TASK = Task(
    name="judged_recall",
    right=judged.judged_recall,
    cases=[
        Case((scores(7, 6, 0), answers(7, 6, 1), 1), "7 queries, 6 answers each, k = 1"),
        Case((scores(9, 12, 2), answers(9, 12, 3), 2), "9 queries, 12 answers each, k = 2", (K,)),
        Case((scores(5, 30, 4), answers(5, 30, 5, 0.05), 5), "5 queries, 30 answers, k = 5", (K,)),
        Case(
            (scores(6, 7, 6), without(answers(6, 7, 7), 1, 4), 2),
            "6 queries, two of them without a right answer",
            (judged.NO_ANSWER,),
        ),
        Case(
            (scores(8, 5, 8, 3), answers(8, 5, 9, 0.0), 2),
            "scores of which many tie, one right answer for each query",
            (MANY_WRONG,),
        ),
        Case(
            (scores(8, 9, 10, 2), answers(8, 9, 11, 0.4), 2),
            "scores of which many tie, several right answers for each query",
            (SEVERAL, MANY_WRONG),
        ),
        Case(
            (scores(12, 10, 18, 4), answers(12, 10, 19, 0.3), 3),
            "12 queries, 10 answers with four different scores",
            (SEVERAL, MANY_WRONG),
        ),
        Case(
            (scores(3, 8, 12, 1), answers(3, 8, 13, 0.4), 3),
            "equal scores everywhere",
            (SEVERAL, MANY_WRONG),
        ),
        Case((scores(4, 5, 14, 2), answers(4, 5, 15), 9), "k = 9 of 5 answers", (PAST, MANY_WRONG)),
        Case((scores(6, 8, 16, 0, -9), answers(6, 8, 17), 2), "scores of -9", (LOW,)),
        Case(
            by_query(
                [[0.5, 0.5, 0.5, 0.5], [0.75, 0.5, 0.25, 0.5], [0.5, 0.25, 0.75, 0]],
                [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
                2,
            ),
            "scores [[0.5, 0.5, 0.5, 0.5], [0.75, 0.5, 0.25, 0.5], [0.5, 0.25, 0.75, 0]], right "
            "[[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], k = 2",
            (SEVERAL, MANY_WRONG),
        ),
    ],
    mistakes=judged.WRONG_JUDGED,
    has_gradient=False,
    batch=False,
    remark=(
        "With one right answer each it is task 2. R@K says that a query is served; how many of its "
        "right answers come early is for R-precision and mAP@R (at the end of the lesson)."
    ),
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_ranks(function: Callable[[Tensor, Tensor], Any]) -> None:
    """Task 1: function(scores (N, M), owner (M,)) -> two pairs (better, tied), (N,) and (M,)."""
    check(RANKS_TASK, function)


def check_recall_at_k(function: Callable[[Tensor, Tensor, int], float]) -> None:
    """Task 2: function(better (Q,), tied (Q,), k) -> percent."""
    check(RECALL_TASK, function)


def check_median_rank(function: Callable[[Tensor], float]) -> None:
    """Task 3: function(ranks (Q,), counted from 0) -> the median, counted from 1."""
    check(MEDIAN_TASK, function)


def check_bootstrap_interval(function: Callable[..., Any]) -> None:
    """Task 4: function(values (N,) or (N, C), generator, level) -> (low, high)."""
    check(INTERVAL_TASK, function)


def check_judged_recall(function: Callable[[Tensor, Tensor, int], float]) -> None:
    """Task 5: function(scores (Q, A), right (Q, A), k) -> percent."""
    check(JUDGED_TASK, function)
