"""Choose a part of COCO for an evening: the same photos ever after, divided for honest figures.

Of every 20 photos, 14 are of Karpathy's training splits (train and restval), 1 of val and 5 of
test. So 20,000 photos hold all 5,000 of test, on which published figures are measured, 1,000 of
val, and 14,000 to train on. A larger part holds every smaller one.

The choice is kept in the root as `.mmret-photos.json`: where the other photos are not there,
`load_pairs("coco", …)` reads the chosen ones of Karpathy's splits.

Without Karpathy's file, photos to validate on are held out of an official split, likewise.
"""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from mmret_lib.data.assembling import Photo
from mmret_lib.data.karpathy import read_karpathy
from mmret_lib.data.reading import REPAIR
from mmret_lib.files.errors import DataError, short
from mmret_lib.files.records import read_note, write_json

NOTE = ".mmret-photos.json"
# Which split each next photo is of: any beginning of the choice is divided in about this way.
PATTERN = ("train", "test", "train", "train") * 4 + ("train", "test", "val", "train")
ENOUGH_TO_VALIDATE = 1000  # photos; further places of val go to photos to train on


def choose(source: Path, count: int) -> list[Photo]:
    """Choose photos of Karpathy's `dataset_coco.json`.

    Args:
        source: the file.
        count: how many photos, of all splits together.

    Returns:
        The photos, so ordered that the choice of fewer photos is the beginning of this one. The
        entry "split" of a photo's `image_info` is Karpathy's split.

    Raises:
        MissingFile, DataError: as `read_karpathy`, or a count that is not positive.
    """
    if count < 1:
        raise DataError(f"{count} photos of COCO are asked for; ask for at least one")
    photos = sorted(read_karpathy(source, "all"), key=_chance)
    of: dict[str, list[Photo]] = {"train": [], "val": [], "test": []}
    for photo in photos:
        split = (photo.image_info or {})["split"]
        split = "train" if split == "restval" else split
        if split not in of:
            raise DataError(f"{source}: {photo.record} is of split {short(split)}; {REPAIR}")
        of[split].append(photo)
    val, later = of["val"][:ENOUGH_TO_VALIDATE], of["val"][ENOUGH_TO_VALIDATE:]
    waiting = {"train": iter(of["train"]), "val": iter(val), "test": iter(of["test"])}
    order = (_next(waiting, PATTERN[place % len(PATTERN)]) for place in range(len(photos)))
    return list(islice(chain((p for p in order if p is not None), later), count))


def _chance(photo: Photo) -> bytes:
    """A number that orders the photos by chance, and alike on every machine and in every year."""
    return hashlib.sha256(f"mmret coco {photo.image_id}".encode()).digest()


def _next(waiting: Mapping[str, Iterator[Photo]], split: str) -> Photo | None:
    """The next photo of a split; where it has run out, of another one."""
    return next((p for s in (split, *waiting) if (p := next(waiting[s], None)) is not None), None)


def hold_out(photos: list[Photo], part: str) -> list[Photo]:
    """Divide a split: 1,000 of its photos (a tenth of fewer than 10,000) are to validate on.

    Args:
        photos: of an official split, all of them.
        part: "val" for the photos that are held out, "train" for the others.

    Returns:
        The photos of that part, in their order.
    """
    count = min(ENOUGH_TO_VALIDATE, len(photos) // 10)
    held = {photo.image_id for photo in sorted(photos, key=_chance)[:count]}
    return [photo for photo in photos if (photo.image_id in held) == (part == "val")]


def chosen_ids(root: Path) -> set[int | str]:
    """The ids of the photos that were chosen for `root`; none if no choice was made."""
    ids = read_note(root / NOTE).get("ids")
    return set(ids) if isinstance(ids, list) else set()


def keep_choice(root: Path, chosen: list[Photo]) -> None:
    """Write which photos were chosen, for `chosen_part`."""
    ids = [photo.image_id for photo in chosen]
    write_json(root / NOTE, {"format": "mmret coco photos", "version": 1, "ids": ids})


def chosen_part(
    root: Path,
    split: str,
    photos: list[Photo],
    listings: Mapping[str, set[str]],
    max_missing: float,
) -> tuple[list[Photo], list[str]]:
    """Return the photos that were chosen, where a choice was made and the others are not there.

    Args:
        root: the folder of the data set, in which the choice is kept.
        split: what the photos are, for the note.
        photos: of one or several of Karpathy's splits, as `find_by_id` returns them.
        listings: as `find_by_id` returns them.
        max_missing: share of photos whose file may be missing: with more of them there, all are
            read.

    Returns:
        The photos, in the same order, and a line that says which part of the split they are, if
        they are only a part.
    """
    ids = chosen_ids(root)
    chosen = [photo for photo in photos if photo.image_id in ids]
    if not chosen or len(chosen) == len(photos):
        return photos, []
    missing = 0
    for photo in photos:
        folder, _, name = str(photo.file_name).rpartition("/")
        missing += name not in listings.get(folder, ())
    if missing <= max_missing * len(photos):
        return photos, []
    return chosen, [
        f"{len(chosen):,} of Karpathy's {len(photos):,} photos of {split}, the choice of "
        f"mmret data coco --images {len(ids)}"
    ]
