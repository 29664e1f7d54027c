"""A training that goes wrong says so in one line, as do evaluate and search; a sound one does not.

Each of the four is provoked in a real training: the collapse by Max Triplet alone from the first
step, the hub by a loss that asks for one, the bound by a temperature that starts near it.
"""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from mmret_lib.cli import main
from mmret_lib.losses import (
    EVERY_LOSS,
    LOSSES,
    BarlowTwins,
    MaxTriplet,
    PairLoss,
    SimCLR,
    SumTriplet,
)
from mmret_lib.losses.atlas import FalseNegativeFilter, SigLIP
from mmret_lib.losses.within import WithinBranches
from mmret_lib.search import SearchIndex
from mmret_lib.studies.evaluate_run import evaluate_run
from mmret_lib.training import TrainConfig, Trainer, build_loss, build_model, load_run, train_run
from mmret_lib.training.diagnosis import LastBatch, collapsed_value, diagnose_epoch

B, D = 24, 8


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def batch(image_emb=None, text_emb=None, image_ids=None, caption_ids=None):
    equal, ids = torch.ones(B, D), torch.arange(B)
    return LastBatch(
        equal if image_emb is None else image_emb,
        equal if text_emb is None else text_emb,
        ids if image_ids is None else image_ids,
        ids if caption_ids is None else caption_ids,
    )


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (SimCLR(), 2 * math.log(B - 1)),
        (SimCLR(0.5, positive_in_denominator=True), 2 * math.log(B)),
        (MaxTriplet(0.2), 0.4),
        (SumTriplet(0.3), 0.6 * (B - 1)),
        (BarlowTwins(), D),
        (WithinBranches(MaxTriplet(0.2), lambda *_: None, images=1.0, captions=0.5), 1.0),
    ],
    ids=str,
)
def test_the_collapsed_value_is_the_losss_own(loss, value):
    assert collapsed_value(loss, batch()) == pytest.approx(value, rel=1e-5)
    assert loss.training


def test_pairs_that_are_no_negatives_lower_the_collapsed_value():
    twins = torch.arange(B) // 2
    found = collapsed_value(SimCLR(), batch(caption_ids=twins))
    assert found == pytest.approx(2 * math.log(B - 2))
    assert collapsed_value(SimCLR(), batch(image_ids=torch.zeros(B))) is None  # no negative at all


def test_asking_for_the_value_is_no_call_of_the_training():
    loss = MaxTriplet(0.2, all_negatives_steps=5)
    assert collapsed_value(loss, batch()) == pytest.approx(0.4)
    assert loss.training_calls == 0
    assert collapsed_value(torch.nn.Linear(2, 2), batch()) is None


CONFIG = TrainConfig(epochs=40, warmup=0.0)


def judge(loss, emb, value, means=4, steps=10, config=CONFIG):
    losses = torch.full((steps,), value)
    return diagnose_epoch(loss, emb, losses, [value] * means, config)


# Without a guide a filter drops every negative of a collapsed batch, and costs nothing there.
CAUGHT = [name for name in EVERY_LOSS if name != "false_negative_filter"]


@pytest.mark.parametrize("name", CAUGHT)
def test_every_loss_is_caught_at_its_collapsed_value(name):
    loss = build_loss(name)
    value = collapsed_value(loss, batch())
    found = judge(loss, batch(), value)
    assert list(found) == ["collapsed loss", "one direction"]
    assert f"the loss stands at {value:.4g}" in found["collapsed loss"]
    assert "Try" in found["collapsed loss"] and "\n" not in found["collapsed loss"]
    assert "collapsed loss" not in judge(loss, batch(), 0.9 * value)


def test_the_first_steps_of_a_training_say_nothing():
    assert judge(MaxTriplet(), batch(), 0.4, means=2) == {}
    slow = dataclasses.replace(CONFIG, warmup=0.1)  # over the first four epochs
    assert judge(MaxTriplet(), batch(), 0.4, means=6, config=slow) == {}
    assert judge(MaxTriplet(), batch(), 0.4, means=7, config=slow)


def test_a_loss_at_its_collapsed_value_that_ranks_is_sound():
    """Max Triplet: spread by hairs, yet ranked."""
    spread = torch.randn(B, D, generator=torch.Generator().manual_seed(0))
    by_hairs = batch(5 + 0.01 * spread, 5 + 0.01 * spread)
    assert judge(MaxTriplet(), by_hairs, 0.4) == {}


def test_a_loss_that_has_only_just_come_there_says_nothing():
    loss, spread = MaxTriplet(), torch.randn(2, B, D)
    losses, means = torch.full((10,), 0.4), [0.9, 0.9, 0.9, 0.4]
    assert "collapsed loss" not in diagnose_epoch(loss, batch(*spread), losses, means, CONFIG)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            SimCLR(0.0102, learnable=True),
            "the learnt temperature, 0.0102, sits at its bound of 0.01",
        ),
        (SimCLR(9.9, learnable=True), "the learnt temperature, 9.9, sits at its bound of 10"),
        (
            MaxTriplet(0.0101, learnable=True),
            "the learnt margin, 0.0101, sits at its bound of 0.01",
        ),
        (BarlowTwins(0.00011, learnable=True), "the learnt lambda, 0.00011, sits at its bound"),
        (SigLIP(99.0), "the learnt scale, 99, sits at its bound of 100: a higher one always costs"),
        (SigLIP(0.101), "the learnt scale, 0.101, sits at its bound of 0.1: right and wrong pairs"),
        (FalseNegativeFilter(SigLIP(99.0)), "the learnt scale, 99, sits at its bound of 100"),
    ],
    ids=lambda value: str(value).replace("\n", ""),
)
def test_a_learnt_number_at_its_bound_is_named(loss, said):
    spread = torch.randn(B, D)
    line = judge(loss, batch(spread, spread), 123.0)["bound"]
    assert said in line and "learnable=False" in line
    for sound in (SimCLR(0.07, learnable=True), SimCLR(0.01), SimCLR(0.02, learnable=True)):
        assert judge(sound, batch(spread, spread), 123.0) == {}


