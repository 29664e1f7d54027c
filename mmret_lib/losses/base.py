"""What every loss shares: which pairs are negatives, and how it is asked how hard it pushes them.

A batch is B pairs: row b of `image_emb` and row b of `text_emb` belong together, every other
combination is a negative. Unless two pairs show the same image or carry the same caption: to push
those apart would be to learn something false, so they are neither positives nor negatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Ids = Sequence[Any] | np.ndarray | Tensor

# Up to so many pairs all similarities are computed at once, which is as fast there as tiles are.
WHOLE = 256


class PairLoss(nn.Module):
    """What all four share: how they are called, and the one number that each may learn.

    A subclass says what one direction costs, `direction`, and right below it how hard that pushes
    each negative, `push`. A loss that does not go by similarities replaces `total` and `pushes`;
    one that can do without the whole matrix says how in `in_tiles`, the same value by another way.
    """

    number: str  # the name of the loss's one number
    smallest: float  # the least that it may be
    bounds: tuple[float, float]  # between which it stays while it is learned
    needs_negatives = False  # whether a batch without any has no value

    def __init__(self, value: Any, learnable: bool, mask_duplicates: bool) -> None:
        super().__init__()
        if not isinstance(value, Real) or not self.smallest <= float(value) < math.inf:
            raise ValueError(
                f"{self.number} must be a finite number of at least {self.smallest:g}, "
                f"not {value!r}"
            )
        self.fixed = float(value)
        self.learnable = learnable
        self.mask_duplicates = mask_duplicates
        self.register_parameter("unbounded", None)
        if learnable:
            low, high = self.bounds
            if not low < self.fixed < high:
                raise ValueError(
                    f"a learnable {self.number} must start between {low:g} and {high:g}, "
                    f"not at {value!r}"
                )
            share = math.log(self.fixed / low) / math.log(high / low)  # in (0, 1)
            self.unbounded = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    def current(self) -> float | Tensor:
        """The loss's number: a float, or while learned a scalar that carries its gradient."""
        if self.unbounded is None:
            return self.fixed
        # A clamped logarithm, as in CLIP, gets no gradient once it has left its bounds; this
        # never leaves them, and in between moves much like a logarithm.
        low, high = self.bounds
        return low * (high / low) ** self.unbounded.sigmoid()

    def read(self) -> float:
        """The loss's number as it is now."""
        with torch.no_grad():
            return float(self.current())

    def extra_repr(self) -> str:
        text = f"{self.number}={self.read():.4g}, learnable={self.learnable}"
        return f"{text}, mask_duplicates={self.mask_duplicates}"

    def forward(
        self,
        image_emb: Tensor,
        text_emb: Tensor,
        *,
        image_ids: Ids | None = None,
        caption_ids: Ids | None = None,
    ) -> Tensor:
        """The batch's loss, a scalar; shapes, units and errors as `losses` says of all."""
        batch = checked_batch(
            image_emb, text_emb, image_ids, caption_ids, self.mask_duplicates, self.needs_negatives
        )
        with torch.autocast(image_emb.device.type, enabled=False):
            return self.total(*batch)

    def total(self, image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor]) -> Tensor:
        """The loss of a batch as `checked_batch` returns it: a scalar."""
        way = self.whole if len(image_emb) <= WHOLE else self.in_tiles
        return way(unit_length(image_emb), unit_length(text_emb), ids)

    def whole(self, image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor]) -> Tensor:
        """Both directions from the whole matrix of similarities; rows of length 1 (B, D)."""
        similarity = image_emb @ text_emb.T  # (images, texts)
        negatives = find_negatives(similarity, ids)
        return self.direction(similarity, negatives) + self.direction(similarity.T, negatives)

    def in_tiles(self, image_emb: Tensor, text_emb: Tensor, ids: Sequence[Tensor]) -> Tensor:
        """What `whole` returns, in memory that grows with B alone."""
        return self.whole(image_emb, text_emb, ids)

    def pushes(self, image_emb: Tensor, text_emb: Tensor, negatives: Tensor) -> Tensor:
        """(2, B, B): how hard each query pushes each negative, in proportion within a row."""
        similarity = similarities(image_emb, text_emb)  # (images, texts)
        both = [self.push(similarity, negatives), self.push(similarity.T, negatives)]
        return torch.stack(both).to(similarity.dtype)

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """What the queries, one per row of `similarity` (B, B), cost on average: a scalar."""
        raise NotImplementedError

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """(B, B), in proportion to the derivative of `direction` by the negatives' s_bk."""
        raise NotImplementedError


