"""Batches for contrastive training: images as uint8, word pieces, and who is whose.

One epoch shows every image once, each with one of its captions chosen at random (the slides'
epoch); with five captions per image it takes five such epochs to see as many captions as there
are. Images and word pieces lie packed in a `Store`; a batch is a gather, made by a thread while the
step before it trains. What a batch holds follows from the seed, the epoch and its number alone, so
training can go on at any step as if it had never stopped.
"""

import weakref
from collections import deque
from collections.abc import Iterator
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
