"""The commands that keep data ready: data prepares a data set, cache lists what is kept."""

from pathlib import Path

from tyro.conf import Positional

from mmret_lib.cli.flags import NOT_GIVEN, DataName, Reading
from mmret_lib.cli.opening import load, load_if_there, unreadable
from mmret_lib.files.errors import DataError


def prepare(
    data: Positional[DataName],
    root: Path | None = None,
    parts: tuple[str, ...] = (),
    size: tuple[int, ...] = (64,),
    keep_archives: bool = False,
    reading: Reading = NOT_GIVEN,
) -> None:
    """Fetch a data set, check it, and pack its photos so that they load fast in training.

    Called again, the command continues where it stopped. Photos of Flickr30k have to be requested
    by hand; the command says where, and what to do with them. A data set that lies under root
    already is only checked and packed.

    Args:
        data: the data set; scenes (drawn) and album (photographs) come with mmret and need no
            root, vsepp is features in VSE++'s layout, and folder is your own photos.
        root: the folder to save it in, or in which it lies already.
        parts: the parts to fetch, such as val2017 annotations2017, or 2014 for Karpathy's split.
        size: side of a packed photo in pixels: 64 for the mini backbone, 224 for the ResNets, 256
            for the pocket one; several sizes may be given, and 0 packs nothing.
        keep_archives: keep the downloaded archives after they are unpacked.
        reading: how the data set is read.
    """
    from mmret_lib.data import SPLITS, folder, sources
    from mmret_lib.data.store import pack

    splits = [split for split in SPLITS[data] if split]
    if data == "coco":  # whichever parts are there; the last three are Karpathy's
        splits = ["train2017", "val2017", "train+restval", "val", "test"]
    options = reading.options(data, root)
    if data == "folder":
        splits = folder.splits_of(root, **options)
    elif root is None and data not in ("scenes", "album"):
        raise DataError(f"say where to keep {data}, or where it lies: --root FOLDER")
    loaded = {split: load_if_there(data, root, split, **options) for split in splits}
    if root is not None and data in sources.SETS:
        begun = (root / sources.NOTE).exists()  # by an earlier call, perhaps not finished
        if parts or begun or not any(loaded.values()):
            sources.get(data, root, parts or None, keep_archives=keep_archives)
            loaded = {split: load_if_there(data, root, split, **options) for split in splits}
    for split, pairs in loaded.items():
        if pairs is None:
            if data == "coco":
                continue
            pairs = load(data, root, split, **options)  # says what is missing
        print(f"{data} {split}: {len(pairs):,} images, {len(pairs.captions):,} captions")
        for side in filter(None, size if pairs.features is None else ()):  # else it has no photos
            store = pack(pairs, side, max_unreadable=unreadable({}, reading))
            print(f"  packed at {side} pixels: {store.folder}")


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
