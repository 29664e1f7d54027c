"""List the photos of a folder of one's own, its subfolders too: no captions, no order needed.

What is a photo is first told by the ending of its name; whether it can be read shows when it is
decoded. Whatever is left out is counted, by ending or by reason.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import existing_folder, first_few
from mmret_lib.files.errors import DataError, on_one_line

# The names of photos that `data.images` reads; HEIC takes a library that is optional.
ENDING = re.compile(
    r"\.(jpe?g|jpe|jfif|png|webp|gif|bmp|dib|tiff?|p[bgnp]m|hei[cf]|hif)", re.IGNORECASE
)

# Folders that systems and devices make for themselves, beside those that begin with a full stop.
SYSTEM_FOLDERS = frozenset(
    ("$RECYCLE.BIN", "System Volume Information", "@eaDir", "#recycle", "__MACOSX", "lost+found")
)

Identity = tuple[int, int]  # device and inode: the same for every name of a file or folder


@dataclass
class PhotoFolder:
    """What a folder holds.

    Attributes:
        root: the folder, absolute.
        photos: path -> size in bytes and time of change in nanoseconds, sorted by path.
        left_out: what -> how many: ".mov" files, hidden folders, links that lead nowhere.
        unlisted: folders that could not be listed, each with the system's reason.
    """

    root: Path
    photos: dict[Path, tuple[int, int]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    unlisted: dict[Path, str] = field(default_factory=dict)

    def pairs(self, photos: list[Path] | None = None) -> Pairs:
        """Return photos (by default all) as `Pairs` without captions.

        `image_info` has each file's "bytes" and "mtime_ns", by which a change is noticed.
        """
        chosen = list(self.photos) if photos is None else photos
        return Pairs(
            images=chosen,
            captions=[],
            owner=np.zeros(0, np.int64),
            image_ids=[str(path.relative_to(self.root)) for path in chosen],
            name="photos",
            split=self.root.name,
            image_info=[self.info(path) for path in chosen],
        )

    def info(self, path: Path) -> dict[str, Any]:
        """Return the record by which a change of a photo is noticed."""
        size, mtime_ns = self.photos[path]
        return {"bytes": size, "mtime_ns": mtime_ns}

    def summary(self) -> str:
        """One line: how many photos were found, and what was left out."""
        counts = [f"{count:,} {what}" for what, count in self.left_out.most_common()]
        others = f"; left out: {first_few(counts, ', ')}" if counts else ""
        failed = [f"{on_one_line(str(path))} ({why})" for path, why in self.unlisted.items()]
        unlisted = f"; folders that cannot be read: {first_few(failed)}" if failed else ""
        return f"{on_one_line(str(self.root))}: {len(self.photos):,} photos found{others}{unlisted}"


def list_photos(root: str | Path, leave_out: Path | None = None) -> PhotoFolder:
    """List the photos of a folder and its subfolders.

    Links are followed, each folder is visited once, so that links in circles end. A photo that a
    link leads to is listed once, under its own name if that is in the folder. Hidden files and
    folders and those of the system are left out.

    Args:
        root: the folder.
        leave_out: a folder in it that holds something else, such as the index.

    Raises:
        MissingFile: there is no such folder.
        DataError: there is no photo in it, or it cannot be listed.
    """
    listing = _Listing(PhotoFolder(existing_folder(root, "a folder of photos")))
    listing.walk(leave_out)
    found = listing.found
    if found.root in found.unlisted:
        raise DataError(
            f"{found.root} cannot be read ({found.unlisted[found.root]}); check the rights of the "
            "folder"
        )
    if not found.photos:
        raise DataError(
            f"{found.summary()}. Photos are known by the ending of their name, such as .jpg, .png, "
            ".webp, .tif or .heic; give the folder that holds them"
        )
    found.photos = dict(sorted(found.photos.items(), key=lambda item: os.fsencode(item[0])))
    return found


class _Listing:
    """The walk through a folder."""

    def __init__(self, found: PhotoFolder) -> None:
        self.found = found
        self.folders: set[Identity] = set()  # visited
        self.files: set[Identity] = set()  # listed
        self.links: list[tuple[Path, os.stat_result]] = []

    def walk(self, leave_out: Path | None) -> None:
        root = self.found.root
        # A link to a folder above would list all that lies beside this one.
        for folder in [*root.parents, *([leave_out] if leave_out else [])]:
            with suppress(OSError):
                self.folders.add(_identity(folder.stat()))
        self.folders.discard(_identity(root.stat()))
        self._enter(root, root.stat())
        # Links last: what they lead to may be in the folder under its own name.
        while self.links:
            path, status = self.links.pop(0)
            is_folder = stat.S_ISDIR(status.st_mode)
            if _identity(status) in (self.folders if is_folder else self.files):
                self.found.left_out["links to what is listed already"] += 1
            elif is_folder:
                self._enter(path, status)
            else:
                self._file(path, status)

    def _enter(self, folder: Path, status: os.stat_result) -> None:
        """List a folder and all below it; no recursion, because folders may be deep."""
        todo = [(folder, status)]
        while todo:
            folder, status = todo.pop()
            if _identity(status) in self.folders:
                continue
            self.folders.add(_identity(status))
            for path, is_link in self._entries(folder):
                if path.name.startswith(".") or path.name in SYSTEM_FOLDERS:
                    self.found.left_out["hidden files and folders"] += 1
                    continue
                try:
                    status = path.stat()
                except OSError as error:
                    what = "links that lead nowhere" if is_link else "files that cannot be read"
                    self.found.left_out[f"{what} ({error.strerror})"] += 1
                    continue
                if is_link:
                    self.links.append((path, status))
                elif stat.S_ISDIR(status.st_mode):
                    todo.append((path, status))
                else:
                    self._file(path, status)

    def _entries(self, folder: Path) -> Iterator[tuple[Path, bool]]:
        try:
            with os.scandir(folder) as entries:
                listed = [(entry.name, entry.is_symlink()) for entry in entries]
        except OSError as error:
            self.found.unlisted[folder] = error.strerror or str(error)
            return
        for name, is_link in sorted(listed, key=lambda entry: os.fsencode(entry[0])):
            yield folder / name, is_link

    def _file(self, path: Path, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            self.found.left_out["devices and pipes"] += 1
        elif not ENDING.fullmatch(path.suffix):
            self.found.left_out[on_one_line(path.suffix.lower()) or "files without an ending"] += 1
        else:
            self.files.add(_identity(status))
            self.found.photos[path] = (status.st_size, status.st_mtime_ns)


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino
