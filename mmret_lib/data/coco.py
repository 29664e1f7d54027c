"""Read captions in the COCO format: the official folders, copies, and the built-in world.

    root/annotations/captions_val2017.json     root/val2017/000000000139.jpg
    root/dataset_coco.json                     root/val2014/COCO_val2014_000000391895.jpg

Every record is checked here before pycocotools, which checks nothing, indexes the file. Module
`karpathy` reads the second form.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

from pycocotools.coco import COCO

from mmret_lib.data.assembling import Photo, assemble
from mmret_lib.data.coco_sample import chosen_ids, chosen_part, hold_out
from mmret_lib.data.finding import find_file, find_images
from mmret_lib.data.karpathy import COCO_FILE, find_by_id, find_split_file, read_karpathy
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import (
    REPAIR,
    existing_folder,
    first_few,
    read_json,
    record_list,
    unique_ids,
)
from mmret_lib.files.errors import DataError, MissingFile, short
from mmret_lib.files.places import user_path

LAYOUT = "annotations/captions_<split>.json and the images in <split>/, as in the official archives"
HELD_OUT = re.compile(r"((?:train|val)20\d\d)-(train|val)")
OFFICIAL = re.compile(r"(?:train|val)(20\d\d)(?:-train|-val)?")
KARPATHY_SPLITS = {"train", "restval", "val", "test"}


def read_coco(
    root: str | Path,
    split: str = "val2017",
    *,
    annotations: str | Path | None = None,
    images: str | Path | None = None,
    karpathy: str | Path | None = None,
    name: str = "coco",
    max_missing: float = 0.01,
    keep_info: bool = False,
) -> Pairs:
    """Read one split of a COCO caption folder.

    Images come in the order of their ids, captions in the order of theirs. With `karpathy` the
    images keep the order of that file: the five folds of the "1K" protocol depend on it. Its photos
    are found in the folders of 2014 or of 2017, see `karpathy.find_by_id`; a line of `Pairs.notes`
    says in which.

    Args:
        root: the folder that holds `annotations/` and the image folders.
        split: "train2017", "val2017", "train2014", "val2014", … ; "train2017-val" for 1,000 photos
            of train2017 that are held out to validate on, "train2017-train" for the others; or, of
            Karpathy's split file, "train", "restval", "val", "test" or several joined by "+". Where
            both other paths are given it is only a label.
        annotations: the caption file, relative to root, if it is not the official one.
        images: the image folder, relative to root. Without it, the folder that holds the photos
            is looked for in root and below, and one that is not the official one is named in
            `Pairs.notes`.
        karpathy: Karpathy's split file, relative to root, if it is not a `dataset_coco.json` in
            root or near it, see `karpathy.find_split_file`.
        name: the name that the Pairs carry, for other data sets kept in this format.
        max_missing: share of images whose file may be missing, and of captions that may be empty,
            before that is an error.
        keep_info: keep the raw image and annotation records in the Pairs.

    Raises:
        MissingFile: if the folder, the json, or too many images are not there.
        DataError: if a record is wrong; the message names it.
    """
    root = existing_folder(root, LAYOUT)
    source = root / user_path(annotations or f"annotations/captions_{split}.json")
    listings: dict[str, set[str]] = {}
    notes: list[str] = []
    part = official = ""
    held_out = HELD_OUT.fullmatch(split)
    if held_out and annotations is None and karpathy is None and not source.is_file():
        official, part = held_out.groups()
        source = root / f"annotations/captions_{official}.json"
    if {*split.split("+")} <= KARPATHY_SPLITS and annotations is None and not source.is_file():
        karpathy = karpathy or find_split_file(root, COCO_FILE) or COCO_FILE
    if karpathy is not None:
        if annotations is not None:
            raise DataError("give either annotations or karpathy: both hold the captions")
        source = root / user_path(karpathy)
        photos = read_karpathy(source, split)
        folder = existing_folder(root / user_path(images or "."), LAYOUT)
        photos, listings, places = find_by_id(photos, folder)
        photos, notes = chosen_part(root, split, photos, listings, max_missing)
        notes += places
    else:
        if annotations is None:
            usual, source = source, find_file(root, source.name, source)
            notes += [f"the captions were found in {source}"] if source != usual else []
        if not source.is_file():
            present = sorted(path.name for path in (root / "annotations").glob("captions_*.json"))
            hint = f". There are {first_few(present, ', ')}" if present else ""
            raise MissingFile(f"{source} does not exist; expected {LAYOUT}{hint}")
        photos = list(read_captions(source))
        names = [photo.file_name for photo in photos if isinstance(photo.file_name, str)]
        folder, places = find_images(root, [official or split], names, source=source, images=images)
        photos = hold_out(photos, part) if part else photos
        notes += places
    try:
        return assemble(
            photos,
            folder,
            source,
            name=name,
            split=split,
            max_missing=max_missing,
            keep_info=keep_info,
            listings=listings,
            notes=notes,
        )
    except MissingFile as error:
        if karpathy is None:
            raise
        count = len(chosen_ids(root))
        command = f"mmret data coco --root {root}" + (f" --images {count}" if count else "")
        raise MissingFile(f"{error} {command} fetches what is missing.") from None


def usual_splits(root: str | Path) -> tuple[str, str, str]:
    """The splits of a COCO folder to train on, to validate on, and to report; none overlap.

    With `dataset_coco.json` in the folder or near it these are Karpathy's "train+restval", "val"
    and "test", on which published figures are measured; without it "train2017-train" and
    "train2017-val", which divide train2017, and "val2017" (or those of 2014, where only they are).

    Raises:
        MissingFile: if there is no such folder.
        DataError: if there are several `dataset_coco.json` that differ.
    """
    root = existing_folder(root, LAYOUT)
    if find_split_file(root, COCO_FILE):
        return "train+restval", "val", "test"
    there = {path.stem[-4:] for path in (root / "annotations").glob("captions_*20??.json")}
    year = "2014" if there == {"2014"} else "2017"
    return f"train{year}-train", f"train{year}-val", f"val{year}"


def test_split_after(trained: str) -> str | None:
    """The official split that holds none of the photos that a model was trained on.

    Most of Karpathy's test photos lie in train2017, so what was trained on that is not tested on
    them.

    Args:
        trained: the split that it was trained on.

    Returns:
        "val2017" for "train2017" and "train2017-train", likewise for 2014; else None.
    """
    year = OFFICIAL.fullmatch(trained)
    return f"val{year[1]}" if year and trained.startswith("train") else None


def read_captions(source: Path) -> Iterator[Photo]:
    """Read a caption file alone, in the order of the image ids; no image file is looked for.

    Raises:
        MissingFile: if there is no such file.
        DataError: if a record is wrong; the message names it.
    """
    content = read_json(source)
    records = {key: record_list(content, key, source) for key in ("images", "annotations")}
    ids: dict[str, set[int | str]] = {}
    for key, entries in records.items():
        named = ((f"{source}: {key}[{i}]", record.get("id")) for i, record in enumerate(entries))
        ids[key] = unique_ids(named, "id")
        if len({type(value) for value in ids[key]}) > 1:
            raise DataError(
                f"{source}: some ids of {key!r} are numbers and some are texts; use one kind"
            )
    for annotation in records["annotations"]:
        where = f"{source}: annotation id {annotation['id']!r}"
        image_id = annotation.get("image_id")
        if isinstance(image_id, bool | list | dict) or image_id not in ids["images"]:
            raise DataError(
                f"{where}: image_id {short(image_id)} is not the id of any image in the file; "
                f"{REPAIR}"
            )

    index = COCO()
    index.dataset = records  # without categories: those that have no id would stop pycocotools
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    for image_id in sorted(index.imgs):
        image = index.imgs[image_id]
        described = sorted(index.imgToAnns.get(image_id, []), key=lambda record: record["id"])
        yield Photo(
            record=f"image id {image_id!r}",
            image_id=image_id,
            file_name=image.get("file_name"),
            captions=[record.get("caption") for record in described],
            caption_records=[f"annotation id {record['id']!r}" for record in described],
            image_info=image,
            caption_info=described,
        )
