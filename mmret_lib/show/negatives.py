"""Figures of how a loss weighs its negatives: whom each query pushes away, and how hard."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from mmret_lib.show import sheet
from mmret_lib.show.sheet import FAINT, INK, QUIET, CourseFigure, styled
from mmret_lib.show.tables import display_name

LISTED = 8  # negatives of the chosen query that are shown one by one
SHADES = PowerNorm(0.4, 0, 1)  # a linear scale would show all but the largest shares as white
PUSH = "#a04a3c"  # of the arrows
SHADE_MAP = "rocket_r"  # darker is more, so it reads in greyscale too


def sharing(share: np.ndarray) -> float | None:
    """Count the negatives that share a push: 1 / sum of the squared shares, mean over the queries.

    This is the inverse Simpson index: 1 where one negative takes all, n where n share alike.

    Args:
        share: (B, B), a row for each query, as `losses.negative_weights` gives one direction.

    Returns:
        Between 1 and B - 1, over the queries that push at all; None where none does.
    """
    squares = np.square(share).sum(axis=1)  # (B,)
    return float((1 / squares[squares > 0]).mean()) if squares.any() else None


def hardest(shares: Mapping[str, np.ndarray], query: int) -> tuple[list[int], list[int]]:
    """Sort a query's negatives by their push under all losses together, the hardest first.

    Args:
        shares: name of a loss -> (B, B).
        query: the row that counts.

    Returns:
        The few to be listed one by one, and the rest.
    """
    total = np.sum([share[query] for share in shares.values()], axis=0)  # (B,)
    others = [k for k in np.argsort(-total, kind="stable").tolist() if k != query]
    return others[:LISTED], others[LISTED:]


def percent(share: float) -> str:
    """Format a share; "0" is exactly zero, and a share that rounds to zero is "<1%"."""
    return "0" if share == 0 else "<1%" if share < 0.005 else f"{share:.0%}"


@styled
def weight_maps(
    weights: Mapping[str, Tensor],
    captions: Sequence[str],
    images: Tensor | np.ndarray,
    query: int = 0,
) -> Figure:
    """Draw how hard each image of a batch pushes away the captions of the others, for each loss.

    Args:
        weights: name of a loss -> (2, B, B), what `losses.negative_weights` gave for the batch.
            About 24 pairs can still be told apart.
        captions: the B captions of the batch.
        images: its images, uint8 (B, 3, S, S).
        query: the image whose row is shown in full.

    Returns:
        A figure. Above, for each loss, the shares as a map, all in the same colours, and how many
        negatives share a push (see `sharing`). Below, the negatives that the chosen query pushes
        hardest, and their share under each loss.

    Raises:
        ValueError: shapes that do not fit each other, or no such query.
    """
    shares = _checked_shares(weights, captions, images, query)
    listed, rest = hardest(shares, query)
    margin, left_width, gap, step = 0.25, 3.5, 0.35, 0.46
    side = 2.8 if len(shares) < 3 else 2.2
    left = margin + left_width + gap + 0.3
    width = left + len(shares) * (side + gap)
    maps_top, bars_top = 1.7, 1.7 + side + 1.9
    rows = len(listed) + bool(rest)
    figure = CourseFigure(figsize=(width, bars_top + rows * step + 0.65))
    span = width - 2 * margin
    title = f"How each loss weighs the negatives of one batch ({len(captions)} pairs)"
    sheet.write(figure, margin, 0.32, title, span, 15, weight="bold")
    twins = " (Barlow Twins: their images)" if "barlow_twins" in weights else ""
    key = f"Each image pushes away the captions of other pairs{twins}. Its shares make 100 %."
    sheet.write(figure, margin, 0.66, key, span, 11, color=QUIET)

    for place, (name, share) in enumerate(shares.items()):
        at, colour = left + place * (side + gap), sheet.look(name, place)[0]
        sheet.write(figure, at, 1.1, display_name(name), side, 12, weight="bold", color=colour)
        effective = sharing(share)
        shared = "no" if effective is None else f"≈ {effective:.1f}"
        sheet.write(
            figure, at, 1.37, f"{shared} of {len(captions) - 1} share a push", side + gap, 11
        )
        axes = sheet.add_axes(figure, at, maps_top, side, side)
        _heat_map(axes, share, query, first=place == 0)
        pushed = "image" if name == "barlow_twins" else "caption"
        axes.set_xlabel(f"{pushed} of pair …", fontsize=11)
        axes = sheet.add_axes(figure, at, bars_top, side, rows * step)
        _bars(axes, share[query], listed, rest, colour)

    _colour_bar(figure, margin, maps_top, left_width - 0.5)
    asked, text = bars_top - 1.2, margin + 0.85
    sheet.add_rule(figure, margin, width - margin, asked - 0.12)
    sheet.add_picture(figure, margin, asked, 0.7, images[query])
    said = f"▶ The query: the image of pair {query}"
    sheet.write(figure, text, asked + 0.17, said, span - 0.85, 11, weight="bold")
    sheet.write(figure, text, asked + 0.48, f"“{captions[query]}”", span - 0.85, 11)
    said = "The captions it pushes hardest"
    sheet.write(figure, margin, bars_top - 0.2, said, left_width, 11, weight="bold")
    text, width = margin + 0.55, left_width - 0.45
    for line, k in enumerate(listed):
        top = bars_top + line * step
        sheet.add_picture(figure, margin, top + 0.03, step - 0.06, images[k])
        sheet.write(figure, text, top + step / 2, captions[k], width, 10, lines=2)
    if rest:
        top = bars_top + len(listed) * step + step / 2
        sheet.write(figure, text, top, f"the other {len(rest)}, together", 3, 10, color=QUIET)
    return figure


def _checked_shares(
    weights: Mapping[str, Tensor],
    captions: Sequence[str],
    images: Tensor | np.ndarray,
    query: int,
) -> dict[str, np.ndarray]:
    """Name of a loss -> (B, B), the shares of the images' push."""
    sheet.check_not_empty(weights, "weights")
    size = len(captions)
    for name, weight in weights.items():
        if tuple(weight.shape) != (2, size, size) or len(images) != size:
            raise ValueError(
                f"weights[{name!r}] has shape {tuple(weight.shape)} for {size} captions and "
                f"{len(images)} images: (2, B, B) is needed for B of each"
            )
    if not 0 <= query < size:
        raise ValueError(f"query is {query}: it runs from 0 to {size - 1}")
    return {name: w[0].detach().double().cpu().numpy() for name, w in weights.items()}


