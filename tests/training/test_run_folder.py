"""A run is not lost: not for lack of room, not by another training in its folder."""

import dataclasses
import json
import shutil
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
from full_disk import no_file_larger_than
from interrupted import Lost, assert_same

from mmret_lib.files.errors import DataError, DiskError, MissingFile
from mmret_lib.losses import SimCLR
from mmret_lib.training import (
    TrainConfig,
    Trainer,
    build_model,
    load_run,
    read_run,
    run_folder,
    train_run,
)
from mmret_lib.training.snapshots import Snapshots

pytestmark = pytest.mark.slow  # nearly every test trains

SHORT = TrainConfig(epochs=2, batch_size=16, device="cpu")


def train(splits, folder, config=SHORT, loss=None, **options):
    model = options.pop("model", None)
    if model is None:
        model = build_model("simclr", splits[0].pairs, image_weights=None, text_weights=None)
    options = {"progress": False, "validation": splits[1], **options}
    return train_run(folder, model, loss or SimCLR(), splits[0], config, **options)


def lose_at(monkeypatch, step):
    """Let the session end before that step of the next training."""
    real, done = Trainer.train_step, []

    def until(self, batch):
        if len(done) == step:
            raise Lost
        done.append(1)
        return real(self, batch)

    monkeypatch.setattr(Trainer, "train_step", until)


