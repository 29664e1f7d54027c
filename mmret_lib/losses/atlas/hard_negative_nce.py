"""Hard-negative NCE: InfoNCE with its negatives reweighted towards the hard ones."""

from __future__ import annotations

from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.atlas import in_tiles
from mmret_lib.losses.base import Ids, PairLoss, checked_number, similarities
from mmret_lib.losses.negatives import find_negatives, mean_one, softmax_over_negatives


class HardNegativeNCE(PairLoss):
    """InfoNCE with weights on the negatives that grow with their similarity.

        mean_b -log( exp(s_bb / t) / (exp(s_bb / t) + sum_{k != b} w_bk exp(s_bk / t)) )
        w_bk = exp(beta s_bk) / mean_j exp(beta s_bj)     + the same with texts as the queries

    s are cosine similarities, t is the temperature (Robinson et al., arXiv 2010.04592, section 3,
    with tau+ = 0: no negatives are taken for false ones). The weights have mean 1 over a query's
    negatives and are taken as constants.

    For the shares this is nothing but a lower temperature: w_bk exp(s_bk / t) is proportional to
    exp(s_bk / t'), so that the share of negative k is softmax(s_bk / t') with

        1 / t' = 1 / t + beta

    What beta does beyond this it does to the whole push of a query. The published code differs
    twice: its beta multiplies s / t, so that a beta of 1 there is one of 1 / t here; and it does
    not take the weights as constants. The gradient then passes through them too, and is negative
    for easy negatives, which are pulled towards the query: those with exp(s_bk / t) below
    beta / (1 + beta) times the mean of w_bk exp(s_bk / t), with that code's beta.

    Args:
        temperature: at least 1e-6.
        beta: at least 0; with 0 the loss is InfoNCE.
        mask_duplicates: pairs that share an id are not negatives. A query with none left costs 0.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self, temperature: float = 0.07, beta: float = 1.0, mask_duplicates: bool = True
    ) -> None:
        super().__init__(mask_duplicates)
        self.temperature = checked_number("temperature", temperature, smallest=1e-6)
        self.beta = checked_number("beta", beta, smallest=0.0)

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
            return in_tiles.hard_negative_nce(image_emb, text_emb, ids, self.temperature, self.beta)
        similarity = similarities(image_emb, text_emb)  # (B, B): images in rows, texts in columns
        negatives = find_negatives(similarity, ids)  # (B, B)
        images_ask = self.direction(similarity, negatives)
        texts_ask = self.direction(similarity.T, negatives)
        return images_ask + texts_ask

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return what the queries in the rows of (B, B) cost on average, a scalar."""
        logits = similarity / self.temperature  # (B, B)
        positive = logits.diagonal()  # (B,)
        weighted = logits + mean_one(self.beta * similarity.detach(), negatives)  # log(w e^(s/t))
        return (weighted.diagonal_scatter(positive).logsumexp(dim=1) - positive).mean()

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return softmax((1 / t + beta) s_bk) over each query's negatives, (B, B)."""
        return softmax_over_negatives((1 / self.temperature + self.beta) * similarity, negatives)
