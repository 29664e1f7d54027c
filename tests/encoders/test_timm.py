"""Image backbones of timm, and the pocket one: names, weights, preprocessing, every refusal."""

import json
import shutil

import numpy as np
import pytest
import timm
import torch
from hub_server import HubServer
from PIL import Image
from safetensors.torch import load_file, save_file
from small_models import Trap, mini, parameters, photos
from torch import nn

from mmret_lib.data.images import read_pixels
from mmret_lib.encoders import DualEncoder, ImageEncoder
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import shipped

SMALL = "test_efficientnet"  # 0.4 million weights, 160 pixels; made for tests like these
VIT = "test_vit"  # the same as a vision transformer, whose input has a fixed size


def trained(name: str) -> nn.Module:
    """A model of timm with its classifier, and BatchNorm statistics other than the initial ones."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
    return model


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with a small model of timm as the hub has it, and the model."""
    folder = tmp_path_factory.mktemp("published")
    model = trained(SMALL)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    facts = {"input_size": [3, 128, 128], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    config = {"architecture": SMALL, "pretrained_cfg": {**facts, "crop_pct": 0.9}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder, model


# ---------------------------------------------------------------------------------------------
# Models by name


def test_a_model_of_timm_brings_its_own_preprocessing(published):
    _, model = published
    expected = timm.data.resolve_model_data_config(model)
    encoder = ImageEncoder(f"timm/{SMALL}", None)
    entering = expected["input_size"][1]
    assert encoder.image_size == int(entering / expected["crop_pct"])
    assert encoder.crop == expected["crop_pct"]
    torch.testing.assert_close(encoder.mean.flatten(), torch.tensor(expected["mean"]))
    torch.testing.assert_close(encoder.std.flatten(), torch.tensor(expected["std"]))
    assert encoder.features == model.num_features
    seen = []
    encoder.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    with torch.no_grad():
        assert encoder.eval()(photos(2, encoder.image_size)).shape == (2, 128)
    assert seen == [(2, 3, entering, entering)]


def test_the_folders_config_and_then_the_arguments_come_first(published):
    folder, model = published
    encoder = ImageEncoder(f"timm/{SMALL}", folder).eval()
    assert (encoder.image_size, encoder.crop) == (142, 0.9)  # 128 enter
    torch.testing.assert_close(encoder.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    images = photos(2, 142)
    cut = images[:, :, 7:135, 7:135] / 255
    with torch.no_grad():
        maps = model.forward_features((cut - encoder.mean) / encoder.std)
        expected = model.forward_head(maps, pre_logits=True)
        torch.testing.assert_close(encoder.extract_features(images), expected, rtol=1e-4, atol=1e-4)
    given = {"image_size": 100, "crop": 1.0, "mean": [0.5, 0.25, 0.125], "std": (1.0, 1.0, 0.5)}
    encoder = ImageEncoder(f"timm/{SMALL}", folder, **given)
    assert (encoder.image_size, encoder.crop) == (100, 1.0)
    assert encoder.mean.flatten().tolist() == given["mean"]
    assert encoder.std.flatten().tolist() == list(given["std"])


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet", VIT, "mobilenetv3_small_050"])
def test_the_length_of_the_features_is_known(name):
    encoder = ImageEncoder(f"timm/{name}", None, dim=8).eval()
    with torch.no_grad():
        features = encoder.extract_features(photos(1, encoder.image_size))
    assert features.shape == (1, encoder.features)


def test_a_name_that_timm_does_not_have_is_answered_with_the_nearest():
    with pytest.raises(DataError, match=r"no image model 'resnet35'; near it: .*resnet34"):
        ImageEncoder("timm/resnet35", None)
    with pytest.raises(DataError, match=r"no weights of the tag 'a9_in1k'; it has: .*tv_in1k"):
        ImageEncoder("timm/resnet34.a9_in1k", None)
    with pytest.raises(DataError, match=r"timm/NAME for any image model of timm"):
        ImageEncoder("vit_small", None)


def test_another_image_size_for_a_model_of_one_size():
    encoder = ImageEncoder(f"timm/{VIT}", None, image_size=128, crop=1.0).eval()
    assert encoder.image_size == 128
    with torch.no_grad():
        assert encoder(photos(1, 128)).shape == (1, 128)
    with pytest.raises(DataError, match=r"patches of 16 pixels.*100 enter.*such as 96\b"):
        ImageEncoder(f"timm/{VIT}", None, image_size=100, crop=1.0)
    with pytest.raises(DataError, match=r"image_size is -5: .*--image-size"):
        ImageEncoder("pocket", None, image_size=-5)


# ---------------------------------------------------------------------------------------------
# Weights


def test_weights_come_from_the_hub_by_the_default_tag_or_another(hub: HubServer, published):
    folder, model = published
    for tag in ("r160_in1k", "other"):
        shutil.copytree(folder, hub.root / "timm" / f"{SMALL}.{tag}")
    encoder = ImageEncoder(f"timm/{SMALL}", "pretrained")
    assert torch.equal(encoder.backbone.conv_stem.weight, model.conv_stem.weight)
    assert f"GET timm/{SMALL}.r160_in1k/model.safetensors" in hub.requests
    asked = len(hub.requests)
    ImageEncoder(f"timm/{SMALL}.r160_in1k", "pretrained")
    assert len(hub.requests) == asked  # from the hub's cache
    with pytest.raises(MissingFile, match=r"resnet18\.a1_in1k.*by hand.*--image-weights none"):
        ImageEncoder("timm/resnet18", "pretrained")


def test_position_embeddings_are_scaled_to_another_image_size(tmp_path):
    model = trained(VIT)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    encoder = ImageEncoder(f"timm/{VIT}", tmp_path, image_size=96, crop=1.0)
    assert encoder.backbone.pos_embed.shape[1] < model.pos_embed.shape[1]
    assert torch.equal(encoder.backbone.blocks[0].attn.qkv.weight, model.blocks[0].attn.qkv.weight)


@pytest.mark.parametrize("fault", ["another model", "missing", "unknown", "shape"])
def test_weights_of_another_model_are_refused(published, tmp_path, fault):
    folder, _ = published
    state = load_file(folder / "model.safetensors")
    if fault == "another model":
        state = trained("test_resnet").state_dict()
    elif fault == "missing":
        del state["conv_head.weight"]
    elif fault == "unknown":
        state["surprise"] = torch.zeros(1)
    else:
        state["bn1.weight"] = torch.zeros(3)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match=rf"other\.safetensors does not hold .* timm's {SMALL}"):
        ImageEncoder(f"timm/{SMALL}", tmp_path / "other.safetensors")


def test_a_config_of_another_model_or_spoilt_is_refused(published, tmp_path):
    folder = shutil.copytree(published[0], tmp_path / "spoilt")
    with pytest.raises(DataError, match=rf"timm's '{SMALL}' .*--image-backbone timm/{SMALL}"):
        ImageEncoder("timm/test_resnet", folder)
    for key, value in {"mean": [0.5], "std": [0, 1, 1], "crop_pct": 2, "input_size": "x"}.items():
        config = {"architecture": SMALL, "pretrained_cfg": {key: value}}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(DataError, match=rf"config\.json: {key} cannot be"):
            ImageEncoder(f"timm/{SMALL}", folder)
    for text in ("[1]", "{", '{"pretrained_cfg": 3}'):
        (folder / "config.json").write_text(text)
        with pytest.raises(DataError, match=r"config\.json cannot be read"):
            ImageEncoder(f"timm/{SMALL}", folder)


def test_a_pickle_is_never_opened(tmp_path):
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "model.bin")
    with pytest.raises(DataError, match="is a pickle"):
        ImageEncoder(f"timm/{SMALL}", tmp_path / "model.bin")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("backbone", "weights"),
    [("pocket", "pretrained"), (f"timm/{SMALL}", "pocket"), ("pocket", "mini"), ("mini", "pocket")],
)
def test_named_weights_of_other_backbones(backbone, weights):
    with pytest.raises(DataError, match=r"There are no .*--image-weights"):
        ImageEncoder(backbone, weights)


