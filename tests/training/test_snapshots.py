"""Snapshots survive damage, full disks and folders that are in the way."""

import dataclasses
import json
import os
import shutil
import signal
import warnings

import pytest
import torch
from interrupted import (
    CONFIG,
    Lost,
    assert_same,
    before_each_step,
    fit_and_lose,
    trainer,
    weights,
)
from safetensors.torch import load_file

from mmret_lib.files.errors import DataError
from mmret_lib.training import Trainer, build_loss, build_model
from mmret_lib.training.snapshots import Snapshots
from mmret_lib.training.state import TrainingState

pytestmark = pytest.mark.slow  # nearly every test trains or writes much


@pytest.fixture(scope="module")
def undisturbed(world):
    """The weights at the end of the training that nothing disturbs."""
    one = trainer(world)
    one.fit()
    return weights(one)


@pytest.fixture(scope="module")
def lost(world, tmp_path_factory):
    """The folder of that training, lost after six of its eight steps."""
    folder = tmp_path_factory.mktemp("lost")
    fit_and_lose(trainer(world, folder), 6)
    return folder


def damage_tensors(folder):
    path = folder / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit": damage_tensors,
    "cut short": lambda folder: os.truncate(folder / "tensors.safetensors", 1000),
    "no tensors": lambda folder: (folder / "tensors.safetensors").unlink(),
    "no record": lambda folder: (folder / "snapshot.json").unlink(),
    "no json": lambda folder: (folder / "snapshot.json").write_text("{"),
    "a number changed": lambda folder: (folder / "snapshot.json").write_text(
        (folder / "snapshot.json").read_text().replace('"epoch": 1', '"epoch": 0')
    ),
    "another version": lambda folder: (folder / "snapshot.json").write_text(
        (folder / "snapshot.json").read_text().replace('"version": 2', '"version": 1')
    ),
    "empty": lambda folder: shutil.rmtree(folder) or folder.mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_snapshot_is_passed_over(world, lost, undisturbed, tmp_path, damage):
    shutil.copytree(lost, tmp_path, dirs_exist_ok=True)
    DAMAGES[damage](max((tmp_path / "snapshots").iterdir()))
    again = trainer(world, tmp_path)
    with pytest.warns(UserWarning, match=r"step-00000006 cannot be used .* snapshot before it"):
        again.fit(resume=True)
    assert_same(undisturbed, weights(again))


def test_when_none_can_be_read_it_says_so(tmp_path):
    snapshots = Snapshots(tmp_path)
    assert snapshots.newest() is None
    for step in (1, 2):
        snapshots.save(step, {"a": torch.ones(3)}, {"epoch": 0})
    for folder in tmp_path.iterdir():
        damage_tensors(folder)
    with pytest.raises(DataError, match=r"step-00000002 cannot be used.*step-00000001 .*delete"):
        snapshots.newest()


HEADS = dataclasses.replace(CONFIG, train="projections")


def pretrained(world, folder=None, config=HEADS):
    """A training of the projections on the mini backbones that the course ships."""
    model = build_model("simclr", world.pairs)
    loss = build_loss("simclr", learnable=True)
    return Trainer(model, loss, world, config, folder=folder, progress=False)


def test_frozen_backbones_are_in_no_snapshot(world, tmp_path):
    undisturbed = pretrained(world)
    undisturbed.fit()
    fit_and_lose(pretrained(world, tmp_path), 6)
    newest = max((tmp_path / "snapshots").iterdir()) / "tensors.safetensors"
    names = [name.removeprefix("model.") for name in load_file(newest)]
    assert "image.projection.weight" in names and not any("backbone" in name for name in names)
    assert newest.stat().st_size < 700_000
    again = pretrained(world, tmp_path)
    again.fit(resume=True)
    assert_same(weights(undisturbed), weights(again))


