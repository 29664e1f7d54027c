"""Both branches: training and search, freezing, groups of parameters, standardisation."""

import warnings

import pytest
import torch
from small_models import CAPTIONS, WEIRD, mini, photos
from torch import nn

from mmret_lib.encoders import DualEncoder, ImageEncoder, TextEncoder
from mmret_lib.files.errors import DataError


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(module: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(v, before[name]) for name, v in module.state_dict().items())


def test_training_and_search_give_the_same_embeddings(device):
    model = mini(dim=48).to(device).eval()
    tokens = {name: value.to(device) for name, value in model.text.tokenize(CAPTIONS[:4]).items()}
    with torch.no_grad():
        image_emb, text_emb = model(photos(4).to(device), tokens)
    assert image_emb.shape == text_emb.shape == (4, 48)
    tolerance = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(model.encode_images(photos(4)), image_emb, **tolerance)
    torch.testing.assert_close(model.encode_images(photos(4).numpy()), image_emb, **tolerance)
    torch.testing.assert_close(model.encode_texts(CAPTIONS[:4]), text_emb, **tolerance)
    norms = image_emb.norm(dim=1)
    assert (norms - 1).abs().max() > 0.01  # the losses normalise, not the model


def test_kept_features_are_only_projected():
    model = mini(dim=48).eval()
    tokens = model.text.tokenize(CAPTIONS[:4])
    with torch.no_grad():
        expected = model(photos(4), tokens)
        image_features = model.image.extract_features(photos(4))  # (4, 256)
        text_features = model.text.extract_features(**tokens)  # (4, 128)
        for dtype, tolerance in ((torch.float32, 0.0), (torch.float16, 1e-2)):
            kept = model(image_features.to(dtype), {"features": text_features.to(dtype)})
            torch.testing.assert_close(kept, expected, rtol=tolerance, atol=tolerance)
        mixed = model(image_features, tokens)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=0)
    torch.testing.assert_close(model.encode_images(image_features), expected[0], rtol=0, atol=0)


def test_kept_features_of_another_length_are_refused():
    model = mini()
    with pytest.raises(ValueError, match=r"must be \(B, 256\), got \(4, 255\)"):
        model.image(torch.zeros(4, 255))
    with pytest.raises(ValueError, match=r"must be \(B, 128\), got \(4, 256\)"):
        model.text(features=torch.zeros(4, 256))
    tokens = model.text.tokenize(CAPTIONS[:4])
    for wrong in ({}, {**tokens, "features": torch.zeros(4, 128)}):
        with pytest.raises(ValueError, match="features in their place"):
            model.text(**wrong)


def test_search_is_at_rest_even_in_training():
    model = mini(standardise=True).train()
    before = snapshot(model)
    first = model.encode_images(photos(1)), model.encode_texts(["zebra"])  # one row: no statistics
    again = model.encode_images(photos(1)), model.encode_texts(["zebra"])
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not moved(model, before)
    assert not first[0].requires_grad
    assert not first[1].requires_grad
    assert all(module.training for module in model.modules())


def test_batches_and_order_do_not_matter_in_search():
    model = mini().eval()
    texts = WEIRD + CAPTIONS[:5]
    tolerance = {"rtol": 1e-4, "atol": 1e-5}
    one_by_one = torch.cat([model.encode_texts([text]) for text in texts])
    torch.testing.assert_close(model.encode_texts(texts, batch_size=4), one_by_one, **tolerance)
    images = photos(7)
    torch.testing.assert_close(
        model.encode_images(images, batch_size=3), model.encode_images(images), **tolerance
    )
    for nothing in ([], "zebra"):
        with pytest.raises(TypeError, match="list of at least one string"):
            model.encode_texts(nothing)


@pytest.mark.filterwarnings("ignore:the .* has random weights")
@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize(
    ("parts", "trained"),
    [
        (("all",), {"image.backbone", "image.projection", "text.backbone", "text.projection"}),
        (("projections",), {"image.projection", "text.projection"}),
        (("image",), {"image.backbone", "image.projection"}),
        (("text",), {"text.backbone", "text.projection"}),
        # locked-image and locked-text tuning
        (
            ("all", "projection", None),
            {"image.projection", "text.backbone", "text.projection"},
        ),
        (("all", "nothing"), {"text.backbone", "text.projection"}),
        (
            ("projections", "whole"),
            {"image.backbone", "image.projection", "text.projection"},
        ),
        (("image", None, "projection"), {"image.backbone", "image.projection", "text.projection"}),
        (("projections", None, "nothing"), {"image.projection"}),
    ],
    ids=lambda value: " ".join(sorted(map(str, value))) if isinstance(value, set) else str(value),
)
def test_what_is_frozen_does_not_move(parts, trained, standardise):
    model = mini(standardise=standardise)
    model.train_only("text")  # an earlier choice leaves nothing behind
    model.train_only(*parts)
    assert model.trains_backbones is any("backbone" in name for name in trained)
    groups = model.parameter_groups(0.1, 0.1, 0.1)
    optimiser = torch.optim.SGD(groups)
    names = ("image.backbone", "image.projection", "text.backbone", "text.projection")
    parts = {name: model.get_submodule(name) for name in names}
    before = {name: snapshot(module) for name, module in parts.items()}
    norms = snapshot(model.image_norm)
    tokens = model.text.tokenize(CAPTIONS[:4])
    model.eval()
    model.train()
    for _ in range(2):
        image_emb, text_emb = model(photos(4), tokens)
        optimiser.zero_grad()
        (image_emb.cos().sum() + (text_emb - image_emb).sin().sum()).backward()
        optimiser.step()
    assert {name for name in names if moved(parts[name], before[name])} == trained
    assert {n for n in names if any(m.training for m in parts[n].modules())} == trained
    assert {n for n in names if any(p.grad is not None for p in parts[n].parameters())} == trained
    assert moved(model.image_norm, norms) is standardise  # measured, never frozen


