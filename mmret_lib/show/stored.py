"""What the widgets leave behind on a page without a kernel: a small picture of what they show."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mmret_lib.data.images import read_image
from mmret_lib.files.errors import DataError
from mmret_lib.search.hits import Hit
from mmret_lib.show import sheet
from mmret_lib.show.negatives import SHADE_MAP, SHADES, sharing
from mmret_lib.show.sheet import FAINT, INK, QUIET, CourseFigure, styled
from mmret_lib.show.tables import display_name
from mmret_lib.show.view import widget_view

SIDE, GAP, TOP = 1.35, 0.12, 0.55  # of a thumbnail, between two, above them: inches
ACROSS = 4  # maps in a row
COLOURS = 200  # of the stored picture: a palette is a third of the size


class Pictured(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """A box of widgets that gives a picture of itself beside its view."""

    # ipywidgets 7 would show itself through this method, which gives no picture.
    _ipython_display_ = None

    def stored_picture(self) -> Figure | None:
        """What to show where no kernel runs; None where there is nothing to show."""
        raise NotImplementedError("a subclass says what is seen of it without a kernel")

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        bundle = {"text/plain": repr(self), **widget_view(self)}
        if (figure := self.stored_picture()) is not None:
            bundle["image/png"] = base64.b64encode(small_png(figure)).decode()
        return bundle


def small_png(figure: Figure) -> bytes:
    """Draw a figure as a PNG with a palette."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=80)
    with Image.open(drawn) as picture:
        file = io.BytesIO()
        picture.convert("RGB").quantize(COLOURS).save(file, "png", optimize=True)
    return file.getvalue()


@styled
def answers_sheet(query: str, hits: Sequence[Hit], most: int = 5) -> Figure:
    """Draw the first answers of a search: places, cosines, thumbnails, captions and credits.

    Args:
        query: what was asked, in words.
        hits: the answers, the best first.
        most: how many of them to draw.
    """
    shown = hits[:most]
    width = GAP + max(len(shown), 3) * (SIDE + GAP)
    figure = CourseFigure(figsize=(width, TOP + SIDE + 1.1))
    sheet.write(figure, GAP, 0.18, query, width - 2 * GAP, 10, weight="bold")
    for place, hit in enumerate(shown):
        left = GAP + place * (SIDE + GAP)
        sheet.write(figure, left, 0.43, f"{hit.rank}   {hit.score:.3f}", SIDE, 8.5)
        axes = sheet.add_axes(figure, left, TOP, SIDE, SIDE)
        axes.axis("off")
        try:
            picture = read_image(hit.image)
        except DataError:  # one photo that has gone must not cost all answers
            sheet.write(figure, left, TOP + SIDE / 2, "cannot be read", SIDE, 8, color=QUIET)
        else:
            picture.thumbnail((220, 220))
            axes.imshow(np.asarray(picture), interpolation="antialiased")
            axes.set_anchor("N")
        said = hit.caption or (hit.captions[0] if hit.captions else hit.image.name)
        sheet.write(figure, left, TOP + SIDE + 0.38, said, SIDE, 7.5, 4)
        credit = hit.credit.removeprefix("photo: ")
        sheet.write(figure, left, TOP + SIDE + 0.9, credit, SIDE, 6, 2, color=QUIET)
    return figure


@styled
def weights_sheet(shares: Mapping[str, np.ndarray], query: int, asked: str) -> Figure:
    """Draw each loss's shares of the queries' pushes as a map.

    Args:
        shares: name of a loss -> (B, B), a row for each query.
        query: the row to mark.
        asked: what the title says of the query.
    """
    columns = max(min(len(shares), ACROSS), 2)
    width = GAP + columns * (SIDE + 2 * GAP)
    line = SIDE + 0.6  # from one row of maps to the next
    bottom = TOP + math.ceil(len(shares) / ACROSS) * line - 0.6
    figure = CourseFigure(figsize=(width, bottom + 0.75))
    sheet.write(figure, GAP, 0.14, asked, width - 2 * GAP, 8.5, weight="bold")
    for place, (name, share) in enumerate(shares.items()):
        left = GAP + place % ACROSS * (SIDE + 2 * GAP)
        top = TOP + place // ACROSS * line
        sheet.write(figure, left, top - TOP + 0.38, display_name(name), SIDE, 9.5, color=INK)
        axes = sheet.add_axes(figure, left, top, SIDE, SIDE)
        own = np.ma.masked_where(np.eye(len(share), dtype=bool), share)
        axes.set_facecolor(FAINT)
        axes.imshow(own, cmap=SHADE_MAP, norm=SHADES, interpolation="nearest")
        axes.set(xticks=[], yticks=[query], yticklabels=["▶"])
        axes.tick_params(length=0, pad=1)
        effective = sharing(share)
        shared = "none" if effective is None else f"≈ {effective:.1f}"
        said = f"{shared} of {len(share) - 1} share a push"
        sheet.write(figure, left, top + SIDE + 0.16, said, SIDE + GAP, 8)
    key = (
        "A row asks, a column is pushed. Darker: a larger share of the row's push. Grey: own pair."
    )
    sheet.write(figure, GAP, bottom + 0.5, key, width - 2 * GAP, 8, color=QUIET)
    return figure
