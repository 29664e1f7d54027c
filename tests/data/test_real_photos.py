"""The readers on real photos and captions, where the machine has them (see `real_data`)."""

import csv
import json
import warnings

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mmret_lib.data import load_pairs
from mmret_lib.data.images import read_image
from mmret_lib.data.store import pack


def thumbs(real_data):
    return load_pairs(
        "coco",
        root=real_data / "coco_thumbs",
        split="matched",
        annotations="captions_5_matched_cocoformat.json",
        images="images",
    )


def flickr_rows(real_data) -> list[dict[str, str]]:
    with open(real_data / "flickr8k" / "captions.txt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_coco_photos_and_captions_are_those_of_pycocotools(real_data, capsys):
    pairs = load_pairs("coco", root=real_data / "coco", split="train2017")
    assert (len(pairs), len(pairs.captions), pairs.skipped) == (130, 650, ())
    official = COCO(real_data / "coco" / "annotations" / "captions_train2017.json")
    for image, image_id in enumerate(pairs.image_ids):
        assert pairs.images[image].name == official.imgs[image_id]["file_name"]
        records = official.loadAnns(official.getAnnIds(imgIds=[image_id]))
        theirs = sorted(record["caption"].strip() for record in records)
        assert sorted(pairs.captions_of(image)) == theirs
    assert np.bincount(pairs.owner).tolist() == [5] * 130
    assert pairs.image_ids == sorted(pairs.image_ids)


def test_thumbnails_with_five_captions_or_more(real_data):
    pairs = thumbs(real_data)
    content = json.loads(
        (real_data / "coco_thumbs" / "captions_5_matched_cocoformat.json").read_text()
    )
    assert len(pairs) == len(content["images"]) == 419
    assert len(pairs.captions) == len(content["annotations"])
    assert np.bincount(pairs.owner).min() == 5


@pytest.mark.parametrize(
    ("split", "photos"),
    [("train", 885), ("dev", 120), ("test", 132), ("dev+test", 252), ("all", 1147)],
)
def test_flickr8k_by_its_official_lists(real_data, split, photos):
    pairs = load_pairs("flickr8k", root=real_data / "flickr8k", split=split)
    assert (len(pairs), len(pairs.captions)) == (photos, 5 * photos)
    # The lists name all 8,000; the copy is a part, and one line a list says so.
    assert len(pairs.skipped) == (0 if split == "all" else split.count("+") + 1)
    if split != "all":
        listed = set()
        for part in split.split("+"):
            path = real_data / "flickr8k" / f"Flickr_8k.{part}Images.txt"
            listed |= set(path.read_text().split())
        assert set(pairs.image_ids) <= listed


def test_flickr8k_captions_are_those_of_pythons_csv(real_data):
    rows = flickr_rows(real_data)
    pairs = load_pairs("flickr8k", root=real_data / "flickr8k", split="all")
    ours = {name: pairs.captions_of(image) for image, name in enumerate(pairs.image_ids)}
    theirs: dict[str, list[str]] = {}
    for row in rows:
        theirs.setdefault(row["image"], []).append(row["caption"].strip())
    assert ours == theirs
    # What makes the file worth reading by the rules of csv:
    assert any("," in caption for caption in pairs.captions)
    assert any('"' in caption for caption in pairs.captions)
    assert any(caption.endswith(" .") for caption in pairs.captions)


@pytest.mark.slow
def test_every_photo_decodes_without_a_word(real_data, capfd):
    for pairs in (
        load_pairs("coco", root=real_data / "coco", split="train2017"),
        thumbs(real_data),
        load_pairs("flickr8k", root=real_data / "flickr8k", split="all"),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            store = pack(pairs, 64, max_unreadable=0, progress=False)
        assert store.pairs is pairs
        pixels = store[:]
        assert pixels.shape == (len(pairs), 3, 64, 64)
        spread = pixels.reshape(len(pairs), -1).std(axis=1)
        assert spread.min() > 4, "a photo came out flat"
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_greyscale_photos_come_out_grey(real_data, tmp_path):
    # All are stored as three channels; a few of them hold the same picture three times.
    pairs = load_pairs("coco", root=real_data / "coco", split="train2017")
    pixels = pack(pairs, 64, progress=False)[:]  # (130, 3, 64, 64)
    grey = np.flatnonzero((pixels == pixels[:, :1]).all(axis=(1, 2, 3)))
    assert 1 <= len(grey) <= 5, "a few are greyscale"
    for index in grey:
        three = read_image(pairs.images[index])
        three.convert("L").save(tmp_path / "one.png")
        one = read_image(tmp_path / "one.png")
        np.testing.assert_array_equal(np.asarray(one), np.asarray(three))


def test_photos_keep_their_proportions_until_the_crop(real_data):
    pairs = load_pairs("coco", root=real_data / "coco", split="train2017")
    shapes = set()
    for path in pairs.images[:30]:
        with Image.open(path) as stored:
            assert read_image(path).size == stored.size
            shapes.add(stored.size)
    assert len(shapes) > 5, "they are of mixed size"


def test_real_photos_of_2017_in_karpathys_splits(real_data, tmp_path):
    """His file names real photos as the archives of 2014 do; the photos are those of 2017."""
    official = load_pairs("coco", root=real_data / "coco", split="train2017")
    records = [
        {
            "filepath": "val2014",
            "filename": f"COCO_val2014_{number:012d}.jpg",
            "cocoid": number,
            "split": "test" if place % 2 else "restval",
            "sentences": [{"raw": caption} for caption in official.captions_of(place)],
        }
        for place, number in enumerate(official.image_ids)
    ]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": records[::-1]}))
    (tmp_path / "train2017").symlink_to(real_data / "coco" / "train2017")
    pairs = load_pairs("coco", root=tmp_path, split="test")
    expected = official.subset(range(len(official) - 1, -1, -2))
    assert pairs.image_ids == expected.image_ids and pairs.captions == expected.captions
    assert [path.name for path in pairs.images] == [path.name for path in expected.images]
    assert pairs.notes == ("photos found by their cocoid: 65 in train2017",)
