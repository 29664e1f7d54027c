"""Smooth AP: the rank of the right answer itself, made smooth."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.atlas import in_tiles
from mmret_lib.losses.base import Ids, PairLoss, checked_number, similarities
from mmret_lib.losses.negatives import find_negatives, softmax_over_negatives


class SmoothAP(PairLoss):
    """One minus the average precision, with a sigmoid in place of "ranks above".

        mean_b 1 - 1 / (1 + sum_{k != b} sigmoid((s_bk - s_bb) / t))
                                                          + the same with texts as the queries

    s are cosine similarities, t is the temperature (Brown et al., arXiv 2007.12163, section 4).
    With one right answer the average precision is 1 / rank, and the bracket is the rank: one
    and the number of negatives above the positive, each counted by a sigmoid.

    The share of negative k is s'((s_bk - s_bb) / t), with s' = sigmoid (1 - sigmoid), over the sum
    of its row: the push goes to negatives beside the positive, within a few t, and falls again for
    those far above it. Where the positive stands at rank r the whole push of its query is smaller
    by 1 / r^2: the loss attends to queries that are nearly right.

    Args:
        temperature: at least 1e-6. The lower, the fewer negatives have any gradient.
        mask_duplicates: pairs that share an id are not negatives. A query with none left costs 0.

    Raises:
        ValueError: a temperature out of range.
    """

    def __init__(self, temperature: float = 0.01, mask_duplicates: bool = True) -> None:
        super().__init__(mask_duplicates)
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
            return in_tiles.smooth_ap(image_emb, text_emb, ids, self.temperature)
        similarity = similarities(image_emb, text_emb)  # (B, B): images in rows, texts in columns
        negatives = find_negatives(similarity, ids)  # (B, B)
        images_ask = self.direction(similarity, negatives)
        texts_ask = self.direction(similarity.T, negatives)
        return images_ask + texts_ask

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return what the queries in the rows of (B, B) cost on average, a scalar."""
        above = self.lead(similarity).sigmoid().masked_fill(~negatives, 0)  # (B, B)
        rank = 1 + above.sum(dim=1)  # (B,)
        return (1 - 1 / rank).mean()

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return sigmoid(x) (1 - sigmoid(x)) at x = (s_bk - s_bb) / t as shares, (B, B)."""
        lead = self.lead(similarity)  # (B, B)
        # From logarithms, so that the shares hold where the sigmoid itself underflows.
        return softmax_over_negatives(F.logsigmoid(lead) + F.logsigmoid(-lead), negatives)

    def lead(self, similarity: Tensor) -> Tensor:
        """Return (s_bk - s_bb) / t, (B, B)."""
        return (similarity - similarity.diagonal()[:, None]) / self.temperature
