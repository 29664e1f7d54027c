"""Figures of a search: the pictures found for a text, the captions found for a picture.

`similarity_grid` shows the scores behind them, for a batch small enough to check by hand.
"""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mmret_lib.data.album import credit_of
from mmret_lib.data.images import read_pixels
from mmret_lib.search.hits import Hit
from mmret_lib.search.index import SearchIndex
from mmret_lib.show import sheet
from mmret_lib.show.sheet import INK, QUIET, CourseFigure, styled

CREDIT = 0.24  # height in inches of the two lines below a picture that name licence and address


@styled
def text_to_image(
    index: SearchIndex,
    queries: Sequence[tuple[str, set[int] | None]],
    k: int = 5,
    title: str | None = None,
) -> Figure:
    """Draw one row for each text query: the k best pictures, marked right or wrong.

    Args:
        queries: each a text and the indices of the images that are right answers; None instead of
            indices where the right answers are unknown: then nothing is marked.
        k: pictures per row.
        title: replaces the one that names the size of the collection.

    Raises:
        ValueError: no query.
        DataError: as `by_text`.
    """
    sheet.check_not_empty(queries, "queries")
    rows = [(text, right, index.by_text(text, k)) for text, right in queries]
    columns, side, gap, margin = len(rows[0][2]), 1.5, 0.16, 0.25
    width = max(6.0, 2 * margin + columns * (side + gap) - gap)
    credited = any(hit.credit for _, _, hits in rows for hit in hits)
    head, height = 0.95, side + 0.85 + CREDIT * credited
    figure = CourseFigure(figsize=(width, head + height * len(rows)))
    title = title or f"Text → image: the best {columns} of {len(index):,} pictures"
    marked = any(right is not None for _, right in queries)
    _heading(figure, title, "✓ right  ·  ✗ wrong  ·  " if marked else "", margin)
    for line, (text, right_images, hits) in enumerate(rows):
        top = head + line * height
        sheet.write(figure, margin, top + 0.16, f"“{text}”", width - 2 * margin, 11, weight="bold")
        for hit in hits:
            right = None if right_images is None else hit.image_index in right_images
            left = margin + (hit.rank - 1) * (side + gap)
            sheet.add_picture(figure, left, top + 0.34, side, read_pixels(hit.image, 256), right)
            _credit(figure, left, top + 0.34 + side, side, hit.credit)
            _score(figure, left, top + 0.34 + side + 0.16 + CREDIT * credited, hit, right)
    return figure


@styled
def image_to_text(index: SearchIndex, image_indices: Sequence[int], k: int = 5) -> Figure:
    """Draw one row for each picture: the k best captions, marked right or wrong, and its own.

    Args:
        image_indices: which of its images are the queries; an image's own captions are right.
        k: captions per row.

    Raises:
        ValueError: no image.
        IndexError: no such image.
        DataError: as `by_image`.
    """
    sheet.check_not_empty(image_indices, "image_indices")
    margin, side, found_width, own_width = 0.25, 1.6, 4.2, 3.7
    found_left = margin + side + 1.05  # with room for the mark and the score
    own_left = found_left + found_width + 0.35
    width, head = own_left + own_width + margin, 1.3
    pairs, rows = index.pairs, []
    for image_index in image_indices:
        own = pairs.captions_of(image_index)
        hits = index.by_image(pairs.images[image_index], k)
        found_heights = [
            _height(hit.caption or "", found_width, hit.image_index == image_index) for hit in hits
        ]
        own_heights = [_height(caption, own_width) for caption in own]
        credit = credit_of(pairs.image_info[image_index]) if pairs.image_info else ""
        tall_picture = side + CREDIT * bool(credit)
        height = max(tall_picture, sum(found_heights), sum(own_heights)) + 0.35
        rows.append((image_index, credit, hits, found_heights, own, own_heights, height))
    figure = CourseFigure(figsize=(width, head + sum(row[-1] for row in rows)))
    title = f"Image → text: the best {len(rows[0][2])} of {len(pairs.captions):,} captions"
    key = "✓ of this very picture  ·  ✗ of another one, though it may fit  ·  "
    _heading(figure, title, key, margin)
    left = found_left - 0.75
    sheet.write(figure, left, head - 0.25, "The captions it finds", found_width, 10, weight="bold")
    sheet.write(figure, own_left, head - 0.25, "Its own captions", own_width, 10, weight="bold")
    top = head
    for image_index, credit, hits, found_heights, own, own_heights, height in rows:
        sheet.add_rule(figure, margin, width - margin, top - 0.08)
        pixels = read_pixels(pairs.images[image_index], 256)
        sheet.add_picture(figure, margin, top + 0.1, side, pixels)
        _credit(figure, margin, top + 0.1 + side, side, credit)
        y = top + 0.08
        for hit, tall in zip(hits, found_heights, strict=True):
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
        for caption, tall in zip(own, own_heights, strict=True):
            sheet.write(figure, own_left, y + tall / 2, caption, own_width, 10, lines=2)
            y += tall
        top += height
    return figure


