"""A new loss is one file and one entry in LOSSES: everything else takes it from there."""

import numpy as np
import pandas as pd
import pytest
import torch
from photo_folders import put_photo
from test_cli import TINY, mmret
from torch import Tensor

from mmret_lib.losses import LOSSES, PairLoss, negative_weights
from mmret_lib.losses.base import similarities
from mmret_lib.losses.negatives import find_negatives
from mmret_lib.metrics import evaluate
from mmret_lib.show.push import NegativeWeights
from mmret_lib.show.tables import results_frame, results_text
from mmret_lib.training import load_run


class SquaredHinges(PairLoss):
    """The example in the docstring of losses/base.py."""

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, image_emb, text_emb, *, image_ids=None, caption_ids=None) -> Tensor:
        image_emb, text_emb, ids = self.checked(image_emb, text_emb, image_ids, caption_ids)
        similarity = similarities(image_emb, text_emb)  # (B, B)
        negatives = find_negatives(similarity, ids)  # (B, B)
        return self.direction(similarity, negatives) + self.direction(similarity.T, negatives)

    def direction(self, similarity: Tensor, negatives: Tensor) -> Tensor:
        hinges = (self.margin - similarity.diagonal()[:, None] + similarity).relu()
        return (hinges.square() * negatives).sum(dim=1).mean()


@pytest.fixture(autouse=True)
def entry(monkeypatch):
    monkeypatch.setitem(LOSSES, "squared_hinges", SquaredHinges)


def test_the_command_line_trains_it(tmp_path):
    rows = ["image,caption"]
    for index in range(20):
        put_photo(tmp_path / "photos" / "Images" / f"{index}.jpg")
        rows.append(f"{index}.jpg,picture number {index}")
    (tmp_path / "photos" / "captions.txt").write_text("\n".join(rows) + "\n")
    names = "".join(f"{index}.jpg\n" for index in range(20))
    (tmp_path / "photos" / "Flickr_8k.trainImages.txt").write_text(names)
    data = ["--data", "flickr8k", "--root", "photos", "--val-split", "none"]
    loss = ["--loss", "squared_hinges", "--margin", "0.3", "--out", "run"]
    mmret(tmp_path, "train", *data, *loss, *TINY)
    _, run = load_run(tmp_path / "run")
    assert run.loss == "squared_hinges" and run.config["epochs"] == 1
    assert np.isfinite(pd.DataFrame(run.history).loss).all()


def test_its_weights_are_computed_drawn_and_its_results_listed(tmp_path):
    torch.manual_seed(0)
    image_emb, text_emb = torch.randn(6, 8), torch.randn(6, 8)
    weights = negative_weights(SquaredHinges(), image_emb, text_emb)
    assert weights.shape == (2, 6, 6) and weights.sum(dim=2).max() == pytest.approx(1)
    captions = [f"caption {index}" for index in range(6)]
    pictures = [np.full((4, 4, 3), 40 * index, np.uint8) for index in range(6)]
    widget = NegativeWeights(image_emb, text_emb, captions, pictures)
    assert "squared_hinges" in widget.results.value
    report = evaluate(image_emb, text_emb, np.arange(6))
    assert "squared_hinges" in results_text(results_frame({"squared_hinges": report}))
