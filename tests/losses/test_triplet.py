"""The triplet losses against plain loops written from the formulas, and at their limits."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from loss_batches import SHAPES, assert_equals_loop, cosines, negatives_of, pairs

from mmret_lib.losses import MaxTriplet, SumTriplet


def loop_triplet(image_emb, text_emb, margin=0.2, combine=sum, **ids) -> float:
    s = cosines(image_emb, text_emb)
    total = 0.0
    for b in range(len(s)):
        as_image = [max(0.0, margin - s[b][b] + s[b][k]) for k in negatives_of(b, len(s), **ids)]
        as_text = [max(0.0, margin - s[b][b] + s[k][b]) for k in negatives_of(b, len(s), **ids)]
        total += combine([0.0, *as_image]) + combine([0.0, *as_text])
    return total / len(s)


LOOPS: dict[str, tuple[Callable, Callable]] = {
    "sum": (SumTriplet, loop_triplet),
    "sum, margin 0.7": (partial(SumTriplet, 0.7), partial(loop_triplet, margin=0.7)),
    "max": (MaxTriplet, partial(loop_triplet, combine=max)),
    "max, margin 1": (partial(MaxTriplet, 1), partial(loop_triplet, margin=1, combine=max)),
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_loop(name: str, shape: tuple, device: str) -> None:
    assert_equals_loop(*LOOPS[name], shape, device)


@pytest.mark.parametrize(("batch", "margin"), [(2, 0.2), (6, 0.2), (33, 0.35)])
def test_collapsed_embeddings(batch: int, margin: float, device: str) -> None:
    same = torch.linspace(-1, 2, 128, device=device).repeat(batch, 1)
    assert MaxTriplet(margin)(same, same).item() == pytest.approx(2 * margin, rel=1e-5)
    expected = 2 * margin * (batch - 1)
    assert SumTriplet(margin)(same, same).item() == pytest.approx(expected, rel=1e-5)


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


@pytest.mark.parametrize("steps", [-1, 1.5, "3"])
def test_refuses_bad_steps(steps: Any) -> None:
    with pytest.raises(ValueError, match=f"all_negatives_steps .*not {steps!r}"):
        MaxTriplet(all_negatives_steps=steps)
