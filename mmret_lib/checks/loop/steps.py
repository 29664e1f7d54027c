"""One step of a training, and the ways to get it wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]


def length(tensors: Sequence[Tensor]) -> Tensor:
    """The length of tensors as one long vector."""
    return torch.stack([each.square().sum() for each in tensors]).sum().sqrt()


def gradients(*parts: nn.Module) -> list[Tensor]:
    """The gradients of what trains in some modules."""
    return [p.grad for part in parts for p in part.parameters() if p.grad is not None]


def shorten(tensors: list[Tensor], clip: float | None, size: Tensor | None = None) -> None:
    """Shorten tensors, as one vector, to a length of at most `clip`."""
    if clip is None or not tensors:
        return
    size = length(tensors) if size is None else size
    for each in tensors:
        each.mul_((clip / size).clamp(max=1))


Clipping = Callable[[nn.Module, nn.Module, float | None], None]


def together(image_head: nn.Module, text_head: nn.Module, clip: float | None) -> None:
    """Both heads' gradients as one vector; the right one."""
    shorten(gradients(image_head, text_head), clip)


def apart(image_head: nn.Module, text_head: nn.Module, clip: float | None) -> None:
    """Each head for itself."""
    shorten(gradients(image_head), clip)
    shorten(gradients(text_head), clip)


def each_alone(image_head: nn.Module, text_head: nn.Module, clip: float | None) -> None:
    """Each tensor for itself."""
    for each in gradients(image_head, text_head):
        shorten([each], clip)


def by_value(image_head: nn.Module, text_head: nn.Module, clip: float | None) -> None:
    """Each number for itself."""
    for each in gradients(image_head, text_head):
        each.clamp_(-(clip or math.inf), clip or math.inf)


def always(image_head: nn.Module, text_head: nn.Module, clip: float | None) -> None:
    """Short ones are made longer."""
    found = gradients(image_head, text_head)
    size = length(found)
    for each in found:
        each.mul_(1.0 if clip is None else clip / size)


def sized(size: Callable[[list[Tensor]], Tensor]) -> Clipping:
    """Shorten by another measure of length."""

    def clipping(image_head: nn.Module, text_head: nn.Module, clip: float | None) -> None:
        found = gradients(image_head, text_head)
        shorten(found, clip, size(found))

    return clipping


def only(place: int) -> Clipping:
    """Shorten one head's gradient alone."""
    return lambda image_head, text_head, clip: shorten(
        gradients((image_head, text_head)[place]), clip
    )


def to_one(image_head: nn.Module, text_head: nn.Module, clip: float | None) -> None:
    """The length is fixed."""
    shorten(gradients(image_head, text_head), None if clip is None else 1.0)


def turned(image_head: nn.Module, text_head: nn.Module, clip: float | None) -> None:
    """The length over the clip."""
    found = gradients(image_head, text_head)
    shorten(found, clip, (clip or 1.0) ** 2 / length(found))


def not_at_all(image_head: nn.Module, text_head: nn.Module, clip: float | None) -> None:
    """No clipping."""


def embed(image_head: nn.Module, text_head: nn.Module, batch: Batch, loss: Loss) -> Tensor:
    """The loss of a batch."""
    return loss(image_head(batch[0]), text_head(batch[1]))


def train_step(
    image_head: nn.Module,
    text_head: nn.Module,
    batch: Batch,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    clip: float | None,
    *,
    embed: Callable[..., Tensor] = embed,
    sign: int = 1,
    clear: str = "before",
    shorten: Clipping = together,
    steps: int = 1,
    always: bool = False,
    result: str = "before",
) -> Tensor:
    """Take one step; without keyword arguments the right answer.

    Args:
        embed: from the batch to the loss.
        sign: -1 makes the loss larger.
        clear: when old gradients are cleared: "before" backward, "last" or "never".
        shorten: the clipping.
        steps: how many steps the optimiser takes.
        always: whether it also steps along a gradient that is not finite.
        result: what is returned: the loss "before" or "after" the step, or its "length".
    """
    with torch.enable_grad():
        value = embed(image_head, text_head, batch, loss)
        if clear == "before":
            optimizer.zero_grad()
        (sign * value).backward()
        found = gradients(image_head, text_head)
        size = length(found) if found else torch.zeros(())
        shorten(image_head, text_head, clip)
        for _ in range(steps):
            if always or bool(size.isfinite()):
                optimizer.step()
        if clear == "last":
            optimizer.zero_grad()
    if result == "after":
        return embed(image_head, text_head, batch, loss).detach()
    return size if result == "length" else value.detach()


