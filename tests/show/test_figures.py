"""The figures: what they show and say. Each is drawn once; nothing global may change by it."""

import io
import warnings
from itertools import combinations, pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mmret_lib.data import Pairs, load_pairs
from mmret_lib.data.images import read_pixels
from mmret_lib.encoders import DualEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.losses import LOSSES
from mmret_lib.losses import negative_weights as weights_of
from mmret_lib.metrics import report_from_scores
from mmret_lib.search import SearchIndex
from mmret_lib.show import figures, sheet
from mmret_lib.training import History

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


@pytest.fixture(autouse=True)
def nothing_global_changes():
    before, open_before = dict(mpl.rcParams), plt.get_fignums()
    yield
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == open_before


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> SearchIndex:
    root = tmp_path_factory.mktemp("world")
    pairs = load_pairs("scenes", root=root, split="test", size=30, progress=False)
    torch.manual_seed(0)
    model = DualEncoder.from_names(image_weights=None, text_weights=None, captions=pairs.captions)
    return SearchIndex.build(model, pairs, progress=False)


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
    """What its frame says, judged without colour."""
    (style,) = {str(spine.get_linestyle()) for spine in axes.spines.values()}
    (width,) = {spine.get_linewidth() for spine in axes.spines.values()}
    if style not in ("-", "solid"):
        return "✗"
    return "✓" if width >= 3 else ""


# ---------------------------------------------------------------- training curves


def history(losses: list[float], recalls: list[float] | None = None) -> History:
    rows = [{"epoch": e, "loss": loss, "lr": 1e-3} for e, loss in enumerate(losses, 1)]
    for row, recall in zip(rows, recalls or [], strict=False):
        row |= {"i2t_r1": recall + 5, "t2i_r1": recall}
    return History(rows)


def test_the_live_curve_is_one_picture_that_is_drawn_anew():
    InteractiveShell.instance()  # what a notebook's kernel has
    curve, growing = figures.LiveCurve("simclr"), history([3.0])
    with capture_output() as captured:
        curve(growing)
        growing.rows.append(history([3.0, 2.0]).rows[1])
        curve(growing)
    first, second = captured.outputs
    assert first.data["image/png"] != second.data["image/png"]
    assert curve.shown is not None


def four_histories() -> dict[str, History]:
    falling = {"sum_triplet": 30.0, "max_triplet": 0.4, "simclr": -2.0, "barlow_twins": 60.0}
    return {
        name: history([scale * 0.9**e for e in range(6)], [8.0 * e + place for e in range(6)])
        for place, (name, scale) in enumerate(falling.items())
    }


@pytest.fixture(scope="module")
def ceiling():
    scores = np.diag([2.0, 2.0, 1.0, 1.0])
    scores[2, 0] = 3.0  # image 2 prefers caption 0, which prefers image 2
    scores[3, 0] = 2.5  # so does image 3, but caption 0 does not prefer it
    return report_from_scores(scores, owner=np.arange(4))


def test_curves_show_recall_and_each_loss_on_its_own_scale(ceiling):
    histories = four_histories()
    figure = drawn(figures.training_curves(histories, ceiling))
    recalls, losses = figure.axes[:2], figure.axes[2:]
    assert len(losses) == 4
    for axes, column, title in zip(
        recalls, ("i2t_r1", "t2i_r1"), ("Image → text", "Text → image"), strict=True
    ):
        assert axes.get_title().startswith(title)
        assert axes.get_xlabel() == "epoch" and axes.get_ylim() == (0, 100)
        for line, kept in zip(axes.lines[:4], histories.values(), strict=True):
            assert list(line.get_ydata()) == kept.column(column)
            assert list(line.get_xdata()) == [1, 2, 3, 4, 5, 6]
    assert recalls[0].get_ylabel() == "validation R@1 (%)"
    for axes, (name, kept) in zip(losses, histories.items(), strict=True):
        assert figures.DISPLAY[name] in axes.get_title() and "loss" in axes.get_title()
        assert axes.get_xlabel() == "epoch"
        assert list(axes.lines[0].get_ydata()) == kept.column("loss")
    assert "loss" in losses[0].get_ylabel()


