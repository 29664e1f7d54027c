"""Gradient caching: the gradient of one large batch from a model that sees it in pieces.

A contrastive loss compares every pair of the batch with every other, so accumulating the gradients
of small batches is not the same as one large batch: each would know only its own negatives. But
the loss needs no more than the embeddings, and those are small. So (GradCache; Gao et al. 2021,
arXiv 2101.06983, section 3.2):

    1. embed all pieces without keeping what a gradient would need;
    2. take the loss of the whole batch, and its gradient by each embedding;
    3. embed each piece once more, now with a gradient, and send its part of step 2 back through.

The result is the full batch's gradient for one more forward pass, in the memory of one piece. Step
3 repeats the random numbers of step 1, dropout included. What does differ: a BatchNorm inside the
backbone takes its statistics over a piece, as it does over each GPU's part in distributed training.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from mmret_lib.training.distributed import without_all_reduce


def cached_backward(
    branches: nn.Module,
    images: Tensor,
    tokens: dict[str, Tensor],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    chunk_size: int,
    *,
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Tensor:
    """Add the gradient of the whole batch's loss to the branches' and the loss's parameters.

    Args:
        branches: (images, tokens) to (image_emb, text_emb), as `distributed.Branches`.
        images: the batch, B rows.
        tokens: the batch's captions, B rows in each entry.
        loss_of: (image_emb, text_emb), both (B, dim), to a scalar. What belongs to the batch as a
            whole, such as a standardisation that ends the branches, is done here.
        chunk_size: pairs that go through the branches at a time.
        scale: what the loss is multiplied with before its gradient, such as a scaler's `scale`.
        autocast: makes the context in which the branches are called.

    Returns:
        the loss, detached.
    """
    chunks = [slice(first, first + chunk_size) for first in range(0, len(images), chunk_size)]
    device = images.device

    def embed(chunk: slice) -> tuple[Tensor, Tensor]:
        with autocast():
            part = {name: ids[chunk] for name, ids in tokens.items()}
            image_emb, text_emb = branches(images[chunk], part)  # (b, dim) each
        return image_emb, text_emb

    states, pieces = [], []
    with torch.no_grad(), _frozen_statistics(branches):
        for chunk in chunks:
            states.append(_random_state(device))
            pieces.append(embed(chunk))
    image_emb, text_emb = (torch.cat(side).requires_grad_() for side in zip(*pieces, strict=True))
    loss = loss_of(image_emb, text_emb)
    scale(loss).backward()
    # Afterwards chance goes on from here: a loss that draws must not draw the same in every step.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for chunk, state in zip(chunks, states, strict=True):
            _set_random_state(device, state)
            # Several processes add up their gradients once, with those of the last piece.
            with nullcontext() if chunk is chunks[-1] else without_all_reduce(branches):
                sides = [
                    (emb, whole.grad[chunk])
                    for emb, whole in zip(embed(chunk), (image_emb, text_emb), strict=True)
                    if emb.requires_grad and whole.grad is not None
                ]
                if sides:
                    torch.autograd.backward([emb for emb, _ in sides], [grad for _, grad in sides])
    return loss.detach()


@contextmanager
def _frozen_statistics(branches: nn.Module) -> Iterator[None]:
    """Keep the running statistics of BatchNorms as they are, so that a piece counts only once."""
    norms = [
        module
        for module in branches.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, momentum, tracked in kept:
            norm.momentum, norm.num_batches_tracked = momentum, tracked


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), on_gpu


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
