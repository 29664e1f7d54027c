"""Barlow Twins: no negatives, but embeddings whose dimensions do not repeat each other.

Zbontar et al., arXiv 2103.03230.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.losses.base import Ids, PairLoss, product


def standardise(emb: Tensor) -> Tensor:
    """Bring each dimension of (B, D) to mean 0, variance 1 over the batch.

    This is batch norm without parameters, with the biased variance and an eps of 1e-5.
    """
    return F.batch_norm(emb, None, None, training=True, eps=1e-5)


class BarlowTwins(PairLoss):
    """Make each dimension agree between the branches and correlate with no other dimension.

        sum_i (1 - C_ii)^2 + lambda * sum_{i != j} C_ij^2        C = Za^T Zb / B, (D, D)

    (Equations 1 and 2 of the paper.) Za and Zb are the images' and the texts' embeddings (B, D)
    after `standardise`. Nothing is scaled further.

    A dimension's offset and scale in a branch do not change the loss, but do change cosines. So
    standardise each branch, per dimension, before ranking. `image_ids` and `caption_ids` are
    checked but change nothing: there are no negatives from which to leave a duplicate out.

    Args:
        lambda_: at least 0. The default is that of the paper's code, tuned for D = 8192 and
            B = 2048. The term it weighs sums D - 1 squares per dimension, each by chance alone
            about 1 / B, so by this count what matters is about lambda (D - 1) / B: 0.020 there, but
            0.0025 with D = 128 and B = 256. Here, at D = 128, three values were tried on
            validation scenes from one seed: 0.02 was best with 2,000 scenes and B = 64, 0.01 with
            8,000 and B = 128 (data/results/small_knobs.csv, full_knobs.csv).
        learnable: make lambda a parameter between 0.0001 and 1. A smaller lambda always costs
            less, so minimising this loss alone drives it to the lower bound.

    Raises:
        ValueError: a lambda out of range.
    """

    def __init__(self, lambda_: float = 0.0051, learnable: bool = False) -> None:
        super().__init__(mask_duplicates=False)
        self.set_number("lambda_", lambda_, learnable, smallest=0.0, bounds=(1e-4, 1.0))

    @property
    def lambda_(self) -> float:
        """The weight of the off-diagonal term as it is now."""
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
        image_emb, text_emb, _ = self.checked(image_emb, text_emb, image_ids, caption_ids)
        images, texts = standardise(image_emb), standardise(text_emb)  # (B, D) each
        correlation = product(images.T, texts) / len(images)  # (D, D)
        diagonal = correlation.diagonal()  # (D,)
        off_diagonal = correlation - torch.diag(diagonal)  # (D, D)
        return (1 - diagonal).square().sum() + self.current() * off_diagonal.square().sum()

    def pushes(self, image_emb: Tensor, text_emb: Tensor, negatives: Tensor) -> Tensor:
        """Return how hard image b is pushed from image k, and text b from text k: (2, B, B).

        With R the sum of C_ij^2 over all i, j, and C = Za^T Zb / B, the chain rule gives

            dR / dZa = (2 / B) Zb C^T = (2 / B^2) Zb Zb^T Za

        so that row b of the off-diagonal term's gradient, R less its diagonal, is

            (2 / B^2) sum_k (zb_b . zb_k) za_k  -  (2 / B) C_ii zb_bi  in dimension i

        Descending it moves image b away from image k by zb_b . zb_k, as hard as their texts are
        alike, where that is positive (and towards it where negative, which is no push): the push
        is its positive part.
        """
        images, texts = standardise(image_emb), standardise(text_emb)  # (B, D) each
        alike = torch.stack([product(texts, texts.T), product(images, images.T)])  # (2, B, B)
        return alike.relu().masked_fill(~negatives, 0)
