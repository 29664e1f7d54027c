"""Describe what a mistake leads to: an error, a wrong type, a wrong shape, other numbers."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmret_lib.checks.engine.arguments import close, tensors

# What an error means, by what it says; the first that fits is reported.
ERRORS = {
    "numpy does not compute gradients: use torch from the arguments to the result": (
        "numpy() on tensor that requires grad",
        "detach().numpy()",
    ),
    "an operation in place (+=, /=, fill_diagonal_, s[mask] = ...) changes what the gradient still "
    "needs or what the caller gave you: use its form that returns a new tensor": (
        "leaf variable that requires grad",
        "modified by an inplace",
        "in-place operation",
    ),
    "two dtypes meet: bring one tensor to the other's, x.to(y.dtype), and make new ones in the "
    "arguments' dtype (dtype=y.dtype, or y.new_zeros)": (
        "same dtype",
        "scalar type",
        "same data type",
    ),
    "a device is fixed in the code: create tensors with device=x.device of an argument x, and "
    "leave the arguments where they are": ("same device", "cuda", "nvidia", "device type"),
    "a huge constant such as -1e9 does not fit into float16, which ends at 65504: use "
    "float('-inf')": ("without overflow",),
    "view needs rows that are contiguous in memory: use reshape": ("view size is not compatible",),
    "two shapes do not fit each other: to combine one number per row with a matrix, make it a "
    "column of shape (B, 1), by keepdim=True or [:, None]": (
        "must match the size of tensor",
        "must match the existing size",
    ),
    "detach the copy first: x.detach().clone().requires_grad_()": ("requires_grad flags",),
    "a gradient is asked of a tensor that records none: work on a copy that does, "
    "x.detach().clone().requires_grad_()": ("does not require grad",),
    "a gradient is asked of another tensor than the one that the function was called with: keep "
    "the copy in a variable, and use that variable for both": (
        "not have been used in the graph",
        "appears to not have been used",
    ),
    "one result is differentiated twice: compute it anew each time": (
        "backward through the graph a second time",
    ),
    "None is compared with a number: it stands for what is not known, so ask for it first, x is "
    "None": (
        "not supported between instances of 'nonetype'",
        "instances of 'int' and 'nonetype'",
    ),
    "None is indexed: .get gives it where a dict has no such key, so ask for that first": (
        "'nonetype' object is not subscriptable",
    ),
    "something is None: .grad is filled only after backward, and only for the very tensor that was "
    "made with requires_grad_()": ("nonetype",),
    "what max(dim=1), topk and sort return are two things, numbers and places: use .values (or, "
    "for the largest, x.amax(dim=1))": ("return_types",),
    "there is a tuple where a tensor should be: x.max(dim=1) returns numbers and places, of which "
    ".values are the numbers": ("'tuple' object",),
    "keep the arguments as they are in the stub": ("positional argument", "keyword argument"),
    "the shapes do not fit a product: the second factor should be transposed, (B, D) @ (D, B)": (
        "mat1 and mat2 shapes",
    ),
    "a mask of True and False cannot be computed with: use ~mask, or masked_fill": (
        "not implemented for 'bool'",
        "subtraction, the `-` operator, with a bool",
    ),
    "torch.randint(high, ...) draws from 0 to high - 1, so high is the count itself, and not the "
    "count - 1": ("random_ expects 'from' to be less",),
    "Python's min, max, if, and, or take single numbers, not tensors of several: use clamp, "
    "torch.where, & or |": ("is ambiguous",),
    "a mask has to have an entry for each row that it chooses from: is it made over the wrong "
    "axis (dim)?": ("shape of the mask",),
    "checkpoint calls the function once more in the backward pass, and then the loop's variables "
    "have moved on: hand the parts over as arguments, checkpoint(f, rows, columns, ...)": (
        "recomputed values",
    ),
    "checkpoint needs use_reentrant=False here": ("use_reentrant=true",),
    "a name is used that nothing defines: in a notebook, run the cells above; in a file, define or "
    "import it": ("is not defined",),
}

LONGEST = 95  # characters of an error that are repeated


def meaning(error: BaseException) -> str:
    """Explain what `error` probably means; an empty string if unknown."""
    text = str(error).lower()
    return next((says for says, signs in ERRORS.items() if any(sign in text for sign in signs)), "")


def described(error: BaseException, function: Callable[..., Any]) -> str:
    """Quote the error with the line of the student's code that raised it."""
    text = "".join(str(error).strip().splitlines()[:1])
    text = f"{text[:LONGEST]}…" if len(text) > LONGEST else text
    return type(error).__name__ + (f": {text}" if text else "") + line_of(error, function)