class Hub(PairLoss):
    """Asks every caption to prefer one and the same image, by a margin."""

    def __init__(self):
        super().__init__()
        self.apart = SimCLR()

    def forward(self, image_emb, text_emb, *, image_ids=None, caption_ids=None):
        similarity = F.normalize(text_emb, dim=1) @ F.normalize(image_emb, dim=1).T  # texts in rows
        first = similarity[:, image_ids == 0]  # (B, 1)
        others = similarity[:, image_ids != 0].amax(dim=1, keepdim=True)
        return (others - first + 0.1).relu().mean() * 10 + 0.1 * self.apart(image_emb, text_emb)


TRAININGS = {  # what is found -> loss, configuration
    "one direction": (
        lambda: MaxTriplet(0.2),
        TrainConfig(epochs=25, batch_size=16, device="cpu", augment="none", schedule="constant"),
    ),
    "hub image": (
        Hub,
        TrainConfig(epochs=40, batch_size=64, device="cpu", augment="none", captions="first"),
    ),
    "bound": (
        lambda: SimCLR(0.0103, learnable=True),
        TrainConfig(epochs=10, batch_size=16, device="cpu", augment="none"),
    ),
}
SAID = {
    "collapsed loss": "the loss stands at 0.4",
    "one direction": "nearly one direction: ",
    "hub image": "image is the first answer to ",
    "bound": "sits at its bound of 0.01",
}


@pytest.fixture(scope="module", params=TRAININGS)
def gone_wrong(request, splits, tmp_path_factory):
    """The name of what is found, the run, its folder, and what the training printed."""
    make, config = TRAININGS[request.param]
    folder = tmp_path_factory.mktemp("wrong") / "run"
    model = build_model("simclr", splits[0].pairs, image_weights=None, text_weights=None)
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("mmret_lib.training.trainer.say", lambda text, **_: lines.append(text))
        run = train_run(folder, model, make(), splits[0], config, progress=False)
    return request.param, run, folder, lines


@pytest.mark.slow
def test_a_training_that_goes_wrong_says_so_once(gone_wrong):
    name, run, folder, lines = gone_wrong
    assert name in run.history.findings
    wanted = ["collapsed loss", name] if name == "one direction" else [name]
    for one in wanted:
        said = [line for line in lines if SAID[one] in line]
        assert len(said) == 1 and said[0].startswith("warning: epoch ")
    assert load_run(folder)[1].findings == run.history.findings == run.record.findings


@pytest.mark.slow
def test_evaluate_and_search_say_it_too(gone_wrong, splits, capsys, monkeypatch):
    name, _, folder, _ = gone_wrong
    monkeypatch.setattr("mmret_lib.cli.opening.load", lambda *_, **__: splits[0].pairs)
    for command in (
        ["evaluate", str(folder), "--allow-leak"],
        ["index", str(folder), str(folder.parent / "index")],
        ["search", str(folder), "a zebra", "--index", str(folder.parent / "index")],
    ):
        main(command)
        said = capsys.readouterr().err
        assert SAID[name] in said and "warning: " in said


@pytest.mark.slow
def test_evaluate_and_search_find_a_hub(splits, capsys, monkeypatch):
    pairs = splits[0].pairs
    model = build_model("simclr", pairs)
    generator = torch.Generator().manual_seed(0)
    image_emb = torch.randn(len(pairs), model.dim, generator=generator)
    text_emb = torch.randn(len(pairs.captions), model.dim, generator=generator) + 1
    image_emb[5] = 1
    monkeypatch.setattr(model, "encode_images", lambda *_: image_emb)
    monkeypatch.setattr(model, "encode_texts", lambda *_: text_emb)
    said = "hub: image 5 (counted from 0) is the first answer to 100% of the captions"
    figures = evaluate_run(model, pairs, name="hub", findings={"bound": "epoch 3: at its bound"})
    assert said in figures["findings"]["hub image"] and said in capsys.readouterr().err
    assert figures["findings"]["bound"] == "in training, epoch 3: at its bound"
    unit = (F.normalize(emb, dim=1) for emb in (image_emb, text_emb))
    assert said in SearchIndex(model, pairs, *unit).findings()["hub image"]


@pytest.mark.slow
def test_a_cached_index_embeds_nothing_to_be_diagnosed(splits):
    model = build_model("simclr", splits[0].pairs)
    index = SearchIndex.build(model, splits[0], cached=True, progress=False)
    assert index.findings() == {} and not index._collection.sides
    with torch.no_grad():
        model.image.projection.weight.zero_()
    index = SearchIndex.build(model, splits[0], cached=True, progress=False)
    index.by_text("a zebra")
    assert "one direction" in index.findings() and list(index._collection.sides) == ["image"]


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_a_sound_training_says_nothing(splits, name, capsys):
    model = build_model(name, splits[0].pairs)
    settings = {"all_negatives_steps": 60} if name == "max_triplet" else {}
    config = TrainConfig(epochs=10, batch_size=16, device="cpu")
    trainer = Trainer(
        model, build_loss(name, **settings), splits[0], config, validation=splits[1], progress=False
    )
    history = trainer.fit()
    assert history.findings == {} and "warning" not in capsys.readouterr().out
    assert SearchIndex.build(model, splits[0], progress=False).findings() == {}
