"""Which pairs of a batch are negatives, and how a loss weighs them.

A batch is B pairs: image b and text b belong together, every other combination is a negative.
Unless two pairs show the same image or carry the same caption: to push those apart would teach
something false, so they are neither positives nor negatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmret_lib.losses.base import Ids, PairLoss


def find_negatives(rows: Tensor, ids: Sequence[Tensor]) -> Tensor:
    """Return the mask (B, B), symmetric: True at [b, k] where pair k is a negative of pair b.

    Args:
        rows: any tensor with one row per pair.
        ids: (B,) each; pairs that agree in one of them are duplicates.
    """
    negatives = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)  # (B, B)
    for numbers in ids:
        negatives = negatives & (numbers[:, None] != numbers[None, :])
    return negatives


def softmax_over_negatives(logits: Tensor, negatives: Tensor) -> Tensor:
    """Return the softmax of each row over its negatives: (B, B), 0 elsewhere.

    Args:
        logits, negatives: (B, B). A row without negatives becomes all 0.
    """
    shares = logits.masked_fill(~negatives, -math.inf).softmax(dim=1)
    return shares.where(negatives, 0)  # a row without negatives is NaN before


def mean_one(logits: Tensor, negatives: Tensor) -> Tensor:
    """Return log w, (B, B), where w is proportional to exp(logits) and has mean 1 over a row.

    The mean is over the row's negatives; elsewhere w is 0, its logarithm -inf.
    """
    chosen = logits.masked_fill(~negatives, -math.inf)
    count = negatives.sum(dim=1, keepdim=True).to(logits.dtype)  # (B, 1)
    mean = chosen.logsumexp(dim=1, keepdim=True) - count.log()
    return (chosen - mean).where(negatives, -math.inf)  # a row without negatives is NaN before


@torch.no_grad()
def negative_weights(
    loss: PairLoss,
    image_emb: Tensor,
    text_emb: Tensor,
    *,
    image_ids: Ids | None = None,
    caption_ids: Ids | None = None,
    guide: Tensor | None = None,
) -> Tensor:
    """Return how hard a loss pushes each negative of a batch, as shares of each query's push.

    The push on a negative is the gradient of the loss with respect to its similarity s_bk (where
    that is above 0): how much the loss rises with the similarity.

    Args:
        loss: a loss of this package, or another `PairLoss`.
        image_emb, text_emb, image_ids, caption_ids: a batch, as the loss is called with it.
        guide: (B, B), for a loss that is called with one, `FalseNegativeFilter`.

    Returns:
        (2, B, B), without gradient. [0, b, k] is text k's share of the push of query image b,
        [1, b, k] image k's share of the push of query text b. (For BarlowTwins [0] holds images
        pushed from images, [1] texts from texts; see `BarlowTwins.pushes`.) A row sums to 1 where
        any negative is pushed and is all zero where none is; the diagonal and what the loss masks
        are zero. A MaxTriplet's shares are those of its next call; this one is not counted.

    Raises:
        TypeError: the loss is not a `PairLoss`, or there is a guide that it does not take.
        ValueError: what calling the loss raises, save that a batch without negatives gives zeros.
    """
    if not isinstance(loss, PairLoss):
        raise TypeError(
            "negative_weights needs a loss of mmret_lib.losses (or another PairLoss), "
            f"not {type(loss).__name__}"
        )
    image_emb, text_emb, ids = loss.checked(
        image_emb, text_emb, image_ids, caption_ids, needs_negatives=False
    )
    if guide is not None and not loss.takes_guide:
        raise TypeError(f"{type(loss).__name__} takes no guide: wrap it in a FalseNegativeFilter")
    guided = {} if guide is None else {"guide": guide}
    push = loss.pushes(image_emb, text_emb, find_negatives(image_emb, ids), **guided)  # (2, B, B)
    total = push.sum(dim=2, keepdim=True)  # (2, B, 1)
    return push / total.where(total > 0, 1)


def effective_negatives(weights: Tensor, share: float = 0.01) -> tuple[float, float]:
    """Count how many negatives a query's push goes to: two answers, mean over the queries.

    Args:
        weights: shares (2, B, B), as `negative_weights` returns them.
        share: what a negative must have to be counted in the second answer.

    Returns:
        The effective number of negatives, 1 / sum_k w_k^2 (n where n negatives share alike, 1 where
        one takes all: the participation ratio), and the number with a share above `share`
        (Bleeker and de Rijke, arXiv 2202.07474, count so). Queries that push nothing are left
        out; NaN where none pushes.
    """
    pushing = weights.sum(dim=-1) > 0  # (2, B)
    effective = 1 / weights.square().sum(dim=-1)[pushing]
    above = (weights > share).sum(dim=-1)[pushing]
    return float(effective.mean()), float(above.float().mean())
