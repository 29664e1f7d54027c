"""The checks of exercise 09, one for each of its tasks.

    from mmret_lib import checks
    checks.qualitative.check_hubness(hubness)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.looking`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.task import Task
from mmret_lib.checks.looking import gaps, hubs, planes, scenes, truths

__all__ = [
    "check_hubness",
    "check_modality_gap",
    "check_principal_plane",
    "check_right_answers",
]

HUB_TASK = Task(
    name="hubness",
    right=hubs.hubness,
    cases=hubs.CASES,
    mistakes=hubs.MISTAKES,
    symptom=hubs.symptom,
    has_gradient=False,
    half=False,
    remark=(
        "Every query gives away exactly k places, so a hub takes them from the others: many "
        "answers are then found by no query at all."
    ),
)
GAP_TASK = Task(
    name="modality_gap",
    right=gaps.modality_gap,
    cases=gaps.CASES,
    mistakes=gaps.MISTAKES,
    symptom=gaps.symptom,
    has_gradient=False,
    remark=(
        "The three parts, the gap and the spread of either branch, add up to the mean squared "
        "distance of all pairs, so a drawing with a wide gap can still rank well."
    ),
)
PLANE_TASK = Task(
    name="principal_plane",
    right=planes.principal_plane,
    cases=planes.CASES,
    mistakes=planes.MISTAKES,
    has_gradient=False,
    half=False,
    remark=(
        "A decomposition leaves the signs open: without a rule for them the same embeddings give "
        "mirrored drawings on two machines."
    ),
)
TRUTH_TASK = Task(
    name="right_answers",
    right=truths.right_answers,
    cases=scenes.CASES,
    mistakes=truths.MISTAKES,
    has_gradient=False,
    remark=(
        "The data set marks one picture for each caption as right. Every other True in a column "
        "is a false negative: in training it is pushed away, in a recall it counts as a failure."
    ),
)


def check_hubness(function: Callable[[Tensor, int], tuple[Tensor, float]]) -> None:
    """Task 1: function(similarity (Q, N), k) -> counts (N,) and their skewness."""
    check(HUB_TASK, function)


def check_modality_gap(function: Callable[[Tensor, Tensor], tuple[float, float]]) -> None:
    """Task 2: function(image_emb (N, D), text_emb (M, D)) -> (gap, share)."""
    check(GAP_TASK, function)


def check_principal_plane(function: Callable[[Tensor], Tensor]) -> None:
    """Task 3: function(emb (N, D)) -> coordinates (N, 2)."""
    check(PLANE_TASK, function)


def check_right_answers(function: Callable[[list[Any], list[Any]], Tensor]) -> None:
    """Task 4: function(captions_scene, M of them, scenes, N of them) -> bool (N, M)."""
    check(TRUTH_TASK, function)
