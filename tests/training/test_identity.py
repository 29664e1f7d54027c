"""Two trainings are never mixed: what differs is named, with its old and its new value."""

import dataclasses

import pytest
import torch
from interrupted import CONFIG, fit_and_lose, trainer
from torch import nn

from mmret_lib.data.store import pack
from mmret_lib.files.errors import DataError
from mmret_lib.losses import SimCLR
from mmret_lib.training import TrainConfig, Trainer, build_loss, build_model
from mmret_lib.training.identity import differences

pytestmark = pytest.mark.slow  # nearly every test trains or writes much


@pytest.fixture(scope="module")
def lost(world, tmp_path_factory):
    """The folder of a training of SimCLR that was lost after three steps."""
    folder = tmp_path_factory.mktemp("lost")
    fit_and_lose(trainer(world, folder), 3)
    return folder


@pytest.mark.parametrize(
    ("changes", "loss", "said"),
    [
        ({"batch_size": 32}, "simclr", "batch_size: was 16, is now 32"),
        ({"seed": 1, "clip": 2.0}, "simclr", "clip: was 1.0, is now 2.0; seed: was 0, is now 1"),
        ({"epochs": None}, "simclr", "epochs: was 2, is now 108"),
        ({}, "sum_triplet", "loss: was SimCLR, is now SumTriplet"),
    ],
)
def test_another_training_is_not_resumed(world, lost, changes, loss, said):
    other = trainer(world, lost, loss, dataclasses.replace(CONFIG, **changes))
    with pytest.raises(DataError, match=said):
        other.fit(resume=True)


def test_other_data_is_not_resumed(world, lost):
    fewer = pack(world.pairs.subset(range(48)), 64, progress=False)
    with pytest.raises(DataError, match="images: was 64, is now 48"):
        trainer(fewer, lost).fit(resume=True)


def test_other_validation_pairs_are_not_resumed(world, tmp_path):
    """The best epoch of one split is not compared with that of another."""
    config = dataclasses.replace(CONFIG, validate=True)
    fit_and_lose(trainer(world, tmp_path, config=config, validation=world), 5)
    fewer = pack(world.pairs.subset(range(48)), 64, progress=False)
    said = r"validation: was scenes \S+ \(64 images, \d+ captions\), is now scenes \S+ \(48"
    with pytest.raises(DataError, match=said):
        trainer(world, tmp_path, config=config, validation=fewer).fit(resume=True)
    with pytest.raises(DataError, match="is now none"):
        trainer(world, tmp_path, config=config).fit(resume=True)
    identity = trainer(world, config=config).identity
    older = {**identity, "data": {n: v for n, v in identity["data"].items() if n != "validation"}}
    assert differences(older, identity) == []


LOSS = {"temperature": 0.07, "learnable": True}
MODEL = {"image_weights": None, "text_weights": None}


