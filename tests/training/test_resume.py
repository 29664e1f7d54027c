"""A training that is lost and resumed ends as if nothing had happened, to the last bit."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from mmret_lib.data import load_pairs
from mmret_lib.data.store import pack
from mmret_lib.encoders import DualEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.training import TrainConfig, Trainer, build_loss, build_model
from mmret_lib.training.snapshots import KEPT, Snapshots

ROOT = Path(__file__).resolve().parents[2]
CONFIG = TrainConfig(epochs=2, batch_size=16, device="cpu", validate=False, snapshot_minutes=0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    pairs = load_pairs("scenes", root=root, split="train", size=64, progress=False)
    return pack(pairs, 64, progress=False)


class Lost(Exception):
    """The session ends here."""


def trainer(world, folder=None, loss="simclr", config=CONFIG, **options):
    model = build_model(loss, world.pairs, image_weights=None, text_weights=None, seed=0)
    settings = {"all_negatives_steps": 3} if loss == "max_triplet" else {}
    settings |= {"learnable": True}
    return Trainer(
        model, build_loss(loss, **settings), world, config, folder=folder, progress=False, **options
    )


def lose_after(trainer, steps):
    """Let the session end after so many more steps."""
    step, done = trainer._train_step, []

    def counting(batch, state):
        if len(done) == steps:
            raise Lost
        done.append(1)
        return step(batch, state)

    trainer._train_step = counting


def weights(trainer):
    return {**trainer.model.state_dict(), **trainer.loss.state_dict()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("loss", ["sum_triplet", "max_triplet", "simclr", "barlow_twins"])
def test_lost_in_every_second_step_it_ends_the_same(world, tmp_path, loss):
    undisturbed = trainer(world, loss=loss)
    history = undisturbed.fit()
    for _ in range(20):
        again = trainer(world, tmp_path, loss)
        lose_after(again, 2)
        try:
            resumed = again.fit(resume=True)
            break
        except Lost:
            continue
    assert_same(weights(undisturbed), weights(again))
    assert resumed.column("loss") == history.column("loss")
    assert resumed.column("lr") == history.column("lr") and len(resumed.rows) == 2
    assert resumed.training_seconds > 0
    # Run once more, the same cell has nothing left to do.
    finished = trainer(world, tmp_path, loss)
    assert len(finished.fit(resume=True).rows) == 2
    assert_same(weights(undisturbed), weights(finished))


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": "crop"},
        {"captions": "all"},
        {"schedule": "multistep"},
        {"train": "projections"},
        {"chunk_size": 8},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_whatever_the_settings(world, tmp_path, changes):
    config = dataclasses.replace(CONFIG, **changes)
    undisturbed = trainer(world, config=config)
    undisturbed.fit()
    lost = trainer(world, tmp_path, config=config)
    lose_after(lost, 5)
    with pytest.raises(Lost):
        lost.fit()
    again = trainer(world, tmp_path, config=config)
    again.fit(resume=True)
    assert_same(weights(undisturbed), weights(again))


def test_the_gpu_goes_on_too(world, tmp_path, device):
    config = dataclasses.replace(CONFIG, device=device)
    undisturbed = trainer(world, config=config)
    losses = undisturbed.fit().column("loss")
    lost = trainer(world, tmp_path, config=config)
    lose_after(lost, 5)
    with pytest.raises(Lost):
        lost.fit()
    again = trainer(world, tmp_path, config=config).fit(resume=True)
    np.testing.assert_allclose(again.column("loss"), losses, rtol=1e-3)


def test_the_best_model_is_kept_and_patience_ends_training(world, tmp_path):
    config = dataclasses.replace(
        CONFIG, epochs=9, validate=True, patience=2, backbone_lr=0.0, projection_lr=0.0
    )
    unmoved = trainer(world, tmp_path, config=config, validation=world)
    history = unmoved.fit()
    rsums = [
        sum(row[f"{d}_r{k}"] for d in ("i2t", "t2i") for k in (1, 5, 10)) for row in history.rows
    ]
    best = int(np.argmax(rsums))
    assert len(history.rows) == best + 3 < 9
    assert isinstance(DualEncoder.load(tmp_path / "best"), DualEncoder)


def test_a_few_snapshots_are_kept_and_no_drafts(world, tmp_path):
    (tmp_path / "snapshots" / "step-00000001.part").mkdir(parents=True)  # of a killed process
    trainer(world, tmp_path).fit()
    names = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert names == ["step-00000007", "step-00000008"] and len(names) == KEPT
    assert not any(p.suffix in (".pt", ".pkl", ".bin") for p in tmp_path.rglob("*"))


def test_without_resume_an_unfinished_training_is_not_overwritten(world, tmp_path):
    lost = trainer(world, tmp_path)
    lose_after(lost, 3)
    with pytest.raises(Lost):
        lost.fit()
    with pytest.raises(DataError, match=r"snapshots holds a training that was not finished"):
        trainer(world, tmp_path).fit()
    with pytest.raises(DataError, match="nothing to resume without a folder"):
        trainer(world).fit(resume=True)


@pytest.mark.parametrize(
    ("changes", "loss", "said"),
    [
        ({"batch_size": 32}, "simclr", r"another config \(batch_size\): \{'batch_size': 16\}"),
        ({"seed": 1, "clip": 2.0}, "simclr", r"another config \(clip, seed\)"),
        ({}, "sum_triplet", "another loss: SimCLR"),
    ],
)
def test_another_training_is_not_resumed(world, tmp_path, changes, loss, said):
    lost = trainer(world, tmp_path)
    lose_after(lost, 3)
    with pytest.raises(Lost):
        lost.fit()
    with pytest.raises(DataError, match=said):
        trainer(world, tmp_path, loss, dataclasses.replace(CONFIG, **changes)).fit(resume=True)


def test_other_data_is_not_resumed(world, tmp_path):
    lost = trainer(world, tmp_path)
    lose_after(lost, 3)
    with pytest.raises(Lost):
        lost.fit()
    fewer = pack(world.pairs.subset(range(48)), 64, progress=False)
    with pytest.raises(DataError, match="another data: 64 images"):
        trainer(fewer, tmp_path).fit(resume=True)


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
        (folder / "snapshot.json").read_text().replace('"version": 1', '"version": 2')
    ),
    "empty": lambda folder: shutil.rmtree(folder) or folder.mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_snapshot_is_passed_over(world, tmp_path, damage):
    undisturbed = trainer(world)
    undisturbed.fit()
    lost = trainer(world, tmp_path)
    lose_after(lost, 6)
    with pytest.raises(Lost):
        lost.fit()
    newest = max((tmp_path / "snapshots").iterdir())
    DAMAGES[damage](newest)
    again = trainer(world, tmp_path)
    with pytest.warns(UserWarning, match=r"step-00000006 cannot be used .* snapshot before it"):
        again.fit(resume=True)
    assert_same(weights(undisturbed), weights(again))


def test_when_none_can_be_read_it_says_so(tmp_path):
    snapshots = Snapshots(tmp_path)
    assert snapshots.newest() is None
    for step in (1, 2):
        snapshots.save(step, {"a": torch.ones(3)}, {"epoch": 0})
    for folder in tmp_path.iterdir():
        damage_tensors(folder)
    with pytest.raises(DataError, match=r"step-00000002 cannot be used.*step-00000001 .*delete"):
        snapshots.newest()


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
def test_failed_saves_are_told_and_cost_nothing_else(world, tmp_path, trouble):
    """Five steps are saved, five saves fail, and then the disk is mended."""
    undisturbed = trainer(world)
    undisturbed.fit()
    suffering = trainer(world, tmp_path)
    step, done, mends = suffering._train_step, [], []

    def troubled(batch, state):
        if len(done) == 3:
            mends.append(trouble(tmp_path))
        if len(done) == 6:
            mends.pop()()
        done.append(1)
        return step(batch, state)

    suffering._train_step = troubled
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        suffering.fit()
    told = [str(w.message) for w in caught if "could not be saved" in str(w.message)]
    assert len(told) >= 3 and all(str(tmp_path) in message for message in told)
    assert_same(weights(undisturbed), weights(suffering))
    assert Snapshots(tmp_path / "snapshots").newest() is not None


def test_the_last_good_snapshot_outlives_failed_saves(world, tmp_path):
    undisturbed = trainer(world)
    undisturbed.fit()
    lost = trainer(world, tmp_path)
    step, done = lost._train_step, []

    def troubled(batch, state):
        if len(done) == 3:
            mends.append(full_disk(tmp_path))
        if len(done) == 6:
            raise Lost
        done.append(1)
        return step(batch, state)

    mends: list = []
    lost._train_step = troubled
    with warnings.catch_warnings(), pytest.raises(Lost):
        warnings.simplefilter("ignore")
        lost.fit()
    mends.pop()()
    again = trainer(world, tmp_path)
    again.fit(resume=True)
    assert_same(weights(undisturbed), weights(again))


def test_killed_during_training_and_saving(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "kills.py", "--kills", "2", "--tasks", "train"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=500)
    assert "| train | 2 | 2 | 2 |" in done.stdout, done.stdout + done.stderr


def test_the_snapshot_is_plain_json_and_safetensors(world, tmp_path):
    trainer(world, tmp_path).fit()
    newest = max((tmp_path / "snapshots").iterdir())
    assert sorted(path.name for path in newest.iterdir()) == [
        "snapshot.json",
        "tensors.safetensors",
    ]
    record = json.loads((newest / "snapshot.json").read_text())
    assert record["training"]["config"]["batch_size"] == 16
