"""Searching both ways, queries of every kind, and the result page under hostile text."""

import base64
import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import HOSTILE, Markup
from PIL import Image

from mmret_lib.data import Pairs, load_pairs
from mmret_lib.data.images import read_image, read_pixels
from mmret_lib.data.store import pack
from mmret_lib.encoders import DualEncoder
from mmret_lib.files.errors import DataError, MissingFile, visible
from mmret_lib.search import Hit, SearchIndex
from mmret_lib.show.html import SIDE, write_page


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Pairs:
    root = tmp_path_factory.mktemp("world")
    return load_pairs("scenes", root=root, split="test", size=40, progress=False)


@pytest.fixture(scope="module")
def model(pairs) -> DualEncoder:
    torch.manual_seed(0)
    return DualEncoder.from_names(
        image_weights=None, text_weights=None, captions=pairs.captions
    ).eval()


@pytest.fixture(scope="module")
def index(model, pairs) -> SearchIndex:
    return SearchIndex.build(model, pairs, progress=False)


def cosines(query_emb: torch.Tensor, collection_emb: torch.Tensor) -> np.ndarray:
    """The oracle: float64, one row at a time."""
    query = query_emb[0].double().numpy()
    rows = collection_emb.double().numpy()
    return np.array([row @ query / np.linalg.norm(row) / np.linalg.norm(query) for row in rows])


# ---------------------------------------------------------------- hits


def test_text_finds_pictures_best_first(index, model, pairs):
    query = "A zebra stands on the grass."
    pixels = np.stack([read_pixels(path, 64) for path in pairs.images])
    expected = cosines(model.encode_texts([query]), model.encode_images(pixels))
    hits = index.by_text(query, k=40)
    assert [hit.rank for hit in hits] == list(range(1, 41))
    assert sorted(hit.image_index for hit in hits) == list(range(40))
    scores = np.array([hit.score for hit in hits])
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(scores, expected[[hit.image_index for hit in hits]], atol=1e-5)
    for hit in hits:
        assert hit.image == pairs.images[hit.image_index]
        assert list(hit.captions) == pairs.captions_of(hit.image_index)
        assert hit.caption is None and hit.caption_index is None
    assert index.by_text(query, k=3) == hits[:3]


def test_a_picture_finds_captions_best_first(index, model, pairs):
    query = model.encode_images(read_pixels(pairs.images[7], 64)[None])
    expected = cosines(query, model.encode_texts(pairs.captions))
    hits = index.by_image(pairs.images[7], k=200)
    assert sorted(hit.caption_index for hit in hits) == list(range(200))
    scores = np.array([hit.score for hit in hits])
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(scores, expected[[hit.caption_index for hit in hits]], atol=1e-5)
    for hit in hits:
        assert hit.caption == pairs.captions[hit.caption_index]
        assert hit.image_index == pairs.owner[hit.caption_index]
        assert hit.image == pairs.images[hit.image_index]
        assert list(hit.captions) == pairs.captions_of(hit.image_index)


def test_packed_pairs_are_not_packed_again(index, model, pairs):
    again = SearchIndex.build(model, pack(pairs, 64, progress=False), progress=False)
    assert torch.equal(again.image_emb, index.image_emb)
    with pytest.raises(DataError, match="pack the pairs at that size"):
        SearchIndex.build(model, pack(pairs, 32, progress=False), progress=False)


def test_the_index_keeps_unit_vectors_and_says_what_it_is(index):
    assert index.image_emb.shape == (40, 128) and index.text_emb.shape == (200, 128)
    for emb in (index.image_emb, index.text_emb):
        assert emb.dtype == torch.float32
        torch.testing.assert_close(emb.norm(dim=1), torch.ones(len(emb)))
    assert len(index) == 40 and "40 images" in repr(index)


def test_k_is_at_least_one_and_no_more_than_there_is(index, pairs):
    assert len(index.by_text("zebra", k=1)) == 1
    assert len(index.by_text("zebra", k=10**9)) == 40
    assert len(index.by_image(pairs.images[0], k=10**9)) == 200
    for k in (0, -3):
        with pytest.raises(DataError, match="at least 1"):
            index.by_text("zebra", k=k)
        with pytest.raises(DataError, match="at least 1"):
            index.by_image(pairs.images[0], k=k)
    with pytest.raises(TypeError):
        index.by_text("zebra", k=2.5)


