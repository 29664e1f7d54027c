"""The trainings of `real.py`: heads on kept features of real photographs."""

import re
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mmret_lib.data import load_pairs
from mmret_lib.data.features import Features
from mmret_lib.encoders import DualEncoder
from mmret_lib.encoders.dual import eval_mode
from mmret_lib.encoders.features import keep_features
from mmret_lib.losses.base import PairLoss, unit_length
from mmret_lib.metrics.report import Report, evaluate
from mmret_lib.studies.fewer_negatives import FewerNegatives
from mmret_lib.studies.watch import WatchedLoss
from mmret_lib.training import TrainConfig, build_loss
from mmret_lib.training.history import History
from mmret_lib.training.trainer import Trainer

FOLDS, HELD_OUT, BATCH = 5, 120, 128
EPOCHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 29, 35, 42, 50, 60, 72)  # ranked after
KS = (1, 5, 10)


class Form(NamedTuple):
    """A loss with its fixed settings, its knob and the values to try, the usual one first."""

    loss: str
    settings: dict[str, Any]
    knob: str
    values: tuple[float, ...]
    standardise: bool = False
    guided: bool = False


MARGINS = (0.2, 0.1, 0.3, 0.5)
COURSE = {
    "sum_triplet": Form("sum_triplet", {}, "margin", MARGINS),
    "max_triplet": Form("max_triplet", {"margin": 0.2}, "all_negatives_steps", (20, 6, 60, 120)),
    "simclr": Form("simclr", {}, "temperature", (0.07, 0.03, 0.12, 0.2)),
    "barlow_twins": Form("barlow_twins", {}, "lambda_", (0.02, 0.005, 0.05, 0.15), True),
    "max_triplet, plain": Form("max_triplet", {"all_negatives_steps": 0}, "margin", MARGINS),
    "barlow_twins, plain": Form("barlow_twins", {}, "lambda_", (0.0051, 0.001, 0.02, 0.05)),
}
FILTER = ("false_negative_filter", {"temperature": 0.07}, "margin", (0.0, 0.05, 0.1, 0.2))
ATLAS = {
    "margin_softmax": Form(
        "margin_softmax", {"margin": 0.2}, "temperature", (0.05, 0.02, 0.1, 0.2)
    ),
    "top_k_triplet": Form("top_k_triplet", {"margin": 0.2}, "k", (8, 2, 4, 32)),
    "multi_similarity": Form(
        "multi_similarity", {"alpha": 2.0, "beta": 40.0}, "base", (0.5, 0.1, 0.3, 0.7)
    ),
    "siglip": Form("siglip", {}, "scale", (10.0, 5.0, 20.0, 40.0)),
    "smooth_ap": Form("smooth_ap", {}, "temperature", (0.01, 0.03, 0.1, 0.2)),
    "hard_negative_nce": Form(
        "hard_negative_nce", {"temperature": 0.07}, "beta", (1.0, 4.0, 8.0, 16.0)
    ),
    "adaptive_nce": Form(
        "adaptive_nce", {"temperature": 0.07, "mu": 0.4}, "sigma", (1.0, 0.5, 0.2, 0.1)
    ),
    "false_negative_filter, own similarities": Form(*FILTER),
    "false_negative_filter, captions": Form(*FILTER, guided=True),
}
FORMS = COURSE | ATLAS


@dataclass(frozen=True)
class Task:
    """One training. `count` 0: all negatives count; `tested` False: a training of the search."""

    pair: str
    fold: int
    form: str
    rate: float
    value: float
    seed: int
    epochs: int = EPOCHS[-1]
    wrong: float = 0.0
    count: int = 0
    pick: str = "random"
    tested: bool = True

    def file(self, work: Path) -> Path:
        name = "-".join(str(value) for value in asdict(self).values())
        return work / f"{re.sub('[^a-zA-Z0-9.]+', '-', name)}.npz"


def build(pair: str, root: Path, standardise: bool) -> DualEncoder:
    if pair == "pocket":
        names = dict.fromkeys(
            ("image_backbone", "image_weights", "text_backbone", "text_weights"), "pocket"
        )
    else:
        names = {
            "image_backbone": "timm/tf_efficientnet_lite0",
            "image_weights": str(root / "weights" / "tf_efficientnet_lite0"),
            "text_backbone": str(root / "weights" / "all-MiniLM-L6-v2"),
            "text_weights": "pretrained",
        }
    return DualEncoder.from_names(**names, standardise=standardise)


def fresh_heads(model: DualEncoder, seed: int) -> DualEncoder:
    """Give the model new random heads: the backbones stay, and need not be read again."""
    torch.manual_seed(seed)
    model.image.projection.reset_parameters()
    model.text.projection.reset_parameters()
    if model.standardise:
        model.image_norm.reset_running_stats()
        model.text_norm.reset_running_stats()
    return model


