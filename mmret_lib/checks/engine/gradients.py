"""Test the gradients of a student's function."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.arguments import (
    close_gradients,
    copies,
    floats,
    gradients_of,
    names_of,
    tensors,
    weighted_sum,
    without_zero_rows,
)
from mmret_lib.checks.engine.diagnosis import shared_hint
from mmret_lib.checks.engine.task import Case

if TYPE_CHECKING:
    from mmret_lib.checks.engine.probe import Probe

NO_TENSOR = (
    "backward() would fail on it: a plain 0, as from Python's max(x, 0) or torch.zeros, has no "
    "gradient. Use x.relu() or x.clamp(min=0)"
)


def check_gradients(probe: Probe) -> None:
    """Check the gradients with respect to all floating-point arguments."""
    cases = [case for case in probe.task.cases if case.smooth]
    given = [student_gradients(probe, case) for case in cases]

    def wrong_with(formula: Callable[..., Any]) -> Iterator[bool]:
        for case, each in zip(cases, given, strict=True):
            yield not close_gradients(each, gradients_of(formula, case.args))

    wrong = list(wrong_with(probe.task.right))
    if not any(wrong):
        return
    for mistake in probe.task.gradient_mistakes:
        with contextlib.suppress(RuntimeError):  # nothing left to differentiate
            if not any(wrong_with(probe.task.formula(mistake))):
                probe.fail(f"the value is right, the gradient is not: {mistake.says}")
    hint = shared_hint(probe.task.hints, cases, wrong)
    if hint and 1 < sum(wrong) < len(wrong):  # one case alone, or all of them, say little
        probe.fail(f"the value is right, the gradient is not: {hint}")
    probe.fail(
        f"the value is right, the gradient is not (for {cases[wrong.index(True)].about}): is a "
        "part detached, computed under torch.no_grad, or rounded, or is a small number such as an "
        "epsilon added?"
    )


def student_gradients(probe: Probe, case: Case) -> list[Tensor]:
    """Compute the gradients of the student's answer to one case."""
    args = copies(case.args, torch.float64, requires_grad=True)
    leaves = floats(args)
    with probe.explaining("with arguments that require a gradient "):
        value = probe.call(args)
        flows = any(each.requires_grad for each in floats(value))
        if not flows and case is not probe.task.cases[0]:
            probe.fail(f"for {case.about} the result is a constant, and {NO_TENSOR}")
        if not flows:
            probe.fail(
                "the result is detached, no gradient flows back from it: no .detach(), .data, "
                ".item(), numpy, torch.tensor(result) or torch.no_grad on the way"
            )
        raw = torch.autograd.grad(weighted_sum(value), leaves, allow_unused=True)
    check_no_backward(probe, args)
    wanted = gradients_of(probe.task.right, case.args)
    gradients = []
    for name, leaf, gradient, right in zip(
        names_of(probe.task.arguments, args), leaves, raw, wanted, strict=True
    ):
        if gradient is None and right.any():
            probe.fail(f"no gradient reaches {name}: it is detached on the way")
        if gradient is None:
            gradient = torch.zeros_like(leaf)
        if ((leaf == 0).all(dim=-1) & ~torch.isfinite(gradient).all(dim=-1)).any():
            probe.fail(
                f"a row of zeros in {name} gets a gradient of NaN, from the root of 0 or from "
                "0 / 0 (to replace the NaN afterwards is too late). Keep the length above 0 "
                "before you divide, as F.normalize does"
            )
        gradients.append(gradient)
    return without_zero_rows(gradients, leaves)


def check_no_gradient(probe: Probe) -> None:
    """Check that the result carries no gradient even if the arguments do."""
    args = copies(probe.task.cases[0].args, torch.float64, requires_grad=True)
    with probe.explaining("with arguments that require a gradient "):
        value = probe.call(args)
    check_no_backward(probe, args)
    if any(each.requires_grad for each in tensors(value)):
        if isinstance(probe.right(probe.task.cases[0]), int | float):
            probe.fail("a tensor is returned, and a number is wanted: .item()")
        probe.fail("the result still carries a gradient: detach what you return")
    args = copies(probe.task.cases[0].args, torch.float64)
    probe.call(args)
    if any(arg.requires_grad for arg in floats(args)):
        name = names_of(probe.task.arguments, args)[0]
        probe.fail(
            "requires_grad of the argument is switched on, and stays on for the caller: work "
            f"on a copy, {name}.detach().clone().requires_grad_()"
        )


def check_no_backward(probe: Probe, args: Sequence[Any]) -> None:
    """Check that the function has not called backward on the arguments."""
    if any(arg.grad is not None for arg in floats(args)):
        probe.fail(
            "it calls backward itself, and leaves a .grad in the caller's tensors: calling "
            "backward is the training loop's task; torch.autograd.grad leaves nothing behind"
        )
