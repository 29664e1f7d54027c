"""The result page: text that is only text, pictures inside, nothing fetched."""

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

from mmret_lib.data import load_pairs
from mmret_lib.data.images import read_pixels
from mmret_lib.encoders import DualEncoder
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.search import Hit, SearchIndex
from mmret_lib.show.html import SIDE, write_page


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


def test_a_text_that_asked_for_captions_is_shown_as_a_text(tmp_path, index):
    similar = index.similar_captions("two zebras", k=2)
    page = read(write_page(tmp_path / "page.html", "two zebras", similar, title="t"))
    assert page.texts == ["two zebras", *(hit.caption for hit in similar)]


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


def test_pictures_whose_licence_asks_for_it_are_credited(tmp_path, licensed):
    found = licensed.by_text("zebra", k=30)
    page = read(write_page(tmp_path / "page.html", "zebra", found))
    assert page.source.count("photo: CC BY-SA 2.0") == 29
    links = [attrs["href"] for tag, attrs in page.elements if tag == "a"]
    assert links == ["https://flic.kr/p/eVvoV3"] * 29
    described = licensed.by_image(licensed.pairs.images[3], k=2)
    page = read(write_page(tmp_path / "image.html", described[0].image, described))
    assert page.source.count("photo: CC BY-SA 2.0") == sum(h.image_index != 0 for h in described)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_credit_is_only_ever_text(tmp_path, hits, text):
    for credit in (text, f"photo: {text}, javascript:alert(1)", f"photo: CC0, {text}"):
        found = [replace(hit, credit=credit) for hit in hits[0]]
        page = read(write_page(tmp_path / "page.html", "zebra", found))
        assert not [attrs for tag, attrs in page.elements if tag in ("a", "script")]
        assert page.source.count('class="credit"') == len(found)


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
    with pytest.raises(DataError, match=r"file: .* while writing the page.*choose another"):
        write_page(tmp_path / "file" / "page.html", "zebra", hits[0])
    with pytest.raises(DataError, match="while writing"):
        write_page(tmp_path / ("x" * 300), "zebra", hits[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.html"]


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
