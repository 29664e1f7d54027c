"""Trainings of three steps, in which a student's step and the right one are followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.loop.models import heads_alone
from mmret_lib.checks.loop.steps import Batch

TrainStep = Callable[..., Any]
Make = Callable[..., torch.optim.Optimizer]
TOLERANCE = 2e-5  # clip_grad_norm_ adds 1e-6 to the length


def batches(count: int, size: int = 8) -> list[Batch]:
    """Pairs of features (size, 6) and (size, 5), in float64."""
    draw = partial(
        torch.randn,
        generator=seeded(5),
        dtype=torch.float64,
        device="cpu",
    )
    return [(draw(size, 6), draw(size, 5)) for _ in range(count)]


def apart(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """A loss in which the sides differ, and lengths count."""
    pull = (image_emb - 2 * text_emb).square().mean()
    return pull + 0.5 * (image_emb @ text_emb.T).logsumexp(dim=1).mean()


def groups_of(heads: nn.ModuleList) -> list[dict[str, Any]]:
    """A group for each head that trains."""
    trained = [[p for p in head.parameters() if p.requires_grad] for head in heads]
    return [{"params": params} for params in trained if params]


@dataclass
class Setting:
    """A training of three steps, to be followed from the same start again and again."""

    about: str
    make: Make
    clip: float | None
    frozen: int | None = None
    dtype: torch.dtype = torch.float64

    def start(self) -> tuple[nn.ModuleList, torch.optim.Optimizer]:
        """Heads with gradients from earlier on, and their optimiser."""
        heads = heads_alone().to(self.dtype)
        assert isinstance(heads, nn.ModuleList)
        if self.frozen is not None:
            heads[self.frozen].requires_grad_(False)
        for each in heads.parameters():
            if each.requires_grad:
                each.grad = torch.full_like(each, 0.7)
        return heads, self.make(groups_of(heads))

    def follow(self, step: TrainStep) -> list[Any]:
        """What is returned and where the heads are, after each of three steps."""
        heads, optimizer = self.start()
        path = []
        for images, texts in batches(3):
            batch = images.to(self.dtype), texts.to(self.dtype)
            value = step(heads[0], heads[1], batch, apart, optimizer, self.clip)
            path += [value, [each.detach().clone() for each in heads.state_dict().values()]]
        return path


SGD = partial(torch.optim.SGD, lr=0.1)
MOMENTUM = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
ADAM = partial(torch.optim.AdamW, lr=0.02)
SETTINGS = [
    Setting("SGD without clipping (clip=None)", SGD, None),
    Setting("SGD and clip=0.3", SGD, 0.3),
    Setting("SGD and clip=1000, longer than every gradient", SGD, 1000.0),
    Setting("SGD with momentum and clip=1.5", MOMENTUM, 1.5),
    Setting("AdamW and clip=0.5", ADAM, 0.5),
]
FROZEN = [
    Setting("a frozen image head and clip=0.5", SGD, 0.5, frozen=0),
    Setting("a frozen text head and no clipping", ADAM, None, frozen=1),
    Setting("a frozen text head and clip=0.5", SGD, 0.5, frozen=1),
]
