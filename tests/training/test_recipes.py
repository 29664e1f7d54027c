"""Which weights a backbone starts from when nothing is said about them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmret_lib.data import Pairs
from mmret_lib.encoders import DualEncoder
from mmret_lib.training import TrainConfig, build_model
from mmret_lib.training.recipes import rates_line, with_rates


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


CAPTIONS = ["A red bus.", "Two zebras on dry dirt."]


@pytest.mark.parametrize(
    ("weights", "given", "rates"),
    [
        (("pocket", "pocket"), {}, (5e-5, 5e-5)),
        (("pocket", None), {}, (5e-5, 1e-3)),
        ((None, "pocket"), {}, (1e-3, 5e-5)),
        ((None, None), {}, (1e-3, 1e-3)),
        (("pocket", None), {"backbone_lr": 1e-4}, (1e-4, 1e-4)),
        (("pocket", None), {"text_lr": 2e-4}, (5e-5, 2e-4)),
        (("pocket", None), {"backbone_lr": 1e-4, "image_lr": 0.0}, (0.0, 1e-4)),
        (("pocket", None), {"train": "image"}, (5e-5, None)),
        (("pocket", "pocket"), {"train": "projections"}, (None, None)),
    ],
    ids=str,
)
def test_a_backbone_trains_at_the_rate_that_its_weights_want(weights, given, rates):
    """A pretrained one took 1e-3, as random ones do, unless one knew the flag."""
    model = DualEncoder.from_names("pocket", weights[0], "pocket", weights[1], dim=8)
    config = TrainConfig(**given)
    model.train_only(config.train)
    filled = with_rates(config, model)
    assert (filled.image_lr, filled.text_lr) == rates
    groups = model.parameter_groups(
        *(config.backbone_lr, 1.0, 0.0, config.image_lr, config.text_lr)
    )
    used = {group["lr"] for group in groups if "backbone" in group["name"]}
    assert used == {rate for rate in rates if rate is not None}
    line = rates_line(filled, model)
    for name, kind, rate in zip(("image", "text"), weights, rates, strict=True):
        weighed = "pretrained" if kind else "random"
        said = (
            f"{name} backbone" if rate is None else f"{name} backbone {rate:g} ({weighed} weights)"
        )
        assert (said in line) is (rate is not None)
    assert line.endswith("projections 0.002")


def test_the_mini_backbones_keep_the_rate_of_their_recorded_figures():
    for weights in ("mini", None):
        model = DualEncoder.from_names(
            image_weights=weights, text_weights=weights, captions=CAPTIONS
        )
        assert model.backbone_rates() == {"image": 1e-3, "text": 1e-3}
    assert "image backbone 0.001 (random weights)" in rates_line(
        with_rates(TrainConfig(), model), model
    )


def test_weights_that_were_trained_since_are_no_longer_random():
    model = DualEncoder.from_names("pocket", None, captions=CAPTIONS)
    assert model.backbone_rates()["image"] == 1e-3
    with torch.no_grad():
        for parameter in model.image.backbone.parameters():
            parameter.mul_(1.1)
    assert model.backbone_rates()["image"] == 5e-5
