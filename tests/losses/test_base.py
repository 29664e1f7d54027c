"""What all losses promise alike: gradients, precision, masks, one learnable number, refusals."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_batches import (
    EVERY,
    IDS,
    LONELY,
    OF_ATLAS,
    WITH_NEGATIVES,
    ClipForm,
    Operations,
    negatives_of,
    pairs,
    quick,
    seeds,
)
from torch import Tensor
from torch.func import functional_call

from mmret_lib.losses import LOSSES, BarlowTwins, MaxTriplet, SimCLR, SumTriplet

# Gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("ids", [{}, LONELY])
@pytest.mark.parametrize("learnable", [False, True])
def test_gradcheck(make: Callable, ids: dict, learnable: bool) -> None:
    loss = make(learnable=learnable).double()
    emb = [emb.requires_grad_() for emb in pairs(3, 4, seed=1)]
    numbers = {name: number.detach() for name, number in loss.named_parameters()}

    def value(image_emb: Tensor, text_emb: Tensor, *learned: Tensor) -> Tensor:
        current = dict(zip(numbers, learned, strict=True))
        return functional_call(loss, current, (image_emb, text_emb), ids)

    inputs = (*emb, *(number.requires_grad_() for number in numbers.values()))
    assert len(inputs) == 2 + learnable
    assert torch.autograd.gradcheck(value, inputs)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("make", [*EVERY, *OF_ATLAS])
def test_zero_rows_and_lonely_queries_have_moderate_gradients(make: Callable, device: str) -> None:
    image_emb, text_emb = (emb.float().to(device) for emb in pairs(3, 4))
    image_emb[1] = 0
    image_emb.requires_grad_()
    text_emb = torch.zeros_like(text_emb).requires_grad_()
    with torch.autograd.detect_anomaly():  # no NaN on the way either
        make()(image_emb, text_emb, **LONELY).backward()
    for emb in (image_emb, text_emb):
        assert emb.grad is not None and emb.grad.isfinite().all() and emb.grad.abs().max() < 1e3


# What must not matter, and what must -----------------------------------------------------------


@pytest.mark.slow
@quick
@given(seed=seeds, batch=st.integers(2, 7), dim=st.integers(1, 6), data=st.data())
@pytest.mark.parametrize("make", [*EVERY, *OF_ATLAS])
def test_neither_the_order_of_pairs_nor_of_branches_matters(make, seed, batch, dim, data) -> None:
    image_emb, text_emb = pairs(batch, dim, seed)
    few = st.lists(st.integers(0, 3), min_size=batch, max_size=batch)
    image_ids, caption_ids = data.draw(few), data.draw(few)
    order = data.draw(st.permutations(range(batch)))
    loss = ClipForm() if make is SimCLR and not any_negatives(image_ids, caption_ids) else make()
    value = loss(image_emb, text_emb, image_ids=image_ids, caption_ids=caption_ids)
    swapped = loss(text_emb, image_emb, image_ids=caption_ids, caption_ids=image_ids)
    moved = loss(
        image_emb[order],
        text_emb[order],
        image_ids=[image_ids[b] for b in order],
        caption_ids=[caption_ids[b] for b in order],
    )
    torch.testing.assert_close(swapped, value)
    torch.testing.assert_close(moved, value)


def any_negatives(image_ids: list, caption_ids: list) -> bool:
    batch = len(image_ids)
    return any(negatives_of(b, batch, image_ids, caption_ids) for b in range(batch))


@quick
@given(seed=seeds, power=st.integers(-9, 30))
@pytest.mark.parametrize("make", [*WITH_NEGATIVES, *OF_ATLAS])
def test_the_length_of_an_embedding_does_not_matter(make, seed: int, power: int) -> None:
    image_emb, text_emb = (emb.float() for emb in pairs(4, 5, seed))
    lengths = torch.tensor([10.0**power, 1, 2, 0.5])[:, None]
    torch.testing.assert_close(
        make()(image_emb * lengths, text_emb), make()(image_emb, text_emb), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("make", [*WITH_NEGATIVES, *OF_ATLAS])
def test_every_form_of_ids_masks_alike(make: Callable) -> None:
    image_emb, text_emb = pairs(5, 3)
    expected = make()(image_emb, text_emb, image_ids=[7, 8, 7, 9, 8])
    assert not torch.isclose(expected, make()(image_emb, text_emb))
    forms = [
        (7, 8, 7, 9, 8),
        ["p", "q", "p", "r", "q"],
        np.array([7, 8, 7, 9, 8]),
        torch.tensor([7, 8, 7, 9, 8]),
        list(torch.tensor([7, 8, 7, 9, 8])),
    ]
    for ids in forms:
        assert make()(image_emb, text_emb, image_ids=ids) == expected
        assert make()(image_emb, text_emb, caption_ids=ids) == expected
    plain = make()(image_emb, text_emb)
    assert make()(image_emb, text_emb, image_ids=range(5), caption_ids=list("abcde")) == plain
    assert make(mask_duplicates=False)(image_emb, text_emb, **IDS) == plain


def test_a_batch_of_one_image_costs_nothing() -> None:
    for make in (SumTriplet, MaxTriplet, ClipForm):
        assert make()(*pairs(4, 3), image_ids=[3] * 4).item() == 0


# Precision -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [*EVERY, *OF_ATLAS])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_inside_autocast(make: Callable, dtype: torch.dtype, device: str) -> None:
    image_emb, text_emb = (emb.float().to(device) for emb in pairs(8, 16))
    outside = make()(image_emb, text_emb)
    rounded = make()(image_emb.to(dtype).float(), text_emb.to(dtype).float())
    with torch.autocast(device, dtype=dtype):
        assert torch.equal(make()(image_emb, text_emb), outside)
        half = image_emb.to(dtype).requires_grad_()
        inside = make()(half, text_emb.to(dtype))
    assert inside.dtype == torch.float32 and torch.equal(inside, rounded)
    inside.backward()
    assert half.grad is not None and half.grad.dtype == dtype and half.grad.isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        *(partial(make, learnable=True) for make in EVERY),
        partial(MaxTriplet, all_negatives_steps=3),
        *OF_ATLAS,
    ],
)
def test_one_wait_for_the_device(make: Callable) -> None:
    image_emb, text_emb = pairs(5, 3)
    loss = make()
    with Operations() as operations:
        loss(image_emb, text_emb, image_ids=torch.arange(5), caption_ids=list("abcda"))
    assert operations.waits == 1


# The number that a loss may learn --------------------------------------------------------------


def descend(loss, image_emb: Tensor, text_emb: Tensor, steps: int = 40) -> None:
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.5)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(image_emb, text_emb).backward()
        optimiser.step()


@pytest.mark.parametrize("make", [SumTriplet, MaxTriplet, BarlowTwins])
def test_a_learnable_margin_or_lambda_falls_to_its_bound(make: Callable) -> None:
    loss = make(learnable=True)
    assert len(list(loss.parameters())) == 1 and not list(make().parameters())
    descend(loss, *pairs(6, 4))
    low = loss.bounds[0]
    assert 0.9999 * low < loss.read() < 1.1 * low


@pytest.mark.parametrize("make", [SimCLR, ClipForm])
def test_a_learnable_temperature_follows_the_positives(make: Callable) -> None:
    image_emb = torch.eye(5)
    winning, losing = make(0.5, learnable=True), make(0.5, learnable=True)
    descend(winning, image_emb, image_emb, steps=2)
    descend(losing, image_emb, image_emb.roll(1, dims=0), steps=2)
    assert winning.temperature < 0.3 and losing.temperature > 0.8
    descend(losing, image_emb, image_emb.roll(1, dims=0))
    assert 9 < losing.temperature < 10.001


@pytest.mark.parametrize("make", EVERY)
def test_the_number_is_readable_and_travels_with_the_state(make: Callable) -> None:
    learned, fresh, fixed = make(0.3, learnable=True), make(0.6, learnable=True), make(0.3)
    name = learned.number
    assert type(getattr(learned, name)) is float
    assert getattr(learned, name) == pytest.approx(0.3) and getattr(fixed, name) == 0.3
    torch.testing.assert_close(learned(*pairs(5, 3)), fixed(*pairs(5, 3)), rtol=1e-4, atol=0)
    fresh.load_state_dict(learned.state_dict())
    assert getattr(fresh, name) == getattr(learned, name)
    assert f"{name}=0.3" in repr(fresh) and "learnable=True" in repr(fresh)


def test_names_and_defaults() -> None:
    assert {name: repr(make()) for name, make in LOSSES.items()} == {
        "sum_triplet": "SumTriplet(margin=0.2, learnable=False, mask_duplicates=True)",
        "max_triplet": "MaxTriplet(margin=0.2, all_negatives_steps=0, learnable=False, "
        "mask_duplicates=True)",
        "simclr": "SimCLR(temperature=0.07, positive_in_denominator=False, learnable=False, "
        "mask_duplicates=True)",
        "barlow_twins": "BarlowTwins(lambda_=0.0051, learnable=False)",
    }


# Refusals --------------------------------------------------------------------------------------

GOOD = torch.ones(4, 3)


def spoilt(row: int, value: float) -> Tensor:
    emb = torch.ones(4, 3)
    emb[row:, 1] = value
    return emb


BAD_BATCHES = [
    ((torch.ones(1, 3), torch.ones(1, 3)), {}, r"B = 1 .* at least 2"),
    ((GOOD, torch.ones(5, 3)), {}, r"\(4, 3\) and text_emb \(5, 3\)"),
    ((GOOD, torch.ones(4, 2)), {}, r"\(4, 3\) and text_emb \(4, 2\)"),
    ((torch.ones(4), torch.ones(4)), {}, r"image_emb must have shape \(B, D\).*not \(4,\)"),
    ((GOOD, torch.ones(4, 3, 1)), {}, r"text_emb must have shape \(B, D\).*not \(4, 3, 1\)"),
    ((torch.ones(4, 0), torch.ones(4, 0)), {}, r"image_emb .*not \(4, 0\)"),
    ((GOOD, GOOD.long()), {}, r"text_emb must hold floating-point numbers, not torch.int64"),
    ((spoilt(2, math.nan), GOOD), {}, r"image_emb is not finite: row 2 holds nan \(2 of 4"),
    ((GOOD, spoilt(1, -math.inf)), {}, r"text_emb is not finite: row 1 holds -inf \(3 of 4"),
    ((GOOD, GOOD), {"image_ids": [1, 2, 3]}, r"image_ids .* each of the 4 pairs.*not \(3,\)"),
    ((GOOD, GOOD), {"caption_ids": torch.ones(4, 1)}, r"caption_ids .*not \(4, 1\)"),
    ((GOOD, GOOD), {"caption_ids": "dogs"}, r"caption_ids .* one string: 'dogs'"),
]


@pytest.mark.parametrize("make", [*EVERY, *OF_ATLAS])
@pytest.mark.parametrize(("batch", "ids", "message"), BAD_BATCHES)
def test_refuses_a_bad_batch(make: Callable, batch: tuple, ids: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()(*batch, **ids)


def test_refuses_what_is_not_a_tensor() -> None:
    with pytest.raises(TypeError, match=r"text_emb must be .*, not ndarray"):
        SimCLR()(GOOD, GOOD.numpy())


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, None, "0.2"])
def test_refuses_a_bad_number(make: Callable, value: object) -> None:
    with pytest.raises(ValueError, match=f"{make().number} must be .*not {value!r}"):
        make(value)


@pytest.mark.parametrize("make", WITH_NEGATIVES)
def test_refuses_zero_where_it_has_no_meaning(make: Callable) -> None:
    with pytest.raises(ValueError, match="not 0"):
        make(0)


@pytest.mark.parametrize("make", EVERY)
def test_refuses_to_learn_from_outside_the_bounds(make: Callable) -> None:
    with pytest.raises(ValueError, match=r"learnable \w+ must start between .*not at 50"):
        make(50, learnable=True)
