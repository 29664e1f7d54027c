"""Batches for contrastive training: images as uint8, word pieces, and who is whose.

One epoch shows every image once, each with one of its captions chosen at random (the slides'
epoch); with five captions per image it takes five such epochs to see as many captions as there
are. Images and word pieces lie packed in a `Store`; a batch is a gather, made by a thread while the
step before it trains. What a batch holds follows from the seed, the epoch and its number alone, so
training can go on at any step as if it had never stopped.
"""

import math
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmret_lib.data.store import Store

PREFETCH = 1  # batches that wait, ready, while one trains and another is being made
SPARE = PREFETCH + 2  # batches whose memory is kept for later ones
PIECE = 64  # images that are augmented at a time


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
    """Shuffled batches of images with captions, the same for the same seed and epoch.

    Args:
        store: the packed images and their captions.
        words: int32 (M, longest), `store.words(encoder)`.
        batch_size: pairs in a batch of one process. The last, smaller batch of an epoch is left
            out, because a contrastive loss depends on how many negatives it sees; which pairs fall
            into it changes with every epoch.
        captions: "random" takes one of the image's captions anew in each epoch, "first" always the
            same one; "all" shows every caption once an epoch, each with its image.
        seed: decides order and captions.
        rank, world_size: this process and how many there are. Together their batches of one step
            are the batch that one process would have with `world_size` times the size.
        pin_memory: make batches in page-locked memory, from which a GPU fetches them by itself.

    Raises:
        ValueError: fewer pairs than a batch, words of other captions, or a rank that cannot be.
    """

    def __init__(
        self,
        store: Store,
        words: npt.NDArray[np.int32],
        batch_size: int,
        *,
        captions: Literal["random", "first", "all"] = "random",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ):
        if len(words) != len(store.owner):
            raise ValueError(f"words of {len(words)} captions for {len(store.owner)} captions")
        if captions not in ("random", "first", "all"):
            raise ValueError(f'captions is {captions!r}; choose "random", "first" or "all"')
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank} of {world_size} processes; ranks count from 0")
        shown = len(store.owner) if captions == "all" else len(store)
        if not 2 <= batch_size <= shown // world_size:
            among = f" among {world_size} processes" if world_size > 1 else ""
            what = "captions" if captions == "all" else "images"
            raise ValueError(
                f"batch_size is {batch_size}; it must lie between 2 and the {shown} {what}{among}"
            )
        self.store, self.words = store, words
        self.batch_size, self.captions, self.seed = batch_size, captions, seed
        self.rank, self.world_size, self.pin_memory = rank, world_size, pin_memory
        self.shown = shown
        self.free: list[npt.NDArray[np.uint8]] = []  # memory of batches that are no longer held
        self.first = np.searchsorted(store.owner, np.arange(len(store)))
        self.many = np.bincount(store.owner, minlength=len(store))

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.shown // (self.batch_size * self.world_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``number`` from batch ``start`` on, both counted from 0."""
        captions = self._captions(number)
        waiting: deque = deque()
        with ThreadPoolExecutor(max_workers=1) as thread:
            for step in range(start, len(self)):
                first = (step * self.world_size + self.rank) * self.batch_size
                mine = captions[first : first + self.batch_size]
                waiting.append(thread.submit(self._batch, mine))
                if len(waiting) > PREFETCH:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _captions(self, epoch: int) -> npt.NDArray[np.int64]:
        """Which captions the epoch shows, in its order: (shown,)."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(self.shown)
        if self.captions == "all":
            return order
        chosen = self.first.copy()
        if self.captions == "random":
            chosen += (rng.random(len(chosen)) * self.many).astype(np.int64)
        return chosen[order]

    def _batch(self, captions: npt.NDArray[np.int64]) -> Batch:
        rows = self.store.owner[captions]  # (B,)
        images = self._room()  # (B, 3, S, S)
        self.store.take(rows, out=images.numpy())
        words = self.words[captions]  # (B, longest)
        words = words[:, : int((words >= 0).sum(axis=1).max())]  # (B, L)
        tokens = {
            # What stands where the mask is 0 is never read; 0 is an id in every vocabulary.
            "input_ids": torch.from_numpy(np.maximum(words, 0).astype(np.int64)),
            "attention_mask": torch.from_numpy((words >= 0).astype(np.int64)),
        }
        ids = torch.from_numpy(self.store.caption_ids[captions])
        return Batch(images, tokens, torch.from_numpy(rows), ids)

    def _room(self) -> Tensor:
        """Memory for the images of a batch: that of an earlier one, once nobody holds it any more.

        Asking the system for new pages, and having them cleared, takes several times as long as
        filling them.
        """
        shape = (self.batch_size, *self.store.pixels.shape[1:])
        if self.pin_memory:  # torch recycles this kind itself, after the GPU has fetched it
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        array = self.free.pop() if self.free else np.empty(shape, np.uint8)
        view = array[:]
        # The tensor holds on to the view, and so does every tensor or array made from it.
        weakref.finalize(view, _give_back, self.free, array).atexit = False
        return torch.from_numpy(view)


def _give_back(free: list, array: np.ndarray) -> None:
    if len(free) < SPARE:
        free.append(array)


# ---------------------------------------------------------------------------- augmentation


def shift_and_flip(
    images: Tensor,
    generator: torch.Generator,
    rank: int = 0,
    world_size: int = 1,
    *,
    out: Tensor | None = None,
    shift: float = 0.06,
) -> Tensor:
    """Mirror half of the images and move each by up to ``shift`` of its side (edges repeated).

    Args:
        images: uint8 (B, 3, S, S) on any device.
        generator: a CPU generator, so that the same seed moves the same images on every device.
        rank, world_size: which part of the batch these are, of how many like it. All draw for the
            whole batch, so that it does not matter among how many processes it is divided.
        out: where to put them; ``images`` itself saves the memory of a second batch.
        shift: the largest move, as a share of the side.

    Returns:
        uint8 (B, 3, S, S), one draw per image.
    """
    batch, _, height, width = images.shape
    furthest = int(shift * width)
    whole, mine = batch * world_size, slice(batch * rank, batch * (rank + 1))
    move = torch.randint(-furthest, furthest + 1, (2, whole, 1), generator=generator)[:, mine]
    mirror = torch.rand(whole, 1, generator=generator)[mine] < 0.5
    rows = (torch.arange(height) + move[0]).clamp(0, height - 1)  # (B, S)
    columns = (torch.arange(width) + move[1]).clamp(0, width - 1)  # (B, S)
    columns = torch.where(mirror, columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    out = torch.empty_like(images) if out is None else out
    which = torch.arange(batch, device=images.device)
    for span in _pieces(batch):
        # Indexing with the channels in between moves them last: (piece, S, S, 3).
        moved = images[which[span, None, None], :, rows[span, :, None], columns[span, None, :]]
        out[span] = moved.permute(0, 3, 1, 2)
    return out


def crop_and_flip(
    images: Tensor,
    generator: torch.Generator,
    rank: int = 0,
    world_size: int = 1,
    *,
    out: Tensor | None = None,
    smallest: float = 0.5,
    widest: float = 4 / 3,
) -> Tensor:
    """A random part of each image, scaled up to the whole, and half of them mirrored.

    (The random resized crop of Szegedy et al. 2015, arXiv 1409.4842, section 6.)

    Args:
        images: uint8 (B, 3, S, S) on any device.
        generator: a CPU generator, so that the same seed cuts the same parts on every device.
        rank, world_size, out: as `shift_and_flip` takes them.
        smallest: least share of the area that is kept. Low values cut away what captions name.
        widest: the part's width over its height lies between 1 / widest and widest.

    Returns:
        uint8 (B, 3, S, S), one draw per image.
    """
    from torchvision.transforms.v2 import functional as transforms  # 100 MB, for those who crop

    side = images.shape[-1]
    batch = len(images)
    drawn = torch.rand(5, batch * world_size, generator=generator)
    area, ratio, down, right, mirror = drawn[:, batch * rank : batch * (rank + 1)].unbind()
    area = smallest + (1 - smallest) * area
    stretch = torch.exp((2 * ratio - 1) * math.log(widest) / 2)  # half of it goes to each side
    height = (side * area.sqrt() / stretch).round().clamp(1, side).int()
    width = (side * area.sqrt() * stretch).round().clamp(1, side).int()
    top = (down * (side - height + 1)).int()
    left = (right * (side - width + 1)).int()
    boxes = torch.stack([top, left, height, width], dim=1).tolist()
    flip = (mirror < 0.5).to(images.device)[:, None, None, None]
    out = torch.empty_like(images) if out is None else out
    for span in _pieces(batch):
        parts = [
            transforms.resized_crop(image, *box, size=[side, side], antialias=True)
            for image, box in zip(images[span], boxes[span], strict=True)
        ]
        cropped = torch.stack(parts)
        out[span] = torch.where(flip[span], transforms.horizontal_flip(cropped), cropped)
    return out


def _pieces(batch: int) -> Iterator[slice]:
    """Few images at a time: what is written in place is first computed beside it."""
    return (slice(first, first + PIECE) for first in range(0, batch, PIECE))


AUGMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "shift": shift_and_flip,
    "crop": crop_and_flip,
}
