"""What is noted while a study's model trains: counts by hand, epochs of curves, truth, offsets."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmret_lib.data import load_pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.losses import SimCLR
from mmret_lib.losses.base import PairLoss
from mmret_lib.studies import watch
from mmret_lib.studies.watch import (
    EVERY,
    Curve,
    WatchedLoss,
    truth_of,
    without_offset_and_scale,
)


class Constant(PairLoss):
    """Pushes each query's negatives by given amounts, and notes its guides."""

    takes_guide = True

    def __init__(self, push: Tensor) -> None:
        super().__init__()
        self.given, self.guides = push, []

    def forward(self, image_emb: Tensor, text_emb: Tensor, **more: Any) -> Tensor:
        self.guides.append(more.get("guide"))
        return image_emb.sum() * 0

    def pushes(self, image_emb: Tensor, text_emb: Tensor, negatives: Tensor, **_: Any) -> Tensor:
        return self.given * negatives


def test_the_counts_are_those_by_hand() -> None:
    # Query 0 pushes two alike (2 effective), query 1 one (1), query 2 none (left out), query 3
    # 1 : 1 : 998, of which the ones have a share of 0.001 each.
    rows = torch.tensor([[0, 1, 1, 0], [0, 0, 5, 0], [0, 0, 0, 0], [1, 1, 998, 0.0]])
    emb = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, -1]])
    loss = WatchedLoss(Constant(torch.stack([rows, rows])))
    loss(emb, emb)
    ((call, effective, above, alike),) = loss.seen
    last = 1 / (0.998**2 + 2 * 0.001**2)
    assert call == 0
    assert effective == pytest.approx((2 + 1 + last) / 3)
    assert above == pytest.approx((2 + 1 + 1) / 3)
    assert alike == pytest.approx((1 - 1) / 6)  # of six pairs one alike, one opposite


def test_every_tenth_training_call_is_looked_at_and_averaged_over_its_epoch() -> None:
    loss = WatchedLoss(SimCLR())
    emb = torch.eye(4)
    for _ in range(2 * EVERY + 5):
        loss(emb, emb)
    assert [look[0] for look in loss.seen] == [0, EVERY, 2 * EVERY]
    loss.eval()
    loss(emb, emb)
    assert loss.calls == 2 * EVERY + 5, "validation does not count"
    loss.seen = [(0, 1.0, 2.0, 0.5), (10, 3.0, 4.0, 0.7), (20, math.nan, 6.0, 0.0)]
    first, second = loss.epochs(steps=15)
    assert first == {"effective": 2, "above_1_percent": 3, "alike": 0.6}
    assert math.isnan(second["effective"]) and second["above_1_percent"] == 6


def test_an_epoch_without_a_look_is_empty() -> None:
    loss = WatchedLoss(SimCLR())
    for _ in range(12):
        loss(torch.eye(3), torch.eye(3))
    assert loss.epochs(steps=4)[1] == {}


def test_watching_changes_neither_loss_nor_gradient() -> None:
    emb, other = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    found = []
    for loss in (SimCLR(), WatchedLoss(SimCLR())):
        rows = emb.clone().requires_grad_()
        value = loss(rows, other)
        value.backward()
        found.append((value.detach(), rows.grad))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_the_loss_is_shown_the_truth_of_its_batch() -> None:
    truth = torch.arange(12.0).reshape(3, 4)
    inner = Constant(torch.ones(2, 2, 2))
    loss = WatchedLoss(inner, truth)
    ids = {"image_ids": torch.tensor([2, 0]), "caption_ids": torch.tensor([3, 1])}
    loss(torch.eye(2), torch.eye(2), **ids)
    assert inner.guides[0].tolist() == [[11, 9], [3, 1]]


@pytest.fixture(scope="module")
def store() -> Store:
    return pack(load_pairs("scenes", split="train", size=24, progress=False), 64, progress=False)


def test_truth_is_what_the_captions_say_of_the_scenes(store: Store) -> None:
    truth = truth_of(store)
    ids = np.asarray(store.caption_ids)
    assert truth.shape == (24, ids.max() + 1)
    assert set(truth.unique().tolist()) == {0.0, 1.0}
    own = truth[torch.from_numpy(store.owner.copy()).long(), torch.from_numpy(ids.copy()).long()]
    assert (own == 1).all(), "each caption is true of its own scene"
    assert truth.mean() < 0.5, "and of few others"


