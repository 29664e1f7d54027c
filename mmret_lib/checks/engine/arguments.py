"""Prepare the arguments of a student's function, and compare its results with the right ones.

Arguments and results may hold tensors within lists, tuples and dicts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-4, torch.float16: 3e-2}


def mapped(arg: Any, change: Callable[[Any], Any]) -> Any:
    """Apply `change` to what a nesting of lists, tuples and dicts holds, and nest it alike."""
    if isinstance(arg, list | tuple):
        nested = [mapped(each, change) for each in arg]
        return nested if isinstance(arg, list) else tuple(nested)
    if isinstance(arg, dict):
        return {key: mapped(each, change) for key, each in arg.items()}
    return change(arg)


def tensors(arg: Any) -> list[Tensor]:
    """Collect the tensors that an argument or a result holds, in order."""
    found: list[Tensor] = []
    mapped(arg, lambda each: found.append(each) if isinstance(each, Tensor) else None)
    return found


def copies(args: Sequence[Any], dtype: torch.dtype, requires_grad: bool = False) -> list[Any]:
    """Copy the arguments, the floating-point tensors and modules among them into `dtype`."""

    def fresh(arg: Any) -> Any:
        if is_float(arg):
            return arg.clone().to(dtype).requires_grad_(requires_grad)
        if isinstance(arg, Tensor):
            return arg.clone()
        if isinstance(arg, torch.Generator):
            return torch.Generator(arg.device).set_state(arg.get_state())
        if isinstance(arg, nn.Module):
            return copy.deepcopy(arg).to(dtype)
        return copy.deepcopy(arg) if isinstance(arg, set | np.ndarray) else arg

    return [mapped(arg, fresh) for arg in args]


def unchanged(arg: Any, before: Any) -> bool:
    """Whether an argument still is what it was before the call."""
    if isinstance(arg, list | tuple):
        return len(arg) == len(before) and all(map(unchanged, arg, before))
    if isinstance(arg, dict):
        return list(arg) == list(before) and all(map(unchanged, arg.values(), before.values()))
    if isinstance(arg, Tensor):
        if arg.shape != before.shape or arg.dtype != before.dtype:
            return False
        same: Tensor = (arg == before) | ((arg != arg) & (before != before))  # NaN is NaN
        return bool(same.all())
    if isinstance(arg, nn.Module):  # in training a batch norm counts, as it should
        return arg.training or unchanged(dict(arg.state_dict()), dict(before.state_dict()))
    if isinstance(arg, np.ndarray):
        return np.array_equal(arg, before)
    return not isinstance(arg, set | str | int | float) or bool(arg == before)


def is_float(arg: Any) -> bool:
    """Whether an argument is a tensor that can carry a gradient."""
    return isinstance(arg, Tensor) and arg.is_floating_point()


def floats(args: Any) -> list[Tensor]:
    """Select the floating-point tensors among arguments, or in a result."""
    return [each for each in tensors(args) if is_float(each)]


def names_of(names: Sequence[str], args: Sequence[Any]) -> list[str]:
    """The name of the argument that each of `floats(args)` belongs to."""
    return [name for name, arg in zip(names, args, strict=False) for _ in floats(arg)]


def sizes(args: Sequence[Any]) -> tuple[int, int]:
    """B and D, the sizes of the first floating-point tensor if it is a matrix; else -9, -9."""
    first = floats(args)[:1]
    return (first[0].shape[0], first[0].shape[1]) if first and first[0].ndim == 2 else (-9, -9)


def transposed_view(arg: Any) -> Any:
    """Return the same numbers, laid out column by column in memory."""
    return arg.mT.contiguous().mT if is_float(arg) and arg.ndim > 1 else arg


def on_device(args: Sequence[Any], device: str) -> list[Any]:
    """Move the arguments to a device; on "meta" they have shapes and no numbers."""

    def moved(arg: Any) -> Any:
        if isinstance(arg, Tensor) and device == "meta":
            return torch.empty_like(arg, device="meta")
        if isinstance(arg, nn.Module):
            return copy.deepcopy(arg).to(device)
        return arg.to(device) if isinstance(arg, Tensor) else arg

    return [mapped(arg, moved) for arg in args]


def close(value: Any, right: Any, tolerance: float | None = None) -> bool:
    """Whether two results are equal within what the coarser of their types can hold.

    NaN equals NaN; tensors of different shape are never close. Where the right result is a list or
    a tuple, any sequence of the same entries will do; where it is a number, so will a tensor of
    shape ().
    """
    if isinstance(right, Tensor):
        if not isinstance(value, Tensor) or value.shape != right.shape:
            return False
        tolerance = tolerance or max(TOLERANCE.get(each.dtype, 3e-2) for each in (value, right))
        if not (is_float(value) or is_float(right)):
            return torch.equal(value.long(), right.long())
        return torch.allclose(value.double(), right.double(), tolerance, tolerance, equal_nan=True)
    if isinstance(right, np.ndarray | np.generic):
        right = right.tolist()
    if isinstance(value, Tensor | np.ndarray | np.generic) and right is not None:
        value = value.tolist()
    if isinstance(right, list | tuple):
        fits = isinstance(value, list | tuple) and len(value) == len(right)
        return fits and all(close(*both, tolerance) for both in zip(value, right, strict=True))
    if isinstance(right, float):
        tolerance = tolerance or TOLERANCE[torch.float64]
        return isinstance(value, int | float) and (
            math.isclose(value, right, rel_tol=tolerance, abs_tol=tolerance)
            or (math.isnan(value) and math.isnan(right))
        )
    return type(value) in (type(right), bool, int) and bool(value == right)


def close_gradients(gradients: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    """Whether gradients are equal, relative to the largest entry of each row.

    Short embeddings have large gradients, so an absolute tolerance would not do.
    """
    for gradient, wanted in zip(gradients, right, strict=True):
        size = wanted.abs().amax(dim=-1, keepdim=True)
        size = size.where(size > 1e-9, 1)  # rounding errors of 0 are not to be scaled up
        if not close(gradient / size, wanted / size):
            return False
    return True


def weighted_sum(result: Any) -> Tensor:
    """A scalar whose gradient depends on every entry: weights from 1 to 2, all different."""
    parts = [each for each in floats(result) if each.requires_grad] or floats(result)
    total = torch.zeros((), dtype=torch.float64)
    for number, part in enumerate(parts):
        weights = torch.linspace(1, 2, part.numel(), dtype=torch.float64) + 0.3 * number
        total = total + (part * weights.reshape(part.shape)).sum()
    return total


def gradients_of(formula: Callable[..., Any], args: Sequence[Any]) -> list[Tensor]:
    """Compute the gradients of a formula by its floating-point arguments, in float64."""
    args = copies(args, torch.float64, requires_grad=True)
    leaves = floats(args)
    value = weighted_sum(formula(*args))
    gradients = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
    return without_zero_rows(gradients, leaves)


def without_zero_rows(gradients: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Set the gradients of zero rows to 0: they have no direction, so any finite one is right."""
    return [
        gradient.masked_fill((leaf == 0).all(dim=-1, keepdim=True), 0)
        for gradient, leaf in zip(gradients, leaves, strict=True)
    ]
