"""The drawing style: text that fits its place, characters that a font has, looks of the losses."""

import io
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from mmret_lib.show.sheet import FONTS, CourseFigure, drawable, fit_text, look
from mmret_lib.show.tables import DISPLAY


def test_signs_that_no_font_has_become_boxes():
    assert drawable("✓ ✗ … → ≈ ▶ □ “é” Ω") == "✓ ✗ … → ≈ ▶ □ “é” Ω"
    missing = chr(0x10FFFD)  # for private use: no font has it
    assert drawable(f"a{missing}b\x1b\0c\ud83d") in ("a□b□□c\ufffd", "a□b␛␀c\ufffd")


@pytest.mark.parametrize("width", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("lines", [1, 2, 3])
def test_text_is_wrapped_between_words_and_never_too_wide(width, lines):
    given = "an elephant and a hippopotamus stand beside two red buses"
    words = given.split()
    got = fit_text(given, width, 9, lines, "normal").split("\n")
    assert len(got) <= lines
    canvas = Figure(dpi=100)
    FigureCanvasAgg(canvas)
    for line in got:
        text = canvas.text(0, 0, line, fontsize=9, fontfamily=FONTS)
        assert text.get_window_extent().width <= 100 * width + 1 or line == "…"
    if width == 4.0 or (width == 1.0 and lines == 3):
        assert all(word in words for line in got[:-1] for word in line.split())
    if width == 4.0:
        assert " ".join(got) == given


def test_a_figure_shows_itself_in_a_notebook():
    picture = Image.open(io.BytesIO(CourseFigure(figsize=(3, 2))._repr_png_()))
    assert picture.format == "PNG" and picture.size == (330, 220)


def test_a_loss_keeps_its_look_and_other_names_get_one_by_their_place():
    known = [look(name, 5) for name in DISPLAY]
    assert len(set(map(str, known))) == len(DISPLAY)
    lightness = sorted(lightness_of(colour) for colour, _, _ in known)
    assert min(b - a for a, b in pairwise(lightness)) > 2.5, "two are the same grey"
    assert lightness[-1] < 67, "too light upon white"
    others = [look(f"run {place}", place) for place in range(30)]
    assert str(others[0]) not in map(str, known) and str(others[0]) != str(others[1])


def lightness_of(colour: str) -> float:
    """L* of CIELAB, from 0 (black) to 100 (white)."""
    part = np.asarray(to_rgb(colour))
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16)
