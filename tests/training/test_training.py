"""The training loop: it learns, repeats exactly, freezes what it should, and fails in words."""

import dataclasses
import math
import shutil
import sys

import pytest
import torch
from torch import nn

from mmret_lib.data import load_pairs
from mmret_lib.data.store import pack
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.losses import SimCLR
from mmret_lib.metrics.ceiling import best_possible
from mmret_lib.training import (
    TrainConfig,
    Trainer,
    build_loss,
    build_model,
    load_run,
    made_by,
    save_run,
    validate,
)
from mmret_lib.training.devices import pick_device, pick_precision
from mmret_lib.training.schedule import enough_epochs, rate_factor

SHORT = TrainConfig(epochs=2, batch_size=16, device="cpu", validate=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")

    def split(name, size):
        pairs = load_pairs("scenes", root=root, split=name, size=size, progress=False)
        return pack(pairs, 64, progress=False)

    return split("train", 64), split("val", 32)


def small_model(world, loss="simclr", **settings):
    return build_model(
        loss, world[0].pairs, image_weights=None, text_weights=None, seed=0, **settings
    )


def fit(world, loss="simclr", config=SHORT, **settings):
    model = small_model(world, loss, **settings)
    trainer = Trainer(model, build_loss(loss), world[0], config, progress=False)
    return model, trainer.fit()


@pytest.mark.parametrize("loss", ["sum_triplet", "max_triplet", "simclr", "barlow_twins"])
def test_every_loss_trains_and_its_value_falls(world, loss):
    config = dataclasses.replace(SHORT, epochs=6)
    _, history = fit(world, loss, config)
    losses = history.column("loss")
    assert len(losses) == 6 and all(map(math.isfinite, losses))
    # The max triplet's loss may sit on its plateau of 2 x margin; it must not rise above it.
    assert losses[-1] < losses[0]


def test_it_learns_pairs_by_heart(world, device):
    """32 scenes seen again and again: most are then found. A loop that trained nothing, or one
    that mixed up who belongs to whom, would stay near chance (3 %)."""
    few = world[1]
    model = small_model(world)
    config = TrainConfig(
        epochs=60, batch_size=32, augment="none", captions="first", device=device, warmup=0.1
    )
    Trainer(model, SimCLR(), few, config, progress=False).fit()
    assert validate(model, few).i2t.recall[1] > 60


def test_same_seed_same_weights_another_seed_others(world):
    one, again = fit(world)[0], fit(world)[0]
    other = fit(world, config=dataclasses.replace(SHORT, seed=1))[0]
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(one.image.projection.weight, other.image.projection.weight)


@pytest.mark.parametrize("part", ["projections", "image", "text"])
def test_only_the_chosen_part_moves(world, part):
    before = {name: value.clone() for name, value in small_model(world).state_dict().items()}
    model, _ = fit(world, config=dataclasses.replace(SHORT, train=part))
    moved = {
        ".".join(name.split(".")[:2])
        for name, value in model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert (
        moved
        == {
            "projections": {"image.projection", "text.projection"},
            "image": {"image.backbone", "image.projection"},
            "text": {"text.backbone", "text.projection"},
        }[part]
    )


def test_a_learnable_temperature_is_trained(world):
    loss = SimCLR(learnable=True)
    before = float(loss.temperature)
    Trainer(small_model(world), loss, world[0], SHORT, progress=False).fit()
    assert float(loss.temperature) != before


def test_validation_figures_stand_in_the_history(world):
    config = dataclasses.replace(SHORT, validate=True)
    trainer = Trainer(
        small_model(world), SimCLR(), world[0], config, validation=world[1], progress=False
    )
    history = trainer.fit()
    last = validate(trainer.model, world[1]).as_dict()
    assert history.rows[-1]["t2i_r1"] == last["t2i_r1"]
    assert history.column("epoch") == [1, 2]


def test_tensorboard_gets_the_history(world, tmp_path, monkeypatch):
    config = dataclasses.replace(SHORT, validate=True, tensorboard=True)
    trainer = Trainer(
        small_model(world),
        SimCLR(),
        world[0],
        config,
        validation=world[1],
        folder=tmp_path,
        progress=False,
    )
    rows = trainer.fit().rows
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    written = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"loss", "lr", "t2i_r1"} <= set(written.Tags()["scalars"])
    told = [(event.step, event.value) for event in written.Scalars("loss")]
    assert told == [(row["epoch"], pytest.approx(row["loss"])) for row in rows]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DataError, match="pip install tensorboard"):
        Trainer(small_model(world), SimCLR(), world[0], config, progress=False)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C++ compiler here")
