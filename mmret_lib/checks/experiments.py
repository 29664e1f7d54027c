"""The checks of exercise 10, one for each of its tasks.

    from mmret_lib import checks
    checks.experiments.check_paired_p(paired_p)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. What a right answer
keeps to, and the ways to get it wrong, are in `mmret_lib.checks.comparing`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmret_lib.checks.comparing import choices, ratios, signs
from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.task import Task

__all__ = ["check_choose", "check_paired_p", "check_ratio_interval"]


def signature(first: Tensor, second: Tensor, generator: torch.Generator) -> None:
    """The arguments of both functions that draw: nothing is compared with a right formula."""


SIGN_TASK = Task(
    name="paired_p",
    right=signature,
    cases=[],
    mistakes=[],
    properties=signs.PROPERTIES,
    has_gradient=False,
    half=False,
    remark=(
        "With five pairs there are only 32 patterns, and the two most extreme ones always count: "
        "p is about 0.06 at least, however large the difference."
    ),
)
CHOICE_TASK = Task(
    name="choose",
    right=choices.choose,
    cases=choices.CASES,
    mistakes=choices.MISTAKES,
    has_gradient=False,
    half=False,
    remark=(
        "The validation figure of the winner is the largest of many, so part of it is luck; its "
        "test figure is not, as long as the test had no part in the choice."
    ),
)
RATIO_TASK = Task(
    name="ratio_interval",
    right=signature,
    cases=[],
    mistakes=[],
    properties=ratios.PROPERTIES,
    has_gradient=False,
    half=False,
    remark=(
        "Drawing pairs leaves what the two have in common in both means, where it cancels: so the "
        "interval is narrower than that of either mean would let expect."
    ),
)


def check_paired_p(function: Callable[[Tensor, Tensor, torch.Generator], float]) -> None:
    """Task 1: function(first (n,), second (n,), generator) -> p."""
    check(SIGN_TASK, function)


def check_choose(function: Callable[[Tensor, Tensor], float]) -> None:
    """Task 2: function(validation (C, S), test (C, T)) -> test figure of the chosen setting."""
    check(CHOICE_TASK, function)


def check_ratio_interval(
    function: Callable[[Tensor, Tensor, torch.Generator], tuple[float, float]],
) -> None:
    """Task 3: function(first (n,), second (n,), generator) -> (low, high)."""
    check(RATIO_TASK, function)
