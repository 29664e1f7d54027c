"""The commands that keep data ready: data prepares a data set, cache lists what is kept."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from mmret_lib.cli.flags import NOT_GIVEN, DataName, Reading, ReadingFlags
from mmret_lib.cli.opening import load, load_if_there, unreadable
from mmret_lib.files.errors import DataError, MissingFile

KARPATHY_SPLITS = ("train+restval", "val", "test")


def prepare(
    data: Positional[DataName],
    root: Path | None = None,
    parts: tuple[str, ...] = (),
    size: tuple[int, ...] = (64,),
    keep_archives: bool = False,
    reading: Reading = NOT_GIVEN,
) -> None:
    """Fetch a data set, check it, and pack its photos so that they load fast in training.

    Called again, the command continues where it stopped. Photos of Flickr30k have to be
    requested by hand; the command says where, and what to do with them. A data set that lies
    under root already is only checked and packed; of Flickr8k and Flickr30k, the files that
    divide it into splits are fetched where they are missing. `mmret data coco --images 20000`
    fetches so many photos of COCO one by one (3.3 GB), with all 5,000 of Karpathy's test split
    and 1,000 of val among them; a larger number fetches only the difference. At the end it
    counts the photos that are there twice, within a split or in two splits, even at another
    size or under another name.

    Args:
        data: the data set; scenes (drawn) and album (photographs) come with mmret and need no
            root, vsepp is features in VSE++'s layout, and folder is your own photos.
        root: the folder to save it in, or in which it lies already.
        parts: the parts to fetch, such as val2017 annotations2017; for coco by default karpathy
            and 2017.
        size: side of a packed photo in pixels: 64 for the mini backbone, 224 for the ResNets, 256
            for the pocket one; several sizes may be given, and 0 packs nothing.
        keep_archives: keep the downloaded archives after they are unpacked.
        reading: how the data set is read.
    """
    from mmret_lib.data import SPLITS, folder
    from mmret_lib.data.duplicates import duplicate_lines

    count, reading = _count_of(data, parts, reading)
    splits = [split for split in SPLITS[data] if split]
    options = reading.options(data, root)
    if data == "folder":
        splits = folder.splits_of(root, **options)
    elif root is None and data not in ("scenes", "album"):
        raise DataError(f"say where to keep {data}, or where it lies: --root FOLDER")
    if root is not None and data == "coco" and not parts:
        count = _fetch_photos(root, count, options)
    loaded = _loaded(data, root, splits, options)
    if root is not None and not count and _fetch(data, root, parts, keep_archives, loaded):
        loaded = _loaded(data, root, splits, options)
    stores = {}
    for split, pairs in loaded.items():
        if pairs is None:
            if data == "coco" and any(loaded.values()):
                continue
            pairs = load(data, root, split, **options)  # says what is missing
        print(f"{data} {pairs.split}: {len(pairs):,} images, {len(pairs.captions):,} captions")
        sides = size if pairs.features is None else ()  # features have no photos
        stores[split] = _pack(pairs, sides, unreadable({}, reading))
    for line in duplicate_lines({split: store for split, store in stores.items() if store}):
        print(line)


def _pack(pairs: Any, sizes: tuple[int, ...], max_unreadable: float) -> Any:
    """Pack pairs at each size; return the last store, or None."""
    from mmret_lib.data.store import pack

    store = None
    for side in filter(None, sizes):
        store = pack(pairs, side, max_unreadable=max_unreadable)
        print(f"  packed at {side} pixels: {store.folder}")
    return store


def _count_of(data: str, parts: tuple[str, ...], reading: ReadingFlags) -> tuple[int, ReadingFlags]:
    """How many photos `--images` asks for (0 where it names a folder), and the other flags."""
    if reading.images is None or not reading.images.isdecimal():
        return 0, reading
    if data != "coco" or parts:
        raise DataError(
            f"--images {reading.images} fetches photos of coco one by one, without --parts; to "
            f"name a folder of photos that is called so: --images ./{reading.images}"
        )
    return int(reading.images), replace(reading, images=None)


def _fetch_photos(root: Path, count: int, options: dict[str, Any]) -> int:
    """Fetch `count` photos of COCO, or those of an earlier call; return how many it were."""
    from mmret_lib.data.coco_sample import chosen_ids

    count = count or len(chosen_ids(root))
    if count:
        from mmret_lib.data.coco_photos import get_photos

        get_photos(root, count, max_missing=options.get("max_missing", 0.01))
        print(f"mmret data coco --root {root} --parts karpathy 2017 fetches all photos")
    return count


def _fetch(
    data: str,
    root: Path,
    parts: tuple[str, ...],
    keep_archives: bool,
    loaded: dict[str, Any],
) -> bool:
    """Fetch the parts of a data set, unless it lies there; return whether it was fetched."""
    from mmret_lib.data import sources
    from mmret_lib.data.seeded import SEEDED
    from mmret_lib.files.records import read_note

    if data not in sources.SETS:
        return False
    lists = sources.SETS[data].lists
    seeded = any(pairs and pairs.split.startswith(SEEDED) for pairs in loaded.values())
    if seeded and not parts:
        try:
            sources.get(data, root, lists, keep_archives=keep_archives)
        except MissingFile as error:
            print(f"the usual division of {data} was not fetched: {error}", file=sys.stderr)
        return True
    # By an earlier call, perhaps not finished.
    begun = {*read_note(root / sources.NOTE)} - {f"{data}/{part}" for part in lists}
    if not (parts or begun or not any(loaded.values())):
        return False
    sources.get(data, root, parts or None, keep_archives=keep_archives)
    return True


def _loaded(
    data: str, root: Path | None, splits: list[str], options: dict[str, Any]
) -> dict[str, Any]:
    """The pairs of each split, or None for one that is not there.

    COCO can be divided in two ways; packing it in both would take its space twice. So these are
    Karpathy's splits, on which published figures are measured, if any of them can be read.
    """
    if data == "coco":
        karpathy = {s: load_if_there(data, root, s, **options) for s in KARPATHY_SPLITS}
        if any(karpathy.values()):
            return karpathy
    return {split: load_if_there(data, root, split, **options) for split in splits}


def show_cache(clear: bool = False, older_than: str | None = None) -> None:
    """List what mmret keeps in its cache folder, or delete it; MMRET_CACHE moves the folder.

    Files that a running training or search uses are kept, and so are weights that you put there
    yourself. Everything else is made again when it is needed.

    Args:
        clear: delete it, and print how much space that has freed.
        older_than: only files that were not used for this long: hours, days or weeks, such as 12h,
            30d or 6w.
    """
    from mmret_lib.files import cache

    if clear:
        print(cache.summary_of(*cache.clear_cache(older_than)))
    else:
        print(cache.table_of(cache.list_cache(older_than)))
