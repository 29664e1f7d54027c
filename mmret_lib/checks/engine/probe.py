"""How a check looks at a student's function, and how it finds out what the mistake probably is.

A task knows the right formula and its slips: the same formula with one thing done wrongly. The
check calls the student's function on small batches and compares. Where the numbers are wrong it
looks for the slip, or the two slips, that give the very same wrong numbers in every batch; where
they are right it looks at all else that a training loop relies on: gradients, types, devices,
arguments left as they were. It answers in one short message, and leaves random numbers alone.
"""

from __future__ import annotations

import contextlib
import io
import random
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmret_lib.checks.engine.arguments import (
    TOLERANCE,
    close,
    close_slopes,
    floats,
    is_float,
    on_device,
    prepared,
    ramp,
    shape_of,
    slopes,
    strided,
    zero_rows_out,
)
from mmret_lib.checks.engine.diagnosis import explained, only_with
from mmret_lib.checks.engine.symptoms import (
    described,
    line_of,
    meaning,
    shown,
    wrong_shape,
    wrong_type,
)
from mmret_lib.checks.engine.task import Case, CheckFailed, Task

OTHER_DEVICE = ("same device", "at least two devices", "expected device")
NEARLY = 1e-2  # how far off numbers may be whose formula can still be the right one


def check(task: Task, function: Callable[..., Any]) -> None:
    """Print one line if `function` answers the task.

    Raises CheckFailed, which says what is probably wrong; NotImplementedError for the bare stub.
    """
    if not callable(function):
        raise CheckFailed(
            f"{task.name} should be a function, not {type(function).__name__}: hand over the "
            "function itself, without calling it."
        )
    before = random_states()
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Check(task, function).all()
    finally:
        kept = same_states(before, random_states())
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])
    if not kept:
        raise CheckFailed(
            f"{task.name} draws random numbers or sets a seed: nothing in it is random, and other "
            "code shares the random state."
        )
    print(f"{task.name}: right. {task.more}")


def random_states() -> tuple[Tensor, Any, Any]:
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def same_states(one: tuple, other: tuple) -> bool:
    return torch.equal(one[0], other[0]) and one[1] == other[1] and repr(one[2]) == repr(other[2])


