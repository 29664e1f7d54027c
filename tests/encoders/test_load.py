"""A saved model opens with the same bits, or says what is wrong with its folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
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


@pytest.mark.parametrize("changes", [{"mean": [0.5]}, {"std": ["a", 1.0, 1.0]}, {"crop": 1.5}])
def test_preprocessing_that_cannot_be_is_named(model_folder, changes):
    path = model_folder / "model.json"
    settings = json.loads(path.read_text())
    settings["image"] |= changes
    path.write_text(json.dumps(settings))
    with pytest.raises(DataError, match=rf"model\.json: image\.{next(iter(changes))} must"):
        DualEncoder.load(model_folder)


def test_a_saved_model_names_the_weights_it_began_with(tmp_path):
    model = mini(image_weights="mini")
    model.save(tmp_path / "model")
    settings = json.loads((tmp_path / "model" / "model.json").read_text())
    assert settings["version"] == 2
    assert settings["image"]["weights"] == "mini" and settings["text"]["weights"] is None
    read = DualEncoder.load(tmp_path / "model")
    assert read.image.pretrained_weights == "mini" and read.text.pretrained_weights is None


def test_a_model_with_a_backbone_of_timm_opens_without_a_network(tmp_path, no_network):
    """With its preprocessing, although that is not what timm says of this backbone."""
    image = ImageEncoder(
        "timm/mobilenetv3_small_050",
        None,
        16,
        40,
        crop=0.8,
        mean=(0.1, 0.2, 0.3),
        std=(1.0, 2.0, 3.0),
    )
    model = DualEncoder(image, mini(dim=16).text).eval()
    model.save(tmp_path / "model")
    read = DualEncoder.load(tmp_path / "model")
    assert read.image.crop == 0.8 and read.image.image_size == 40
    images = photos(2, size=40)
    assert torch.equal(read.encode_images(images), model.encode_images(images))


def test_a_model_of_version_1_still_opens(tmp_path):
    """It had one weights file, and said nothing of the beginning and of the preprocessing."""
    model = mini(pooling="mean")
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    settings = json.loads(path.read_text())
    del settings["frozen"], settings["text"]["weights"]
    for name in ("weights", "crop", "mean", "std"):
        del settings["image"][name]
    path.write_text(json.dumps(settings | {"version": 1}))
    read = DualEncoder.load(tmp_path / "model")
    assert torch.equal(read.encode_images(photos()), model.encode_images(photos()))
    assert torch.equal(read.encode_texts(CAPTIONS), model.encode_texts(CAPTIONS))
    path.write_text(json.dumps(settings | {"version": 1, "frozen": None}))
    with pytest.raises(DataError, match="frozen missing or unknown"):
        DualEncoder.load(tmp_path / "model")


def test_a_branch_that_cannot_be_opened_is_not_saved(tmp_path):
    class Mine(ImageEncoder):
        pass

    model = DualEncoder(Mine(weights=None), mini().text)
    with pytest.raises(DataError, match=r"a Mine cannot be saved.* by its state_dict"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def half_frozen():
    """A model whose image backbone is frozen."""
    model = mini(image_weights="mini")
    model.train_only(image="projection")
    return model.eval()


def test_frozen_weights_are_written_once(half_frozen, tmp_path):
    half_frozen.save(tmp_path / "best")
    frozen, trained = (tmp_path / "best" / f"{n}.safetensors" for n in ("frozen", "model"))
    assert all(name.startswith("image.backbone.") for name in load_file(frozen))
    assert load_file(frozen).keys() | load_file(trained).keys() == half_frozen.state_dict().keys()
    assert "image.projection.weight" in load_file(trained)
    inode = frozen.stat().st_ino
    nn.init.ones_(half_frozen.image.projection.weight)
    half_frozen.save(tmp_path / "best")  # of a later epoch
    half_frozen.save(tmp_path / "model", share=tmp_path / "best")
    assert frozen.stat().st_ino == (tmp_path / "model" / frozen.name).stat().st_ino == inode
    assert trained.stat().st_ino != (tmp_path / "model" / trained.name).stat().st_ino

    shutil.copytree(tmp_path / "model", tmp_path / "elsewhere" / "model")
    shutil.rmtree(tmp_path / "best")
    for folder in (tmp_path / "model", tmp_path / "elsewhere" / "model"):
        read = DualEncoder.load(folder)
        assert torch.equal(read.encode_images(photos()), half_frozen.encode_images(photos()))
        assert torch.equal(read.encode_texts(CAPTIONS), half_frozen.encode_texts(CAPTIONS))


def test_other_frozen_weights_are_not_taken(half_frozen, tmp_path):
    half_frozen.save(tmp_path / "best")
    with torch.no_grad():
        half_frozen.image.backbone.bn1.running_mean.add_(1)  # frozen statistics count, too
    half_frozen.save(tmp_path / "model", share=tmp_path / "best")
    first, second = (tmp_path / name / "frozen.safetensors" for name in ("best", "model"))
    assert first.read_bytes() != second.read_bytes()
    read = DualEncoder.load(tmp_path / "model")
    assert torch.equal(read.encode_images(photos()), half_frozen.encode_images(photos()))
    shutil.copy(first, second)
    with pytest.raises(DataError, match=r"model/frozen\.safetensors does not hold the frozen"):
        DualEncoder.load(tmp_path / "model")
    spoil(first, "truncated")
    with pytest.raises(DataError, match=r"best/frozen\.safetensors cannot be read"):
        DualEncoder.load(tmp_path / "best")
    first.unlink()
    with pytest.raises(MissingFile, match=r"best/frozen\.safetensors"):
        DualEncoder.load(tmp_path / "best")
    half_frozen.save(tmp_path / "best")  # what is spoilt or missing is written anew
    assert isinstance(DualEncoder.load(tmp_path / "best"), DualEncoder)


def test_a_model_trained_whole_leaves_no_frozen_file(half_frozen, tmp_path):
    half_frozen.save(tmp_path / "model")
    half_frozen.train_only("all")
    half_frozen.save(tmp_path / "model")
    assert not (tmp_path / "model" / "frozen.safetensors").exists()
    assert isinstance(DualEncoder.load(tmp_path / "model"), DualEncoder)


def test_a_disk_without_hard_links_gets_a_copy(half_frozen, tmp_path, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise OSError("Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    half_frozen.save(tmp_path / "best")
    half_frozen.save(tmp_path / "model", share=tmp_path / "best")
    read = DualEncoder.load(tmp_path / "model")
    assert torch.equal(read.encode_images(photos()), half_frozen.encode_images(photos()))


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
        ({"version": 3}, "version 3, this mmret reads version 2"),
        ({"version": None}, "version None"),
        ({"format": "cake"}, "does not describe a saved mmret model"),
        ({"dim": 64}, "size mismatch for image.projection.weight"),
        ({"dim": "128"}, "dim cannot be '128'"),
        ({"dim": -1}, "dim cannot be -1"),
        ({"standardise": True}, 'Missing key(s) in state_dict: "image_norm.running_mean"'),
        ({"surprise": 1}, "surprise missing or unknown"),
        ({"image": {"backbone": "mini"}}, "image.channels_last, image.crop, image.image_size, "),
        ({"frozen": "0" * 64}, "frozen.safetensors"),
        ({"image": None}, "image.backbone"),
        (
            {"text": {"backbone": "mini", "weights": None, "pooling": "cake", "max_length": 64}},
            "No pooling 'cake'",
        ),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_named(model_folder, changes, said):
    path = model_folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises((DataError, MissingFile)) as caught:
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
