"""Karpathy's split files, which most papers use to divide COCO, Flickr8k and Flickr30k.

    dataset_coco.json   dataset_flickr8k.json   dataset_flickr30k.json

They hold splits and captions; the photos come from elsewhere. COCO's file names its photos as the
archives of 2014 do (`val2014/COCO_val2014_000000391895.jpg`). The archives of 2017 hold the same
photos divided in another way (`train2017/000000391895.jpg`), so photos are also found by their id.
"""

import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmret_lib.data.assembling import Photo, names_in
from mmret_lib.data.reading import (
    REPAIR,
    chosen_splits,
    first_few,
    read_json,
    record_list,
    unique_ids,
)
from mmret_lib.files.errors import DataError, short

COCO_FILE = "dataset_coco.json"
BESIDE = ("annotations", "karpathy", "caption_datasets")  # where people unpack these files
PHOTO_FOLDERS = ("train2014", "val2014", "train2017", "val2017")
COCO_NAME = re.compile(r"(?:COCO_(?:train|val)2014_)?(\d{12})\.jpg")


def find_split_file(root: Path, name: str) -> Path | None:
    """Find one of Karpathy's files in the folder of a data set, or near it.

    It may lie in `root`; else in a folder of `root`; else one folder up, or there in `annotations`,
    `karpathy` or `caption_datasets`. The nearest is taken.

    Args:
        root: the folder of the data set.
        name: such as "dataset_coco.json".

    Returns:
        Its path, or None where there is none.

    Raises:
        DataError: if several that differ lie equally near.
    """
    places = [
        [root],
        [root / inner for inner in _folders_in(root)],
        [root.parent, *(root.parent / inner for inner in BESIDE)],
    ]
    for folders in places:
        found = [path for folder in folders if (path := folder / name).is_file()]
        if len(found) > 1 and len({path.read_bytes() for path in found}) > 1:
            raise DataError(
                f"{first_few(map(str, found), ' and ')} differ; move the right one to {root}, or "
                "delete the others"
            )
        if found:
            return found[0]
    return None


def _folders_in(folder: Path) -> list[str]:
    """The folders in a folder, but for hidden ones: archives are unpacked in those."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError:
        return []


def read_karpathy(source: Path, split: str) -> list[Photo]:
    """Read one split of `dataset_coco.json`, `dataset_flickr8k.json` or `dataset_flickr30k.json`.

    Args:
        source: the file.
        split: a split of that file, or several joined by "+", or "all".

    Returns:
        The photos, in the order of the file.

    Raises:
        MissingFile: if there is no such file.
        DataError: if a record is wrong; the message names it.
    """
    records = record_list(read_json(source), "images", source)
    for place, record in enumerate(records):
        if not isinstance(record.get("split"), str):
            raise DataError(f"{source}: images[{place}] has no split; {REPAIR}")
    chosen = chosen_splits(split, sorted({record["split"] for record in records}), str(source))
    photos = [
        _photo(record, f"images[{place}]", source)
        for place, record in enumerate(records)
        if record["split"] in chosen
    ]
    unique_ids(((f"{source}: {p.record}", p.image_id) for p in photos), "cocoid or filename")
    return photos


def _photo(record: dict[str, Any], name: str, source: Path) -> Photo:
    sentences = record.get("sentences")
    if not isinstance(sentences, list) or not all(isinstance(s, dict) for s in sentences):
        raise DataError(
            f"{source}: {name}: sentences is {short(sentences)}, not a list of objects; {REPAIR}"
        )
    file_name = record.get("filename")
    image_id: Any = record.get("cocoid", file_name)
    if "filepath" in record and isinstance(file_name, str):
        file_name = f"{record['filepath']}/{file_name}"
    return Photo(
        record=name,
        image_id=image_id,
        file_name=file_name,
        captions=[sentence.get("raw") for sentence in sentences],
        caption_records=[f"{name}: sentences[{number}]" for number in range(len(sentences))],
        image_info=record,
        caption_info=sentences,
    )


def find_by_id(
    photos: list[Photo], folder: Path
) -> tuple[list[Photo], dict[str, set[str]], list[str]]:
    """Find photos of COCO by their number in whichever of the archives' folders are there.

    A photo that lies where Karpathy's file says stays there. Others are looked for as
    `000000391895.jpg` and as `COCO_val2014_000000391895.jpg` in train2014, val2014, train2017,
    val2017, in folders of these names one folder down, and in `folder` itself.

    Args:
        photos: as `read_karpathy` returns them.
        folder: where the folders of the photos are.

    Returns:
        The photos, with file names that begin from `folder`; the names in each of its folders that
        was listed, each once; and a line that says where the photos were found, if any were found
        elsewhere.
    """
    inner = ["", *(f"{name}/" for name in _folders_in(folder))]
    places = [f"{start}{name}" for start in inner for name in PHOTO_FOLDERS]
    places = [place for place in places if (folder / place).is_dir()] + [""]
    listings = {place: names_in(folder / place) for place in places}
    by_id: dict[int, str] = {}
    for place, names in listings.items():
        for name in names:
            if match := COCO_NAME.fullmatch(name):
                by_id.setdefault(int(match[1]), f"{place}/{name}" if place else name)
    found = []
    elsewhere: Counter[str] = Counter()
    for photo in photos:
        at, _, leaf = str(photo.file_name).rpartition("/")
        path = by_id.get(photo.image_id) if isinstance(photo.image_id, int) else None
        if leaf not in listings.get(at, ()) and path is not None:
            elsewhere[path.rpartition("/")[0] or str(folder)] += 1
            photo = replace(photo, file_name=path)
        found.append(photo)
    counts = ", ".join(f"{count:,} in {place}" for place, count in sorted(elsewhere.items()))
    return found, listings, [f"photos found by their cocoid: {counts}"] if elsewhere else []