class Check:
    """One function under one task's check; each method raises CheckFailed, or says nothing."""

    def __init__(self, task: Task, function: Callable[..., Any]) -> None:
        self.task = task
        self.function = function
        self.calls = 0

    def all(self) -> None:
        answers = self.answers()
        self.values(answers)
        self.types(answers)
        if self.task.has_gradient:
            self.gradients()
        else:
            self.no_gradient()
        self.again(answers[0])
        self.other_forms()
        self.other_device()

    def failed(self, says: str, numbers: str = "") -> CheckFailed:
        first = says.split(" ")[0]
        if first.isalpha() and first not in self.task.names:  # a name stays as the student has it
            says = says[0].upper() + says[1:]
        end = "" if says.endswith(("?", ".")) else "."
        return CheckFailed(f"{self.task.name} is not right yet. {says}{end}{numbers}")

    def raised(self, error: Exception, where: str, trait: str = "") -> CheckFailed:
        says = meaning(error) or trait
        says = f"\n{says[0].upper()}{says[1:]}." if says else ""
        return self.failed(f"{where}it raised {described(error, self.function)}", says)

    def call(self, args: Sequence[Any]) -> Any:
        """What the student's function returns. Its own words are heard once, not at every call:
        and never on stderr, for which nbgrader would take the points."""
        self.calls += 1
        quiet = io.StringIO()
        with contextlib.redirect_stderr(quiet), contextlib.ExitStack() as stack:
            if self.calls > 1:
                stack.enter_context(contextlib.redirect_stdout(quiet))
            return self.function(*args)

    def answers(self) -> list[Tensor]:
        """The answer to each case in float64, after the first in float32, as in daily use."""
        plain = self.task.cases[0]
        first = self.one_answer(plain, torch.float32, "")
        sized = "it works in float32 but not in float64: "
        found = [self.one_answer(plain, torch.float64, sized)]
        for case in self.task.cases[1:]:
            trait = next((self.task.traits[one] for one in sorted(case.traits)), "")
            found.append(self.one_answer(case, torch.float64, f"for {case.about} ", trait))
        if torch.isfinite(found[0]).all() and not torch.isfinite(first).all():
            raise self.failed("in float32 the result is not finite, in float64 it is")
        return found

    def one_answer(self, case: Case, dtype: torch.dtype, where: str, trait: str = "") -> Tensor:
        args = prepared(case.args, dtype)
        kept = prepared(case.args, dtype)
        try:
            value = self.call(args)
        except Exception as error:
            if self.calls == 1 and isinstance(error, NotImplementedError):
                raise not_written(self.task.name, error) from None
            if not where and self.works(case, torch.float64):
                where = "it works in float64 but not in float32: "
                trait = trait or "a dtype is fixed in the code"
            raise self.raised(error, where, trait) from error
        if isinstance(value, int | float) and self.calls > 1:
            raise self.failed(
                f"for {case.about} a Python number is returned, and backward() would fail on it. "
                "A plain 0, as from Python's max(x, 0), is no tensor: use x.relu() or "
                "x.clamp(min=0)"
            )
        wanted = self.task.right(*kept).shape
        batch, width = shape_of(case.args)
        wrong = wrong_type(value) or wrong_shape(value, wanted, batch, width)
        if wrong:
            raise self.failed(wrong if self.calls == 1 else f"for {case.about} {wrong}")
        if value.device.type != "cpu":
            raise self.failed(
                f"the arguments are on the CPU, the result is on {value.device}: a device is "
                "fixed in the code"
            )
        for name, now, once in zip(self.task.names, args, kept, strict=False):
            if isinstance(now, Tensor) and (now.shape != once.shape or not torch.equal(now, once)):
                raise self.failed(
                    f"{name} is changed in place: the caller goes on using it. Use operations "
                    "that return a new tensor (x = x / y, not x /= y)"
                )
        return value.detach().clone()

    def works(self, case: Case, dtype: torch.dtype) -> bool:
        with contextlib.suppress(Exception):
            self.call(prepared(case.args, dtype))
            return True
        return False

    def values(self, answers: Sequence[Tensor]) -> None:
        """The numbers of all cases, in float64."""
        right = [self.task.right(*case.args) for case in self.task.cases]
        wrong = [not close(one, two) for one, two in zip(answers, right, strict=True)]
        if not any(wrong):
            return
        place = len(wrong) - 1 if wrong[-1] else wrong.index(True)
        case, value, wanted = self.task.cases[place], answers[place], right[place]
        numbers = f"\nFor {case.about} {shown(value, wanted)}."
        if says := explained(self.task, answers, right, wrong):
            raise self.failed(f"probably {says}", numbers)
        finite = [torch.isfinite(one) for one in answers]
        if all(
            close(one[fine], two[fine], NEARLY)
            for one, two, fine in zip(answers, right, finite, strict=True)
        ):
            raise self.failed(
                "the numbers are nearly right: is something rounded, computed in a lower precision "
                "(half, float), or is a constant such as an epsilon too large?",
                numbers,
            )
        if not all(fine.all() for fine in finite):
            raise self.failed("the result is not finite", numbers)
        raise self.failed("the numbers are wrong", numbers)

    def types(self, answers: Sequence[Tensor]) -> None:
        """The result has the type of the arguments, and float32 is computed soundly."""
        for case, in_double in zip(self.task.cases, answers, strict=True):
            value = self.one_answer(case, torch.float32, f"in float32, for {case.about} ")
            for given, got in (("float32", value.dtype), ("float64", in_double.dtype)):
                if str(got) != f"torch.{given}":
                    raise self.failed(
                        f"given {given}, it returns {str(got).removeprefix('torch.')}: a dtype is "
                        "fixed in the code. Make new tensors with the arguments' dtype"
                    )
            right = self.task.right(*case.args)
            if not close(value, right):
                raise self.failed(
                    f"right in float64, but in float32, for {case.about}, {shown(value, right)}"
                )

    def gradients(self) -> None:
        cases = [case for case in self.task.cases if case.smooth]
        found = [self.gradients_of(case) for case in cases]
        right = [slopes(self.task.right, case.args) for case in cases]
        wrong = [not all(map(close_slopes, *both)) for both in zip(found, right, strict=True)]
        if not any(wrong):
            return
        for slip in self.task.gradient_slips:
            with contextlib.suppress(RuntimeError):
                tried = (slopes(self.task.right, case.args, slip.options) for case in cases)
                if all(all(map(close_slopes, *both)) for both in zip(found, tried, strict=True)):
                    raise self.failed(f"the value is right, the gradient is not: {slip.says}")
        case = cases[wrong.index(True)]
        for trait, says in self.task.traits.items():
            if only_with(trait, cases, wrong):
                raise self.failed(f"the value is right, the gradient is not: {says}")
        raise self.failed(
            f"the value is right, the gradient is not (for {case.about}): is a part detached, "
            "computed under torch.no_grad, or rounded?"
        )

    def gradients_of(self, case: Case) -> list[Tensor]:
        args = prepared(case.args, torch.float64, requires_grad=True)
        leaves = floats(args)
        try:
            value = self.call(args)
            if not value.requires_grad and case is not self.task.cases[0]:
                raise self.failed(
                    f"for {case.about} the result is a constant, and backward() would fail on it: "
                    "a plain 0, as from Python's max(x, 0) or torch.zeros, knows no gradient. Use "
                    "x.relu() or x.clamp(min=0)"
                )
            if not value.requires_grad:
                raise self.failed(
                    "the result is detached, no gradient flows back from it: no .detach(), .data, "
                    ".item(), numpy, torch.tensor(result) or torch.no_grad on the way"
                )
            found = torch.autograd.grad((value * ramp(value)).sum(), leaves, allow_unused=True)
        except CheckFailed:
            raise
        except Exception as error:
            raise self.raised(error, "with arguments that require a gradient ") from error
        self.untouched(args)
        for name, leaf, slope in zip(self.task.names, leaves, found, strict=False):
            if slope is None:
                raise self.failed(f"no gradient reaches {name}: it is detached on the way")
            zero = (leaf == 0).all(dim=1) & ~torch.isfinite(slope).all(dim=1)
            if zero.any():
                raise self.failed(
                    f"a row of zeros in {name} gets a gradient of NaN, from the root of 0 or from "
                    "0 / 0 (to replace the NaN afterwards is too late). Keep the length above 0 "
                    "before you divide, as F.normalize does"
                )
        return [zero_rows_out(slope, leaf) for slope, leaf in zip(found, leaves, strict=True)]

    def no_gradient(self) -> None:
        """The result is a plain number even where the arguments carry a gradient."""
        args = prepared(self.task.cases[0].args, torch.float64, requires_grad=True)
        try:
            value = self.call(args)
        except Exception as error:
            raise self.raised(error, "with arguments that require a gradient ") from error
        self.untouched(args)
        if value.requires_grad:
            raise self.failed("the result still carries a gradient: detach what you return")
        args = prepared(self.task.cases[0].args, torch.float64)
        self.call(args)
        if any(one.requires_grad for one in floats(args)):
            raise self.failed(
                "requires_grad of the argument is switched on, and stays on for the caller: work "
                "on a copy, similarity.detach().clone().requires_grad_()"
            )

    def untouched(self, args: Sequence[Any]) -> None:
        if any(one.grad is not None for one in floats(args)):
            raise self.failed(
                "it calls backward itself, and leaves a .grad in the caller's tensors: that is "
                "the training loop's to do; torch.autograd.grad leaves nothing behind"
            )

    def again(self, first: Tensor) -> None:
        if not close(self.one_answer(self.task.cases[0], torch.float64, "called again "), first):
            raise self.failed("called twice with the same batch it gives two results")

    def other_forms(self) -> None:
        """Arguments that do not lie row by row in memory, and half precision."""
        case = self.task.cases[0]
        for name, change, dtype in (
            ("arguments that do not lie row by row in memory (a transposed view)", strided, None),
            ("float16", None, torch.float16),
        ):
            right = self.task.right(*case.args)
            args = prepared(case.args, dtype or torch.float64)
            try:
                value = self.call([change(one) if change else one for one in args])
            except Exception as error:
                if "not implemented for" in str(error):  # torch's own gap, not the student's
                    continue
                raise self.raised(error, f"with {name} ") from error
            if not close(value.double(), right, TOLERANCE[dtype or torch.float64]):
                raise self.failed(f"right in float32, but with {name} {shown(value, right)}")

    def other_device(self) -> None:
        """A CUDA device, or where there is none PyTorch's "meta": shapes, no numbers, no wait."""
        case = self.task.cases[0]
        name = next(
            name for name, one in zip(self.task.names, case.args, strict=False) if is_float(one)
        )
        says = (
            "on a GPU it fails: a tensor is made on the CPU (torch.eye, zeros, arange, ...) or "
            f"moved there: use device={name}.device, or x.new_zeros"
        )
        real = torch.cuda.is_available()
        device = "cuda" if real else "meta"
        try:
            value = self.call(on_device(case.args, device, real))
        except Exception as error:
            line = line_of(error, self.function)
            moved = "copy out of meta" in str(error) and ".tolist()" not in line
            if moved or any(words in str(error) for words in OTHER_DEVICE):
                raise self.failed(f"{says} (it failed{line})") from error
            if real:
                raise self.raised(error, "on a GPU ") from error
            return  # an answer that reads its numbers cannot be followed where there are none
        if isinstance(value, Tensor) and value.device.type != device:
            raise self.failed(f"given tensors on a GPU it returns one on {value.device}: {says}")
        if real and not close(value.cpu(), self.task.right(*case.args)):
            raise self.failed("right on the CPU, on a GPU the numbers are wrong")


def not_written(name: str, raised: NotImplementedError) -> NotImplementedError:
    """The same error with what to do about it: write this function, or the one that it calls."""
    stub = traceback.extract_tb(raised.__traceback__)[-1].name
    says = (
        f"{name} is not written yet. Replace `raise NotImplementedError` in the cell above, run "
        "that cell, then this one."
    )
    if stub.isidentifier() and stub not in (name, "forward"):
        says = f"{name} calls {stub}, which is not written yet: write that one first."
    error = NotImplementedError(says)
    # Shown, like CheckFailed, without a traceback; the class stays Python's own.
    error._render_traceback_ = lambda: [f"NotImplementedError: {says}"]  # type: ignore[attr-defined]
    return error
