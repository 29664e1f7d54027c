"""The training loop: it learns, repeats exactly, freezes what it should, and fails in words."""

import dataclasses
import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

from mmret_lib.data import Pairs
from mmret_lib.files.errors import DataError
from mmret_lib.losses import SimCLR
from mmret_lib.training import (
    TrainConfig,
    Trainer,
    build_loss,
    build_model,
    validate,
)
from mmret_lib.training.devices import pick_device, pick_precision
from mmret_lib.training.schedule import enough_epochs

pytestmark = pytest.mark.slow  # nearly every test trains or writes much

SHORT = TrainConfig(epochs=2, batch_size=16, device="cpu", validate=False)


def small_model(splits, loss="simclr", **settings):
    return build_model(
        loss, splits[0].pairs, image_weights=None, text_weights=None, seed=0, **settings
    )


def fit(splits, loss="simclr", config=SHORT, **settings):
    model = small_model(splits, loss, **settings)
    trainer = Trainer(model, build_loss(loss), splits[0], config, progress=False)
    return model, trainer.fit()


@pytest.mark.parametrize("loss", ["sum_triplet", "max_triplet", "simclr", "barlow_twins"])
def test_every_loss_trains_and_its_value_falls(splits, loss):
    config = dataclasses.replace(SHORT, epochs=6)
    _, history = fit(splits, loss, config)
    losses = history.column("loss")
    assert len(losses) == 6 and all(map(math.isfinite, losses))
    # The max triplet's loss may sit on its plateau of 2 x margin; it must not rise above it.
    assert losses[-1] < losses[0]


def test_it_learns_pairs_by_heart(splits, device):
    """32 scenes seen again and again: most are then found. A loop that trained nothing, or one
    that mixed up who belongs to whom, would stay near chance (3 %)."""
    few = splits[1]
    model = small_model(splits)
    config = TrainConfig(
        epochs=60, batch_size=32, augment="none", captions="first", device=device, warmup=0.1
    )
    Trainer(model, SimCLR(), few, config, progress=False).fit()
    assert validate(model, few, allow_leak=True).i2t.recall[1] > 60


def test_same_seed_same_weights_another_seed_others(splits):
    one, again = fit(splits)[0], fit(splits)[0]
    other = fit(splits, config=dataclasses.replace(SHORT, seed=1))[0]
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(one.image.projection.weight, other.image.projection.weight)


@pytest.mark.filterwarnings("ignore:the .* has random weights")
@pytest.mark.parametrize(
    ("parts", "moving"),
    [
        ({"train": "projections"}, {"image.projection", "text.projection"}),
        ({"train": "image"}, {"image.backbone", "image.projection"}),
        ({"train": "text"}, {"text.backbone", "text.projection"}),
        # locked-image tuning, and locked-text tuning without the text's projection
        (
            {"train_image": "projection"},
            {"image.projection", "text.backbone", "text.projection"},
        ),
        ({"train_text": "nothing"}, {"image.backbone", "image.projection"}),
    ],
    ids=lambda value: " ".join(sorted(value)),  # a set's own order differs between processes
)
def test_only_the_chosen_part_moves(splits, parts, moving):
    """The rest stays as it is to the last bit, statistics of BatchNorms among it."""
    before = {name: value.clone() for name, value in small_model(splits).state_dict().items()}
    model, _ = fit(splits, config=dataclasses.replace(SHORT, **parts))
    moved = {
        ".".join(name.split(".")[:2])
        for name, value in model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == moving
    statistics = [name for name in before if name.startswith("image.backbone.bn1.running")]
    assert len(statistics) == 2
    for name in statistics:
        assert torch.equal(model.state_dict()[name], before[name]) is (
            "image.backbone" not in moved
        )


def test_each_branch_trains_at_its_own_rate(splits):
    """Pretrained text at 5e-5 beside a random image branch at 1e-3."""
    config = dataclasses.replace(SHORT, text_lr=5e-5, warmup=0.0)
    model = small_model(splits)
    trainer = Trainer(model, SimCLR(), splits[0], config, progress=False)
    rates = {
        group["name"].partition(",")[0]: group["lr"] for group in trainer.optimizer.param_groups
    }
    assert rates == {"image backbone": 1e-3, "text backbone": 5e-5, "projection": 2e-3}
    assert (trainer.config.image_lr, trainer.config.text_lr) == (1e-3, 5e-5)
    config = dataclasses.replace(SHORT, train="image", train_image="nothing")
    with pytest.raises(DataError, match="Nothing of either branch would train"):
        Trainer(model, SimCLR(), splits[0], config, progress=False)


def test_a_learnable_temperature_is_trained(splits):
    loss = SimCLR(learnable=True)
    before = float(loss.temperature)
    Trainer(small_model(splits), loss, splits[0], SHORT, progress=False).fit()
    assert float(loss.temperature) != before


def test_validation_figures_stand_in_the_history(splits):
    config = dataclasses.replace(SHORT, validate=True)
    trainer = Trainer(
        small_model(splits), SimCLR(), splits[0], config, validation=splits[1], progress=False
    )
    history = trainer.fit()
    last = validate(trainer.model, splits[1]).as_dict()
    assert history.rows[-1]["t2i_r1"] == last["t2i_r1"]
    assert history.column("epoch") == [1, 2]


def test_tensorboard_gets_the_history(splits, tmp_path, monkeypatch):
    config = dataclasses.replace(SHORT, validate=True, tensorboard=True)
    trainer = Trainer(
        small_model(splits),
        SimCLR(),
        splits[0],
        config,
        validation=splits[1],
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
        Trainer(small_model(splits), SimCLR(), splits[0], config, progress=False)


def compiled_by(backend, monkeypatch):
    """Let torch.compile use this backend."""
    plain = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: plain(module, backend=backend))


@pytest.mark.parametrize(
    ("backend", "kind"),
    # Tracing and differentiating, without the minute that a C++ compiler takes for the kernels.
    [("aot_eager", "cpu"), pytest.param("inductor", "cuda", marks=pytest.mark.cuda)],
)
def test_a_compiled_model_trains_alike(splits, monkeypatch, backend, kind):
    if kind == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    compiled_by(backend, monkeypatch)
    ends = []
    for compiled in (False, True):
        config = dataclasses.replace(SHORT, compile=compiled, epochs=1, device=kind)
        trainer = Trainer(small_model(splits), SimCLR(), splits[0], config, progress=False)
        ends.append((trainer.fit().rows[-1]["loss"], set(trainer.model.state_dict())))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-2)
    assert ends[0][1] == ends[1][1], "compiling renames no weights"


