"""The results table in the slides' layout: ours, the ceiling, and the slides' figures beside it;
and means over seeds."""

import math
from collections.abc import Sequence

import pandas as pd

from mmret_lib.metrics.report import Report

DISPLAY = {
    "sum_triplet": "Sum Triplet",
    "max_triplet": "Max Triplet",
    "simclr": "SimCLR",
    "barlow_twins": "Barlow Twins",
}
MEASURES = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "mean_rank": "mean r", "median_rank": "med r"}

# What the source slides report on COCO with ResNet-34 and DistilBERT, in the order of MEASURES:
# image -> text, then text -> image. Theirs, for comparison; never measured here.
SLIDES = {
    "sum_triplet": ((16.5, 39.0, 52.5, 41.7, 9), (13.2, 36.0, 50.3, 37.9, 10)),
    "max_triplet": ((15.9, 39.4, 52.4, 42.8, 9), (12.8, 34.5, 49.0, 39.0, 11)),
    "simclr": ((19.7, 43.7, 56.4, 55.8, 7), (15.7, 39.8, 54.2, 58.5, 9)),
    "barlow_twins": ((2.0, 7.6, 12.0, 397.7, 111), (1.9, 7.9, 13.6, 154.9, 62)),
}


def results_frame(reports: dict[str, Report], ceiling: Report | None = None) -> pd.DataFrame:
    """One row per loss (and the ceiling), columns "i2t_r1" … "t2i_median_rank", and the slides'
    COCO figures as "slides_i2t_r1" …."""
    rows = {}
    for name, report in reports.items():
        rows[name] = report.as_dict()
        for direction, figures in zip(("i2t", "t2i"), SLIDES.get(name, ()), strict=False):
            for measure, value in zip(MEASURES, figures, strict=True):
                rows[name][f"slides_{direction}_{measure}"] = value
    if ceiling is not None:
        rows["ceiling"] = ceiling.as_dict()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("loss")


def results_text(frame: pd.DataFrame) -> str:
    """The table as a terminal shows it: the built-in world, then the slides' COCO."""
    blocks = [("built-in world", ""), ("the slides, on COCO", "slides_")]
    images, captions = (int(frame[name].iloc[0]) for name in ("images", "captions"))
    lines = [
        f"built-in world: {images:,} images, {captions:,} captions in the pool; recalls in percent"
    ]
    for title, prefix in blocks:
        lines += ["", f"{title:<20}{'image -> text':^38}  {'text -> image':^38}"]
        heads = "".join(f"{head:>7}" for head in MEASURES.values())
        lines.append(f"{'loss':<20}{heads:<38}  {heads:<38}")
        for name, row in frame.iterrows():
            cells = [row.get(f"{prefix}{d}_{m}") for d in ("i2t", "t2i") for m in MEASURES]
            if any(cell is None or pd.isna(cell) for cell in cells):
                continue
            left, right = (
                "".join(f"{cell:7.1f}" for cell in half) for half in (cells[:5], cells[5:])
            )
            label = DISPLAY.get(str(name), "best possible" if name == "ceiling" else str(name))
            lines.append(f"{label:<20}{left:<38}  {right:<38}".rstrip())
    return "\n".join(lines)


# Student's t, two-sided 95 %, for 2, 3, … 10 seeds: what a mean's standard error is multiplied by.
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def over_seeds(
    rows: pd.DataFrame, names: Sequence[str] = ("i2t_r1", "t2i_r1"), by: str = "trial"
) -> pd.DataFrame:
    """Mean and 95 % interval over the seeds of each trial, in the order of the rows.

    Args:
        rows: a table that `mmret experiments` or benchmarks/world.py wrote.
        names: the figures wanted.
        by: the column that tells trials apart.

    Returns:
        index: the trials; columns: each name (mean), name_half (half the width of the interval of
        the mean, by Student's t; NaN where there is one seed), and seeds.
    """
    trials = rows.groupby(by, sort=False)
    table = trials[list(names)].mean()
    seeds = trials["seed"].nunique()
    factor = seeds.map(lambda n: T_95[n - 2] / math.sqrt(n) if n > 1 else math.nan)
    for name in names:
        table[f"{name}_half"] = trials[name].std() * factor
    return table.assign(seeds=seeds)


def gain(
    rows: pd.DataFrame, trial: str, over: str, name: str, by: str = "trial"
) -> tuple[float, float]:
    """By how much a trial beats another, seed by seed: mean and half of the 95 % interval.

    The seeds' own ups and downs, which both trials share, cancel: often narrower than comparing
    two intervals. Raises ValueError where they have no two seeds in common.
    """
    both = rows.pivot(index="seed", columns=by, values=name)[[trial, over]].dropna()
    if len(both) < 2:
        raise ValueError(f"{trial!r} and {over!r} have {len(both)} seeds in common; two are needed")
    differences = both[trial] - both[over]
    half = T_95[len(both) - 2] * differences.std() / math.sqrt(len(both))
    return float(differences.mean()), float(half)


def seeds_text(rows: pd.DataFrame, names: Sequence[str], by: str = "trial") -> str:
    """`over_seeds` as a lesson prints it: "mean ± half of the interval"."""
    table = over_seeds(rows, names, by)
    width = max(len(str(trial)) for trial in table.index) + 2
    lines = [" " * width + "".join(f"{name:>17}" for name in names)]
    for trial, row in table.iterrows():
        cells = (
            f"{row[n]:8.1f} ± {row[f'{n}_half']:6.1f}".replace("± " + "nan".rjust(6), " " * 8)
            for n in names
        )
        lines.append(f"{trial:<{width}}" + "".join(cells))
    return "\n".join(lines)
