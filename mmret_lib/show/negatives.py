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
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from mmret_lib.show import sheet
from mmret_lib.show.sheet import FAINT, INK, QUIET, CourseFigure, styled
from mmret_lib.show.tables import display_name

LISTED = 8  # negatives of the chosen query that are shown one by one
SHADES = PowerNorm(0.4, 0, 1)  # a linear scale would show all but the largest shares as white
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
    margin, left_width, gap, side, step = 0.25, 3.75, 0.25, 1.9, 0.46
    left = margin + left_width + gap
    width = left + len(shares) * (side + gap)
    maps_top, bars_top = 1.7, 1.7 + side + 1.8
    rows = len(listed) + bool(rest)
    figure = CourseFigure(figsize=(width, bars_top + rows * step + 0.65))
    span = width - 2 * margin
    title = f"How each loss weighs the negatives of one batch ({len(captions)} pairs)"
    sheet.write(figure, margin, 0.32, title, span, 14, weight="bold")
    twins = " (Barlow Twins: their images)" if "barlow_twins" in weights else ""
    key = f"Each image pushes away the captions of other pairs{twins}. Its shares make 100 %."
    sheet.write(figure, margin, 0.64, key, span, 10, color=QUIET)

    for place, (name, share) in enumerate(shares.items()):
        at, colour = left + place * (side + gap), sheet.look(name, place)[0]
        sheet.write(figure, at, 1.1, display_name(name), side, 11, weight="bold", color=colour)
        effective = sharing(share)
        shared = "no" if effective is None else f"≈ {effective:.1f}"
        sheet.write(
            figure, at, 1.37, f"{shared} of {len(captions) - 1} share a push", side + gap, 10
        )
        axes = sheet.add_axes(figure, at, maps_top, side, side)
        _heat_map(axes, share, query, first=place == 0)
        axes = sheet.add_axes(figure, at, bars_top, side, rows * step)
        _bars(axes, share[query], listed, rest, colour)

    _colour_bar(figure, margin, maps_top, left_width - 0.6)
    asked, text = bars_top - 1.2, margin + 0.85
    sheet.add_rule(figure, margin, width - margin, asked - 0.12)
    sheet.add_picture(figure, margin, asked, 0.7, images[query])
    said = f"▶ The query: the image of pair {query}"
    sheet.write(figure, text, asked + 0.17, said, span - 0.85, 10, weight="bold")
    sheet.write(figure, text, asked + 0.48, f"“{captions[query]}”", span - 0.85, 10)
    said = "The captions it pushes hardest"
    sheet.write(figure, margin, bars_top - 0.2, said, left_width, 10, weight="bold")
    text, width = margin + 0.55, left_width - 0.6
    for line, k in enumerate(listed):
        top = bars_top + line * step
        sheet.add_picture(figure, margin, top + 0.03, step - 0.06, images[k])
        sheet.write(figure, text, top + step / 2, captions[k], width, 9.5, lines=2)
    if rest:
        top = bars_top + len(listed) * step + step / 2
        sheet.write(figure, text, top, f"the other {len(rest)}, together", 3, 9.5, color=QUIET)
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


def _colour_bar(figure: Figure, left: float, top: float, width: float) -> None:
    sheet.write(figure, left, top + 0.1, "Darker: a larger share of the query's push", width, 10)
    bar = figure.colorbar(
        ScalarMappable(SHADES, SHADE_MAP),
        cax=sheet.add_axes(figure, left + 0.1, top + 0.3, width, 0.18),
        orientation="horizontal",
        ticks=[0, 0.05, 0.2, 0.5, 1],
        format=PercentFormatter(1),
    )
    bar.ax.tick_params(labelsize=9.5, colors=QUIET, labelcolor=INK)
    sheet.write(figure, left, top + 0.95, "Grey: the query's own pair, never pushed", width, 10)
    sheet.write(figure, left, top + 1.2, "▶ the query shown below", width, 10)


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
    figure = CourseFigure(figsize=(4.4 * columns, 3.6 * rows + 0.3), layout="constrained")
    figure.suptitle(f"Whom image {query} pushes away, and how hard", weight="bold")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(weights) :]:
        axes.set_axis_off()
    for axes, (name, weight) in zip(panels, weights.items(), strict=False):
        _circle(axes, image, text, weight[0, query].detach().double().numpy(), query)
        axes.set_title(name)
    return figure


def _circle(
    axes: Axes, image: np.ndarray, text: np.ndarray, shares: np.ndarray, query: int
) -> None:
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=FAINT))
    for k, share in enumerate(shares):
        if k != query and share > 0:
            ends = np.stack([image[query], text[k]])
            axes.plot(*ends.T, color=QUIET, linewidth=0.8 + 7 * share, alpha=0.6, zorder=1)
    axes.plot(*np.stack([image[query], text[query]]).T, color=INK, linestyle=":", zorder=1)
    for points, marker, letter in ((image, "s", "i"), (text, "o", "t")):
        for k, point in enumerate(points):
            colour = INK if k == query else "white"
            axes.plot(*point, marker, markersize=9, markerfacecolor=colour, markeredgecolor=INK)
            pushed = letter == "t" and k != query
            label = f"{letter}{k}: {percent(float(shares[k]))}" if pushed else f"{letter}{k}"
            side = "left" if point[0] > 0.3 else "right" if point[0] < -0.3 else "center"
            across, up = 1.14 * point
            axes.text(across, up, label, ha=side, va="center", fontsize=9)
    axes.set(xlim=(-1.9, 1.9), ylim=(-1.4, 1.4), aspect="equal", xticks=(-1, 0, 1))
    axes.set(yticks=(-1, 0, 1), xlabel="dimension 1", ylabel="dimension 2")
    axes.spines[["top", "right"]].set_visible(False)
