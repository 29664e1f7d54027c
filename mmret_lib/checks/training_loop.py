"""The checks of exercise 07, one for each of its tasks.

    from mmret_lib import checks
    checks.training_loop.check_rate(rate)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.loop`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.task import Case, Task
from mmret_lib.checks.loop import groups, loading, rates, saving, stepping, steps

__all__ = [
    "check_load_state",
    "check_parameter_groups",
    "check_rate",
    "check_save_state",
    "check_train_step",
]

# ---------------------------------------------------------------------------------------------
# Task 1: the learning rate of a step

NO_RISE = "with a warm-up of 0 steps nothing rises: the factor of the rise is 1 from the start"
NONE = "without milestones the rate does not fall"
LAST = "the step `warmup - 1` is the first with the whole rate"


def at(
    step: int, warmup: int, milestones: Sequence[int], gamma: float, *hints: str, about: str = ""
) -> Case:
    """The rate of one step."""
    named = f"step={step}, warmup={warmup}, milestones={milestones}, gamma={gamma:g}"
    return Case((step, warmup, milestones, gamma), f"{about}{about and ': '}{named}", hints)


RATE_CASES = [
    at(50, 10, [40, 80], 0.5),
    *(at(step, 8, [20, 30], 0.1) for step in (0, 3, 6, 7, 8, 19, 20, 29, 30, 31, 100)),
    *(at(step, 0, (5, 9), 0.3, NO_RISE) for step in (0, 4, 5, 9)),
    *(at(step, 0, [], 0.7, NO_RISE, NONE) for step in (0, 1)),
    *(at(step, 5, (), 0.7, NONE) for step in (2, 4, 60)),
    *(at(step, 1, [3], 0.5, LAST) for step in (0, 1, 3)),
    *(
        at(step, 10, [4, 6, 12], 0.8, about="milestones within the warm-up")
        for step in (3, 4, 5, 6, 9, 10, 12, 13)
    ),
    at(7, 2, [1, 2, 3, 4, 5], 0.9),
    at(2, 4, [8, 12], 0.5),
    at(12, 4, [8, 12], 0.5),
]
RATE_TASK = Task(
    name="rate",
    right=rates.rate,
    cases=RATE_CASES,
    mistakes=rates.MISTAKES,
    symptom=rates.symptom,
    has_gradient=False,
    half=False,
    remark=(
        "It depends on the step alone and remembers nothing: a resumed training that knows its "
        "step knows its rate, and there is no scheduler whose state could be forgotten."
    ),
)

# ---------------------------------------------------------------------------------------------
# Tasks 2 to 5: what they lead to decides

GROUPS_TASK = Task(
    name="parameter_groups",
    right=lambda model, lr, backbone_lr, weight_decay: [],
    cases=[],
    mistakes=[],
    properties=groups.PROPERTIES,
    has_gradient=False,
    half=False,
    remark=(
        "An optimiser does not know what a parameter is for: its rate and its decay are set once, "
        "in its group, and hold for every step."
    ),
)
STEP_TASK = Task(
    name="train_step",
    right=steps.train_step,
    cases=[],
    mistakes=[],
    properties=stepping.PROPERTIES,
    has_gradient=False,
    half=False,
    remark=(
        "One bad batch costs one step. Without that one condition it would cost the run: NaN in "
        "the optimiser's averages stays there."
    ),
)
SAVE_TASK = Task(
    name="save_state",
    right=lambda path, model, optimizer, step, generator: None,
    cases=[],
    mistakes=[],
    properties=saving.PROPERTIES,
    has_gradient=False,
    half=False,
    remark=(
        "The check looked at the file at every call that your function made. At none of them was "
        "it cut off: whenever the process is killed, there is a state to go on from."
    ),
)
LOAD_TASK = Task(
    name="load_state",
    right=lambda path, model, optimizer, generator: 0,
    cases=[],
    mistakes=[],
    properties=loading.PROPERTIES,
    has_gradient=False,
    half=False,
    remark=(
        "The next three steps had the same bits as those of a training that was never stopped. "
        "Had one part been forgotten, the curve would have looked fine and been another one."
    ),
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_rate(function: Callable[[int, int, Sequence[int], float], float]) -> None:
    """Task 1: function(step, warmup, milestones, gamma) -> the factor of the rates, 0 to 1."""
    check(RATE_TASK, function)


def check_parameter_groups(function: Callable[..., list[dict[str, Any]]]) -> None:
    """Task 2: function(model, lr, backbone_lr, weight_decay) -> groups for an optimiser."""
    check(GROUPS_TASK, function)


def check_train_step(function: Callable[..., Tensor]) -> None:
    """Task 3: function(image_head, text_head, batch, loss, optimizer, clip) -> loss, ()."""
    check(STEP_TASK, function)


def check_save_state(function: Callable[..., None]) -> None:
    """Task 4: function(path, model, optimizer, step, generator) writes a file."""
    check(SAVE_TASK, function)


def check_load_state(function: Callable[..., int]) -> None:
    """Task 5: function(path, model, optimizer, generator) -> the step; fills all three."""
    check(LOAD_TASK, function)
