"""Which weights a backbone starts from when nothing is said about them."""

from pathlib import Path

import numpy as np
import pytest

from mmret_lib.data import Pairs
from mmret_lib.encoders import DualEncoder
from mmret_lib.training import build_model


@pytest.mark.parametrize(
    ("data", "backbone", "expected"),
    [
        ("scenes", "mini", "mini"),
        ("flickr8k", "mini", None),
        ("flickr8k", "resnet34", "imagenet"),
        ("flickr8k", "pocket", "pocket"),
        ("scenes", "timm/resnet18", "pretrained"),
    ],
)
def test_auto_takes_the_weights_that_help_most(monkeypatch, data, backbone, expected):
    asked = {}
    monkeypatch.setattr(DualEncoder, "from_names", lambda **settings: asked.update(settings))
    owner = np.zeros(1, dtype=np.int64)
    pairs = Pairs([Path("a.jpg")], ["a zebra"], owner, image_ids=["a"], name=data)
    build_model("simclr", pairs, image_backbone=backbone, image_size=96)
    assert (asked["image_backbone"], asked["image_weights"]) == (backbone, expected)
    assert asked["image_size"] == 96


@pytest.mark.parametrize(
    ("data", "backbone", "expected"),
    [
        ("scenes", "mini", "mini"),
        ("flickr8k", "mini", None),
        ("flickr8k", "pocket", "pocket"),
        ("scenes", "pocket", "pocket"),
        ("flickr8k", "distilbert-base-uncased", "pretrained"),
    ],
)
def test_auto_takes_the_text_weights_that_help_most(monkeypatch, data, backbone, expected):
    asked = {}
    monkeypatch.setattr(DualEncoder, "from_names", lambda **given: asked.update(given))
    owner = np.zeros(1, dtype=np.int64)
    pairs = Pairs([Path("a.jpg")], ["a zebra"], owner, image_ids=["a"], name=data)
    build_model("simclr", pairs, text_backbone=backbone, pooling="max", max_length=20, dim=32)
    assert (asked["text_backbone"], asked["text_weights"]) == (backbone, expected)
    assert (asked["pooling"], asked["max_length"], asked["dim"]) == ("max", 20, 32)
