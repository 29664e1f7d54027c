"""Files with random damage: read as a plain reader would, or refused in words; never half-right.

A longer run: pytest tests/data/test_fuzz.py --hypothesis-profile=long
"""

import csv
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from random_damage import bites, bitten, fuzzed

from mmret_lib.data import load_pairs
from mmret_lib.data.images import read_pixels
from mmret_lib.files.errors import DataError

pytestmark = pytest.mark.slow  # nearly every test trains or writes much


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Four pictures, read as COCO and as Flickr8k."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "annotations").mkdir()
    (folder / "val2017").mkdir()
    (folder / "Images").mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        picture = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
        picture.save(folder / "val2017" / f"{index}.jpg")
        picture.save(folder / "Images" / f"{index}.jpg")
    return folder


CONTENT = {
    "images": [{"id": index, "file_name": f"{index}.jpg"} for index in range(4)],
    "annotations": [
        {"id": 2 * image + more, "image_id": image, "caption": f"Picture {image}, told {more}."}
        for image in range(4)
        for more in range(2)
    ],
}


def plainly(content: dict) -> set[tuple[str, str]]:
    """(file name, caption), as a reader without any checks pairs them; no text, no caption."""
    names = {image["id"]: image.get("file_name") for image in content["images"]}
    captions = [a for a in content["annotations"] if isinstance(a.get("caption"), str)]
    return {(names[a["image_id"]], a["caption"].strip()) for a in captions}


def read_or_refused(name: str, home: Path, split: str, plain) -> None:
    """`plain` gives the (file name, caption) pairs that may be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            pairs = load_pairs(name, root=home, split=split, max_missing=1.0)
        except DataError as error:
            message, pairs = str(error), None
    if pairs is None:
        assert str(home) in message, "the message does not say which file"
        return
    read = {
        (pairs.images[owner].name, caption)
        for owner, caption in zip(pairs.owner, pairs.captions, strict=True)
    }
    assert read <= plain(), "it paired what does not belong together"


@fuzzed
@given(hits=bites)
def test_caption_json_with_bytes_bitten_out(home, hits):
    raw = bitten(json.dumps(CONTENT).encode(), hits)
    (home / "annotations" / "captions_val2017.json").write_bytes(raw)
    read_or_refused("coco", home, "val2017", lambda: plainly(json.loads(raw)))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "image_id", "caption", "file_name", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@fuzzed
@given(data=st.data(), value=anything)
def test_caption_json_with_any_value_anywhere(home, data, value):
    content = json.loads(json.dumps(CONTENT))
    place = content
    while True:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    (home / "annotations" / "captions_val2017.json").write_text(json.dumps(content))
    read_or_refused("coco", home, "val2017", lambda: plainly(content))


@fuzzed
@given(hits=bites)
def test_caption_table_with_bytes_bitten_out(home, hits):
    rows = [["image", "caption"]]
    rows += [[f"{image}.jpg", f'A "picture", number {image} .'] for image in range(4)] * 2
    table = io.StringIO(newline="")
    csv.writer(table).writerows(rows)
    raw = bitten(table.getvalue().encode(), hits)
    (home / "captions.txt").write_bytes(raw)

    def plain() -> set[tuple[str, str]]:
        lines = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
        return {(Path(line[0].strip()).name, line[-1].strip()) for line in lines if line}

    read_or_refused("flickr8k", home, "all", plain)


def encoded(kind: str) -> bytes:
    values = np.random.default_rng(1).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    image, file = Image.fromarray(values), io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(file, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@fuzzed
@given(hits=bites, cut=st.floats(0, 1) | st.just(1.0))
def test_pictures_with_bytes_bitten_out(home, kind, hits, cut):
    """Damage that a format has no checksum for may go unseen; then it is a picture all the same."""
    raw = bitten(encoded(kind), hits)
    path = home / "picture"
    path.write_bytes(raw[: int(cut * len(raw))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            pixels = read_pixels(path, 24)
        except DataError as error:
            message, pixels = str(error), None
    if pixels is None:
        assert str(path) in message
        return
    assert pixels.shape == (3, 24, 24) and pixels.dtype == np.uint8
