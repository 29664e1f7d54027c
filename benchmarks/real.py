"""Compare the losses on real photographs: frozen pretrained backbones, two linear heads.

    python benchmarks/real.py --root ../shared/real

Two pairs of backbones: the full one (EfficientNet-Lite0 and all-MiniLM-L6-v2) and the pocket one
that the course ships. Photos and captions are Flickr8k's, as far as they lie under --root.

- *The official split*: trained on its 885 photos, learning rate and epochs chosen for each loss on
  dev (120), reported on test (132). Five seeds.
- *Five folds* over all 1,137 photos, so that each photo is tested once, at the course's learning
  rate. One training of 72 epochs shows both: each loss at its own best epoch, chosen on a part of
  the training photos that is held out, and all losses after 10, 20 and 72 epochs. Only this part
  says anything about the order of the losses.

A choice is the one with the largest sum of recalls on the held-out photos. Every training is kept
in the work folder as soon as it is done; run again, the script goes on where it stopped.
"""

import argparse
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mmret_lib.data import load_pairs
from mmret_lib.data.features import Features
from mmret_lib.encoders import DualEncoder
from mmret_lib.encoders.features import keep_features
from mmret_lib.files.whole import whole_file, write_text
from mmret_lib.metrics.report import Report
from mmret_lib.show.tables import display_name
from mmret_lib.training import TrainConfig, build_loss, made_by, validate
from mmret_lib.training.history import History
from mmret_lib.training.trainer import Trainer

# name -> loss, its settings, whether the branches end in a standardisation
TRIALS: dict[str, tuple[str, dict, bool]] = {
    "simclr": ("simclr", {"temperature": 0.07}, False),
    "barlow_twins": ("barlow_twins", {}, True),
    "barlow_twins, plain": ("barlow_twins", {"lambda_": 0.0051}, False),
    "sum_triplet": ("sum_triplet", {}, False),
    "max_triplet": ("max_triplet", {"all_negatives_steps": 20}, False),
}
PAIRS = ("full", "pocket")
RATES = (5e-4, 2e-3, 5e-3)
SEEDS = range(5)
FOLDS = 5
BUDGETS = (10, 20, 72)
MOST_EPOCHS, PATIENCE = 60, 8  # of the official split
RATE = 2e-3  # in the folds
KS = (1, 5, 10)
BATCH = 128
DRAWS = 4000  # of the bootstrap over photos
FIGURES = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in KS]


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


def hits(report: Report) -> np.ndarray:
    """Per photo the recall at each K in percent, both ways: (N, 6), columns as FIGURES."""
    columns = [100.0 * report.i2t.hits(k) for k in KS]
    counts = np.bincount(report.owner)
    columns += [100.0 * np.bincount(report.owner, weights=report.t2i.hits(k)) / counts for k in KS]
    return np.stack(columns, 1)


def train(
    model: DualEncoder, trial: str, seed: int, part: dict[str, Features], **settings: Any
) -> tuple[History, list[dict[str, Any]]]:
    """Train the heads; return the history, and a record of every epoch that was the best so far or
    is one of BUDGETS, with its hits on the test photos.
    """
    loss, loss_settings, _ = TRIALS[trial]
    config = TrainConfig(
        batch_size=BATCH,
        schedule="constant",
        warmup=0.0,
        train="projections",
        augment="none",
        seed=seed,
        **settings,
    )
    records: list[dict[str, Any]] = []
    best = -1.0

    def test(history: History) -> None:
        nonlocal best
        row = history.rows[-1]
        rsum = sum(row[name] for name in FIGURES)
        if rsum > best or row["epoch"] in BUDGETS:
            found = hits(validate(model, part["test"]))
            records.append({"epoch": row["epoch"], "dev": rsum, "hits": found})
        best = max(best, rsum)

    trainer = Trainer(
        fresh_heads(model, seed),
        build_loss(loss, **loss_settings),
        part["train"],
        config,
        validation=part["dev"],
        on_epoch=test,
        progress=False,
    )
    history = trainer.fit()
    return history, records


def splits(count: int, official: dict[str, np.ndarray]) -> Iterator[tuple[str, dict]]:
    """The official split, then five folds: name -> rows of train, dev and test."""
    yield "official", official
    order = np.random.default_rng(0).permutation(count)
    parts = np.array_split(order, FOLDS)
    for fold, test in enumerate(parts):
        rest = np.concatenate([part for i, part in enumerate(parts) if i != fold])
        dev, rows = np.split(rest, [len(official["dev"])])
        yield f"fold {fold}", {"train": np.sort(rows), "dev": np.sort(dev), "test": np.sort(test)}


