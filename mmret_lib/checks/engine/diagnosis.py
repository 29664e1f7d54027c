"""Find the mistake that gives exactly a student's wrong numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.arguments import close, copies, floats, is_float
from mmret_lib.checks.engine.task import Case, Formula, Task


def likeliest_mistake(
    task: Task, answers: Sequence[Any], right: Sequence[Any], wrong: Sequence[bool]
) -> str | None:
    """Name the likeliest mistake in words, or return None.

    In this order: a mistake of the task that gives the very same numbers in every case; a hint
    that only the wrong cases have; what the numbers look like; two mistakes at once.
    """
    for mistake in task.mistakes:
        if gives(task.formula(mistake), task.cases, answers, wrong):
            return mistake.says
    sign = (
        shared_hint(task.hints, task.cases, wrong)
        or task.symptom(answers)
        or off_by_a_number(task.cases, answers, right)
        or ignores_arguments(task.cases, answers)
    )
    if sign:
        return sign
    for first, second in combinations(task.mistakes, 2):
        formula = task.both(first, second)
        if formula and gives(formula, task.cases, answers, wrong):
            return f"two things: {first.says}; and {second.says}"
    return None


def gives(
    formula: Formula, cases: Sequence[Case], answers: Sequence[Any], wrong: Sequence[bool]
) -> bool:
    """Whether a formula gives the student's numbers in every case."""
    matched = False
    for place in sorted(range(len(wrong)), key=lambda place: not wrong[place]):
        try:
            value = formula(*copies(cases[place].args, torch.float64))
        except Exception:  # a wrong formula need not work everywhere
            return False
        masked = isinstance(value, Tensor) and value.numel() > 0 and bool(value.isinf().all())
        if wrong[place] and masked:
            continue  # what is masked with -inf may be masked with any other low number
        if not close(answers[place], value):
            return False
        matched = matched or wrong[place]
    return matched


def shared_hint(hints: Sequence[str], cases: Sequence[Case], wrong: Sequence[bool]) -> str | None:
    """Return the first hint that all wrong cases have, or None."""
    for hint in hints:
        if all(hint in case.hints for case, bad in zip(cases, wrong, strict=True) if bad):
            return hint
    return None


def off_by_a_number(
    cases: Sequence[Case], answers: Sequence[Any], right: Sequence[Any]
) -> str | None:
    """Explain answers that all differ from the right ones by the same sum, factor or divisor."""
    batches = [floats(case.args) for case in cases]
    numbers = all(is_float(each) and each.numel() for each in (*answers, *right))
    if not numbers or not all(batches):
        return None
    answers = [answer.double() for answer in answers]
    added = [answer - wanted.double() for answer, wanted in zip(answers, right, strict=True)]
    first = added[0].flatten()[0]
    if first.isfinite() and all(close(each, first.expand_as(each)) for each in added):
        return f"something is added that does not belong there: every result is off by {first:.4g}"
    factors, divisors = [], []
    for batch, answer, wanted in zip(batches, answers, right, strict=True):
        total, wanted_total = answer.sum(), wanted.double().sum()
        if total == 0 and wanted_total == 0:
            continue  # right, whatever the factor is
        factor = total / wanted_total
        if total == 0 or wanted_total == 0 or not close(answer, wanted * factor):
            return None
        factors.append(factor)
        divisors.append(len(batch[0]) / factor if batch[0].ndim else 1 / factor)
    if factors and all(close(factor, factors[0]) for factor in factors):
        return f"a constant factor: every result is {factors[0]:.4g} times the right one"
    if divisors and all(close(divisor, divisors[0]) for divisor in divisors):
        return f"a batch size is fixed in the code: divided by {divisors[0]:.4g} whatever B is"
    return None


def ignores_arguments(cases: Sequence[Case], answers: Sequence[Any]) -> str | None:
    """Explain answers that are the same for every batch."""
    count = len(cases[0].args)
    plain = [answer for answer, case in zip(answers, cases, strict=True) if len(case.args) == count]
    if len(plain) > 2 and all(close(answer, plain[0]) for answer in plain):
        return (
            "the function does not use its arguments, for the result is the same for every batch: "
            "does it use a variable of the notebook instead?"
        )
    return None
