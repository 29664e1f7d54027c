"""Top-k triplet: the k largest hinges, from Max Triplet at k = 1 to Sum Triplet at k = B - 1."""

from __future__ import annotations

from torch import Tensor

from mmret_lib.losses import tiles
from mmret_lib.losses.atlas import in_tiles
from mmret_lib.losses.base import Ids, PairLoss, checked_number, similarities
from mmret_lib.losses.negatives import find_negatives


class TopKTriplet(PairLoss):
    """Sum of the k largest hinges: the k hardest negatives push, all alike.

        mean_b sum of the k largest [margin - s_bb + s_bk]_+     + the same with texts as queries

    This is the average top-k loss (Fan et al., arXiv 1705.08826, section 2) over a query's hinges,
    without its 1 / k. It is MaxTriplet with k = 1 and SumTriplet with k at least B - 1.

    An open hinge among the k largest has the share 1 / k, or more if fewer are open. Where several
    tie for the last of the k places they share these places equally, so that no negative wins for
    coming first: with k = 1 as in MaxTriplet.

    Args:
        k: how many hinges count, at least 1. Large batches are computed in tiles up to k = 256 and
            from B - 1 on; in between all similarities at once.
        margin: in cosine, at least 1e-6.
        mask_duplicates: pairs that share an id are not negatives. A query with none left costs 0.

    Raises:
        ValueError: a margin out of range, or a k that is not a whole number of at least 1.
    """

    def __init__(self, k: int = 8, margin: float = 0.2, mask_duplicates: bool = True) -> None:
        super().__init__(mask_duplicates)
        if not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, not {k!r}")
        self.k = k
        self.margin = checked_number("margin", margin, smallest=1e-6)

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
        if len(image_emb) > tiles.WHOLE and self.k >= len(image_emb) - 1:
            return tiles.sum_triplet(image_emb, text_emb, ids, self.margin)
        if len(image_emb) > tiles.WHOLE and self.k <= in_tiles.LARGEST_K:
            return in_tiles.top_k_triplet(image_emb, text_emb, ids, self.k, self.margin)
        similarity = similarities(image_emb, text_emb)  # (B, B): images in rows, texts in columns
        negatives = find_negatives(similarity, ids)  # (B, B)
        images_ask = self.direction(similarity, negatives)
        texts_ask = self.direction(similarity.T, negatives)
        return images_ask + texts_ask

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return what the queries in the rows of (B, B) cost on average, a scalar."""
        hinges = self.hinges(similarity, negatives)  # (B, B)
        return (self.places(hinges) * hinges).sum(dim=1).mean()

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return the places of the open hinges: 1 among the k largest, a part in a tie, else 0."""
        hinges = self.hinges(similarity, negatives)  # (B, B)
        return self.places(hinges) * (hinges > 0)

    def hinges(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return [margin - s_bb + s_bk]_+ where k is a negative of b, else 0: (B, B)."""
        positive = similarity.diagonal()[:, None]  # (B, 1): s_bb
        return (self.margin - positive + similarity).relu().masked_fill(~negatives, 0)

    def places(self, hinges: Tensor) -> Tensor:
        """Return by how much each hinge counts, (B, B), without gradient: k in each row."""
        hinges = hinges.detach()
        k = min(self.k, hinges.shape[1])
        last = hinges.topk(k, dim=1).values[:, -1:]  # (B, 1): the smallest of the k largest
        above, tied = hinges > last, hinges == last
        left = k - above.sum(dim=1, keepdim=True, dtype=hinges.dtype)  # (B, 1): for those that tie
        return above + tied * (left / tied.sum(dim=1, keepdim=True))