@torch.no_grad()
def negative_weights(
    loss: PairLoss,
    image_emb: Tensor,
    text_emb: Tensor,
    *,
    image_ids: Ids | None = None,
    caption_ids: Ids | None = None,
) -> Tensor:
    """How hard `loss` pushes each negative of a batch: (2, B, B), detached.

    [0, b, k]: image b asks, the share of its push that text k gets. [1, b, k]: text b asks, image
    k's share. (BarlowTwins: [0] images pushed from images, [1] texts from texts; its `pushes` says
    why.) A row sums to 1 where any negative is pushed and is all zero where none is; the diagonal
    and what the loss masks are zero. A MaxTriplet answers for its next call, and does not count
    this one. Raises what calling the loss raises, save that a batch without negatives gives zeros,
    and TypeError for a loss that is no PairLoss.
    """
    if not isinstance(loss, PairLoss):
        raise TypeError(
            "negative_weights needs a loss of mmret_lib.losses (or another PairLoss), "
            f"not {type(loss).__name__}"
        )
    image_emb, text_emb, ids = checked_batch(
        image_emb, text_emb, image_ids, caption_ids, loss.mask_duplicates
    )
    with torch.autocast(image_emb.device.type, enabled=False):
        push = loss.pushes(image_emb, text_emb, find_negatives(image_emb, ids))  # (2, B, B)
    total = push.sum(dim=2, keepdim=True)  # (2, B, 1)
    return push / total.where(total > 0, 1)


def unit_length(emb: Tensor) -> Tensor:
    """Rows (B, D) scaled to length 1; a row of zeros stays zeros and its gradient moderate.

    Dividing by the largest entry first keeps the squares of huge and tiny rows in range. It also
    leaves rows with length 1 at least, so that `eps` can be large: with the usual 1e-12 a row of
    zeros would receive a gradient 1e12 times too long.
    """
    largest = emb.abs().amax(dim=1, keepdim=True)  # (B, 1)
    return F.normalize(emb / largest.where(largest > 1e-12, 1.0), dim=1, eps=0.5)


