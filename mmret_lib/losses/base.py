"""The base class of all losses: how they are called, the checks of a batch, a number to learn.

A new loss is one file and one entry in `LOSSES` (in `__init__.py`). The file holds a class with a
`forward`, and a `direction` for the losses that go by similarities:

    class SquaredHinges(PairLoss):
        def __init__(self, margin: float = 0.2, mask_duplicates: bool = True) -> None:
            super().__init__(mask_duplicates)
            self.margin = checked_number("margin", margin, smallest=1e-6)

        def forward(self, image_emb, text_emb, *, image_ids=None, caption_ids=None):
            image_emb, text_emb, ids = self.checked(image_emb, text_emb, image_ids, caption_ids)
            similarity = similarities(image_emb, text_emb)  # (B, B)
            negatives = find_negatives(similarity, ids)  # (B, B)
            return self.direction(similarity, negatives) + self.direction(similarity.T, negatives)

        def direction(self, similarity, negatives):
            hinges = (self.margin - similarity.diagonal()[:, None] + similarity).relu()
            return (hinges.square() * negatives).sum(dim=1).mean()

`negative_weights` then works by itself: it differentiates `direction`. A loss whose derivatives
have a closed form, or can underflow, replaces `push`; one that does not go by similarities replaces
`pushes`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Ids = Sequence[Any] | np.ndarray | Tensor


class PairLoss(nn.Module):
    """Base of the losses on pairs of images and texts.

    Args:
        mask_duplicates: pairs that share an image id or a caption id are not negatives.
    """

    number: str  # the name of the number that the loss may learn
    bounds: tuple[float, float]  # between which it stays while it is learned
    needs_negatives = False  # whether a batch in which no pair has a negative is an error
    takes_guide = False  # whether `forward` and `pushes` take a `guide`
    unbounded: nn.Parameter | None

    def __init__(self, mask_duplicates: bool = True) -> None:
        super().__init__()
        self.mask_duplicates = mask_duplicates

    def forward(
        self,
        image_emb: Tensor,
        text_emb: Tensor,
        *,
        image_ids: Ids | None = None,
        caption_ids: Ids | None = None,
    ) -> Tensor:
        """Return the loss of a batch of B pairs.

        Args:
            image_emb: (B, D), as the encoder gives them (not normalised).
            text_emb: (B, D); row b of it and row b of `image_emb` are a positive pair.
            image_ids: B ids; pairs that show the same image are not negatives of each other.
            caption_ids: B ids; the same for pairs with the same caption.

        Returns:
            A scalar: both directions (images ask for texts, texts for images) added, the mean over
            the B pairs. Half-precision input is computed in float32, float64 stays float64.

        Raises:
            ValueError: B < 2, shapes that differ or are not (B, D), numbers that are not floating
                point or not finite, a wrong number of ids.
            TypeError: an embedding that is not a tensor.
        """
        raise NotImplementedError

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return the loss in one direction: the mean over the queries, which are the rows.

        Args:
            similarity: (B, B), s_bk of query b and answer k; the diagonal holds the positives.
            negatives: (B, B), True where answer k is a negative of query b.
        """
        raise NotImplementedError

    def pushes(self, image_emb: Tensor, text_emb: Tensor, negatives: Tensor) -> Tensor:
        """Return the gradient on each negative, where it pushes away: (2, B, B), not below 0.

        [0] has images as queries, [1] texts. Only the proportions within a row matter.
        """
        similarity = similarities(image_emb, text_emb).detach()  # (B, B): images in rows
        images_ask = self.push(similarity, negatives)
        texts_ask = self.push(similarity.T, negatives.T)
        return torch.stack([images_ask, texts_ask])

    def push(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        """Return the gradient of `direction` on each negative, where it is above 0: (B, B).

        Args:
            similarity: (B, B), without gradient; queries in the rows.
            negatives: (B, B), True where answer k is a negative of query b.
        """
        # The caller may have switched gradients off.
        with torch.inference_mode(False), torch.enable_grad():
            rows, mask = similarity.clone().requires_grad_(), negatives.clone()
            (gradient,) = torch.autograd.grad(self.direction(rows, mask), rows)  # (B, B)
            return gradient.relu().masked_fill(~mask, 0)

    def after_call(self, batch: int) -> None:
        """Keep what a loss keeps of a call with B pairs in training mode: by default nothing."""

    def checked(
        self,
        image_emb: Tensor,
        text_emb: Tensor,
        image_ids: Ids | None,
        caption_ids: Ids | None,
        needs_negatives: bool | None = None,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Check a batch as `forward` is given it.

        Args:
            image_emb, text_emb, image_ids, caption_ids: as in `forward`.
            needs_negatives: in place of the loss's own `needs_negatives`.

        Returns:
            Both embeddings (B, D) in float32 or float64, and the ids to mask by, (B,) each.

        Raises:
            ValueError, TypeError: what `forward` raises; also ValueError where no pair has a
                negative and the loss needs one.
        """
        check_shapes(image_emb, text_emb)
        given = (("image_ids", image_ids), ("caption_ids", caption_ids))
        ids = [
            numbered(name, values, len(image_emb), image_emb.device)
            for name, values in given
            if values is not None
        ]
        if not self.mask_duplicates:
            ids = []
        # One check for all, because the processor waits for the device at every check.
        sound = torch.isfinite(image_emb).all() & torch.isfinite(text_emb).all()
        if self.needs_negatives if needs_negatives is None else needs_negatives:
            # Only one id that all pairs share rules out all negatives: where image ids and caption
            # ids both differ somewhere, some two pairs differ in both.
            for numbers in ids:
                sound = sound & (numbers != numbers[0]).any()
        if not sound:
            check_finite("image_emb", image_emb)
            check_finite("text_emb", text_emb)
            raise ValueError(
                f"none of the {len(image_emb)} pairs has a negative: all are duplicates by "
                "image_ids or caption_ids, and without the positive in the denominator nothing is "
                "left to sum"
            )
        dtype = torch.promote_types(image_emb.dtype, text_emb.dtype)
        dtype = torch.promote_types(dtype, torch.float32)
        return image_emb.to(dtype), text_emb.to(dtype), ids

    # The number that a loss may learn: a margin, a temperature, a lambda --------------------------

    def set_number(
        self,
        name: str,
        value: Any,
        learnable: bool,
        *,
        smallest: float,
        bounds: tuple[float, float],
    ) -> None:
        """Set the number (margin, temperature or lambda), fixed or as the parameter `unbounded`.

        Raises:
            ValueError: not a finite number of at least `smallest`; to be learned, but not strictly
                between `bounds`.
        """
        self.number, self.bounds, self.learnable = name, bounds, learnable
        self.fixed = checked_number(name, value, smallest)
        self.register_parameter("unbounded", None)
        if learnable:
            low, high = bounds
            if not low < self.fixed < high:
                raise ValueError(
                    f"a learnable {name} must start between {low:g} and {high:g}, not at {value!r}"
                )
            share = math.log(self.fixed / low) / math.log(high / low)  # in (0, 1)
            self.unbounded = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    def current(self) -> float | Tensor:
        """Return the loss's number: a float, or a scalar tensor with gradient if learned."""
        if self.unbounded is None:
            return self.fixed
        # A clamped logarithm, as in CLIP, gets no gradient once it has left its bounds; this
        # never leaves them, and in between moves much like a logarithm.
        low, high = self.bounds
        return low * (high / low) ** self.unbounded.sigmoid()

    def read(self) -> float:
        """Return the loss's number as it is now, as a float."""
        with torch.no_grad():
            return float(self.current())

    def extra_repr(self) -> str:
        """Return the arguments of the constructor, with the numbers as they are now."""
        values = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        return ", ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in values.items()
        )


def checked_number(name: str, value: Any, smallest: float = -math.inf) -> float:
    """Return a setting as a float.

    Raises:
        ValueError: it is not a finite number of at least `smallest`.
    """
    if not isinstance(value, Real) or not math.isfinite(value) or value < smallest:
        least = f" of at least {smallest:g}" if math.isfinite(smallest) else ""
        raise ValueError(f"{name} must be a finite number{least}, not {value!r}")
    return float(value)


def unit_length(emb: Tensor) -> Tensor:
    """Scale the rows of (B, D) to length 1; a row of zeros stays zeros, its gradient moderate."""
    # Dividing by the largest entry first keeps the squares of huge and tiny rows in range. It also
    # leaves rows with length 1 at least, so that `eps` can be large: with the usual 1e-12 a row of
    # zeros would receive a gradient 1e12 times too long.
    largest = emb.abs().amax(dim=1, keepdim=True)  # (B, 1)
    return F.normalize(emb / largest.where(largest > 1e-12, 1.0), dim=1, eps=0.5)


def similarities(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """Return all cosines (B, B): images in rows, texts in columns, positives on the diagonal."""
    return product(unit_length(image_emb), unit_length(text_emb).T)


def product(left: Tensor, right: Tensor) -> Tensor:
    """Return the matrix product in the precision of its factors, also inside of autocast."""
    with torch.autocast(left.device.type, enabled=False):
        return left @ right


def check_shapes(image_emb: Tensor, text_emb: Tensor) -> None:
    """Check types and shapes: all that needs no value, so no waiting for the device.

    Raises:
        TypeError: an embedding that is not a tensor.
        ValueError: shapes other than twice the same (B, D) with B >= 2 and D >= 1, numbers that
            are not floating point, two devices.
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


def numbered(name: str, ids: Ids, batch_size: int, device: torch.device) -> Tensor:
    """Turn ids into numbers (B,) on `device` that are equal where the ids are.

    Ids may be numbers, strings (a caption is its own id) or a tensor of shape (B,).

    Raises:
        ValueError: not exactly one id per pair.
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
        keys = [key.item() if isinstance(key, Tensor) else key for key in ids]
        number_of: dict[Any, int] = {}
        ids = torch.tensor([number_of.setdefault(key, len(number_of)) for key in keys])  # (B,)
    return ids.to(device, non_blocking=True)  # a blocking copy would wait for the whole queue
