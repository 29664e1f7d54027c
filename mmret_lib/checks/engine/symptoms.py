"""Describe what a mistake leads to: an error, a wrong type, a wrong shape, other numbers."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
    "a dtype is fixed in the code: use the arguments' (dtype=image_emb.dtype, or x.new_zeros)": (
        "same dtype",
        "scalar type",
        "same data type",
    ),
    "a device is fixed in the code: create tensors with device=image_emb.device, and leave the "
    "arguments where they are": ("same device", "cuda", "nvidia", "device type"),
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
    "something is None: .grad is filled only after backward, and only for the very tensor that was "
    "made with requires_grad_()": ("nonetype",),
    "x.max(dim=1) returns two things, numbers and places: use its .values, or x.amax(dim=1)": (
        "return_types",
    ),
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
    "a name is used that the notebook has not defined: run the cells above": ("is not defined",),
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


def wrong_type(value: Any) -> str | None:
    """Explain what is wrong with a result that is not a tensor."""
    if isinstance(value, Tensor):
        return None
    if value is None:
        return "nothing is returned: the last line should be `return ...`"
    if isinstance(value, np.ndarray | np.generic):
        return "a numpy array is returned, which has lost the gradient: use torch throughout"
    if isinstance(value, bool | int | float):
        return (
            "a Python number is returned, not a tensor (.item() or float()): without the tensor "
            "there is no gradient to train with"
        )
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)} is returned: one tensor is wanted"
    return f"a {type(value).__name__} is returned: a tensor is wanted"


def wrong_shape(value: Tensor, wanted: torch.Size, batch: int, width: int) -> str | None:
    """Explain what is wrong with a result's shape, by B (the batch) and D (a row's width)."""
    if value.shape == wanted:
        return None
    if value.shape == (1,) * value.ndim and not wanted:
        return f"the result has shape {tuple(value.shape)}: a scalar has none, shape ()"
    names = {width: "D", batch: "B", batch - 1: "B - 1", 2 * batch: "2B"}
    shape = ", ".join(names.get(size, str(size)) for size in value.shape)
    shape = f"({shape},)" if value.ndim == 1 else f"({shape})"
    expected = ", ".join("B" if size == batch else str(size) for size in wanted)
    hint = f"it should be ({expected})"
    if not wanted:
        hint = {
            (batch,): "one number per pair is left: return their mean",
            (batch, batch): "one number per negative is left: combine those of each query into "
            "one number, then return the mean",
            (2,): "one number per direction is left: add them",
        }.get(tuple(value.shape), "it should be one number, shape ()")
    elif value.shape == wanted[1:] and len(wanted) == 3:
        return f"the result has shape {shape}, one direction alone: torch.stack both"
    elif value.shape == (width, width) and wanted[-2:] == (batch, batch):
        hint = "dimensions are compared instead of pairs; it should be (B, D) @ (D, B)"
    elif value.shape == (batch,):
        return f"the result has shape (B,), only one number per pair: {hint}"
    return f"the result has shape {shape}: {hint}"


def difference(value: Tensor, right: Tensor) -> str:
    """Tell expected and given numbers; of a large tensor the first entry that differs."""
    value, right = value.detach().double(), right.detach().double()
    if not right.ndim:
        return f"the result should be {right:.4f} and is {value:.4f}"
    if right.numel() <= 4 and rounded(right) != rounded(value):
        return f"the result should be {rounded(right)} and is {rounded(value)}"
    off = (value - right).abs().nan_to_num(torch.inf)  # NaN differs too
    differs = off > 1e-6
    clearly = off > 1e-4
    places = (clearly if clearly.any() else differs).nonzero().tolist()
    first = tuple(places[0]) if places else (0,) * right.ndim
    digits = 4 if off[first] > 1e-4 else 8
    return (
        f"entry [{', '.join(map(str, first))}] should be {right[first]:.{digits}f} and is "
        f"{value[first]:.{digits}f} ({int(differs.sum())} of {right.numel()} entries differ)"
    )


def rounded(values: Tensor) -> str:
    """Format rows of numbers with four digits."""
    return str([[round(number, 4) for number in row] for row in values.tolist()])
