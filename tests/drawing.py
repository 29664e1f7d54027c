"""Figures drawn for good, and read as a person reads them; used by tests/show."""

import warnings
from itertools import combinations

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ODD_TEXTS = [
    r"$\frac{1}{$ costs $5 and $6",
    "a lone $ and 100 % _under_ ^hat^ \\alpha",
    "🐘🐘 baby elephants 👨‍👩‍👧",
    "大きな象が水の中で遊ぶ",
    "פיל תינוק משחק במים",
    "فيل صغير يلعب في الماء",
    "\u202eevil\u2066 never closed",
    "<script>alert(1)</script> &amp;",
    "nul\0 escape\x1b[31m bell\x07 half \ud83d",
    "two\nlines\tand a tab",
    "word " * 10_000,
    "x" * 5_000,
]


def drawn(figure: Figure) -> Figure:
    """Draw it for good: without a warning, no text cut off, no text upon another."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        texts = [t for t in figure.findobj(mpl.text.Text) if t.get_text() and t.get_visible()]
        # A label with no tick on the visible part of its axis is not drawn.
        boxes = {t: t.get_window_extent(renderer) for t in texts if not off_its_axis(t)}
    width, height = figure.bbox.size
    for text, box in boxes.items():
        inside = -1 <= box.x0 <= box.x1 <= width + 1 and -1 <= box.y0 <= box.y1 <= height + 1
        assert inside, f"{text.get_text()!r} is cut off"
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        overlap = across > 1 and down > 1
        assert not overlap, f"{one.get_text()!r} lies upon {other.get_text()!r}"
    return figure


def off_its_axis(text: mpl.text.Text) -> bool:
    for axes in text.figure.axes if text.figure else ():
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in axis.get_major_ticks():
                if text in (tick.label1, tick.label2):
                    return not min(limits) <= tick.get_loc() <= max(limits)
    return False


def texts(figure: Figure) -> list[str]:
    """What stands in the figure's own texts; where a line was broken stands a space."""
    return [said(text) for text in figure.texts]


def said(text: mpl.text.Text) -> str:
    return text.get_text().replace("\n", " ")


def signs(figure: Figure) -> list[str]:
    return [text for text in texts(figure) if text in ("✓", "✗")]


def frame(axes: Axes) -> str:
    """The sign that its frame stands for, judged without colour."""
    (style,) = {str(spine.get_linestyle()) for spine in axes.spines.values()}
    (width,) = {spine.get_linewidth() for spine in axes.spines.values()}
    if style not in ("-", "solid"):
        return "✗"
    return "✓" if width >= 3 else ""
