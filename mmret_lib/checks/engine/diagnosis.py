"""Which mistake makes just these wrong numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from mmret_lib.checks.engine.arguments import by_a_factor, close, shape_of
from mmret_lib.checks.engine.task import Case, Task


def explained(
    task: Task, answers: Sequence[Tensor], right: Sequence[Tensor], wrong: Sequence[bool]
) -> str | None:
    """The likeliest mistake, in words, or nothing.

    First the slip that gives the very same numbers in every case, then what the wrong cases have
    in common, then what the numbers look like; two slips at once are the last resort.
    """
    for slip in task.slips:
        if makes(task, slip.options, answers, wrong):
            return slip.says
    for trait, says in task.traits.items():
        if only_with(trait, task.cases, wrong):
            return says
    batches = [shape_of(case.args)[0] for case in task.cases]
    seen = task.signs(answers) or by_a_factor(answers, right, batches) or blind(task, answers)
    if seen:
        return seen
    for one, two in combinations(task.slips, 2):
        apart = not one.options.keys() & two.options.keys()
        if apart and makes(task, {**one.options, **two.options}, answers, wrong):
            return f"two things: {one.says}; and {two.says}"
    return None


def makes(
    task: Task, options: Mapping[str, str], answers: Sequence[Tensor], wrong: Sequence[bool]
) -> bool:
    """Whether the formula with these options gives the student's numbers in every case."""
    matched = False
    for place in sorted(range(len(wrong)), key=lambda place: not wrong[place]):
        value = task.right(*task.cases[place].args, **options)
        if wrong[place] and torch.isinf(value).all():
            continue  # what is masked by -inf may be masked by any other low number
        if not close(answers[place], value):
            return False
        matched = matched or wrong[place]
    return matched


def only_with(trait: str, cases: Sequence[Case], wrong: Sequence[bool]) -> bool:
    """Whether it is cases with this trait, and no others, that go wrong."""
    return all(trait in case.traits for case, bad in zip(cases, wrong, strict=True) if bad)


def blind(task: Task, answers: Sequence[Tensor]) -> str | None:
    """What to say of a function that answers the same to whatever it is given."""
    count = len(task.cases[0].args)
    plain = [one for one, case in zip(answers, task.cases, strict=True) if len(case.args) == count]
    if all(close(one, plain[0]) for one in plain):
        return (
            "the function does not use its arguments, for the result is the same for every batch: "
            "is it a variable of the notebook that it uses?"
        )
    return None