@pytest.mark.parametrize("query", ["", "   ", "\n\t", "\0", "\u200b\u200e", "\u3000"])
def test_an_empty_query_is_refused_with_an_example(index, query):
    with pytest.raises(DataError, match=r"empty; say what the picture shows"):
        index.by_text(query)


@pytest.mark.parametrize("query", [["zebra", 7], [["zebra"]], None, 7, b"zebra"])
def test_a_query_is_one_string(index, query):
    with pytest.raises(TypeError, match="one string"):
        index.by_text(query)


@pytest.mark.parametrize(
    "query", ["🐘", "فيل صغير", "<b>zebra</b>", "\ud83d zebra", "zebra " * 10_000, "zebra\0"]
)
def test_odd_queries_are_answered(index, query):
    hits = index.by_text(query)
    assert len(hits) == 5 and all(-1.001 <= hit.score <= 1.001 for hit in hits)


# ---------------------------------------------------------------- query pictures


def test_a_query_photo_is_treated_as_a_photo_of_the_collection(index, pairs):
    collection = pack(pairs, 64, progress=False)
    path = pairs.images[3]
    expected = index.by_image(path)
    with Image.open(path) as image:
        for same in (str(path), image, np.asarray(image), collection[3]):
            assert index.by_image(same) == expected
    # A collection of captions embedded as this picture ranks by the picture itself.
    owner = torch.tensor(pairs.owner.tolist())
    as_captions = SearchIndex(index.model, pairs, index.image_emb, index.image_emb[owner])
    best = as_captions.by_image(path, k=5)
    assert {hit.image_index for hit in best} == {3}
    assert all(hit.score == pytest.approx(1, abs=1e-5) for hit in best)


def test_pil_images_are_turned_upright_and_made_rgb(tmp_path, index, pairs):
    upright = Image.open(pairs.images[0]).convert("RGB").resize((96, 64))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me clockwise to see me"
    turned.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert np.array_equal(np.asarray(read_image(image)), np.asarray(upright))
    assert index.by_image(tmp_path / "turned.png") == index.by_image(upright)
    for mode in ("L", "LA", "RGBA", "CMYK", "P", "1", "I;16"):
        assert read_image(Image.new(mode, (5, 4))).mode == "RGB"
    see_through = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert read_image(see_through).getpixel((0, 0)) == (255, 255, 255)


def test_grey_arrays_and_arrays_with_transparency_are_pictures():
    grey = np.full((6, 8), 7, np.uint8)
    assert read_image(grey).size == (8, 6)
    assert read_image(np.zeros((6, 8, 4), np.uint8)).getpixel((0, 0)) == (255, 255, 255)
    assert read_image(np.zeros((3, 8, 9), np.uint8)).size == (9, 8)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8, 3)),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros(8, np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((1, 3, 8, 8), np.uint8),
    ],
)
def test_other_arrays_are_refused(index, array):
    with pytest.raises(DataError, match="must be uint8"):
        index.by_image(array)


