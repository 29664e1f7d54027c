"""Batches for contrastive training: images as uint8, token ids, and which image owns which caption.

One epoch shows every image once, each with one of its captions chosen at random, as in the course
project of 2021; with five captions per image it takes five such epochs to see as many captions as
there are. Images and token ids are packed in a `Store`; a thread gathers a batch from it while the
previous step trains. The seed, the epoch and the number of a batch decide what is in it, so that an
interrupted training continues with the same batches.
"""

import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmret_lib.data.features import Features
from mmret_lib.data.store import Store

PREFETCH = 1  # batches kept ready while one is trained on and another is being made
FREE_BUFFERS = PREFETCH + 2  # image buffers of past batches that are kept for later ones


@dataclass(frozen=True)
class Batch:
    """B pairs; row b of every field belongs to the same pair."""

    images: Tensor  # uint8 (B, 3, S, S); or kept features, float32 (B, F)
    tokens: dict[str, Tensor]  # input_ids, attention_mask: int64 (B, L); or features: (B, F)
    image_ids: Tensor  # int64 (B,): index of the image in the pairs
    caption_ids: Tensor  # int64 (B,): equal where two captions have the same text

    def to(self, device: str | torch.device) -> "Batch":
        """The batch on another device, copied in the background from pinned memory."""
        return Batch(
            self.images.to(device, non_blocking=True),
            {name: part.to(device, non_blocking=True) for name, part in self.tokens.items()},
            self.image_ids.to(device, non_blocking=True),
            self.caption_ids.to(device, non_blocking=True),
        )


class Loader:
    """Shuffled batches of images with captions, the same for the same seed and epoch.

    Args:
        store: the packed images and their captions; or kept features of either, or of both. Of
            images with augmented views each epoch takes one of these at random.
        token_ids: int32 (M, longest), `store.token_ids(encoder)`; None where captions are features.
        batch_size: pairs in a batch of one process. The last, smaller batch of an epoch is left
            out, because a contrastive loss depends on how many negatives it sees; which pairs fall
            into it changes with every epoch.
        captions: "random" takes one of the image's captions anew in each epoch, "first" always the
            same one; "all" shows every caption once an epoch, each with its image.
        seed: decides order and captions.
        rank: number of this process, from 0.
        world_size: how many processes there are. Together their batches of one step are the batch
            that one process would have with `world_size` times the size.
        pin_memory: make batches in page-locked memory, which a GPU can copy from directly.

    Raises:
        ValueError: fewer pairs than a batch, token ids of other captions, or an impossible rank.
    """

    def __init__(
        self,
        store: Store | Features,
        token_ids: npt.NDArray[np.int32] | None,
        batch_size: int,
        *,
        captions: Literal["random", "first", "all"] = "random",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ):
        if token_ids is None:
            if not isinstance(store, Features) or store.text is None:
                raise ValueError("captions without features need store.token_ids(encoder)")
        elif len(token_ids) != len(store.owner):
            raise ValueError(
                f"token_ids of {len(token_ids)} captions for a store of {len(store.owner)} "
                "captions; take store.token_ids(encoder)"
            )
        if captions not in ("random", "first", "all"):
            raise ValueError(f'captions is {captions!r}; choose "random", "first" or "all"')
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank} of {world_size} processes; ranks count from 0")
        self.pairs_per_epoch = len(store.owner) if captions == "all" else len(store)
        if not 2 <= batch_size <= self.pairs_per_epoch // world_size:
            among = f" among {world_size} processes" if world_size > 1 else ""
            what = "captions" if captions == "all" else "images"
            raise ValueError(
                f"batch_size is {batch_size}; it must lie between 2 and the "
                f"{self.pairs_per_epoch} {what}{among}"
            )
        self.store, self.token_ids = store, token_ids
        self.batch_size, self.captions, self.seed = batch_size, captions, seed
        self.rank, self.world_size, self.pin_memory = rank, world_size, pin_memory
        self.one = store[:1]  # for the type and shape of a batch's images
        self.free_buffers: list[npt.NDArray[Any]] = []

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.pairs_per_epoch // (self.batch_size * self.world_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` from batch `start` on, both counted from 0."""
        captions, views = self._chosen(number)
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(max_workers=1) as thread:
            for step in range(start, len(self)):
                first = (step * self.world_size + self.rank) * self.batch_size
                own = slice(first, first + self.batch_size)
                waiting.append(
                    thread.submit(self._batch, captions[own], None if views is None else views[own])
                )
                if len(waiting) > PREFETCH:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _chosen(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
        """What the epoch shows, in its order: captions, and views of their images, if any.

        Both are (pairs_per_epoch,).
        """
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(self.pairs_per_epoch)
        if self.captions == "all":
            chosen = np.arange(self.pairs_per_epoch)
        else:
            # The captions of an image stand together: from its first one, as many as it owns.
            chosen = np.searchsorted(self.store.owner, np.arange(len(self.store)))
            if self.captions == "random":
                counts = np.bincount(self.store.owner, minlength=len(self.store))
                chosen += (rng.random(len(chosen)) * counts).astype(np.int64)
        views = None
        if isinstance(self.store, Features) and self.store.views > 1:
            views = rng.integers(1, self.store.views, size=self.pairs_per_epoch)
        return chosen[order], views

    def _batch(
        self, captions: npt.NDArray[np.int64], views: npt.NDArray[np.int64] | None = None
    ) -> Batch:
        store = self.store
        image_ids = store.owner[captions]  # (B,)
        images = self._image_buffer()  # (B, 3, S, S) or (B, F)
        if isinstance(store, Features):
            store.read_into(image_ids, images.numpy(), 0 if views is None else views)
        else:
            store.read_into(image_ids, images.numpy())
        if self.token_ids is None:
            tokens = {"features": torch.from_numpy(store.texts(captions))}
        else:
            tokens = _tokens_of(self.token_ids[captions])
        caption_ids = torch.from_numpy(store.caption_ids[captions])
        return Batch(images, tokens, torch.from_numpy(image_ids), caption_ids)

    def _image_buffer(self) -> Tensor:
        """Memory for the images of a batch: that of an earlier batch, once nobody holds it.

        Asking the system for new pages, and having them cleared, takes several times as long as
        filling them.
        """
        shape = (self.batch_size, *self.one.shape[1:])
        if self.pin_memory:  # torch recycles this kind itself, after the GPU has fetched it
            return torch.empty(shape, dtype=torch.from_numpy(self.one).dtype, pin_memory=True)
        buffer = self.free_buffers.pop() if self.free_buffers else np.empty(shape, self.one.dtype)
        view = buffer[:]
        # The tensor holds on to the view, and so does every tensor or array made from it.
        weakref.finalize(view, _keep_buffer, self.free_buffers, buffer).atexit = False
        return torch.from_numpy(view)


def _tokens_of(token_ids: npt.NDArray[np.int32]) -> dict[str, Tensor]:
    """What the text branch takes, of token ids (B, longest) with -1 after the last token."""
    token_ids = token_ids[:, : int((token_ids >= 0).sum(axis=1).max())]  # (B, L)
    return {
        # What stands where the mask is 0 is never read; 0 is an id in every vocabulary.
        "input_ids": torch.from_numpy(np.maximum(token_ids, 0).astype(np.int64)),
        "attention_mask": torch.from_numpy((token_ids >= 0).astype(np.int64)),
    }


def _keep_buffer(free_buffers: list[npt.NDArray[Any]], buffer: npt.NDArray[Any]) -> None:
    if len(free_buffers) < FREE_BUFFERS:
        free_buffers.append(buffer)
