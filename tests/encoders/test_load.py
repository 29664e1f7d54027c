"""A saved model opens with the same bits, or says what is wrong with its folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from small_models import (
    CAPTIONS,
    WEIRD,
    Trap,
    mini,
    photos,
    spoil,
)
from torch import nn

from mmret_lib.encoders import DualEncoder, ImageEncoder, TextEncoder
from mmret_lib.files.errors import DataError, MissingFile

SAVED = {
    "mini": {},
    "mean, standardised": {"pooling": "mean", "standardise": True, "dim": 24, "max_length": 9},
    "resnet18": {"image_backbone": "resnet18", "image_size": 96},
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", SAVED.values(), ids=SAVED)
def test_a_saved_model_gives_the_same_bits_without_a_network(tmp_path, no_network, settings):
    model = mini(**settings)
    model.train()
    model(photos(3), model.text.tokenize(CAPTIONS[:3]))  # statistics of its own
    model.save(tmp_path / "run" / "model")
    read = DualEncoder.load(tmp_path / "run" / "model")
    assert not read.training
    assert torch.equal(read.encode_images(photos()), model.encode_images(photos()))
    assert torch.equal(read.encode_texts(WEIRD), model.encode_texts(WEIRD))
    assert read.image.image_size == model.image.image_size
    read.save(tmp_path / "again")
    for name in ("model.json", "model.safetensors", "text/config.json", "text/tokenizer.json"):
        first, second = tmp_path / "run" / "model" / name, tmp_path / "again" / name
        assert first.read_bytes() == second.read_bytes(), name


@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_a_saved_model_needs_nothing_of_the_pretrained_one(tiny, tmp_path, no_network, name):
    source = shutil.copytree(tiny / name, tmp_path / "source")
    text = TextEncoder(source, "pretrained")
    model = DualEncoder(ImageEncoder(weights=None), text)
    model.save(tmp_path / "model")
    shutil.rmtree(source)
    read = DualEncoder.load(tmp_path / "model")
    assert torch.equal(read.encode_texts(CAPTIONS), model.encode_texts(CAPTIONS))
    assert read.text.backbone_name == str(source)
    assert str(tmp_path) not in (tmp_path / "model" / "text" / "config.json").read_text()


def test_a_new_model_replaces_the_old_one_whole(tmp_path):
    small, large = mini(dim=8), mini(dim=16)
    small.save(tmp_path / "model")
    large.save(tmp_path / "model")
    assert DualEncoder.load(tmp_path / "model").dim == 16
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_save_that_fails_leaves_the_old_model(tmp_path, monkeypatch):
    model = mini()
    model.save(tmp_path / "model")
    before = model.encode_texts(CAPTIONS)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(type(model.text.tokenizer), "save_pretrained", full)
    nn.init.zeros_(model.text.projection.weight)
    with pytest.raises(OSError, match="no space left"):
        model.save(tmp_path / "model")
    with pytest.raises(OSError, match="no space left"):
        model.save(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert torch.equal(DualEncoder.load(tmp_path / "model").encode_texts(CAPTIONS), before)


def test_saving_deletes_nobodys_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"holds thesis\.tex"):
        mini().save(tmp_path)
    with pytest.raises(DataError, match=r"thesis\.tex is a file; give a folder"):
        mini().save(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    mini().save(folder)
    return folder


@pytest.fixture
def model_folder(saved_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved_model, tmp_path / "model")


@pytest.mark.parametrize(
    "absent",
    [".", "model.json", "model.safetensors", "text", "text/config.json", "text/tokenizer.json"],
)
def test_a_model_with_a_part_missing(model_folder, no_network, monkeypatch, absent):
    monkeypatch.chdir(model_folder.parent)  # "model/text" must not pass for a name on the hub
    path = model_folder / absent
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(MissingFile) as caught:
        DualEncoder.load("model")
    assert str(model_folder) in str(caught.value)
    assert absent.removeprefix("text/") in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "version 2, this mmret reads version 1"),
        ({"version": None}, "version None"),
        ({"format": "cake"}, "does not describe a saved mmret model"),
        ({"dim": 64}, "size mismatch for image.projection.weight"),
        ({"dim": "128"}, "dim cannot be '128'"),
        ({"dim": -1}, "dim cannot be -1"),
        ({"standardise": True}, 'Missing key(s) in state_dict: "image_norm.running_mean"'),
        ({"surprise": 1}, "surprise missing or unknown"),
        ({"image": {"backbone": "mini"}}, "image.channels_last, image.image_size missing"),
        ({"image": None}, "image.backbone"),
        (
            {"text": {"backbone": "mini", "pooling": "max", "max_length": 64}},
            "choose first or mean",
        ),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_named(model_folder, changes, said):
    path = model_folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DataError) as caught:
        DualEncoder.load(model_folder)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000], ids=lambda c: repr(c[:9])
)
def test_settings_that_are_no_json_object(model_folder, content):
    (model_folder / "model.json").write_bytes(content)
    with pytest.raises(DataError, match=r"model\.json (is not JSON|does not describe)"):
        DualEncoder.load(model_folder)


@pytest.mark.parametrize("fault", ["truncated", "empty", "text", "missing", "unknown", "shape"])
def test_damaged_model_weights(model_folder, fault):
    spoil(model_folder / "model.safetensors", fault)
    with pytest.raises(DataError, match=r"model\.safetensors (cannot be read|does not hold)"):
        DualEncoder.load(model_folder)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "text/extra.pkl", "notes"])
def test_a_model_folder_with_a_pickle_in_it(model_folder, tmp_path, name):
    torch.save({"a": Trap(tmp_path / "sprung")}, model_folder / name)
    with pytest.raises(DataError, match="is a pickle"):
        DualEncoder.load(model_folder)
    assert not (tmp_path / "sprung").exists()
