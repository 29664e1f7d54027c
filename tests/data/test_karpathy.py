"""Karpathy's split files: read, found where people put them, with the photos of 2014 or 2017."""

import json
import os
from pathlib import Path

import pytest
from photo_folders import put_photo

from mmret_lib.data import load_pairs
from mmret_lib.data.coco import read_coco
from mmret_lib.data.karpathy import find_split_file
from mmret_lib.files.errors import DataError, MissingFile


def karpathy_content() -> dict:
    def record(place: int, split: str, folder: str, captions: list[str]) -> dict:
        return {
            "imgid": place,
            "cocoid": 100 - place,  # so that the order of ids is not the order of the file
            "split": split,
            "filepath": folder,
            "filename": f"COCO_{folder}_{place}.jpg",
            "sentids": list(range(len(captions))),
            "sentences": [{"raw": c, "tokens": c.split(), "sentid": 0} for c in captions],
        }

    return {
        "dataset": "coco",
        "images": [
            record(0, "test", "val2014", ["One.", " Two. "]),
            record(1, "train", "train2014", ["Three."]),
            record(2, "restval", "val2014", ["Four."]),
            record(3, "test", "val2014", ["Five."]),
        ],
    }


def put_karpathy(root: Path, content) -> None:
    (root / "dataset_coco.json").write_text(json.dumps(content))
    for place, record in enumerate(karpathy_content()["images"]):
        put_photo(root / record["filepath"] / f"COCO_{record['filepath']}_{place}.jpg")


@pytest.mark.parametrize(
    ("split", "ids", "captions"),
    [
        ("test", [100, 97], ["One.", "Two.", "Five."]),
        ("train+restval", [99, 98], ["Three.", "Four."]),
        ("restval", [98], ["Four."]),
        ("all", [100, 99, 98, 97], ["One.", "Two.", "Three.", "Four.", "Five."]),
    ],
)
def test_karpathy_splits_keep_the_order_of_the_file(tmp_path, split, ids, captions):
    put_karpathy(tmp_path, karpathy_content())
    pairs = read_coco(tmp_path, split, karpathy="dataset_coco.json")
    assert (pairs.image_ids, pairs.captions) == (ids, captions)
    assert all(path.is_file() for path in pairs.images)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"split": None}, r"images\[3\] has no split"),
        ({"cocoid": None}, r"images\[3\]: cocoid or filename is None"),
        ({"cocoid": 100}, r"images\[3\]: cocoid or filename 100 stands twice"),
        ({"sentences": None}, r"images\[3\]: sentences is None"),
        ({"sentences": ["text"]}, r"images\[3\]: sentences is \['text'\]"),
        ({"sentences": [{"raw": ""}]}, r"images\[3\]: sentences\[0\]: the caption is empty"),
        ({"sentences": [{}]}, r"images\[3\]: sentences\[0\]: the caption is empty"),
        ({"filename": None}, r"images\[3\]: the file name is None"),
        ({"filename": "../../x.jpg"}, r"images\[3\]: the file name .* leads out"),
        ({"filepath": "/etc"}, r"images\[3\]: the file name .* leads out"),
        ({"filepath": ".."}, r"images\[3\]: the file name .* leads out"),
    ],
)
def test_bad_records_in_karpathys_file(tmp_path, change, fault):
    content = karpathy_content()
    content["images"][3].update(change)
    put_karpathy(tmp_path, content)
    with pytest.raises(DataError, match=f"dataset_coco.json: {fault}"):
        read_coco(tmp_path, "test", karpathy="dataset_coco.json")


def test_an_unknown_karpathy_split_lists_the_known(tmp_path):
    put_karpathy(tmp_path, karpathy_content())
    with pytest.raises(DataError, match=r"no split 'val2017'; it has restval, test, train"):
        read_coco(tmp_path, karpathy="dataset_coco.json")
    with pytest.raises(DataError, match="either annotations or karpathy"):
        read_coco(tmp_path, annotations="a.json", karpathy="dataset_coco.json")


# ---------------------------------------------------------------- the photos of 2017


def put_2017(root: Path, *, start: str = "") -> dict[int, str]:
    """Karpathy's file of the year 2014, and its photos as the archives of 2017 hold them."""
    content = karpathy_content()
    folders = {}
    for place, record in enumerate(content["images"]):
        year = record["filepath"]
        record["filename"] = f"COCO_{year}_{record['cocoid']:012d}.jpg"
        folders[record["cocoid"]] = "val2017" if place == 3 else "train2017"
    for number, folder in folders.items():
        put_photo(root / start / folder / f"{number:012d}.jpg")
    root.mkdir(exist_ok=True)
    (root / "dataset_coco.json").write_text(json.dumps(content))
    return folders


