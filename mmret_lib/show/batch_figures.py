"""Figures of a handful of pairs: small enough that every number can be read and checked by hand.

`similarity_grid` shows a few pictures against a few captions; `push_on_circle` shows embeddings of
two dimensions and whom a loss pushes. As in `figures`, each returns a matplotlib Figure, changes
nothing global, and says nothing by colour alone.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from torch import Tensor

from mmret_lib.show import sheet
from mmret_lib.show.figures import percent
from mmret_lib.show.sheet import FAINT, INK, QUIET, CourseFigure, styled

Array = Tensor | np.ndarray


@styled
def similarity_grid(
    values: Array,
    images: Array,
    captions: Sequence[str],
    title: str,
    *,
    subtitle: str = "number: cosine similarity; thick frame: the picture's own caption",
    owner: Sequence[int] | None = None,
    notes: Sequence[Sequence[str]] | None = None,
) -> Figure:
    """A number for each picture and each caption, the picture's own captions framed.

    Args:
        values: (N, M), pictures by captions; darker is larger.
        images: uint8 (N, 3, S, S).
        captions: M texts; about six can be read.
        title: what the numbers are, in a few words.
        subtitle: what number and frame mean.
        owner: (M,) the picture that each caption belongs to; None where caption j is picture j's.
        notes: (N, M) short texts below the numbers, such as ranks.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    table = np.asarray(torch.as_tensor(values).detach().double())
    owner = list(range(len(captions)) if owner is None else owner)
    if table.shape != (len(images), len(captions)) or len(owner) != len(captions):
        raise ValueError(
            f"values has shape {table.shape} for {len(images)} images, {len(captions)} captions "
            f"and {len(owner)} owners: (N, M) is needed, and an owner for each caption"
        )
    margin, head, side, wide, row = 0.25, 2.05, 0.86, 1.32, 0.94
    left = margin + side + 0.2
    width = left + wide * len(captions) + margin
    figure = CourseFigure(figsize=(width, head + row * len(images) + 0.15))
    sheet.write(figure, margin, 0.3, title, width - 2 * margin, 13, weight="bold")
    sheet.write(figure, margin, 0.6, subtitle, width - 2 * margin, 9, color=QUIET)
    for column, caption in enumerate(captions):
        at = left + column * wide
        sheet.write(figure, at + 0.06, 1.0, f"caption {column}", wide, 9, weight="bold")
        sheet.write(figure, at + 0.06, 1.52, caption, wide - 0.12, 9, lines=4)
    for line, image in enumerate(images):
        pixels = np.asarray(torch.as_tensor(image).cpu())
        sheet.picture(figure, margin, head + line * row, side, pixels)
    axes = sheet.axes(figure, left, head, wide * len(captions), row * len(images))
    shades = Normalize(table.min(), table.max() + 0.8 * (np.ptp(table) or 1))  # text stays readable
    axes.pcolormesh(table, cmap="Greys", norm=shades, edgecolors="white", linewidth=1)
    axes.set(xlim=(0, len(captions)), ylim=(len(images), 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for line, column in np.ndindex(*table.shape):
        own = owner[column] == line
        axes.text(
            column + 0.5,
            line + (0.36 if notes else 0.5),
            f"{table[line, column]:.2f}",
            ha="center",
            va="center",
            fontsize=11,
            weight="bold" if own else "normal",
        )
        if notes:
            axes.text(
                column + 0.5,
                line + 0.7,
                notes[line][column],
                ha="center",
                va="center",
                fontsize=8.5,
                weight="bold" if own else "normal",
            )
        if own:
            axes.add_patch(
                Rectangle(
                    (column + 0.03, line + 0.04), 0.94, 0.92, fill=False, edgecolor=INK, linewidth=2
                )
            )
    return figure


@styled
def push_on_circle(
    image_emb: Array, text_emb: Array, weights: Mapping[str, Array], query: int = 0
) -> Figure:
    """Embeddings of two dimensions on the unit circle, and how one image's push is shared out.

    Args:
        image_emb, text_emb: (B, 2), row b of each a pair; drawn at length 1.
        weights: name of a loss -> (B,), the shares of the query's push, or (2, B, B) as
            `losses.negative_weights` gives them.
        query: the image that asks; its texts' shares are written beside them.

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
        shares = np.asarray(torch.as_tensor(weight).detach().double())
        shares = shares[0, query] if shares.ndim == 3 else shares
        _circle(axes, image, text, shares, query)
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