def _height(caption: str, width: float, bold: bool = False) -> float:
    """Inches that a caption takes on its one or two lines."""
    lines = sheet.fit_text(caption, width, 10, 2, "bold" if bold else "normal").count("\n") + 1
    return 0.12 + 0.165 * lines


def _heading(figure: Figure, title: str, key: str, margin: float) -> None:
    width = figure.get_size_inches()[0] - 2 * margin
    sheet.write(figure, margin, 0.32, title, width, 14, weight="bold")
    sheet.write(figure, margin, 0.64, f"{key}number: cosine similarity", width, 9, color=QUIET)


def _credit(figure: Figure, left: float, top: float, side: float, credit: str) -> None:
    """Write a picture's licence and address below it, where these are known."""
    if credit:
        sheet.write(figure, left, top + 0.16, credit, side, 6.5, lines=2, color=QUIET)


def _score(figure: Figure, left: float, top: float, hit: Hit, right: bool | None) -> None:
    sign, colour, _, _ = sheet.MARKS[right]
    if sign:
        sheet.write(figure, left, top, sign, 0.2, 11, color=colour, weight="bold")
        left += 0.22
    weight = "bold" if right else "normal"
    sheet.write(figure, left, top, f"{hit.score:.2f}", 0.5, 9, color=colour, weight=weight)


@styled
def similarity_grid(
    values: Tensor | np.ndarray,
    images: Tensor | np.ndarray,
    captions: Sequence[str],
    title: str,
    *,
    subtitle: str = "number: cosine similarity; thick frame: the picture's own caption",
    owner: Sequence[int] | None = None,
    notes: Sequence[Sequence[str]] | None = None,
) -> Figure:
    """Draw a table of numbers, pictures by captions, each picture's own captions framed.

    Args:
        values: (N, M); darker is larger.
        images: uint8 (N, 3, S, S).
        captions: M texts; up to about six can be read.
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
    margin, head, side, wide, height = 0.25, 2.05, 0.86, 1.32, 0.94
    left = margin + side + 0.2
    width = left + wide * len(captions) + margin
    figure = CourseFigure(figsize=(width, head + height * len(images) + 0.15))
    sheet.write(figure, margin, 0.3, title, width - 2 * margin, 13, weight="bold")
    sheet.write(figure, margin, 0.6, subtitle, width - 2 * margin, 9, color=QUIET)
    for column, caption in enumerate(captions):
        at = left + column * wide + 0.06
        sheet.write(figure, at, 1.0, f"caption {column}", wide, 9, weight="bold")
        sheet.write(figure, at, 1.52, caption, wide - 0.12, 9, lines=4)
    for line, image in enumerate(images):
        sheet.add_picture(figure, margin, head + line * height, side, image)
    axes = sheet.add_axes(figure, left, head, wide * len(captions), height * len(images))
    shades = Normalize(table.min(), table.max() + 0.8 * (np.ptp(table) or 1))  # text stays readable
    axes.pcolormesh(table, cmap="Greys", norm=shades, edgecolors="white", linewidth=1)
    axes.set(xlim=(0, len(captions)), ylim=(len(images), 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for line, column in np.ndindex(*table.shape):
        own = owner[column] == line
        cell = [(0.36 if notes else 0.5, f"{table[line, column]:.2f}", 11.0)]
        if notes:
            cell.append((0.7, notes[line][column], 8.5))
        for down, text, size in cell:
            axes.text(
                column + 0.5,
                line + down,
                text,
                ha="center",
                va="center",
                fontsize=size,
                weight="bold" if own else "normal",
            )
        if own:
            corner = (column + 0.03, line + 0.04)
            frame = Rectangle(corner, 0.94, 0.92, fill=False, edgecolor=INK, linewidth=2)
            axes.add_patch(frame)
    return figure