def similarities(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """Cosines (B, B): row b is image b against every text, the diagonal holds the positives."""
    return unit_length(image_emb) @ unit_length(text_emb).T


def checked_batch(
    image_emb: Tensor,
    text_emb: Tensor,
    image_ids: Ids | None = None,
    caption_ids: Ids | None = None,
    mask_duplicates: bool = True,
    needs_negatives: bool = False,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Both branches (B, D), checked and at least float32, and the ids that count, (B,) each.

    Raises what `check_shapes` and `checked_ids` raise, and ValueError for embeddings that are
    not finite and, with `needs_negatives`, for a batch in which no pair has any.
    """
    check_shapes(image_emb, text_emb)
    given = (("image_ids", image_ids), ("caption_ids", caption_ids))
    ids = [
        checked_ids(name, one, len(image_emb), image_emb.device)
        for name, one in given
        if one is not None
    ]
    if not mask_duplicates:
        ids = []
    # One question, because each answer makes the processor wait for the device.
    sound = torch.isfinite(image_emb).all() & torch.isfinite(text_emb).all()
    if needs_negatives:
        # Only one id that all pairs share rules out all: where image ids and caption ids both
        # differ somewhere, some two pairs differ in both.
        for one in ids:
            sound = sound & (one != one[0]).any()
    if not sound:
        check_finite("image_emb", image_emb)
        check_finite("text_emb", text_emb)
        raise ValueError(
            f"none of the {len(image_emb)} pairs has a negative: all are duplicates by image_ids "
            "or caption_ids, and without the positive in the denominator nothing is left to sum"
        )
    dtype = torch.promote_types(image_emb.dtype, text_emb.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    return image_emb.to(dtype), text_emb.to(dtype), ids


def check_shapes(image_emb: Tensor, text_emb: Tensor) -> None:
    """Refuse what can be told wrong without reading a value, so without waiting for the device.

    Raises TypeError for what is not a tensor; ValueError for shapes other than twice the same
    (B, D) with B >= 2 and D >= 1, for numbers that are not floating point, for two devices.
    """
    for name, emb in (("image_emb", image_emb), ("text_emb", text_emb)):
        if not isinstance(emb, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, not {type(emb).__name__}")
        if emb.ndim != 2 or emb.shape[1] == 0:
            raise ValueError(
                f"{name} must have shape (B, D), one row per pair, not {tuple(emb.shape)}"
            )
        if not emb.is_floating_point():
            raise ValueError(f"{name} must hold floating-point numbers, not {emb.dtype}")
    if image_emb.shape != text_emb.shape:
        raise ValueError(
            f"image_emb has shape {tuple(image_emb.shape)} and text_emb {tuple(text_emb.shape)}: "
            "both must be (B, D), row b of one belonging to row b of the other"
        )
    if image_emb.shape[0] < 2:
        raise ValueError(
            f"a batch of B = {image_emb.shape[0]} has no negatives: at least 2 pairs are needed "
            "(the last, short batch of an epoch is best dropped)"
        )
    if image_emb.device != text_emb.device:
        raise ValueError(f"image_emb is on {image_emb.device}, text_emb on {text_emb.device}")


def check_finite(name: str, emb: Tensor) -> None:
    """Raise ValueError naming the first row of `emb` (B, D) that holds NaN or an infinity."""
    bad = ~torch.isfinite(emb)  # (B, D)
    rows = bad.any(dim=1).nonzero().flatten().tolist()
    if rows:
        value = emb[rows[0]][bad[rows[0]]][0].item()
        raise ValueError(
            f"{name} is not finite: row {rows[0]} holds {value} ({len(rows)} of {len(emb)} rows "
            "are not finite). The learning rate may be too high, or the input itself bad"
        )


def find_negatives(rows: Tensor, ids: Sequence[Tensor]) -> Tensor:
    """The mask (B, B), symmetric: True at [b, k] where pair k is a negative of pair b.

    rows: anything with one row per pair. ids: (B,) each; pairs that agree in one are duplicates.
    """
    negatives = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)  # (B, B)
    for one in ids:
        negatives = negatives & (one[:, None] != one[None, :])
    return negatives


def checked_ids(name: str, ids: Ids, batch_size: int, device: torch.device) -> Tensor:
    """(B,) on `device`: numbers that are equal where the ids are.

    Ids are compared as they are, by equality: numbers, strings (a caption is its own id), or a
    tensor of shape (B,). Raises ValueError where there is not exactly one id per pair.
    """
    if isinstance(ids, str):
        raise ValueError(f"{name} must hold one id per pair, not be one string: {ids!r}")
    shape = tuple(ids.shape) if isinstance(ids, Tensor | np.ndarray) else (len(ids),)
    if shape != (batch_size,):
        raise ValueError(
            f"{name} must hold one id for each of the {batch_size} pairs: shape ({batch_size},), "
            f"not {shape}"
        )
    if not isinstance(ids, Tensor):
        # Tensors hash by identity, so a list of 0-d tensors would never show a duplicate.
        keys = [one.item() if isinstance(one, Tensor) else one for one in ids]
        number_of: dict[Any, int] = {}
        ids = torch.tensor([number_of.setdefault(key, len(number_of)) for key in keys])  # (B,)
    return ids.to(device, non_blocking=True)  # a blocking copy would wait for the whole queue
