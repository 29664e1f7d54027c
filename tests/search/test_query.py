"""What a query on the command line is taken for: the file decides, not its ending."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.search.query import picture_or_text

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def picture(path: Path, kind: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(path, kind)
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("photo.tif", "TIFF"),
        ("photo.TIFF", "TIFF"),
        ("photo.ppm", "PPM"),
        ("photo.jfif", "JPEG"),
        ("photo", "PNG"),
        ("photo.txt", "WEBP"),
        ("two words", "JPEG"),
        ("folder/photo.bmp", "BMP"),
        ("folder/my photo", "GIF"),
    ],
)
def test_a_picture_file_is_a_picture_whatever_its_name(here, name, kind):
    path = picture(here / name, kind)
    assert picture_or_text(name) == Path(name)
    assert picture_or_text(f"./{name}") == Path(name)
    assert picture_or_text(f"~/{name}") == picture_or_text(str(path)) == path


@pytest.mark.parametrize(
    "query",
    [
        "missing.jpg",
        "missing.tif",
        "my holiday.JPEG",
        "photo.heic",
        "photo.jxl",
        "IMG_0001.CR2",
        "photos/zebra",
        "photos\\zebra",
        "man/woman",
        "/nowhere/a dog on grass",
        "./a dog",
        "~/a dog",
        "C:\\pictures\\a dog",
        "https://example.org/dog.png",
        " missing.png\n",
    ],
)
def test_what_looks_like_a_path_and_is_no_file_is_an_error(query):
    with pytest.raises(MissingFile, match=r"there is no file .*looks like the path") as caught:
        picture_or_text(query)
    assert query.strip() in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "a man/woman on a bike",
        "zebra",
        "A bus, 1/2 full. And a dog",
        "two dogs and/or a cat.",
        "photos",
        "black & white e.g. a zebra",
        "a\0b",
        "zebra " * 10_000,
        "x" * 10_000,
        "\ud83d zebra",
        "~nobody-of-that-name",
    ],
)
def test_a_sentence_is_a_text(here, query):
    (here / "photos").mkdir()
    assert picture_or_text(query) == query


@pytest.mark.parametrize("query", ["", "  ", "\n\t"])
def test_an_empty_query_is_refused_with_an_example(query):
    with pytest.raises(DataError, match=r'the query is empty; .*"a red bus"'):
        picture_or_text(query)


@pytest.mark.parametrize("name", ["notes.txt", "photo.jpg", "photo.tif", "notes", "folder/x"])
def test_a_file_that_is_no_readable_picture_is_named(here, name):
    (here / "folder").mkdir()
    (here / name).write_text("this is no picture")
    with pytest.raises(DataError, match=f"not a readable picture: .*{name} is not an image"):
        picture_or_text(name)


def test_a_cut_off_picture_a_folder_and_a_pipe_are_named(here):
    path = picture(here / "cut.png", "PNG")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"cut\.png cannot be decoded"):
        picture_or_text("cut.png")
    (here / "album.jpg").mkdir()
    for query in ("./", "album.jpg", str(here)):
        with pytest.raises(DataError, match="is a folder or a device"):
            picture_or_text(query)
    if hasattr(os, "mkfifo"):
        os.mkfifo(here / "pipe")
        with pytest.raises(DataError, match="is a folder or a device"):
            picture_or_text("pipe")


@pytest.mark.slow
def test_a_wrong_path_fails_before_torch_is_loaded(here):
    code = (
        "import sys\nfrom mmret_lib.cli import main\n"
        "try: main(['search', 'RUN', 'missing.tif'])\n"
        "except SystemExit as stop: print(stop.code, {'torch', 'pandas'} & {*sys.modules})"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    took = time.perf_counter() - began
    assert "there is no file missing.tif" in done.stderr
    assert done.stdout.strip() == "2 set()"
    assert took < 10, "under a second on a free machine; much less than importing torch on any"