def _heat_map(axes: Axes, share: np.ndarray, query: int, first: bool) -> None:
    axes.set_facecolor(FAINT)
    sns.heatmap(
        share,
        mask=np.eye(len(share), dtype=bool),
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
    size = len(share)
    every = max(1, math.ceil(size / 6))  # numbers that can be read, however large the batch is
    shown = range(0, size, every)
    axes.set_xticks([k + 0.5 for k in shown], [str(k) for k in shown], rotation=0)
    axes.set_yticks([k + 0.5 for k in shown], [str(k) for k in shown] if first else [])
    axes.tick_params(labelsize=10, length=3, colors=QUIET, labelcolor=INK)
    axes.tick_params(axis="y", pad=9)  # room for the query's ▶
    axes.set_ylabel("image of pair … asks" if first else "", fontsize=11, labelpad=5)


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
            fontsize=10.5,
            ha="right" if inside else "left",
            va="center",
            color="white" if inside else INK if value else QUIET,
        )
    axes.set(xlim=(0, 1), ylim=(len(values) - 0.5, -0.5), yticks=[], xticks=(0, 0.5, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.get_xticklabels()[0].set_horizontalalignment("left")  # beside the next panel's
    axes.get_xticklabels()[-1].set_horizontalalignment("right")
    axes.set_xlabel("share of the push", fontsize=11)
    axes.tick_params(labelsize=10, colors=QUIET, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)


def _colour_bar(figure: Figure, left: float, top: float, width: float) -> None:
    said = "Colour: the share of the row's push"
    sheet.write(figure, left, top + 0.1, said, width + 0.5, 11, weight="bold")
    bar = figure.colorbar(
        ScalarMappable(SHADES, SHADE_MAP),
        cax=sheet.add_axes(figure, left + 0.1, top + 0.3, width - 0.2, 0.2),
        orientation="horizontal",
        ticks=[0, 0.01, 0.05, 0.2, 0.5, 1],
        format=PercentFormatter(1, decimals=0),
    )
    bar.ax.tick_params(labelsize=9.5, colors=QUIET, labelcolor=INK)
    lines = (
        "A row is one image that asks, a column",
        "what it pushes. The scale is stretched",
        "at its light end, to show small shares.",
        "Grey: the own pair, never pushed.",
        "▶ the query that is shown below",
    )
    for place, line in enumerate(lines):
        sheet.write(figure, left, top + 0.95 + 0.24 * place, line, width + 0.5, 10.5)


@styled
def push_on_circle(
    image_emb: Tensor | np.ndarray,
    text_emb: Tensor | np.ndarray,
    weights: Mapping[str, Tensor],
    query: int = 0,
) -> Figure:
    """Draw embeddings of two dimensions on the unit circle, and how one image's push is shared.

    Args:
        image_emb, text_emb: (B, 2), row b of each a pair; drawn at length 1.
        weights: name of a loss -> (2, B, B), what `losses.negative_weights` gave for the batch.
        query: the image whose push is shown; each text's share is written beside it.

    Raises:
        ValueError: embeddings that are not (B, 2).
    """
    image, text = (np.asarray(torch.as_tensor(e).detach().double()) for e in (image_emb, text_emb))
    if image.shape != text.shape or image.shape[1:] != (2,):
        raise ValueError(f"a circle shows (B, 2) twice, not {image.shape} and {text.shape}")
    image, text = (e / np.linalg.norm(e, axis=1, keepdims=True) for e in (image, text))
    columns = len(weights) if len(weights) < 4 else 2
    rows = math.ceil(len(weights) / columns)
    figure = CourseFigure(figsize=(4.6 * columns, 3.8 * rows + 0.7), layout="constrained")
    key = (
        f"arrow: push on a text, away from i{query}",
        "longer and thicker: larger share;  dotted: the own pair",
    )
    figure.suptitle(f"Whom image {query} pushes away, and how hard", weight="bold", fontsize=13)
    figure.supxlabel((";  " if columns > 1 else "\n").join(key), fontsize=10, color=QUIET)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(weights) :]:
        axes.set_axis_off()
    for axes, (name, weight) in zip(panels, weights.items(), strict=False):
        _circle(axes, image, text, weight[0, query].detach().double().cpu().numpy(), query)
        axes.set_title(display_name(name), fontsize=12)
    return figure


def _circle(
    axes: Axes, image: np.ndarray, text: np.ndarray, shares: np.ndarray, query: int
) -> None:
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=FAINT))
    for k, share in enumerate(shares):
        if k != query and share > 0:
            _push_arrow(axes, image[query], text[k], float(share))
    axes.plot(*np.stack([image[query], text[query]]).T, color=INK, linestyle=":", zorder=1)
    for points, marker, letter in ((image, "s", "i"), (text, "o", "t")):
        for k, point in enumerate(points):
            colour = INK if k == query else "white"
            axes.plot(*point, marker, markersize=9, markerfacecolor=colour, markeredgecolor=INK)
            pushed = letter == "t" and k != query
            label = f"{letter}{k}: {percent(float(shares[k]))}" if pushed else f"{letter}{k}"
            side = "left" if point[0] > 0.3 else "right" if point[0] < -0.3 else "center"
            across, up = 1.14 * point
            axes.text(across, up, label, ha=side, va="center", fontsize=10.5)
    axes.set(xlim=(-1.9, 1.9), ylim=(-1.4, 1.4), aspect="equal", xticks=(-1, 0, 1))
    axes.set(yticks=(-1, 0, 1), xlabel="dimension 1", ylabel="dimension 2")
    axes.spines[["top", "right"]].set_visible(False)


def _push_arrow(axes: Axes, query: np.ndarray, text: np.ndarray, share: float) -> None:
    """Draw an arrow just inside the circle, from below a text and away from the query."""
    start = math.atan2(text[1], text[0])
    turned = query[0] * text[1] - query[1] * text[0]  # above 0: the text lies counter-clockwise
    end = start + math.copysign(0.25 + 0.6 * share, turned)
    angles = np.linspace(start, end, 20)
    path = Path(0.86 * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    arrow = FancyArrowPatch(
        path=path,
        arrowstyle="-|>",
        mutation_scale=9 + 9 * share,
        linewidth=1 + 3 * share,
        color=PUSH,
        joinstyle="miter",
        zorder=1,
    )
    axes.add_patch(arrow)
