"""Every plot of the course: how training went, what a search found, whom a loss pushes.

Each function returns a matplotlib Figure and leaves everything global as it was: no pyplot state,
no style. Colour never carries a meaning alone: losses differ in marker and line too, right and
wrong in sign and frame. Captions are other people's text: never read as mathematics, cut where they
do not fit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
import torch
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from mmret_lib.data.images import read_pixels
from mmret_lib.metrics.report import Report
from mmret_lib.search.index import Hit, SearchIndex
from mmret_lib.show import sheet
from mmret_lib.show.sheet import FAINT, INK, QUIET, CourseFigure, styled
from mmret_lib.show.tables import DISPLAY
from mmret_lib.training.trainer import History

# Colour (Okabe and Ito's, told apart by the colour-blind), marker, line: one look for each loss.
LOOKS = [
    ("#0072b2", "s", (0, (5, 1.5))),
    ("#d55e00", "^", (0, (1.5, 1))),
    ("#009e73", "o", "solid"),
    ("#aa4499", "D", (0, (6, 1.5, 1.5, 1.5))),
    ("#555555", "v", (0, (9, 2))),
    ("#b08a00", "P", (0, (3, 1, 1, 1, 1, 1))),
]
LISTED = 8  # negatives of the chosen query that are shown one by one
SHADES = PowerNorm(0.4, 0, 1)  # else all shades but the hardest negative's would look white
SHADE_MAP = "rocket_r"  # darker is more, so it reads in greyscale too

# Sign, colour, line and width of the frame, by whether an answer is right (None: nobody knows).
MARKS: dict[bool | None, tuple[str, str, Any, float]] = {
    True: ("✓", "#00735c", "solid", 4.0),
    False: ("✗", "#a04a3c", (0, (4, 3)), 1.4),
    None: ("", QUIET, "solid", 0.8),
}
# ---------------------------------------------------------------------------- training


@styled
def training_curves(histories: Mapping[str, History], ceiling: Report | None = None) -> Figure:
    """How the losses fell, and what that was worth: validation R@1 in both directions.

    Args:
        histories: name of a loss -> what `Trainer.fit` returned.
        ceiling: the best possible report on the same validation pairs; drawn as a dashed line.

    Returns:
        Above, if any history has validation figures, R@1 in percent per epoch, image to text and
        text to image on one scale. Below, the training loss per epoch, one panel for each history,
        because their scales have nothing in common.
    """
    _some(histories, "histories")
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
        axes.set_title(f"{_display(name)}: training loss", color=look(name, place)[0], fontsize=10)
    panels[0].set_ylabel("loss (each on its own scale)")
    return figure


class LiveCurve:
    """Training curves below a notebook's cell that are drawn anew after each epoch.

    >>> Trainer(model, loss, pairs, on_epoch=LiveCurve("simclr")).fit()

    Args:
        name: of the loss, for the legend; a key of `losses.LOSSES` or any text.
        ceiling: the best possible figures on the validation pairs, drawn beside.
    """

    def __init__(self, name: str = "training", ceiling: Report | None = None) -> None:
        self.name, self.ceiling, self.shown = name, ceiling, None

    def __call__(self, history: History) -> None:
        figure = training_curves({self.name: history}, self.ceiling)
        if self.shown is None:
            self.shown = display(figure, display_id=True)
        else:
            self.shown.update(figure)


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
                f"best possible: {best:.1f} %",
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
    colour, marker, line = look(name, place)
    axes.plot(
        [row["epoch"] for row in rows],
        [row[column] for row in rows],
        color=colour,
        marker=marker,
        markersize=5,
        markevery=max(1, len(rows) // 15),
        linestyle=line,
        linewidth=1.8,
        label=_display(name),
    )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=9, colors=QUIET, labelcolor=INK)
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _display(name: str) -> str:
    return DISPLAY.get(name, name)


def look(name: str, place: int) -> tuple[str, str, Any]:
    """The same look for a loss in every figure; another name takes one by its place."""
    known = list(DISPLAY)
    return LOOKS[known.index(name) if name in DISPLAY else (place + 4) % len(LOOKS)]


# ---------------------------------------------------------------------------- what a search finds


@styled
def text_to_image(
    index: SearchIndex,
    queries: Sequence[tuple[str, set[int] | None]],
    k: int = 5,
    title: str | None = None,
) -> Figure:
    """One row for each query: the text, and under it the k best pictures, marked right or wrong.

    Args:
        index: the collection.
        queries: (text, the indices of the images that are right answers), or None for the indices
            where nobody knows; then nothing is marked.
        k: pictures per row.
        title: replaces the one that names the size of the collection.

    Raises:
        DataError: as `by_text`.
    """
    _some(queries, "queries")
    found = [index.by_text(text, k) for text, _ in queries]
    columns, side, gap, margin = len(found[0]), 1.5, 0.16, 0.25
    width = max(6.0, 2 * margin + columns * (side + gap) - gap)
    head, row = 0.95, side + 0.85
    figure = CourseFigure(figsize=(width, head + row * len(queries)))
    title = title or f"Text → image: the best {columns} of {len(index):,} pictures"
    _heading(figure, title, any(truth is not None for _, truth in queries), margin)
    for line, ((text, truth), hits) in enumerate(zip(queries, found, strict=True)):
        top = head + line * row
        sheet.write(figure, margin, top + 0.16, f"“{text}”", width - 2 * margin, 11, weight="bold")
        for hit in hits:
            right = None if truth is None else hit.image_index in truth
            left = margin + (hit.rank - 1) * (side + gap)
            _frame(
                sheet.picture(figure, left, top + 0.34, side, read_pixels(hit.image, 256)), right
            )
            _score(figure, left, top + 0.34 + side + 0.16, hit, right)
    return figure


@styled
def image_to_text(
    index: SearchIndex, image_indices: Sequence[int], k: int = 5, title: str | None = None
) -> Figure:
    """One row for each picture: the k best captions, marked right or wrong, and its own captions.

    Args:
        index: the collection.
        image_indices: which of its images to ask with; an image's own captions are the right ones.
        k: captions per row.
        title: replaces the one that names the size of the collection.

    Raises:
        IndexError: no such image.
        DataError: as `by_image`.
    """
    _some(image_indices, "image_indices")
    margin, side, found_width, own_width = 0.25, 1.6, 4.2, 3.7
    found_left = margin + side + 1.05  # with room for the mark and the score
    own_left = found_left + found_width + 0.35
    width, head = own_left + own_width + margin, 1.3
    own = [index.pairs.captions_of(image_index) for image_index in image_indices]
    found = [index.by_image(index.pairs.images[image_index], k) for image_index in image_indices]
    own_tall = [[_tall(caption, own_width) for caption in captions] for captions in own]
    found_tall = [
        [_tall(hit.caption or "", found_width, hit.image_index == image_index) for hit in hits]
        for image_index, hits in zip(image_indices, found, strict=True)
    ]
    heights = [
        max(side, sum(left), sum(right)) + 0.35
        for left, right in zip(found_tall, own_tall, strict=True)
    ]
    figure = CourseFigure(figsize=(width, head + sum(heights)))
    count = len(index.pairs.captions)
    title = title or f"Image → text: the best {len(found[0])} of {count:,} captions"
    marks = "of this very picture", "of another one, though it may fit"
    _heading(figure, title, True, margin, *marks)
    left = found_left - 0.75
    sheet.write(figure, left, head - 0.25, "The captions it finds", found_width, 10, weight="bold")
    sheet.write(figure, own_left, head - 0.25, "Its own captions", own_width, 10, weight="bold")
    top = head
    for row, image_index in enumerate(image_indices):
        sheet.rule(figure, margin, width - margin, top - 0.08)
        picture = read_pixels(index.pairs.images[image_index], 256)
        _frame(sheet.picture(figure, margin, top + 0.1, side, picture), None)
        y = top + 0.08
        for hit, tall in zip(found[row], found_tall[row], strict=True):
            right = hit.image_index == image_index
            _score(figure, left, y + tall / 2, hit, right)
            sheet.write(
                figure,
                found_left,
                y + tall / 2,
                hit.caption or "",
                found_width,
                10,
                lines=2,
                weight="bold" if right else "normal",
                color=INK if right else QUIET,
            )
            y += tall
        y = top + 0.08
        for caption, tall in zip(own[row], own_tall[row], strict=True):
            sheet.write(figure, own_left, y + tall / 2, caption, own_width, 10, lines=2)
            y += tall
        top += heights[row]
    return figure


def _tall(caption: str, width: float, bold: bool = False) -> float:
    """Inches that a caption takes on the one or two lines that it may fill."""
    fitted = sheet.fitted(caption, width, 10, 2, "bold" if bold else "normal")
    return 0.12 + 0.165 * len(fitted.split("\n"))


def _heading(
    figure: Figure,
    title: str,
    marked: bool,
    margin: float,
    right: str = "right",
    wrong: str = "wrong",
) -> None:
    width = figure.get_size_inches()[0] - 2 * margin
    sheet.write(figure, margin, 0.32, title, width, 14, weight="bold")
    key = f"✓ {right}  ·  ✗ {wrong}  ·  " if marked else ""
    sheet.write(figure, margin, 0.64, f"{key}number: cosine similarity", width, 9, color=QUIET)


def _frame(axes: Axes, right: bool | None) -> None:
    _, colour, line, width = MARKS[right]
    axes.spines[:].set(color=colour, linestyle=line, linewidth=width)


def _score(figure: Figure, left: float, top: float, hit: Hit, right: bool | None) -> None:
    sign, colour, _, _ = MARKS[right]
    if sign:
        sheet.write(figure, left, top, sign, 0.2, 11, color=colour, weight="bold")
        left += 0.22
    weight = "bold" if right else "normal"
    sheet.write(figure, left, top, f"{hit.score:.2f}", 0.5, 9, color=colour, weight=weight)


# ---------------------------------------------------------------------------- whom a loss pushes


@styled
def negative_weights(
    weights: Mapping[str, Tensor],
    captions: Sequence[str],
    images: Tensor | np.ndarray,
    query: int = 0,
    direction: int = 0,
) -> Figure:
    """Where each loss puts its push, over one batch and for one query of it.

    Args:
        weights: name of a loss -> (2, B, B), what `losses.negative_weights` gave for the batch.
            About 24 pairs can still be told apart.
        captions: the B captions of the batch.
        images: its images, uint8 (B, 3, S, S).
        query: the pair whose row is shown in full.
        direction: 0: images ask, texts are pushed; 1: texts ask, images are pushed.

    Returns:
        Above, for each loss, the shares as a map, all in the same colours, and how many negatives
        share a push: 1 / sum of the squared shares (the inverse Simpson index), the mean over the
        queries that push at all. It is 1 where one takes all, n where n share alike. Below, the
        negatives that the chosen query pushes hardest, and their share under each loss.

    Raises:
        ValueError: shapes that do not fit each other, or no such query or direction.
    """
    shares = _checked_shares(weights, captions, images, query, direction)
    total = np.sum([share[query] for share in shares.values()], axis=0)  # (B,)
    others = [k for k in np.argsort(-total, kind="stable").tolist() if k != query]
    listed, rest = others[:LISTED], others[LISTED:]

    margin, left_width, gap, side, step = 0.25, 3.75, 0.25, 1.9, 0.46
    left = margin + left_width + gap
    width = left + len(shares) * (side + gap)
    maps_top, bars_top = 1.7, 1.7 + side + 1.8
    rows = len(listed) + bool(rest)
    figure = CourseFigure(figsize=(width, bars_top + rows * step + 0.65))
    span = width - 2 * margin
    title = f"How each loss weighs the negatives of one batch ({len(captions)} pairs)"
    sheet.write(figure, margin, 0.32, title, span, 14, weight="bold")
    asks, pushed = ("image", "caption") if direction == 0 else ("caption", "image")
    twins = f" (Barlow Twins: their {asks}s)" if "barlow_twins" in weights else ""
    key = f"Each {asks} pushes away the {pushed}s of other pairs{twins}. Its shares make 100 %."
    sheet.write(figure, margin, 0.64, key, span, 10, color=QUIET)

    for place, (name, share) in enumerate(shares.items()):
        at = left + place * (side + gap)
        sheet.write(
            figure, at, 1.1, _display(name), side, 11, weight="bold", color=look(name, place)[0]
        )
        effective = sharing(share)
        shared = "no" if effective is None else f"≈ {effective:.1f}"
        sheet.write(figure, at, 1.37, f"{shared} of {len(others)} share a push", side + gap, 10)
        axes = sheet.axes(figure, at, maps_top, side, side)
        _heat_map(axes, share, query, first=place == 0)
        axes = sheet.axes(figure, at, bars_top, side, rows * step)
        _bars(axes, share[query], listed, rest, look(name, place)[0])

    _colour_bar(figure, margin, maps_top, left_width - 0.6)
    asked, text = bars_top - 1.2, margin + 0.85
    sheet.rule(figure, margin, width - margin, asked - 0.12)
    _thumb(figure, margin, asked, 0.7, images, query)
    said = f"▶ The query: the {asks} of pair {query}"
    sheet.write(figure, text, asked + 0.17, said, span - 0.85, 10, weight="bold")
    sheet.write(figure, text, asked + 0.48, f"“{captions[query]}”", span - 0.85, 10)
    said = f"The {pushed}s it pushes hardest"
    sheet.write(figure, margin, bars_top - 0.2, said, left_width, 10, weight="bold")
    for line, k in enumerate(listed):
        top = bars_top + line * step
        _thumb(figure, margin, top + 0.03, step - 0.06, images, k)
        sheet.write(
            figure, margin + 0.55, top + step / 2, captions[k], left_width - 0.6, 9.5, lines=2
        )
    if rest:
        top = bars_top + len(listed) * step + step / 2
        sheet.write(
            figure, margin + 0.55, top, f"the other {len(rest)}, together", 3, 9.5, color=QUIET
        )
    return figure


def _checked_shares(
    weights: Mapping[str, Tensor],
    captions: Sequence[str],
    images: Tensor | np.ndarray,
    query: int,
    direction: int,
) -> dict[str, np.ndarray]:
    """Name of a loss -> (B, B), the shares of one direction."""
    _some(weights, "weights")
    size = len(captions)
    for name, weight in weights.items():
        if tuple(weight.shape) != (2, size, size) or len(images) != size:
            raise ValueError(
                f"weights[{name!r}] has shape {tuple(weight.shape)} for {size} captions and "
                f"{len(images)} images: (2, B, B) is needed for B of each"
            )
    if not 0 <= query < size or direction not in (0, 1):
        raise ValueError(
            f"query is {query} and direction {direction}: they run from 0 to {size - 1} and to 1"
        )
    return {name: w[direction].detach().double().cpu().numpy() for name, w in weights.items()}


def sharing(share: np.ndarray) -> float | None:
    """How many negatives a query's push is shared by, on average: (B, B) -> 1 … B - 1."""
    squares = np.square(share).sum(axis=1)  # (B,)
    return float((1 / squares[squares > 0]).mean()) if squares.any() else None