def test_a_wrong_caption_is_not_true_of_the_scene_it_stands_beside() -> None:
    wrong = load_pairs("scenes", split="train", size=24, wrong_captions=1.0, progress=False)
    store = pack(wrong, 64, progress=False)
    owner, ids = (
        torch.from_numpy(numbers.copy()).long() for numbers in (store.owner, store.caption_ids)
    )
    assert truth_of(store)[owner, ids].mean() < 0.5


def test_a_curve_ranks_both_splits_at_its_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, Any]] = []

    def validate(model: Any, store: Any) -> SimpleNamespace:
        asked.append((model, store))
        return SimpleNamespace(as_dict=lambda: {"i2t_r1": 12.345, "images": 7})

    monkeypatch.setattr(watch, "validate", validate)
    model, val, test = object(), object(), object()
    curve = Curve(model, val, test, (2, 4))  # type: ignore[arg-type]
    for epoch in (1, 2, 3, 4, 5):
        curve(SimpleNamespace(rows=[{"epoch": epoch}]))  # type: ignore[arg-type]
    assert asked == [(model, val), (model, test)] * 2
    places = [(epoch, split) for epoch in (2, 4) for split in ("val", "test")]
    assert [(row["epoch"], row["split"]) for row in curve.rows] == places
    assert set(curve.rows[0]) == {"epoch", "split", "i2t_r1"}
    assert curve.rows[0]["i2t_r1"] == pytest.approx(12.345, abs=0.006)


class Made:
    """A model and a store of N images with one caption each, whose embeddings are given."""

    def __init__(self, image_emb: Tensor, text_emb: Tensor) -> None:
        self.image_emb, self.text_emb = image_emb, text_emb
        self.owner = np.arange(len(image_emb))

    def __len__(self) -> int:
        return len(self.image_emb)

    def __getitem__(self, part: slice) -> slice:
        return part

    texts = __getitem__

    def encode_images(self, part: slice) -> Tensor:
        return self.image_emb[part]

    def encode_texts(self, part: slice) -> Tensor:
        return self.text_emb[part]


def measured(image_emb: Tensor, text_emb: Tensor) -> dict[str, dict[str, Any]]:
    made: Any = Made(image_emb, text_emb)
    return {row["form"]: row for row in without_offset_and_scale(made, made)}


def alike(count: int = 300, dim: int = 8) -> Tensor:
    """Rows that are centred, each dimension with a deviation of 1."""
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(0)).double()
    return (rows - rows.mean(dim=0)) / rows.std(dim=0)


def test_an_offset_is_measured_and_taken_away() -> None:
    rows = alike()
    offset = 4 * torch.tensor([1.0, -1, 1, -1, 1, -1, 1, -1])
    forms = measured(rows, rows + offset)
    # |offset|^2 = 128, and the rows' mean squared length is 8 (n - 1) / n.
    inside = 8 * 299 / 300
    assert forms["as they are"]["offset_text"] == pytest.approx(128 / (128 + inside), abs=1e-4)
    assert forms["as they are"]["offset_image"] == pytest.approx(0, abs=1e-4)
    assert forms["as they are"]["scale_text"] == pytest.approx(0, abs=1e-4)
    assert forms["as they are"]["i2t_r1"] < 100
    assert forms["centred"]["i2t_r1"] == forms["centred and scaled"]["i2t_r1"] == 100


def test_a_scale_is_measured_and_taken_away() -> None:
    rows = alike()
    scale = 2.0 ** torch.tensor([3.0, -3, 3, -3, 3, -3, 3, -3])
    forms = measured(rows, rows * scale)
    expected = torch.tensor([3.0, -3] * 4).std()
    assert forms["as they are"]["scale_text"] == pytest.approx(float(expected), abs=1e-3)
    assert forms["as they are"]["scale_image"] == pytest.approx(0, abs=1e-3)
    assert forms["as they are"]["offset_text"] == pytest.approx(0, abs=1e-4)
    assert forms["centred"]["i2t_r1"] < 100
    assert forms["scaled"]["i2t_r1"] == forms["centred and scaled"]["i2t_r1"] == 100


def test_scales_that_agree_correlate() -> None:
    rows = alike()
    scale = 2.0 ** torch.arange(8)
    assert measured(rows * scale, rows * scale)["scaled"]["scales_agree"] == pytest.approx(1)
    flipped = measured(rows * scale, rows * scale.flip(0))["scaled"]["scales_agree"]
    assert flipped == pytest.approx(-1, abs=1e-4)
