"""Figures of a training: how the losses fell, and how well each epoch's model ranks."""

from collections.abc import Mapping

import numpy as np
from IPython.display import DisplayHandle, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from mmret_lib.metrics.report import Report
from mmret_lib.show import sheet
from mmret_lib.show.sheet import INK, QUIET, CourseFigure, styled
from mmret_lib.show.tables import display_name
from mmret_lib.training.history import History


@styled
def training_curves(histories: Mapping[str, History], ceiling: Report | None = None) -> Figure:
    """Draw the training losses, and the validation R@1 in both directions.

    Args:
        histories: name of a loss -> what `Trainer.fit` returned.
        ceiling: the best possible report on the same validation pairs (of a system that scores
            each pair by itself); drawn as a dashed line.

    Returns:
        A figure. Above, if any history has validation recalls, R@1 in percent per epoch, image to
        text and text to image on one scale. Below, the training loss per epoch, one panel for each
        history, because their scales have nothing in common.

    Raises:
        ValueError: no history.
    """
    sheet.check_not_empty(histories, "histories")
    measured = {name: h for name, h in histories.items() if h.column("t2i_r1")}
    figure = CourseFigure(figsize=(11, 6.6 if measured else 2.8), layout="constrained")
    lower: Figure | SubFigure = figure
    if measured:
        parts = figure.subfigures(2, 1, height_ratios=(3, 2), hspace=0.04)
        upper, lower = np.asarray(parts, dtype=object)
        _recall_panels(upper, measured, list(histories), ceiling)
    panels = np.atleast_1d(lower.subplots(1, len(histories)))
    for place, (axes, (name, history)) in enumerate(zip(panels, histories.items(), strict=True)):
        _curve(axes, history, "loss", name, place)
        axes.set_title(
            f"{display_name(name)}: training loss", color=sheet.look(name, place)[0], fontsize=10
        )
    panels[0].set_ylabel("loss (each on its own scale)")
    return figure


class LiveCurve:
    """Training curves below a notebook's cell, drawn again after each epoch.

    Args:
        name: of the loss, for the legend; a key of `losses.LOSSES` or any text.

    Example:
        >>> Trainer(model, loss, pairs, on_epoch=LiveCurve("simclr")).fit()
    """

    def __init__(self, name: str = "training") -> None:
        self.name = name
        self.handle: DisplayHandle | None = None

    def __call__(self, history: History) -> None:
        """Draw the history so far; the trainer calls this after each epoch."""
        figure = training_curves({self.name: history})
        if self.handle is None:
            self.handle = display(figure, display_id=True)  # type: ignore[no-untyped-call] # IPython
        else:
            self.handle.update(figure)  # type: ignore[no-untyped-call] # IPython


def _recall_panels(
    part: SubFigure, measured: Mapping[str, History], names: list[str], ceiling: Report | None
) -> None:
    panels = part.subplots(1, 2, sharey=True)
    for axes, direction, title in zip(
        panels, ("i2t", "t2i"), ("Image → text", "Text → image"), strict=True
    ):
        for name, history in measured.items():
            _curve(axes, history, f"{direction}_r1", name, names.index(name))
        if ceiling is not None:
            best = getattr(ceiling, direction).recall[1]
            axes.axhline(
                best, color=INK, linewidth=1.2, linestyle=(0, (6, 4)), label="best possible"
            )
            axes.annotate(  # below the line and to the left, where the curves are still low
                f"best possible pair by pair: {best:.1f} %",
                (0, best),
                xycoords=("axes fraction", "data"),
                va="top",
                xytext=(4, -4),
                textcoords="offset points",
                fontsize=9,
            )
        axes.set_title(f"{title}: is the first answer right?", fontsize=11)
    # Only now: a limit set before all curves are there would keep the shared axis from growing.
    panels[0].set_ylim(0, 100 if ceiling is not None else None)
    panels[0].set_ylabel("validation R@1 (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    part.legend(
        handles, labels, loc="outside upper center", ncols=6, frameon=False, handlelength=3.2
    )


def _curve(axes: Axes, history: History, column: str, name: str, place: int) -> None:
    rows = [row for row in history.rows if column in row]
    colour, marker, line = sheet.look(name, place)
    axes.plot(
        [row["epoch"] for row in rows],
        [row[column] for row in rows],
        color=colour,
        marker=marker,
        markersize=5,
        markevery=max(1, len(rows) // 15),
        linestyle=line,
        linewidth=1.8,
        label=display_name(name),
    )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=9, colors=QUIET, labelcolor=INK)
    sheet.add_grid(axes)