@pytest.mark.parametrize("start", ["", "images", "train2017"])
def test_the_photos_of_2017_are_found_by_their_id(tmp_path, start):
    folders = put_2017(tmp_path, start=start)
    pairs = load_pairs("coco", root=tmp_path, split="test")
    assert pairs.image_ids == [100, 97] and pairs.captions == ["One.", "Two.", "Five."]
    assert pairs.images == [tmp_path / start / folders[n] / f"{n:012d}.jpg" for n in (100, 97)]
    begin = f"{start}/" if start else ""
    assert pairs.notes == (
        f"photos found by their cocoid: 1 in {begin}train2017, 1 in {begin}val2017",
    )
    assert pairs.skipped == () and pairs.subset([0]).notes == pairs.notes


def test_a_photo_in_both_years_is_taken_once_from_where_the_file_says(tmp_path):
    put_2017(tmp_path)
    put_photo(tmp_path / "val2014" / f"COCO_val2014_{100:012d}.jpg")
    pairs = load_pairs("coco", root=tmp_path, split="test")
    assert [path.parent.name for path in pairs.images] == ["val2014", "val2017"]
    assert pairs.notes == ("photos found by their cocoid: 1 in val2017",)


def test_photos_in_one_flat_folder(tmp_path):
    put_2017(tmp_path)
    for path in tmp_path.glob("*2017/*.jpg"):
        (tmp_path / "flat").mkdir(exist_ok=True)
        path.rename(tmp_path / "flat" / path.name)
    pairs = read_coco(tmp_path, "test", images="flat")
    assert [path.parent.name for path in pairs.images] == ["flat", "flat"]


def test_a_photo_in_no_folder_is_missing_under_its_own_name(tmp_path):
    put_2017(tmp_path)
    (tmp_path / "val2017" / f"{97:012d}.jpg").unlink()
    with pytest.raises(
        MissingFile, match=r"1 of the 2 images .*COCO_val2014_000000000097\.jpg is m"
    ):
        load_pairs("coco", root=tmp_path, split="test")


def test_each_folder_is_listed_once(tmp_path, monkeypatch):
    """On a network disk a listing of 118,000 names takes a minute, and as many stats hours."""
    put_2017(tmp_path)
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path)) or scandir(path))
    load_pairs("coco", root=tmp_path, split="all", karpathy="dataset_coco.json")
    photos = [path for path in listed if path.name in ("train2017", "val2017")]
    assert sorted(photos) == [tmp_path / "train2017", tmp_path / "val2017"]


def test_notes_are_no_part_of_what_identifies_a_packed_store(tmp_path):
    put_2017(tmp_path)
    pairs = load_pairs("coco", root=tmp_path, split="test")
    assert "notes" not in json.loads(pairs.to_json())
    assert type(pairs).from_json(pairs.to_json()).images == pairs.images


# ---------------------------------------------------------------- where the file lies


@pytest.mark.parametrize(
    "place", [".", "annotations", "karpathy", "anything", "..", "../annotations", "../karpathy"]
)
def test_the_file_is_found_near_the_photos(tmp_path, place):
    root = tmp_path / "coco"
    put_2017(root)
    (root / place).mkdir(exist_ok=True)
    (root / "dataset_coco.json").rename(root / place / "dataset_coco.json")
    assert len(load_pairs("coco", root=root, split="test")) == 2


def test_the_nearest_file_is_taken_and_equal_ones_count_as_one(tmp_path):
    root = tmp_path / "coco"
    for place in ("", "annotations", "karpathy"):
        (root / place).mkdir(parents=True, exist_ok=True)
        (root / place / "dataset_coco.json").write_text("{}")
    assert find_split_file(root, "dataset_coco.json") == root / "dataset_coco.json"
    (root / "dataset_coco.json").unlink()
    assert find_split_file(root, "dataset_coco.json") == root / "annotations/dataset_coco.json"
    (root / "karpathy" / "dataset_coco.json").write_text("{ }")
    with pytest.raises(DataError, match=r"annotations.* and .*karpathy.* differ; move the right"):
        find_split_file(root, "dataset_coco.json")
    assert find_split_file(root, "dataset_flickr8k.json") is None


def test_a_file_that_is_being_unpacked_is_not_read(tmp_path):
    (tmp_path / ".unpack-caption_datasets.zip").mkdir()
    (tmp_path / ".unpack-caption_datasets.zip" / "dataset_coco.json").write_text("{")
    assert find_split_file(tmp_path, "dataset_coco.json") is None
