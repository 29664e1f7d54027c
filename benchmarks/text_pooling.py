"""Measure what attention adds to a bag of words, and which pooling searches best (lesson 03).

    python benchmarks/text_pooling.py             all; about 25 minutes on one core

The image branch is frozen: its features are computed once, and a linear map of them trains. Beside
it one of five text branches trains: word counts and a linear map, or the shipped backbone with
each of the three poolings, or that backbone without its attention layers. All take the same steps
with the same pairs. Each branch's learning rate is chosen on the validation split with seed 0, and
five seeds are then measured with it on both splits. One row a run goes to results/text_pooling.csv
as soon as it is measured (run again, it resumes), question and machine to the .json beside it.
"""

import argparse
import datetime
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mmret_lib.data import load_pairs
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import pack
from mmret_lib.encoders import DualEncoder, TextEncoder
from mmret_lib.encoders.features import keep_features
from mmret_lib.losses import SimCLR
from mmret_lib.metrics import evaluate
from mmret_lib.training import made_by

SIZES = {"train": 2000, "val": 500, "test": 500}
STEPS, BATCH = 620, 64  # 20 epochs
RATES = {  # of the text branch, and of its last linear map (where there is another)
    "bag of words": [(0.001, 0), (0.003, 0), (0.01, 0)],
    "no attention, mean": [(0.001, 0.002), (0.003, 0.002), (0.01, 0.002)],
    "first": [(0.001, 0.002), (0.003, 0.002), (0.01, 0.002)],
    "mean": [(0.001, 0.002), (0.003, 0.002), (0.01, 0.002)],
    "max": [(0.001, 0.002), (0.003, 0.002), (0.01, 0.002)],
}
SEEDS = range(5)
OUT = Path(__file__).parent / "results"
Split = tuple[Tensor, list[str], np.ndarray]  # image features, captions, owner


def words(caption: str) -> list[str]:
    return re.findall(r"[a-z]+", caption.lower())


class BagOfWords(nn.Module):
    """Word counts (B, V) -> (B, 128), a linear map."""

    def __init__(self, captions: list[str]) -> None:
        super().__init__()
        known = sorted({word for caption in captions for word in words(caption)})
        self.column = {word: column for column, word in enumerate(known)}
        self.projection = nn.Linear(len(known), 128)

    def inputs(self, captions: list[str]) -> tuple[Tensor, ...]:
        """Count the known words of each caption, (B, V)."""
        counts = torch.zeros(len(captions), len(self.column))
        for row, caption in enumerate(captions):
            for word in words(caption):
                if word in self.column:
                    counts[row, self.column[word]] += 1
        return (counts,)

    def forward(self, counts: Tensor) -> Tensor:
        out: Tensor = self.projection(counts)
        return out


class Attentive(nn.Module):
    """The shipped backbone, pooled, and a linear map: ids, mask (B, L) -> (B, 128)."""

    def __init__(self, pooling: str, layers: int = 2) -> None:
        super().__init__()
        self.encoder = TextEncoder("mini", pooling=pooling)
        if layers == 0:
            self.encoder.backbone.transformer.layer = nn.ModuleList()
        self.projection = self.encoder.projection

    def inputs(self, captions: list[str]) -> tuple[Tensor, ...]:
        """Tokenise, padded to the longest caption of all."""
        tokens = self.encoder.tokenize(captions)
        return tokens["input_ids"], tokens["attention_mask"]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        longest = int(mask.sum(dim=1).max())
        out: Tensor = self.encoder(ids[:, :longest], mask[:, :longest])
        return out


def branch(arm: str, captions: list[str]) -> nn.Module:
    if arm == "bag of words":
        return BagOfWords(captions)
    return Attentive(arm.split()[-1], layers=0 if arm.startswith("no") else 2)


def run(arm: str, rates: tuple[float, float], seed: int, data: dict[str, Split]) -> dict:
    """Train one pair of branches, measure it on both other splits."""
    started = time.perf_counter()
    features, captions, owner = data["train"]
    captions_of = torch.from_numpy(np.argsort(owner, kind="stable")).view(len(features), 5)
    torch.manual_seed(seed)
    text = branch(arm, captions)
    image = nn.Linear(features.shape[1], 128)
    last = list(text.projection.parameters()) if rates[1] else []
    rest = [p for p in text.parameters() if not any(p is q for q in last)]
    groups = [{"params": rest}, {"params": last}, {"params": image.parameters()}]
    peaks = [rates[0], rates[1] or rates[0], 0.002]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, STEPS, pct_start=0.1)
    inputs, loss_of = text.inputs(captions), SimCLR(0.07)
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(STEPS):
        if len(order) < BATCH:
            order = torch.randperm(len(features), generator=generator)
        rows, order = order[:BATCH], order[BATCH:]
        picks = captions_of[rows, torch.randint(5, (BATCH,), generator=generator)]
        loss = loss_of(image(features[rows]), text(*(part[picks] for part in inputs)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*text.parameters(), *image.parameters()], 1.0)
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - started
    row = {"arm": arm, "rate": rates[0], "seed": seed, "seconds": round(seconds, 1)}
    row["parameters"] = sum(p.numel() for p in text.parameters())
    text.eval()
    for split in ("val", "test"):
        features, captions, owner = data[split]
        with torch.no_grad():
            report = evaluate(image(features), text(*text.inputs(captions)), owner)
        figures = {k: round(v, 2) for k, v in report.as_dict().items() if k[-3:] in ("_r1", "_r5")}
        row |= {f"{split}_{name}": value for name, value in figures.items()}
    return row


def load(progress: Callable[[str], None] = print) -> dict[str, Split]:
    """Draw the splits, and compute the frozen image features."""
    model, data = DualEncoder.from_names("mini", "mini"), {}
    for split, size in SIZES.items():
        pairs: Pairs = load_pairs("scenes", split=split, size=size)
        kept = keep_features(model, pack(pairs, 64), sides=("image",), progress=False)
        data[split] = (torch.tensor(kept[:]), list(kept.pairs.captions), np.asarray(kept.owner))
        progress(f"{split}: {tuple(data[split][0].shape)}, {len(data[split][1])} captions")
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    table = args.out / "text_pooling.csv"
    rows = pd.read_csv(table).to_dict("records") if table.exists() else []
    data = load()

    def measured(arm: str, rates: tuple[float, float], seed: int) -> dict:
        for row in rows:
            if (row["arm"], row["rate"], row["seed"]) == (arm, rates[0], seed):
                return row
        rows.append(run(arm, rates, seed, data))
        print(rows[-1], flush=True)
        pd.DataFrame(rows).to_csv(table, index=False)
        return rows[-1]

    for arm in args.arms:
        tried = {rates: measured(arm, rates, 0) for rates in RATES[arm]}
        best = max(tried, key=lambda r: tried[r]["val_i2t_r1"] + tried[r]["val_t2i_r1"])
        for seed in range(args.seeds):
            measured(arm, best, seed)
    record = {
        "question": "Does attention help beside a bag of words, and which pooling is best?",
        "command": "python benchmarks/text_pooling.py",
        "made": {**made_by(), "date": datetime.date.today().isoformat()},
        "scenes": SIZES,
        "steps": STEPS,
        "batch": BATCH,
        "rates": {arm: [rate for rate, _ in rates] for arm, rates in RATES.items()},
    }
    (args.out / "text_pooling.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
