"""What figures are drawn on: colours, fonts, things placed by the inch, text made to fit."""

import io
from bisect import bisect_right
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from mmret_lib.files.errors import visible

INK, QUIET, FAINT = "#1b1f24", "#57606a", "#d8dcdf"

# DejaVu Sans comes with matplotlib and has ✓ and ✗; what it lacks, the reader's own font may have.
FONTS = ["DejaVu Sans", "sans-serif"]
STYLE: dict[Any, Any] = {
    "font.family": FONTS,
    "font.size": 10,
    "text.parse_math": False,  # "$5 and $6" is a price, not a formula
    "text.usetex": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.titlesize": 11,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}
styled = mpl.rc_context(STYLE)


class CourseFigure(Figure):
    """A figure that shows itself in a notebook, once, whether or not pyplot is in use there."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=110)
        return file.getvalue()


def axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    box = (left / across, 1 - (top + height) / down, width / across, height / down)
    return figure.add_axes(box)


def picture(figure: Figure, left: float, top: float, side: float, pixels: np.ndarray) -> Axes:
    """A square picture from uint8 (3, S, S)."""
    shown = axes(figure, left, top, side, side)
    shown.imshow(pixels.transpose(1, 2, 0), interpolation="antialiased")
    shown.set(xticks=[], yticks=[])
    return shown


def rule(figure: Figure, left: float, right: float, top: float) -> None:
    across, down = figure.get_size_inches()
    ends = (left / across, right / across), (1 - top / down, 1 - top / down)
    figure.add_artist(Line2D(*ends, color=FAINT, linewidth=1))


def write(
    figure: Figure,
    left: float,
    top: float,
    text: str,
    width: float,
    size: float,
    lines: int = 1,
    **how: Any,
) -> Text:
    """Text from `left`, its middle at `top`, inches; cut where it would be wider than `width`."""
    across, down = figure.get_size_inches()
    shown = fitted(text, width, size, lines, how.get("weight", "normal"))
    return figure.text(left / across, 1 - top / down, shown, fontsize=size, va="center", **how)


def fitted(text: str, width: float, size: float, lines: int, weight: str) -> str:
    """The text on at most so many lines of so many inches, an ellipsis where some is left out."""
    font = FontProperties(family=FONTS, size=size, weight=weight)

    def wide(part: str) -> float:
        points = text_to_path.get_text_width_height_descent(part, font, ismath=False)[0]
        return points / 72 * 1.02  # on a screen, letters snapped to pixels may run wider

    def fits(part: str, tail: str = "") -> int:  # how many signs of it, before the tail
        return bisect_right(range(1, len(part) + 1), width, key=lambda n: wide(part[:n] + tail))

    # No place holds so many signs, and to measure ten thousand words would take seconds.
    rest = " ".join(drawable(text[:600]).split())
    whole: list[str] = []
    while len(whole) < lines - 1 and wide(rest) > width:
        end = fits(rest)
        space = rest.rfind(" ", 0, end + 1)
        end = space if space > 0 else max(1, end)
        whole.append(rest[:end])
        rest = rest[end:].lstrip()
    if wide(rest) > width:
        rest = rest[: fits(rest, "…")].rstrip() + "…"
    return "\n".join([*whole, rest])


def drawable(text: str) -> str:
    """The text with a box for each sign that no font at hand has; else every drawing would warn."""
    known = charmap()
    return "".join(s if ord(s) in known or s.isspace() else "□" for s in visible(text))


@cache
def charmap() -> frozenset[int]:
    faces = [get_font(findfont(FontProperties(family=[name]))) for name in FONTS]
    return frozenset(code for face in faces for code in face.get_charmap())
