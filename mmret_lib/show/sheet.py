"""The drawing style of the course's figures: colours, looks, fonts, and text that fits its place.

Every figure function is decorated with `styled` and returns a `CourseFigure`: a matplotlib Figure
that leaves pyplot and the global style as they were. Colour never carries a meaning alone: losses
differ in marker and line too, right and wrong in sign and frame. Captions are other people's text:
never read as mathematics, and cut where they do not fit.
"""

import io
from bisect import bisect_right
from collections.abc import Sized
from functools import cache
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from torch import Tensor

from mmret_lib.files.errors import visible
from mmret_lib.show.tables import DISPLAY

INK, QUIET, FAINT = "#1b1f24", "#57606a", "#d8dcdf"

# Colour, marker, line: one look for each loss, in the order of DISPLAY, and two for other names.
# No two losses are equally light, so that their colours differ in grey as well.
LOOKS: list[tuple[str, str, Any]] = [
    ("#0072b2", "s", (0, (5, 1.5))),
    ("#d55e00", "^", (0, (1.5, 1))),
    ("#00a87a", "o", "solid"),
    ("#84358b", "D", (0, (6, 1.5, 1.5, 1.5))),
    ("#cd6a85", "<", (0, (4, 1, 1, 1, 1, 1))),
    ("#c59a1e", "v", (0, (9, 2))),
    ("#4f6a16", "P", (0, (3, 1, 1, 1, 1, 1))),
    ("#777777", "X", (0, (2, 2))),
    ("#6a2b10", "h", (0, (7, 1, 1, 1))),
    ("#8f1023", ">", (0, (3, 1))),
    ("#2a1f6f", "p", (0, (8, 1, 3, 1))),
    ("#1c1f24", "*", (0, (1, 1.5))),
    ("#555555", "d", (0, (10, 3))),
    ("#b08a00", "8", (0, (4, 2, 1, 2))),
]

# Sign, colour, line and width of the frame, by whether an answer is right (None: unknown).
MARKS: dict[bool | None, tuple[str, str, Any, float]] = {
    True: ("✓", "#00735c", "solid", 4.0),
    False: ("✗", "#a04a3c", (0, (4, 3)), 1.4),
    None: ("", QUIET, "solid", 0.8),
}

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
    """A figure that a notebook displays once, whether or not pyplot is in use there."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=110)
        return file.getvalue()


def look(name: str, place: int) -> tuple[str, str, Any]:
    """Colour, marker and line of a loss, the same in every figure; other names get one by place."""
    known = list(DISPLAY)
    return LOOKS[known.index(name) if name in DISPLAY else (place + len(known)) % len(LOOKS)]


def check_not_empty(values: Sized, name: str) -> None:
    """Raise ValueError where there is nothing to draw."""
    if not len(values):
        raise ValueError(f"{name} is empty: there is nothing to draw")


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    box = (left / across, 1 - (top + height) / down, width / across, height / down)
    return figure.add_axes(box)


def add_grid(axes: Axes, direction: Literal["both", "x"] = "both") -> None:
    """Draw faint grid lines behind the data, and leave out the frame's upper and right side."""
    axes.grid(True, axis=direction, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def add_picture(
    figure: Figure,
    left: float,
    top: float,
    side: float,
    pixels: Tensor | np.ndarray,
    right: bool | None = None,
) -> Axes:
    """Add a square picture from uint8 (3, S, S), its frame telling whether the answer is right."""
    axes = add_axes(figure, left, top, side, side)
    image = np.asarray(torch.as_tensor(pixels).cpu()).transpose(1, 2, 0)
    axes.imshow(image, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    _, colour, line, width = MARKS[right]
    axes.spines[:].set(color=colour, linestyle=line, linewidth=width)
    return axes


def add_rule(figure: Figure, left: float, right: float, top: float) -> None:
    """Draw a faint horizontal line from `left` to `right`, inches."""
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
    """Write text from `left`, its middle at `top`, inches; cut where it is wider than `width`."""
    across, down = figure.get_size_inches()
    shown = fit_text(text, width, size, lines, how.get("weight", "normal"))
    return figure.text(left / across, 1 - top / down, shown, fontsize=size, va="center", **how)


def fit_text(text: str, width: float, size: float, lines: int, weight: str) -> str:
    """Break text into at most `lines` lines of `width` inches; "…" where some is left out."""
    font = FontProperties(family=FONTS, size=size, weight=weight)

    def wide(part: str) -> float:
        points = text_to_path.get_text_width_height_descent(part, font, ismath=False)[0]
        return points / 72 * 1.02  # on a screen, letters snapped to pixels may run wider

    def fits(part: str, tail: str = "") -> int:  # how many characters of it, before the tail
        return bisect_right(range(1, len(part) + 1), width, key=lambda n: wide(part[:n] + tail))

    # No place holds so many characters, and measuring ten thousand words would take seconds.
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
    """Replace each character that no font has by "□": matplotlib would warn of it."""
    known = _characters()
    return "".join(s if ord(s) in known or s.isspace() else "□" for s in visible(text))


@cache
def _characters() -> frozenset[int]:
    faces = [get_font(findfont(FontProperties(family=[name]))) for name in FONTS]
    return frozenset(code for face in faces for code in face.get_charmap())