def test_a_query_photo_that_cannot_be_read_is_named(tmp_path, index):
    with pytest.raises(MissingFile, match=r"none\.jpg does not exist"):
        index.by_image(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("this is no picture")
    with pytest.raises(DataError, match=r"text\.jpg is not an image"):
        index.by_image(str(tmp_path / "text.jpg"))
    with pytest.raises(TypeError):
        index.by_image(None)


# ---------------------------------------------------------------- collections that are not right


def test_unreadable_images_are_left_out_and_the_rest_stays_aligned(tmp_path, model, pairs, index):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    spoilt = replace(pairs, images=[broken if i == 4 else p for i, p in enumerate(pairs.images)])
    with pytest.raises(DataError, match=r"broken\.png"):
        SearchIndex.build(model, spoilt, progress=False)
    with pytest.warns(UserWarning, match=r"broken\.png"):
        data = pack(spoilt, 64, max_unreadable=0.1, progress=False)
    left = SearchIndex.build(model, data, progress=False)
    assert len(left) == 39
    expected = [hit.image for hit in index.by_text("zebra", k=40) if hit.image_index != 4]
    assert [hit.image for hit in left.by_text("zebra", k=40)] == expected


def test_an_empty_collection_is_refused(model):
    with pytest.raises(DataError, match="collection is empty"):
        SearchIndex.build(model, Pairs([], [], np.zeros(0, np.int64), []), progress=False)


@pytest.mark.parametrize("branch", ["image", "text"])
def test_a_diverged_model_is_refused(pairs, branch):
    torch.manual_seed(0)
    model = DualEncoder.from_names(image_weights=None, text_weights=None, captions=pairs.captions)
    with torch.no_grad():
        getattr(model, branch).projection.bias[5] = float("nan")
    noun = {"image": "image", "text": "caption"}[branch]
    with pytest.raises(DataError, match=rf"embedding of {noun} 0 is not finite"):
        SearchIndex.build(model, pairs.subset(range(3)), progress=False)


def test_building_leaves_the_models_mode_alone_and_shows_progress(model, pairs, index, capsys):
    model.train()
    try:
        again = SearchIndex.build(model, pairs.subset(range(4)))
        assert model.training
        torch.testing.assert_close(again.image_emb, index.image_emb[:4])
    finally:
        model.eval()
    shown = capsys.readouterr().err
    assert "embedding images" in shown and "embedding captions" in shown


# ---------------------------------------------------------------- text for people's eyes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with ünïcode and 🐘", "plain, with ünïcode and 🐘"),
        ("two\tcolumns\nand lines", "two\tcolumns\nand lines"),
        ("windows\r\nline", "windows\nline"),
        ("\x1b[31mred\x07", "␛[31mred␇"),
        ("nul\0 and del\x7f", "nul␀ and del␡"),
        ("c1 \x9b31m", "c1 \ufffd31m"),
        ("half \ud83d of it", "half \ufffd of it"),
        ("gone\rback", "gone␍back"),
    ],
)
def test_control_characters_are_made_visible(text, shown):
    assert visible(text) == shown
    visible(text).encode()


# ---------------------------------------------------------------- the page


def read(path: Path) -> Markup:
    return Markup(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hits(index) -> tuple[list[Hit], list[Hit]]:
    return index.by_text("zebra", k=2), index.by_image(index.pairs.images[0], k=2)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, hits) -> list[list]:
    """The structure of both pages where every text is harmless."""
    folder = tmp_path_factory.mktemp("plain")
    found, described = (
        [replace(hit, captions=("harmless",), caption=hit.caption and "harmless") for hit in some]
        for some in hits
    )
    write_page(folder / "text.html", "harmless", found, title="harmless")
    write_page(folder / "image.html", described[0].image, described, title="harmless")
    return [read(folder / name).structure for name in ("text.html", "image.html")]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_text_is_only_ever_text_on_the_page(tmp_path, hits, plain, text):
    found = [replace(hit, captions=(text,)) for hit in hits[0]]
    page = read(write_page(tmp_path / "text.html", text, found, title=text))
    assert page.structure == plain[0]
    assert page.texts == [text, text, text]
    assert page.title == text
    assert [attrs["alt"] for tag, attrs in page.elements if tag == "img"] == [text, text]

    described = [replace(hit, captions=(text,), caption=text) for hit in hits[1]]
    page = read(write_page(tmp_path / "image.html", hits[1][0].image, described, title=text))
    assert page.structure == plain[1]
    assert page.texts == [text, text]


def test_text_stands_in_an_element_of_its_own_direction(tmp_path, hits):
    page = read(write_page(tmp_path / "page.html", "zebra", hits[0]))
    directions = [attrs for tag, attrs in page.elements if tag == "bdi"]
    assert len(directions) == 1 + sum(len(hit.captions) for hit in hits[0])
    assert all(attrs == {"dir": "auto"} for attrs in directions)


def test_control_characters_do_not_reach_the_page(tmp_path, hits):
    found = [replace(hits[0][0], captions=("nul\0 bell\x07 \x9bhalf \ud83d",))]
    page = read(write_page(tmp_path / "page.html", "escape\x1b[31m", found))
    assert page.texts == ["escape␛[31m", "nul␀ bell␇ \ufffdhalf \ufffd"]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", page.source)


def test_the_page_runs_nothing_and_fetches_nothing(tmp_path, hits):
    page = read(write_page(tmp_path / "page.html", "zebra", hits[0]))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "a", "svg", "base"}
    for _, attrs in page.elements:
        assert not any(name.startswith("on") or name in ("style", "href") for name in attrs)
        assert attrs.get("src", "data:image/").startswith("data:image/")
    assert not re.search(r"url\(|@import|https?:", page.source)
    policy = next(a["content"] for t, a in page.elements if "http-equiv" in a)
    style = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        f"style-src 'sha256-{style}'",
    ]
    # The policy governs only what comes after it.
    assert page.source.index("Content-Security-Policy") < page.source.index("<style>")
    assert "prefers-color-scheme: dark" in page.style
    assert any(a.get("name") == "viewport" for _, a in page.elements)


