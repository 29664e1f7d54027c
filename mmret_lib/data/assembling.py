"""Make `Pairs` of what a reader found: check the captions, and find the files of the photos.

A data set from elsewhere is rarely whole. Captions that are empty and photos that are missing are
left out, counted and named; too many of them are an error.
"""

import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import clean_caption, enough_of, first_few, safe_name
from mmret_lib.files.errors import DataError, MissingPhotos


@dataclass
class Photo:
    """One image as the data set lists it; its file may be missing, and captions may be empty.

    `record` names the entry in the file that was read, for messages ("image id 7", "line 12"), and
    `caption_records` that of each caption. `captions` are as they stand in the file.
    """

    record: str
    image_id: int | str
    file_name: Any
    captions: list[Any] = field(default_factory=list)
    caption_records: list[str] = field(default_factory=list)
    image_info: dict[str, Any] | None = None
    caption_info: list[dict[str, Any]] | None = None


def assemble(
    photos: Iterable[Photo],
    folder: Path,
    source: Path,
    *,
    name: str,
    split: str,
    max_missing: float = 0.01,
    skipped: Iterable[str] = (),
    keep_info: bool = False,
    listings: Mapping[str, set[str]] | None = None,
    notes: Iterable[str] = (),
) -> Pairs:
    """Find the files of `photos` under `folder` and make the Pairs.

    Captions without a text, photos without captions and photos whose file is missing are left out
    and named in `skipped`.

    Args:
        source: the file that the photos were read from, for messages.
        max_missing: share of photos whose file may be missing, and of captions that may be empty,
            before that is an error.
        listings: the names in folders of `folder` that were listed already.

    Raises:
        DataError: if a file name leads out of `folder`, too many files are missing or captions are
            empty, or nothing is left.
    """
    photos, empty = clean_captions(photos, source, max_missing)
    listed = dict(listings or {})  # one listing per folder: 118,000 stats take far longer
    alike: dict[str, dict[str, str]] = {}  # the same, by plain name; only where one is missing
    kept: list[Photo] = []
    files: list[Path] = []
    left_out = [*skipped, *empty]
    missing: list[str] = []
    captioned = 0
    for photo in photos:
        file_name = safe_name(photo.file_name, f"{source}: {photo.record}")
        if not photo.captions:
            left_out.append(f"{source}: {photo.record} ({file_name}) has no caption")
            continue
        captioned += 1
        parent, _, leaf = file_name.rpartition("/")
        if parent not in listed:
            listed[parent] = names_in(folder / parent)
        if leaf not in listed[parent]:
            if parent not in alike:
                alike[parent] = {_plain(name): name for name in listed[parent]}
            leaf = alike[parent].get(_plain(leaf), leaf)
            file_name = f"{parent}/{leaf}" if parent else leaf
        if leaf not in listed[parent]:
            missing.append(f"{source}: {photo.record}: {folder / file_name} is missing")
            continue
        kept.append(photo)
        files.append(folder / file_name)
    if len(missing) > max_missing * captioned:
        enough = enough_of(len(missing), captioned)
        raise MissingPhotos(
            f"{len(missing):,} of the {captioned:,} images that {source} lists are not in "
            f"{folder}, more than the {max_missing:.1%} that may be missing. The first: "
            f"{first_few(missing)}. Fetch or unpack the images again, or go on with those that are "
            f"there: --max-missing {enough} (in Python max_missing={enough})."
        )
    if not kept:
        raise DataError(
            f"{source}: no image with a caption is left (split {split!r}); check that this is the "
            f"right file for {folder}. {first_few(left_out + missing)}"
        )
    return Pairs(
        images=files,
        captions=[caption for photo in kept for caption in photo.captions],
        owner=np.repeat(np.arange(len(kept)), [len(photo.captions) for photo in kept]),
        image_ids=[photo.image_id for photo in kept],
        name=name,
        split=split,
        skipped=(*left_out, *missing),
        notes=tuple(notes),
        image_info=[photo.image_info or {} for photo in kept] if keep_info else None,
        caption_info=[info for photo in kept for info in photo.caption_info or []]
        if keep_info
        else None,
    )


def clean_captions(
    photos: Iterable[Photo], source: Path, max_missing: float
) -> tuple[list[Photo], list[str]]:
    """Leave out captions that are empty or no text.

    Returns:
        The photos, some perhaps without captions now, and a line for each caption that is left out.

    Raises:
        DataError: if their share is above `max_missing`.
    """
    if not 0 <= max_missing <= 1:
        raise DataError(f"max_missing is {max_missing}; it is a share, from 0 to 1")
    cleaned: list[Photo] = []
    faults: list[str] = []
    count = 0
    for photo in photos:
        kept = {}  # place -> caption
        for place, caption in enumerate(photo.captions):
            try:
                kept[place] = clean_caption(caption)
            except ValueError as fault:
                faults.append(f"{source}: {photo.caption_records[place]}: the caption {fault}")
        count += len(photo.captions)
        info = photo.caption_info
        photo = replace(
            photo,
            captions=list(kept.values()),
            caption_records=[photo.caption_records[place] for place in kept],
            caption_info=None if info is None else [info[place] for place in kept],
        )
        cleaned.append(photo)
    if len(faults) > max_missing * count:
        raise too_many_empty(faults, count, source, max_missing)
    return cleaned, faults


def too_many_empty(faults: list[str], count: int, source: Path, max_missing: float) -> DataError:
    """The error for a file in which too many of `count` captions are empty."""
    enough = enough_of(len(faults), count)
    return DataError(
        f"{len(faults):,} of the {count:,} captions in {source} are empty or no text, more than "
        f"the {max_missing:.1%} that may be. The first: {first_few(faults)}. Check that this "
        f"is the file and the column of the captions; write them, or go on without them: "
        f"--max-missing {enough} (in Python max_missing={enough})."
    )


def _plain(name: str) -> str:
    """A file name in one spelling: copies differ in A.JPG and a.jpg, and in how macOS writes é."""
    return unicodedata.normalize("NFC", name).casefold()


def names_in(folder: Path) -> set[str]:
    """The names in a folder; none where it is not there."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except (OSError, ValueError):  # not there, or half a surrogate pair in its name
        return set()
