"""Figures of trainings as they go on: recall against steps, and how many negatives count.

The tables are those of data/results: `curves` and `epochs` have rows for each training, and a
study's own table says which loss and seed a training is.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mmret_lib.show import sheet
from mmret_lib.show.sheet import INK, QUIET, CourseFigure, styled
from mmret_lib.show.studies import LABEL, R1
from mmret_lib.show.tables import DIRECTIONS, DISPLAY, display_name, over_seeds

RECALLS = [f"{direction}_r{k}" for direction in DIRECTIONS for k in (1, 5, 10)]


def with_names(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Add loss and seed to the rows of `epochs` or `curves` that belong to a study.

    Args:
        table: one row per training and epoch; a column "loss" becomes "training_loss".
        rows: the study's table, one row per training.
    """
    renamed = table.rename(columns={"loss": "training_loss"})
    return renamed.merge(rows[["training", "loss", "seed"]], on="training")


def chosen_points(curves: pd.DataFrame, split: str = "val") -> pd.DataFrame:
    """Choose each training's best epoch on the validation split, and report it on the test split.

    Best is the largest sum of the six recalls, the earlier epoch of two that tie.

    Args:
        curves: one row per training, epoch and split ("test", and the one to choose on).
        split: the one to choose on.

    Returns:
        The test rows of the chosen epochs, one per training.
    """
    held_out = curves[curves.split == split].sort_values("epoch", kind="stable")
    best = held_out.assign(rsum=held_out[RECALLS].sum(axis=1)).groupby("training").rsum.idxmax()
    chosen = held_out.loc[best, ["training", "epoch"]]
    return curves[curves.split == "test"].merge(chosen, on=["training", "epoch"])


@styled
def length_curves(
    curves: pd.DataFrame, epochs: pd.DataFrame, title: str, steps: int, split: str = "val"
) -> Figure:
    """Draw test recall against steps, a line a loss, and below how each training loss falls.

    Above, both directions on one scale, a band for the 95 % interval over the seeds, and a ring
    for each seed at the point that was chosen on the validation split. Below, the mean training
    loss of each loss, each on its own scale, and a line at the median of the chosen points: where
    a loss goes on falling behind it while the recall above sinks, it overfits.

    Args:
        curves, epochs: of the study, with loss and seed (see `with_names`).
        title: of the figure.
        steps: in an epoch.
        split: on which the points were chosen.

    Raises:
        ValueError: no row.
    """
    sheet.check_not_empty(curves, "curves")
    losses = [loss for loss in DISPLAY if (curves.loss == loss).any()]
    chosen = chosen_points(curves, split)
    figure = CourseFigure(figsize=(10.4, 6.8), layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=(5, 3), hspace=0.03)
    upper, lower = np.asarray(parts, dtype=object)
    figure.suptitle(title, fontsize=11)
    panels = upper.subplots(1, 2, sharex=True, sharey=True)
    test = curves[curves.split == "test"]
    for axes, name, direction in zip(panels, R1, DIRECTIONS.values(), strict=True):
        for loss in losses:
            table = over_seeds(test[test.loss == loss], [name], by="epoch").sort_index()
            _band(axes, table.index * steps, table, name, loss)
            points = chosen[chosen.loss == loss]
            colour, marker, _ = sheet.look(loss, 0)
            axes.plot(
                points.epoch * steps,
                points[name],
                marker,
                markersize=10,
                markerfacecolor="none",
                markeredgecolor=colour,
                markeredgewidth=1.6,
            )
        axes.set_title(direction, fontsize=10)
        _log_steps(axes, sorted(test.epoch.unique() * steps))
        axes.set_ylim(0, min(100, axes.get_ylim()[1]))
    panels[0].set_ylabel(f"test {LABEL}")
    panels[0].legend(fontsize=9)
    panels[1].plot([], [], "o", ms=10, mfc="none", mec=QUIET, label="chosen on validation, a seed")
    panels[1].legend(handles=panels[1].lines[-1:], fontsize=9)
    for axes, loss in zip(lower.subplots(1, len(losses), squeeze=False)[0], losses, strict=True):
        colour, _, line = sheet.look(loss, 0)
        mean = epochs[epochs.loss == loss].groupby("epoch").training_loss.mean()
        axes.plot(mean.index * steps, mean, color=colour, linestyle=line)
        axes.axvline(chosen[chosen.loss == loss].epoch.median() * steps, color=INK, linewidth=1)
        axes.set_title(f"{display_name(loss)}: training loss", color=colour, fontsize=9.5)
        _log_steps(axes, [steps * 10**n for n in range(4) if 10**n <= mean.index.max()])
    return figure


