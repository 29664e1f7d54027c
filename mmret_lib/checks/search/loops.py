"""The loop that trains two heads, and the ways to get it wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Heads = tuple[Tensor, Tensor]
TrainHeads = Callable[..., Any]
DIM = 128
SEED = 7


def contrastive(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """A loss to train with: the cross-entropy of each row's and each column's own partner."""
    s = F.normalize(image_emb, dim=1) @ F.normalize(text_emb, dim=1).T / 0.2
    own = torch.arange(len(s), device=s.device)
    return F.cross_entropy(s, own) + F.cross_entropy(s.T, own)


def train_heads(
    image_features: Tensor,
    text_features: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    lr: float,
    seed: int,
) -> Heads:
    """Train two (D, 128) matrices on pairs of features; the right answer."""
    generator = torch.Generator().manual_seed(seed)
    starts = [
        (torch.randn(f.shape[1], DIM, generator=generator) / f.shape[1] ** 0.5).to(f)
        for f in (image_features, text_features)
    ]
    return follow(starts, image_features, text_features, loss, steps, lr)


def follow(
    starts: list[Tensor],
    image_features: Tensor,
    text_features: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    lr: float,
    *,
    make: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    trained: tuple[int, ...] = (0, 1),
    zero: bool = True,
    anew: bool = False,
    sign: int = 1,
    rate: Callable[[float], float] = lambda step: 1,
) -> Heads:
    """Train from given initial values; the keyword arguments are the ways to get it wrong."""
    with torch.enable_grad():
        heads = [start.detach().clone().requires_grad_() for start in starts]
        optimiser = make([heads[place] for place in trained], lr=lr)
        for step in range(steps):
            if anew:
                optimiser = make([heads[place] for place in trained], lr=lr)
            optimiser.param_groups[0]["lr"] = lr * rate(step / steps)
            cost = sign * loss(image_features @ heads[0], text_features @ heads[1])
            if zero:
                optimiser.zero_grad()
            torch.autograd.backward(cost, inputs=heads)
            optimiser.step()
    return heads[0].detach(), heads[1].detach()


# What to tell a student whose heads end where this wrong loop leads to.
WRONG_LOOPS: dict[str, dict[str, Any]] = {
    "only the image head is trained: give the optimiser both matrices, Adam([a, b], lr=lr), and "
    "detach neither side's embeddings": {"trained": (0,)},
    "only the text head is trained: give the optimiser both matrices, Adam([a, b], lr=lr), and "
    "detach neither side's embeddings": {"trained": (1,)},
    "gradients of earlier steps are added to those of the new one: call optimiser.zero_grad() "
    "before each backward()": {"zero": False},
    "the optimiser is made anew in each step, so that Adam forgets its running means: make it "
    "once, before the loop": {"anew": True},
    "the loss is made larger: minimise it, without a minus sign and without maximize": {"sign": -1},
    "this is plain gradient descent (SGD): torch.optim.Adam is wanted": {"make": torch.optim.SGD},
    "this is SGD with momentum: torch.optim.Adam is wanted": {
        "make": partial(torch.optim.SGD, momentum=0.9)
    },
    "this is AdamW, which also shrinks the weights: torch.optim.Adam is wanted": {
        "make": torch.optim.AdamW
    },
    "this is RMSprop: torch.optim.Adam is wanted": {"make": torch.optim.RMSprop},
    "this is Adagrad: torch.optim.Adam is wanted": {"make": torch.optim.Adagrad},
    "AMSGrad is switched on: torch.optim.Adam with its defaults is wanted": {
        "make": partial(torch.optim.Adam, amsgrad=True)
    },
    "the learning rate falls during the training: it should stay lr": {"rate": lambda t: 1 - t},
    "the learning rate is not lr but a tenth of it: pass on the argument as it is": {
        "rate": lambda t: 0.1
    },
    "the learning rate is not lr but ten times that: pass on the argument as it is": {
        "rate": lambda t: 10
    },
}


def features(size: int, image_dim: int, text_dim: int, seed: int) -> Heads:
    """Make features (size, image_dim) and (size, text_dim) of pairs, in float64."""
    draw = partial(
        torch.randn,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
        device="cpu",
    )
    shared = draw(size, 6)
    made = [shared @ draw(6, dim) + 0.5 * draw(size, dim) for dim in (image_dim, text_dim)]
    return made[0], made[1]


class Recorder:
    """A loss that remembers what it was called with."""

    def __init__(self) -> None:
        """Begin with no calls."""
        self.calls: list[Heads] = []

    def __call__(self, image_emb: Tensor, text_emb: Tensor) -> Tensor:
        """The loss of one batch."""
        self.calls.append((image_emb.detach().clone(), text_emb.detach().clone()))
        return contrastive(image_emb, text_emb)
