"""Tables of results, and means over seeds with their intervals.

Their layout is that of the course project of 2021 that this course rebuilds.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mmret_lib.metrics.ceiling import CEILING_NOTE
from mmret_lib.metrics.report import Report

DISPLAY = {
    "sum_triplet": "Sum Triplet",
    "max_triplet": "Max Triplet",
    "simclr": "SimCLR",
    "barlow_twins": "Barlow Twins",
    "margin_softmax": "Margin Softmax",
    "top_k_triplet": "Top-k Triplet",
    "multi_similarity": "Multi-Similarity",
    "siglip": "SigLIP",
    "smooth_ap": "Smooth AP",
    "hard_negative_nce": "Hard-negative NCE",
    "adaptive_nce": "Adaptive NCE",
    "false_negative_filter": "False-neg. filter",
}
DIRECTIONS = {"i2t": "image → text", "t2i": "text → image"}
MEASURES = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "mean_rank": "mean r", "median_rank": "med r"}

# What that project reports on COCO with ResNet-34 and DistilBERT, in the order of MEASURES:
# image -> text, then text -> image. For comparison only: they were not measured here.
PROJECT = {
    "sum_triplet": ((16.5, 39.0, 52.5, 41.7, 9), (13.2, 36.0, 50.3, 37.9, 10)),
    "max_triplet": ((15.9, 39.4, 52.4, 42.8, 9), (12.8, 34.5, 49.0, 39.0, 11)),
    "simclr": ((19.7, 43.7, 56.4, 55.8, 7), (15.7, 39.8, 54.2, 58.5, 9)),
    "barlow_twins": ((2.0, 7.6, 12.0, 397.7, 111), (1.9, 7.9, 13.6, 154.9, 62)),
}
PROJECT_NOTE = (
    "(the project: the course project of 2021 that this course rebuilds; as it reports, for COCO "
    "with ResNet-34 and DistilBERT)"
)


def display_name(name: str) -> str:
    """Format a loss's or trial's name: "max_triplet, plain" becomes "Max Triplet, plain".

    A name that is no loss of the course stays as it is.
    """
    loss, comma, rest = name.partition(", ")
    return DISPLAY.get(loss, loss) + comma + rest


def results_frame(reports: dict[str, Report], ceiling: Report | None = None) -> pd.DataFrame:
    """Put the reports of several losses into one table.

    Args:
        reports: name of a loss -> its report.
        ceiling: the best possible report, for a last row "ceiling".

    Returns:
        One row per loss; columns "i2t_r1" … "t2i_median_rank", and that project's COCO figures as
        "project_i2t_r1" ….
    """
    rows = {}
    for name, report in reports.items():
        rows[name] = report.as_dict()
        for direction, figures in zip(DIRECTIONS, PROJECT.get(name, ()), strict=False):
            for measure, value in zip(MEASURES, figures, strict=True):
                rows[name][f"project_{direction}_{measure}"] = value
    if ceiling is not None:
        rows["ceiling"] = ceiling.as_dict()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("loss")


def results_text(frame: pd.DataFrame) -> str:
    """Format a `results_frame` for the terminal: the built-in world, then the project's COCO."""
    images, captions = (int(frame[name].iloc[0]) for name in ("images", "captions"))
    lines = [
        f"built-in world: {images:,} images, {captions:,} captions in the pool; recalls in percent"
    ]
    for title, prefix in (("built-in world", ""), ("the project, COCO", "project_")):
        lines += ["", results_head(title)]
        for name, row in frame.iterrows():
            if line := results_line(str(name), row.to_dict(), prefix):
                lines.append(line)
        if not prefix and "ceiling" in frame.index:
            lines.append(f"(best possible: {CEILING_NOTE})")
        if prefix:
            lines.append(PROJECT_NOTE)
    return "\n".join(lines)


def results_head(title: str) -> str:
    """Format the two lines above a table whose lines `results_line` formats."""
    heads = "".join(f"{head:>7}" for head in MEASURES.values())
    return (
        f"{title:<20}{'image -> text':^38}  {'text -> image':^38}\n{'loss':<20}{heads:<38}  {heads}"
    )


def results_line(name: str, figures: Mapping[str, float], prefix: str = "") -> str:
    """Format one line of the table of results, for a table that grows while losses are trained.

    Args:
        name: of the loss, or "ceiling" for the best possible.
        figures: as `Report.as_dict` gives them, or a row of `results_frame`.
        prefix: "project_" takes the project's figures of the row.

    Returns:
        The line; "" where a figure is missing.
    """
    cells = [figures.get(f"{prefix}{d}_{m}") for d in DIRECTIONS for m in MEASURES]
    numbers = [cell for cell in cells if cell is not None and not pd.isna(cell)]
    if len(numbers) < len(cells):
        return ""
    left, right = ("".join(f"{n:7.1f}" for n in half) for half in (numbers[:5], numbers[5:]))
    label = "best possible" if name == "ceiling" else display_name(name)
    return f"{label:<20}{left:<38}  {right:<38}".rstrip()


