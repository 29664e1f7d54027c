"""The atlas' losses in tiles against the whole matrix, which they replace for large batches.

In float64, where both ways agree to the last digits. Tiles of a few rows make small batches cross
their borders in every way.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from atlas_losses import MADE
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_batches import (
    IDS,
    LONELY,
    ClipForm,
    Operations,
    assert_alike,
    pairs,
    seeds,
    tiles_of,
    value_and_gradients,
)

from mmret_lib.losses import SimCLR, tiles
from mmret_lib.losses.atlas import (
    AdaptiveNCE,
    FalseNegativeFilter,
    HardNegativeNCE,
    MarginSoftmax,
    MultiSimilarity,
    SigLIP,
    TopKTriplet,
)

# Beside the settings of all files: so steep that every query needs a maximum of its own.
TILED: dict[str, Callable] = {
    **MADE,
    "margin_softmax, sharp": partial(MarginSoftmax, 0.1, 1e-3),
    "multi_similarity, sharp": partial(MultiSimilarity, 2.0, 1e3, 0.3),
    "siglip, wide": partial(SigLIP, 19.0, 1.0),
    "hard_negative_nce, sharp": partial(HardNegativeNCE, 0.01, 600.0),
    "adaptive_nce, sharp": partial(AdaptiveNCE, 0.002, 0.5, 0.1),
    "top_k_triplet, 1": partial(TopKTriplet, 1, 0.7),
    "top_k_triplet, all": partial(TopKTriplet, 10**9, 0.7),
}
# The filter goes in tiles around SimCLR alone, and holds its (B, B) guide.
FILTERS: dict[str, Callable] = {
    "filtered SimCLR": lambda: FalseNegativeFilter(SimCLR(0.2)),
    "filtered SimCLR, sharp": lambda: FalseNegativeFilter(SimCLR(1e-3), margin=0.3),
    "filtered ClipForm": lambda: FalseNegativeFilter(ClipForm(0.2, learnable=True)),
}
ALL = TILED | FILTERS
every = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


@every
@pytest.mark.parametrize("ids", [{}, IDS, LONELY])
@pytest.mark.parametrize("side", [1, 2, 3])
def test_equals_the_whole_matrix(make: Callable, ids: dict, side: int, device: str) -> None:
    batch = len(ids.get("image_ids", range(7)))
    emb = tuple(part.to(device) for part in pairs(batch, 4))
    assert_alike(make().to(device).double(), emb, ids, side, tolerance=1e-12)


@pytest.mark.parametrize("make", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64, torch.bool])
@pytest.mark.parametrize("ids", [{}, IDS, LONELY])
def test_the_filter_asks_its_guide(make: Callable, dtype, ids: dict, device: str) -> None:
    """Not symmetric, with ties; one image takes every text and has no negative left."""
    batch = len(ids.get("image_ids", range(7)))
    guide = torch.randint(3, (batch, batch), generator=torch.Generator().manual_seed(0)) - 1
    guide[0] = 1
    given = {**ids, "guide": guide.to(device, dtype)}
    emb = tuple(part.to(device) for part in pairs(batch, 4))
    assert_alike(make().to(device).double(), emb, given, side=2, tolerance=1e-12)
    if dtype == torch.float64:  # finer than the embeddings
        single = tuple(part.float() for part in emb)
        assert_alike(make().to(device), single, given, side=2, tolerance=1e-5)


def test_a_filter_that_leaves_no_negative_costs_nothing() -> None:
    same = torch.ones(4, 3).requires_grad_()
    with tiles_of(2):
        value = FalseNegativeFilter(SimCLR())(same, same)
        (gradient,) = torch.autograd.grad(value, same)
    assert value == 0 and not gradient.any()


@every
def test_just_above_the_whole(make: Callable, device: str) -> None:
    """The first batch that takes the tiles, at their real size, with duplicates."""
    batch = tiles.WHOLE + 1
    emb = tuple(part.to(device) for part in pairs(batch, 16))
    ids: dict[str, Any] = {
        "image_ids": [b % 200 for b in range(batch)],
        "caption_ids": [b // 2 for b in range(batch)],
    }
    loss = make().to(device).double()
    tiled = value_and_gradients(loss, emb, ids)
    with tiles_of(1, whole=batch):
        whole = value_and_gradients(loss, emb, ids)
    for mine, plain in zip(tiled, whole, strict=True):
        scale = max(1.0, plain.abs().max().item())
        torch.testing.assert_close(mine, plain, rtol=0, atol=1e-12 * scale)


@every
def test_a_large_batch_takes_the_tiles_and_a_small_one_the_whole(make: Callable, monkeypatch):
    calls = []
    reduce = tiles.reduce
    monkeypatch.setattr(
        tiles, "reduce", lambda emb, *a, **k: calls.append(1) or reduce(emb, *a, **k)
    )
    make()(*pairs(tiles.WHOLE, 2))
    assert not calls
    make()(*pairs(tiles.WHOLE + 1, 2))
    assert calls


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    batch=st.integers(2, 13),
    dim=st.integers(1, 6),
    side=st.integers(1, 14),
    data=st.data(),
)
@every
def test_over_random_batches(make: Callable, seed, batch, dim, side, data) -> None:
    few = st.lists(st.integers(0, 4), min_size=batch, max_size=batch)
    drawn = {name: data.draw(st.none() | few) for name in ("image_ids", "caption_ids")}
    ids = {name: values for name, values in drawn.items() if values is not None}
    loss = make().double()
    if loss.needs_negatives and any(len({*values}) == 1 for values in ids.values()):
        return  # none is a negative: refused
    assert_alike(loss, pairs(batch, dim, seed), ids, side, tolerance=1e-11)


@every
@pytest.mark.parametrize("side", [2, 5])
def test_ties(make: Callable, side: int, device: str) -> None:
    """Rows of +-1 in a dimension of 4: many similarities are equal, and exact in any order."""
    signs = torch.randint(2, (2, 9, 4), generator=torch.Generator().manual_seed(3)) * 2.0 - 1
    emb = tuple(signs.double().to(device))
    assert_alike(make().to(device).double(), emb, {}, side, tolerance=1e-12)


@every
def test_a_second_derivative_is_refused(make: Callable) -> None:
    image_emb, text_emb = (emb.requires_grad_() for emb in pairs(4, 3))
    with tiles_of(2):
        (grad,) = torch.autograd.grad(make()(image_emb, text_emb), image_emb, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        grad.sum().backward()


@every
def test_backward_twice_and_one_branch_frozen(make: Callable) -> None:
    image_emb, text_emb = pairs(7, 3)
    leaf = image_emb.requires_grad_()
    with tiles_of(3):
        value = make()(leaf, text_emb)
        first, second = (torch.autograd.grad(value, leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    plain = torch.autograd.grad(make()(leaf, text_emb), leaf)[0]
    torch.testing.assert_close(first, plain)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@every
def test_zero_rows_and_lonely_queries(make: Callable, device: str) -> None:
    image_emb, text_emb = (emb.float().to(device) for emb in pairs(3, 4))
    image_emb[1] = 0
    leaves = [image_emb.requires_grad_(), torch.zeros_like(text_emb).requires_grad_()]
    for ids in ({}, LONELY, {"image_ids": [0, 0, 0]}):
        if make().needs_negatives and ids == {"image_ids": [0, 0, 0]}:
            continue  # refused
        with tiles_of(2), torch.autograd.detect_anomaly():
            value = make().to(device)(*leaves, **ids)
            grads = torch.autograd.grad(value, leaves)
        assert value.isfinite() and all(grad.isfinite().all() for grad in grads)


@every
def test_float32_inside_autocast_also_backwards(make: Callable, device: str) -> None:
    leaves = [emb.float().to(device).requires_grad_() for emb in pairs(8, 16)]
    loss = make().to(device).eval()
    with tiles_of(3):
        outside = loss(*leaves)
        expected = torch.autograd.grad(outside, leaves)
        with torch.autocast(device, dtype=torch.bfloat16):
            inside = loss(*leaves)
            grads = torch.autograd.grad(inside, leaves)
    assert inside.dtype == torch.float32 and torch.equal(inside, outside)
    for grad, same in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, same)


@pytest.mark.parametrize("make", TILED.values(), ids=TILED)
def test_neither_memory_by_the_square_nor_more_than_one_wait(make: Callable) -> None:
    """No tensor of more than two tiles, whatever the batch; the device is asked one question."""
    leaves = [emb.float().requires_grad_() for emb in pairs(300, 4)]
    with tiles_of(50), Operations() as operations:
        make()(*leaves, image_ids=range(300), caption_ids=range(300)).backward()
    assert 50 * 50 <= operations.largest <= 50 * 50 * 2
    assert operations.waits == 1