@styled
def effective_curves(
    epochs: pd.DataFrame, rows: pd.DataFrame, title: str, steps: int, batch: int = 64
) -> Figure:
    """Draw how many negatives count while each loss trains, and the recall that this led to.

    Left the effective number of negatives (1 / sum of squared shares), in the middle the number
    with a share above 1 % (as arXiv 2202.07474 counts), both over the steps on one logarithmic
    scale, with bands for the 95 % intervals over the seeds. Right one mark per training: R@1
    (text to image) on the test scenes against the effective number in the last epoch. Barlow Twins
    counts the negatives of its own branch.

    Args:
        epochs: of the study, with loss and seed (see `with_names`).
        rows: the study's table, one row per training.
        title: of the figure.
        steps: in an epoch.
        batch: pairs in a batch; each query has one negative less.

    Raises:
        ValueError: no row.
    """
    sheet.check_not_empty(epochs, "epochs")
    losses = [loss for loss in DISPLAY if (epochs.loss == loss).any()]
    figure = CourseFigure(figsize=(11.4, 4.3), layout="constrained")
    figure.suptitle(title, fontsize=11)
    left, middle, right = figure.subplots(1, 3)
    counts = {"effective": "effective number", "above_1_percent": "share above 1 %"}
    for axes, (name, said) in zip((left, middle), counts.items(), strict=True):
        for loss in losses:
            own = epochs[epochs.loss == loss]
            table = over_seeds(own, [name], by="epoch").sort_index()
            _band(axes, table.index * steps, table, name, loss)
        axes.set(title=f"negatives that count: {said}", xlabel="training step")
        axes.title.set_fontsize(10)
        sheet.add_grid(axes)
        axes.set(yscale="log", ylim=(0.85, 1.15 * (batch - 1)))
        _log_counts(axes.yaxis, batch)
    left.set_ylabel(f"of {batch - 1} (logarithmic)")
    last = epochs[epochs.epoch == epochs.groupby("training").epoch.transform("max")]
    marks = rows.merge(last[["training", "effective"]], on="training")
    for loss in losses:
        colour, marker, _ = sheet.look(loss, 0)
        own = marks[marks.loss == loss]
        right.plot(own.effective, own.t2i_r1, marker, color=colour, mfc="none")
    right.set(title="recall, one mark per training", xlabel="effective number, last epoch")
    right.title.set_fontsize(10)
    right.set(ylabel=f"text → image {LABEL}", xscale="log", xlim=(0.85, 1.15 * (batch - 1)))
    right.set_ylim(bottom=0)
    _log_counts(right.xaxis, batch)
    sheet.add_grid(right)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(6, len(losses)), fontsize=9
    )
    return figure


def _band(axes: Axes, x: pd.Index, table: pd.DataFrame, name: str, loss: str) -> None:
    """Draw a loss's mean over the epochs, and its interval as a band."""
    colour, marker, line = sheet.look(loss, 0)
    mean, half = table[name], table[f"{name}_half"].fillna(0)
    label = display_name(loss)
    every = max(1, len(mean) // 8)  # marks that can be told apart, however long the training is
    look = {"color": colour, "marker": marker, "linestyle": line, "markersize": 4}
    axes.plot(x, mean, markevery=every, label=label, **look)
    axes.fill_between(x, mean - half, mean + half, color=colour, alpha=0.13, linewidth=0)


def _log_steps(axes: Axes, ticks: list[int]) -> None:
    """Make the x axis logarithmic, with these ticks."""
    axes.set(xscale="log", xlabel="training step (logarithmic)")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=8.5)
    sheet.add_grid(axes)


def _log_counts(axis: Axis, batch: int) -> None:
    """Put ticks at powers of two up to the number of negatives."""
    ticks = [*(2**n for n in range(batch.bit_length()) if 2**n < 0.7 * batch), batch - 1]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:g}"))
    axis.set_minor_locator(NullLocator())
