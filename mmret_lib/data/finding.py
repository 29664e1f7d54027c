"""Find the photos and the caption file of a data set where they are not in their usual places.

An archive may unpack into a folder of its own (`train2017/train2017`), and people sort their files
(`images/train2017`). The search goes a few folders deep and lists a part of a large folder only: on
a mounted drive, listing 100,000 photos takes minutes.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from mmret_lib.data.photos import SYSTEM_FOLDERS
from mmret_lib.data.reading import existing_folder, first_few
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import user_path

DEPTH = 3  # folders below the root that are looked into
MOST_FOLDERS = 200
MOST_ENTRIES = 4000  # of one folder
SAMPLE = 50  # photos that are looked for by name in a larger folder


def find_images(
    root: Path,
    expected: Sequence[str],
    names: Collection[str],
    *,
    source: Path,
    images: str | Path | None = None,
) -> tuple[Path, list[str]]:
    """Find the folder in which the photos of a data set lie.

    Args:
        root: the folder of the data set.
        expected: the folders in `root` in which they should be, the likeliest first.
        names: the file names of the photos, as the caption file has them.
        source: the caption file, for messages.
        images: the folder that the user named, relative to `root`; the photos are in it or below.

    Returns:
        The folder, and a line that says so if it is another than expected. Where none of the photos
        is found, it is the first expected one that exists.

    Raises:
        MissingFile: if no folder holds such photos and none of the expected ones exists.
        DataError: if several do.
    """
    if images is not None:
        root = existing_folder(root / user_path(images), "the photos of the data set")
        expected = ["."]
    usual = [root / name for name in expected]
    wanted = frozenset(names)
    step = max(1, len(wanted) // SAMPLE)
    sample = sorted(wanted)[::step][:SAMPLE]
    for folder in usual:
        if _holds_any(folder, sample):
            return folder, []
    found: dict[Path, Path] = {}  # without its links -> the folder
    for folder, entries, is_whole in folders_below(root):
        if not wanted.isdisjoint(entries) or (not is_whole and _holds_any(folder, sample)):
            found.setdefault(folder.resolve(), folder)
    remedy = "name the folder of the photos: --images FOLDER (in Python images=…)"
    if len(found) > 1:
        places = first_few(map(str, found.values()), ", ")
        raise DataError(f"photos that {source} names are in {places}; {remedy}")
    if found:
        (folder,) = found.values()
        note = f"the photos were found in {folder}"
        return folder, [note] if folder not in usual else []
    for folder in usual:
        if folder.is_dir():
            return folder, []
    raise MissingFile(
        f"{root} has no folder {' or '.join(expected)}, and no photo that {source} names is in a "
        f"folder below; unpack the photos there, or {remedy}"
    )


def find_file(root: Path, name: str, usual: Path) -> Path:
    """Find a file of a data set: `usual` if it is there, else the one of that name below `root`.

    Returns:
        Its path; `usual` where there is none.

    Raises:
        DataError: if there are several.
    """
    if usual.is_file():
        return usual
    found = [folder / name for folder, entries, _ in folders_below(root) if name in entries]
    if len(found) > 1:
        places = first_few(map(str, found), " and ")
        raise DataError(f"{places} have the same name; move the right one to {usual}")
    return found[0] if found else usual


def folders_below(root: Path) -> Iterator[tuple[Path, set[str], bool]]:
    """List a folder and those below it, the nearer ones first.

    Yields:
        A folder, the names of its first entries, and whether these are all of them.
    """
    waiting = [(root, 0)]
    for folder, depth in waiting:  # grows while it is gone through
        try:
            with os.scandir(folder) as entries:
                first = list(islice(entries, MOST_ENTRIES + 1))
                inner = [entry.name for entry in first if _is_folder(entry)]
        except (OSError, ValueError):
            continue
        yield folder, {entry.name for entry in first}, len(first) <= MOST_ENTRIES
        if depth < DEPTH:
            waiting += [(folder / name, depth + 1) for name in sorted(inner)]
            del waiting[MOST_FOLDERS:]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    if entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS:
        return False
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _holds_any(folder: Path, names: Sequence[str]) -> bool:
    try:
        return any((folder / name).is_file() for name in names)
    except (OSError, ValueError):  # a name that no file can have
        return False
