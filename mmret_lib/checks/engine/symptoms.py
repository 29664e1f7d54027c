"""What a mistake looks like from outside: an error raised, a wrong type, a wrong shape."""

from __future__ import annotations

import traceback
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor

# (what the error says, what it means), the first that fits is told.
ERRORS = [
    (
        ("numpy() on Tensor that requires grad", "detach().numpy()"),
        "numpy knows no gradients: stay with torch from the arguments to the result",
    ),
    (
        (
            "leaf variable that requires grad",
            "modified by an inplace operation",
            "in-place operation",
        ),
        "an operation in place (+=, /=, fill_diagonal_, s[mask] = ...) changes what the gradient "
        "still needs or what the caller gave you: use its form that returns a new tensor",
    ),
    (
        ("same dtype", "scalar type", "same data type"),
        "a dtype is fixed in the code: take the arguments' (dtype=image_emb.dtype, or x.new_zeros)",
    ),
    (
        ("same device", "cuda", "nvidia", "device type"),
        "a device is fixed in the code: create "
        "tensors with device=image_emb.device, and leave the arguments where they are",
    ),
    (
        ("without overflow",),
        "a huge constant such as -1e9 does not fit into float16, which ends "
        "at 65504: use float('-inf')",
    ),
    (
        ("view size is not compatible",),
        "view needs rows that lie side by side in memory: use reshape",
    ),
    (
        ("must match the size of tensor", "must match the existing size"),
        "two shapes do not fit each other: one number per row goes with a matrix as a column, "
        "shape (B, 1), by keepdim=True or [:, None]",
    ),
    (("requires_grad flags",), "detach the copy first: x.detach().clone().requires_grad_()"),
    (
        ("does not require grad",),
        "the gradient is asked of a tensor that records none: work on a "
        "copy that does, x.detach().clone().requires_grad_()",
    ),
    (
        ("not have been used in the graph", "appears to not have been used"),
        "the gradient is asked of another tensor than the one that was handed in: keep the copy "
        "in a variable, and use it for both",
    ),
    (
        ("backward through the graph a second time",),
        "one result is differentiated twice: compute it anew each time",
    ),
    (
        ("nonetype",),
        "something is None: .grad is filled only after backward, and only for the very "
        "tensor that was made with requires_grad_()",
    ),
    (
        ("return_types",),
        "x.max(dim=1) returns two things, numbers and places: take .values of it, or x.amax(dim=1)",
    ),
    (
        ("'tuple' object",),
        "a tuple stands where a tensor should: x.max(dim=1) returns numbers and "
        "places, of which .values are the numbers",
    ),
    (("positional argument", "keyword argument"), "keep the arguments as the stub has them"),
    (
        ("mat1 and mat2 shapes",),
        "the shapes do not fit a product: the second factor should be transposed, (B, D) @ (D, B)",
    ),
    (
        ("not implemented for 'bool'", "subtraction, the `-` operator, with a bool"),
        "a mask of True and False cannot be computed with: use ~mask, or masked_fill",
    ),
    (("is not defined",), "a name is used that the notebook has not defined: run the cells above"),
]

LONGEST = 95  # characters of an error that are repeated


def meaning(error: BaseException) -> str:
    """What `error` probably means, or nothing."""
    text = str(error).lower()
    for patterns, says in ERRORS:
        if any(pattern.lower() in text for pattern in patterns):
            return says
    return ""


def described(error: BaseException, function: Any) -> str:
    """The error with the line of the student's code that raised it."""
    text = "".join(str(error).strip().splitlines()[:1])
    text = f": {text}" if len(text) <= LONGEST else f": {text[:LONGEST]}…"
    return f"{type(error).__name__}{text if text != ': ' else ''}{line_of(error, function)}"


def line_of(error: BaseException, function: Any) -> str:
    """at `the line of the student's code that raised it`, or nothing."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame.line for frame in frames if frame.filename == code.co_filename]
    return f" at `{mine[-1]}`" if mine and mine[-1] else ""


def wrong_type(value: Any) -> str | None:
    """What is wrong with a result that is no tensor."""
    if isinstance(value, Tensor):
        return None
    if value is None:
        return "nothing is returned: the last line should be `return ...`"
    if isinstance(value, np.ndarray | np.generic):
        return "a numpy array is returned, which has lost the gradient: stay with torch"
    if isinstance(value, bool | int | float):
        return (
            "a Python number is returned, not a tensor (.item() or float()): without the tensor "
            "there is no gradient to train with"
        )
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)} is returned: one tensor is wanted"
    return f"a {type(value).__name__} is returned: a tensor is wanted"


def wrong_shape(value: Tensor, wanted: torch.Size, batch: int, width: int) -> str | None:
    """What is wrong with a result's shape, told in B (the batch) and D (an embedding's width)."""
    if value.shape == wanted:
        return None
    if value.shape == (1,) * value.ndim and not wanted:
        return f"the result has shape {tuple(value.shape)}: a scalar has none, shape ()"
    names = {width: "D", batch: "B", batch - 1: "B - 1", 2 * batch: "2B"}
    shape = ", ".join(names.get(size, str(size)) for size in value.shape)
    shape += "," if value.ndim == 1 else ""
    if value.shape == wanted[1:] and len(wanted) == 3:
        return f"the result has shape ({shape}), one direction alone: torch.stack both"
    if value.shape == (width, width) and wanted[-2:] == (batch, batch):
        return (
            "the result has shape (D, D): dimensions are compared instead of pairs; it should be "
            "(B, D) @ (D, B)"
        )
    if not wanted:
        hint = {
            (batch,): "one number per pair is left: take their mean",
            (batch, batch): "one number per negative is left: each query's should be made one, "
            "then their mean taken",
            (2,): "one number per direction is left: add them",
        }.get(tuple(value.shape), "it should be one number, shape ()")
        return f"the result has shape ({shape}): {hint}"
    hint = ", ".join({batch: "B"}.get(size, str(size)) for size in wanted)
    if value.shape == (batch,):
        return f"the result has shape (B,), only one number per pair: it should be ({hint})"
    return f"the result has shape ({shape}): it should be ({hint})"


def shown(value: Tensor, right: Tensor) -> str:
    """Expected and given numbers, in words; of a large tensor the first entry that differs."""
    value, right = value.detach().double(), right.detach().double()
    if not right.ndim:
        return f"the result should be {right:.4f} and is {value:.4f}"
    if right.numel() <= 4 and rounded(right) != rounded(value):
        return f"the result should be {rounded(right)} and is {rounded(value)}"
    off = (value - right).abs().nan_to_num(torch.inf)  # NaN differs too
    differs = off > 1e-6
    place = (differs & (off > 1e-4 if (off > 1e-4).any() else differs)).nonzero().tolist()
    first = tuple(place[0]) if place else (0,) * right.ndim
    digits = 4 if off[first] > 1e-4 else 8
    index = ", ".join(map(str, first))
    return (
        f"entry [{index}] should be {right[first]:.{digits}f} and is {value[first]:.{digits}f} "
        f"({int(differs.sum())} of {right.numel()} entries differ)"
    )


def rounded(values: Tensor) -> str:
    return str([[round(x, 4) for x in row] for row in values.tolist()])
