"""The atlas' losses of large batches, tile by tile, as `mmret_lib.losses.tiles` computes them.

Each function returns what the loss of its name returns, a scalar, from checked embeddings (B, D)
and ids (B,). The result can be differentiated once; a second derivative raises RuntimeError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.atlas.reductions import (
    Guided,
    SigmoidSum,
    SoftplusSum,
    TopHinges,
    WeightedLogSumExp,
)
from mmret_lib.losses.base import unit_length
from mmret_lib.losses.reductions import SAFE

# The most places of a `TopKTriplet` that are kept per query while the tiles pass.
LARGEST_K = 256


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


def siglip(
    image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor], scale: tiles.Number, bias: Tensor
) -> Tensor:
    """Return what `SigLIP` returns of a checked batch, a scalar."""
    image_emb, text_emb = unit_length(image_emb), unit_length(text_emb)
    right = scale * tiles.positives(image_emb, text_emb) + bias  # (B,)
    # One more dimension, in which every text is 1 and every image the bias, adds the bias.
    one = torch.ones_like(image_emb[:, :1])
    images, texts = torch.cat([scale * image_emb, bias * one], 1), torch.cat([text_emb, one], 1)
    (wrong,) = tiles.reduce(images, texts, ids, SoftplusSum(image_emb))  # (B,)
    return 2 * (F.softplus(-right) + wrong).mean()


def hard_negative_nce(
    image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor], temperature: float, beta: float
) -> Tensor:
    """Return what `HardNegativeNCE` returns of a checked batch, a scalar."""

    def log_weights(logits: Tensor) -> Tensor:
        return logits * (beta * temperature)

    return weighted_nce(image_emb, text_emb, ids, temperature, log_weights, largest=beta)


def adaptive_nce(
    image_emb: Tensor,
    text_emb: Tensor,
    ids: Sequence[Tensor],
    temperature: float,
    mu: float,
    sigma: float,
) -> Tensor:
    """Return what `AdaptiveNCE` returns of a checked batch, a scalar."""

    def log_weights(logits: Tensor) -> Tensor:
        return (logits * temperature).sub_(mu).div_(sigma).square_().mul_(-0.5)

    largest = ((1 + abs(mu)) / sigma) ** 2 / 2
    return weighted_nce(image_emb, text_emb, ids, temperature, log_weights, largest)


def weighted_nce(
    image_emb: Tensor,
    text_emb: Tensor,
    ids: Sequence[Tensor],
    temperature: float,
    log_weights: Callable[[Tensor], Tensor],
    largest: float,
) -> Tensor:
    """Return InfoNCE with weights on the negatives, a scalar.

    Args:
        image_emb, text_emb, ids, temperature: as in the losses.
        log_weights: makes log w from s_bk / temperature.
        largest: how large |log w| may become.
    """
    image_emb, text_emb = unit_length(image_emb), unit_length(text_emb)
    positive = tiles.positives(image_emb, text_emb) / temperature  # (B,)
    small = 1 / temperature + largest <= SAFE[image_emb.dtype]
    reduction = WeightedLogSumExp(image_emb, log_weights, small)
    (summed,) = tiles.reduce(image_emb / temperature, text_emb, ids, reduction)  # (2, B)
    return softplus(summed - positive).mean(dim=1).sum()


def smooth_ap(
    image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor], temperature: float
) -> Tensor:
    """Return what `SmoothAP` returns of a checked batch, a scalar."""
    image_emb, text_emb = unit_length(image_emb), unit_length(text_emb)
    offset = -tiles.positives(image_emb, text_emb) / temperature  # (B,)
    images = image_emb / temperature
    (above,) = tiles.reduce(images, text_emb, ids, SigmoidSum(offset), offset=offset)  # (2, B)
    return (1 - 1 / (1 + above)).mean(dim=1).sum()


def top_k_triplet(
    image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor], k: int, margin: float
) -> Tensor:
    """Return what `TopKTriplet` returns of a checked batch, a scalar."""
    image_emb, text_emb = unit_length(image_emb), unit_length(text_emb)
    offset = margin - tiles.positives(image_emb, text_emb)  # (B,)
    (sums,) = tiles.reduce(image_emb, text_emb, ids, TopHinges(offset, k), offset=offset)  # (2, B)
    return sums.mean(dim=1).sum()


def filtered_simclr(
    image_emb: Tensor,
    text_emb: Tensor,
    ids: Sequence[Tensor],
    temperature: tiles.Number,
    positive_in_denominator: bool,
    guide: Tensor,
    margin: float,
) -> Tensor:
    """Return what `FalseNegativeFilter` around `SimCLR` returns of a checked batch and guide."""
    image_emb, text_emb = unit_length(image_emb), unit_length(text_emb)
    positive = tiles.positives(image_emb, text_emb) / temperature  # (B,)
    kind = tiles.kind_of_sum(temperature, image_emb.dtype)
    reduction = Guided(lambda: kind(image_emb), guide, guide.diagonal() - margin)
    (summed,) = tiles.reduce(image_emb / temperature, text_emb, ids, reduction)  # (2, B)
    return tiles.simclr_of_sums(summed, positive, positive_in_denominator)


def softplus(numbers: Tensor) -> Tensor:
    """Return log(1 + e^x), also of -inf; torch's own is off by 2e-9 where x is 20."""
    return torch.logaddexp(numbers, torch.zeros_like(numbers))
