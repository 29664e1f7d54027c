"""The factor of the learning rate at a step, and the ways to get it wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from mmret_lib.checks.engine.symptoms import name_of
from mmret_lib.checks.engine.task import Mistake, mistakes

FIRST = (
    "the first step has rate 0 and teaches nothing: steps count from 0, so the rise is "
    "(step + 1) / warmup"
)


def rise(step: int, warmup: int) -> float:
    """The part of the warm-up that is done after this step."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def from_zero(step: int, warmup: int) -> float:
    """The part that was done before this step."""
    return min(1.0, step / warmup) if warmup else 1.0


def over_one_more(step: int, warmup: int) -> float:
    """A rise that takes a step too many."""
    return min(1.0, (step + 1) / (warmup + 1))


def on_and_on(step: int, warmup: int) -> float:
    """A rise without an end."""
    return (step + 1) / warmup if warmup else 1.0


def passed(step: int, milestones: Sequence[int]) -> int:
    """How many milestones are reached."""
    return sum(step >= milestone for milestone in milestones)


def fall(gamma: float, count: int) -> float:
    """What is left after so many milestones."""
    return gamma**count


def both(rising: float, falling: float) -> float:
    """Combine rise and fall."""
    return rising * falling


def rate(
    step: int,
    warmup: int,
    milestones: Sequence[int],
    gamma: float,
    *,
    rise: Callable[[int, int], float] = rise,
    passed: Callable[[int, Sequence[int]], int] = passed,
    fall: Callable[[float, int], float] = fall,
    both: Callable[[float, float], float] = both,
) -> float:
    """The factor of the peak learning rates at a step, counted from 0; the right answer."""
    return both(rise(step, warmup), fall(gamma, passed(step, milestones)))


def after_the_warmup(step: int, warmup: int, milestones: Sequence[int], gamma: float) -> float:
    """Milestones that count from the end of the warm-up."""
    return rise(step, warmup) * gamma ** passed(step - warmup, milestones)


def one_phase(step: int, warmup: int, milestones: Sequence[int], gamma: float) -> float:
    """No milestone during the warm-up."""
    return rise(step, warmup) if step < warmup else gamma ** passed(step, milestones)


def multiplied_sums(step: int, warmup: int, milestones: Sequence[int], gamma: float) -> float:
    """Powers that grow from milestone to milestone: gamma, then gamma cubed."""
    count = passed(step, milestones)
    return rise(step, warmup) * gamma ** (count * (count + 1) // 2)


def from_one(step: int, warmup: int, milestones: Sequence[int], gamma: float) -> float:
    """Steps that count from 1."""
    return from_zero(step, warmup) * gamma ** passed(step - 1, milestones)


def symptom(answers: Sequence[Any]) -> str | None:
    """Say what is wrong with the kind of the results, if anything is."""
    for each in answers:
        if not isinstance(each, int | float | Tensor):
            return f"a {name_of(each)} is returned: the factor is a number"
    return None


MISTAKES = [
    *mistakes(
        {
            "passed": "a milestone counts from its own step on, step >= milestone",
            "fall": "each milestone that is reached multiplies once more, gamma ** reached",
            "both": "the two factors are multiplied",
        },
        rise={
            FIRST: from_zero,
            "the rise takes one step too many: after `warmup` steps it is done, so the step "
            "warmup - 1 has the whole rate": over_one_more,
            "the rise does not end: it stops at 1, min(1, ...)": on_and_on,
            "there is no warm-up: the first `warmup` steps rise to 1": lambda step, warmup: 1.0,
            "the fraction is lost, as // cuts it off: the rise is (step + 1) / warmup": (
                lambda step, warmup: min(1.0, (step + 1) // warmup) if warmup else 1.0
            ),
            "the rise is a curve: (step + 1) / warmup as it is, a straight line": lambda s, w: (
                rise(s, w) ** 2
            ),
        },
        passed={
            "a milestone counts one step late": lambda step, ms: sum(step > m for m in ms),
            "a milestone counts one step early": lambda step, ms: sum(step + 1 >= m for m in ms),
            "only one milestone counts": lambda step, ms: int(any(step >= m for m in ms)),
            "one milestone too few counts, as where enumerate begins at 0": lambda step, ms: max(
                0, passed(step, ms) - 1
            ),
            "the milestones that are still to come are counted": lambda step, ms: sum(
                step < m for m in ms
            ),
            "all milestones count from the first step": lambda step, ms: len(ms),
            "the rate falls at the step of a milestone alone, and comes back after it: every "
            "milestone that was reached before counts": lambda step, ms: int(step in ms),
            "no milestone counts": lambda step, ms: 0,
        },
        fall={
            "gamma is multiplied by the number of milestones": lambda gamma, n: gamma * n,
            "gamma is multiplied by the number of milestones, or 1 before the first": (
                lambda gamma, n: gamma * n if n else 1.0
            ),
            "gamma is subtracted for each milestone": lambda gamma, n: 1 - gamma * n,
            "gamma is divided by the number of milestones": lambda gamma, n: gamma / n if n else 1,
            "the rate grows at each milestone": lambda gamma, n: gamma**-n,
            "the base is 1 - gamma": lambda gamma, n: (1 - gamma) ** n,
            "gamma is fixed in the code": lambda gamma, n: 0.5**n,
        },
        both={
            "the smaller of the two factors is taken": min,
            "the two factors are added": lambda rising, falling: rising + falling,
            "the mean of the two factors is taken": lambda one, other: (one + other) / 2,
        },
    ),
    Mistake(
        "the factor is rounded: return it as it is",
        lambda step, warmup, milestones, gamma: round(rate(step, warmup, milestones, gamma), 2),
    ),
    Mistake(
        "milestones count from the end of the warm-up: they are steps of the training, counted "
        "from its start",
        after_the_warmup,
    ),
    Mistake(
        "a milestone within the warm-up is passed over until the warm-up is done: both factors "
        "hold at every step, so multiply them always",
        one_phase,
    ),
    Mistake(
        "gamma's powers add up, gamma and then gamma ** 3: start from 1 for each step, and "
        "multiply once for each milestone that is reached",
        multiplied_sums,
    ),
    Mistake(
        "steps are counted from 1: they count from 0, so that the step `warmup - 1` is the first "
        "with the whole rate",
        from_one,
    ),
]
