"""Judge one function of one submission, in a process that does nothing else.

First the task's check as the notebook has it; then the same check with other numbers, drawn by the
student's own seed, and on calls of other sizes. What the function gets right of these decides over
partial points.
"""

from __future__ import annotations

import contextlib
import inspect
import random
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.arguments import close, copies, mapped, tensors, unchanged
from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.probe import Probe
from mmret_lib.checks.engine.task import Case, CheckFailed, Task
from mmret_lib.grading.answers import Answers, plain_python
from mmret_lib.grading.calls import library_unused
from mmret_lib.grading.drawn import CALLS
from mmret_lib.grading.folder import Submission
from mmret_lib.grading.guard import PLAIN, Guard, shut_in
from mmret_lib.grading.notebook import Cell
from mmret_lib.grading.tasks import load_tasks

DRAWN = 8  # calls of other sizes, besides the check's own with other numbers
TRIES = 3  # a right answer may fail on extreme numbers by rounding, once in a thousand draws
TOO_LONG = "has not ended after"  # as the check says it


@dataclass
class Verdict:
    """What became of one task.

    Attributes:
        visible: the message of the notebook's check; "" if it passes.
        hidden: the message of the check with other numbers; "" if it passes, or was not asked
            because the other one fails.
        share: of the calls and properties of the check with other numbers, how many are right;
            counted only for an answer that is wrong.
        refused: what the code reached for and did not get.
        stand_ins: functions of earlier tasks that are wrong, and were replaced by right ones.
        network: whether the system, and not only Python, kept the process from the network.
    """

    visible: str = ""
    hidden: str = ""
    share: float = 0.0
    refused: list[str] = field(default_factory=list)
    stand_ins: list[str] = field(default_factory=list)
    network: bool = False


def judge(
    submission: Submission, exercise: str, name: str, seed: int, folder: Path, limits: Limits
) -> dict[str, Any]:
    """Judge a function in this process, which afterwards is good for nothing else."""
    verdict = Verdict(network=shut_in(folder, limits.seconds, limits.megabytes))
    guard = Guard(name)
    guard.watch(folder)
    try:
        _judge(verdict, guard, submission, exercise, name, seed, limits.seconds / 6)
    except BaseException as error:  # exit(), an interrupt, the end of memory
        verdict.visible = verdict.visible or ended_by(name, error)
    guard.look()
    verdict.refused = guard.refused
    return asdict(verdict)


def warm_up(exercise: str) -> None:
    """Import what every judging needs, once, before the processes are forked.

    A check runs on the device meta, and torch imports much at its first call there: some seconds.
    """
    load_tasks(exercise)
    torch.set_num_threads(1)
    ones = torch.ones(2, 2, device="meta")
    (ones @ ones).relu().sum()
    plain_python("%load_ext")  # IPython


@dataclass(frozen=True)
class Limits:
    """What the judging of one task may take.

    Attributes:
        seconds: after which its process is ended.
        megabytes: that it may reserve beyond what torch has.
    """

    seconds: int = 60
    megabytes: int = 1024


def _judge(
    verdict: Verdict,
    guard: Guard,
    submission: Submission,
    exercise: str,
    name: str,
    seed: int,
    seconds: float,
) -> None:
    tasks = load_tasks(exercise)
    visible = replace(tasks[name], seconds=min(seconds, tasks[name].seconds))
    if submission.engine:
        engine = Answers([Cell("my_retrieval.py", submission.engine)], (), guard)
        guard.engine = types.ModuleType("my_retrieval")
        vars(guard.engine).update(engine.space)
    answers = Answers(submission.cells, tasks, guard)
    function = answers.function(name)
    if isinstance(function, str):
        verdict.visible = function
        if function.startswith("refused: "):
            guard.refused.append(function.removeprefix("refused: "))
        return
    answer = Answer(function, guard, tasks[name].right)
    verdict.visible = message_of(visible, answer)
    if verdict.visible and (stand_ins := _wrong_before(answers, tasks, name, function)):
        answers.space.update({other: tasks[other].right for other in stand_ins})
        if not message_of(visible, answer):
            verdict.visible, verdict.stand_ins = "", stand_ins
    if TOO_LONG in verdict.visible or "not written yet" in verdict.visible:
        return
    answer.by_name = True
    hidden = hidden_task(exercise, name, seed, visible.seconds)
    for attempt in range(0 if verdict.visible else TRIES):
        hidden = hidden_task(exercise, name, seed + attempt, visible.seconds)
        verdict.hidden = message_of(hidden, answer)
        if not verdict.hidden:
            return
    verdict.share = share_of_right(hidden, answer, visible.cases)


def _wrong_before(
    answers: Answers, tasks: dict[str, Task], name: str, function: Callable[..., Any]
) -> list[str]:
    """The earlier tasks whose functions this one calls, that are wrong."""
    called = getattr(getattr(function, "__code__", None), "co_names", ())
    found = []
    for other, task in tasks.items():
        if other == name:
            break
        if other in called and task.cases:
            theirs = answers.function(other)
            if isinstance(theirs, str) or message_of(task, Answer(theirs, answers.guard)):
                found.append(other)
    return found


