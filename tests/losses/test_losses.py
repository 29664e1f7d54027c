"""The losses against plain loops written from the formulas, against peers, and at their limits."""

import importlib.util
import math
import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from mmret_lib.losses import LOSSES, BarlowTwins, MaxTriplet, SimCLR, SumTriplet

ClipForm = partial(SimCLR, positive_in_denominator=True)
EVERY = [SumTriplet, MaxTriplet, SimCLR, ClipForm, BarlowTwins]
WITH_NEGATIVES = EVERY[:4]
quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)

# Pair 0 shares its image with pair 1 and its caption with pair 2, pair 1 its caption with pair 4.
IDS = {"image_ids": [7, 7, 8, 9, 5], "caption_ids": ["a dog", "a cat", "a dog", "a bus", "a cat"]}
# Here it has none at all, and pairs 1 and 2 have each other.
LONELY = {"image_ids": [7, 7, 8], "caption_ids": ["a dog", "a cat", "a dog"]}


def pairs(batch: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Embeddings whose positives resemble each other, with an offset and a scale per branch."""
    generator = torch.Generator().manual_seed(seed)
    shared, image_own, text_own = torch.randn(3, batch, dim, generator=generator).double()
    return 3 * (shared + image_own) + 0.5, shared + text_own


# The formulas once more, in plain Python and float64 ------------------------------------------


def cosines(image_emb: Tensor, text_emb: Tensor) -> list[list[float]]:
    def cosine(u: list[float], v: list[float]) -> float:
        dot = sum(x * y for x, y in zip(u, v, strict=True))
        return dot / math.sqrt(sum(x * x for x in u) * sum(y * y for y in v))

    return [[cosine(u, v) for v in text_emb.tolist()] for u in image_emb.tolist()]


def others(b: int, batch: int, image_ids=None, caption_ids=None) -> list[int]:
    def same(ids, k: int) -> bool:
        return ids is not None and ids[b] == ids[k]

    candidates = [k for k in range(batch) if k != b]
    return [k for k in candidates if not same(image_ids, k) and not same(caption_ids, k)]


def loop_triplet(image_emb, text_emb, margin=0.2, combine=sum, **ids) -> float:
    s = cosines(image_emb, text_emb)
    total = 0.0
    for b in range(len(s)):
        as_image = [max(0.0, margin - s[b][b] + s[b][k]) for k in others(b, len(s), **ids)]
        as_text = [max(0.0, margin - s[b][b] + s[k][b]) for k in others(b, len(s), **ids)]
        total += combine([0.0, *as_image]) + combine([0.0, *as_text])
    return total / len(s)


def loop_simclr(image_emb, text_emb, temperature=0.07, positive=False, **ids) -> float:
    s = cosines(image_emb, text_emb)
    total = 0.0
    for rows in (s, [list(column) for column in zip(*s, strict=True)]):
        costs = []
        for b, row in enumerate(rows):
            terms = [math.exp(row[k] / temperature) for k in others(b, len(s), **ids)]
            if positive:
                terms.append(math.exp(row[b] / temperature))
            if terms:
                costs.append(-row[b] / temperature + math.log(sum(terms)))
        total += sum(costs) / len(costs)
    return total


def loop_barlow(image_emb, text_emb, lambda_=0.0051, **ids) -> float:
    def standardised(column: list[float]) -> list[float]:
        mean = sum(column) / len(column)
        variance = sum((x - mean) ** 2 for x in column) / len(column)
        return [(x - mean) / math.sqrt(variance + 1e-5) for x in column]

    za = [standardised(column) for column in image_emb.T.tolist()]
    zb = [standardised(column) for column in text_emb.T.tolist()]
    total = 0.0
    for i, a in enumerate(za):
        for j, b in enumerate(zb):
            c = sum(x * y for x, y in zip(a, b, strict=True)) / len(a)
            total += (1 - c) ** 2 if i == j else lambda_ * c**2
    return total


LOOPS: dict[str, tuple[Callable, Callable]] = {
    "sum": (SumTriplet, loop_triplet),
    "sum, margin 0.7": (partial(SumTriplet, 0.7), partial(loop_triplet, margin=0.7)),
    "max": (MaxTriplet, partial(loop_triplet, combine=max)),
    "max, margin 1": (partial(MaxTriplet, 1), partial(loop_triplet, margin=1, combine=max)),
    "simclr": (SimCLR, loop_simclr),
    "simclr, t 0.5": (partial(SimCLR, 0.5), partial(loop_simclr, temperature=0.5)),
    "clip": (ClipForm, partial(loop_simclr, positive=True)),
    "barlow": (BarlowTwins, loop_barlow),
    "barlow, lambda 0.3": (partial(BarlowTwins, 0.3), partial(loop_barlow, lambda_=0.3)),
}
SHAPES = [(5, 3, {}), (5, 3, IDS), (3, 4, LONELY), (2, 1, {}), (9, 16, {})]


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize(("batch", "dim", "ids"), SHAPES)
def test_equals_the_loop(name: str, batch: int, dim: int, ids: dict, device: str) -> None:
    make, loop = LOOPS[name]
    image_emb, text_emb = pairs(batch, dim)
    expected = loop(image_emb, text_emb, **ids)
    value = make()(image_emb.to(device), text_emb.to(device), **ids)
    assert value.shape == () and value.dtype == torch.float64
    assert value.item() == pytest.approx(expected, rel=1e-11, abs=1e-11)
    single = make()(image_emb.float().to(device), text_emb.float().to(device), **ids)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


# Peers ---------------------------------------------------------------------------------------


def test_twice_open_clips_loss() -> None:
    # The file alone: importing the package takes longer than all of these tests.
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        pytest.skip("open_clip is not installed")
    peer = runpy.run_path(str(Path(package.origin).with_name("loss.py")))["ClipLoss"]()
    image_emb, text_emb = pairs(12, 8)
    unit = [torch.nn.functional.normalize(emb, dim=1) for emb in (image_emb, text_emb)]
    expected = 2 * peer(*unit, logit_scale=1 / 0.07)
    assert ClipForm(0.07)(image_emb, text_emb).item() == pytest.approx(expected.item(), rel=1e-12)


def test_lightlys_barlow_twins() -> None:
    peer = pytest.importorskip("lightly.loss", reason="lightly is not installed")
    image_emb, text_emb = pairs(12, 8)
    expected = peer.BarlowTwinsLoss(lambda_param=0.02)(image_emb, text_emb)
    assert BarlowTwins(0.02)(image_emb, text_emb).item() == pytest.approx(expected.item())


def test_twice_lightlys_dcl_where_it_agrees() -> None:
    """It also counts images as negatives of images; here those are too unlike to matter."""
    peer = pytest.importorskip("lightly.loss", reason="lightly is not installed")
    image_emb = torch.eye(8, dtype=torch.float64) - 1 / 8  # a simplex: all cosines -1/7
    noise = 0.02 * pairs(8, 8)[1]
    text_emb = image_emb.roll(1, dims=0) + image_emb.roll(3, dims=0) + noise
    expected = 2 * peer.DCLLoss(temperature=0.005)(image_emb, text_emb)
    assert SimCLR(0.005)(image_emb, text_emb).item() == pytest.approx(expected.item(), rel=1e-9)


# Gradients -----------------------------------------------------------------------------------


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
@pytest.mark.parametrize("make", EVERY)
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


@quick
@given(seed=seeds, batch=st.integers(2, 7), dim=st.integers(1, 6), data=st.data())
@pytest.mark.parametrize("make", EVERY)
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
    return any(others(b, batch, image_ids, caption_ids) for b in range(batch))


@quick
@given(seed=seeds, power=st.integers(-9, 30))
@pytest.mark.parametrize("make", WITH_NEGATIVES)
def test_the_length_of_an_embedding_does_not_matter(make, seed: int, power: int) -> None:
    image_emb, text_emb = (emb.float() for emb in pairs(4, 5, seed))
    lengths = torch.tensor([10.0**power, 1, 2, 0.5])[:, None]
    torch.testing.assert_close(
        make()(image_emb * lengths, text_emb), make()(image_emb, text_emb), rtol=1e-3, atol=1e-4
    )


@quick
@given(seed=seeds)
def test_barlow_twins_is_blind_to_offset_and_scale_per_dimension(seed: int) -> None:
    image_emb, text_emb = pairs(12, 4, seed)
    offset, scale = torch.linspace(-9, 9, 4), torch.tensor([5.0, 1.0, 30.0, 2.0])
    value = BarlowTwins()(image_emb, text_emb)
    moved = BarlowTwins()(image_emb * scale + offset, text_emb * scale.flip(0) - offset)
    torch.testing.assert_close(moved, value, rtol=1e-3, atol=1e-3)  # the 1e-5 in batch norm


@pytest.mark.parametrize(("batch", "margin"), [(2, 0.2), (6, 0.2), (33, 0.35)])
def test_collapsed_embeddings(batch: int, margin: float, device: str) -> None:
    same = torch.linspace(-1, 2, 128, device=device).repeat(batch, 1)
    assert MaxTriplet(margin)(same, same).item() == pytest.approx(2 * margin, rel=1e-5)
    expected = 2 * margin * (batch - 1)
    assert SumTriplet(margin)(same, same).item() == pytest.approx(expected, rel=1e-5)
    expected = 2 * math.log(batch - 1)
    assert SimCLR()(same, same).item() == pytest.approx(expected, abs=1e-4)
    assert BarlowTwins()(same, same).item() == pytest.approx(128)


def test_a_smooth_loss_becomes_the_max_and_the_sum() -> None:
    image_emb, text_emb = pairs(6, 5)
    margin = 3.0  # more than cosines can differ by: no hinge rests
    cold = 1e-5 * SimCLR(1e-5)(image_emb, text_emb) + 2 * margin
    torch.testing.assert_close(cold, MaxTriplet(margin)(image_emb, text_emb))
    warm = 1e5 * (SimCLR(1e5)(image_emb, text_emb) - 2 * math.log(5)) + 2 * margin
    total = SumTriplet(margin)(image_emb, text_emb)
    torch.testing.assert_close(warm, total / 5, rtol=1e-4, atol=0)


# Duplicates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", WITH_NEGATIVES)
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


def test_barlow_twins_ignores_ids() -> None:
    image_emb, text_emb = pairs(5, 3)
    assert BarlowTwins()(image_emb, text_emb, **IDS) == BarlowTwins()(image_emb, text_emb)


def test_a_batch_of_one_image() -> None:
    image_emb, text_emb = pairs(4, 3)
    for make in (SumTriplet, MaxTriplet, ClipForm):
        assert make()(image_emb, text_emb, image_ids=[3] * 4).item() == 0
    with pytest.raises(ValueError, match="none of the 4 pairs has a negative"):
        SimCLR()(image_emb, text_emb, image_ids=[3] * 4)


# Precision -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", EVERY)
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


@pytest.mark.parametrize("make", [SimCLR, ClipForm])
def test_half_precision_survives_logits_beyond_its_range(make: Callable, device: str) -> None:
    image_emb = torch.eye(4, dtype=torch.float16, device=device) * 6e4  # squares overflow
    text_emb = image_emb.roll(1, dims=0).contiguous().requires_grad_()  # every positive loses
    value = make(1e-3)(image_emb, text_emb)  # exp(1000) overflows even float64
    assert value.item() == pytest.approx(2000)
    value.backward()
    assert text_emb.grad is not None and text_emb.grad.isfinite().all()


class Waits(TorchDispatchMode):
    """Counts the operations for whose result the processor must wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += any(
            name in str(func) for name in ("_local_scalar_dense", "nonzero", "masked_select")
        )
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("make", [*EVERY, partial(MaxTriplet, all_negatives_steps=3)])
def test_one_wait_for_the_device(make: Callable) -> None:
    image_emb, text_emb = pairs(5, 3)
    loss = make(learnable=True)
    with Waits() as waits:
        loss(image_emb, text_emb, image_ids=torch.arange(5), caption_ids=list("abcda"))
    assert waits.count == 1


# Options ---------------------------------------------------------------------------------------


def test_all_negatives_first_then_the_hardest() -> None:
    image_emb, text_emb = pairs(6, 4)
    loss = MaxTriplet(0.5, all_negatives_steps=2)
    as_sum, as_max = SumTriplet(0.5)(image_emb, text_emb), MaxTriplet(0.5)(image_emb, text_emb)
    assert as_sum > as_max
    assert loss.eval()(image_emb, text_emb) == as_max
    assert loss.train()(image_emb, text_emb) == as_sum
    with pytest.raises(ValueError, match="not finite"):
        loss(image_emb * math.nan, text_emb)
    resumed = MaxTriplet(0.5, all_negatives_steps=2)
    resumed.load_state_dict(loss.state_dict())
    for each in (loss, resumed):  # one call of training counted so far
        assert each(image_emb, text_emb) == as_sum
        assert each(image_emb, text_emb) == as_max
        assert each.state_dict()["training_calls"] == 3


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
        "max_triplet": "MaxTriplet(margin=0.2, learnable=False, mask_duplicates=True, "
        "all_negatives_steps=0)",
        "simclr": "SimCLR(temperature=0.07, learnable=False, mask_duplicates=True, "
        "positive_in_denominator=False)",
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


@pytest.mark.parametrize("make", EVERY)
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
    assert BarlowTwins(0).lambda_ == 0  # the term is left out, which is a loss too


@pytest.mark.parametrize("make", EVERY)
def test_refuses_to_learn_from_outside_the_bounds(make: Callable) -> None:
    with pytest.raises(ValueError, match=r"learnable \w+ must start between .*not at 50"):
        make(50, learnable=True)


@pytest.mark.parametrize("steps", [-1, 1.5, "3"])
def test_refuses_bad_steps(steps: Any) -> None:
    with pytest.raises(ValueError, match=f"all_negatives_steps .*not {steps!r}"):
        MaxTriplet(all_negatives_steps=steps)