@pytest.mark.filterwarnings("ignore:the .* has random weights")
def test_frozen_dropout_is_off():
    model = mini().train()
    tokens = model.text.tokenize(CAPTIONS[:4])
    assert not torch.equal(
        model.text.extract_features(**tokens), model.text.extract_features(**tokens)
    )
    model.train_only("projections")
    assert torch.equal(model.text.extract_features(**tokens), model.text.extract_features(**tokens))
    model.train_only("all")
    assert not torch.equal(
        model.text.extract_features(**tokens), model.text.extract_features(**tokens)
    )
    with pytest.raises(DataError, match="choose all, projections, image, text"):
        model.train_only("images")
    with pytest.raises(DataError, match="of the text branch: choose whole, projection, nothing"):
        model.train_only(text="all")
    for nothing in (("all", "nothing", "nothing"), ("image", "nothing")):
        with pytest.raises(DataError, match=r"Nothing of either branch would train.*--train-image"):
            model.train_only(*nothing)


RANDOM = "has random weights and would stay as it is"


def test_freezing_a_random_backbone_is_warned_of(tmp_path):
    model = mini(image_weights="mini")
    model.train_only()
    with pytest.warns(UserWarning, match=f"^the text backbone {RANDOM}.*--text-weights"):
        model.train_only("projections")
    with pytest.warns(UserWarning, match=f"^the image backbone {RANDOM}.*--train-image whole"):
        mini().train_only("text")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.train_only("projections")  # said already
        mini().train_only("all")
        model.train_only("text")  # the image backbone, pretrained, is frozen
        model.save(tmp_path / "model")
        DualEncoder.load(tmp_path / "model").train_only("projections")
        emb = model.text(**model.text.tokenize(CAPTIONS[:2]))
        emb.sum().backward()
        torch.optim.SGD(model.parameters(), 0.1).step()  # trained now
        model.train_only("projections")


def test_parameter_groups_hold_each_trained_parameter_once():
    model = mini(standardise=True)
    groups = model.parameter_groups(backbone_lr=1e-4, projection_lr=1e-3, weight_decay=0.05)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert rate[id(parameter)] == (1e-3 if "projection" in name else 1e-4), name
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            norm = isinstance(module, nn.BatchNorm2d | nn.LayerNorm)
            assert decay[id(parameter)] == (0 if norm or name == "bias" else 0.05), (module, name)
    torch.optim.AdamW(groups)
    with pytest.warns(UserWarning, match="random weights"):
        model.train_only("projections")
    assert len(model.parameter_groups(1, 1, 1)) == 2


def test_each_backbone_may_have_its_own_rate():
    """Such as 5e-5 for pretrained text beside 1e-3 for a random image branch."""
    model = mini()
    for given, image_lr in (({"text_lr": 5e-5}, 1e-3), ({"text_lr": 5e-5, "image_lr": 0.1}, 0.1)):
        groups = model.parameter_groups(1e-3, 2e-3, 0.05, **given)
        rate = {id(p): group["lr"] for group in groups for p in group["params"]}
        assert len(rate) == len(list(model.parameters()))
        for name, parameter in model.named_parameters():
            branch = image_lr if name.startswith("image") else 5e-5
            assert rate[id(parameter)] == (2e-3 if "projection" in name else branch), name
    # Groups and their order are those of older versions' snapshots where the rates are equal.
    same = model.parameter_groups(1e-3, 2e-3, 0.05, image_lr=1e-4, text_lr=1e-4)
    assert [(g["name"], g["lr"]) for g in same] == [
        ("backbone, decay 0.05", 1e-4),
        ("backbone, decay 0", 1e-4),
        ("projection, decay 0.05", 2e-3),
        ("projection, decay 0", 2e-3),
    ]


def test_standardised_branches_have_mean_0_and_deviation_1():
    """Whatever a branch's scale and offset per dimension, the ranking sees neither."""
    torch.manual_seed(0)
    model = mini(standardise=True, dim=16)
    tokens = model.text.tokenize(CAPTIONS[:5])
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        for branch, norm in ((model.image, model.image_norm), (model.text, model.text_norm)):
            branch.projection.weight.mul_(torch.logspace(1, 3, 16)[:, None])
            branch.projection.bias.fill_(1000.0)
            norm.momentum = None  # plain averages: exact for a batch that repeats
        model.image.backbone.eval()
        for _ in range(3):
            model(photos(5), tokens)
        model.eval()
        for embeddings in model(photos(5), tokens):
            torch.testing.assert_close(embeddings.mean(0), torch.zeros(16), atol=2e-3, rtol=0)
            torch.testing.assert_close(embeddings.std(0), torch.ones(16), atol=2e-2, rtol=0)


def test_branches_of_different_length_are_refused():
    with pytest.raises(ValueError, match="image 16, text 128"):
        DualEncoder(
            ImageEncoder(weights=None, dim=16), TextEncoder("mini", None, captions=CAPTIONS)
        )
