"""Figures of recorded studies: means over the seeds with their 95 % intervals.

The rows are those of data/results, as `lesson.read_results` reads them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from mmret_lib.show import sheet
from mmret_lib.show.sheet import INK, QUIET, CourseFigure, styled
from mmret_lib.show.tables import DIRECTIONS, DISPLAY, display_name, over_seeds

R1 = [f"{direction}_r1" for direction in DIRECTIONS]
LABEL = "R@1 (%)"


@styled
def trial_bars(rows: pd.DataFrame, title: str) -> Figure:
    """Draw each trial's R@1 as a bar, in both directions; line: 95 % interval; rings: seeds."""
    table = over_seeds(rows, R1)
    figure = CourseFigure(figsize=(8.4, 1.1 + 0.34 * len(table)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    places = range(len(table))
    for axes, name in zip(titled(figure, panels, title), R1, strict=True):
        half = table[f"{name}_half"]
        axes.barh(places, table[name], color="#c9d3dc", edgecolor=QUIET, height=0.66)
        axes.errorbar(table[name], places, xerr=half, fmt="none", ecolor=INK, capsize=3)
        for place, trial in enumerate(table.index):
            seeds = rows.loc[rows.trial == trial, name]
            axes.plot(seeds, [place] * len(seeds), "o", mfc="white", mec=INK, ms=4)
        axes.set_yticks(places, [display_name(str(trial)) for trial in table.index])
        axes.set_xlabel(LABEL)
        ends = (table[name] + half.fillna(0)).max()
        axes.set_xlim(0, 1.04 * max(rows[name].max(), min(ends, 100)))
        sheet.add_grid(axes, "x")
    panels[0].invert_yaxis()
    return figure


@styled
def loss_lines(
    rows: pd.DataFrame, x: str, title: str, xlabel: str, *, percent: bool = False
) -> Figure:
    """Draw the R@1 of each loss over a setting, in both directions; bars: 95 % intervals.

    The losses stand side by side at each value, so that no interval hides another.

    Args:
        x: the column of the setting.
        xlabel: what the setting is.
        percent: whether the setting is a share, shown in percent.
    """
    figure = CourseFigure(figsize=(8.4, 3.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    losses = [loss for loss in DISPLAY if (rows.loss == loss).any()]
    ticks = sorted(rows[x].unique())
    step = 0.012 * (ticks[-1] - ticks[0])
    for axes, name in zip(titled(figure, panels, title), R1, strict=True):
        for place, loss in enumerate(losses):
            table = over_seeds(rows[rows.loss == loss], [name], by=x).sort_index()
            add_means(axes, table.index + step * _aside(place, losses), table, name, loss)
        axes.set(xlabel=xlabel, ylabel=LABEL)
        axes.set_ylim(0, min(100, axes.get_ylim()[1]))
        said = [f"{tick:.0%}" if percent else f"{tick:g}" for tick in ticks]
        set_ticks(axes, ticks, said)
        sheet.add_grid(axes)
    panels[1].set_ylabel("")
    panels[1].legend(fontsize=9)
    return figure


@styled
def negatives_lines(worlds: Mapping[str, pd.DataFrame], title: str, every: int = 63) -> Figure:
    """Draw R@1 over the number of negatives that count, one column a world, one row a direction.

    A filled mark: negatives drawn at random. An open one, on a dotted line: the hardest. Bars: 95 %
    intervals over the seeds. The rows of a column share their scale; worlds have scales of their
    own, because their pools differ.

    Args:
        worlds: name -> rows with the columns loss, negatives_count, negatives_pick ("random" or
            "hardest"), seed, i2t_r1 and t2i_r1. A row without a count is a training with all
            negatives, which belongs to both picks.
        every: how many negatives "all" are, for rows without a count.

    Raises:
        ValueError: no world.
    """
    sheet.check_not_empty(worlds, "worlds")
    figure = CourseFigure(figsize=(1.2 + 3.9 * len(worlds), 6.6), layout="constrained")
    panels = figure.subplots(2, len(worlds), sharex="col", sharey="col", squeeze=False)
    figure.suptitle(title, fontsize=11)
    present = pd.concat(worlds.values())
    losses = [loss for loss in DISPLAY if (present.loss == loss).any()]
    for (world, rows), column in zip(worlds.items(), panels.T, strict=True):
        ticks = sorted(rows.negatives_count.fillna(every).unique())
        for axes, name, direction in zip(column, R1, DIRECTIONS.values(), strict=True):
            for place, loss in enumerate(losses):
                own = rows[rows.loss == loss]
                for pick in ("random", "hardest"):
                    _negatives_line(axes, own, name, loss, pick, every, _aside(place, losses))
            axes.set_title(f"{world}: {direction}", fontsize=10)
            axes.set_xscale("log", base=2)
            set_ticks(axes, ticks, [f"{tick:g}" for tick in ticks])
            axes.set_ylim(0, min(100, axes.get_ylim()[1]))
            sheet.add_grid(axes)
        column[-1].set_xlabel("negatives of a query that count (logarithmic)")
    for axes in panels[:, 0]:
        axes.set_ylabel(LABEL)
    figure.legend(handles=_negatives_key(losses), loc="outside lower center", ncols=3, fontsize=9)
    return figure


def over_folds(rows: pd.DataFrame, plan: str) -> pd.DataFrame:
    """Average `real_negatives` over its folds, with the drawn world's names of the columns.

    Args:
        rows: one row per training on real photographs: form, fold, seed, count, pick, plan, R@1.
        plan: when the photos were ranked, or the beginning of its name.

    Returns:
        One row per loss, count, pick and seed: the mean over its folds, each of other test photos.
        So the intervals that are drawn are over seeds; the photographs are the same for all.
    """
    own = rows[rows.plan.str.startswith(plan)]
    names = {"form": "loss", "count": "negatives_count", "pick": "negatives_pick"}
    return own.groupby([*names, "seed"], as_index=False)[R1].mean().rename(columns=names)


def _negatives_line(
    axes: Axes, rows: pd.DataFrame, name: str, loss: str, pick: str, every: int, aside: float
) -> None:
    """Draw one loss with one way to pick its negatives, where there is more than one number."""
    some = rows[(rows.negatives_pick == pick) | rows.negatives_count.isna()]
    table = over_seeds(some.fillna({"negatives_count": every}), [name], by="negatives_count")
    if not (some.negatives_pick == pick).any():
        return
    table = table.sort_index()
    hardest = pick == "hardest"
    line = ":" if hardest else "-"
    places = table.index.to_numpy() * 2 ** (0.07 * (aside + hardest / 2))
    add_means(axes, places, table, name, loss, hollow=hardest, line=line)


def _negatives_key(losses: Sequence[str]) -> list[Line2D]:
    key = []
    for place, loss in enumerate(losses):
        colour, marker, _ = sheet.look(loss, place)
        key.append(Line2D([], [], color=colour, marker=marker, label=display_name(loss)))
    plain: dict[str, Any] = {"color": QUIET, "marker": "o"}
    key.append(Line2D([], [], **plain, linestyle="-", label="drawn at random"))
    key.append(Line2D([], [], **plain, mfc="white", linestyle=":", label="the hardest"))
    return key


@styled
def kept_dots(rows: pd.DataFrame, condition: str, title: str) -> Figure:
    """Draw which share of its clean R@1 each loss keeps under each condition, in both directions.

    The losses stand side by side, so that no interval (95 %, over the seeds) hides another; the
    scale starts at 0, and a line marks all that was reached on clean data.

    Args:
        rows: what `tables.shares_kept` returned.
        condition: the column of the condition; its values are the names on the axis, in the order
            of the rows.
    """
    figure = CourseFigure(figsize=(9.6, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    losses = [loss for loss in DISPLAY if (rows.loss == loss).any()]
    names = list(dict.fromkeys(rows[condition]))
    for axes, name in zip(titled(figure, panels, title), R1, strict=True):
        for place, loss in enumerate(losses):
            table = over_seeds(rows[rows.loss == loss], [name], by=condition)
            at = [names.index(value) for value in table.index]
            aside = 0.7 / len(losses) * _aside(place, losses)
            add_means(axes, np.asarray(at) + aside, table, name, loss, line="none")
        axes.axhline(100, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        set_ticks(axes, range(len(names)), [str(value) for value in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(0, max(110, axes.get_ylim()[1]))
        sheet.add_grid(axes)
    panels[0].set_ylabel("share of the clean R@1 that is kept (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(6, len(losses)), fontsize=9
    )
    return figure


# Shared with the other figures of studies ----------------------------------------------------


def titled(figure: Figure, panels: Sequence[Axes], title: str) -> Iterator[Axes]:
    """Title a figure, and yield its two panels, one for each direction, with their titles."""
    figure.suptitle(title, fontsize=11)
    for axes, heading in zip(panels, DIRECTIONS.values(), strict=True):
        axes.set_title(heading, fontsize=10)
        yield axes


def add_means(
    axes: Axes,
    x: np.ndarray | pd.Index,
    table: pd.DataFrame,
    name: str,
    loss: str,
    *,
    hollow: bool = False,
    line: str | None = None,
) -> None:
    """Draw a loss's means with their 95 % intervals, in its look.

    Args:
        axes: where.
        x: a place for each row of the table.
        table: what `over_seeds` returned.
        name: the column to draw.
        loss: its name, for the look and the legend.
        hollow: leave the marks open.
        line: through the means, in place of the loss's own; "none" for marks alone.
    """
    colour, marker, own_line = sheet.look(loss, 0)
    axes.errorbar(
        x,
        table[name],
        yerr=table[f"{name}_half"],
        color=colour,
        marker=marker,
        markersize=5.5,
        markerfacecolor="white" if hollow else colour,
        linestyle=own_line if line is None else line,
        linewidth=1.3,
        elinewidth=1,
        capsize=2.5,
        label=display_name(loss),
    )


def set_ticks(axes: Axes, ticks: Sequence[float], said: Sequence[str]) -> None:
    """Put ticks on the x axis at these places and nowhere else."""
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(FixedFormatter(list(said)))
    axes.xaxis.set_minor_locator(NullLocator())


def _aside(place: int, losses: Sequence[str]) -> float:
    """How many steps beside the middle the mark of a loss stands."""
    return place - (len(losses) - 1) / 2