def line_of(error: BaseException, function: Callable[..., Any]) -> str:
    """Quote the student's line that raised the error, as " at `line`"; empty if unknown."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.line for frame in frames if frame.filename == code.co_filename]
    return f" at `{lines[-1]}`" if lines and lines[-1] else ""


def wrong_kind(value: Any, wanted: Any, batch: int, width: int) -> str | None:
    """Explain a result of another type, length, dtype or shape than the right one's.

    Args:
        value: the student's result, or a part of it.
        wanted: the right one.
        batch, width: B and D of the arguments.
    """
    if isinstance(wanted, Tensor):
        if says := wrong_type(value, wanted):
            return says
        if value.dtype == torch.bool != wanted.dtype and not wanted.is_floating_point():
            return "a mask of True and False is returned: indices are wanted, mask.nonzero()[:, 0]"
        return wrong_shape(value, wanted.shape, batch, width) or wrong_dtype(value, wanted)
    if value is None and wanted is not None:
        return NOTHING
    if isinstance(wanted, tuple | list):
        if isinstance(value, Tensor | np.ndarray) and not tensors(wanted):
            value = value.tolist()
        if not isinstance(value, tuple | list):
            many = f"{len(wanted)} results" if isinstance(wanted, tuple) else "a list"
            return f"a {name_of(value)} is returned: {many} should be"
        if isinstance(wanted, tuple):
            return wrong_part(value, wanted, batch, width)
    if isinstance(wanted, int | float) and isinstance(value, Tensor) and value.numel() > 1:
        return f"a {name_of(value)} is returned: one number is wanted"
    return None  # the length of a list and its entries are part of the value


def wrong_part(value: Sequence[Any], wanted: Sequence[Any], batch: int, width: int) -> str | None:
    """Explain which of several results is of the wrong kind."""
    if len(value) != len(wanted):
        return f"{len(value)} results are returned: {len(wanted)} are wanted"
    for number, (part, right) in enumerate(zip(value, wanted, strict=True)):
        if says := wrong_kind(part, right, batch, width):
            inner = says.removeprefix("result ") if says.startswith("result [") else f": {says}"
            return f"result [{number}]{' ' if inner[0] == '[' else ''}{inner}"
    return None


NOTHING = "nothing is returned: the last line should be `return ...`"


def name_of(value: Any) -> str:
    """What a person calls the type of a value."""
    if isinstance(value, Tensor):
        return f"tensor of shape {tuple(value.shape)}"
    return {"ndarray": "numpy array", "str": "string"}.get(
        type(value).__name__, type(value).__name__
    )


def wrong_type(value: Any, wanted: Tensor) -> str | None:
    """Explain what is wrong with a result that is not a tensor."""
    if isinstance(value, Tensor):
        return None
    if value is None:
        return NOTHING
    if isinstance(value, np.ndarray | np.generic):
        return (
            "a numpy array is returned, and a tensor is wanted: compute with torch, from the "
            "arguments to the result"
        )
    if isinstance(value, bool | int | float):
        return (
            "a Python number is returned, and a tensor is wanted: leave out .item() and float(), "
            "and compute with tensors from the arguments to the result"
        )
    if isinstance(value, tuple | list):
        kind = f"a {type(value).__name__} of {len(value)}"
        if wanted.ndim and len(value) == len(wanted) and all(map(torch.is_tensor, value)):
            return f"{kind} is returned: one tensor is wanted, torch.stack makes it of several"
        return f"{kind} is returned: one tensor is wanted"
    return f"a {type(value).__name__} is returned: a tensor is wanted"


def wrong_dtype(value: Tensor, wanted: Tensor) -> str | None:
    """Explain whole numbers or truth values where others are wanted."""
    if value.is_floating_point() == wanted.is_floating_point() and (
        value.is_floating_point() or value.dtype == wanted.dtype
    ):
        return None
    kinds = [str(each.dtype).removeprefix("torch.") for each in (wanted, value)]
    if wanted.is_floating_point():
        kinds[0] = "floating point"
    return f"the result should be of dtype {kinds[0]}, and is of {kinds[1]}: convert it with .to()"


def wrong_shape(value: Tensor, wanted: torch.Size, batch: int, width: int) -> str | None:
    """Explain what is wrong with a result's shape, by B (the batch) and D (a row's width)."""
    if value.shape == wanted:
        return None
    if value.shape == (1,) * value.ndim and not wanted:
        return f"the result has shape {tuple(value.shape)}: a scalar has none, shape ()"
    names = {width: "D", batch: "B", batch - 1: "B - 1", 2 * batch: "2B"} if batch > 0 else {}
    shape = ", ".join(names.get(size, str(size)) for size in value.shape)
    shape = f"({shape},)" if value.ndim == 1 else f"({shape})"
    expected = ", ".join("B" if size == batch else str(size) for size in wanted)
    hint = f"it should be ({expected},)" if len(wanted) == 1 else f"it should be ({expected})"
    if not wanted:
        hint = {
            (batch,): "one number per pair is left: return their mean",
            (batch, batch): "one number per negative is left: combine those of each query into "
            "one number, then return the mean",
            (2,): "one number per direction is left: add them",
        }.get(tuple(value.shape), "it should be one number, shape ()")
    elif value.shape == wanted[1:] and len(wanted) == 3 and wanted[0] == 2:
        return f"the result has shape {shape}, one direction alone: torch.stack both"
    elif value.shape == (width, width) and wanted[-2:] == (batch, batch):
        hint = "dimensions are compared instead of pairs; it should be (B, D) @ (D, B)"
    elif value.shape == (batch,) and len(wanted) > 1:
        return f"the result has shape (B,), only one number per pair: {hint}"
    return f"the result has shape {shape}: {hint}"


def difference(value: Any, right: Any, noun: str = "the result") -> str:
    """Tell expected and given numbers; of a large tensor the first entry that differs."""
    if isinstance(right, tuple) and isinstance(value, tuple | list) and len(value) == len(right):
        for number, (part, wanted) in enumerate(zip(value, right, strict=True)):
            if not close(part, wanted):
                return difference(part, wanted, f"{noun.removeprefix('the ')} [{number}]")
    if not isinstance(right, Tensor) or not isinstance(value, Tensor):
        texts = [f"{x:.6g}" if isinstance(x, float) else shortened(x) for x in (right, value)]
        wanted, given = texts if texts[0] != texts[1] else (repr(right), repr(value))
        return f"{noun} should be {wanted} and is {given}"
    whole = not (right.is_floating_point() or value.is_floating_point())
    if whole and right.numel() <= 4:
        return f"{noun} should be {right.tolist()} and is {value.tolist()}"
    value, right = value.detach().double(), right.detach().double()
    if not right.ndim:
        return f"{noun} should be {right:.4f} and is {value:.4f}"
    if right.numel() <= 4 and rounded(right) != rounded(value):
        return f"{noun} should be {rounded(right)} and is {rounded(value)}"
    off = (value - right).abs().nan_to_num(torch.inf)  # NaN differs too
    off = off.masked_fill(value == right, 0)  # inf - inf is NaN
    differs = off > 1e-6
    clearly = off > 1e-4
    places = (clearly if clearly.any() else differs).nonzero().tolist()
    first = tuple(places[0]) if places else (0,) * right.ndim
    digits = 0 if whole else 4 if off[first] > 1e-4 else 8
    return (
        f"entry [{', '.join(map(str, first))}] of {noun} should be {right[first]:.{digits}f} and "
        f"is {value[first]:.{digits}f} ({int(differs.sum())} of {right.numel()} entries differ)"
    )


def shortened(value: Any) -> str:
    """Write a result that is no tensor of numbers, cut off where it is long."""
    text = repr(value.tolist() if isinstance(value, Tensor | np.ndarray) else value)
    return f"{text[:LONGEST]}…" if len(text) > LONGEST else text


def rounded(values: Tensor) -> str:
    """Format rows of numbers with four digits."""
    digits = torch.round(values, decimals=4) + 0.0  # no -0.0
    return str(digits.tolist())
