"""SimCLR against a plain loop written from the formula, against its peers, and at its limits."""

import importlib.util
import math
import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from loss_batches import SHAPES, ClipForm, assert_equals_loop, cosines, negatives_of, pairs

from mmret_lib.losses import MaxTriplet, SimCLR, SumTriplet


def loop_simclr(image_emb, text_emb, temperature=0.07, positive=False, **ids) -> float:
    s = cosines(image_emb, text_emb)
    total = 0.0
    for rows in (s, [list(column) for column in zip(*s, strict=True)]):
        costs = []
        for b, row in enumerate(rows):
            terms = [math.exp(row[k] / temperature) for k in negatives_of(b, len(s), **ids)]
            if positive:
                terms.append(math.exp(row[b] / temperature))
            if terms:
                costs.append(-row[b] / temperature + math.log(sum(terms)))
        total += sum(costs) / len(costs)
    return total


LOOPS: dict[str, tuple[Callable, Callable]] = {
    "simclr": (SimCLR, loop_simclr),
    "simclr, t 0.5": (partial(SimCLR, 0.5), partial(loop_simclr, temperature=0.5)),
    "clip": (ClipForm, partial(loop_simclr, positive=True)),
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_loop(name: str, shape: tuple, device: str) -> None:
    assert_equals_loop(*LOOPS[name], shape, device)


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


def test_twice_lightlys_dcl_where_it_agrees() -> None:
    """It also counts images as negatives of images; here those are too unlike to matter."""
    peer = pytest.importorskip("lightly.loss", reason="lightly is not installed")
    image_emb = torch.eye(8, dtype=torch.float64) - 1 / 8  # a simplex: all cosines -1/7
    noise = 0.02 * pairs(8, 8)[1]
    text_emb = image_emb.roll(1, dims=0) + image_emb.roll(3, dims=0) + noise
    expected = 2 * peer.DCLLoss(temperature=0.005)(image_emb, text_emb)
    assert SimCLR(0.005)(image_emb, text_emb).item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("batch", [2, 6, 33])
def test_collapsed_embeddings(batch: int, device: str) -> None:
    same = torch.linspace(-1, 2, 128, device=device).repeat(batch, 1)
    assert SimCLR()(same, same).item() == pytest.approx(2 * math.log(batch - 1), abs=1e-4)


def test_a_smooth_loss_becomes_the_max_and_the_sum() -> None:
    image_emb, text_emb = pairs(6, 5)
    margin = 3.0  # more than cosines can differ by: no hinge rests
    cold = 1e-5 * SimCLR(1e-5)(image_emb, text_emb) + 2 * margin
    torch.testing.assert_close(cold, MaxTriplet(margin)(image_emb, text_emb))
    warm = 1e5 * (SimCLR(1e5)(image_emb, text_emb) - 2 * math.log(5)) + 2 * margin
    total = SumTriplet(margin)(image_emb, text_emb)
    torch.testing.assert_close(warm, total / 5, rtol=1e-4, atol=0)


@pytest.mark.parametrize("make", [SimCLR, ClipForm])
def test_half_precision_survives_logits_beyond_its_range(make: Callable, device: str) -> None:
    image_emb = torch.eye(4, dtype=torch.float16, device=device) * 6e4  # squares overflow
    text_emb = image_emb.roll(1, dims=0).contiguous().requires_grad_()  # every positive loses
    value = make(1e-3)(image_emb, text_emb)  # exp(1000) overflows even float64
    assert value.item() == pytest.approx(2000)
    value.backward()
    assert text_emb.grad is not None and text_emb.grad.isfinite().all()


def test_a_batch_without_negatives_is_refused_in_the_decoupled_form_alone() -> None:
    image_emb, text_emb = pairs(4, 3)
    assert ClipForm()(image_emb, text_emb, image_ids=[3] * 4).item() == 0
    with pytest.raises(ValueError, match="none of the 4 pairs has a negative"):
        SimCLR()(image_emb, text_emb, image_ids=[3] * 4)