def test_a_saved_backbone_is_read_again_with_its_preprocessing(published, tmp_path):
    saved = ImageEncoder(f"timm/{SMALL}", published[0], image_size=101).eval()
    saved.save_backbone(tmp_path / "image")
    read = ImageEncoder(f"timm/{SMALL}", tmp_path / "image").eval()
    assert (read.image_size, read.crop) == (101, 0.9)
    assert torch.equal(read.mean, saved.mean) and torch.equal(read.std, saved.std)
    with torch.no_grad():
        assert torch.equal(
            read.extract_features(photos(2, 101)), saved.extract_features(photos(2, 101))
        )


def test_a_saved_model_is_opened_with_its_preprocessing(published, tmp_path, no_network):
    model = mini(image_backbone=f"timm/{SMALL}", image_weights=str(published[0])).eval()
    model.save(tmp_path / "model")
    read = DualEncoder.load(tmp_path / "model")
    assert (read.image.image_size, read.image.crop) == (142, 0.9)
    assert torch.equal(read.encode_images(photos(2, 142)), model.encode_images(photos(2, 142)))
    vit = mini(image_backbone=f"timm/{VIT}", image_weights=None, image_size=101).eval()
    vit.save(tmp_path / "vit")
    images = photos(2, 101)
    read = DualEncoder.load(tmp_path / "vit")
    assert torch.equal(read.encode_images(images), vit.encode_images(images))