def _heat_map(axes: Axes, share: np.ndarray, query: int, first: bool) -> None:
    own = np.eye(len(share), dtype=bool)
    axes.set_facecolor(FAINT)
    sns.heatmap(
        share,
        mask=own,
        norm=SHADES,
        cmap=SHADE_MAP,
        cbar=False,
        ax=axes,
        xticklabels=False,
        yticklabels=False,
    )
    row = Rectangle(
        (0, query), len(share), 1, fill=False, edgecolor=INK, linewidth=1, clip_on=False
    )
    axes.add_patch(row)
    axes.annotate(
        "▶",
        (0, query + 0.5),
        xytext=(-3, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8,
        annotation_clip=False,
    )
    axes.spines[:].set(visible=True, color=QUIET, linewidth=0.8)
    axes.set_xlabel("negative", fontsize=10)
    axes.set_ylabel("query" if first else "", fontsize=10, labelpad=12)


def _bars(axes: Axes, row: np.ndarray, listed: list[int], rest: list[int], colour: str) -> None:
    values = [float(row[k]) for k in listed] + ([float(row[rest].sum())] if rest else [])
    bars = axes.barh(range(len(values)), values, height=0.62, color=colour)
    if rest:
        bars[-1].set(facecolor="white", edgecolor=colour, hatch="////", linewidth=0.8)
    for place, value in enumerate(values):
        inside = value > 0.7 and place < len(listed)  # a long bar leaves no room behind it
        axes.text(
            value - 0.02 if inside else value + 0.02,
            place,
            percent(value),
            fontsize=9.5,
            ha="right" if inside else "left",
            va="center",
            color="white" if inside else INK if value else QUIET,
        )
    axes.set(xlim=(0, 1), ylim=(len(values) - 0.5, -0.5), yticks=[], xticks=(0, 0.5, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.get_xticklabels()[0].set_horizontalalignment("left")  # beside the next panel's
    axes.get_xticklabels()[-1].set_horizontalalignment("right")
    axes.set_xlabel("share of the push", fontsize=10)
    axes.tick_params(labelsize=9.5, colors=QUIET, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)


def percent(share: float) -> str:
    """Nothing and next to nothing told apart: the one idea is who is pushed at all."""
    return "0" if share == 0 else "<1%" if share < 0.005 else f"{share:.0%}"


def _colour_bar(figure: Figure, left: float, top: float, width: float) -> None:
    sheet.write(figure, left, top + 0.1, "Darker: a larger share of the query's push", width, 10)
    bar = figure.colorbar(
        ScalarMappable(SHADES, SHADE_MAP),
        cax=sheet.axes(figure, left + 0.1, top + 0.3, width, 0.18),
        orientation="horizontal",
        ticks=[0, 0.05, 0.2, 0.5, 1],
        format=PercentFormatter(1),
    )
    bar.ax.tick_params(labelsize=9.5, colors=QUIET, labelcolor=INK)
    sheet.write(figure, left, top + 0.95, "Grey: the query's own pair, never pushed", width, 10)
    sheet.write(figure, left, top + 1.2, "▶ the query shown below", width, 10)


def _thumb(
    figure: Figure, left: float, top: float, side: float, images: Tensor | np.ndarray, k: int
) -> None:
    _frame(sheet.picture(figure, left, top, side, torch.as_tensor(images[k]).cpu().numpy()), None)


def _some(things: Any, name: str) -> None:
    if not len(things):
        raise ValueError(f"{name} is empty: there is nothing to draw")
