"""Batches and losses that several files of tests/losses use."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmret_lib.losses import ATLAS, BarlowTwins, MaxTriplet, PairLoss, SimCLR, SumTriplet, tiles
from mmret_lib.losses.atlas import FalseNegativeFilter

ClipForm = partial(SimCLR, positive_in_denominator=True)
EVERY: list[Callable] = [SumTriplet, MaxTriplet, SimCLR, ClipForm, BarlowTwins]
WITH_NEGATIVES = EVERY[:4]


def Filtered(**settings: Any) -> FalseNegativeFilter:  # noqa: N802 - in place of a class
    """Wrap a new loss in a filter, which goes by the batch's own similarities."""
    return FalseNegativeFilter(SumTriplet(3.0), **settings)


OF_ATLAS: list[Callable] = [
    *(kind for kind in ATLAS.values() if kind is not FalseNegativeFilter),
    Filtered,
]
quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)

# Pair 0 shares its image with pair 1 and its caption with pair 2, pair 1 its caption with pair 4.
IDS: dict[str, Any] = {
    "image_ids": [7, 7, 8, 9, 5],
    "caption_ids": ["a dog", "a cat", "a dog", "a bus", "a cat"],
}
# Here pair 0 has no negative at all, and pairs 1 and 2 have each other.
LONELY: dict[str, Any] = {"image_ids": [7, 7, 8], "caption_ids": ["a dog", "a cat", "a dog"]}


def pairs(batch: int = 5, dim: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Embeddings whose positives resemble each other, with an offset and a scale per branch."""
    generator = torch.Generator().manual_seed(seed)
    shared, image_own, text_own = torch.randn(3, batch, dim, generator=generator).double()
    return 3 * (shared + image_own) + 0.5, shared + text_own


def cosines(image_emb: Tensor, text_emb: Tensor) -> list[list[float]]:
    """The similarities in plain Python: images in rows, texts in columns."""

    def cosine(u: list[float], v: list[float]) -> float:
        dot = sum(x * y for x, y in zip(u, v, strict=True))
        return dot / math.sqrt(sum(x * x for x in u) * sum(y * y for y in v))

    return [[cosine(u, v) for v in text_emb.tolist()] for u in image_emb.tolist()]


def negatives_of(b: int, batch: int, image_ids=None, caption_ids=None) -> list[int]:
    """The negatives of pair b, in plain Python."""

    def same(ids, k: int) -> bool:
        return ids is not None and ids[b] == ids[k]

    candidates = [k for k in range(batch) if k != b]
    return [k for k in candidates if not same(image_ids, k) and not same(caption_ids, k)]


# Batches that a loss is held against its loop on: B, D, ids.
SHAPES: list[tuple[int, int, dict]] = [
    (5, 3, {}),
    (5, 3, IDS),
    (3, 4, LONELY),
    (2, 1, {}),
    (9, 16, {}),
]


def assert_equals_loop(make: Callable, loop: Callable, shape: tuple, device: str) -> None:
    """The loss is what a plain loop over its formula returns."""
    batch, dim, ids = shape
    image_emb, text_emb = pairs(batch, dim)
    expected = loop(image_emb, text_emb, **ids)
    value = make()(image_emb.to(device), text_emb.to(device), **ids)
    assert value.shape == () and value.dtype == torch.float64
    assert value.item() == pytest.approx(expected, rel=1e-11, abs=1e-11)
    single = make()(image_emb.float().to(device), text_emb.float().to(device), **ids)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


class Operations(TorchDispatchMode):
    """Watches all operations, those of the backward pass too.

    waits: for how many results the processor had to wait for the device; largest: how many numbers
    the largest tensor held.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits = self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        names = ("_local_scalar_dense", "nonzero", "masked_select")
        self.waits += any(name in str(func) for name in names)
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        return result


@contextmanager
def tiles_of(side: int, whole: int = 0) -> Iterator[None]:
    """Every batch above `whole` in tiles, of so many rows and columns on every device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "WHOLE", whole)
        patch.setattr(tiles, "SIDE", dict.fromkeys(tiles.SIDE, side))
        yield


def value_and_gradients(loss: PairLoss, batch: tuple, ids: dict) -> list[Tensor]:
    """The value, and its gradients by both branches and the parameters."""
    loss = copy.deepcopy(loss)  # a call changes what some losses keep
    leaves = [emb.clone().requires_grad_() for emb in batch]
    value = loss(*leaves, **ids)
    return [value.detach(), *torch.autograd.grad(value, [*leaves, *loss.parameters()])]


def assert_alike(loss: PairLoss, batch: tuple, ids: dict, side: int, tolerance: float) -> None:
    with tiles_of(side):
        tiled = value_and_gradients(loss, batch, ids)
    for mine, plain in zip(tiled, value_and_gradients(loss, batch, ids), strict=True):
        # Gradients are compared in their own size, which a low temperature makes large.
        scale = max(1.0, plain.abs().max().item())
        assert mine.dtype == plain.dtype and mine.shape == plain.shape
        torch.testing.assert_close(mine, plain, rtol=0, atol=tolerance * scale)
