"""Describe a task for its check: the right formula, example calls, the likely mistakes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

Formula = Callable[..., Any]


class CheckFailed(AssertionError):
    """Raised for a wrong answer. A notebook shows only the message, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"CheckFailed: {self}"]


@dataclass(frozen=True)
class Case:
    """One call of the student's function.

    Attributes:
        args: The arguments, floating-point tensors in float64. Tensors may be nested in lists and
            dicts, and modules, generators and functions among the arguments.
        about: What kind of batch this is, in words that fit behind "for".
        hints: What the mistake probably is if the cases with this hint go wrong and all others
            are right; the more special hint first. The first also explains an error, or a result
            of the wrong shape, that comes up in this case and not before.
        smooth: False if the gradient is not unique here, as where two negatives tie.
    """

    args: tuple[Any, ...]
    about: str
    hints: tuple[str, ...] = ()
    smooth: bool = True


@dataclass(frozen=True)
class Mistake:
    """A likely mistake, known by the numbers that it gives.

    Attributes:
        says: What to tell the student: lower case, no full stop at its end.
        wrong: The wrong answer as a function that is called like the right formula. Or a mapping
            of the right formula's keyword arguments, its steps, to what stands in their place:
            two such mistakes can be recognised together, and tasks with the same steps share them.
    """

    says: str
    wrong: Formula | Mapping[str, Any]


def mistakes(remedies: Mapping[str, str], **steps: Mapping[str, Any]) -> list[Mistake]:
    """Make a list of mistakes in the steps of a formula.

    Example:
        >>> mistakes(
        ...     {"hinge": "the hinge is max(0, x)"},
        ...     hinge={"the hinge is squared": lambda x: x.relu().square()},
        ... )

    Args:
        remedies: For a step what it should be; it ends the messages that have no colon, and thus
            no remedy of their own.
        **steps: For a step, which is a keyword argument of the formula, what to tell the student
            and what stands in the step's place. `several` has mistakes in more than one step:
            what to tell, and a mapping of steps. The likelier mistake stands first: the first
            that gives the student's numbers is reported.
    """
    result = []
    for step, options in steps.items():
        for says, wrong in options.items():
            remedy = f": {remedies[step]}" if step in remedies and ": " not in says else ""
            result.append(Mistake(says + remedy, wrong if step == "several" else {step: wrong}))
    return result


@dataclass(frozen=True)
class Task:
    """What a check knows about one task of an exercise.

    Attributes:
        name: The name of the student's function.
        right: The right formula: the arguments of the student's function, then steps that a
            mistake may replace, as keyword arguments. It keeps to the arguments' precision.
        cases: The calls, the plainest first, the last one small enough to follow on paper.
        mistakes: What gives wrong numbers, the likelier first.
        remark: What the solution shows, in a sentence or two; printed with a right answer.
        gradient_mistakes: What leaves the value right and makes the gradient wrong.
        has_gradient: False if the result should carry no gradient.
        symptom: Finds in the answers to all cases the sign of a mistake that no formula of
            `mistakes` gives, and says it; None where there is none.
        properties: What numbers alone cannot tell, as that a draw is uniform: each takes the
            student's function, and says what is wrong with it, or returns None. Where there are no
            cases they alone decide.
        batch: False if the first matrix is not B pairs of D numbers each, so that messages should
            give shapes in numbers.
        half: False if the function need not work in float16 or on views.
        seconds: How long one call may take before it is stopped as one that never ends.
    """

    name: str
    right: Formula
    cases: Sequence[Case]
    mistakes: Sequence[Mistake]
    remark: str
    gradient_mistakes: Sequence[Mistake] = ()
    has_gradient: bool = True
    symptom: Callable[[Sequence[Any]], str | None] = lambda answers: None
    properties: Sequence[Callable[[Formula], str | None]] = ()
    batch: bool = True
    half: bool = True
    seconds: float = 30

    @property
    def arguments(self) -> list[str]:
        """The names of the student's arguments, in order."""
        kinds = inspect.signature(self.right).parameters.items()
        return [name for name, kind in kinds if kind.kind is kind.POSITIONAL_OR_KEYWORD]

    @property
    def hints(self) -> list[str]:
        """The hints of all cases, each once."""
        return list(dict.fromkeys(hint for case in self.cases for hint in case.hints))

    def formula(self, mistake: Mistake) -> Formula:
        """Return the formula with this mistake in it."""
        if isinstance(mistake.wrong, Mapping):
            return partial(self.right, **mistake.wrong)
        return mistake.wrong

    def both(self, first: Mistake, second: Mistake) -> Formula | None:
        """Return the formula with two mistakes in it, or None if they exclude each other."""
        if not isinstance(first.wrong, Mapping) or not isinstance(second.wrong, Mapping):
            return None
        if first.wrong.keys() & second.wrong.keys():
            return None
        return partial(self.right, **first.wrong, **second.wrong)
