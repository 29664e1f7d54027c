"""The SimCLR loss: a smooth maximum over all negatives.

By default it is DCL, arXiv 2110.06848; the other form is InfoNCE (1807.03748), which CLIP uses
(2103.00020). SimCLR's own loss, NT-Xent (2002.05709), also has negatives of the same view.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.base import Ids, PairLoss, similarities
from mmret_lib.losses.negatives import find_negatives, softmax_over_negatives


class SimCLR(PairLoss):
    """Log-sum-exp over the negatives: every negative counts, harder ones more.

        mean_b -s_bb / t + log sum_{k != b} exp(s_bk / t)     + the same with texts as the queries

    s are cosine similarities, t is the temperature. By default the positive is left out of the
    denominator: the decoupled form (DCL, equation 6, across the two branches only), which can be
    negative. `positive_in_denominator=True` keeps it: InfoNCE, twice the loss of CLIP (figure 3),
    which halves the sum of the directions. Both forms spread a query's push over its negatives in
    the same proportions, softmax(s_bk / t); with the positive kept, a query whose positive is far
    ahead pushes less in all.

    Args:
        temperature: at least 1e-6; a low one weighs like the max, a high one like the sum.
        positive_in_denominator: keep the positive in the sum.
        learnable: make the temperature a parameter between 0.01 and 10 (give it no weight decay).
            Unlike a margin it has a gradient worth following: it rises while negatives beat their
            positives and falls as the positives win. Once they win by far a lower temperature
            always costs less; in the decoupled form, which has no lower limit, only the bound ends
            the fall.
        mask_duplicates: pairs that share an id are not negatives. A query with none left has an
            empty sum in the decoupled form and is left out of the mean; with the positive kept it
            costs 0.

    Raises:
        ValueError: a temperature out of range; when called in the decoupled form, a batch in which
            no pair has a negative.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        positive_in_denominator: bool = False,
        learnable: bool = False,
        mask_duplicates: bool = True,
    ) -> None:
        super().__init__(mask_duplicates)
        self.set_number("temperature", temperature, learnable, smallest=1e-6, bounds=(0.01, 10.0))
        self.positive_in_denominator = positive_in_denominator
        self.needs_negatives = not positive_in_denominator

    @property
    def temperature(self) -> float:
        """The temperature as it is now."""
        return self.read()

    def forward(
        self,
        image_emb: Tensor,
        text_emb: Tensor,
        *,
        image_ids: Ids | None = None,
        caption_ids: Ids | None = None,
    ) -> Tensor:
        """Return the loss of a batch, a scalar; see `PairLoss.forward`."""
        image_emb, text_emb, ids = self.checked(image_emb, text_emb, image_ids, caption_ids)
        if len(image_emb) > tiles.WHOLE:
            kept = self.positive_in_denominator
            return tiles.simclr(image_emb, text_emb, ids, self.current(), kept)
        similarity = similarities(image_emb, text_emb)  # (B, B): images in rows, texts in columns
        negatives = find_negatives(similarity, ids)  # (B, B)
        images_ask = self.direction(similarity, negatives)
        texts_ask = self.direction(similarity.T, negatives)
        return images_ask + texts_ask

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return what the queries in the rows of (B, B) cost on average, a scalar."""
        logits = similarity / self.current()  # (B, B)
        summed = negatives  # (B, B): the terms of the denominator
        if self.positive_in_denominator:
            summed = negatives | torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        counted = summed.any(dim=1)  # (B,): queries with a denominator
        # The log of an empty sum is -inf and its gradient NaN, which anomaly detection reports
        # even where a mask stops it: rows that do not count sum over everything instead.
        left_out = ~summed & counted[:, None]  # (B, B)
        denominator = logits.masked_fill(left_out, -math.inf).logsumexp(dim=1)  # (B,)
        cost = denominator - logits.diagonal()  # (B,)
        return cost.where(counted, 0).sum() / counted.sum().clamp(min=1)

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return softmax(s_bk / t) over each query's negatives, (B, B).

        These are the proportions of the gradient, and hold where the gradient itself underflows,
        because the positive in the denominator is far ahead.
        """
        return softmax_over_negatives(similarity / self.current(), negatives)