def test_the_ceiling_is_a_dashed_line_in_each_direction_of_its_own(ceiling):
    assert (ceiling.i2t.recall[1], ceiling.t2i.recall[1]) == (50, 75)
    figure = figures.training_curves(four_histories(), ceiling)
    for axes, best in zip(
        figure.axes[:2], (ceiling.i2t.recall[1], ceiling.t2i.recall[1]), strict=True
    ):
        line = axes.lines[4]
        assert set(line.get_ydata()) == {best} and line.get_linestyle() == "--"
        assert any(f"{best:.1f} %" in text.get_text() for text in axes.texts)
    without = figures.training_curves(four_histories())
    assert all(len(axes.lines) == 4 for axes in without.axes[:2])


def test_losses_differ_in_colour_marker_and_line_and_keep_them():
    axes = figures.training_curves(four_histories()).axes
    for look in ("get_color", "get_marker", "_dash_pattern"):
        values = [getattr(line, look) for line in axes[0].lines]
        values = [str(value() if callable(value) else value) for value in values]
        assert len(set(values)) == 4, look
    one = figures.training_curves({"simclr": four_histories()["simclr"]}).axes[0].lines[0]
    assert one.get_color() == axes[0].lines[2].get_color()
    assert one.get_marker() == axes[0].lines[2].get_marker()
    legend = axes[0].figure.legends[0]
    names = ["Sum Triplet", "Max Triplet", "SimCLR", "Barlow Twins"]
    assert [text.get_text() for text in legend.get_texts()] == names


def test_every_point_is_seen_whatever_was_measured():
    mixed = {
        "simclr": history([3.0], [2.0]),
        "a run of my own with $5": history([1.0] * 40),
        "another": history([5.0, 4.0, 3.0], [40.0, 50.0, 60.0]),
    }
    figure = drawn(figures.training_curves(mixed))
    assert len(figure.axes) == 2 + 3
    assert "a run of my own with $5" in figure.axes[3].get_title()
    for axes in figure.axes:
        low, high = axes.get_ylim()
        for line in axes.lines:
            assert all(low <= y <= high for y in line.get_ydata())
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_without_validation_only_the_losses_are_shown():
    figure = drawn(figures.training_curves({"simclr": history([2.0, 1.0])}))
    assert [axes.get_title() for axes in figure.axes] == ["SimCLR: training loss"]
    with pytest.raises(ValueError, match="histories is empty"):
        figures.training_curves({})


# ---------------------------------------------------------------- text to image


def test_pictures_are_marked_right_and_wrong_without_colour(index):
    queries = [("A zebra on the grass.", {3, 5, 8}), ("A red bus.", set())]
    queries[0][1].add(index.by_text(queries[0][0])[2].image_index)
    figure = drawn(figures.text_to_image(index, queries, k=5))
    assert len(figure.axes) == 10
    expected = [
        "✓" if hit.image_index in truth else "✗"
        for text, truth in queries
        for hit in index.by_text(text, 5)
    ]
    assert "✓" in expected
    assert signs(figure) == expected
    assert [frame(axes) for axes in figure.axes] == expected


def test_each_picture_stands_below_its_query_in_order_with_its_score(index):
    queries = [("A zebra on the grass.", {3}), ("A red bus.", {4})]
    figure = figures.text_to_image(index, queries, k=4)
    assert len(figure.axes) == 8
    for line, (text, _) in enumerate(queries):
        row = figure.axes[4 * line : 4 * line + 4]
        (query,) = [t for t in figure.texts if t.get_text() == f"“{text}”"]
        for hit, axes in zip(index.by_text(text, 4), row, strict=True):
            shown = axes.images[0].get_array()
            assert np.array_equal(shown, read_pixels(hit.image, 256).transpose(1, 2, 0))
            assert f"{hit.score:.2f}" in texts(figure)
            assert axes.get_position().y1 < query.get_position()[1]
        assert all(a.get_position().x1 < b.get_position().x0 for a, b in pairwise(row))
    assert "30 pictures" in texts(figure)[0]  # the pool: a hit means nothing without it


def test_nothing_is_marked_where_nobody_knows(index):
    figure = drawn(figures.text_to_image(index, [("A red bus.", None)], k=3))
    assert signs(figure) == [] and {frame(axes) for axes in figure.axes} == {""}
    assert not any("✓" in text for text in texts(figure))


