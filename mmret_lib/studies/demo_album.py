"""Train projections on features of real photographs with several losses, and search the album.

The pocket backbones stay frozen, and the features of the training photographs are shipped. So only
the two projections are trained, which takes seconds. Every choice was made on the album's
validation part; its test photographs were not trained on.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mmret_lib.data import load_pairs
from mmret_lib.encoders.features import keep_features
from mmret_lib.files.errors import visible
from mmret_lib.files.output import say
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import whole_file, write_text
from mmret_lib.metrics.chance import chance
from mmret_lib.metrics.intervals import compare, intervals
from mmret_lib.metrics.report import Report
from mmret_lib.search.index import SearchIndex
from mmret_lib.show.retrieval import text_to_image
from mmret_lib.show.tables import display_name
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.recipes import build_loss, build_model, made_by
from mmret_lib.training.run import train_run

# The queries of the source course, and two that the album can answer as well.
QUERIES = (
    "Baby elephant plays in the water",
    "Grazing zebra",
    "Red bus on the street",
    "a plate of food on a table",
    "people playing tennis",
)
NAME = 20  # width of the names in the printed tables
COLUMNS = {  # of the printed table
    "i2t_r1": "image→text R@1",
    "i2t_r10": "R@10",
    "t2i_r1": "text→image R@1",
    "t2i_r10": "R@10",
}
# The same for every loss. Six epochs are best for SimCLR on the album's validation part
# (data/pocket/heads/recipe.json); 20 of its 42 steps Max Triplet begins with all negatives.
CONFIG = TrainConfig(train="projections", batch_size=256, augment="none", validate=False, epochs=6)
SETTINGS = {"max_triplet": {"all_negatives_steps": 20}}


def demo_album(out: Path, losses: Sequence[str]) -> dict[str, Report]:
    """Train losses on the album's features; print answers and the table.

    Args:
        losses: their names; the answers shown are those of the first.
        out: folder for ``results.csv``, ``results.json``, ``text_to_image.png`` and one run folder
            per loss.

    Returns:
        The report of each loss on the album's test photographs.
    """
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    pairs = {split: load_pairs("album", split=split) for split in ("train", "test")}
    train, test = pairs["train"], pairs["test"]
    say(
        f"Real photographs: two projections are trained on the features of {len(train):,} "
        f"photographs\nwith {len(train.captions):,} captions, and {len(test):,} others are "
        "searched. The backbones stay as they are."
    )
    first = losses[0]
    model = build_model(first, train, image_backbone="pocket", text_backbone="pocket")
    kept = {split: keep_features(model, part) for split, part in pairs.items()}
    reports: dict[str, Report] = {}
    rows: dict[str, dict[str, float]] = {}
    for name in losses:
        model = build_model(name, train, image_backbone="pocket", text_backbone="pocket")
        run = train_run(
            out / "runs" / name,
            model,
            build_loss(name, **SETTINGS.get(name, {})),
            kept["train"],
            CONFIG,
            evaluate_on={"test": kept["test"]},
            overwrite=True,
            snapshots=False,
        )
        report = reports[name] = run.reports["test"]
        if name == first:
            _show_answers(SearchIndex.build(model, kept["test"], progress=False), out, started)
            say(f"\n{_head(report)}\n{_chance_line(report)}")
        say(_line(name, report, run.history.training_seconds), flush=True)
        rows[name] = {"training_seconds": run.history.training_seconds, **report.as_dict()}
    rows["chance"] = chance(test.owner)
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("loss").round(3)
    write_text(out / "results.csv", frame.to_csv())
    results = {name: {k: v for k, v in row.items() if v == v} for name, row in rows.items()}
    write_json(out / "results.json", {"made_by": made_by(), "results": results})
    _compare(reports)
    return reports


def _show_answers(index: SearchIndex, out: Path, started: float) -> None:
    """Print the first answer to each query, and draw the five best."""
    say(f"\nThe first answer to each sentence ({time.perf_counter() - started:.0f} s after start):")
    for query in QUERIES:
        hit = index.by_text(query, k=1)[0]
        say(f"  {query:<34} -> {hit.image.name}: {visible(hit.captions[0])}")
    figure = text_to_image(index, [(query, None) for query in QUERIES])
    path = out / "text_to_image.png"
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=110)
    say(f"wrote {path}")


def _compare(reports: dict[str, Report]) -> None:
    """Print how far the other losses are from the first, and which differences may be chance."""
    first, *others = reports
    if not others:
        return
    say(f"Sum of the six recalls, {display_name(first)} over each other loss, photo by photo:")
    for loss in others:
        row = compare(reports[first], reports[loss]).loc["rsum"]
        unsure = "  (could be chance)" if row["low"] <= 0 <= row["high"] else ""
        interval = f"{row['low']:+.0f} to {row['high']:+.0f}"
        say(f"  {display_name(loss):<{NAME}}{row['difference']:+6.0f}, {interval}{unsure}")
    say(
        "One seed and one length of training decide no order. benchmarks/results/real.md has five "
        "seeds\nand several lengths on photographs, data/results/world.csv more seeds on drawings."
    )


def _head(report: Report) -> str:
    pool = f"album: {report.images:,} photographs, {report.captions:,} captions in the pool; "
    heads = "".join(f"{head:>20}" for head in COLUMNS.values())
    return f"{pool}recalls in percent, with 95 % intervals\n{'loss':<{NAME}}{heads}{'seconds':>10}"


def _chance_line(report: Report) -> str:
    expected = chance(report.owner)
    return f"{'chance':<{NAME}}" + "".join(f"{expected[name]:20.1f}" for name in COLUMNS)


def _line(name: str, report: Report, seconds: float) -> str:
    ranges, figures = intervals(report), report.as_dict()
    cells = []
    for column in COLUMNS:
        low, high = ranges[column]
        cells.append(f"{f'{figures[column]:.1f} ({low:.0f}–{high:.0f})':>20}")
    return f"{display_name(name):<{NAME}}{''.join(cells)}{seconds:10.1f}"
