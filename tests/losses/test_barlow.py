"""Barlow Twins against a plain loop written from the formula, and against lightly's."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from loss_batches import IDS, SHAPES, assert_equals_loop, pairs, quick, seeds

from mmret_lib.losses import BarlowTwins


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


LOOPS = {
    "barlow": (BarlowTwins, loop_barlow),
    "barlow, lambda 0.3": (partial(BarlowTwins, 0.3), partial(loop_barlow, lambda_=0.3)),
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_loop(name: str, shape: tuple, device: str) -> None:
    assert_equals_loop(*LOOPS[name], shape, device)


def test_lightlys_barlow_twins() -> None:
    peer = pytest.importorskip("lightly.loss", reason="lightly is not installed")
    image_emb, text_emb = pairs(12, 8)
    expected = peer.BarlowTwinsLoss(lambda_param=0.02)(image_emb, text_emb)
    assert BarlowTwins(0.02)(image_emb, text_emb).item() == pytest.approx(expected.item())


@quick
@given(seed=seeds)
def test_barlow_twins_is_blind_to_offset_and_scale_per_dimension(seed: int) -> None:
    image_emb, text_emb = pairs(12, 4, seed)
    offset, scale = torch.linspace(-9, 9, 4), torch.tensor([5.0, 1.0, 30.0, 2.0])
    value = BarlowTwins()(image_emb, text_emb)
    moved = BarlowTwins()(image_emb * scale + offset, text_emb * scale.flip(0) - offset)
    torch.testing.assert_close(moved, value, rtol=1e-3, atol=1e-3)  # the 1e-5 in batch norm


def test_collapsed_embeddings_cost_one_per_dimension(device: str) -> None:
    same = torch.linspace(-1, 2, 128, device=device).repeat(6, 1)
    assert BarlowTwins()(same, same).item() == pytest.approx(128)


def test_barlow_twins_ignores_ids() -> None:
    image_emb, text_emb = pairs(5, 3)
    assert BarlowTwins()(image_emb, text_emb, **IDS) == BarlowTwins()(image_emb, text_emb)


def test_a_lambda_of_zero_leaves_the_term_out() -> None:
    assert BarlowTwins(0).lambda_ == 0
