"""Run folders: trained and kept by one call, read back, and refused where they are damaged."""

import dataclasses
import shutil

import pytest
import torch

from mmret_lib.encoders import DualEncoder
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.losses import SimCLR
from mmret_lib.training import (
    TrainConfig,
    Trainer,
    build_model,
    load_run,
    read_run,
    train_run,
    validate,
)
from mmret_lib.training.devices import pick_device

pytestmark = pytest.mark.slow  # nearly every test trains or writes much

SHORT = TrainConfig(epochs=2, batch_size=16, device="cpu", validate=False)


def train(splits, folder, config=SHORT, loss=None, **options):
    model = build_model("simclr", splits[0].pairs, image_weights=None, text_weights=None)
    return train_run(
        folder, model, loss or SimCLR(), splits[0], config, **{"progress": False, **options}
    )


@pytest.fixture(scope="module")
def trained(splits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, train(splits, folder, validation=splits[1], evaluate_on={"val": splits[1]})


@pytest.fixture
def run_folder(trained, tmp_path):
    """A copy of the trained run, to be damaged."""
    return shutil.copytree(trained[0], tmp_path / "run")


def test_a_run_is_trained_measured_and_kept(splits, trained):
    folder, run = trained
    assert {path.name for path in folder.iterdir()} == {
        "run.json",
        "training.json",
        "history.csv",
        "model",
    }
    assert not run.finished_before and len(run.history.rows) == 2 and not run.model.training
    assert run.reports["val"].as_dict() == run.record.figures["val"]
    assert run.record.figures == load_run(folder)[1].figures


def test_the_record_says_what_the_settings_came_to(splits, tmp_path, monkeypatch):
    monkeypatch.setattr("mmret_lib.training.schedule.enough_epochs", lambda *_: 1)
    monkeypatch.chdir(tmp_path)
    train(splits, "run", TrainConfig(batch_size=16), root="data", figures={"ceiling": 1})
    run = load_run("run")[1]
    assert run.config["epochs"] == 1
    assert (run.config["image_lr"], run.config["text_lr"]) == (1e-3, 1e-3)
    assert run.config["device"] == str(pick_device("auto"))
    assert run.config["precision"] in ("float32", "float16", "bfloat16")
    assert run.data == {"name": "scenes", "root": str(tmp_path / "data"), "split": "train"}
    assert run.loss == "simclr" and "temperature=0.07" in run.loss_settings["repr"]
    assert run.figures["ceiling"] == 1
    assert torch.__version__.startswith(run.made_by["torch"])


def test_the_learning_rates_are_printed_at_the_start(splits, tmp_path, capsys):
    train(
        splits, tmp_path / "run", dataclasses.replace(SHORT, epochs=1, text_lr=2e-4), progress=True
    )
    assert capsys.readouterr().out.splitlines()[0] == (
        "learning rates: image backbone 0.001 (random weights), text backbone 0.0002 (random "
        "weights), projections 0.002"
    )


def test_without_a_folder_nothing_is_kept(splits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(SHORT, epochs=1)
    run = train(splits, None, config, evaluate_on={"val": splits[1]})
    assert "t2i_r1" in run.record.figures["val"] and not list(tmp_path.iterdir())


def test_a_finished_run_is_read_not_trained_again(splits, trained, monkeypatch):
    folder, run = trained
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = train(splits, folder, resume=True)
    assert again.finished_before and again.record.figures == run.record.figures
    assert again.history.column("loss") == pytest.approx(run.history.column("loss"))
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    with pytest.raises(DataError, match=r"temperature: was 0\.07, is now 0\.05"):
        train(splits, folder, loss=SimCLR(0.05), resume=True)


def test_a_finished_run_of_an_older_version_is_read_too(splits, run_folder):
    (run_folder / "training.json").unlink()
    assert train(splits, run_folder, resume=True).finished_before


def test_an_interrupted_run_goes_on(splits, tmp_path):
    def stop(history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(splits, tmp_path, on_epoch=stop)
    assert (tmp_path / "snapshots").is_dir() and not (tmp_path / "run.json").exists()
    run = train(splits, tmp_path, resume=True)
    assert len(run.history.rows) == 2 and not (tmp_path / "snapshots").exists()
    # Without snapshots there would be nothing to go on from, and nothing in the way either.
    with pytest.raises(KeyboardInterrupt):
        train(splits, tmp_path / "other", on_epoch=stop, snapshots=False)
    assert not (tmp_path / "other").exists()


def test_a_run_killed_while_it_saved_its_best_model_goes_on(splits, tmp_path):
    config = dataclasses.replace(SHORT, validate=True)
    folder = tmp_path / "run"

    def stop(history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(splits, folder, config, validation=splits[1], on_epoch=stop)
    (folder / "best").rename(folder / ".best.4711.old")
    (folder / ".best.4712.part").mkdir()
    assert len(train(splits, folder, config, validation=splits[1], resume=True).history.rows) == 2
    assert not any(path.name.startswith(".") for path in folder.iterdir())
    assert isinstance(DualEncoder.load(folder / "best"), DualEncoder)


def test_a_run_comes_back_as_it_was(splits, trained):
    loaded, run = load_run(trained[0])
    assert read_run(trained[0]) == run
    assert run.loss == "simclr" and run.config["batch_size"] == 16 and len(run.history) == 2
    assert validate(loaded, splits[1]).as_dict() == trained[1].reports["val"].as_dict()


def _write(name, text):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (lambda folder: (folder / "run.json").unlink(), MissingFile, "run.json is missing"),
        (lambda folder: (folder / "history.csv").unlink(), MissingFile, "history.csv"),
        (lambda folder: (folder / "model" / "model.json").unlink(), MissingFile, "model.json"),
        (lambda folder: (folder / "model" / "model.safetensors").unlink(), MissingFile, "weights"),
        (_write("run.json", "{"), DataError, "run.json is not JSON"),
        (_write("run.json", "[]"), DataError, "run.json does not describe"),
        (_write("run.json", '{"format": "mmret run", "version": 99}'), DataError, "version 99"),
        (_write("weights.pkl", "x"), DataError, "weights.pkl is a pickle"),
        (
            lambda folder: torch.save({"a": 1}, folder / "model" / "extra"),
            DataError,
            "extra is a pickle",
        ),
        (
            lambda folder: (folder / "model" / "model.safetensors").write_bytes(b"\x10\0\0\0"),
            DataError,
            "cannot be read as safetensors",
        ),
    ],
)
def test_damaged_runs_are_refused_by_name(run_folder, damage, error, said):
    damage(run_folder)
    with pytest.raises(error, match=said):
        load_run(run_folder)


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(MissingFile, match=r"no run folder .*nowhere"):
        load_run(tmp_path / "nowhere")


def test_training_never_deletes_a_strangers_files(splits, run_folder):
    (run_folder / "thesis.txt").write_text("three years of work")
    with pytest.raises(DataError, match=r"thesis\.txt"):
        train(splits, run_folder)
    assert (run_folder / "thesis.txt").read_text() == "three years of work"