# ---------------------------------------------------------------------------------------------
# The pocket backbone


def test_the_pocket_backbone_is_ready_without_network(no_network):
    encoder = ImageEncoder("pocket", "pocket").eval()
    assert (encoder.image_size, encoder.crop, encoder.features) == (256, 0.875, 1280)
    assert 3_300_000 < parameters(encoder.backbone) < 3_400_000
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder(photos(1, 256)).isfinite().all()


def test_the_pocket_backbone_is_shipped_small_and_with_its_licence():
    folder = shipped("pocket/image")
    assert (folder / "model.safetensors").stat().st_size < 9.5e6
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "ml-illustrated" in (folder / "ORIGIN.md").read_text()
    assert {v.dtype for v in load_file(folder / "model.safetensors").values()} == {
        torch.float16,
        torch.int64,  # how many batches a BatchNorm has seen
    }


@pytest.fixture(scope="module")
def full(real_data):
    """ImageNet's weights of the pocket backbone in float32, with the classifier."""
    folder = real_data / "weights" / "tf_efficientnet_lite0"
    if not folder.is_dir():
        pytest.skip(f"the full weights are not at {folder}")
    return ImageEncoder("timm/tf_efficientnet_lite0", folder).eval(), load_file(
        folder / "model.safetensors"
    )


NAMES = {  # photos of the album, and how ImageNet names what they show
    "val_000000000285": "brown bear",
    "val_000000002149": "Granny Smith",
    "val_000000160012": "pizza",
    "val_000000519208": "Indian elephant",
    "val_000000215245": "zebra",
    "val_000000006012": "banana",
    "val_000000062554": "broccoli",
    "val_000000008762": "traffic light",
}


@pytest.mark.slow
def test_imagenets_names_of_photos_come_out_right(real_data, full):
    encoder, state = full
    files = [real_data / "album" / "photos" / f"{name}.jpg" for name in NAMES]
    images = torch.from_numpy(np.stack([read_pixels(file, encoder.image_size) for file in files]))
    pocket = ImageEncoder("pocket", "pocket").eval()
    with torch.no_grad():
        features, theirs = pocket.extract_features(images), encoder.extract_features(images)
    cosines = torch.cosine_similarity(features, theirs)
    assert cosines.min() > 0.9999  # what half precision costs; 0.99994 over the whole album
    logits = features @ state["classifier.weight"].T + state["classifier.bias"]
    named = [timm.data.ImageNetInfo().index_to_description(i) for i in logits.argmax(1).tolist()]
    assert [name.split(",")[0] for name in named] == list(NAMES.values())


@pytest.mark.slow
def test_what_enters_the_backbone_is_what_timms_own_transform_gives(real_data, full):
    encoder, _ = full
    transform = timm.data.create_transform(
        **timm.data.resolve_model_data_config(encoder.backbone), is_training=False
    )
    entered = []
    hook = encoder.backbone.register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    for name in NAMES:
        photo = Image.open(real_data / "album" / "photos" / f"{name}.jpg").convert("RGB")
        side = min(photo.size)
        for square, picture in ((True, photo.crop((0, 0, side, side))), (False, photo)):
            ours = torch.from_numpy(read_pixels(picture, encoder.image_size))[None]
            with torch.no_grad():
                features = encoder.extract_features(ours)
                expected = encoder.backbone(transform(picture)[None])
            if square:
                torch.testing.assert_close(*entered[-2:], rtol=0, atol=1e-5)
            # Of other photos timm scales the longer side to whole pixels before it cuts the middle
            # out, which moves it by up to half a pixel: cosines from 0.979 over the whole album.
            assert torch.cosine_similarity(features, expected) > 0.97
    hook.remove()


def test_a_model_with_a_pocket_backbone_opens_without_the_shipped_weights(no_network, tmp_path):
    model = mini(image_backbone="pocket", image_weights="pocket").eval()
    model.save(tmp_path / "model")
    read = DualEncoder.load(tmp_path / "model")
    images = photos(2, 256)
    assert torch.equal(read.encode_images(images), model.encode_images(images))