def test_titles_can_be_given_and_k_may_exceed_the_collection(index):
    figure = figures.text_to_image(index, [("zebra", {1})], k=1000, title="My own $title")
    assert len(figure.axes) == 30 and texts(figure)[0] == "My own $title"
    drawn(figures.text_to_image(index, [("zebra", {1})], k=1))
    with pytest.raises(DataError, match="at least 1"):
        figures.text_to_image(index, [("zebra", {1})], k=0)
    with pytest.raises(DataError, match="empty"):
        figures.text_to_image(index, [(" ", {1})])
    with pytest.raises(ValueError, match="queries is empty"):
        figures.text_to_image(index, [])


# ---------------------------------------------------------------- image to text


def test_captions_are_marked_and_the_own_ones_stand_beside_them(index):
    pairs = index.pairs
    # Captions embedded as their pictures: then the own ones come first, and some are right.
    sure = SearchIndex(
        index.model, pairs, index.image_emb, index.image_emb[torch.tensor(pairs.owner.tolist())]
    )
    asked = [2, 7]
    figure = drawn(figures.image_to_text(sure, asked, k=7))
    hits = [hit for i in asked for hit in sure.by_image(pairs.images[i], 7)]
    expected = ["✓" if hit.image_index == asked[n // 7] else "✗" for n, hit in enumerate(hits)]
    assert expected.count("✓") == 10
    assert signs(figure) == expected
    shown = texts(figure)
    for hit in hits:
        assert hit.caption in shown and f"{hit.score:.2f}" in shown
    assert len(figure.axes) == 2
    for axes, i in zip(figure.axes, asked, strict=True):
        picture = axes.images[0].get_array()
        assert np.array_equal(picture, read_pixels(pairs.images[i], 256).transpose(1, 2, 0))
        for caption in pairs.captions_of(i):
            places = [t.get_position()[0] for t in figure.texts if said(t) == caption]
            assert len(set(places)) == 2, "once among those found, once among its own"
    assert "150 captions" in shown[0]


def test_captions_found_are_listed_from_the_best_down(index):
    figure = figures.image_to_text(index, [4], k=5)
    hits = index.by_image(index.pairs.images[4], 5)
    column = min(t.get_position()[0] for t in figure.texts if said(t) == hits[0].caption)
    found = [t for t in figure.texts if t.get_position()[0] == column]
    assert [said(t) for t in found] == [hit.caption for hit in hits]
    heights = [t.get_position()[1] for t in found]
    assert heights == sorted(heights, reverse=True)


def test_an_image_that_is_not_there_is_refused(index):
    with pytest.raises(IndexError, match="image 30 of 30"):
        figures.image_to_text(index, [30])
    with pytest.raises(ValueError, match="image_indices is empty"):
        figures.image_to_text(index, [])


# ---------------------------------------------------------------- odd texts


@pytest.fixture(scope="module")
def odd_index(index) -> SearchIndex:
    """The same pictures, each with odd captions."""
    count = len(ODD_TEXTS)
    # Readers refuse half a surrogate; a caption given by hand may still hold one.
    pairs = Pairs(index.pairs.images[:2], ODD_TEXTS, np.repeat([0, 1], [1, count - 1]), [0, 1])
    return SearchIndex(
        index.model, pairs, index.image_emb[:2], index.image_emb[[0] + [1] * (count - 1)]
    )


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_odd_queries_are_drawn_as_text(index, text):
    figure = drawn(figures.text_to_image(index, [(text, {1})], k=4))
    query = next(t for t in figure.texts if t.get_text().startswith("“"))
    assert not query.get_parse_math() and not query.get_usetex()
    if len(text) < 60 and text.isascii() and text.isprintable():
        assert query.get_text() == f"“{text}”"
    if len(text) > 1000:
        assert query.get_text().endswith("…") and text.startswith(query.get_text()[1:-1])


def test_odd_captions_are_drawn_and_cut_where_they_end(odd_index):
    figure = drawn(figures.image_to_text(odd_index, [0, 1], k=len(ODD_TEXTS)))
    shown = texts(figure)
    assert shown.count(ODD_TEXTS[0]) == 3  # found by both pictures, and among the own of one
    assert shown.count(ODD_TEXTS[7]) == 3
    assert shown.count("two lines and a tab") == 3
    cut = [text for text in shown if text.startswith(("word word", "xxx"))]
    assert len(cut) == 6 and all(text.endswith("…") and len(text) < 150 for text in cut)
    assert shown.count(sheet.drawable(ODD_TEXTS[2])) == 3


def test_signs_that_no_font_has_become_boxes():
    assert sheet.drawable("✓ ✗ … → ≈ ▶ □ “é” Ω") == "✓ ✗ … → ≈ ▶ □ “é” Ω"
    missing = chr(0x10FFFD)  # for private use: no font has it
    assert sheet.drawable(f"a{missing}b\x1b\0c\ud83d") in ("a□b□□c\ufffd", "a□b␛␀c\ufffd")


@pytest.mark.parametrize("width", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("lines", [1, 2, 3])
def test_text_is_wrapped_between_words_and_never_too_wide(width, lines):
    given = "an elephant and a hippopotamus stand beside two red buses"
    words = given.split()
    got = sheet.fitted(given, width, 9, lines, "normal").split("\n")
    assert len(got) <= lines
    canvas = Figure(dpi=100)
    FigureCanvasAgg(canvas)
    for line in got:
        text = canvas.text(0, 0, line, fontsize=9, fontfamily=sheet.FONTS)
        assert text.get_window_extent().width <= 100 * width + 1 or line == "…"
    if width == 4.0 or (width == 1.0 and lines == 3):
        assert all(word in words for line in got[:-1] for word in line.split())
    if width == 4.0:
        assert " ".join(got) == given


# ---------------------------------------------------------------- the negatives' weights


@pytest.fixture(scope="module")
def batch(index):
    """24 pairs, one caption each, and the weights of the four losses on them."""
    captions = [index.pairs.captions[5 * i] for i in range(24)]
    images = torch.stack([torch.tensor(read_pixels(p, 64)) for p in index.pairs.images[:24]])
    torch.manual_seed(1)
    image_emb = torch.nn.functional.normalize(torch.randn(24, 6), dim=1)
    text_emb = image_emb + 0.2 * torch.randn(24, 6)
    weights = {
        name: weights_of(kind(), image_emb, text_emb, caption_ids=captions)
        for name, kind in LOSSES.items()
    }
    return weights, captions, images


def heat_maps(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_xlabel() == "negative"]


def bar_charts(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_xlabel() == "share of the push"]


@pytest.mark.parametrize(("query", "direction"), [(0, 0), (11, 1), (23, 0)])
def test_maps_hold_the_weights_and_bars_the_row_that_was_asked_for(batch, query, direction):
    weights, captions, images = batch
    figure = drawn(figures.negative_weights(weights, captions, images, query, direction))
    maps, bars = heat_maps(figure), bar_charts(figure)
    assert len(maps) == len(bars) == 4
    rows = [w[direction, query].double().numpy() for w in weights.values()]
    order = [k for k in np.argsort(-sum(rows), kind="stable") if k != query]
    norms = set()
    for axes, chart, weight, row in zip(maps, bars, weights.values(), rows, strict=True):
        mesh = axes.collections[0]
        shown = mesh.get_array().reshape(24, 24)
        off = ~np.eye(24, dtype=bool)
        np.testing.assert_allclose(shown[off], weight[direction].numpy()[off], atol=1e-7)
        assert np.ma.getmaskarray(shown)[~off].all(), "the own pair is not shown as a negative"
        norms.add((mesh.norm.vmin, mesh.norm.vmax, mesh.norm.gamma, mesh.get_cmap().name))
        widths = [bar.get_width() for bar in chart.patches]
        np.testing.assert_allclose(widths[:8], row[order[:8]], atol=1e-7)
        assert widths[8] == pytest.approx(row[order[8:]].sum())
        assert sum(widths) == pytest.approx(row.sum())
    assert len(norms) == 1, "one scale of colours for all"
    shown = texts(figure)
    assert f"“{captions[query]}”" in shown
    for k in order[:8]:
        assert captions[k] in shown
    assert "the other 15, together" in shown and "(24 pairs)" in shown[0]


def test_each_loss_says_how_many_share_its_push(batch):
    weights, captions, images = batch
    shown = texts(figures.negative_weights(weights, captions, images))
    numbers = {}
    for name, display in figures.DISPLAY.items():
        line = shown[shown.index(display) + 1]
        squares = weights[name][0].double().square().sum(1)
        expected = float((1 / squares[squares > 0]).mean())
        assert line == f"≈ {expected:.1f} of 23 share a push"
        numbers[name] = expected
    assert numbers["max_triplet"] == 1
    assert numbers["sum_triplet"] > 1 and numbers["simclr"] > 1


def test_how_many_share_a_push_on_weights_that_are_known():
    even = np.full((6, 6), 0.2) * ~np.eye(6, dtype=bool)
    assert figures.sharing(even) == pytest.approx(5)
    one = np.roll(np.eye(6), 1, axis=1)
    assert figures.sharing(one) == 1
    one[0] = 0  # a query that pushes none is not counted
    assert figures.sharing(one) == 1
    assert figures.sharing(np.zeros((6, 6))) is None


def test_the_direction_says_who_asks_and_whom_barlow_twins_pushes(batch):
    weights, captions, images = batch
    shown = " ".join(texts(figures.negative_weights(weights, captions, images, direction=0)))
    assert "Each image pushes away the captions" in shown
    assert "Barlow Twins: their images" in shown and "The captions it pushes" in shown
    shown = " ".join(texts(figures.negative_weights(weights, captions, images, direction=1)))
    assert "Each caption pushes away the images" in shown
    assert "Barlow Twins: their captions" in shown and "The images it pushes" in shown
    only = {"simclr": weights["simclr"]}
    shown = " ".join(texts(figures.negative_weights(only, captions, images)))
    assert "Barlow" not in shown


def test_the_thumbnails_are_the_querys_and_the_listed_negatives(batch):
    weights, captions, images = batch
    figure = figures.negative_weights(weights, captions, images.numpy(), query=5)
    total = sum(w[0, 5].double().numpy() for w in weights.values())
    order = [k for k in np.argsort(-total, kind="stable") if k != 5][:8]
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(shown) == 9
    for picture, k in zip(shown, [5, *order], strict=True):
        assert np.array_equal(picture, images[k].permute(1, 2, 0).numpy())


def test_nothing_pushed_reads_as_nothing_and_hardly_anything_does_not(batch):
    _, captions, images = batch
    nothing, hardly = torch.zeros(2, 24, 24), torch.zeros(2, 24, 24)
    hardly[:, 0, 1], hardly[:, 0, 2] = 0.9999, 0.0001
    weights = {"max_triplet": nothing, "simclr": hardly}
    figure = drawn(figures.negative_weights(weights, captions, images))
    assert "no of 23 share a push" in texts(figure)
    first, second = bar_charts(figure)
    assert {text.get_text() for text in first.texts} == {"0"}
    assert [text.get_text() for text in second.texts][:3] == ["100%", "<1%", "0"]


def test_small_batches_and_odd_captions_are_drawn(batch):
    _, _, images = batch
    for size in (2, 5, 9):
        share = (1 - torch.eye(size)).repeat(2, 1, 1) / (size - 1)
        figure = drawn(
            figures.negative_weights({"mine": share}, ODD_TEXTS[:size], images[:size], size - 1)
        )
        assert len(bar_charts(figure)[0].patches) == size - 1
        assert not any("together" in text for text in texts(figure))


def test_what_does_not_fit_together_is_refused(batch):
    weights, captions, images = batch
    for bad in (
        (weights, captions[:-1], images),
        (weights, captions, images[:-1]),
        ({"simclr": weights["simclr"][0]}, captions, images),
    ):
        with pytest.raises(ValueError, match=r"\(2, B, B\) is needed"):
            figures.negative_weights(*bad)
    for query, direction in ((24, 0), (-1, 0), (0, 2)):
        with pytest.raises(ValueError, match="they run from 0"):
            figures.negative_weights(weights, captions, images, query, direction)
    with pytest.raises(ValueError, match="weights is empty"):
        figures.negative_weights({}, captions, images)


# ---------------------------------------------------------------- in a notebook


def test_a_figure_shows_itself_in_a_notebook():
    figure = figures.training_curves({"simclr": history([2.0, 1.0])})
    picture = Image.open(io.BytesIO(figure._repr_png_()))
    assert picture.format == "PNG" and picture.width == 11 * 110


def test_a_readers_own_style_neither_breaks_a_figure_nor_is_lost(index):
    own = {"text.usetex": True, "font.family": "serif", "font.size": 22, "text.parse_math": True}
    with mpl.rc_context(own):
        figure = figures.text_to_image(index, [("costs $5 and $6", {1})], k=3)
        assert all(mpl.rcParams[name] in (value, [value]) for name, value in own.items())
    assert not any(text.get_usetex() for text in figure.texts)
    assert all(text.get_fontfamily()[0] == "DejaVu Sans" for text in figure.texts)
    drawn(figure)
