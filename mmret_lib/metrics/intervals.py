"""Estimate how sure a figure is, and whether one run is better than another.

A recall measured on 1,000 images would come out differently on another 1,000. How differently is
estimated by drawing, from the images at hand, as many again with replacement, a thousand times
(the bootstrap). Whole images are drawn, each with all its captions: the captions of one picture
succeed and fail together, and drawing them one by one would make the intervals too narrow.

Two runs on the same images are compared image by image: how hard a picture is affects both alike
and cancels, so that much smaller differences can be seen than from the two separate intervals. The
pool stays as it is: an image that is not drawn is not a query, but still an answer.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile
intervals); Smucker, Allan & Carterette, CIKM 2007 (randomisation tests in retrieval).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from mmret_lib.metrics.ranks import Owner
from mmret_lib.metrics.report import DirectionReport, Report
from mmret_lib.metrics.ties import Floats

DRAWS = 1000
PIECE = 2**22  # drawn counts held at a time: 32 MB


def intervals(
    report: Report, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Estimate an interval (low, high) for every figure in `report.as_dict()`, and rsum.

    They are percentile bootstrap intervals. With protocol "1k" images are drawn within each fold,
    and the folds averaged.

    Args:
        report: what `mmret_lib.metrics.evaluate` gives.
        level: share of the draws between low and high.
        draws: how often to draw.
        seed: the same seed draws the same images for every report of one pool.

    Raises:
        ValueError: level not between 0 and 1, or fewer than 2 draws.
    """
    drawn = _draw(report, draws, seed)
    return {name: _interval(values, level) for name, values in drawn.items()}


