"""The image branch: shapes, colours, backbones, and every refusal."""

import json

import pytest
import torch
import torchvision
from small_models import (
    parameters,
    photos,
)
from torch import nn

from mmret_lib.encoders import ImageEncoder, MiniResNet
from mmret_lib.files.errors import DataError


def test_mini_resnet_is_small_and_scales_with_its_width():
    model = MiniResNet()
    assert 1_200_000 < parameters(model) < 1_300_000
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, model.features) == (2, 256)
    assert MiniResNet(width=8)(torch.zeros(2, 3, 40, 72)).shape == (2, 64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "features"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)]
)
def test_resnets_are_torchvisions_without_the_classifier(name, features):
    encoder = ImageEncoder(name, weights=None).eval()
    assert encoder.features == features
    assert encoder.image_size == 224
    theirs = torchvision.models.get_model(name, weights=None).state_dict()
    wanted = {n: v.shape for n, v in theirs.items() if not n.startswith("fc.")}
    assert {n: v.shape for n, v in encoder.backbone.state_dict().items()} == wanted
    with torch.no_grad():
        assert encoder(photos(1)).shape == (1, 128)


def test_pixels_are_normalised_inside_whatever_their_type():
    encoder = ImageEncoder(weights=None, dim=16).eval()
    images = photos()
    normalised = torchvision.transforms.functional.normalize(
        images / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
    )
    with torch.no_grad():
        expected = encoder.projection(encoder.backbone(normalised))
        torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoder(images / 255), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            encoder(images), encoder.projection(encoder.extract_features(images))
        )


def test_memory_format_changes_speed_only():
    fast = ImageEncoder(weights=None, channels_last=True).eval()
    plain = ImageEncoder(weights=None, channels_last=False).eval()
    plain.load_state_dict(fast.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fast(photos()), plain(photos()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 64, 64, dtype=torch.uint8),
        torch.zeros(2, 64, 64, 3, dtype=torch.uint8),
        torch.zeros(2, 3, 64, 64, dtype=torch.int64),
    ],
    ids=["no batch", "channels last", "int64"],
)
def test_images_of_another_make_are_refused(images):
    with pytest.raises(ValueError, match=r"images must be"):
        ImageEncoder(weights=None)(images)


@pytest.mark.parametrize(
    ("backbone", "weights"),
    [("resnet18", "mini"), ("mini", "imagenet"), ("resnet19", None), ("mini_resnet", "mini")],
)
def test_image_settings_that_do_not_exist(backbone, weights):
    with pytest.raises(DataError, match=r"resnet18|--image-weights"):
        ImageEncoder(backbone, weights)


def test_image_backbone_survives_saving_beside_other_files(tmp_path):
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "README.md").write_text("how these weights were made")
    saved = ImageEncoder(weights=None).eval()
    for module in saved.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_()
    saved.save_backbone(folder)
    for weights in (folder, str(folder), folder / "model.safetensors"):
        read = ImageEncoder(weights=weights).eval()
        with torch.no_grad():
            assert torch.equal(read.extract_features(photos()), saved.extract_features(photos()))
    assert (folder / "README.md").read_text() == "how these weights were made"
    assert json.loads((folder / "config.json").read_text())["features"] == 256
    assert [path.name for path in tmp_path.iterdir()] == ["image"]
