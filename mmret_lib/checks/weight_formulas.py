"""The formula of exercise 04's last task, with the ways to get it wrong as options.

Without options it equals `mmret_lib.losses.negative_weights`; the tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def weights(
    direction: Callable[[Tensor], Tensor],
    similarity: Tensor,
    *,
    second: str = "",
    scale: str = "rows",
    diagonal: str = "",
    of: str = "gradient",
) -> Tensor:
    """(2, B, B): how hard `direction` pushes each negative, rows summing to 1 or to 0."""
    s = similarity.detach()
    rows = [s, s.T]
    if second == "both":
        rows = [s, s]
    gradients = [gradient(direction, one) for one in rows]
    if second == "transposed":
        gradients[1] = gradients[1].T
    if second == "images transposed":
        gradients[1] = gradients[0].T
    if second == "total":
        both = gradients[0] + gradients[1].T
        gradients = [both, both.T]
    if second == "swapped":
        gradients = gradients[::-1]
    push = torch.stack(gradients)  # (2, B, B)
    size = len(s)
    eye = torch.eye(size, dtype=torch.bool)
    both_ways = torch.stack(rows)
    if of == "softmax of gradient":
        push = push.masked_fill(eye, -math.inf).softmax(dim=2)
    if of == "times similarity":
        push = push * both_ways
    if of == "count":
        push = (push > 0).to(push.dtype)
    if of == "squares":
        push = push.square()
    if diagonal == "after":
        push = divided(push, scale)
        return push.masked_fill(eye, 0)
    if diagonal == "magnitude":
        return divided(push.abs(), scale)
    if diagonal != "kept":
        push = push.masked_fill(eye, 0)
    shares = divided(push, scale)
    if second in ("turned", "images turned"):
        return torch.stack([shares[0], shares[1 if second == "turned" else 0].T])
    return shares


def gradient(direction: Callable[[Tensor], Tensor], similarity: Tensor) -> Tensor:
    """The derivative of direction(similarity) by every entry, (B, B)."""
    with torch.enable_grad():
        leaf = similarity.detach().clone().requires_grad_()
        return torch.autograd.grad(direction(leaf), leaf)[0]


def divided(push: Tensor, scale: str) -> Tensor:
    if scale == "none":
        return push
    if scale == "by pairs":
        return push * push.shape[1]
    if scale == "largest":
        total = push.amax(dim=2, keepdim=True)
    elif scale == "lengths":
        total = push.norm(dim=2, keepdim=True)
    elif scale == "columns":
        total = push.sum(dim=1, keepdim=True)
    elif scale == "matrix":
        total = push.sum(dim=(1, 2), keepdim=True)
    elif scale == "everything":
        total = push.sum()
    elif scale == "both":
        total = push.sum(dim=(0, 2), keepdim=True)
    elif scale == "mean":
        total = push.sum(dim=2, keepdim=True) / push.shape[2]
    else:
        total = push.sum(dim=2, keepdim=True)
    if scale == "unguarded":
        return push / total
    if scale == "uniform":
        even = (1 - torch.eye(push.shape[1], dtype=push.dtype)) / (push.shape[1] - 1)
        return torch.where(total > 0, push / total.where(total > 0, 1), even)
    return push / total.where(total != 0, 1)
