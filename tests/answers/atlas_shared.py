"""What the answers to exercise 14's losses share: a skeleton, and wrong answers to all of them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from answers.shared import cos, eye, forgets_return


def both(cost: Callable, *defaults: float, s: Callable = cos, join: Callable | None = None):
    """A student's loss: cost(way (B, B), *settings) -> (B,) of each direction, `join` of both."""
    join = join or (lambda i, t: (i + t).mean())

    def loss(image_emb, text_emb, *settings):
        settings = settings + defaults[len(settings) :]
        matrix = s(image_emb, text_emb)
        return join(cost(matrix, *settings), cost(matrix.T, *settings))

    return loss


def off(x: Tensor) -> Tensor:
    return x.masked_fill(eye(x), 0)


def in_place(right: Callable) -> Callable:
    def loss(i, t, *settings):
        i.data.div_(i.data.norm(dim=1, keepdim=True))
        return right(i, t, *settings)

    return loss


def no_grad(right: Callable) -> Callable:
    def loss(i, t, *settings):
        with torch.no_grad():
            return right(i, t, *settings)

    return loss


def calls_backward(right: Callable) -> Callable:
    def loss(i, t, *settings):
        value = right(i, t, *settings)
        if value.requires_grad:
            value.backward(retain_graph=True)
        return value

    return loss


def wrongs(cost: Callable, *defaults: float) -> dict[str, tuple[str, Callable]]:
    """Wrong answers to every loss: name -> (word of the message, answer)."""
    right = both(cost, *defaults)

    def over(s: Callable) -> Callable:
        return both(cost, *defaults, s=s)

    def joined(join: Callable) -> Callable:
        return both(cost, *defaults, join=join)

    def of(change: Callable) -> Callable:
        return lambda i, t, *settings: change(right(i, t, *settings))

    def on_the_cpu(way, *settings):
        return cost(way + 0 * torch.eye(len(way), dtype=way.dtype), *settings)

    return {
        "images only": ("one direction only", joined(lambda i, t: i.mean())),
        "texts only": ("one direction only", joined(lambda i, t: t.mean())),
        "half": ("half of it", of(lambda x: x / 2)),
        "rows twice": ("counted twice", joined(lambda i, t: 2 * i.mean())),
        "sum over the batch": ("b pairs", joined(lambda i, t: (i + t).sum())),
        "a difference": ("subtracted", joined(lambda i, t: (i - t).mean())),
        "by the matrix": (
            "whole matrix",
            joined(lambda i, t: (i + t).mean() / len(i)),
        ),
        "lengths": ("not normalised", over(lambda i, t: i @ t.T)),
        "one branch normalised": ("only the image rows", over(lambda i, t: F.normalize(i) @ t.T)),
        "columns normalised": (
            "wrong axis",
            over(lambda i, t: F.normalize(i, dim=0) @ F.normalize(t, dim=0).T),
        ),
        "distances": ("distance", over(lambda i, t: 1 - cos(i, t))),
        "images with images": ("images are compared with images", over(lambda i, t: cos(i, i))),
        "one number per pair": ("one number per pair", joined(lambda i, t: i + t)),
        "one number per direction": (
            "one number per direction",
            joined(lambda i, t: torch.stack([i.mean(), t.mean()])),
        ),
        "item": ("python number", of(lambda x: x.item())),
        "numpy": ("numpy", of(lambda x: x.detach().numpy())),
        "detached": ("detached", of(lambda x: x.detach())),
        "no grad": ("detached", no_grad(right)),
        "texts detached": ("text_emb", lambda i, t, *rest: right(i, t.detach(), *rest)),
        "one direction detached": (
            "text -> images is detached",
            joined(lambda i, t: (i + t.detach()).mean()),
        ),
        "in place": ("in place", in_place(right)),
        "calls backward": ("backward", calls_backward(right)),
        "float32": ("dtype", lambda i, t, *rest: right(i.float(), t.float(), *rest)),
        "on the CPU": ("gpu", both(on_the_cpu, *defaults)),
        "first five": ("size", lambda i, t, *rest: right(i[:5], t[:5], *rest)),
        "random": ("random", of(lambda x: x + 0 * torch.rand(()).to(x))),
        "shape (1,)": ("scalar", of(lambda x: x[None])),
        "no return": ("nothing is returned", forgets_return),
    }
