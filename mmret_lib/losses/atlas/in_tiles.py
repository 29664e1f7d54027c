"""The atlas' losses of large batches, tile by tile, as `mmret_lib.losses.tiles` computes them.

Each function returns what the loss of its name returns, a scalar, from checked embeddings (B, D)
and ids (B,). The result can be differentiated once; a second derivative raises RuntimeError.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.base import unit_length


def margin_softmax(
    image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor], margin: float, temperature: float
) -> Tensor:
    """Return what `MarginSoftmax` returns of a checked batch, a scalar."""
    image_emb, text_emb = unit_length(image_emb), unit_length(text_emb)
    summed = tiles.log_sum_exp(image_emb, text_emb, ids, temperature)  # (2, B)
    lead = (tiles.positives(image_emb, text_emb) - margin) / temperature  # (B,)
    return temperature * softplus(summed - lead).mean(dim=1).sum()


def multi_similarity(
    image_emb: Tensor,
    text_emb: Tensor,
    ids: Sequence[Tensor],
    alpha: float,
    beta: float,
    base: float,
) -> Tensor:
    """Return what `MultiSimilarity` returns of a checked batch, a scalar."""
    image_emb, text_emb = unit_length(image_emb), unit_length(text_emb)
    summed = tiles.log_sum_exp(image_emb, text_emb, ids, 1 / beta)  # (2, B)
    pull = softplus(-alpha * (tiles.positives(image_emb, text_emb) - base)) / alpha  # (B,)
    return (pull + softplus(summed - beta * base) / beta).mean(dim=1).sum()


def softplus(numbers: Tensor) -> Tensor:
    """Return log(1 + e^x), also of -inf; torch's own is off by 2e-9 where x is 20."""
    return torch.logaddexp(numbers, torch.zeros_like(numbers))
