"""A training that is lost and resumed ends as if nothing had happened, to the last bit."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from interrupted import CONFIG, Lost, assert_same, fit_and_lose, lose_after, trainer, weights

from mmret_lib.encoders import DualEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.training.snapshots import KEPT

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loss", ["sum_triplet", "max_triplet", "simclr", "barlow_twins", "siglip"])
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


@pytest.mark.filterwarnings("ignore:the .* has random weights")
@pytest.mark.parametrize(
    "changes",
    [
        {"augment": "crop"},
        {"captions": "all", "epochs": 1},
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
    fit_and_lose(trainer(world, tmp_path, config=config), 5)
    again = trainer(world, tmp_path, config=config)
    again.fit(resume=True)
    assert_same(weights(undisturbed), weights(again))


def test_the_gpu_goes_on_too(world, tmp_path, device):
    config = dataclasses.replace(CONFIG, device=device)
    losses = trainer(world, config=config).fit().column("loss")
    fit_and_lose(trainer(world, tmp_path, config=config), 5)
    again = trainer(world, tmp_path, config=config).fit(resume=True)
    np.testing.assert_allclose(again.column("loss"), losses, rtol=1e-3)


def test_one_trainer_goes_on_after_an_interrupt(world, tmp_path):
    """The cell of a notebook is interrupted, and run again with the trainer that it has."""
    undisturbed = trainer(world)
    undisturbed.fit()
    stopped = trainer(world, tmp_path)
    step = stopped.train_step
    fit_and_lose(stopped, 5)
    stopped.train_step = step
    assert len(stopped.fit(resume=True).rows) == 2
    assert_same(weights(undisturbed), weights(stopped))


def test_a_second_fit_says_what_to_do(world):
    spent = trainer(world)
    spent.fit()
    trained = {name: value.clone() for name, value in weights(spent).items()}
    with pytest.raises(DataError, match=r"has trained already.*anew.*to a new Trainer"):
        spent.fit()
    assert_same(trained, weights(spent))
    interrupted = trainer(world)
    fit_and_lose(interrupted, 3)
    with pytest.raises(DataError, match="has trained already"):
        interrupted.fit()


def test_a_second_fit_with_a_folder_does_not_say_that_the_first_was_not_finished(world, tmp_path):
    spent = trainer(world, tmp_path)
    spent.fit()
    with pytest.raises(DataError, match="has trained already"):
        spent.fit()


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
    fit_and_lose(trainer(world, tmp_path), 3)
    with pytest.raises(DataError, match=r"snapshots holds a training that was not finished"):
        trainer(world, tmp_path).fit()
    with pytest.raises(DataError, match="nothing to resume without a folder"):
        trainer(world).fit(resume=True)


@pytest.mark.kill
def test_killed_during_training_and_saving(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "kills.py", "--kills", "2", "--tasks", "train"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=500)
    assert "| train | 2 | 2 | 2 |" in done.stdout, done.stdout + done.stderr
