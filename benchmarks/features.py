"""Measure kept features: how fast they are computed, and how long an epoch over them takes.

    python benchmarks/features.py                       both; about 15 minutes on two cores
    python benchmarks/features.py --photos 64 --pairs 2000 --rounds 1      a miniature

Real photos with five captions each (`--root`, or MMRET_REAL_DATA), ResNet-34 at 224 pixels and
DistilBERT's sizes, both with random weights, which compute as fast as others. The epoch is over as
many pairs as COCO has: features of the photos that are there, repeated, with captions of their own
each, in files of full size. The projections-only epoch on pixels is timed on `--photos` of them and
scaled.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loader import REAL, machine, photos  # the scripts beside this one
from step import distilbert

from mmret_lib.data import Pairs
from mmret_lib.data.feature_files import SPAN, Side, make_side, names_of
from mmret_lib.data.features import Features, join
from mmret_lib.data.store import Store, pack
from mmret_lib.encoders import DualEncoder
from mmret_lib.encoders.dual import eval_mode
from mmret_lib.encoders.features import keep_features
from mmret_lib.losses import LOSSES
from mmret_lib.training import TrainConfig, Trainer, build_loss, build_model

HERE = Path(__file__).parent
SIZE, BATCH = 224, 256
NAMES = ("sum_triplet", "max_triplet", "simclr", "barlow_twins")


def model_of(loss: str, pairs: Pairs, folder: Path) -> DualEncoder:
    folder.mkdir(exist_ok=True)
    return build_model(
        loss,
        pairs,
        image_backbone="resnet34",
        image_weights=None,
        text_backbone=str(distilbert(folder, pairs.captions)),
        text_weights=None,
    )


def backbone_alone(model: DualEncoder, store: Store) -> float:
    """Photos a second of the image backbone on pixels that are in memory, 64 at a time."""
    pixels = torch.from_numpy(store[:])
    started = time.perf_counter()
    with eval_mode(model):
        for first in range(0, len(pixels), SPAN):
            model.image.extract_features(pixels[first : first + SPAN])
    return len(pixels) / (time.perf_counter() - started)


def texts_alone(model: DualEncoder, captions: list[str]) -> float:
    """Captions a second of the text backbone, tokenised before, 256 of like length at a time."""
    ordered = sorted(dict.fromkeys(captions), key=len)
    batches = [model.text.tokenize(ordered[i : i + 256]) for i in range(0, len(ordered), 256)]
    started = time.perf_counter()
    with eval_mode(model):
        for tokens in batches:
            model.text.extract_features(**tokens)
    return len(ordered) / (time.perf_counter() - started)


def building(model: DualEncoder, pairs: Pairs, store: Store, rounds: int) -> dict[str, Any]:
    """Measure in turn the backbones alone and `keep_features`, in rows a second."""
    rates: dict[str, list[float]] = {}

    def kept(source: Pairs | Store, side: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            if side == "image":
                made: Any = keep_features(
                    model, source, folder=folder, sides=["image"], progress=False
                ).image
            else:
                made = keep_features(
                    model, source, folder=folder, sides=["text"], progress=False
                ).text
            return len(made.values) / (time.perf_counter() - started)

    few = pairs.subset(range(min(len(pairs), 256)))
    small = pack(few, SIZE, progress=False)
    for _ in range(rounds):
        for name, measure in (
            ("image backbone alone", lambda: backbone_alone(model, small)),
            ("features of a packed store", lambda: kept(small, "image")),
            ("features of JPEG files", lambda: kept(few, "image")),
            ("text backbone alone", lambda: texts_alone(model, few.captions)),
            ("features of captions", lambda: kept(small, "text")),
        ):
            rates.setdefault(name, []).append(measure())
            print(f"{name}: {rates[name][-1]:,.1f} a second", flush=True)
    return rates


def repeated(features: Features, count: int, folder: Path) -> Features:
    """Features of `count` pairs in files of their own: real ones, repeated."""
    pairs = features.pairs.subset(np.arange(count) % len(features))
    captions = [f"{caption} {j}" for j, caption in enumerate(pairs.captions)]
    pairs = replace(pairs, captions=captions, image_ids=list(range(count)))

    def side(name: str, kept: Side, names: list[Any]) -> Side:
        origin = {**kept.manifest["origin"], "data": f"repeated {len(names)}", "dtype": "float16"}

        def compute(todo: list[int]) -> Any:
            for k in todo:
                rows = np.arange(k * SPAN, min((k + 1) * SPAN, len(names))) % len(kept.values)
                yield k, (kept.values[rows].astype(np.float16), {}, None)

        length = kept.values.shape[2]
        options = {"about": "repeated", "progress": False}
        return make_side(folder / name, origin, names_of(names), length, compute, **options)

    assert isinstance(features.image, Side) and features.text is not None
    image = side("image", features.image, pairs.image_ids)
    return join(pairs, image, np.arange(count), side("text", features.text, captions))


def epoch(model: DualEncoder, loss: str, data: Any, one_thread: bool | None = None) -> float:
    """Seconds of one epoch of projections."""
    config = TrainConfig(
        epochs=1, batch_size=BATCH, train="projections", validate=False, device="cpu"
    )
    config = replace(config, batch_size=min(BATCH, len(data)))
    loop = Trainer(model, build_loss(loss), data, config, progress=False)
    if one_thread is not None:
        loop.one_thread = one_thread
    return loop.fit().training_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=REAL)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=118_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    assert set(NAMES) <= set(LOSSES)
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "?"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pairs = photos(args.root, folder)
        pairs = pairs.subset(range(min(args.photos, len(pairs))))
        store = pack(pairs, SIZE, folder / "store", progress=False)
        model = model_of("simclr", pairs, folder / "bert")
        rates = building(model, pairs, store, args.rounds)
        features = keep_features(model, store, folder=folder / "kept", progress=False)
        many = repeated(features, args.pairs, folder / "many")
        seconds: dict[str, dict[str, list[float]]] = {loss: {} for loss in NAMES}
        for _ in range(args.rounds):
            for loss in NAMES:
                heads = model_of(loss, pairs, folder / "bert")
                heads.image.backbone, heads.text = model.image.backbone, model.text
                for threads in (1, 2):
                    spent = epoch(heads, loss, many, one_thread=threads == 1)
                    seconds[loss].setdefault(str(threads), []).append(spent)
                    print(f"{loss}, {threads} threads: {spent:.1f} s", flush=True)
        # The last, smaller batch is left out of an epoch: count what was shown.
        steps = len(store) // min(BATCH, len(store))
        shown = steps * min(BATCH, len(store))
        on_pixels = epoch(model, "simclr", store) / shown * args.pairs
    report(args, rates, seconds, on_pixels, shown, load)


def report(
    args: argparse.Namespace,
    rates: dict[str, list[float]],
    seconds: dict[str, dict[str, list[float]]],
    on_pixels: float,
    shown: int,
    load: str,
) -> None:
    middle = {name: statistics.median(values) for name, values in rates.items()}
    image = middle["features of a packed store"] / middle["image backbone alone"]
    files = middle["features of JPEG files"] / middle["image backbone alone"]
    text = middle["features of captions"] / middle["text backbone alone"]
    alone = {loss: statistics.median(times["1"]) for loss, times in seconds.items()}
    slowest = max(alone.values())
    command = f"python benchmarks/features.py --photos {args.photos} --pairs {args.pairs}"
    command += f" --rounds {args.rounds}"
    lines = [
        "# Kept features",
        "",
        f"`{command}`, on {machine()}. Load of the machine over the minute before: {load}.",
        "",
        "ResNet-34 at 224 pixels (512 features) and a DistilBERT (768), random weights, float32.",
        f"Medians of {args.rounds} rounds, which go through all in turn.",
        "",
        "## Computing them",
        "",
        "| | a second |",
        "|---|---|",
        *(f"| {name} | {rate:,.1f} |" for name, rate in middle.items()),
        "",
        f"- from a packed store, over the backbone's own speed: {image:.0%} (bar: at least 90 %; "
        f"{'met' if image >= 0.9 else 'MISSED'}); from JPEG files, which are decoded beside it: "
        f"{files:.0%}; captions: {text:.0%}",
        "",
        f"## An epoch over features of {args.pairs:,} pairs, B = {BATCH}",
        "",
        "Kept in float16, five captions an image; seconds:",
        "",
        "| loss | one thread | two threads |",
        "|---|---|---|",
        *(
            f"| {loss} | {statistics.median(times['1']):.1f} | "
            f"{statistics.median(times['2']):.1f} |"
            for loss, times in seconds.items()
        ),
        "",
        f"- the slowest loss on one thread, as the trainer does it: {slowest:.1f} s (bar: at most "
        f"60 s; {'met' if slowest <= 60 else 'MISSED'})",
        f"- the same epoch on pixels (SimCLR, both backbones frozen, all threads), timed on "
        f"{shown:,} pairs and scaled: {on_pixels:,.0f} s, {on_pixels / alone['simclr']:,.0f} times "
        f"as long (bar: at least 100; "
        f"{'met' if on_pixels / alone['simclr'] >= 100 else 'MISSED'})",
        "",
    ]
    record = {
        "command": command,
        "machine": machine(),
        "load": load,
        "rows_a_second": rates,
        "epoch_seconds": seconds,
        "on_pixels_scaled": on_pixels,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "features.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.out / "features.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
