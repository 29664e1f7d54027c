"""With `patience`, a training ends with the model of its best epoch, resumed or not."""

import dataclasses

import pytest
from interrupted import CONFIG, assert_same, fit_and_lose, trainer

from mmret_lib.encoders import DualEncoder
from mmret_lib.losses import SimCLR
from mmret_lib.training import build_model, load_run, train_run

pytestmark = pytest.mark.slow  # nearly every test trains or writes much

PATIENT = dataclasses.replace(CONFIG, epochs=9, validate=True, patience=2)
RECALLS = [10, 30, 20, 25]  # the second epoch is the best, the fourth is the last


@pytest.fixture
def recalls(monkeypatch):
    """Let the epochs that follow have these recalls on the validation pairs."""

    class Report:
        def __init__(self, recall):
            self.recall = recall

        def as_dict(self):
            return {"i2t_r1": self.recall}

    def let(numbers):
        left = iter(numbers)
        monkeypatch.setattr(
            "mmret_lib.training.trainer.validate", lambda *_, **__: Report(next(left))
        )

    let(RECALLS)
    return let


def patient(world, folder=None, config=PATIENT):
    return trainer(world, folder, config=config, validation=world)


@pytest.fixture(scope="module")
def after_two(world):
    """The weights after two epochs of nine."""
    one = trainer(world, config=dataclasses.replace(PATIENT, validate=False))
    fit_and_lose(one, 8)
    return {name: value.clone() for name, value in one.model.state_dict().items()}


@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "in a folder"])
def test_the_model_is_that_of_the_best_epoch(world, tmp_path, recalls, after_two, kept):
    one = patient(world, tmp_path if kept else None)
    history = one.fit()
    assert len(history.rows) == 4 and history.model_epoch == 2
    assert_same(one.model.state_dict(), after_two)
    assert not one.model.training
    if kept:
        assert_same(DualEncoder.load(tmp_path / "best").state_dict(), after_two)


def test_without_patience_it_is_that_of_the_last(world, tmp_path, recalls, after_two):
    recalls([10, 30, 20])
    one = patient(world, tmp_path, dataclasses.replace(PATIENT, epochs=3, patience=0))
    assert one.fit().model_epoch == 3
    assert not one.model.image.projection.weight.equal(after_two["image.projection.weight"])
    best = DualEncoder.load(tmp_path / "best").state_dict()
    assert not best["image.projection.weight"].equal(one.model.image.projection.weight)


@pytest.mark.parametrize("steps", [5, 9, 15])
def test_a_resumed_training_ends_with_the_same_model(world, tmp_path, recalls, after_two, steps):
    fit_and_lose(patient(world, tmp_path), steps)
    for done in (steps // 4, 4):  # and once more: nothing is left to do
        recalls(RECALLS[done:])
        again = patient(world, tmp_path)
        history = again.fit(resume=True)
        assert len(history.rows) == 4 and history.model_epoch == 2
        assert_same(again.model.state_dict(), after_two)


def test_a_best_model_that_could_not_be_saved_is_kept_in_memory(
    world, tmp_path, recalls, after_two, monkeypatch
):
    save, saved = DualEncoder.save, []

    def full(model, folder, share=None):
        if saved:
            raise OSError("no space left on device")
        saved.append(save(model, folder, share))

    monkeypatch.setattr(DualEncoder, "save", full)
    one = patient(world, tmp_path)
    with pytest.warns(UserWarning, match="the best model could not be saved"):
        assert one.fit().model_epoch == 2
    assert_same(one.model.state_dict(), after_two)
    # Resumed, the folder holds the first epoch's model, which nobody takes for the second's.
    again = patient(world, tmp_path)
    with pytest.warns(
        UserWarning, match=r"the best epoch, 2, is not in .* that of the last one, 4"
    ):
        assert again.fit(resume=True).model_epoch == 4


def test_a_run_keeps_the_best_model_and_says_of_which_epoch(world, tmp_path, recalls, after_two):
    def train():
        model = build_model("simclr", world.pairs, image_weights=None, text_weights=None, seed=0)
        loss = SimCLR(learnable=True)
        options = {"validation": world, "resume": True, "progress": False}
        return train_run(tmp_path / "run", model, loss, world, PATIENT, **options)

    train()
    model, record = load_run(tmp_path / "run")
    assert record.figures["model_epoch"] == 2 and len(record.history) == 4
    assert_same(model.state_dict(), after_two)
    assert train().finished_before and train().history.model_epoch == 2


def test_a_run_of_frozen_weights_holds_them_once(world, tmp_path):
    config = dataclasses.replace(CONFIG, train="projections", validate=True)
    folder = tmp_path / "run"
    model = build_model("simclr", world.pairs)
    run = train_run(folder, model, SimCLR(), world, config, validation=world, progress=False)
    files = [folder / name / "frozen.safetensors" for name in ("model", "best")]
    assert files[0].stat().st_ino == files[1].stat().st_ino
    assert files[0].stat().st_size > 20 * (folder / "model" / "model.safetensors").stat().st_size
    assert_same(load_run(folder)[0].state_dict(), run.model.state_dict())
