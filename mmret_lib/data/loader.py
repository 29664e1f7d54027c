"""Batches for contrastive training: images as uint8, word pieces, and who is whose.

One epoch shows every image once, each with one of its captions chosen at random (the slides'
epoch); with five captions per image it takes five such epochs to see as many captions as there
are. Images and word pieces lie decoded in memory; a batch is a gather.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.data.pairs import Pairs

Tokenize = Callable[[list[str]], dict[str, Tensor]]
PAD = 0  # masked out wherever it is read, so its value is free


@dataclass(frozen=True)
class Batch:
    """B pairs; row b of every field belongs to the same pair."""

    images: Tensor  # uint8 (B, 3, S, S)
    tokens: dict[str, Tensor]  # input_ids, attention_mask: int64 (B, L)
    image_ids: Tensor  # int64 (B,): index of the image in the pairs
    caption_ids: Tensor  # int64 (B,): equal where two captions have the same text

    def to(self, device: str | torch.device) -> "Batch":
        return Batch(
            self.images.to(device, non_blocking=True),
            {name: part.to(device, non_blocking=True) for name, part in self.tokens.items()},
            self.image_ids.to(device, non_blocking=True),
            self.caption_ids.to(device, non_blocking=True),
        )


class Loader:
    """Shuffled batches of (image, one random caption), the same for the same seed and epoch.

    Args:
        images: uint8 (N, 3, S, S), as `decode_images` gives them.
        pairs: the captions and their owners, aligned with ``images``.
        tokenize: turns texts into ``input_ids`` and ``attention_mask``; called once, here.
        batch_size: pairs in a batch. The last, smaller batch of an epoch is left out, because a
            contrastive loss depends on how many negatives it sees; which images fall into it
            changes with every epoch.
        captions: "random" takes one of the image's captions anew in each epoch, "first" always
            the same one.
        seed: decides order and captions.

    Raises:
        ValueError: fewer images than a batch, or images and pairs that do not match.
    """

    def __init__(
        self,
        images: Tensor | np.ndarray,
        pairs: Pairs,
        tokenize: Tokenize,
        batch_size: int,
        *,
        captions: str = "random",
        seed: int = 0,
    ):
        if len(images) != len(pairs):
            raise ValueError(f"{len(images)} decoded images for pairs of {len(pairs)} images")
        if not 2 <= batch_size <= len(pairs):
            raise ValueError(
                f"batch_size is {batch_size}; it must lie between 2 and the {len(pairs)} images"
            )
        if captions not in ("random", "first"):
            raise ValueError(f'captions is {captions!r}; choose "random" or "first"')
        self.images = torch.as_tensor(images)
        self.batch_size, self.captions, self.seed = batch_size, captions, seed
        self.ids, self.lengths = _all_tokens(pairs.captions, tokenize)
        self.first = np.searchsorted(pairs.owner, np.arange(len(pairs)))
        self.many = np.bincount(pairs.owner, minlength=len(pairs))
        self.caption_ids = np.unique(pairs.captions, return_inverse=True)[1]

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.images) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch ``number``, counted from 0."""
        rng = np.random.default_rng((self.seed, number))
        order = rng.permutation(len(self.images))
        chosen = self.first.copy()
        if self.captions == "random":
            chosen += (rng.random(len(chosen)) * self.many).astype(np.int64)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            rows = order[start : start + self.batch_size]
            captions = torch.from_numpy(chosen[rows])
            lengths = self.lengths[captions]
            ids = self.ids[captions, : int(lengths.max())].long()
            mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
            yield Batch(
                self.images[torch.from_numpy(rows)],
                {"input_ids": ids, "attention_mask": mask},
                torch.from_numpy(rows),
                torch.from_numpy(self.caption_ids[chosen[rows]]),
            )


def _all_tokens(captions: list[str], tokenize: Tokenize) -> tuple[Tensor, Tensor]:
    """Word pieces of every caption, int32 (captions, longest), and their lengths."""
    parts = []
    for start in range(0, len(captions), 4096):
        tokens = tokenize(captions[start : start + 4096])
        parts.append((tokens["input_ids"].int(), tokens["attention_mask"].sum(1)))
    longest = max(ids.shape[1] for ids, _ in parts)
    padded = [F.pad(ids, (0, longest - ids.shape[1]), value=PAD) for ids, _ in parts]
    return torch.cat(padded), torch.cat([lengths for _, lengths in parts])


def augment(images: Tensor, generator: torch.Generator, shift: float = 0.06) -> Tensor:
    """Mirror half of the images and move each by up to ``shift`` of its side (edges repeated).

    Args:
        images: uint8 (B, 3, S, S) on any device.
        generator: a CPU generator, so that the same seed moves the same images on every device.
        shift: the largest move, as a share of the side.

    Returns:
        uint8 (B, 3, S, S), one draw per image.
    """
    batch, _, height, width = images.shape
    furthest = int(shift * width)
    move = torch.randint(-furthest, furthest + 1, (2, batch, 1), generator=generator)
    mirror = torch.rand(batch, 1, generator=generator) < 0.5
    rows = (torch.arange(height) + move[0]).clamp(0, height - 1)  # (B, S)
    columns = (torch.arange(width) + move[1]).clamp(0, width - 1)  # (B, S)
    columns = torch.where(mirror, columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    which = torch.arange(batch, device=images.device)
    # Indexing with the channels in between moves them last: (B, S, S, 3).
    moved = images[which[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)