def interval_text(report: Report, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> str:
    """Write the intervals as lines to print below the report."""
    ranges = intervals(report, level=level, draws=draws, seed=seed)
    heads = [*(f"R@{k}" for k in report.i2t.recall), "mean r", "med r"]
    lines = [
        f"{100 * level:g} % intervals, images drawn {draws:,} times with their captions "
        f"(rsum {_range(ranges['rsum'])}):",
        " " * 10 + "".join(f"{head:>13}" for head in heads),
    ]
    for title, way in (("image→text", "i2t"), ("text→image", "t2i")):
        cells = [_range(ends) for name, ends in ranges.items() if name.startswith(way)]
        lines.append(title + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)


def compare(
    one: Report, other: Report, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> pd.DataFrame:
    """Compare two runs on the same images and captions, figure by figure.

    Args:
        one, other: the reports of the two runs.
        level, draws, seed: as in `intervals`.

    Returns:
        One row for each recall, mean rank, median rank and rsum, with the columns

        - `one`, `other`: the two figures, `difference` = one - other;
        - `low`, `high`: bootstrap interval of the difference, the same images drawn for both;
        - `p`: how often the two would lie as far apart if they were equally good, that is, if each
          image's difference might as well have had the other sign (a two-sided sign-flip test).
          NaN for the median, which is not a sum over images.

    Raises:
        ValueError: the reports are of different pools, or a setting is out of range.
    """
    same = len(one.owner) == len(other.owner) and (one.owner == other.owner).all()
    if not same or one.protocol != other.protocol:
        pools = "; ".join(
            f"{report.images:,} images, {len(report.owner):,} captions, protocol {report.protocol}"
            for report in (one, other)
        )
        raise ValueError(
            f"the reports are of different pools ({pools}): only runs that ranked the same images "
            "and captions can be compared image by image"
        )
    if list(one.i2t.recall) != list(other.i2t.recall):
        raise ValueError(
            f"the reports have different K ({list(one.i2t.recall)} and {list(other.i2t.recall)})"
        )
    drawn, drawn_other = _draw(one, draws, seed), _draw(other, draws, seed)
    p = _sign_flips(one, other, draws, seed)
    figures = [{**report.as_dict(), "rsum": report.rsum} for report in (one, other)]
    rows = {}
    for name, values in drawn.items():
        low, high = _interval(values - drawn_other[name], level)
        first, second = figures[0][name], figures[1][name]
        rows[name] = {
            "one": first,
            "other": second,
            "difference": first - second,
            "low": low,
            "high": high,
            "p": p.get(name, np.nan),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("figure")


def compare_text(table: pd.DataFrame, one: str, other: str) -> str:
    """Write the table of `compare` as lines to print, and mark what could be chance."""
    width = max(len(one), len(other), 8) + 2
    lines = [
        f"{'':16}{one:>{width}}{other:>{width}}{'difference':>12}{'95 % interval':>18}{'p':>8}"
    ]
    for name, row in table.iterrows():
        p = "" if np.isnan(row["p"]) else f"{row['p']:.3f}"
        unsure = "  could be chance" if row["low"] <= 0 <= row["high"] else ""
        span = f"{row['low']:+.1f} to {row['high']:+.1f}"
        lines.append(
            f"{name:16}{row['one']:{width}.1f}{row['other']:{width}.1f}{row['difference']:+12.1f}"
            f"{span:>18}{p:>8}{unsure}"
        )
    return "\n".join(lines)


def _draw(report: Report, draws: int, seed: int) -> dict[str, Floats]:
    """Compute every figure for `draws` drawn sets of images, each (draws,)."""
    if draws < 2:
        raise ValueError(f"draws is {draws}: an interval needs at least 2, better 1,000")
    rng = np.random.default_rng(seed)
    parts = [_draw_pool(part, draws, rng) for part in report.folds or (report,)]
    drawn = {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0]}
    drawn["rsum"] = sum(drawn[f"{way}_r{k}"] for way in ("i2t", "t2i") for k in report.i2t.recall)
    return drawn


def _draw_pool(report: Report, draws: int, rng: np.random.Generator) -> dict[str, Floats]:
    parts: dict[str, list[Floats]] = {}
    for times in _times_drawn(report.images, draws, rng):  # (draws, N)
        for way, direction, image in (
            ("i2t", report.i2t, np.arange(report.images)),
            ("t2i", report.t2i, report.owner),
        ):
            names = [*(f"{way}_r{k}" for k in direction.recall), f"{way}_mean_rank"]
            sums = times @ _sums(direction, image)  # (draws, K + 2)
            for name, column in zip(names, sums[:, :-1].T, strict=True):
                parts.setdefault(name, []).append(column / sums[:, -1])
            medians = _medians(direction.ranks, image, times)
            parts.setdefault(f"{way}_median_rank", []).append(np.floor(medians) + 1)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _times_drawn(images: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield how often each of N images is drawn, (draws, N), a few draws at a time."""
    step = max(1, PIECE // images)
    for start in range(0, draws, step):
        count = min(step, draws - start)
        chosen = rng.integers(images, size=(count, images)) + images * np.arange(count)[:, None]
        times = np.bincount(chosen.ravel(), minlength=count * images)
        yield times.reshape(count, images).astype(np.float64)


def _sums(direction: DirectionReport, image: Owner) -> Floats:
    """Sum over the queries of each image: 100 x hit at each K, rank + 1, and 1: (N, K + 2).

    A hit is the expected one, between 0 and 1 where answers tie. Every figure but the median is one
    column's sum divided by the last's.
    """
    ranks = direction.ranks
    columns = [
        *(100.0 * direction.hits(k) for k in direction.recall),
        ranks + 1,
        np.ones(len(ranks)),
    ]
    return np.stack([np.bincount(image, weights=column) for column in columns], 1)


def _medians(ranks: Floats, image: Owner, times: Floats) -> Floats:
    """The median rank (draws,) where query q counts `times[:, image[q]]` times."""
    order = np.argsort(ranks, kind="stable")
    ordered, image = ranks[order], image[order]
    medians = np.empty(len(times))
    for draw, weights in enumerate(times):  # all at once would hold draws x captions
        upto = np.cumsum(weights[image])
        total = upto[-1]
        middle = [np.floor((total - 1) / 2), np.floor(total / 2)]
        medians[draw] = ordered[np.searchsorted(upto, middle, side="right")].mean()
    return medians


def _sign_flips(one: Report, other: Report, draws: int, seed: int) -> dict[str, float]:
    """Two-sided p of every figure that is a sum over images."""
    pairs = list(zip(one.folds or (one,), other.folds or (other,), strict=True))
    ks = one.i2t.recall
    names, differences = [], []
    for way in ("i2t", "t2i"):
        folds = []
        for part, part_other in pairs:
            image = np.arange(part.images) if way == "i2t" else part.owner
            sums, sums_other = (_sums(getattr(one_of, way), image) for one_of in (part, part_other))
            folds.append((sums - sums_other)[:, :-1] / sums[:, -1].sum())
        names += [*(f"{way}_r{k}" for k in ks), f"{way}_mean_rank"]
        differences.append(np.concatenate(folds))
    table = np.concatenate(differences, 1)  # (images of all folds, figures)
    recalls = [column for column, name in enumerate(names) if not name.endswith("mean_rank")]
    table = np.column_stack([table, table[:, recalls].sum(1)])
    names.append("rsum")

    rng = np.random.default_rng(seed)
    observed = np.abs(table.sum(0)) - 1e-9  # sums of the same terms in another order are equal
    as_far = np.zeros(len(names))
    step = max(1, PIECE // len(table))
    for start in range(0, draws, step):
        signs = rng.integers(2, size=(min(step, draws - start), len(table))) * 2.0 - 1
        as_far += (np.abs(signs @ table) >= observed).sum(0)
    # The signs as they are count as one of the draws, so that p is never 0.
    return dict(zip(names, ((as_far + 1) / (draws + 1)).tolist(), strict=True))


def _interval(values: Floats, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: a share between 0 and 1, such as 0.95")
    low, high = np.percentile(values, (50 - 50 * level, 50 + 50 * level))
    return float(low), float(high)


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.1f}–{ends[1]:.1f}"