def test_random_frozen_backbones_are_in_each_snapshot(world, tmp_path):
    """From one seed they differ in their last bits between processors."""
    with pytest.warns(UserWarning, match="backbone has random weights"):
        frozen = trainer(world, tmp_path, config=HEADS)
    fit_and_lose(frozen, 2)
    newest = max((tmp_path / "snapshots").iterdir()) / "tensors.safetensors"
    assert frozen.model.state_dict().keys() == {
        name.removeprefix("model.") for name in load_file(newest) if name.startswith("model.")
    }


def test_other_frozen_weights_are_not_resumed(world, tmp_path):
    """Not even where count, mean and size of the weights are the same."""
    fit_and_lose(pretrained(world, tmp_path), 3)
    other = build_model("simclr", world.pairs)
    with torch.no_grad():
        weight = other.image.backbone.stages[0].conv1.weight
        weight.copy_(weight.flip(0))
    one = Trainer(
        other,
        build_loss("simclr", learnable=True),
        world,
        HEADS,
        folder=tmp_path,
        progress=False,
    )
    with pytest.raises(DataError, match="other frozen weights, of the same size"):
        one.fit(resume=True)


def test_a_snapshot_of_an_older_version_holds_frozen_weights_too(world, tmp_path, monkeypatch):
    undisturbed = pretrained(world)
    undisturbed.fit()
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "weights", lambda state: state.model.state_dict())
        capture = TrainingState.capture

        def captured(state, progress):
            tensors, values = capture(state, progress)
            return tensors, {n: v for n, v in values.items() if n not in ("frozen", "saved_epoch")}

        patch.setattr(TrainingState, "capture", captured)
        fit_and_lose(pretrained(world, tmp_path), 5)
    newest = max((tmp_path / "snapshots").iterdir()) / "tensors.safetensors"
    assert "model.image.backbone.conv1.weight" in load_file(newest)
    again = pretrained(world, tmp_path)
    again.fit(resume=True)
    assert_same(weights(undisturbed), weights(again))


def full_disk(folder):
    resource = pytest.importorskip("resource")  # Unix only
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))

    def mend():
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)

    return mend


def folder_in_the_way(folder):
    """A file where the snapshots' folder should be: what a lost Drive may leave."""
    shutil.move(folder / "snapshots", folder / "elsewhere")
    (folder / "snapshots").write_text("")

    def mend():
        (folder / "snapshots").unlink()
        shutil.move(folder / "elsewhere", folder / "snapshots")

    return mend


@pytest.mark.parametrize("trouble", [full_disk, folder_in_the_way])
def test_failed_saves_are_told_and_cost_nothing_else(world, undisturbed, tmp_path, trouble):
    """Three steps are saved, three saves fail, and then the disk is mended."""
    suffering, mends = trainer(world, tmp_path), []

    def act(done):
        if done == 3:
            mends.append(trouble(tmp_path))
        if done == 6:
            mends.pop()()

    before_each_step(suffering, act)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        suffering.fit()
    told = [str(w.message) for w in caught if "could not be saved" in str(w.message)]
    assert len(told) >= 3 and all(str(tmp_path) in message for message in told)
    assert_same(undisturbed, weights(suffering))
    assert Snapshots(tmp_path / "snapshots").newest() is not None


def test_the_last_good_snapshot_outlives_failed_saves(world, undisturbed, tmp_path):
    suffering, mends = trainer(world, tmp_path), []

    def act(done):
        if done == 3:
            mends.append(full_disk(tmp_path))
        if done == 6:
            raise Lost

    before_each_step(suffering, act)
    with pytest.warns(UserWarning, match="could not be saved"), pytest.raises(Lost):
        suffering.fit()
    mends.pop()()
    again = trainer(world, tmp_path)
    again.fit(resume=True)
    assert_same(undisturbed, weights(again))


def test_the_snapshot_is_plain_json_and_safetensors(lost):
    newest = max((lost / "snapshots").iterdir())
    assert sorted(path.name for path in newest.iterdir()) == [
        "snapshot.json",
        "tensors.safetensors",
    ]
    record = json.loads((newest / "snapshot.json").read_text())
    assert record["training"]["config"]["batch_size"] == 16
