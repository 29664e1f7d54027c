"""A training whose local disk is lost goes on from what was kept in a second folder."""

import dataclasses
import os
import shutil
import time
import warnings

import pytest
from interrupted import CONFIG, assert_same, before_each_step, fit_and_lose, trainer, weights

from mmret_lib.files.errors import DataError
from mmret_lib.files.keep import Kept
from mmret_lib.training import build_loss, build_model, keep, load_run, train_run
from mmret_lib.training.keep import BEST, STAGE, RunKeeper

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """A copy may begin as soon as the last one is done."""
    monkeypatch.setattr(keep, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(keep, "BYTES_PER_HOUR", 1e15)
    monkeypatch.setattr(keep, "SHARE_OF_TIME", 1e9)


@pytest.fixture
def in_line(monkeypatch):
    """Each copy is done before the training goes on, so that a test knows what is kept."""
    offer = RunKeeper.offer

    def and_wait(self, *arguments):
        offer(self, *arguments)
        self.wait()

    monkeypatch.setattr(RunKeeper, "offer", and_wait)


@pytest.fixture(scope="module")
def undisturbed(world):
    one = trainer(world)
    one.fit()
    return weights(one)


def place(tmp_path):
    return {"folder": tmp_path / "local" / "run", "keep": tmp_path / "drive"}


def lose_disk(tmp_path):
    shutil.rmtree(tmp_path / "local")


def test_with_the_local_disk_wiped_it_ends_the_same(world, undisturbed, tmp_path, in_line):
    for steps in (3, 2):  # of eight
        fit_and_lose(trainer(world, **place(tmp_path)), steps, resume=True)
        lose_disk(tmp_path)
    assert RunKeeper(tmp_path / "drive", tmp_path / "run").newest()["step"] == 5
    again = trainer(world, **place(tmp_path))
    history = again.fit(resume=True)
    assert len(history.rows) == 2
    assert_same(undisturbed, weights(again))
    assert not list((tmp_path / "local").rglob(STAGE))


def test_in_the_background_too(world, undisturbed, tmp_path):
    fit_and_lose(trainer(world, **place(tmp_path)), 6)
    keeper = RunKeeper(tmp_path / "drive", tmp_path / "run")
    until = time.monotonic() + 20
    while not keeper.newest() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    assert keeper.newest()["step"] >= 1
    lose_disk(tmp_path)
    again = trainer(world, **place(tmp_path))
    again.fit(resume=True)
    assert_same(undisturbed, weights(again))


def test_a_newer_snapshot_on_the_local_disk_is_preferred(world, undisturbed, tmp_path, in_line):
    fit_and_lose(trainer(world, **place(tmp_path)), 3)
    fit_and_lose(trainer(world, tmp_path / "local" / "run"), 2, resume=True)  # without keep
    again = trainer(world, **place(tmp_path))
    seen = []
    before_each_step(again, seen.append)
    again.fit(resume=True)
    assert len(seen) == 3
    assert_same(undisturbed, weights(again))


PATIENT = dataclasses.replace(
    CONFIG, epochs=5, validate=True, patience=2, train="projections", kept_features=False
)


def patient(world, **options):
    model = build_model("simclr", world.pairs, seed=0)  # pretrained, so that they are frozen
    return model, build_loss("simclr"), world, PATIENT, {"validation": world, **options}


def test_the_best_model_comes_back_too(world, tmp_path, in_line):
    """Its weights are of an epoch before the snapshot; the frozen backbones are not kept for it."""
    from mmret_lib.training import Trainer

    *most, options = patient(world)
    one = Trainer(*most, **options, progress=False)
    history = one.fit()
    *most, options = patient(world, **place(tmp_path))
    two = Trainer(*most, **options, progress=False)
    fit_and_lose(two, 4 * len(history.rows) - 3)
    copy, _ = Kept(tmp_path / "drive", "run").newest()
    sizes = {path.name: path.stat().st_size for path in copy.iterdir()}
    assert sizes[BEST] < 2e6 and sizes["tensors.safetensors"] < 3e6, sizes
    lose_disk(tmp_path)
    *most, options = patient(world, **place(tmp_path))
    two = Trainer(*most, **options, progress=False)
    again = two.fit(resume=True)
    assert again.model_epoch == history.model_epoch
    assert_same(weights(one), weights(two))
    assert (tmp_path / "local" / "run" / "best" / "frozen.safetensors").is_file()


def run(world, tmp_path, **options):
    model = build_model("simclr", world.pairs, image_weights=None, text_weights=None, seed=0)
    where = place(tmp_path)
    return train_run(
        where["folder"], model, build_loss("simclr"), world, CONFIG, keep=where["keep"],
        progress=False, **options,
    )  # fmt: skip


def test_a_finished_run_is_kept_and_comes_back(world, tmp_path, in_line):
    first = run(world, tmp_path)
    (kept,) = (tmp_path / "drive" / "run").iterdir()  # the snapshots' copies are gone
    assert load_run(kept)[1].history == first.record.history  # it can be opened where it lies
    lose_disk(tmp_path)
    again = run(world, tmp_path, resume=True)
    assert again.finished_before and again.record.history == first.record.history
    assert_same(first.model.state_dict(), again.model.state_dict())


def test_a_run_that_could_not_be_kept_is_kept_by_the_next_call(world, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:

        def fail(*_, **__):
            raise OSError(107, "Transport endpoint is not connected")

        patch.setattr(Kept, "put", fail)
        with pytest.warns(UserWarning, match="nothing new is kept in .*not connected"):
            run(world, tmp_path)
    assert not (tmp_path / "drive").exists()
    assert run(world, tmp_path, resume=True).finished_before
    lose_disk(tmp_path)
    assert run(world, tmp_path, resume=True).finished_before


def test_another_training_is_neither_resumed_nor_overwritten(world, tmp_path, in_line):
    fit_and_lose(trainer(world, **place(tmp_path)), 3)
    lose_disk(tmp_path)
    with pytest.raises(DataError, match=r"drive/run keeps a training of this name"):
        trainer(world, **place(tmp_path)).fit()
    with pytest.raises(DataError, match=r"drive/run keeps another training \(loss: was SimCLR"):
        trainer(world, loss="sum_triplet", **place(tmp_path)).fit(resume=True)
    with pytest.raises(DataError, match=r"give one \(folder\)"):
        trainer(world, keep=tmp_path)


@pytest.mark.parametrize("resume", [True, False])
def test_with_overwrite_another_training_is_replaced(world, tmp_path, in_line, resume):
    fit_and_lose(trainer(world, loss="sum_triplet", **place(tmp_path)), 3)
    lose_disk(tmp_path)
    run(world, tmp_path, overwrite=True, resume=resume)
    (kept,) = (tmp_path / "drive" / "run").iterdir()
    assert load_run(kept)[1].loss == "simclr"


def test_a_folder_that_fails_is_warned_of_seldom_and_costs_nothing(
    world, undisturbed, tmp_path, in_line, monkeypatch
):
    """From the third step on the Drive is gone; at the seventh it is back."""
    suffering = trainer(world, **place(tmp_path))
    put, gone = Kept.put, []

    def failing(self, *arguments):
        if gone:
            raise OSError(107, "Transport endpoint is not connected", str(self.folder))
        return put(self, *arguments)

    def act(done):
        if done == 3:
            gone.append(1)
        if done == 7:
            gone.pop()

    monkeypatch.setattr(Kept, "put", failing)
    before_each_step(suffering, act)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        suffering.fit()
    told = [str(w.message) for w in caught if "nothing new is kept" in str(w.message)]
    assert len(told) == 1 and str(tmp_path / "drive" / "run") in told[0]
    assert_same(undisturbed, weights(suffering))
    assert RunKeeper(tmp_path / "drive", tmp_path / "run").newest()["step"] == 8


def test_copies_are_as_seldom_as_their_size_asks(tmp_path, monkeypatch):
    monkeypatch.undo()
    now = [1000.0]
    monkeypatch.setattr(keep.time, "monotonic", lambda: now[0])
    keeper = RunKeeper(tmp_path, tmp_path / "run")
    sizes, copied = [1e9], []

    def put(source, about, skip=()):
        now[0] += 30  # seconds that it takes
        copied.append(now[0])
        return sizes[0]

    monkeypatch.setattr(keeper.kept, "put", put)
    snapshot = tmp_path / "run" / "snapshots" / "step-00000001"
    snapshot.mkdir(parents=True)
    for _ in range(12 * 60):  # a session of twelve hours, offered one every minute
        keeper.offer(snapshot, 1, {})
        keeper.wait()
        now[0] += 60
    assert 20 <= len(copied) <= 24  # 1 GB: every half hour
    sizes[0] = 1e6
    del copied[:]
    keeper._due = 0.0
    for _ in range(60):
        keeper.offer(snapshot, 1, {})
        keeper.wait()
        now[0] += 60
    assert 10 <= len(copied) <= 15  # small, but each takes half a minute


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs Unix")
def test_a_snapshot_that_is_being_copied_may_be_deleted(tmp_path, monkeypatch):
    keeper = RunKeeper(tmp_path, tmp_path / "run")
    snapshot = tmp_path / "run" / "snapshots" / "step-00000001"
    snapshot.mkdir(parents=True)
    (snapshot / "snapshot.json").write_text("{}")
    put = keeper.kept.put

    def slow(*arguments):
        time.sleep(0.2)
        return put(*arguments)

    monkeypatch.setattr(keeper.kept, "put", slow)
    keeper.offer(snapshot, 1, {})
    shutil.rmtree(snapshot)
    keeper.wait()
    copy, about = keeper.kept.newest()
    assert about["step"] == 1 and (copy / "snapshot.json").read_text() == "{}"
    assert not (snapshot.parent / STAGE).exists()