def student_t(count: int, comparisons: int = 1) -> float:
    """Return how many standard errors the 95 % interval of a mean of `count` values reaches.

    Student's t for `count` - 1 degrees of freedom, two-sided, to three decimals as printed tables
    give it; NaN for a single value, which has no interval.

    Args:
        count: values that the mean is over.
        comparisons: intervals that should hold all at once. Each is then made wide enough for a
            level of 1 - 0.05 / comparisons (Bonferroni), so that together they miss in 5 % of
            studies at the most.
    """
    if count < 2:
        return math.nan
    # With t = sqrt(degrees) * tan(angle) the density is cos(angle) ** (degrees - 1), whose integral
    # over the bounded range of angles is a plain sum.
    degrees = count - 1
    angles, step = np.linspace(0, math.pi / 2, 20_001, retstep=True)
    mass = np.cumsum(np.cos(angles[:-1] + step / 2) ** (degrees - 1))
    angle = np.interp((1 - 0.05 / comparisons) * mass[-1], mass, angles[1:])
    return round(math.sqrt(degrees) * math.tan(angle), 3)


def over_seeds(
    rows: pd.DataFrame, names: Sequence[str] = ("i2t_r1", "t2i_r1"), by: str = "trial"
) -> pd.DataFrame:
    """Compute mean and 95 % interval over the seeds of each trial, in the order of the rows.

    Args:
        rows: a table that `mmret experiments` wrote.
        names: the columns to average.
        by: the column that tells trials apart.

    Returns:
        index: the trials; columns: each name (mean), name_half (half the width of the interval of
        the mean, by Student's t; NaN where there is one seed), and seeds.
    """
    trials = rows.groupby(by, sort=False)
    table = trials[list(names)].mean()
    seeds = trials["seed"].nunique()
    factor = seeds.map(lambda count: student_t(count) / math.sqrt(count))
    for name in names:
        table[f"{name}_half"] = trials[name].std() * factor
    return table.assign(seeds=seeds)


def gain(
    rows: pd.DataFrame, trial: str, over: str, name: str, by: str = "trial", comparisons: int = 1
) -> tuple[float, float]:
    """Measure by how much a trial beats another, compared seed by seed.

    What a seed does to both trials cancels out, so the interval is often narrower than the two
    trials' own.

    Args:
        rows: a table that `mmret experiments` wrote.
        trial: the trial whose gain is wanted.
        over: the trial that it is compared with.
        name: the column that is compared.
        by: the column that tells trials apart.
        comparisons: how many such gains are read together, see `student_t`.

    Returns:
        The mean difference, and half the width of its 95 % interval.

    Raises:
        ValueError: the two have fewer than two seeds in common.
    """
    both = rows.pivot(index="seed", columns=by, values=name)[[trial, over]].dropna()
    if len(both) < 2:
        raise ValueError(f"{trial!r} and {over!r} have {len(both)} seeds in common; two are needed")
    differences = both[trial] - both[over]
    half = student_t(len(both), comparisons) * differences.std() / math.sqrt(len(both))
    return float(differences.mean()), float(half)


def verdict(difference: float, half: float) -> str:
    """Say what a gain's interval allows to say: "ahead", "behind" or "undecided".

    Args:
        difference, half: as `gain` returns them. An interval that includes zero, or NaN for half
            of one, is undecided.
    """
    if difference > half:
        return "ahead"
    return "behind" if -difference > half else "undecided"


def gains(
    rows: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    names: Sequence[str] = ("i2t_r1", "t2i_r1"),
    by: str = "trial",
) -> pd.DataFrame:
    """Compare several pairs of trials seed by seed, with intervals that hold all at once.

    With many comparisons at 95 % each, one is soon beyond zero by chance. So each interval is made
    wider, for a level of 1 - 0.05 / len(pairs) (Bonferroni): if no trial differed from another, a
    study would show any pair apart in 5 % of cases at the most. Each of `names` is a question of
    its own: the two directions of one ranking are not counted as two comparisons.

    Args:
        rows: a table that `mmret experiments` wrote.
        pairs: (trial, the one that it is compared with).
        names: the columns that are compared.
        by: the column that tells trials apart.

    Returns:
        One row per pair, columns trial, over, and for each name: name (mean difference), name_half
        (half the width of the interval) and name_verdict (see `verdict`).

    Raises:
        ValueError: a pair has fewer than two seeds in common.
    """
    table = []
    for trial, over in pairs:
        row: dict[str, Any] = {"trial": trial, "over": over}
        for name in names:
            difference, half = gain(rows, trial, over, name, by, len(pairs))
            row |= {name: difference, f"{name}_half": half}
            row[f"{name}_verdict"] = verdict(difference, half)
        table.append(row)
    return pd.DataFrame(table)


def shares_kept(
    rows: pd.DataFrame,
    condition: str,
    clean: Any,
    names: Sequence[str] = ("i2t_r1", "t2i_r1"),
    by: str = "loss",
) -> pd.DataFrame:
    """Measure in percent what each training keeps of what the same seed reached when it was clean.

    Args:
        rows: one row per training.
        condition: the column that says how hard the training was made.
        clean: its value where it was not.
        names: the columns of which a share is taken.
        by: the column of what is trained, each with rows of its own when clean.

    Returns:
        The rows of the other conditions, with `names` in percent of the clean ones, for
        `over_seeds` and `gains`. A seed that was not trained on clean data, or reached nothing
        there, is left out.
    """
    keys = [by, "seed"]
    before = rows[rows[condition] == clean].set_index(keys)[list(names)]
    after = rows[rows[condition] != clean]
    reached = before.where(before > 0).reindex(pd.MultiIndex.from_frame(after[keys]))
    shares = 100 * after[list(names)].to_numpy() / reached.to_numpy()
    return after.assign(**dict(zip(names, shares.T, strict=True))).dropna(subset=list(names))


def seeds_text(rows: pd.DataFrame, names: Sequence[str], by: str = "trial") -> str:
    """Format `over_seeds` as text: each mean as "mean ± half of the interval"."""
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
