"""Margin softmax: a soft maximum of the hinges, of which Max Triplet is the sharp limit."""

from __future__ import annotations

import math

from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.atlas import in_tiles
from mmret_lib.losses.base import Ids, PairLoss, checked_number, similarities
from mmret_lib.losses.negatives import find_negatives, softmax_over_negatives


class MarginSoftmax(PairLoss):
    """Softmax with a margin: the positive should lead a soft maximum of the negatives.

        mean_b t log(1 + sum_{k != b} exp((s_bk - s_bb + m) / t))
                                                          + the same with texts as the queries

    s are cosine similarities, t is the temperature, m the margin. This is t times the additive
    margin softmax (AM-Softmax, arXiv 1801.05599, equation 6, with 1 / t as its scale) over the
    negatives of a batch in place of classes, as dual encoders of texts use it (1902.08564), and t
    times the unified loss of Circle Loss (2002.10857, equation 1) with one positive. The factor t
    keeps the loss in the unit of the margin: as t goes to 0 it goes over into Max Triplet, whose
    hinge max(0, m - s_bb + s_bk) it never falls below. With m = 0 it is t times InfoNCE.

    The share of negative k in its query's push is softmax(s_bk / t), as in SimCLR: the margin
    moves the point, s_bb - m, from which on a query pushes in all, and no share.

    Args:
        margin: in cosine, at least 0.
        temperature: at least 1e-6.
        mask_duplicates: pairs that share an id are not negatives. A query with none left costs 0.

    Raises:
        ValueError: a margin or a temperature out of range.
    """

    def __init__(
        self, margin: float = 0.2, temperature: float = 0.05, mask_duplicates: bool = True
    ) -> None:
        super().__init__(mask_duplicates)
        self.margin = checked_number("margin", margin, smallest=0.0)
        self.temperature = checked_number("temperature", temperature, smallest=1e-6)

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
            return in_tiles.margin_softmax(image_emb, text_emb, ids, self.margin, self.temperature)
        similarity = similarities(image_emb, text_emb)  # (B, B): images in rows, texts in columns
        negatives = find_negatives(similarity, ids)  # (B, B)
        images_ask = self.direction(similarity, negatives)
        texts_ask = self.direction(similarity.T, negatives)
        return images_ask + texts_ask

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return what the queries in the rows of (B, B) cost on average, a scalar."""
        positive = similarity.diagonal()[:, None]  # (B, 1): s_bb
        exponents = (similarity - positive + self.margin) / self.temperature  # (B, B)
        exponents = exponents.masked_fill(~negatives, -math.inf)
        # The 1 in the logarithm is exp(0): it stands where the positive is.
        exponents = exponents.diagonal_scatter(exponents.new_zeros(len(exponents)))
        return self.temperature * exponents.logsumexp(dim=1).mean()

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return softmax(s_bk / t) over each query's negatives, (B, B)."""
        return softmax_over_negatives(similarity / self.temperature, negatives)