@pytest.mark.parametrize(
    ("loss", "model", "said"),
    [
        ({"temperature": 0.05}, {}, "temperature: was 0.07, is now 0.05"),
        ({"learnable": False}, {}, "learnable: was True, is now False"),
        ({"positive_in_denominator": True}, {}, "positive_in_denominator: was False, is now True"),
        ({"mask_duplicates": False}, {}, "mask_duplicates: was True, is now False"),
        ({}, {"pooling": "mean"}, "pooling: was first, is now mean"),
        ({}, {"standardise": True}, "standardise: was False, is now True"),
        ({}, {"dim": 64}, "dim: was 128, is now 64"),
        ({}, {"image_size": 32}, "image_size: was 64, is now 32"),
        (
            {},
            {"image_weights": "mini"},
            r"image.pretrained_weights: was None, is now mini; starting weights of image.backbone",
        ),
        ({}, {"text_weights": "mini"}, "text.pretrained_weights: was None, is now mini"),
        ({}, {"seed": 5}, r"starting weights of image.backbone: their size was [\d.]+, is now"),
    ],
    ids=str,
)
def test_another_loss_or_model_is_not_resumed(world, lost, loss, model, said):
    other = build_model("simclr", world.pairs, **{**MODEL, **model})
    pairs = world if "image_size" not in model else world.pairs
    one = Trainer(
        other, build_loss("simclr", **{**LOSS, **loss}), pairs, CONFIG, folder=lost, progress=False
    )
    with pytest.raises(DataError, match=f"is of another training .*{said}") as refused:
        one.fit(resume=True)
    assert "give the old values" in str(refused.value) and str(lost) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("margin_softmax", {"temperature": 0.1}, "temperature: was 0.05, is now 0.1"),
        ("top_k_triplet", {"k": 3}, "k: was 8, is now 3"),
        ("multi_similarity", {"base": 0.2}, "base: was 0.5, is now 0.2"),
        ("siglip", {"scale": 20.0}, "scale: was 10.0, is now 20.0"),
        ("siglip", {"bias": -4.0}, "first_bias: was None, is now -4.0"),
        ("adaptive_nce", {"sigma": 0.1}, "sigma: was 1.0, is now 0.1"),
        ("hard_negative_nce", {"beta": 3.0}, "beta: was 1.0, is now 3.0"),
        ("false_negative_filter", {"temperature": 0.1}, "temperature: was 0.07, is now 0.1"),
        ("false_negative_filter", {"margin": 0.1}, "margin: was 0.0, is now 0.1"),
        ("false_negative_filter", {"inner": "siglip"}, "loss.scale: was , is now 10.0"),
    ],
)
def test_settings_of_the_atlas_count(world, name, settings, said):
    before, now = (
        Trainer(
            build_model(name, world.pairs, **MODEL), build_loss(name, **own), world, CONFIG
        ).identity
        for own in ({}, settings)
    )
    assert differences(before, before) == [] and said in "; ".join(differences(before, now))


def test_settings_of_a_loss_of_ones_own_count(world, tmp_path):
    class Mine(nn.Module):
        def __init__(self, power):
            super().__init__()
            self.power, self.inner = power, SimCLR()

        def forward(self, image_emb, text_emb, **ids):
            return self.inner(image_emb, text_emb, **ids) ** self.power

    def mine(power):
        model = build_model("simclr", world.pairs, **MODEL)
        return Trainer(model, Mine(power), world, CONFIG, folder=tmp_path, progress=False)

    fit_and_lose(mine(2), 2)
    with pytest.raises(DataError, match="power: was 2, is now 3"):
        mine(3).fit(resume=True)


def test_what_does_not_shape_a_training_may_change(world, tmp_path):
    fit_and_lose(trainer(world, tmp_path), 6)
    config = dataclasses.replace(CONFIG, snapshot_minutes=5.0, device="auto")
    assert len(trainer(world, tmp_path, config=config).fit(resume=True).rows) == 2


def test_last_bits_of_the_starting_weights_do_not_count(world):
    """Random weights from one seed differ in them between processors."""
    identities = []
    for shaken in (False, True):
        model = build_model("simclr", world.pairs, **MODEL)
        if shaken:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(1 + 2e-7 * torch.randn_like(parameter))
        one = Trainer(model, SimCLR(), world, TrainConfig(batch_size=16), progress=False)
        identities.append(one.identity)
    assert differences(*identities) == []


def test_a_record_of_an_older_version_lacks_only_what_came_later(world):
    """Before a setting existed, training went as its default says."""
    identity = trainer(world).identity
    older = {name: dict(section) for name, section in identity.items()}
    for name in ("train_image", "text_lr", "patience"):
        del older["config"][name]
    older["config"] |= {"backbone_lr": 1e-3, "image_lr": None}  # not filled in by the branch
    older["model"]["trained_part"] = "all"
    del older["model"]["image.features"]
    assert differences(older, identity) == []
    with pytest.warns(UserWarning, match="the text backbone has random weights"):
        frozen = trainer(world, config=dataclasses.replace(CONFIG, train="image")).identity
    rates = {"backbone_lr": 1e-3, "image_lr": None, "text_lr": 1e-4}  # the last without effect
    assert differences({**frozen, "config": {**frozen["config"], **rates}}, frozen) == []
    changed = trainer(world, config=dataclasses.replace(CONFIG, text_lr=5e-5, patience=2)).identity
    assert sorted(differences(older, changed)) == [
        "patience: was 0, is now 2",
        "text_lr: was 0.001, is now 5e-05",
    ]
