"""The album: photographs that come with the course, and pairs to train on that never saw them.

    album/captions.json        the split "test": 156 COCO photos that may be passed on, and their
    album/photos/*.jpg         780 captions
    album/ATTRIBUTION.md       licence and address of each photo, as a table
    album/train/captions.json  the splits "train" and "val": 2,033 further COCO photos, whose
    album/train/features/      pixels may not be passed on, with their captions and kept features

No photo of "test" is among the further ones: `data/make_album.py` compared ids and pixels. Each
photo's record in `Pairs.image_info` has its licence, and `credit_of` makes the line from it that
stands under the photo wherever it is drawn large.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmret_lib.data.assembling import clean_captions
from mmret_lib.data.coco import read_captions, read_coco
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import REPAIR, chosen_splits, existing_folder, read_json, record_list
from mmret_lib.files.errors import DataError, short
from mmret_lib.files.places import shipped

LAYOUT = "captions.json, photos/ and train/, as data/make_album.py writes them"
TEST, KEPT = "test", {"train", "val"}


def read_album(root: str | Path | None = None, split: str = TEST) -> Pairs:
    """Read one split of the album.

    Args:
        root: the folder of an album; by default the one that the course ships.
        split: "test": photos and captions. "train" and "val" (or "train+val"): captions, and the
            folder of kept features in the place of photos.

    Returns:
        The pairs. In "test" the records of `image_info` have `license_name`, `license_url` and
        `photo_url`.

    Raises:
        MissingFile: the folder or a file of it is not there.
        DataError: no such split, or a record that is wrong; the message names it.
    """
    folder = shipped("album") if root is None else existing_folder(root, LAYOUT)
    chosen = chosen_splits(split, sorted({TEST, *KEPT}), "the album")
    if chosen == {TEST}:
        return _read_photos(folder)
    if not chosen <= KEPT:
        raise DataError(
            f"the album's photos are in {TEST!r} alone, the other splits have features: "
            f"read {TEST!r} by itself"
        )
    source = folder / "train" / "captions.json"
    photos = [p for p in read_captions(source) if (p.image_info or {}).get("split") in chosen]
    photos, _ = clean_captions(photos, source, max_missing=0)
    counts = [len(photo.captions) for photo in photos]
    return Pairs(
        images=[source.parent / f"{photo.image_id}.jpg" for photo in photos],  # not there
        captions=[caption for photo in photos for caption in photo.captions],
        owner=np.repeat(np.arange(len(photos)), counts),
        image_ids=[photo.image_id for photo in photos],
        name="album",
        split=split,
        image_info=[photo.image_info or {} for photo in photos],
        features=source.parent / "features",
    )


def _read_photos(folder: Path) -> Pairs:
    source = folder / "captions.json"
    licenses = {
        record.get("id"): {
            "license_name": record.get("name"),
            "license_url": record.get("url"),
        }
        for record in record_list(read_json(source), "licenses", source)
    }
    pairs = read_coco(
        folder,
        TEST,
        annotations=source.name,
        images="photos",
        name="album",
        keep_info=True,
    )
    for record in pairs.image_info or []:
        if record.get("license") not in licenses:
            raise DataError(
                f"{source}: image id {record['id']!r}: licence {short(record.get('license'))} is "
                f"not one of the file's licences; {REPAIR}"
            )
        record.update(licenses[record["license"]])
    return pairs


def credit_of(image_info: Mapping[str, Any] | None) -> str:
    """Name the licence of a photo and its address: "photo: CC BY 2.0, flic.kr/p/eVvoV3".

    Args:
        image_info: the photo's record in `Pairs.image_info`.

    Returns:
        The line, or "" where the record names no licence.
    """
    info = image_info or {}
    if not info.get("license_name"):
        return ""
    parts = [str(info["license_name"])]
    if address := info.get("photo_url"):
        parts.append(str(address).removeprefix("https://"))
    return "photo: " + ", ".join(parts)
