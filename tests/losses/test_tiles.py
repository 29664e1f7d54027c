"""The losses in tiles against the whole matrix, which they replace for large batches.

Tiles of a few rows make small batches cross their borders in every way.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_batches import (
    LONELY,
    WITH_NEGATIVES,
    Operations,
    assert_alike,
    pairs,
    seeds,
    tiles_of,
    value_and_gradients,
)
from torch import Tensor
from torch.func import functional_call

from mmret_lib.losses import MaxTriplet, SimCLR, SumTriplet, tiles
from mmret_lib.losses.reductions import Hardest

EARLY = partial(MaxTriplet, all_negatives_steps=1)
quick = settings(max_examples=60, deadline=None)


# Temperatures on both sides of where one exponential serves both directions, down to the least.
numbers = st.sampled_from([1e-6, 1e-3, 0.01, 0.017, 0.07, 0.2, 0.5, 3.0, 1e5])


@pytest.mark.slow
@quick
@given(
    seed=seeds,
    batch=st.integers(2, 13),
    dim=st.integers(1, 6),
    side=st.integers(1, 14),
    number=numbers,
    learnable=st.booleans(),
    mask=st.booleans(),
    data=st.data(),
)
@pytest.mark.parametrize("make", [*WITH_NEGATIVES, EARLY])
def test_equals_the_definition(
    make: Callable, seed, batch, dim, side, number, learnable, mask, data
) -> None:
    ids = {}
    for name in ("image_ids", "caption_ids"):
        few = st.lists(st.integers(0, 4), min_size=batch, max_size=batch)
        drawn = data.draw(st.none() | few)
        if drawn is not None:
            ids[name] = drawn if data.draw(st.booleans()) else torch.tensor(drawn)
    if make is SimCLR and any(len({*map(int, one)}) == 1 for one in ids.values()) and mask:
        return  # none is a negative: refused
    loss = make(number, mask_duplicates=mask).double()
    if learnable and loss.bounds[0] < number < loss.bounds[1]:
        loss = make(number, learnable=True, mask_duplicates=mask).double()
    # At 1e-6 the logits are 1e6, whose last digits a temperature of 1e-6 magnifies in either way.
    assert_alike(loss, pairs(batch, dim, seed), ids, side, tolerance=1e-12 / min(1.0, number))


@pytest.mark.slow
@quick
@given(seed=seeds, batch=st.integers(2, 40), side=st.integers(3, 41), few=st.integers(2, 60))
@pytest.mark.parametrize("make", WITH_NEGATIVES)
def test_equals_the_definition_in_float32(make, seed, batch, side, few) -> None:
    image_emb, text_emb = (emb.float() for emb in pairs(batch, 8, seed))
    image_ids = torch.randint(few, (batch,), generator=torch.Generator().manual_seed(seed))
    if make is SimCLR and len(image_ids.unique()) == 1:
        return
    loss = make(0.5, learnable=True)
    assert_alike(loss, (image_emb, text_emb), {"image_ids": image_ids}, side, tolerance=2e-6)


@pytest.mark.slow
@quick
@given(seed=seeds, batch=st.integers(2, 12), side=st.integers(1, 13), margin=st.integers(1, 8))
@pytest.mark.parametrize("make", [SumTriplet, MaxTriplet, EARLY])
def test_ties_and_hinges_at_rest_are_treated_alike(make, seed, batch, side, margin) -> None:
    """Rows of +-1 in a dimension of 4: cosines and hinges are quarters, exact in any order."""
    signs = torch.randint(2, (2, batch, 4), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    loss = make(margin / 4)
    for training in (True, False):
        loss.train(training)
        assert_alike(loss, tuple(signs), {"image_ids": [b // 2 for b in range(batch)]}, side, 1e-6)


def test_the_hardest_share_across_tiles(device: str) -> None:
    image_emb = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, 1], [-1, -1, -1, -1], [1, 1, -1, 1]])
    text_emb = image_emb.to(device).clone().requires_grad_()
    with tiles_of(1):
        images = image_emb.to(device) / 2
        (best,) = tiles.reduce(images, text_emb / 2, (), Hardest(images))
        best[0, 0].backward()
    assert best[0].tolist() == [0.5, 0.5, -0.5, 0.5]
    # Texts 1 and 3 tie for image 0, two tiles apart: each is pushed half as hard.
    assert text_emb.grad is not None
    assert text_emb.grad[:, 0].tolist() == [0, 0.125, 0, 0.125]


# Gradients -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("make", [*WITH_NEGATIVES, EARLY])
@pytest.mark.parametrize("ids", [{}, {"image_ids": [7, 7, 8, 9], "caption_ids": list("abac")}])
@pytest.mark.parametrize("number", [0.02, 0.3])
@pytest.mark.parametrize("learnable", [False, True])
def test_gradcheck(make: Callable, ids: dict, number: float, learnable: bool) -> None:
    loss = make(number, learnable=learnable).double()
    learned = {name: one.detach().requires_grad_() for name, one in loss.named_parameters()}

    def value(image_emb: Tensor, text_emb: Tensor, *given: Tensor) -> Tensor:
        if isinstance(loss, MaxTriplet):
            loss.training_calls.zero_()
        return functional_call(
            loss, dict(zip(learned, given, strict=True)), (image_emb, text_emb), ids
        )

    inputs = (*(emb.requires_grad_() for emb in pairs(4, 3, seed=1)), *learned.values())
    with tiles_of(2):
        assert torch.autograd.gradcheck(value, inputs)


@pytest.mark.parametrize("make", WITH_NEGATIVES)
def test_a_second_derivative_is_refused(make: Callable) -> None:
    image_emb, text_emb = (emb.requires_grad_() for emb in pairs(4, 3))
    with tiles_of(2):
        value = make(0.5)(image_emb, text_emb)
        (grad,) = torch.autograd.grad(value, image_emb, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        grad.sum().backward()


@pytest.mark.parametrize("make", WITH_NEGATIVES)
def test_backward_twice_one_branch_frozen_and_functional(make: Callable) -> None:
    image_emb, text_emb = pairs(7, 3)
    leaf = image_emb.clone().requires_grad_()
    with tiles_of(3):
        value = make(0.5)(leaf, text_emb)
        first, second = (torch.autograd.grad(value, leaf, retain_graph=True)[0] for _ in range(2))
        functional = torch.func.grad(lambda emb: make(0.5)(emb, text_emb))(image_emb)
    assert torch.equal(first, second)
    torch.testing.assert_close(functional, first)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("make", WITH_NEGATIVES)
@pytest.mark.parametrize("number", [0.01, 0.3])
def test_zero_rows_and_lonely_queries(make: Callable, number: float, device: str) -> None:
    image_emb, text_emb = (emb.float().to(device) for emb in pairs(3, 4))
    image_emb[1] = 0
    leaves = [image_emb.requires_grad_(), torch.zeros_like(text_emb).requires_grad_()]
    with tiles_of(2), torch.autograd.detect_anomaly():
        make(number)(*leaves, **LONELY).backward()
    for leaf in leaves:
        assert leaf.grad is not None and leaf.grad.isfinite().all() and leaf.grad.abs().max() < 1e3


# The rest of what a loss promises --------------------------------------------------------------


@pytest.mark.parametrize("make", WITH_NEGATIVES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_inside_autocast_also_backwards(make: Callable, dtype, device: str) -> None:
    leaves = [emb.float().to(device).requires_grad_() for emb in pairs(8, 16)]
    with tiles_of(3):
        outside = make()(*leaves)
        expected = torch.autograd.grad(outside, leaves)
        with torch.autocast(device, dtype=dtype):
            inside = make()(*leaves)
            grads = torch.autograd.grad(inside, leaves)
            half = make()(*(emb.to(dtype) for emb in leaves))
    assert inside.dtype == half.dtype == torch.float32 and torch.equal(inside, outside)
    for grad, same in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, same)


def test_a_large_batch_takes_the_tiles_and_a_small_one_the_whole(monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(tiles, "simclr", lambda emb, *rest: calls.append(len(emb)) or emb.sum())
    for batch in (2, tiles.WHOLE, tiles.WHOLE + 1):
        SimCLR()(*pairs(batch, 2))
    assert calls == [tiles.WHOLE + 1]


@pytest.mark.parametrize("make", WITH_NEGATIVES)
def test_a_large_batch_equals_the_definition(make: Callable) -> None:
    """At the tiles' real size, with a border inside and duplicates."""
    batch = tuple(emb.float() for emb in pairs(1100, 16))
    ids: dict[str, Any] = {"image_ids": torch.arange(1100) % 1000, "caption_ids": range(1100)}
    tiled = value_and_gradients(make(0.2), batch, ids)
    with tiles_of(1, whole=1100):
        whole = value_and_gradients(make(0.2), batch, ids)
    for mine, plain in zip(tiled, whole, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-5, atol=1e-6)