def measure(pair: str, root: Path, work: Path) -> None:
    """Train everything of one pair of backbones, one file in the work folder a training."""
    models = {standardise: build(pair, root, standardise) for standardise in (False, True)}
    photos = root / "flickr8k"
    features = keep_features(
        models[False], load_pairs("flickr8k", root=photos, split="train+dev+test")
    )
    place = {path.name: row for row, path in enumerate(features.pairs.images)}
    official = {}
    for split in ("train", "dev", "test"):
        images = load_pairs("flickr8k", root=photos, split=split).images
        official[split] = np.sort([place[path.name] for path in images if path.name in place])
    work.mkdir(parents=True, exist_ok=True)
    for split, rows in splits(len(features), official):
        part = {name: features.subset(chosen) for name, chosen in rows.items()}
        if split == "official":
            settings = [
                {"projection_lr": rate, "epochs": MOST_EPOCHS, "patience": PATIENCE}
                for rate in RATES
            ]
        else:
            settings = [{"projection_lr": RATE, "epochs": max(BUDGETS), "patience": 0}]
        for trial, seed, setting in itertools.product(TRIALS, SEEDS, settings):
            name = f"{pair}-{split}-{trial}-{seed}-{setting['projection_lr']:g}"
            path = work / f"{re.sub('[^a-z0-9.]+', '-', name)}.npz"
            if path.exists():
                continue
            history, records = train(models[TRIALS[trial][2]], trial, seed, part, **setting)
            best = max(records, key=lambda record: record["dev"])
            at = {record["epoch"]: record["hits"] for record in records}
            tested = {"chosen": best["hits"]}
            if split != "official":
                tested |= {f"{epochs} epochs": at[epochs] for epochs in BUDGETS}
            what = {"pair": pair, "split": split, "trial": trial, "seed": seed}
            what |= {"rate": setting["projection_lr"], "dev": best["dev"], "epoch": best["epoch"]}
            what["seconds"] = sum(row["seconds"] for row in history.rows[: int(best["epoch"])])
            with whole_file(path) as file:
                np.savez(file, record=json.dumps(what), rows=rows["test"], **tested)
        print(f"{pair}: {split} done", flush=True)


def gather(work: Path) -> pd.DataFrame:
    """One row per training and plan ("chosen", "10 epochs" …), with its hits per photo."""
    rows = []
    for path in sorted(work.glob("*.npz")):
        with np.load(path) as content:
            record = json.loads(str(content["record"]))
            for plan in set(content.files) - {"record", "rows"}:
                found = {"hits": content[plan], "rows": content["rows"]}
                rows.append({**record, "plan": plan, **found})
    return pd.DataFrame(rows)


def with_chosen_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep, of each pair, split and loss, the learning rate that is best on dev over the seeds."""
    chosen = rows[rows.plan == "chosen"]
    mean = chosen.groupby(["pair", "split", "trial", "rate"]).dev.mean().reset_index()
    best = mean.loc[mean.groupby(["pair", "split", "trial"]).dev.idxmax()]
    kept = chosen.merge(best[["pair", "split", "trial", "rate"]])
    return pd.concat([kept, rows[rows.plan != "chosen"]], ignore_index=True)


def chance(photos: int, k: int, captions: int = 5) -> float:
    """Percent: one of a photo's captions is among the first k of all, in random order."""
    total = photos * captions
    missed = np.prod([(total - captions - i) / (total - i) for i in range(k)])
    return float(100 * (1 - missed))


def official_table(rows: pd.DataFrame, pair: str) -> list[str]:
    """The losses on the official test split."""
    part = rows[(rows.pair == pair) & (rows.split == "official")]
    if part.empty:
        return []
    photos = len(part.hits.iloc[0])
    lines = [
        "",
        f"**{pair} pair**, {photos} photos, image→text / text→image:",
        "",
        "| loss | R@1 | R@10 | learning rate, epochs | seconds |",
        "|---|---|---|---|---|",
    ]
    for trial in TRIALS:
        own = part[part.trial == trial]
        recalls = np.stack([tested.mean(0) for tested in own.hits])  # (seeds, 6)
        mean, spread = recalls.mean(0), recalls.std(0, ddof=1)
        cells = [f"{mean[i]:.1f} ± {spread[i]:.1f}" for i in range(6)]
        lines.append(
            f"| {display_name(trial)} | {cells[0]} / {cells[3]} | {cells[2]} / {cells[5]} "
            f"| {own.rate.iloc[0]:g}, {own.epoch.median():.0f} | {own.seconds.mean():.1f} |"
        )
    random = [chance(photos, 1), 100 / photos, chance(photos, 10), 1000 / photos]
    texts = [f"{value:.1f}" for value in random]
    return [*lines, f"| *chance* | {texts[0]} / {texts[1]} | {texts[2]} / {texts[3]} | | |"]


