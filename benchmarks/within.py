"""Measure whether terms within a branch help the search between images and captions.

    python benchmarks/within.py     21 short trainings, 5 to 15 minutes; resumes where it stopped

SimCLR on 1,000 scenes of the built-in world with the mini backbones, 6 epochs in batches of 32,
tested on 1,000 other scenes; three seeds. Every arm but the first two sees two views of each pair
in a step, which takes twice the time: "one view, twice the epochs" costs as much. Beside the search
between the branches two searches within them are measured: `c2c_r1`, the first caption of each
scene looks for another one of the same scene among the four others of all, and `x2x_r1`, each scene
looks for itself among all, cropped by the course's augmentation.
"""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from mmret_lib.data import load_pairs
from mmret_lib.data.augment import crop_and_flip
from mmret_lib.data.store import Store, pack
from mmret_lib.encoders import DualEncoder
from mmret_lib.losses import SimCLR
from mmret_lib.losses.within import WithinBranches
from mmret_lib.metrics import evaluate
from mmret_lib.training import TrainConfig, Trainer, build_model, made_by, validate
from mmret_lib.training.second_views import SecondViews

RESULTS = Path(__file__).parent / "results" / "within.csv"
SEEDS = (0, 1, 2)
ARMS: dict[str, dict[str, Any]] = {  # weights of the terms within; none: one view
    "one view": {},
    "one view, twice the epochs": {},
    "two views": {"images": 0.0, "captions": 0.0},
    "two views, images": {"images": 1.0, "captions": 0.0},
    "two views, captions": {"images": 0.0, "captions": 1.0},
    "two views, both": {"images": 1.0, "captions": 1.0},
    "two views, both at 0.2": {"images": 0.2, "captions": 0.2},
}


def searched_within(model: DualEncoder, test: Store) -> dict[str, float]:
    """Measure recall@1 of the two searches within a branch, in percent."""
    texts = model.encode_texts(test.pairs.captions).view(len(test), 5, -1)  # (N, 5, D)
    owner = torch.arange(len(test)).repeat_interleave(4)
    captions = evaluate(texts[:, 0], texts[:, 1:].flatten(0, 1), owner)
    pixels = torch.as_tensor(test[:])
    cropped = crop_and_flip(pixels, torch.Generator().manual_seed(0))
    images = evaluate(
        model.encode_images(cropped), model.encode_images(pixels), torch.arange(len(test))
    )
    return {"c2c_r1": captions.i2t.recall[1], "x2x_r1": images.i2t.recall[1]}


def main() -> None:
    train, test = (
        pack(load_pairs("scenes", split=split, size=1000, progress=False), 64, progress=False)
        for split in ("train", "test")
    )
    rows = pd.read_csv(RESULTS).to_dict("records") if RESULTS.exists() else []
    done = {(row["arm"], row["seed"]) for row in rows}
    for seed in SEEDS:
        for arm, weights in ARMS.items():
            if (arm, seed) in done:
                continue
            model = build_model("simclr", train.pairs, seed=seed)
            loss: nn.Module = SimCLR()
            if weights:
                loss = WithinBranches(loss, SecondViews(model, train), **weights)
            epochs = 12 if "twice" in arm else 6
            config = TrainConfig(epochs=epochs, batch_size=32, seed=seed)
            history = Trainer(model, loss, train, config, progress=False).fit()
            figures = {**validate(model, test).as_dict(), **searched_within(model, test)}
            figures = {name: round(value, 2) for name, value in figures.items()}
            seconds = round(history.training_seconds, 1)
            rows.append({"arm": arm, "seed": seed, "epochs": epochs, "seconds": seconds, **figures})
            pd.DataFrame(rows).to_csv(RESULTS, index=False)
            print(arm, seed, seconds, figures["i2t_r1"], figures["t2i_r1"], flush=True)
    origin = {
        "command": "python benchmarks/within.py",
        "date": date.today().isoformat(),
        "made_by": made_by(),
    }
    RESULTS.with_suffix(".json").write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
