"""Arguments for a student's function, and numbers compared with numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-4, torch.float16: 3e-2}


def prepared(args: Sequence[Any], dtype: torch.dtype, requires_grad: bool = False) -> list[Any]:
    """Fresh copies of the arguments, the floating-point tensors among them in `dtype`."""
    copies = [one.clone() if isinstance(one, Tensor) else one for one in args]
    return [one.to(dtype).requires_grad_(requires_grad) if is_float(one) else one for one in copies]


def is_float(one: Any) -> bool:
    return isinstance(one, Tensor) and one.is_floating_point()


def floats(args: Sequence[Any]) -> list[Tensor]:
    return [one for one in args if is_float(one)]


def shape_of(args: Sequence[Any]) -> tuple[int, int]:
    return floats(args)[0].shape[0], floats(args)[0].shape[1]


def strided(one: Any) -> Any:
    return one.T.contiguous().T if is_float(one) else one


def on_device(args: Sequence[Any], device: str, real: bool) -> list[Any]:
    """The arguments on a device; one that is not real holds shapes alone."""

    def moved(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return one
        return one.to(device) if real else torch.empty(one.shape, dtype=one.dtype, device=device)

    return [moved(one) for one in args]


def close_slopes(one: Tensor, right: Tensor) -> bool:
    """Equal gradients (B, D), measured by each row's largest entry: short rows have large ones."""
    size = right.abs().amax(dim=1, keepdim=True)
    size = size.where(size > 1e-9, 1)  # what is left of 0 has no direction
    return close(one / size, right / size)


def close(one: Tensor, two: Tensor, tolerance: float | None = None) -> bool:
    """Equal within what the coarser of the two types can hold; NaN equals NaN."""
    if one.shape != two.shape:
        return False
    tolerance = tolerance or max(TOLERANCE.get(each.dtype, 3e-2) for each in (one, two))
    return torch.allclose(one.double(), two.double(), tolerance, tolerance, equal_nan=True)


def ramp(value: Tensor) -> Tensor:
    """Weights that differ from entry to entry, so that a gradient shows every entry."""
    return torch.linspace(1, 2, value.numel(), dtype=torch.float64).reshape(value.shape)


def slopes(
    right: Callable[..., Tensor], given: Sequence[Any], options: Mapping | None = None
) -> list[Tensor]:
    args = prepared(given, torch.float64, requires_grad=True)
    leaves = floats(args)
    value = right(*args, **(options or {}))
    found = torch.autograd.grad((value * ramp(value)).sum(), leaves, materialize_grads=True)
    return [zero_rows_out(slope, leaf) for slope, leaf in zip(found, leaves, strict=True)]


def zero_rows_out(slope: Tensor, leaf: Tensor) -> Tensor:
    """A row of zeros has no direction, so no right gradient: any finite one will do."""
    return slope.masked_fill((leaf == 0).all(dim=1, keepdim=True), 0)


def by_a_factor(
    answers: Sequence[Tensor], right: Sequence[Tensor], batches: Sequence[int]
) -> str | None:
    """What it means that all answers differ from the right ones by one number."""
    added = [one.double() - two.double() for one, two in zip(answers, right, strict=True)]
    first = added[0].flatten()[0]
    if all(close(one, first.expand_as(one)) for one in added):
        return f"something is added that does not belong there: every result is off by {first:.4g}"
    factors, divisors = [], []
    for one, two, batch in zip(answers, right, batches, strict=True):
        got, wanted = one.double().sum(), two.double().sum()
        if got == 0 and wanted == 0:
            continue  # right, by whatever factor
        if got == 0 or wanted == 0 or not close(one, two * (got / wanted)):
            return None
        factors.append(got / wanted)
        divisors.append(batch * wanted / got)
    if factors and all(close(one, factors[0]) for one in factors):
        return f"a constant factor: every result is {factors[0]:.4g} times the right one"
    if divisors and all(close(one, divisors[0]) for one in divisors):
        return f"a batch size is fixed in the code: divided by {divisors[0]:.4g} whatever B is"
    return None
