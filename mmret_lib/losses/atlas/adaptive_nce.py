"""Adaptive NCE: InfoNCE that trusts neither the easiest nor the hardest negatives."""

from __future__ import annotations

from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.atlas import in_tiles
from mmret_lib.losses.base import Ids, PairLoss, checked_number, similarities
from mmret_lib.losses.negatives import find_negatives, mean_one, softmax_over_negatives


class AdaptiveNCE(PairLoss):
    """InfoNCE with weights on the negatives that are largest around one similarity (ADNCE).

        mean_b -log( exp(s_bb / t) / (exp(s_bb / t) + sum_{k != b} w_bk exp(s_bk / t)) )
        w_bk proportional to exp(-((s_bk - mu) / sigma)^2 / 2), with mean 1 over b's negatives
                                                          + the same with texts as the queries

    s are cosine similarities, t is the temperature (Wu et al., arXiv 2310.11048, ADNCE). The
    weights are taken as constants, in the published code too. The hardest negatives may be false
    ones, so that the weight falls again above mu.

    The share of negative k is softmax(s_bk / t - ((s_bk - mu) / sigma)^2 / 2), which is largest at

        s = mu + sigma^2 / t

    and falls beyond. With the default sigma of 1 this is mu + 14, far beyond any cosine: the share
    grows all the way, only less steeply towards the top than in SimCLR. For the share to fall again
    before s = 1, sigma must be below sqrt(t (1 - mu)): 0.205 with the other defaults. The defaults
    are those published for BERT. With none of the published settings does the share fall: for
    images they are t = 0.2 to 0.4, mu = 0.5 to 0.8, sigma = 0.5 to 1, and s at least 1.3.

    Args:
        temperature: at least 1e-6.
        mu: the cosine around which negatives weigh most, at least -1.
        sigma: how far from mu, in cosine, the weight has fallen by 40 %, at least 1e-6. With a
            large one the loss is InfoNCE.
        mask_duplicates: pairs that share an id are not negatives. A query with none left costs 0.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        mu: float = 0.4,
        sigma: float = 1.0,
        mask_duplicates: bool = True,
    ) -> None:
        super().__init__(mask_duplicates)
        self.temperature = checked_number("temperature", temperature, smallest=1e-6)
        self.mu = checked_number("mu", mu, smallest=-1.0)
        self.sigma = checked_number("sigma", sigma, smallest=1e-6)

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
            return in_tiles.adaptive_nce(
                image_emb, text_emb, ids, self.temperature, self.mu, self.sigma
            )
        similarity = similarities(image_emb, text_emb)  # (B, B): images in rows, texts in columns
        negatives = find_negatives(similarity, ids)  # (B, B)
        images_ask = self.direction(similarity, negatives)
        texts_ask = self.direction(similarity.T, negatives)
        return images_ask + texts_ask

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return what the queries in the rows of (B, B) cost on average, a scalar."""
        logits = similarity / self.temperature  # (B, B)
        positive = logits.diagonal()  # (B,)
        weighted = logits + mean_one(self.bell(similarity.detach()), negatives)  # log(w e^(s/t))
        return (weighted.diagonal_scatter(positive).logsumexp(dim=1) - positive).mean()

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return softmax(s_bk / t - ((s_bk - mu) / sigma)^2 / 2) over the negatives, (B, B)."""
        logits = similarity / self.temperature + self.bell(similarity)
        return softmax_over_negatives(logits, negatives)

    def bell(self, similarity: Tensor) -> Tensor:
        """Return -((s - mu) / sigma)^2 / 2, (B, B): the logarithm of a normal density."""
        return -((similarity - self.mu) / self.sigma).square() / 2
