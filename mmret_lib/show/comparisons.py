"""Figures that compare: who is ahead of whom, and two settings at once as a map of numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmret_lib.show import sheet
from mmret_lib.show.sheet import INK, QUIET, CourseFigure, styled
from mmret_lib.show.studies import R1, titled
from mmret_lib.show.tables import display_name

PANEL = "panel"
SHADES = "cividis_r"  # darker is more; made for the colour-blind, and reads in grey


@styled
def gain_forest(
    table: pd.DataFrame,
    title: str,
    xlabel: str = "points of R@1",
    labels: Sequence[str] | None = None,
) -> Figure:
    """Draw differences with their intervals, a row for each comparison, in both directions.

    Right of the line at zero the first one is ahead. A filled dot: the interval excludes zero. An
    open dot, labelled "undecided": it does not. The two panels share their scale.

    Args:
        table: what `tables.gains` returned for i2t_r1 and t2i_r1; the intervals of all its rows
            hold at once.
        title: of the figure.
        xlabel: what is compared, with its unit.
        labels: of the rows; None says "SimCLR over Max Triplet".
    """
    sheet.check_not_empty(table, "table")
    figure = CourseFigure(figsize=(11, 1.5 + 0.36 * len(table)), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    if labels is None:
        names = zip(table.trial, table.over, strict=True)
        labels = [f"{display_name(trial)} over {display_name(over)}" for trial, over in names]
    for axes, name in zip(titled(figure, panels, title), R1, strict=True):
        axes.axvline(0, color=INK, linewidth=1)
        for place, row in enumerate(table.to_dict("records")):
            _comparison(axes, place, row[name], row[f"{name}_half"], row[f"{name}_verdict"])
        axes.set_yticks(range(len(table)), labels)
        axes.set_xlabel(xlabel)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        sheet.add_grid(axes, "x")
    panels[0].set_ylim(len(table) - 0.5, -0.5)
    level = 1 - 0.05 / len(table)
    together = "" if len(table) == 1 else f" ({level:.1%} each: {len(table)} comparisons at once)"
    figure.supxlabel(f"bars: 95 % intervals over the seeds{together}", fontsize=8.5, color=QUIET)
    return figure


def _comparison(axes: Axes, place: int, mean: float, half: float, verdict: str) -> None:
    undecided = verdict == "undecided"
    axes.errorbar(
        mean,
        place,
        xerr=half,
        fmt="o",
        color=QUIET if undecided else INK,
        markerfacecolor="white" if undecided else INK,
        markersize=6,
        elinewidth=1 if undecided else 2,
        capsize=3,
    )
    said = f"{mean:+.1f} ± {half:.1f}" + (", undecided" if undecided else "")
    axes.annotate(
        said,
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(5, 0),
        textcoords="offset points",
        fontsize=8.5,
        va="center",
        color=QUIET if undecided else INK,
    )


@styled
def recall_maps(
    panels: Mapping[str, pd.DataFrame],
    x: str,
    y: str,
    title: str,
    xlabel: str,
    ylabel: str,
    name: str = "t2i_r1",
) -> Figure:
    """Draw R@1 over two settings as maps with numbers, one panel each, all in the same colours.

    A cell shows the mean over the seeds, and below it the smallest and the largest of them: where
    some seeds collapse and others do not, the mean is none of them.

    Args:
        panels: heading -> rows.
        x, y: the columns of the settings; each is in ascending order, y upwards.
        title, xlabel, ylabel: of the figure and its axes.
        name: the column that is drawn, in percent.

    Raises:
        ValueError: no panel.
    """
    sheet.check_not_empty(panels, "panels")
    every = pd.concat(panels, names=[PANEL]).reset_index(level=PANEL)
    across, up = sorted(every[x].unique()), sorted(every[y].unique())
    largest = every.groupby([x, y, PANEL])[name].mean().max()
    size = (1.5 + (0.9 * len(across) + 0.7) * len(panels), 1.8 + 0.66 * len(up))
    figure = CourseFigure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=11)
    drawn = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (heading, rows) in zip(drawn, panels.items(), strict=True):
        cells = rows.groupby([y, x])[name].agg(["mean", "min", "max"])
        means = cells["mean"].unstack().reindex(index=up, columns=across)
        picture = axes.imshow(
            means, cmap=SHADES, vmin=0, vmax=largest, origin="lower", aspect="auto"
        )
        for row, column in np.argwhere(means.notna().to_numpy()):
            cell = cells.loc[(up[row], across[column])]
            dark = cell["mean"] > 0.5 * largest
            said = f"{cell['mean']:.1f}\n{cell['min']:.1f} to {cell['max']:.1f}"
            axes.text(
                column,
                row,
                said,
                ha="center",
                va="center",
                fontsize=8.5,
                color="white" if dark else INK,
            )
        axes.set_title(heading, fontsize=10)
        axes.set_xticks(range(len(across)), [f"{value:g}" for value in across])
        axes.set_yticks(range(len(up)), [f"{value:g}" for value in up])
        axes.set_xlabel(xlabel)
        axes.tick_params(length=0)
    drawn[0].set_ylabel(ylabel)
    figure.supxlabel(
        "mean over the seeds; below it the smallest and the largest", fontsize=8.5, color=QUIET
    )
    figure.colorbar(picture, ax=list(drawn), label="R@1 (%)", shrink=0.9)
    return figure