@pytest.fixture(scope="module")
def finished(splits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, train(splits, folder)


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


@pytest.fixture(scope="module")
def interrupted(splits, tmp_path_factory):
    """The folder of a training that was lost in its second epoch."""
    folder = tmp_path_factory.mktemp("lost") / "run"
    with pytest.MonkeyPatch.context() as patch, suppress(Lost):
        lose_at(patch, 6)
        train(splits, folder, root=folder.parent, command="mmret train --out run")
    return folder


def test_a_finished_run_is_not_replaced_by_accident(splits, run):
    before = (run / "run.json").read_bytes()
    with pytest.raises(DataError, match=r"holds a finished run.*--overwrite.*overwrite=True"):
        train(splits, run, loss=SimCLR(temperature=0.2))
    with pytest.raises(DataError, match=r"another training \(.*temperature.*overwrite"):
        train(splits, run, loss=SimCLR(temperature=0.2), resume=True)
    assert (run / "run.json").read_bytes() == before
    assert train(splits, run, resume=True).finished_before  # the same training


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_run_is_replaced_when_asked_to(splits, run, resume):
    config = dataclasses.replace(SHORT, epochs=1, validate=False)
    new = train(splits, run, config, SimCLR(temperature=0.2), overwrite=True, resume=resume)
    assert not new.finished_before and len(read_run(run).history) == 1
    assert not (run / "best").exists()  # that of the old run would be a stranger here
    if resume:
        again = train(splits, run, config, SimCLR(temperature=0.2), overwrite=True, resume=True)
        assert again.finished_before  # what is the same is not trained again


def test_an_unfinished_training_is_replaced_when_asked_to(splits, interrupted, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    config = dataclasses.replace(SHORT, epochs=1)
    with pytest.raises(DataError, match=r"not finished: go on with it \(--resume.*--overwrite"):
        train(splits, folder, config)
    train(splits, folder, config, overwrite=True)
    assert len(read_run(folder).history) == 1 and not (folder / "snapshots").exists()


@pytest.mark.parametrize("known", [True, False])
def test_more_epochs_for_a_finished_run_are_refused_with_the_remedy(splits, run, known):
    if not known:
        (run / "training.json").unlink()  # as an older mmret left it
    more = dataclasses.replace(SHORT, epochs=5)
    message = r"finished: .*planned for 2 epochs, 5 are.*cosine.* train --from .*--overwrite"
    with pytest.raises(DataError, match=message):
        train(splits, run, more, resume=True)


def test_training_further_from_a_run(splits, finished, tmp_path):
    model, _ = load_run(finished[0])
    start = {name: value.clone() for name, value in model.state_dict().items()}
    further = train(splits, tmp_path / "new", model=model, loss=SimCLR(0.1), begun_from=finished[0])
    assert read_run(tmp_path / "new").made_by["from"] == str(finished[0])
    assert "from" not in read_run(finished[0]).made_by
    assert_same(load_run(finished[0])[0].state_dict(), start)  # the first run is as it was
    assert further.history.rows[0]["loss"] < finished[1].history.rows[0]["loss"]


def test_the_best_model_of_an_unfinished_run_can_be_used(interrupted):
    with pytest.raises(MissingFile) as caught:
        load_run(interrupted)
    message = str(caught.value)
    assert "is not finished; kept is a snapshot after step 4 (1 of 2 epochs)" in message
    assert "Go on: mmret train --out run --resume" in message
    assert f"its best model so far: give {interrupted / 'best'}" in message
    model, record = load_run(interrupted / "best")
    assert (
        not model.training and record.data["name"] == "scenes" and record.loss == "SimCLR".lower()
    )
    assert record.data["root"] == str(interrupted.parent) and record.config["epochs"] == 2


def test_the_best_model_of_a_finished_run_can_be_used(finished):
    model, record = load_run(finished[0] / "best")
    assert record.data == read_run(finished[0]).data and record.figures == {}
    assert load_run(finished[0] / "model")[1] == read_run(finished[0])
    assert model.dim == finished[1].model.dim


def test_a_model_without_a_run_says_what_to_give(finished, tmp_path):
    shutil.copytree(finished[0] / "best", tmp_path / "alone")
    with pytest.raises(MissingFile, match=r"alone is a model without the record of its run"):
        load_run(tmp_path / "alone")


def test_begun_json_of_another_version_or_damaged_is_not_used(interrupted, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    content = json.loads((folder / "begun.json").read_text())
    for spoilt in ("{", json.dumps({**content, "version": 9}), json.dumps({"version": 1})):
        (folder / "begun.json").write_text(spoilt)
        with pytest.raises(MissingFile, match="without the record"):
            read_run(folder / "best")
        with pytest.raises(MissingFile, match=r"not finished.* same call and resume=True"):
            read_run(folder)


def test_a_full_disk_during_the_training_is_only_warned_of(splits, tmp_path, finished, monkeypatch):
    """Saving fails from the second epoch on; there is room again at the end."""
    folder, limits = tmp_path / "run", []
    real = run_folder.save_run

    def with_room(*arguments):
        limits.pop().__exit__(None, None, None)
        real(*arguments)

    def fill(history):
        if len(history.rows) == 1:
            limits.append(no_file_larger_than(20_000))
            limits[0].__enter__()

    monkeypatch.setattr(run_folder, "save_run", with_room)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = train(splits, folder, on_epoch=fill)
    said = [str(w.message) for w in caught]
    assert any(
        "a snapshot could not be saved" in text and "File too large" in text for text in said
    )
    assert_same(result.model.state_dict(), finished[1].model.state_dict())
    assert_same(load_run(folder)[0].state_dict(), finished[1].model.state_dict())


def full_at_the_end(monkeypatch, also=()):
    """Let saving a run fail, as on a full disk, in these folders; elsewhere there is room."""
    real = run_folder.save_run

    def fail(folder, *arguments):
        with no_file_larger_than(20_000 if Path(folder).parent in also else 2**40):
            real(folder, *arguments)

    monkeypatch.setattr(run_folder, "save_run", fail)


def test_a_full_disk_at_the_end_loses_nothing(splits, tmp_path, finished, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        full_at_the_end(patch, also=(tmp_path,))
        message = r"is trained, but .*run cannot be written \(File too large\)\. Nothing is lost.*"
        with pytest.raises(DiskError, match=message + r"Go on: mmret train --out run --resume"):
            train(splits, folder, command="mmret train --out run")
    monkeypatch.setattr(Trainer, "train_step", lambda *_: pytest.fail("it is trained already"))
    result = train(splits, folder, resume=True)  # there is room again
    assert_same(result.model.state_dict(), finished[1].model.state_dict())
    assert (
        read_run(folder).history == finished[1].record.history or len(read_run(folder).history) == 2
    )


def test_without_a_snapshot_the_run_is_written_elsewhere(splits, tmp_path, finished, monkeypatch):
    spare = tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spare))
    monkeypatch.setattr(Snapshots, "save", lambda *_: None)
    full_at_the_end(monkeypatch, also=(tmp_path,))
    with pytest.raises(DataError, match=r"cannot be written .*It is in .*spare/run-\d+ instead"):
        train(splits, tmp_path / "run")
    (rescued,) = spare.iterdir()
    assert_same(load_run(rescued)[0].state_dict(), finished[1].model.state_dict())


def test_where_nothing_can_be_written_it_says_what_is_kept(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Snapshots, "save", lambda *_: None)
    full_at_the_end(monkeypatch, also=(tmp_path,))
    with pytest.raises(DiskError, match=r"nor can .*Kept is the best model so far .*Go on with"):
        train(splits, tmp_path / "run")
