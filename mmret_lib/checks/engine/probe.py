"""Test a student's function: its numbers and side effects, and what other modules test."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from mmret_lib.checks.engine.arguments import (
    close,
    copies,
    floats,
    mapped,
    sizes,
    tensors,
    unchanged,
)
from mmret_lib.checks.engine.diagnosis import gives, likeliest_mistake
from mmret_lib.checks.engine.gradients import NO_TENSOR, check_gradients, check_no_gradient
from mmret_lib.checks.engine.kinds import check_device, check_half_and_views, check_types
from mmret_lib.checks.engine.limit import TooLong, time_limit
from mmret_lib.checks.engine.symptoms import (
    described,
    difference,
    meaning,
    wrong_kind,
)
from mmret_lib.checks.engine.task import Case, CheckFailed, Task

NEARLY = 1e-2  # how far off numbers may be whose formula can still be the right one


class Probe:
    """Tests one student's function on one task; each test returns, or raises CheckFailed."""

    def __init__(self, task: Task, function: Callable[..., Any]) -> None:
        """Store task and function; the function is not called yet."""
        self.task = task
        self.function = function
        self.calls = 0
        self.seen: list[tuple[Case, Any]] = []  # the answers to the cases so far, in float64

    def run(self) -> None:
        """Run all tests, the most telling first.

        Raises:
            CheckFailed: Something is wrong; the message names the probable mistake.
            NotImplementedError: The first call ended in a stub.
        """
        if self.task.cases:
            self.check_cases()
        for wrong in self.task.properties:
            with self.explaining(""):
                says = wrong(self.quietly)
            if says:
                self.fail(says)

    def check_cases(self) -> None:
        """Run the tests that compare the answers to all cases with the right ones."""
        answers = self.answers()
        self.check_values(answers)
        with_floats = bool(floats(self.task.cases[0].args))
        if with_floats:
            check_types(self, answers)
        if with_floats and self.task.has_gradient:
            check_gradients(self)
        elif with_floats:
            check_no_gradient(self)
        again = self.answer(self.task.cases[0], torch.float64, "called again ")
        if not close(again, answers[0]):
            self.fail("called twice with the same arguments it gives two results")
        if with_floats and self.task.half:
            check_half_and_views(self)
        if tensors(self.task.cases[0].args):
            check_device(self)

    def fail(self, says: str, numbers: str = "", cause: Exception | None = None) -> NoReturn:
        """Raise CheckFailed; the message starts with a capital unless it is an argument's name."""
        first = says.split(" ")[0]
        names = [name for name in self.task.arguments if name != "a" or says.startswith("a is ")]
        if first.isalpha() and first not in names:
            says = says[0].upper() + says[1:]
        end = "" if says.endswith(("?", ".")) else "."
        raise CheckFailed(f"{self.task.name} is not right yet. {says}{end}{numbers}") from cause

    def fail_by(self, error: Exception, where: str, hint: str = "") -> NoReturn:
        """Raise CheckFailed for an error of the student's function, with what it means."""
        says = meaning(error) or hint
        says = f"\n{says[0].upper()}{says[1:]}." if says else ""
        self.fail(f"{where}it raised {described(error, self.function)}", says, error)

    @contextlib.contextmanager
    def explaining(self, where: str) -> Iterator[None]:
        """Turn an error of the student's function into a failed check."""
        try:
            yield
        except CheckFailed:
            raise
        except Exception as error:
            if self.calls == 1 and isinstance(error, NotImplementedError):
                raise
            self.fail_by(error, where)

    def call(self, args: Sequence[Any]) -> Any:
        """Call the student's function with a list of arguments."""
        return self.quietly(*args)

    def quietly(self, *args: Any, **named: Any) -> Any:
        """Call the student's function.

        Its prints are shown for the first call alone, and its stderr never: nbgrader takes the
        points of a cell that writes to stderr.

        Raises:
            CheckFailed: It takes longer than the task allows.
        """
        self.calls += 1
        ignored = io.StringIO()
        with contextlib.redirect_stderr(ignored), contextlib.ExitStack() as stack:
            if self.calls > 1:
                stack.enter_context(contextlib.redirect_stdout(ignored))
            try:
                with time_limit(self.task.seconds):
                    return self.function(*args, **named)
            except TooLong:
                self.fail(
                    f"it has not ended after {self.task.seconds:g} seconds: probably a loop goes "
                    "on for ever. Each round must come nearer to its end: does a variable of the "
                    "loop's condition change in it, in every case?"
                )

    def answers(self) -> list[Any]:
        """Call the function on each case in float64, and first of all once in float32."""
        first, *others = self.task.cases
        if not floats(first.args):
            return [self.answer(first, torch.float64, "")] + [
                self.answer(case, torch.float64, f"for {case.about} ") for case in others
            ]
        single = self.answer(first, torch.float32, "")
        where = "it works in float32 but not in float64: "
        answers = [self.answer(first, torch.float64, where)]
        answers += [self.answer(case, torch.float64, f"for {case.about} ") for case in others]
        if finite(answers[0]) and not finite(single):
            self.fail("in float32 the result is not finite, in float64 it is")
        return answers

    def answer(self, case: Case, dtype: torch.dtype, where: str) -> Any:
        """Return the answer to one case, after checks of its kind and of changed arguments."""
        args, before = copies(case.args, dtype), copies(case.args, dtype)
        try:
            value = self.call(args)
        except CheckFailed:
            raise
        except Exception as error:
            if self.calls == 1 and isinstance(error, NotImplementedError):
                raise
            hint = self.hint_of(case)
            if not where and self.works(case, torch.float64):
                where = "it works in float64 but not in float32: "
                hint = hint or "a dtype is fixed in the code"
            self.fail_by(error, where, hint)
        about = "" if self.calls == 1 else f"for {case.about} "
        wanted = self.task.right(*copies(before, dtype))
        if isinstance(value, int | float) and isinstance(wanted, Tensor) and self.calls > 1:
            no_tensor = NO_TENSOR if self.task.has_gradient else "a tensor is wanted"
            self.fail(f"{about}a Python number is returned, and {no_tensor}")
        batch, width = sizes(case.args) if self.task.batch else (-9, -9)
        if wrong := wrong_kind(value, wanted, batch, width):
            self.fail(f"{about}{wrong}", self.why_of_this_kind(value, wanted, case))
        if any(each.device.type != "cpu" for each in tensors(value)):
            self.fail(
                f"the arguments are on the CPU, the result is on {tensors(value)[0].device}: a "
                "device is fixed in the code"
            )
        self.check_left_alone(args, before)
        value = mapped(
            value, lambda each: each.detach().clone() if isinstance(each, Tensor) else each
        )
        if dtype == torch.float64 and len(self.seen) < len(self.task.cases):
            self.seen.append((case, value))
        return value

    def why_of_this_kind(self, value: Any, wanted: Any, case: Case) -> str:
        """What probably leads to a result of the wrong kind, as a line of its own; or nothing."""
        if value is None and self.seen:
            return "\nDoes the `return` stand within a loop or an `if` that is not reached here?"
        if value is None or close(value, wanted):  # the kind alone is wrong
            return ""
        if says := self.known(value, case):
            return f"\nProbably {says}."
        hint = self.hint_of(case) if self.seen else ""
        return f"\n{hint[0].upper()}{hint[1:]}." if hint else ""

    def right(self, case: Case) -> Any:
        """The right answer to a case."""
        return self.task.right(*copies(case.args, torch.float64))

    def hint_of(self, case: Case) -> str:
        """What goes wrong in a case alone; empty if an answer to an earlier one is wrong, too.

        Raises:
            CheckFailed: The answers so far show a mistake, from which the rest may follow.
        """
        right = [self.right(each) for each, _ in self.seen]
        wrong = [not close(each[1], value) for each, value in zip(self.seen, right, strict=True)]
        if not any(wrong):
            return case.hints[0] if case.hints else ""
        cases, answers = zip(*self.seen, strict=True)
        for mistake in self.task.mistakes:
            if gives(self.task.formula(mistake), cases, answers, wrong):
                place = wrong.index(True)
                numbers = difference(answers[place], right[place])
                self.fail(f"probably {mistake.says}", f"\nFor {cases[place].about} {numbers}.")
        return ""

    def check_left_alone(self, args: Sequence[Any], before: Sequence[Any]) -> None:
        """Check that a call has left its arguments as they were."""
        for name, arg, old in zip(self.task.arguments, args, before, strict=False):
            if not unchanged(arg, old):
                remedy = "use operations that return a new tensor (x = x / y, not x /= y)"
                if not isinstance(arg, Tensor):
                    remedy = "work on a copy"
                self.fail(f"{name} is changed in place, but the caller still needs it: {remedy}")

    def known(self, value: Any, case: Case) -> str:
        """Name the mistake that gives this result and those so far; empty if none does."""
        cases, answers = zip(*self.seen, (case, value), strict=True)
        for mistake in self.task.mistakes:
            if gives(self.task.formula(mistake), cases, answers, [True] * len(cases)):
                return mistake.says
        return ""

    def works(self, case: Case, dtype: torch.dtype) -> bool:
        """Whether a call raises no error."""
        with contextlib.suppress(Exception):
            self.call(copies(case.args, dtype))
            return True
        return False

    def check_values(self, answers: Sequence[Any]) -> None:
        """Check that the numbers of all cases are right, in float64."""
        cases = self.task.cases
        right = [self.right(case) for case in cases]
        wrong = [not close(answer, value) for answer, value in zip(answers, right, strict=True)]
        if not any(wrong):
            return
        place = len(wrong) - 1 if wrong[-1] else wrong.index(True)
        numbers = f"\nFor {cases[place].about} {difference(answers[place], right[place])}."
        if says := likeliest_mistake(self.task, answers, right, wrong):
            self.fail(f"probably {says}", numbers)
        parts = [
            (part, other)
            for answer, value in zip(answers, right, strict=True)
            for part, other in zip(floats(answer), floats(value), strict=False)
            if part.shape == other.shape
        ]
        exact = any(len(floats(answer)) != 1 for answer in answers)
        if parts and not exact and all(nearly(*both) for both in parts):
            self.fail(
                "the numbers are nearly right: is something rounded, computed in a lower precision "
                "(half, float), or is a constant such as an epsilon too large?",
                numbers,
            )
        if not all(
            finite(answer) or not finite(value)
            for answer, value in zip(answers, right, strict=True)
        ):
            self.fail("the result is not finite", numbers)
        what = "the numbers are" if floats(answers) else "the result is"
        self.fail(f"{what} wrong", numbers)


def finite(result: Any) -> bool:
    """Whether no number of a result is infinite or NaN."""
    plain: list[float] = []
    mapped(result, lambda each: plain.append(each) if isinstance(each, float) else None)
    whole = all(bool(torch.isfinite(each).all()) for each in floats(result))
    return whole and all(map(math.isfinite, plain))


def nearly(value: Tensor, right: Tensor) -> bool:
    """Whether two tensors are about the same where the first is finite."""
    fine = torch.isfinite(value)
    return close(value[fine], right[fine], NEARLY)
