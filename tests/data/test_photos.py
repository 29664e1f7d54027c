"""Listing a folder of photos: what is found, and that nothing is left out without being counted."""

import os
import sys

import pytest
from own_photos import HEIC, MP4, NO_UTF8, put, put_hostile, shut
from PIL import Image

from mmret_lib.data.decoding import decoded
from mmret_lib.data.images import read_image, read_pixels
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.photos import list_photos
from mmret_lib.files.errors import DataError, MissingFile


def test_all_photos_are_found_and_all_else_is_counted(tmp_path):
    good = put_hostile(tmp_path)
    found = list_photos(tmp_path)
    broken = {tmp_path / name for name in ("empty.jpg", "video.jpg", "huge.png", "cut.jpg")}
    assert set(found.photos) == {*good, *broken}
    assert list(found.photos) == sorted(found.photos, key=os.fsencode)
    assert found.left_out == {
        ".mov": 2,
        ".txt": 1,
        "files without an ending": 1,
        "hidden files and folders": 3,
        "links to what is listed already": 3,
        "links that lead nowhere (No such file or directory)": 1,
        "devices and pipes": 1,
    }
    assert "11 photos found; left out:" in found.summary() and "2 .mov" in found.summary()


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path):
    good = put_hostile(tmp_path)
    found = list_photos(tmp_path)
    (batch,) = decoded(list(found.photos), 16)
    names = list(found.photos)
    unreadable = {names[place].name: why for place, why in batch.unreadable.items()}
    assert set(unreadable) == {"empty.jpg", "video.jpg", "huge.png", "cut.jpg"}
    assert "is empty" in unreadable["empty.jpg"]
    assert "not an image" in unreadable["video.jpg"]
    assert "larger than the 100,000,000 pixels" in unreadable["huge.png"]
    assert "cannot be decoded" in unreadable["cut.jpg"]
    for path in good:
        assert (batch.pixels[names.index(path)] == read_pixels(path, 16)).all()


def test_photos_are_decoded_in_order_in_batches(tmp_path):
    paths = [put(tmp_path / f"{n}.png", (n, 0, 0)) for n in range(23)]
    batches = list(decoded(paths, 8, batch=5, workers=3))
    assert [batch.first for batch in batches] == [0, 5, 10, 15, 20]
    assert [int(photo[0, 0, 0]) for batch in batches for photo in batch.pixels] == list(range(23))
    stopped = decoded(paths, 8, batch=5)
    next(stopped)
    stopped.close()  # ends its threads


def test_pairs_of_photos_have_no_captions_and_survive_json(tmp_path):
    put_hostile(tmp_path)
    pairs = list_photos(tmp_path).pairs()
    again = Pairs.from_json(pairs.to_json())
    assert again.images == pairs.images and again.captions == []
    assert again.image_info == pairs.image_info
    assert f"odd/{NO_UTF8}" in again.image_ids
    assert pairs.image_info[0].keys() == {"bytes", "mtime_ns"}


def test_a_link_to_a_folder_elsewhere_is_followed_once(tmp_path):
    put(tmp_path / "disk" / "a.jpg")
    home = tmp_path / "home"
    put(home / "z" / "b.jpg")
    os.symlink(tmp_path / "disk", home / "one")
    os.symlink(tmp_path / "disk", home / "two")
    os.symlink(home / "z", home / "a link")  # listed under its own name, though links sort first
    found = list_photos(home)
    assert list(found.photos) == [home / "one" / "a.jpg", home / "z" / "b.jpg"]
    assert found.left_out == {"links to what is listed already": 2}


def test_the_folder_of_the_index_is_left_out(tmp_path):
    put(tmp_path / "a.jpg")
    put(tmp_path / "album.idx" / "b.jpg")
    assert list(list_photos(tmp_path, tmp_path / "album.idx").photos) == [tmp_path / "a.jpg"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    put(tmp_path / "a.jpg")
    put(tmp_path / "shut" / "b.jpg")
    shut(monkeypatch, tmp_path / "shut")
    found = list_photos(tmp_path)
    assert found.unlisted == {tmp_path / "shut": "Permission denied"}
    assert "shut (Permission denied)" in found.summary()
    shut(monkeypatch, tmp_path)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\); check the rights"):
        list_photos(tmp_path)


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(MissingFile, match="does not exist; expected a folder of photos"):
        list_photos(tmp_path / "none")
    with pytest.raises(DataError, match=r"0 photos found.*such as .jpg"):
        list_photos(tmp_path)
    (tmp_path / "a.mov").write_bytes(MP4)
    with pytest.raises(DataError, match=r"0 photos found; left out: 1 \.mov"):
        list_photos(tmp_path)
    with pytest.raises(MissingFile, match="is not a folder"):
        list_photos(tmp_path / "a.mov")


def test_heic_is_read_where_its_library_is_installed(tmp_path):
    library = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    library.register_heif_opener()
    path = tmp_path / "a.jpg"  # by the content, not by the name
    photo = Image.new("RGB", (64, 32), (200, 30, 30))
    photo.save(path, "HEIF", quality=95)
    image = read_image(path)
    assert image.size == (64, 32) and image.mode == "RGB"
    assert max(abs(a - b) for a, b in zip(image.getpixel((5, 5)), (200, 30, 30), strict=True)) < 9
    path.write_bytes(HEIC)
    with pytest.raises(DataError, match=r"a.jpg .*cannot be decoded|not an image"):
        read_image(path)


def test_without_the_library_heic_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(HEIC)
    with pytest.raises(DataError, match=r"a.heic is HEIC.*pip install pillow-heif"):
        read_image(tmp_path / "a.heic")
    (tmp_path / "film.jpg").write_bytes(MP4)
    with pytest.raises(DataError, match="not an image"):
        read_image(tmp_path / "film.jpg")
