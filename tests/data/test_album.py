"""The album that travels: its photos, their licences, and that nothing to train on is of them."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT, script
from PIL import Image

from mmret_lib.data import load_pairs
from mmret_lib.data.album import credit_of
from mmret_lib.data.images import read_pixels
from mmret_lib.encoders import DualEncoder
from mmret_lib.encoders.features import keep_features
from mmret_lib.files.errors import DataError, MissingFile

FOLDER = ROOT / "data" / "album"
LICENSES = {
    "CC BY 2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC BY-SA 2.0": "https://creativecommons.org/licenses/by-sa/2.0/",
    "No known copyright restrictions": "https://www.flickr.com/commons/usage/",
}


@pytest.fixture(scope="module")
def make_album():
    return script("data/make_album.py")


@pytest.fixture(scope="module")
def test():
    return load_pairs("album")


@pytest.fixture(scope="module")
def kept():
    return {split: load_pairs("album", split=split) for split in ("train", "val")}


def copied(folder) -> dict:
    shutil.copytree(FOLDER, folder / "album")
    return json.loads((folder / "album" / "captions.json").read_text(encoding="utf-8"))


def test_the_album_needs_no_folder_and_has_five_captions_a_photo(test):
    assert (len(test), len(test.captions), test.skipped) == (156, 780, ())
    assert np.bincount(test.owner).tolist() == [5] * 156
    assert (test.name, test.split, test.features) == ("album", "test", None)
    splits = [info["split"] for info in test.image_info]
    assert (splits.count("val2017"), splits.count("train2017")) == (117, 39)


def test_photos_are_small_and_carry_no_metadata(test):
    for path in test.images:
        assert path.stat().st_size <= 25_000
        with Image.open(path) as image:
            assert max(image.size) <= 256
            assert not image.getexif() and not {"icc_profile", "comment"} & image.info.keys()


def test_every_photo_has_a_licence_that_allows_this_and_its_address(test):
    table = (FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    rows = {line.partition("]")[0][3:]: line for line in table.splitlines() if ".jpg](" in line}
    assert rows.keys() == {path.name for path in test.images}
    for path, info in zip(test.images, test.image_info, strict=True):
        name, address = info["license_name"], info["photo_url"]
        assert LICENSES[name] == info["license_url"]
        assert credit_of(info) == f"photo: {name}, {address.removeprefix('https://')}"
        assert (
            f"[{name}]({info['license_url']}) | <{address}> | <{info['flickr_url']}>"
            in (rows[path.name])
        )
    assert {path.name for path in (FOLDER / "photos").iterdir()} == rows.keys()


def test_a_photo_without_a_known_licence_has_no_credit():
    assert credit_of(None) == credit_of({}) == credit_of({"license": 4}) == ""
    assert credit_of({"license_name": "CC BY 2.0"}) == "photo: CC BY 2.0"


def test_the_address_is_flickrs_short_form(make_album):
    # the example of https://leancrew.com/all-this/2010/03/shortened-flickr-urls/
    url = "http://farm2.staticflickr.com/1/5169665786_abc_z.jpg"
    assert make_album.photo_address(url) == "https://flic.kr/p/8SPTwJ"


def test_further_photos_are_captions_and_features_only(kept):
    train, val = kept["train"], kept["val"]
    assert (len(train), len(val)) == (1883, 150)
    assert not set(train.image_ids) & set(val.image_ids)
    assert np.bincount(val.owner).min() >= 5
    assert not [path for pairs in kept.values() for path in pairs.images if path.exists()]
    both = load_pairs("album", split="train+val")
    assert len(both) == 2033 and set(both.image_ids) == {*train.image_ids, *val.image_ids}
    assert train.features == val.features == both.features == FOLDER / "train" / "features"


def test_no_photo_of_the_album_is_among_the_further_ones_by_id_or_caption(test, kept, make_album):
    known = [info["coco_id"] for p in kept.values() for info in p.image_info if "coco_id" in info]
    assert len(known) == len(set(known)) > 400
    assert not set(test.image_ids) & set(known)

    captions = {make_album.plain(caption) for caption in test.captions}
    for pairs in kept.values():
        assert not [text for text in pairs.captions if make_album.plain(text) in captions]


@pytest.mark.slow
def test_kept_features_are_those_of_the_pocket_backbone(kept, make_album, request):
    before = {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*")}
    model = DualEncoder.from_names("pocket", "pocket")
    features = {
        split: keep_features(model, pairs, sides=["image"]) for split, pairs in kept.items()
    }
    assert {split: data[:].shape for split, data in features.items()} == {
        "train": (1883, 1280),
        "val": (150, 1280),
    }
    assert {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*")} == before
    real_data = request.getfixturevalue("real_data")  # the rest needs the photos
    photos = {photo["id"]: photo["path"] for photo in make_album.further_photos(real_data)}
    for split, data in features.items():
        rows = [0, 77, 149]
        pixels = np.stack([read_pixels(photos[kept[split].image_ids[row]], 256) for row in rows])
        with torch.no_grad():
            computed = model.image.eval().extract_features(torch.from_numpy(pixels))
        assert np.allclose(data[rows], computed, rtol=2e-3, atol=2e-3)  # kept in half precision


@pytest.mark.slow
def test_no_photo_of_the_album_is_among_the_further_ones_by_pixels(
    test, kept, make_album, real_data
):
    photos = {photo["id"]: photo["path"] for photo in make_album.further_photos(real_data)}
    ids = [image_id for pairs in kept.values() for image_id in pairs.image_ids]
    prints = np.stack([make_album.fingerprint(photos[image_id]) for image_id in ids])
    of_album = np.stack([make_album.fingerprint(path) for path in test.images])
    assert make_album.correlations(prints, of_album).max() < make_album.COPY
    among_themselves = make_album.correlations(prints, prints)
    np.fill_diagonal(among_themselves, 0)
    assert among_themselves.max() < make_album.COPY


def test_the_comparison_finds_copies_of_another_size_quality_and_side(test, make_album, tmp_path):
    with Image.open(test.images[0]) as image:
        copy = image.convert("L").resize((90, 120))
    copy.save(tmp_path / "grey.jpg", quality=50)
    copy.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")
    paths = [tmp_path / "grey.jpg", tmp_path / "mirrored.png"]
    prints, album = (
        np.stack([make_album.fingerprint(path) for path in some]) for some in (paths, test.images)
    )
    found = make_album.correlations(prints, album) > make_album.COPY
    assert [np.flatnonzero(row).tolist() for row in found] == [[0], [0]]


def test_splits_that_do_not_go_together_are_refused():
    with pytest.raises(DataError, match=r"no split 'dev'; it has test, train, val"):
        load_pairs("album", split="dev")
    with pytest.raises(DataError, match="read 'test' by itself"):
        load_pairs("album", split="train+test")


def test_an_album_elsewhere_and_one_that_is_wrong(tmp_path):
    content = copied(tmp_path)
    assert len(load_pairs("album", root=tmp_path / "album")) == 156
    content["images"][0]["license"] = 3
    (tmp_path / "album" / "captions.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="image id 285: licence 3 is not one of the file's"):
        load_pairs("album", root=tmp_path / "album")
    (tmp_path / "album" / "train" / "captions.json").unlink()
    with pytest.raises(MissingFile, match=r"train/captions.json does not exist"):
        load_pairs("album", root=tmp_path / "album", split="train")
    with pytest.raises(MissingFile, match=r"expected captions.json, photos/ and train/"):
        load_pairs("album", root=tmp_path / "nowhere")
