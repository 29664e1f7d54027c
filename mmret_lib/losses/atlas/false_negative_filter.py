"""False-negative filter: another model says which negatives look true, and these are dropped."""

from __future__ import annotations

import torch
from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.atlas import in_tiles
from mmret_lib.losses.base import Ids, PairLoss, checked_number, similarities
from mmret_lib.losses.negatives import find_negatives
from mmret_lib.losses.simclr import SimCLR


class FalseNegativeFilter(PairLoss):
    """A loss without the negatives that a guide holds to be right answers.

        loss, where negative k of query b counts only if  guide_bk < guide_bb - margin

    The guide scores how well each text fits each image. For texts as queries it is transposed. This
    is GISTEmbed's filter (Solatorio, arXiv 2402.16829) with the loss left open. There the guide is
    a trained model; a matrix of the truth (1 where text t describes image i, else 0) is a perfect
    guide, and equality drops, so that such a matrix works.

    Without a guide the batch's own similarities guide: only negatives below their positive are
    left, a kind of semi-hard mining. Then a model whose embeddings are all equal learns nothing,
    because every negative ties with its positive and is dropped.

    The push is shared out as in the inner loss, among the negatives that are left. A query with
    none left costs 0 or is left out of the mean, as in the inner loss.

    Large batches go in tiles around SimCLR; around every other loss the filter computes all
    similarities at once and keeps several (B, B) matrices. A (B, B) guide it has in either case.

    Args:
        loss: one that goes by similarities: all but BarlowTwins.
        margin: at least 0, in the guide's unit: a negative is dropped already where it comes so
            near to the positive.
        mask_duplicates: pairs that share an id are not negatives. The inner loss is not asked.

    Raises:
        TypeError: a loss that is no `PairLoss`.
        ValueError: a loss that does not go by similarities, or a margin out of range.

    Example:
        >>> loss = FalseNegativeFilter(SimCLR())
        >>> value = loss(image_emb, text_emb, guide=teacher_images @ teacher_texts.T)
    """

    takes_guide = True

    def __init__(self, loss: PairLoss, margin: float = 0.0, mask_duplicates: bool = True) -> None:
        super().__init__(mask_duplicates)
        if not isinstance(loss, PairLoss):
            raise TypeError(f"loss must be a PairLoss, not {type(loss).__name__}")
        if type(loss).direction is PairLoss.direction:
            raise ValueError(
                f"{type(loss).__name__} does not go by the similarities of queries and negatives "
                "(it has no `direction`), so that there are no negatives to drop"
            )
        self.loss = loss
        self.margin = checked_number("margin", margin, smallest=0.0)
        self.needs_negatives = loss.needs_negatives

    def forward(
        self,
        image_emb: Tensor,
        text_emb: Tensor,
        *,
        image_ids: Ids | None = None,
        caption_ids: Ids | None = None,
        guide: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch, a scalar; see `PairLoss.forward`.

        Args:
            image_emb, text_emb, image_ids, caption_ids: as there.
            guide: (B, B), at [i, t] how well text t fits image i, in any unit; None takes the
                similarities of the batch.

        Raises:
            TypeError, ValueError: what `PairLoss.forward` raises, or a guide that is no tensor of
                real numbers, has another shape, or holds NaN.
        """
        image_emb, text_emb, ids = self.checked(image_emb, text_emb, image_ids, caption_ids)
        if len(image_emb) > tiles.WHOLE and type(self.loss) is SimCLR:
            with torch.no_grad():
                guide = self.checked_guide(guide, similarities(image_emb, text_emb))  # (B, B)
            number, kept = self.loss.current(), self.loss.positive_in_denominator
            batch = image_emb, text_emb, ids
            return in_tiles.filtered_simclr(*batch, number, kept, guide, self.margin)
        similarity = similarities(image_emb, text_emb)  # (B, B): images in rows, texts in columns
        guide = self.checked_guide(guide, similarity)  # (B, B)
        negatives = find_negatives(similarity, ids)  # (B, B)
        images_ask = self.loss.direction(similarity, self.kept(guide, negatives))
        texts_ask = self.loss.direction(similarity.T, self.kept(guide.T, negatives))
        self.after_call(len(image_emb))
        return images_ask + texts_ask

    def pushes(
        self, image_emb: Tensor, text_emb: Tensor, negatives: Tensor, guide: Tensor | None = None
    ) -> Tensor:
        """Return the inner loss's push on the negatives that are left, (2, B, B)."""
        similarity = similarities(image_emb, text_emb).detach()  # (B, B): images in rows
        guide = self.checked_guide(guide, similarity)  # (B, B)
        images_ask = self.loss.push(similarity, self.kept(guide, negatives))
        texts_ask = self.loss.push(similarity.T, self.kept(guide.T, negatives.T))
        return torch.stack([images_ask, texts_ask])

    def kept(self, guide: Tensor, negatives: Tensor) -> Tensor:
        """Return the mask (B, B) of the negatives that are left to the queries in the rows."""
        return negatives & (guide < guide.diagonal()[:, None] - self.margin)

    def checked_guide(self, guide: Tensor | None, similarity: Tensor) -> Tensor:
        """Return the guide as floats (B, B) on the device of the similarities.

        Raises:
            TypeError, ValueError: as `forward` says.
        """
        if guide is None:
            return similarity.detach()
        if not isinstance(guide, Tensor) or guide.is_complex():
            kind = guide.dtype if isinstance(guide, Tensor) else type(guide).__name__
            raise TypeError(f"guide must be a torch.Tensor of real numbers, not {kind}")
        if guide.shape != similarity.shape:
            raise ValueError(
                f"guide must have shape {tuple(similarity.shape)}, one row per image and one "
                f"column per text of the batch, not {tuple(guide.shape)}"
            )
        if guide.isnan().any():
            row, column = guide.isnan().nonzero()[0].tolist()
            raise ValueError(f"guide holds NaN, first for image {row} and text {column}")
        dtype = torch.promote_types(guide.dtype, similarity.dtype)
        return guide.detach().to(similarity.device, dtype)

    def after_call(self, batch: int) -> None:
        """Let the inner loss keep what it keeps of a call."""
        self.loss.after_call(batch)

    def extra_repr(self) -> str:
        """Return the arguments of the constructor beside the loss, which is printed as a part."""
        return f"margin={self.margin:.4g}, mask_duplicates={self.mask_duplicates}"