def test_a_compiled_model_trains_alike(world):
    ends = []
    for compiled in (False, True):
        config = dataclasses.replace(SHORT, compile=compiled, epochs=1)
        trainer = Trainer(small_model(world), SimCLR(), world[0], config, progress=False)
        ends.append((trainer.fit().rows[-1]["loss"], set(trainer.model.state_dict())))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-2)
    assert ends[0][1] == ends[1][1], "compiling renames no weights"


def test_a_loss_that_is_no_number_names_epoch_and_step(world):
    class Broken(nn.Module):
        calls = 0

        def forward(self, image_emb, text_emb, **ids):
            self.calls += 1
            return image_emb.sum() * (math.nan if self.calls == 6 else 1)

    trainer = Trainer(small_model(world), Broken(), world[0], SHORT, progress=False)
    with pytest.raises(FloatingPointError, match=r"epoch 2, step 2 of 4.*learning rate"):
        trainer.fit()


def test_fewer_images_than_a_batch(world):
    config = dataclasses.replace(SHORT, batch_size=65)
    with pytest.raises(DataError, match="64 images, fewer than a batch of 65"):
        Trainer(small_model(world), SimCLR(), world[0], config, progress=False)


@pytest.mark.parametrize(
    "bad", [{"epochs": 0}, {"batch_size": 1}, {"backbone_lr": -1}, {"warmup": 2}, {"clip": -1}]
)
def test_settings_out_of_range_are_named(bad):
    with pytest.raises(DataError, match=next(iter(bad))):
        TrainConfig(**bad)


def test_schedules_against_their_formulas():
    plain = {"epochs": 12, "warmup": 0.0}
    steps = TrainConfig(schedule="multistep", **plain)
    by_epoch = [rate_factor(10 * epoch, steps, 10) for epoch in range(12)]
    assert by_epoch == [1, 0.5, 0.5, 0.5, *[0.25] * 6, 0.125, 0.125]  # x 0.5 at 1, 4, 10
    cosine = TrainConfig(schedule="cosine", **plain)
    for step in (0, 30, 60, 120):
        expected = 0.5 * (1 + math.cos(math.pi * step / 120))
        assert math.isclose(rate_factor(step, cosine, 10), expected, abs_tol=1e-12)
    warm = TrainConfig(schedule="constant", epochs=10, warmup=0.1)
    assert [rate_factor(step, warm, 10) for step in (0, 4, 9, 50)] == [0.1, 0.5, 1, 1]


def test_small_sets_get_more_epochs():
    assert enough_epochs(8000, 128) == 7
    assert enough_epochs(128, 128) == 430
    assert enough_epochs(885, 128) == 72  # 6 batches an epoch


def test_devices_and_precision():
    assert pick_precision("auto", torch.device("cpu")) == torch.float32
    assert pick_precision("bfloat16", torch.device("cpu")) == torch.bfloat16
    with pytest.raises(DataError, match="not to be had here"):
        pick_device("nonsense")


def test_bfloat16_trains_too(world, device):
    config = dataclasses.replace(SHORT, precision="bfloat16", device=device)
    _, history = fit(world, config=config)
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]


# ------------------------------------------------------------------------------- run folders


@pytest.fixture
def run_folder(world, tmp_path):
    model, history = fit(world)
    folder = tmp_path / "run"
    save_run(
        folder,
        model,
        history,
        SHORT,
        loss="simclr",
        loss_settings={},
        data={"name": "scenes"},
        figures={},
        made_by=made_by(),
    )
    return folder, model


def test_a_run_comes_back_as_it_was(world, run_folder):
    folder, model = run_folder
    loaded, run = load_run(folder)
    assert run.loss == "simclr" and run.config["batch_size"] == 16 and len(run.history) == 2
    assert validate(loaded, world[1]).as_dict() == validate(model, world[1]).as_dict()


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
    folder, _ = run_folder
    damage(folder)
    with pytest.raises(error, match=said):
        load_run(folder)


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(MissingFile, match=r"no run folder .*nowhere"):
        load_run(tmp_path / "nowhere")


def test_saving_never_deletes_a_strangers_files(world, run_folder):
    folder, model = run_folder
    (folder / "thesis.txt").write_text("three years of work")
    with pytest.raises(DataError, match=r"thesis\.txt"):
        save_run(
            folder,
            model,
            fit(world)[1],
            SHORT,
            loss="simclr",
            loss_settings={},
            data={},
            figures={},
            made_by={},
        )
    assert (folder / "thesis.txt").read_text() == "three years of work"


def test_only_the_built_in_world_has_a_ceiling(world):
    strangers = dataclasses.replace(world[0].pairs, caption_info=None, name="coco")
    with pytest.raises(DataError, match="only the built-in world"):
        best_possible(strangers)