def test_ids_of_any_kind_become_consecutive_numbers() -> None:
    for ids in ([5, 3, 5, 9], [True, False, True, False], [0.5, -1.0, 0.5, math.inf]):
        given = torch.tensor(ids)
        same = given[:, None] == given
        made = tiles.consecutive(given, torch.float32)
        assert torch.equal(made[:, None] == made, same) and made.max() < 4
    large = torch.tensor([2**60, 2**60 + 1, 2**60])  # float32 holds no difference between these
    assert tiles.consecutive(large, torch.float32).tolist() == [0, 1, 0]
    assert len(tiles.consecutive(torch.tensor([math.nan, math.nan]), torch.float32).unique()) == 2


@pytest.mark.slow
def test_neither_memory_by_the_square_nor_more_than_one_wait() -> None:
    """No tensor of more than two tiles, whatever the batch; the device is asked one question."""
    leaves = [emb.float().requires_grad_() for emb in pairs(600, 4)]
    for make in (*WITH_NEGATIVES, EARLY):
        with tiles_of(50), Operations() as operations:
            loss = make(0.3, learnable=True)
            loss(*leaves, image_ids=range(600), caption_ids=range(600)).backward()
        assert 50 * 50 <= operations.largest <= 50 * 50 * 2
        assert operations.waits == 1