def per_photo(rows: pd.DataFrame, pair: str, trial: str, plan: str) -> np.ndarray:
    """Hits of every photo, each tested in its fold, mean over the seeds: (photos, 6)."""
    part = rows[(rows.pair == pair) & (rows.trial == trial) & (rows.plan == plan)]
    part = part[part.split != "official"]
    photos = 1 + max(tested.max() for tested in part["rows"])
    sums, counts = np.zeros((photos, 6)), np.zeros((photos, 1))
    for tested, found in zip(part["rows"], part["hits"], strict=True):
        sums[tested] += found
        counts[tested] += 1
    return sums / counts


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap over photos of the mean of `values` (photos,)."""
    drawn = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
    low, high = np.percentile(values[drawn].mean(1), [50 - 50 * level, 50 + 50 * level])
    return float(low), float(high)


def fold_table(rows: pd.DataFrame, pair: str, plan: str) -> list[str]:
    """The losses over the five folds, and which of their differences are decided."""
    there = rows[(rows.pair == pair) & (rows.plan == plan) & (rows.split != "official")]
    if set(there.trial) != set(TRIALS):
        return []
    table = {trial: per_photo(rows, pair, trial, plan) for trial in TRIALS}
    order = sorted(TRIALS, key=lambda trial: -table[trial].sum(1).mean())
    title = "each at its own best epoch" if plan == "chosen" else f"equal budget of {plan}"
    lines = [
        "",
        f"**{pair} pair, {title}**; 95 % intervals over photos in brackets:",
        "",
        "| loss | R@1 image→text | R@1 text→image | R@10 image→text | R@10 text→image | rsum |",
        "|---|---|---|---|---|---|",
    ]
    for trial in order:
        found = table[trial]
        columns = [*(found[:, i] for i in (0, 3, 2, 5)), found.sum(1)]
        cells = []
        for values in columns:
            low, high = interval(values)
            cells.append(f"{values.mean():.1f} ({low:.1f}–{high:.1f})")
        lines.append(f"| {display_name(trial)} | {' | '.join(cells)} |")
    comparisons = list(itertools.combinations(order, 2))
    level = 1 - 0.05 / len(comparisons)  # Bonferroni: at 95 % all of them hold together
    decided, undecided = [], []
    for one, other in comparisons:
        difference = table[one].sum(1) - table[other].sum(1)
        low, high = interval(difference, level)
        text = f"{display_name(one)} over {display_name(other)} {difference.mean():+.1f}"
        text += f" ({low:+.1f} to {high:+.1f})"
        (decided if low > 0 or high < 0 else undecided).append(text)
    return [
        *lines,
        "",
        "Differences of rsum, compared photo by photo, with intervals that hold together at 95 % "
        f"(each at {100 * level:.1f} %). Decided: {'; '.join(decided) or 'none'}. "
        f"Undecided: {'; '.join(undecided) or 'none'}.",
    ]


def pocket_share(rows: pd.DataFrame) -> list[str]:
    """What the pocket pair keeps of the full pair's recall, over the five folds."""
    if set(rows.pair) != {"full", "pocket"}:
        return []
    lines = [
        "",
        "## What the pocket pair keeps of the full pair's recall",
        "",
        "Five folds, each loss at its own best epoch, image→text / text→image:",
        "",
        "| loss | R@10 | R@1 |",
        "|---|---|---|",
    ]
    for trial in TRIALS:
        full, pocket = (per_photo(rows, pair, trial, "chosen") for pair in ("full", "pocket"))
        shares = [f"{share:.0%}" for share in pocket.mean(0) / full.mean(0)]
        lines.append(
            f"| {display_name(trial)} | {shares[2]} / {shares[5]} | {shares[0]} / {shares[3]} |"
        )
    return lines


def report(work: Path) -> str:
    rows = with_chosen_rates(gather(work))
    lines = [
        "# The losses on real photographs, with frozen backbones and two linear heads",
        "",
        "`python benchmarks/real.py --root ../shared/real`. Photos and captions of Flickr8k, five "
        "captions a photo; five seeds; recalls in percent.",
        f"Made by {json.dumps(made_by())}.",
        "",
        "## The official split",
        "",
        "Trained on 885 photos; learning rate and epochs chosen on dev (120 photos); mean over the "
        "seeds ± standard deviation.",
    ]
    for pair in PAIRS:
        lines += official_table(rows, pair)
    lines += [
        "",
        "## Five folds over all photos",
        "",
        "Each photo is tested once, among the photos of its fold (about 227). Intervals are over "
        "photos; a loss's trainings, five in each fold, are averaged first.",
    ]
    for pair, plan in itertools.product(PAIRS, ("chosen", *(f"{n} epochs" for n in BUDGETS))):
        lines += fold_table(rows, pair, plan)
    return "\n".join([*lines, *pocket_share(rows)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("../shared/real"))
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--work", type=Path, default=Path("runs/real"), help="a file per training")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    torch.set_num_threads(1)  # heads on kept features are faster on one thread
    for pair in args.pairs:
        measure(pair, args.root.resolve(), args.work)
    text = report(args.work)
    write_text(args.out / "real.md", text)
    print(text)


if __name__ == "__main__":
    main()
