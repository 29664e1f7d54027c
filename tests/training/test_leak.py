"""A model is not measured on pictures that it was trained on, unless asked to."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from mmret_lib.data import Pairs, load_pairs
from mmret_lib.data.pixel_hash import UNKNOWN
from mmret_lib.data.store import pack
from mmret_lib.encoders import DualEncoder, load_model
from mmret_lib.encoders.features import keep_features
from mmret_lib.files.errors import DataError
from mmret_lib.losses import SimCLR
from mmret_lib.studies import measure
from mmret_lib.studies.evaluate_run import evaluate_run
from mmret_lib.studies.trials import Trial
from mmret_lib.training import TrainConfig, Trainer, load_run, train_run, validate
from mmret_lib.training.leak import find_leak

TINY = TrainConfig(epochs=1, batch_size=8, device="cpu", precision="float32")


def photo(index: int) -> Image.Image:
    values = np.random.default_rng(index).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((320, 240), Image.Resampling.BICUBIC)


def photo_folder(folder, numbers, name="photo {}.png", **options) -> Pairs:
    folder.mkdir()
    paths = [folder / name.format(index) for index in numbers]
    for index, path in zip(numbers, paths, strict=True):
        image = photo(index)
        if path.suffix == ".jpg":
            image = image.resize((200, 150))
        image.save(path, **options)
    captions = [f"picture {index} of a bus" for index in numbers]
    return Pairs(paths, captions, np.arange(len(paths)), [*range(len(paths))], name=folder.name)


def mini(**settings) -> DualEncoder:
    torch.manual_seed(0)
    settings = {"image_weights": None, "text_weights": None, "captions": ["picture of a bus"] * 4}
    return DualEncoder.from_names(**settings)


def packed(pairs):
    return pack(pairs, 64, progress=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Sixteen photos, and a run that was trained on them."""
    home = tmp_path_factory.mktemp("leak")
    pairs = photo_folder(home / "train", range(16))
    train_run(home / "run", mini(), SimCLR(), pairs, TINY, root=home, progress=False)
    return home / "run", pairs


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Six of these photos at another size, as JPEG, under other names, and twelve others."""
    home = tmp_path_factory.mktemp("copies")
    return photo_folder(home / "test", [*range(30, 42), *range(5, 11)], "{:06}.jpg", quality=75)


@pytest.mark.slow
def test_copies_are_counted_and_no_recall_is_given(trained, copies):
    model, _ = load_run(trained[0])
    said = r"6 of 18 test images were trained on \(the first is 000005.jpg\).*--allow-leak"
    with pytest.raises(DataError, match=said):
        validate(model, packed(copies))
    assert validate(model, packed(copies), allow_leak=True).images == 18
    assert validate(model, packed(copies.subset(range(12)))).images == 12
    assert find_leak(model, packed(trained[1])).text == "16 of 16 test images were trained on"
    assert len(model.trained_on) == 16


@pytest.mark.slow
def test_evaluate_says_it_beside_the_figures(trained, copies, tmp_path, capsys):
    model, _ = load_run(trained[0])
    with pytest.raises(DataError, match="6 of 18 test images"):
        evaluate_run(model, copies, name="mine")
    assert "R@1" not in capsys.readouterr().out
    options = {"json_file": tmp_path / "figures.json", "allow_leak": True}
    assert evaluate_run(model, copies, name="mine", **options)["trained_on"] == 6
    assert json.loads((tmp_path / "figures.json").read_text())["trained_on"] == 6
    assert "6 of 18 test images were trained on" in capsys.readouterr().out
    with pytest.raises(DataError, match="run: 6 of 18 test images"):
        evaluate_run(mini(), copies, name="mine", against=trained[0])
    others = copies.subset(range(12))
    assert "trained_on" not in evaluate_run(model, others, name="mine", against=trained[0])
    assert "trained on" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_of_an_older_version_goes_by_its_record(trained, copies, capsys):
    model, _ = load_run(trained[0])
    model.trained_on = np.array([UNKNOWN], np.uint64)
    evaluate_run(model, copies, name="old")
    assert "whether test images were trained on cannot be checked" in capsys.readouterr().out
    with pytest.raises(DataError, match="16 of 16 test images were trained on, as the run's"):
        evaluate_run(model, trained[1], name="old", recorded=True)
    evaluate_run(model, trained[1], name="old", recorded=True, allow_leak=True)


@pytest.mark.slow
def test_what_it_was_trained_on_stays_with_the_model(trained, copies, tmp_path):
    """Saved, loaded, trained further on other photos, best and last."""
    model, _ = load_run(trained[0])
    model.save(tmp_path / "copy")
    again = load_model(tmp_path / "copy")
    np.testing.assert_array_equal(again.trained_on, model.trained_on)
    (tmp_path / "copy" / "trained_on.npy").unlink()
    assert load_model(tmp_path / "copy").trained_on.tolist() == [UNKNOWN]
    (tmp_path / "copy" / "trained_on.npy").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"trained_on.npy cannot be read"):
        load_model(tmp_path / "copy")

    others = packed(copies.subset(range(12)))
    val = packed(photo_folder(tmp_path / "val", range(50, 54)))
    further = Trainer(
        again, SimCLR(), others, TINY, validation=val, folder=tmp_path / "more", progress=False
    )
    further.fit()
    assert len(again.trained_on) == 16 + 12 and find_leak(again, others).count == 12
    best = load_model(tmp_path / "more" / "best")
    np.testing.assert_array_equal(best.trained_on, again.trained_on)
    assert not len(mini().trained_on)


@pytest.mark.slow
def test_a_resumed_training_knows_its_photos(trained, tmp_path):
    config = TrainConfig(epochs=2, batch_size=8, device="cpu", precision="float32")
    one = Trainer(mini(), SimCLR(), packed(trained[1]), config, folder=tmp_path, progress=False)
    one.train_step = lambda batch, step=one.train_step: _interrupt_after_epoch(one, batch, step)
    with pytest.raises(KeyboardInterrupt):
        one.fit()
    again = mini()
    trainer = Trainer(again, SimCLR(), packed(trained[1]), config, folder=tmp_path, progress=False)
    assert len(trainer.fit(resume=True).rows) == 2
    assert find_leak(again, packed(trained[1])).count == 16


def _interrupt_after_epoch(trainer, batch, step):
    if trainer.checkpoints.snapshots.steps():
        raise KeyboardInterrupt
    return step(batch)


@pytest.mark.slow
def test_splits_that_overlap_are_refused_before_the_training(trained, copies, monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(DataError, match="6 of 18 test images"):
        train_run(None, mini(), SimCLR(), trained[1], TINY, evaluate_on={"test": copies})


@pytest.mark.slow
def test_an_overlapping_validation_split_is_warned_of(trained, copies):
    options = {"validation": copies, "progress": False}
    with pytest.warns(UserWarning, match="6 of 18 validation images were trained on"):
        run = train_run(
            None, mini(), SimCLR(), trained[1], TINY, evaluate_on={"val": copies}, **options
        )
    assert run.reports == {} and "t2i_r1" in run.history.rows[0]
    with pytest.warns(UserWarning, match="6 of 18"):
        run = train_run(
            None,
            mini(),
            SimCLR(),
            trained[1],
            TINY,
            evaluate_on={"val": copies},
            allow_leak=True,
            **options,
        )
    assert run.reports["val"].images == 18


@pytest.mark.slow
def test_kept_features_know_their_photos(trained, copies, tmp_path):
    """Projections are trained on them; the photos are found in features and in a store alike."""
    model = mini()
    with warnings.catch_warnings(action="ignore"):  # its backbones are random
        model.train_only("projections")
        kept = keep_features(model, trained[1], views=1, progress=False)
        assert kept.hashes.tolist() == packed(trained[1]).hashes.tolist()
        config = TrainConfig(
            epochs=1, batch_size=8, device="cpu", train="projections", views=1, validate=False
        )
        train_run(tmp_path / "heads", model, SimCLR(), trained[1], config, progress=False)
    model, _ = load_run(tmp_path / "heads")
    assert len(model.trained_on) == 16
    for data in (packed(copies), keep_features(model, copies, progress=False)):
        assert find_leak(model, data).count == 6
    part = keep_features(model, copies, progress=False).subset([17, 0])
    assert find_leak(model, part).text.startswith("1 of 2 test images")


@pytest.mark.slow
def test_a_study_is_not_measured_on_its_training_scenes(monkeypatch, splits):
    monkeypatch.setattr(measure, "_scenes", lambda split, **_: splits[0])
    with pytest.raises(DataError, match="64 of 64 test images were trained on"):
        measure.measure(Trial("simclr", {}), 0)


@pytest.mark.slow
def test_the_drawn_splits_do_not_overlap(splits):
    model = mini()
    model.trained_on = splits[0].hashes
    test = pack(load_pairs("scenes", split="test", size=100, progress=False), 64, progress=False)
    assert [find_leak(model, data).count for data in (splits[1], test)] == [0, 0]


@pytest.mark.slow
def test_real_photos_that_two_folders_hold(real_data):
    """52 of the 130 photos of coco/ are thumbnails in coco_thumbs/ as well, under other names."""
    model = mini()
    thumbs = load_pairs(
        "folder",
        root=real_data / "coco_thumbs" / "images",
        captions=real_data / "coco_thumbs" / "captions.csv",
    )
    model.trained_on = packed(thumbs).hashes
    large = load_pairs("coco", root=real_data / "coco", split="train2017")
    assert find_leak(model, pack(large, 224, progress=False)).count == 52
    flickr = load_pairs("flickr8k", root=real_data / "flickr8k", split="test", max_missing=1)
    assert find_leak(model, packed(flickr)).count == 0
