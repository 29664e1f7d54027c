"""The triplet losses: a positive should lead every negative by a margin.

    s_bk    cosine similarity of query b and answer k; s_bb is the positive's
    hinge   [margin - s_bb + s_bk]_+, by how much negative k is too close behind the positive

The sum of the hinges pushes every negative within the margin, all alike; the maximum pushes the
hardest one alone. (VSE++, arXiv 1707.05612, section 3.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.base import Ids, PairLoss, similarities
from mmret_lib.losses.negatives import find_negatives


class SumTriplet(PairLoss):
    """Sum of hinges: every negative within the margin adds its hinge to the loss.

        mean_b sum_{k != b} [margin - s_bb + s_bk]_+     + the same with texts as the queries

    A query whose pairs are all duplicates costs 0.

    Args:
        margin: in cosine, at least 1e-6.
        learnable: make the margin a parameter between 0.01 and 2. A smaller margin always costs
            less, so minimising this loss alone drives it to the lower bound: something else has
            to hold it up.
        mask_duplicates: pairs that share an id are not negatives.

    Raises:
        ValueError: a margin out of range.

    Example:
        >>> loss = SumTriplet(margin=0.2)
        >>> value = loss(image_emb, text_emb, image_ids=image_ids, caption_ids=captions)
    """

    def __init__(
        self, margin: float = 0.2, learnable: bool = False, mask_duplicates: bool = True
    ) -> None:
        super().__init__(mask_duplicates)
        self.set_number("margin", margin, learnable, smallest=1e-6, bounds=(0.01, 2.0))

    @property
    def margin(self) -> float:
        """The margin as it is now."""
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
            return tiles.sum_triplet(image_emb, text_emb, ids, self.current())
        similarity = similarities(image_emb, text_emb)  # (B, B): images in rows, texts in columns
        negatives = find_negatives(similarity, ids)  # (B, B)
        images_ask = self.direction(similarity, negatives)
        texts_ask = self.direction(similarity.T, negatives)
        return images_ask + texts_ask

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return what the queries in the rows of (B, B) cost on average, a scalar."""
        positive = similarity.diagonal()[:, None]  # (B, 1): s_bb
        hinges = (self.current() - positive + similarity).relu()  # (B, B): row b is query b's
        return hinges.masked_fill(~negatives, 0).sum(dim=1).mean()


class MaxTriplet(PairLoss):
    """Max of hinges: only the hardest negative adds its hinge to the loss.

        mean_b max_{k != b} [margin - s_bb + s_bk]_+     + the same with texts as the queries

    Negatives that tie for the hardest share the gradient equally. With all embeddings equal the
    loss is exactly 2 * margin. On the drawn world it collapses to that from the first step on: R@1
    stayed below 3 % at every learning rate, batch size and margin tried (data/results/collapse.csv,
    world.csv). With all negatives first, `all_negatives_steps`, it ranks. Heads on the features of
    frozen backbones learn with it from the start, but slowly (benchmarks/results/real.md).

    Args:
        margin: in cosine, at least 1e-6.
        all_negatives_steps: for so many first calls in training mode the loss is the SumTriplet of
            the same margin. Calls of forward are counted, not the optimiser's steps, in the buffer
            `training_calls`, which is saved with the state. Calls in evaluation mode are not
            counted and always take the max, so validation figures stay comparable.
        learnable: as in SumTriplet.
        mask_duplicates: pairs that share an id are not negatives.

    Raises:
        ValueError: a margin out of range, or steps that are not a whole number of at least 0.
    """

    training_calls: Tensor

    def __init__(
        self,
        margin: float = 0.2,
        all_negatives_steps: int = 0,
        learnable: bool = False,
        mask_duplicates: bool = True,
    ) -> None:
        super().__init__(mask_duplicates)
        self.set_number("margin", margin, learnable, smallest=1e-6, bounds=(0.01, 2.0))
        if not isinstance(all_negatives_steps, int) or all_negatives_steps < 0:
            raise ValueError(
                "all_negatives_steps must be a whole number of at least 0, "
                f"not {all_negatives_steps!r}"
            )
        self.all_negatives_steps = all_negatives_steps
        self.register_buffer("training_calls", torch.tensor(0))

    @property
    def margin(self) -> float:
        """The margin as it is now."""
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
            early = self.is_early(image_emb.device)
            loss = tiles.max_triplet(image_emb, text_emb, ids, self.current(), early)
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
        positive = similarity.diagonal()[:, None]  # (B, 1): s_bb
        hinges = (self.current() - positive + similarity).relu()  # (B, B): row b is query b's
        hinges = hinges.masked_fill(~negatives, 0)
        # amax, unlike max, shares its gradient among ties: no negative wins for coming first.
        hardest = hinges.amax(dim=1).mean()
        early = self.is_early(hinges.device)
        return hardest if early is None else torch.where(early, hinges.sum(dim=1).mean(), hardest)

    def after_call(self, batch: int) -> None:
        """Count a call in training mode."""
        if self.training:
            self.training_calls.add_(1)

    def is_early(self, device: torch.device) -> Tensor | None:
        """Return whether the sum still stands in for the max, a bool on `device`; None: never."""
        if not self.training or self.all_negatives_steps == 0:
            return None
        # Compared on the device: asking it for the count would be one more wait per step.
        return self.training_calls.to(device, non_blocking=True) < self.all_negatives_steps
