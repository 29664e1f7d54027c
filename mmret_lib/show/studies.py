"""Figures of recorded studies: the mean over the seeds, its 95 % interval, and each seed's point.

The rows are those of data/results, as `lesson.read_results` reads them.
"""

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from mmret_lib.show import sheet
from mmret_lib.show.sheet import INK, QUIET, CourseFigure, styled
from mmret_lib.show.tables import DIRECTIONS, DISPLAY, display_name, over_seeds


@styled
def trial_bars(
    rows: pd.DataFrame,
    title: str,
    *,
    measure: str = "r1",
    label: str = "R@1 (%)",
    log: bool = False,
) -> Figure:
    """Draw a bar for each trial, in both directions; line: 95 % interval; rings: the seeds.

    Args:
        rows: of one study.
        title: above the figure.
        measure: the figure drawn: the part after "i2t_" and "t2i_".
        label: its name and unit.
        log: a logarithmic axis, for ranks.
    """
    names = [f"{direction}_{measure}" for direction in DIRECTIONS]
    table = over_seeds(rows, names)
    figure = CourseFigure(figsize=(8.4, 1.1 + 0.34 * len(table)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    places = range(len(table))
    for axes, name in zip(_titled(figure, panels, title), names, strict=True):
        half = table[f"{name}_half"]
        axes.barh(places, table[name], color="#c9d3dc", edgecolor=QUIET, height=0.66)
        axes.errorbar(table[name], places, xerr=half, fmt="none", ecolor=INK, capsize=3)
        for place, trial in enumerate(table.index):
            seeds = rows.loc[rows.trial == trial, name]
            axes.plot(seeds, [place] * len(seeds), "o", mfc="white", mec=INK, ms=4)
        axes.set_yticks(places, [display_name(str(trial)) for trial in table.index])
        axes.set_xlabel(label)
        if log:
            axes.set_xscale("log")
            axes.set_xlim(left=1)
        else:
            ends = (table[name] + half.fillna(0)).max()
            axes.set_xlim(0, 1.04 * max(rows[name].max(), min(ends, 100)))
        sheet.add_grid(axes, "x")
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
    """Draw a line for each loss over a setting, in both directions; bars: 95 % intervals.

    Args:
        rows: of one study.
        x: the column of the setting.
        title: above the figure.
        xlabel: what the setting is.
        measure: the figure drawn: the part after "i2t_" and "t2i_".
        label: its name and unit.
        percent: whether the setting is a share, shown in percent.
        losses: which to draw, by default all.
    """
    names = [f"{direction}_{measure}" for direction in DIRECTIONS]
    figure = CourseFigure(figsize=(8.4, 3.5), layout="constrained")
    panels = figure.subplots(1, 2)
    chosen = [loss for loss in losses or DISPLAY if (rows.loss == loss).any()]
    ticks = sorted(rows[x].unique())
    for axes, name in zip(_titled(figure, panels, title), names, strict=True):
        for place, loss in enumerate(chosen):
            colour, marker, line = sheet.look(loss, place)
            table = over_seeds(rows[rows.loss == loss], [name], by=x).sort_index()
            axes.errorbar(
                table.index,
                table[name],
                yerr=table[f"{name}_half"],
                color=colour,
                marker=marker,
                linestyle=line,
                capsize=3,
                label=display_name(loss),
            )
        axes.set(xlabel=xlabel, ylabel=label)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{tick:.0%}" if percent else f"{tick:g}" for tick in ticks])
        sheet.add_grid(axes)
    panels[1].legend(fontsize=9)
    return figure


def _titled(figure: Figure, panels: Sequence[Axes], title: str) -> Iterator[Axes]:
    """The panels, one for each direction, with their titles."""
    figure.suptitle(title, fontsize=11)
    for axes, heading in zip(panels, DIRECTIONS.values(), strict=True):
        axes.set_title(heading, fontsize=10)
        yield axes
