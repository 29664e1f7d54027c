"""Figures of recorded studies: the mean over the seeds, its 95 % interval, and every seed's point.

As in `figures`, each returns a matplotlib Figure, changes nothing global, and says nothing by
colour alone. The rows are those of data/results (`lesson.read_results`).
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from mmret_lib.show.figures import look
from mmret_lib.show.sheet import FAINT, INK, QUIET, CourseFigure, styled
from mmret_lib.show.tables import DISPLAY, over_seeds

WAYS = {"i2t": "image → text", "t2i": "text → image"}


@styled
def trial_bars(
    rows: pd.DataFrame,
    title: str,
    *,
    measure: str = "r1",
    label: str = "R@1 (%)",
    log: bool = False,
) -> Figure:
    """One bar per trial and direction; line: 95 % interval; rings: the seeds.

    Args:
        rows: of one study.
        measure: the figure drawn: the part after "i2t_" and "t2i_".
        label: its name and unit.
        log: a logarithmic axis, for ranks.
    """
    names = [f"{way}_{measure}" for way in WAYS]
    table = over_seeds(rows, names)
    figure = CourseFigure(figsize=(8.4, 1.1 + 0.34 * len(table)), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, name, heading in zip(panels, names, WAYS.values(), strict=True):
        places = range(len(table))
        axes.barh(places, table[name], color="#c9d3dc", edgecolor=QUIET, height=0.66)
        axes.errorbar(
            table[name], places, xerr=table[f"{name}_half"], fmt="none", ecolor=INK, capsize=3
        )
        for place, trial in enumerate(table.index):
            seeds = rows.loc[rows.trial == trial, name]
            axes.plot(seeds, [place] * len(seeds), "o", mfc="white", mec=INK, ms=4)
        axes.set_yticks(places, [_name(trial) for trial in table.index])
        axes.set_title(heading, fontsize=10)
        axes.set_xlabel(label)
        if log:
            axes.set_xscale("log")
            axes.set_xlim(left=1)
        else:
            ends = (table[name] + table[f"{name}_half"].fillna(0)).max()
            axes.set_xlim(0, 1.04 * max(rows[name].max(), min(ends, 100)))
        axes.grid(True, axis="x", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    return figure


@styled
def loss_lines(
    rows: pd.DataFrame,
    x: str,
    title: str,
    xlabel: str,
    *,
    measure: str = "r1",
    label: str = "R@1 (%)",
    percent: bool = False,
    losses: Sequence[str] | None = None,
) -> Figure:
    """A line per loss over the column ``x``, both directions; bars: 95 % intervals of the mean."""
    names = [f"{way}_{measure}" for way in WAYS]
    figure = CourseFigure(figsize=(8.4, 3.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(1, 2)
    chosen = [loss for loss in losses or DISPLAY if (rows.loss == loss).any()]
    ticks = sorted(rows[x].unique())
    for axes, name, heading in zip(panels, names, WAYS.values(), strict=True):
        for place, loss in enumerate(chosen):
            colour, marker, line = look(loss, place)
            table = over_seeds(rows[rows.loss == loss], [name], by=x).sort_index()
            axes.errorbar(
                table.index,
                table[name],
                yerr=table[f"{name}_half"],
                color=colour,
                marker=marker,
                linestyle=line,
                capsize=3,
                label=DISPLAY.get(loss, loss),
            )
        axes.set_title(heading, fontsize=10)
        axes.set(xlabel=xlabel, ylabel=label)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{tick:.0%}" if percent else f"{tick:g}" for tick in ticks])
        axes.grid(True, color=FAINT, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[1].legend(fontsize=9)
    return figure


def _name(trial: str) -> str:
    loss, comma, rest = str(trial).partition(", ")
    return DISPLAY.get(loss, loss) + comma + rest
