"""Test other kinds of arguments: float32 and float16, transposed views, another device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.arguments import (
    close,
    copies,
    floats,
    mapped,
    on_device,
    tensors,
    transposed_view,
)
from mmret_lib.checks.engine.symptoms import difference, line_of
from mmret_lib.checks.engine.task import CheckFailed

if TYPE_CHECKING:
    from mmret_lib.checks.engine.probe import Probe

OTHER_DEVICE = ("same device", "at least two devices", "expected device")  # in torch's errors


def check_types(probe: Probe, answers: Sequence[Any]) -> None:
    """Check that results have the dtype of the arguments, and are right in float32, too."""
    for case, double in zip(probe.task.cases, answers, strict=True):
        single = probe.answer(case, torch.float32, f"in float32, for {case.about} ")
        for given, got in (("float32", floats(single)), ("float64", floats(double))):
            for each in got:
                if str(each.dtype) != f"torch.{given}":
                    probe.fail(
                        f"given {given}, it returns {str(each.dtype).removeprefix('torch.')}: "
                        "a dtype is fixed in the code. Make new tensors with the arguments' "
                        "dtype"
                    )
        right = probe.task.right(*copies(case.args, torch.float64))
        if not close(single, right, 2e-4):
            about = f"for {case.about}, {difference(single, right)}"
            probe.fail(f"right in float64, but in float32, {about}")


def check_half_and_views(probe: Probe) -> None:
    """Check half precision, and arguments that are not contiguous in memory."""
    case = probe.task.cases[0]
    right = probe.task.right(*copies(case.args, torch.float64))
    views = [mapped(arg, transposed_view) for arg in copies(case.args, torch.float64)]
    for name, args, tolerance in (
        ("arguments that are not contiguous in memory (a transposed view)", views, 1e-6),
        ("float16", copies(case.args, torch.float16), 3e-2),
    ):
        try:
            value = probe.call(args)
        except CheckFailed:
            raise
        except Exception as error:
            if "not implemented for" in str(error):  # torch's own gap, not the student's
                continue
            probe.fail_by(error, f"with {name} ")
        if not close(value, right, tolerance):
            probe.fail(f"right in float32, but with {name} {difference(value, right)}")


def check_device(probe: Probe) -> None:
    """Check that it works on a GPU; without one on the device "meta", without numbers."""
    case = probe.task.cases[0]
    holds = [bool(tensors(arg)) for arg in case.args]
    name = probe.task.arguments[holds.index(True)]
    name += "" if isinstance(case.args[holds.index(True)], Tensor) else "[0]"
    says = (
        "on a GPU it fails: a tensor is made on the CPU (torch.eye, zeros, arange, ...) or "
        f"moved there: use device={name}.device, or x.new_zeros"
    )
    device = "cuda" if torch.cuda.is_available() else "meta"
    try:
        value = probe.call(on_device(copies(case.args, torch.float64), device))
    except CheckFailed:
        raise
    except Exception as error:
        line = line_of(error, probe.function)
        moved = "copy out of meta" in str(error) and ".tolist()" not in line
        if moved or any(words in str(error) for words in OTHER_DEVICE):
            probe.fail(f"{says} (it failed{line})", cause=error)
        if device == "cuda":
            probe.fail_by(error, "on a GPU ")
        return  # a function that reads its numbers cannot run where there are none
    for each in tensors(value):
        if each.device.type != device:
            probe.fail(f"given tensors on a GPU it returns one on {each.device}: {says}")
    if device == "cuda":
        value = mapped(value, lambda each: each.cpu() if isinstance(each, Tensor) else each)
        if not close(value, probe.task.right(*copies(case.args, torch.float64))):
            probe.fail("right on the CPU, on a GPU the numbers are wrong")
