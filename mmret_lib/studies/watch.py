"""What is recorded while a study's model trains: negatives that count, recall at some epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmret_lib.data.store import Store
from mmret_lib.data.world.scenes import caption_log_likelihood
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.losses.base import PairLoss, unit_length
from mmret_lib.losses.negatives import effective_negatives, negative_weights
from mmret_lib.metrics.report import evaluate
from mmret_lib.training.history import History
from mmret_lib.training.validation import validate

EVERY = 10  # training calls between two looks at a batch


class WatchedLoss(nn.Module):
    """A loss, and how many negatives counted in every tenth training batch.

    Args:
        loss: the loss.
        truth: (images, caption ids), 1 where the caption is true of the image: shown to the loss as
            its guide.

    Attributes:
        calls: training calls so far.
        seen: one (call, effective number, number with a share above 0.01, mean cosine of two
            images) per batch that was looked at; the last is 1 where all images have collapsed
            into one direction.
    """

    def __init__(self, loss: PairLoss, truth: Tensor | None = None) -> None:
        super().__init__()
        self.loss, self.truth = loss, truth
        self.calls = 0
        self.seen: list[tuple[int, float, float, float]] = []

    def forward(self, image_emb: Tensor, text_emb: Tensor, **ids: Any) -> Tensor:
        """Return the loss of a batch, a scalar; `ids` as in `PairLoss.forward`."""
        if self.truth is not None:
            ids["guide"] = self.truth[ids["image_ids"]][:, ids["caption_ids"]]  # (B, B)
        if self.training:
            if self.calls % EVERY == 0:
                self.look(image_emb.detach(), text_emb.detach(), **ids)
            self.calls += 1
        value: Tensor = self.loss(image_emb, text_emb, **ids)
        return value

    def look(self, image_emb: Tensor, text_emb: Tensor, **ids: Any) -> None:
        """Note how many of a batch's negatives count."""
        effective, above = effective_negatives(
            negative_weights(self.loss, image_emb, text_emb, **ids)
        )
        rows = unit_length(image_emb.float())
        batch = len(rows)
        alike = float((rows.sum(dim=0).square().sum() - batch) / (batch * (batch - 1)))
        self.seen.append((self.calls, effective, above, alike))

    def epochs(self, steps: int) -> list[dict[str, float]]:
        """Return the means over each epoch of so many steps."""
        columns = ("effective", "above_1_percent", "alike")
        rows = []
        for first in range(0, self.calls, steps):
            part = [look[1:] for look in self.seen if first <= look[0] < first + steps]
            means = torch.tensor(part).nanmean(dim=0).tolist() if part else []
            rows.append({name: round(mean, 4) for name, mean in zip(columns, means, strict=False)})
        return rows


def truth_of(store: Store) -> Tensor:
    """Return which captions are true of which scenes of the built-in world.

    Returns:
        (images, caption ids), 1.0 or 0.0; captions with the same text have the same id.
    """
    true = torch.from_numpy(caption_log_likelihood(store.pairs) > -np.inf)  # (N, M)
    ids = torch.from_numpy(store.caption_ids.copy())  # (M,)
    truth = torch.zeros(len(store), int(ids.max()) + 1)
    truth[:, ids] = true.float()
    return truth


class Curve:
    """Recall on the val and the test scenes after some epochs; called with the history."""

    def __init__(self, model: DualEncoder, val: Store, test: Store, epochs: tuple[int, ...]):
        self.model, self.splits, self.epochs = model, {"val": val, "test": test}, epochs
        self.rows: list[dict[str, Any]] = []

    def __call__(self, history: History) -> None:
        """Rank both splits if the epoch is one of those that are asked for."""
        epoch = int(history.rows[-1]["epoch"])
        if epoch in self.epochs:
            for split, store in self.splits.items():
                figures = validate(self.model, store).as_dict()
                row = {name: round(value, 2) for name, value in figures.items() if "2" in name}
                self.rows.append({"epoch": epoch, "split": split, **row})


def without_offset_and_scale(model: DualEncoder, store: Store) -> list[dict[str, Any]]:
    """Rank a split with each branch's embeddings as they are, centred, scaled, and both.

    An offset is the mean of a dimension over the split's images (or captions), a scale its standard
    deviation. Cosine similarity sees both, Barlow Twins' loss sees neither.

    Returns:
        One row per form of the embeddings: the recalls; for each branch "offset", the share of the
        embeddings' mean squared length that is the squared length of their mean, and "scale", the
        standard deviation of log2 of the dimensions' deviations (1: typically a factor of two); and
        "scales_agree", the correlation of these logarithms between the branches.
    """
    owner = store.owner
    image_emb = torch.cat([model.encode_images(part) for part in _pieces(store)])  # (N, D)
    text_emb = model.encode_texts(store.texts(slice(0, len(owner))))  # (M, D)
    measured: dict[str, float] = {}
    logs = []
    for name, emb in (("image", image_emb), ("text", text_emb)):
        mean, deviation = emb.mean(dim=0), emb.std(dim=0)  # (D,) each
        measured[f"offset_{name}"] = float(mean.square().sum() / emb.square().sum(dim=1).mean())
        logs.append(deviation.clamp_min(1e-12).log2())
        measured[f"scale_{name}"] = float(logs[-1].std())
    measured["scales_agree"] = float(torch.corrcoef(torch.stack(logs))[0, 1])
    rows = []
    for form in ("as they are", "centred", "scaled", "centred and scaled"):
        report = evaluate(_formed(image_emb, form), _formed(text_emb, form), owner)
        figures = {name: value for name, value in report.as_dict().items() if "_r" in name}
        rows.append({"form": form, **{k: round(v, 4) for k, v in {**figures, **measured}.items()}})
    return rows


def _pieces(store: Store) -> list[Any]:
    return [store[first : first + 256] for first in range(0, len(store), 256)]


def _formed(emb: Tensor, form: str) -> Tensor:
    """Embeddings (N, D) without their offset, their scale, or both."""
    mean = emb.mean(dim=0)
    if form == "centred":
        return emb - mean
    if form == "scaled":
        return emb / emb.std(dim=0).clamp_min(1e-12)
    if form == "centred and scaled":
        return (emb - mean) / emb.std(dim=0).clamp_min(1e-12)
    return emb
