"""Prepare the arguments of a student's function, and compare its results with the right ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-4, torch.float16: 3e-2}


def copies(args: Sequence[Any], dtype: torch.dtype, requires_grad: bool = False) -> list[Any]:
    """Copy the arguments, the floating-point tensors among them into `dtype`."""

    def fresh(arg: Any) -> Any:
        if is_float(arg):
            return arg.clone().to(dtype).requires_grad_(requires_grad)
        if isinstance(arg, Tensor):
            return arg.clone()
        return copy.deepcopy(arg) if isinstance(arg, list | dict) else arg

    return [fresh(arg) for arg in args]


def unchanged(arg: Any, before: Any) -> bool:
    """Whether an argument still is what it was before the call."""
    if isinstance(arg, Tensor):
        return arg.shape == before.shape and torch.equal(arg, before)
    return not isinstance(arg, list | dict) or bool(arg == before)


def is_float(arg: Any) -> bool:
    """Whether an argument is a tensor that can carry a gradient."""
    return isinstance(arg, Tensor) and arg.is_floating_point()


def floats(args: Sequence[Any]) -> list[Tensor]:
    """Select the floating-point tensors among the arguments."""
    return [arg for arg in args if is_float(arg)]


def sizes(args: Sequence[Any]) -> tuple[int, int]:
    """B and D: the first and the last size of the first floating-point tensor."""
    first = floats(args)[0]
    return first.shape[0], first.shape[-1]


def transposed_view(arg: Any) -> Any:
    """Return the same numbers, laid out column by column in memory."""
    return arg.mT.contiguous().mT if is_float(arg) and arg.ndim > 1 else arg


def on_device(args: Sequence[Any], device: str) -> list[Any]:
    """Move the arguments to a device; on "meta" they have shapes and no numbers."""
    if device != "meta":
        return [arg.to(device) if isinstance(arg, Tensor) else arg for arg in args]
    return [
        torch.empty_like(arg, device="meta") if isinstance(arg, Tensor) else arg for arg in args
    ]


def close(value: Tensor, right: Tensor, tolerance: float | None = None) -> bool:
    """Whether two tensors are equal within what the coarser of their types can hold.

    NaN equals NaN; tensors of different shape are never close.
    """
    if value.shape != right.shape:
        return False
    tolerance = tolerance or max(TOLERANCE.get(each.dtype, 3e-2) for each in (value, right))
    return torch.allclose(value.double(), right.double(), tolerance, tolerance, equal_nan=True)


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


def weighted_sum(value: Tensor) -> Tensor:
    """A scalar whose gradient depends on every entry: weights from 1 to 2, all different."""
    weights = torch.linspace(1, 2, value.numel(), dtype=torch.float64)
    return (value * weights.reshape(value.shape)).sum()


def gradients_of(formula: Callable[..., Tensor], args: Sequence[Any]) -> list[Tensor]:
    """Compute the gradients of a formula by its floating-point arguments, in float64."""
    args = copies(args, torch.float64, requires_grad=True)
    leaves = floats(args)
    value = weighted_sum(formula(*args))
    gradients = torch.autograd.grad(value, leaves, materialize_grads=True)
    return without_zero_rows(gradients, leaves)


def without_zero_rows(gradients: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Set the gradients of zero rows to 0: they have no direction, so any finite one is right."""
    return [
        gradient.masked_fill((leaf == 0).all(dim=-1, keepdim=True), 0)
        for gradient, leaf in zip(gradients, leaves, strict=True)
    ]
