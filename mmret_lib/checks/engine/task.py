"""What a check knows about a task: the right formula, calls to try it on, the likely mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


class CheckFailed(AssertionError):
    """What is wrong with an answer. A notebook shows the message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"CheckFailed: {self}"]


@dataclass(frozen=True)
class Slip:
    """What to tell who made this mistake, and the formula's options that make it."""

    says: str
    options: Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One call: its arguments (numbers in float64), in words what it is, what sets it apart."""

    args: tuple[Any, ...]
    about: str
    traits: frozenset[str] = frozenset()
    smooth: bool = True  # False where ties leave the gradient a matter of taste


@dataclass(frozen=True)
class Task:
    """What a check knows about one task.

    `right(*args, **options)` is the formula, in the arguments' own precision; `slips` change its
    value, `gradient_slips` its gradient alone. `traits` say what it means that exactly the cases
    with one trait go wrong. `names` are those of the arguments. The first case is the plainest
    one, the last is small enough to be followed by hand. `more` is told with a right answer.
    `signs` finds in the answers to all cases what speaks for a mistake that no slip explains.
    """

    name: str
    names: tuple[str, ...]
    right: Callable[..., Tensor]
    cases: Sequence[Case]
    slips: Sequence[Slip]
    traits: Mapping[str, str]
    more: str
    gradient_slips: Sequence[Slip] = ()
    has_gradient: bool = True
    signs: Callable[[Sequence[Tensor]], str | None] = lambda answers: None
