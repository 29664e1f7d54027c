"""Multi-similarity: positive and negatives each against a fixed similarity, not each other."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.atlas import in_tiles
from mmret_lib.losses.base import Ids, PairLoss, checked_number, similarities
from mmret_lib.losses.negatives import find_negatives, softmax_over_negatives


class MultiSimilarity(PairLoss):
    """Positives should come above, negatives below one fixed similarity, the base.

        mean_b (1 / alpha) log(1 + exp(-alpha (s_bb - base)))
             + (1 / beta) log(1 + sum_{k != b} exp(beta (s_bk - base)))
                                                          + the same with texts as the queries

    s are cosine similarities (Wang et al., arXiv 1904.06627, equation 15, with one positive and
    without its mining, which leaves out easy pairs before).

    A query pushes in all as its negatives exceed the base, however far its positive is ahead. It
    shares the push out as softmax(beta s_bk): as SimCLR with a temperature of 1 / beta, 0.025 by
    default.

    Args:
        alpha: how sharply the positive is asked to reach the base, at least 1e-6.
        beta: how sharply the hardest negatives stand out, at least 1e-6.
        base: a cosine, lambda in the paper, at least -1.
        mask_duplicates: pairs that share an id are not negatives.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 40.0,
        base: float = 0.5,
        mask_duplicates: bool = True,
    ) -> None:
        super().__init__(mask_duplicates)
        self.alpha = checked_number("alpha", alpha, smallest=1e-6)
        self.beta = checked_number("beta", beta, smallest=1e-6)
        self.base = checked_number("base", base, smallest=-1.0)

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
            return in_tiles.multi_similarity(
                image_emb, text_emb, ids, self.alpha, self.beta, self.base
            )
        similarity = similarities(image_emb, text_emb)  # (B, B): images in rows, texts in columns
        negatives = find_negatives(similarity, ids)  # (B, B)
        images_ask = self.direction(similarity, negatives)
        texts_ask = self.direction(similarity.T, negatives)
        return images_ask + texts_ask

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return what the queries in the rows of (B, B) cost on average, a scalar."""
        pull = F.softplus(-self.alpha * (similarity.diagonal() - self.base)) / self.alpha  # (B,)
        exponents = (self.beta * (similarity - self.base)).masked_fill(~negatives, -math.inf)
        # The 1 in the logarithm is exp(0): it stands where the positive is.
        exponents = exponents.diagonal_scatter(exponents.new_zeros(len(exponents)))
        return (pull + exponents.logsumexp(dim=1) / self.beta).mean()

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return softmax(beta s_bk) over each query's negatives, (B, B)."""
        return softmax_over_negatives(self.beta * similarity, negatives)