def swap_captions(part: Features, share: float, seed: int) -> Features:
    """Give a share of the captions to another photo: each chosen one takes another's place."""
    rng = np.random.default_rng((seed, 17))
    chosen = rng.permutation(len(part.owner))[: round(share * len(part.owner))]
    # Photos in random order, their captions together: half the list away is another photo.
    chosen = chosen[np.argsort(rng.permutation(len(part))[part.owner[chosen]], kind="stable")]
    ids = part.caption_ids.copy()
    ids[chosen] = part.caption_ids[np.roll(chosen, len(chosen) // 2)]
    return replace(part, caption_ids=ids)


def caption_guide(part: Features) -> torch.Tensor:
    """How well each caption fits each photo, by the other captions of that photo.

    Returns:
        (photos, caption ids): the mean cosine of the sentence encoder's features of the caption and
        of the photo's captions, itself left out.
    """
    owner = torch.from_numpy(part.owner)
    emb = unit_length(torch.as_tensor(part.texts(slice(0, len(owner)))).float())  # (M, F)
    sums = torch.zeros(len(part), emb.shape[1]).index_add_(0, owner, emb)  # (N, F)
    counts = torch.bincount(owner)[:, None].float()  # (N, 1)
    total, own = sums @ emb.T, torch.arange(len(part))[:, None] == owner[None]  # (N, M) both
    guide = torch.zeros(len(part), int(part.caption_ids.max()) + 1)
    guide[:, torch.from_numpy(part.caption_ids)] = (total - own.float()) / (counts - own.float())
    return guide


class Photos:
    """Models and features of one pair of backbones, and the photos of each fold."""

    def __init__(self, pair: str, root: Path) -> None:
        self.models = {standardise: build(pair, root, standardise) for standardise in (False, True)}
        pairs = load_pairs("flickr8k", root=root / "flickr8k", split="train+dev+test")
        self.features = keep_features(self.models[False], pairs)
        order = np.random.default_rng(0).permutation(len(self.features))
        self.parts = np.array_split(order, FOLDS)

    @cache  # noqa: B019 - there are two of these objects, as long as the script runs
    def fold(self, number: int) -> dict[str, Any]:
        """Rows and features of train, held-out and test photos; "seen": as many of train."""
        rest = np.concatenate([part for i, part in enumerate(self.parts) if i != number])
        held, train = np.split(rest, [HELD_OUT])
        rows = {"train": np.sort(train), "held": np.sort(held), "test": np.sort(self.parts[number])}
        features = {name: self.features.subset(chosen) for name, chosen in rows.items()}
        return {**features, "seen": features["train"].subset(range(HELD_OUT)), "rows": rows["test"]}


def rank(model: DualEncoder, part: Features) -> Report:
    """Rank photos and captions, without the search for leaks: training photos are ranked too."""
    with eval_mode(model):
        images = model.image_norm(model.image(torch.as_tensor(part[:])))
        texts = torch.as_tensor(part.texts(slice(0, len(part.owner))))
        texts = model.text_norm(model.text(features=texts))
    return evaluate(images, texts, part.owner)


def hits(report: Report) -> np.ndarray:
    """Per photo the recall at each K in percent, both ways: (N, 6)."""
    columns = [100.0 * report.i2t.hits(k) for k in KS]
    counts = np.bincount(report.owner)
    columns += [100.0 * np.bincount(report.owner, weights=report.t2i.hits(k)) / counts for k in KS]
    return np.stack(columns, 1)


def train(photos: Photos, task: Task) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Train the heads.

    Returns:
        a record of each epoch that is ranked after, and the hits on the test photos after each,
        (records, photos, 6); without photos where the task is not tested.
    """
    form, fold = FORMS[task.form], photos.fold(task.fold)
    part = swap_captions(fold["train"], task.wrong, task.seed) if task.wrong else fold["train"]
    loss: PairLoss = build_loss(form.loss, **{**form.settings, form.knob: task.value})
    if task.count:
        loss = FewerNegatives(loss, task.count, task.pick, task.seed)
    watched = WatchedLoss(loss, caption_guide(part) if form.guided else None)
    model = fresh_heads(photos.models[form.standardise], task.seed)
    steps = len(part) // BATCH
    records: list[dict[str, Any]] = []
    found: list[np.ndarray] = []

    def test(history: History) -> None:
        row = history.rows[-1]
        if row["epoch"] not in EPOCHS:
            return
        look = watched.seen[-1]
        record = {"epoch": int(row["epoch"]), "steps": int(row["epoch"]) * steps}
        record |= {"loss": row["loss"], "effective": look[1], "above": look[2]}
        for pool in ("held", "seen") if task.tested else ("held",):
            record[pool] = hits(rank(model, fold[pool])).mean(0).round(4).tolist()
        records.append(record)
        found.append(hits(rank(model, fold["test"])) if task.tested else np.zeros((0, 6)))

    config = TrainConfig(
        epochs=task.epochs,
        batch_size=BATCH,
        projection_lr=task.rate,
        schedule="constant",
        warmup=0.0,
        train="projections",
        augment="none",
        seed=task.seed,
    )
    Trainer(model, watched, part, config, on_epoch=test, progress=False).fit()
    return records, np.stack(found)