def embedded(page: Markup) -> list[Image.Image]:
    sources = [attrs["src"] for tag, attrs in page.elements if tag == "img"]
    return [Image.open(io.BytesIO(base64.b64decode(s.partition(",")[2]))) for s in sources]


def test_hits_are_shown_in_order_with_picture_score_and_captions(tmp_path, index):
    found = index.by_text("zebra", k=3)
    page = read(write_page(tmp_path / "page.html", "zebra", found))
    assert page.texts == ["zebra", *(caption for hit in found for caption in hit.captions)]
    for hit in found:
        assert f"<b>{hit.rank}</b> <span>{hit.score:.3f}</span>" in page.source
    for hit, picture in zip(found, embedded(page), strict=True):
        assert picture.format == "PNG"  # small drawings lose nothing
        assert np.array_equal(np.asarray(picture), np.asarray(Image.open(hit.image)))


@pytest.mark.parametrize("form", [Path, str, Image.open, lambda path: np.asarray(Image.open(path))])
def test_a_picture_that_asked_is_shown_in_whichever_form_it_is_given(tmp_path, index, form):
    path = index.pairs.images[5]
    found = index.by_image(path, k=3)
    page = read(write_page(tmp_path / "page.html", form(path), found))
    assert page.texts == [hit.caption for hit in found]
    pictures = embedded(page)
    assert len(pictures) == 4
    assert np.array_equal(np.asarray(pictures[0]), np.asarray(Image.open(path)))


def test_large_photos_are_embedded_small_and_without_their_remarks(tmp_path, hits):
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), np.uint8)
    exif = Image.Exif()
    exif[0x013B] = "a private name"
    photo = tmp_path / "photo.jpg"
    Image.fromarray(noise).save(photo, exif=exif, comment=b"a private remark")
    page = read(write_page(tmp_path / "page.html", "zebra", [replace(hits[0][0], image=photo)]))
    (picture,) = embedded(page)
    assert picture.format == "JPEG" and picture.size == (SIDE, SIDE * 3 // 4)
    assert not picture.getexif() and "comment" not in picture.info
    sizes = [a for tag, a in page.elements if tag == "img"]
    assert (sizes[0]["width"], sizes[0]["height"]) == ("360", "270")


def test_a_page_is_written_whole_or_not_at_all(tmp_path, hits):
    path = tmp_path / "deep" / "er" / "page.html"
    assert write_page(str(path), "first", hits[0]) == path
    write_page(path, "second", hits[0])
    assert "second" in path.read_text(encoding="utf-8")
    with pytest.raises(MissingFile, match=r"gone\.png"):
        write_page(path, "third", [replace(hits[0][0], image=tmp_path / "gone.png")])
    assert "second" in path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_a_page_that_cannot_be_written_is_named(tmp_path, hits):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(DataError, match=r"folder\.html is a folder; name a file"):
        write_page(tmp_path / "folder.html", "zebra", hits[0])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"page\.html cannot be written \(.*choose another"):
        write_page(tmp_path / "file" / "page.html", "zebra", hits[0])
    with pytest.raises(DataError, match="cannot be written"):
        write_page(tmp_path / ("x" * 300), "zebra", hits[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.html"]


# ---------------------------------------------------------------- real photos


def test_real_photos_are_searched_and_shown(tmp_path, real_data):
    pairs = load_pairs("coco", root=real_data / "coco", split="train2017").subset(range(12))
    torch.manual_seed(0)
    model = DualEncoder.from_names(image_weights=None, text_weights=None, captions=pairs.captions)
    index = SearchIndex.build(model, pairs, progress=False)
    again = model.encode_images(read_pixels(pairs.images[6], 64)[None])
    torch.testing.assert_close(
        index.image_emb[6:7], torch.nn.functional.normalize(again), atol=1e-4, rtol=0
    )
    page = read(write_page(tmp_path / "page.html", "a dog", index.by_text("a dog", k=4)))
    assert all(max(picture.size) == SIDE for picture in embedded(page))
    assert len(page.source) < 400_000
