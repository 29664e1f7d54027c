"""Embeddings that cannot rank are recognised, and sound ones are left alone."""

import numpy as np
import pytest
import torch

from mmret_lib.metrics import diagnosis, evaluate
from mmret_lib.metrics.diagnosis import diagnose, share_above

IMAGES, CAPTIONS, DIM = 60, 3, 16
OWNER = np.repeat(np.arange(IMAGES), CAPTIONS)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(1)  # with 1 seed in 200 the ranks of 60 images differ from chance by chance


def sound(noise=1.0, seed=0):
    """Images in many directions, and captions near them."""
    generator = torch.Generator().manual_seed(seed)
    image_emb = torch.randn(IMAGES, DIM, generator=generator)
    text_emb = image_emb[OWNER] + noise * torch.randn(len(OWNER), DIM, generator=generator)
    return image_emb, text_emb


@pytest.mark.parametrize("noise", [0.1, 1.0, 30.0])
def test_nothing_is_said_of_sound_embeddings(noise):
    """Not even of those that rank by chance, if they differ: why they do is another matter."""
    image_emb, text_emb = sound(noise)
    assert diagnose(image_emb, text_emb, OWNER) == {}
    assert diagnose(image_emb, None) == {} and diagnose(None, None) == {}
    assert diagnose(image_emb.numpy().astype(np.float16), text_emb.double(), OWNER.tolist()) == {}


@pytest.mark.parametrize("constant", ["image", "caption", "image and caption"])
def test_one_direction_is_named_with_its_side(constant):
    image_emb, text_emb = sound()
    direction = 3 * torch.ones(DIM)
    if "image" in constant:
        image_emb = direction + 1e-4 * torch.randn(IMAGES, DIM)
    if "caption" in constant:
        text_emb = direction + 1e-4 * torch.randn(len(OWNER), DIM)
    found = diagnose(image_emb, text_emb, OWNER)
    assert list(found) == ["one direction"]
    line = found["one direction"]
    for side in ("image", "caption"):
        assert (f"{side} embeddings (mean cosine 1.0000, effective rank 1.00)" in line) is (
            side in constant
        )
    assert "by chance" in line and "Try" in line and "\n" not in line


def test_two_opposite_directions_and_zeros_are_no_better():
    text_emb = sound()[1]
    signs = torch.tensor([1.0, -1.0]).repeat(IMAGES // 2)[:, None]
    for collapsed in (signs * torch.ones(DIM), torch.zeros(IMAGES, DIM)):
        assert "effective rank 1.00" in diagnose(collapsed, text_emb, OWNER)["one direction"]


def test_what_ranks_by_hairs_has_not_collapsed():
    """Max Triplet may keep all embeddings together, its loss at 2 x margin, and yet rank well."""
    image_emb, text_emb = (5 + 0.01 * emb for emb in sound(noise=0.1))
    assert evaluate(image_emb, text_emb, OWNER).t2i.recall[1] > 90
    assert diagnose(image_emb, text_emb, OWNER) == {}
    # Without captions, or without knowing whose they are, it cannot be told.
    assert "ranks by hairs" in diagnose(image_emb, None)["one direction"]
    assert "mmret evaluate" in diagnose(image_emb, text_emb)["one direction"]


def test_a_hub_is_named_with_its_share():
    image_emb, text_emb = sound()
    text_emb = text_emb + 6  # all captions lean into one direction, and image 7 is that direction
    image_emb[7] = 6
    found = diagnose(image_emb, text_emb, OWNER)
    assert list(found) == ["hub image"]
    assert (
        "image 7 (counted from 0) is the first answer to 100% of the captions" in found["hub image"]
    )
    image_emb, text_emb = sound()
    text_emb[11] = 6
    assert "caption 11 (counted from 0)" in diagnose(image_emb + 6, text_emb, OWNER)["hub caption"]


def test_few_rows_say_nothing():
    """Seven photos of a burst are alike, and among few answers one comes first often."""
    assert diagnose(torch.ones(7, DIM), torch.ones(7, DIM), range(7)) == {}
    for seed in range(50):
        image_emb, text_emb = (emb[:10] for emb in sound(30.0, seed))
        assert diagnose(image_emb, text_emb, range(10)) == {}


def test_the_share_above_is_that_of_the_ranks():
    image_emb, text_emb = sound(2.0)
    ranks = evaluate(image_emb, text_emb, OWNER).t2i.ranks
    expected = np.mean(ranks) / (IMAGES - 1)
    assert share_above(image_emb, text_emb, OWNER) == pytest.approx(expected, abs=1e-6)
    equal = torch.ones(IMAGES, DIM), torch.ones(len(OWNER), DIM)
    assert share_above(*equal, OWNER) == 0.5
    assert share_above(torch.eye(2), torch.eye(2), range(2)) == 0


def test_work_is_bounded_and_pieces_change_nothing(monkeypatch):
    image_emb, text_emb = sound()
    image_emb[7] = 6
    whole = diagnose(image_emb, text_emb + 6, OWNER)
    monkeypatch.setattr(diagnosis, "ANSWERS_AT_ONCE", 7)
    assert diagnose(image_emb, text_emb + 6, OWNER) == whole
    monkeypatch.setattr(diagnosis, "MOST_SCORES", 40 * IMAGES)  # 40 captions are looked at
    assert "100%" in diagnose(image_emb, text_emb + 6, OWNER)["hub image"]
    monkeypatch.setattr(diagnosis, "MOST_SCORES", 10 * IMAGES)  # too few to say anything
    assert diagnose(image_emb, text_emb + 6, OWNER) == {}
