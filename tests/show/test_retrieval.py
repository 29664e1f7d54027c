"""What a search found, as figures: each is drawn for good and read."""

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
import torch
from drawing import ODD_TEXTS, drawn, frame, said, signs, texts

from mmret_lib.data import Pairs
from mmret_lib.data.images import read_pixels
from mmret_lib.files.errors import DataError
from mmret_lib.search import SearchIndex
from mmret_lib.show.retrieval import image_to_text, similarity_grid, text_to_image
from mmret_lib.show.sheet import drawable

pytestmark = pytest.mark.usefixtures("nothing_global_changes")


def test_pictures_are_marked_right_and_wrong_without_colour(index):
    queries = [("A zebra on the grass.", {3, 5, 8}), ("A red bus.", set())]
    queries[0][1].add(index.by_text(queries[0][0])[2].image_index)
    figure = drawn(text_to_image(index, queries, k=5))
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
    figure = text_to_image(index, queries, k=4)
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
    figure = drawn(text_to_image(index, [("A red bus.", None)], k=3))
    assert signs(figure) == [] and {frame(axes) for axes in figure.axes} == {""}
    assert not any("✓" in text for text in texts(figure))


def test_pictures_whose_licence_asks_for_it_are_credited(licensed):
    figure = drawn(text_to_image(licensed, [("A zebra on the grass.", {3}), ("bus", None)], k=4))
    credits = [text for text in texts(figure) if text.startswith("photo:")]
    shown = [
        h.image_index for q in ("A zebra on the grass.", "bus") for h in licensed.by_text(q, 4)
    ]
    assert credits == ["photo: CC BY-SA 2.0, flic.kr/p/eVvoV3"] * sum(i != 0 for i in shown)
    figure = drawn(image_to_text(licensed, [0, 5, 6], k=2))
    assert [text for text in texts(figure) if text.startswith("photo:")] == credits[:2]


@pytest.mark.slow
def test_titles_can_be_given_and_k_may_exceed_the_collection(index):
    figure = text_to_image(index, [("zebra", {1})], k=1000, title="My own $title")
    assert len(figure.axes) == 30 and texts(figure)[0] == "My own $title"
    drawn(text_to_image(index, [("zebra", {1})], k=1))
    with pytest.raises(DataError, match="at least 1"):
        text_to_image(index, [("zebra", {1})], k=0)
    with pytest.raises(DataError, match="empty"):
        text_to_image(index, [(" ", {1})])
    with pytest.raises(ValueError, match="queries is empty"):
        text_to_image(index, [])


# ---------------------------------------------------------------- image to text


def test_captions_are_marked_and_the_own_ones_stand_beside_them(index):
    pairs = index.pairs
    # Captions embedded as their pictures: then the own ones come first, and some are right.
    sure = SearchIndex(
        index.model, pairs, index.image_emb, index.image_emb[torch.tensor(pairs.owner.tolist())]
    )
    asked = [2, 7]
    figure = drawn(image_to_text(sure, asked, k=7))
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
    figure = image_to_text(index, [4], k=5)
    hits = index.by_image(index.pairs.images[4], 5)
    column = min(t.get_position()[0] for t in figure.texts if said(t) == hits[0].caption)
    found = [t for t in figure.texts if t.get_position()[0] == column]
    assert [said(t) for t in found] == [hit.caption for hit in hits]
    heights = [t.get_position()[1] for t in found]
    assert heights == sorted(heights, reverse=True)


def test_an_image_that_is_not_there_is_refused(index):
    with pytest.raises(IndexError, match="image 30 of 30"):
        image_to_text(index, [30])
    with pytest.raises(ValueError, match="image_indices is empty"):
        image_to_text(index, [])


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


@pytest.mark.slow
@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_odd_queries_are_drawn_as_text(index, text):
    figure = drawn(text_to_image(index, [(text, {1})], k=4))
    query = next(t for t in figure.texts if t.get_text().startswith("“"))
    assert not query.get_parse_math() and not query.get_usetex()
    if len(text) < 60 and text.isascii() and text.isprintable():
        assert query.get_text() == f"“{text}”"
    if len(text) > 1000:
        assert query.get_text().endswith("…") and text.startswith(query.get_text()[1:-1])


@pytest.mark.slow
def test_odd_captions_are_drawn_and_cut_where_they_end(odd_index):
    figure = drawn(image_to_text(odd_index, [0, 1], k=len(ODD_TEXTS)))
    shown = texts(figure)
    assert shown.count(ODD_TEXTS[0]) == 3  # found by both pictures, and among the own of one
    assert shown.count(ODD_TEXTS[7]) == 3
    assert shown.count("two lines and a tab") == 3
    cut = [text for text in shown if text.startswith(("word word", "xxx"))]
    assert len(cut) == 6 and all(text.endswith("…") and len(text) < 150 for text in cut)
    assert shown.count(drawable(ODD_TEXTS[2])) == 3


def test_a_readers_own_style_neither_breaks_a_figure_nor_is_lost(index):
    own = {"text.usetex": True, "font.family": "serif", "font.size": 22, "text.parse_math": True}
    with mpl.rc_context(own):
        figure = text_to_image(index, [("costs $5 and $6", {1})], k=3)
        assert all(mpl.rcParams[name] in (value, [value]) for name, value in own.items())
    assert not any(text.get_usetex() for text in figure.texts)
    assert all(text.get_fontfamily()[0] == "DejaVu Sans" for text in figure.texts)
    drawn(figure)


# ---------------------------------------------------------------- a grid of similarities


def texts_of(figure) -> list[str]:
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return inside + [text.get_text() for text in figure.texts]


def pictures(count: int) -> torch.Tensor:
    return torch.arange(count * 3 * 8 * 8).remainder(251).to(torch.uint8).view(count, 3, 8, 8)


def test_grid_writes_each_number_note_and_caption() -> None:
    values = torch.tensor([[0.91, -0.2, 0.33], [0.15, 0.48, 0.77]], requires_grad=True)
    notes = [["rank 1", "rank 3", "rank 2"], ["rank 3", "rank 2", "rank 1"]]
    figure = similarity_grid(
        values,
        pictures(2),
        ["A cat.", "Two cows.", "A $5 note."],
        "Title",
        owner=[0, 1, 1],
        notes=notes,
    )
    shown = texts_of(figure)
    for wanted in ("0.91", "-0.20", "0.77", "rank 3", "A cat.", "A $5 note.", "Title"):
        assert wanted in shown
    bold = {t.get_text() for axes in figure.axes for t in axes.texts if t.get_weight() == "bold"}
    assert bold == {"0.91", "0.48", "0.77", "rank 1", "rank 2"}  # each picture's own captions
    figure.canvas.draw()


def test_grid_of_equal_numbers_can_be_drawn() -> None:
    similarity_grid(np.zeros((2, 2)), pictures(2), ["a", "b"], "all alike").canvas.draw()


def test_grid_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) for 2 images, 2 captions"):
        similarity_grid(np.zeros((2, 3)), pictures(2), ["a", "b"], "title")