def hidden_task(exercise: str, name: str, seed: int, seconds: float) -> Task:
    """Return a task with other numbers than the notebook's, and with calls of other sizes."""
    task = load_tasks(exercise, seed)[name]
    cases = list(task.cases)
    if name in CALLS and cases:
        draw = random.Random(f"{name} {seed}")
        for number in range(1, DRAWN + 1):
            args = CALLS[name](draw)
            shapes = [str(tuple(each.shape)) for each in tensors(args)]
            of = f", with tensors of shape {' and '.join(shapes)}," if shapes else ""
            cases.append(Case(args, f"call {number} that was drawn for you{of}"))
    # Whether it is right is asked, and not which mistake it is: to search for two takes seconds.
    return replace(
        task,
        cases=cases,
        mistakes=(),
        gradient_mistakes=(),
        symptom=lambda answers: None,
        seconds=seconds,
    )


def message_of(task: Task, function: Callable[..., Any]) -> str:
    """Return what a check says against a function; "" if it passes."""
    try:
        check(task, function)
    except (CheckFailed, NotImplementedError) as error:
        return str(error)
    except Exception as error:  # of the check itself, before an answer that it does not expect
        return f"{task.name} is not right yet, and the check raised {type(error).__name__}."
    return ""


def share_of_right(task: Task, function: Callable[..., Any], known: Sequence[Case] = ()) -> float:
    """Return how many of a task's calls and properties are right, from 0 to 1.

    What is not reached within the time of one call counts as wrong.

    Args:
        known: calls that are not counted, those of the notebook.
    """
    end = time.monotonic() + task.seconds
    probe = Probe(task, function)
    probe.calls = 1  # the first call's prints and stubs are dealt with
    right = []
    for case in task.cases:
        if any(same_call(case, other) for other in known):
            continue
        right.append(False)
        if time.monotonic() > end:
            continue
        with contextlib.suppress(Exception):
            value = probe.answer(case, torch.float64, "")
            right[-1] = close(value, task.right(*copies(case.args, torch.float64)))
    for wrong in task.properties:
        right.append(False)
        if time.monotonic() > end:
            continue
        with contextlib.suppress(Exception):
            right[-1] = wrong(probe.quietly) is None
    return sum(right) / max(len(right), 1)


def same_call(one: Case, other: Case) -> bool:
    """Whether two calls have the same arguments."""
    return len(one.args) == len(other.args) and unchanged(one.args, other.args)


def ended_by(name: str, error: BaseException) -> str:
    """Say what ended the judging of a task."""
    if isinstance(error, SystemExit):
        return f"{name} ends the process (exit)"
    if isinstance(error, MemoryError):
        return f"{name} takes more memory than it may"
    return f"{name} raised {type(error).__name__}: {str(error)[:200]}"


class Answer:
    """A student's function; its results are plain ones.

    A class of the student's own could call itself equal to anything.

    Attributes:
        by_name: whether arguments are handed over by the names that the function gives them.
    """

    def __init__(
        self, function: Callable[..., Any], guard: Guard, right: Callable[..., Any] | None = None
    ) -> None:
        self.function, self.guard, self.by_name, self.calls = function, guard, False, 0
        formula: Any = getattr(right, "func", right)  # that of a partial
        self.formulas = {formula.__code__} if hasattr(formula, "__code__") else set()
        self.__code__ = getattr(function, "__code__", None)  # by which a check quotes a line
        with contextlib.suppress(TypeError, ValueError):
            self.__signature__ = inspect.signature(function)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call the function."""
        names = self._names() if self.by_name else []
        if len(names) >= len(args):
            named |= dict(zip(names, args, strict=False))
            args = ()
        self.calls += 1
        if self.calls < 300 or self.calls % 10 == 0:  # some checks call thousands of times
            value = self._watched(args, named)
        else:
            value = self.function(*args, **named)
        return mapped(value, self._plain)  # also lists are plain ones then

    def _watched(self, args: Any, named: Any) -> Any:
        try:
            with library_unused(Answer._watched.__code__, self.formulas, self.guard.note):
                return self.function(*args, **named)
        finally:
            self.guard.look()

    def _names(self) -> list[str]:
        """The names of its arguments, if each has one by which it can be handed over."""
        parameters = list(getattr(self, "__signature__", inspect.Signature()).parameters.values())
        plain = all(one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters)
        return [one.name for one in parameters] if plain else []

    def _plain(self, value: Any) -> Any:
        kind = type(value)
        module = sys.modules.get(kind.__module__) if "checks" in kind.__module__ else None
        of_a_check = getattr(module, kind.__name__, None) is kind
        if isinstance(value, PLAIN) and kind not in self.guard.kinds and not of_a_check:
            self.guard.refuse(f"it returns a {type(value).__name__} that is a class of its own")
        if isinstance(value, Tensor) and vars(value):
            self.guard.refuse(f"it gives its result a {next(iter(vars(value)))} of its own")
        return value