def test_a_loss_that_is_no_number_names_epoch_and_step(splits):
    class Broken(nn.Module):
        calls = 0

        def forward(self, image_emb, text_emb, **ids):
            self.calls += 1
            return image_emb.sum() * (math.nan if self.calls == 6 else 1)

    trainer = Trainer(small_model(splits), Broken(), splits[0], SHORT, progress=False)
    with pytest.raises(FloatingPointError, match=r"epoch 2, step 2 of 4.*learning rate"):
        trainer.fit()


def test_fewer_images_than_a_batch(splits):
    config = dataclasses.replace(SHORT, batch_size=65)
    with pytest.raises(DataError, match="64 images, fewer than a batch of 65"):
        Trainer(small_model(splits), SimCLR(), splits[0], config, progress=False)


def test_bfloat16_trains_too(splits, device):
    config = dataclasses.replace(SHORT, precision="bfloat16", device=device)
    _, history = fit(splits, config=config)
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]


def test_the_configuration_says_what_it_came_to(splits):
    config = TrainConfig(batch_size=16)
    trainer = Trainer(small_model(splits), SimCLR(), splits[0], config, progress=False)
    assert trainer.config.epochs == enough_epochs(64, 16) == 108
    device = pick_device("auto")
    assert trainer.config.device == str(device)
    dtype = pick_precision("auto", device)
    assert trainer.config.precision == str(dtype).removeprefix("torch.")
    assert trainer.config.patience == 0


@pytest.mark.filterwarnings("ignore:the .* has random weights")
def test_projections_alone_get_their_own_budget(splits):
    config = TrainConfig(batch_size=16, train="image", train_image="projection")
    for validation, budget in ((None, (10, 0)), (splits[1], (40, 4))):
        trainer = Trainer(
            small_model(splits), SimCLR(), splits[0], config, validation=validation, progress=False
        )
        assert (trainer.config.epochs, trainer.config.patience) == budget


def test_images_without_captions_are_refused(splits):
    train = splits[0]
    model = small_model(splits)
    bare = Pairs(train.pairs.images, [], np.zeros(0, np.int64), train.pairs.image_ids)
    with pytest.raises(DataError, match="no captions, and training needs some"):
        Trainer(model, SimCLR(), bare, SHORT)
    with pytest.raises(DataError, match="no captions, and validation needs some"):
        Trainer(model, SimCLR(), train, SHORT, validation=bare)
    with pytest.raises(DataError, match="no captions, and measuring recall needs some"):
        validate(model, dataclasses.replace(train, owner=bare.owner))
