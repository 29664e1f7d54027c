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

R1 = [f"{direction}_r1" for direction in DIRECTIONS]
LABEL = "R@1 (%)"


@styled
def trial_bars(rows: pd.DataFrame, title: str) -> Figure:
    """Draw each trial's R@1 as a bar, in both directions; line: 95 % interval; rings: seeds."""
    table = over_seeds(rows, R1)
    figure = CourseFigure(figsize=(8.4, 1.1 + 0.34 * len(table)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    places = range(len(table))
    for axes, name in zip(_titled(figure, panels, title), R1, strict=True):
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

    Args:
        x: the column of the setting.
        xlabel: what the setting is.
        percent: whether the setting is a share, shown in percent.
    """
    figure = CourseFigure(figsize=(8.4, 3.5), layout="constrained")
    panels = figure.subplots(1, 2)
    losses = [loss for loss in DISPLAY if (rows.loss == loss).any()]
    ticks = sorted(rows[x].unique())
    for axes, name in zip(_titled(figure, panels, title), R1, strict=True):
        for place, loss in enumerate(losses):
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
        axes.set(xlabel=xlabel, ylabel=LABEL)
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
