"""A loss of which only some of a batch's negatives count, to measure what a negative is worth."""

from __future__ import annotations

import torch
from torch import Tensor

from mmret_lib.losses.barlow import BarlowTwins, standardise
from mmret_lib.losses.base import Ids, PairLoss, product, similarities
from mmret_lib.losses.negatives import find_negatives


class FewerNegatives(PairLoss):
    """Count only n negatives of each query: drawn at random, or the n hardest.

    Batch, steps and positives stay as they are, so what changes is the number of negatives alone.
    Each direction picks its own. Barlow Twins has no negatives to pick from; it gets its term off
    the diagonal from n + 1 random pairs of the batch, so that each pair meets n others (lesson 06
    shows that this term compares pairs), and its term on the diagonal from all.

    Args:
        loss: a loss that goes by similarities (it has a `direction`), or `BarlowTwins`.
        count: n, at least 1; in a batch with fewer negatives all of them count.
        pick: "random" or "hardest" (those with the largest similarities).
        seed: of the random picks.

    Raises:
        ValueError: a count below 1, an unknown `pick`, or "hardest" for Barlow Twins.
    """

    def __init__(self, loss: PairLoss, count: int, pick: str = "random", seed: int = 0) -> None:
        super().__init__(loss.mask_duplicates)
        if count < 1 or pick not in ("random", "hardest"):
            raise ValueError(f"count {count}, pick {pick!r}: at least 1, and random or hardest")
        if isinstance(loss, BarlowTwins) and pick != "random":
            raise ValueError("Barlow Twins has no negatives, so it has no hardest ones")
        self.loss, self.count, self.pick, self.seed = loss, count, pick, seed
        self.needs_negatives = loss.needs_negatives
        self.generator = torch.Generator().manual_seed(seed)

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
        if isinstance(self.loss, BarlowTwins):
            return self.barlow(self.loss, image_emb, text_emb)
        similarity = similarities(image_emb, text_emb)  # (B, B): images in rows, texts in columns
        negatives = find_negatives(similarity, ids)  # (B, B)
        value = self.direction(similarity, negatives) + self.direction(similarity.T, negatives)
        self.loss.after_call(len(similarity))  # its own forward, which does this, is not called
        return value

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return what the queries in the rows of (B, B) cost on average, a scalar."""
        return self.loss.direction(similarity, self.picked(similarity.detach(), negatives))

    def picked(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return the mask (B, B) of the negatives that count."""
        order = similarity
        if self.pick == "random":
            order = torch.rand(similarity.shape, generator=self.generator).to(similarity)
        order = order.masked_fill(~negatives, -torch.inf)
        places = order.topk(min(self.count, len(order) - 1), dim=1).indices  # (B, n)
        return torch.zeros_like(negatives).scatter(1, places, True) & negatives

    def barlow(self, loss: BarlowTwins, image_emb: Tensor, text_emb: Tensor) -> Tensor:
        """Return Barlow Twins' loss with the correlations off the diagonal from n + 1 pairs."""
        images, texts = standardise(image_emb), standardise(text_emb)  # (B, D) each
        diagonal = (images * texts).mean(dim=0)  # (D,)
        rows = torch.randperm(len(images), generator=self.generator)[: self.count + 1]
        correlation = product(images[rows].T, texts[rows]) / len(rows)  # (D, D)
        off_diagonal = correlation - torch.diag(correlation.diagonal())
        return (1 - diagonal).square().sum() + loss.current() * off_diagonal.square().sum()

    def pushes(self, image_emb: Tensor, text_emb: Tensor, negatives: Tensor) -> Tensor:
        """Return the gradient on each negative that counts, (2, B, B); those of Barlow Twins."""
        if isinstance(self.loss, BarlowTwins):
            return self.loss.pushes(image_emb, text_emb, negatives)
        return super().pushes(image_emb, text_emb, negatives)