def other_batch(change: Callable[[Tensor, Tensor], Batch]) -> Callable[..., Tensor]:
    """A loss of changed embeddings."""
    return lambda image_head, text_head, batch, loss: loss(
        *change(image_head(batch[0]), text_head(batch[1]))
    )


# What to tell a student whose weights go where this wrong step leads to.
WRONG_STEPS: dict[str, dict[str, Any]] = {
    "old gradients are added to the new ones: call optimizer.zero_grad() before backward()": {
        "clear": "never"
    },
    "zero_grad comes at the end, so gradients that are there before the first step count: call "
    "optimizer.zero_grad() before backward()": {"clear": "last"},
    "nothing moves: is optimizer.step() called, and is zero_grad called before backward() and not "
    "after it?": {"steps": 0},
    "optimizer.step() is called twice": {"steps": 2},
    "the loss is made larger: minimise it, without a minus sign": {"sign": -1},
    "the step is not clipped: shorten the gradient after backward() and before step()": {
        "shorten": not_at_all
    },
    "each head's gradient is clipped for itself, which changes the direction: take the gradients "
    "of both heads as one long vector": {"shorten": apart},
    "each tensor's gradient is clipped for itself, which changes the direction: take the gradients "
    "of both heads as one long vector": {"shorten": each_alone},
    "each number of the gradient is clipped (clamp, clip_grad_value_), which changes the "
    "direction: multiply all of them by one factor": {"shorten": by_value},
    "a gradient shorter than clip is made longer: the factor is at most 1, min(1, clip / length)": {
        "shorten": always
    },
    "only the image head's gradient is clipped: take both heads' as one long vector": {
        "shorten": only(0)
    },
    "only the text head's gradient is clipped: take both heads' as one long vector": {
        "shorten": only(1)
    },
    "the root is missing: the length is the root of the sum of squares": {
        "shorten": sized(lambda found: length(found).square())
    },
    "the length is taken as the sum of all sizes: it is the root of the sum of squares": {
        "shorten": sized(lambda found: torch.stack([each.abs().sum() for each in found]).sum())
    },
    "the length is taken as the largest number: it is the root of the sum of squares": {
        "shorten": sized(lambda found: torch.stack([each.abs().max() for each in found]).max())
    },
    "the lengths of the single tensors are added up: add up their squares, then take the root": {
        "shorten": sized(lambda found: torch.stack([length([each]) for each in found]).sum())
    },
    "the mean of the squares is taken: the length is the root of their sum": {
        "shorten": sized(lambda found: length(found) / sum(each.numel() for each in found) ** 0.5)
    },
    "the fraction is upside down: the factor is min(1, clip / length)": {"shorten": turned},
    "the length is fixed at 1: take the argument clip, and clip nothing where it is None": {
        "shorten": to_one
    },
    "no gradient reaches the text head: detach neither side's embeddings": {
        "embed": other_batch(lambda images, texts: (images, texts.detach()))
    },
    "no gradient reaches the image head: detach neither side's embeddings": {
        "embed": other_batch(lambda images, texts: (images.detach(), texts))
    },
    "the loss gets the texts first: loss(image_emb, text_emb)": {
        "embed": other_batch(lambda images, texts: (texts, images))
    },
    "the embeddings are normalised before the loss gets them: hand them over as the heads give "
    "them": {"embed": other_batch(lambda images, texts: (F.normalize(images), F.normalize(texts)))},
    "two things: old gradients are added to the new ones (call optimizer.zero_grad() before "
    "backward()); and the step is not clipped": {"clear": "never", "shorten": not_at_all},
}
