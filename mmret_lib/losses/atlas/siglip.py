"""SigLIP: every pair of image and text is a question of its own, right or wrong."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmret_lib.losses import tiles
from mmret_lib.losses.atlas import in_tiles
from mmret_lib.losses.base import Ids, PairLoss, checked_number, similarities
from mmret_lib.losses.negatives import find_negatives, softmax_over_negatives


class SigLIP(PairLoss):
    """Logistic regression on every pair: does this text belong to this image?

        mean_b softplus(-(scale s_bb + bias)) + sum_{k != b} softplus(scale s_bk + bias)
                                                          + the same with texts as the queries

    s are cosine similarities, softplus(x) = log(1 + e^x) (Zhai et al., arXiv 2303.15343, section
    3.2). Both directions have the same terms, so this is twice the paper's loss. No negative
    competes with another: each is pushed by sigmoid(scale s_bk + bias), which depends on no other
    similarity of its row.

    There are B - 1 times as many wrong pairs as right ones. With a bias of 0 a fresh model would
    first learn to answer "wrong" everywhere; the paper starts at -10, about minus the logarithm of
    its batch of 32 thousand. By default the bias starts at -log(B - 1): a pair of similarity 0 is
    then judged right with probability 1 / B, which is the rate in the batch.

    Args:
        scale: one over a temperature, at least 1e-6.
        bias: None takes -log(B - 1) of the first call in training mode and keeps it from then on.
            Until then a call in evaluation mode, and `negative_weights`, take that of their own
            batch and keep nothing. The buffer `started`, saved with the state, tells whether the
            first call has been.
        learnable: make both parameters, the scale between 0.1 and 100 (give them no weight decay).
        mask_duplicates: pairs that share an id are not negatives.

    Raises:
        ValueError: a scale out of range, or a bias that is neither a finite number nor None.
    """

    started: Tensor
    offset: Tensor

    def __init__(
        self,
        scale: float = 10.0,
        bias: float | None = None,
        learnable: bool = True,
        mask_duplicates: bool = True,
    ) -> None:
        super().__init__(mask_duplicates)
        self.set_number("scale", scale, learnable, smallest=1e-6, bounds=(0.1, 100.0))
        self.first_bias = None if bias is None else checked_number("bias", bias)
        offset = torch.tensor(self.first_bias or 0.0)
        if learnable:
            self.offset = nn.Parameter(offset)
        else:
            self.register_buffer("offset", offset)
        self.register_buffer("started", torch.tensor(bias is not None))

    @property
    def scale(self) -> float:
        """The scale as it is now."""
        return self.read()

    @property
    def bias(self) -> float | None:
        """The bias as it is now; None where it still waits for its first batch."""
        return float(self.offset.detach()) if self.started else None

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
            bias = self.offset + self.awaited(len(image_emb))
            loss = in_tiles.siglip(image_emb, text_emb, ids, self.current(), bias)
        else:
            similarity = similarities(image_emb, text_emb)  # (B, B): images in rows
            negatives = find_negatives(similarity, ids)  # (B, B)
            images_ask = self.direction(similarity, negatives)
            texts_ask = self.direction(similarity.T, negatives)
            loss = images_ask + texts_ask
        self.after_call(len(image_emb))
        return loss

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return what the queries in the rows of (B, B) cost on average, a scalar."""
        logits = self.logits(similarity)  # (B, B)
        wrong = F.softplus(logits).masked_fill(~negatives, 0).sum(dim=1)  # (B,)
        return (F.softplus(-logits.diagonal()) + wrong).mean()

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return sigmoid(scale s_bk + bias) as shares of its row, (B, B)."""
        # From logarithms, so that the shares hold where the sigmoid itself underflows.
        return softmax_over_negatives(F.logsigmoid(self.logits(similarity)), negatives)

    def logits(self, similarity: Tensor) -> Tensor:
        """Return scale s + bias, (B, B)."""
        return self.current() * similarity + (self.offset + self.awaited(len(similarity)))

    def awaited(self, batch: int) -> Tensor:
        """Return what the first call of B pairs adds to the offset: 0 where it has been."""
        # Compared on the device: asking it would make the processor wait at every step.
        return torch.where(self.started, 0.0, -math.log(batch - 1))

    def after_call(self, batch: int) -> None:
        """Keep the bias of the first call in training mode."""
        if self.training:
            with torch.no_grad():
                self.offset.add_(self.awaited(batch))
            self.started.fill_(True)
