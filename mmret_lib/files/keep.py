"""Keep copies of a folder in a second place that outlives a session, such as a mounted Drive.

    KEEP/NAME/copy-000007/…            the files, under the names that they have in the folder
    KEEP/NAME/copy-000007/kept.json    their sizes and checksums; written last

A Drive has no hard links, its renames are no guarantee, and what is deleted goes to a bin that
counts. So a copy gets a folder of its own, is read back, and counts from when its kept.json is
there; only then are older copies deleted, each of their files emptied first.
"""

import hashlib
import os
import re
import warnings
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmret_lib.files.disk import BLOCK, checksum_of, ensure_room
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import user_path
from mmret_lib.files.records import manifest_text, read_manifest
from mmret_lib.files.whole import refuse_strangers, whole_folder

FORMAT, VERSION = "mmret kept", 1
MANIFEST = "kept.json"
_COPY = re.compile(r"copy-(\d{6,})")


def place_to_keep(keep: str | Path) -> Path:
    """Return the folder that outlives the session, which need not be there yet.

    Raises:
        DataError: neither it nor the folder above it is there: the Drive is not mounted.
    """
    keep = user_path(keep)
    if not keep.is_dir() and not keep.absolute().parent.is_dir():
        raise DataError(
            f"{keep.absolute().parent}, which should hold the folder {keep.name} to keep things "
            "in, is not there. Mount the Drive first, or make that folder"
        )
    return keep


class Kept:
    """The copies of one folder. Between two calls there is one; while one is made there are two.

    Args:
        keep: the folder that outlives the session. It, or the folder above it, must be there:
            where a Drive is not mounted, nothing must be written to the local disk in its place.
        name: of what is kept there; a folder of that name is made.

    Raises:
        DataError: neither `keep` nor the folder above it is there.
    """

    def __init__(self, keep: str | Path, name: str) -> None:
        self.folder = place_to_keep(keep) / (re.sub(r"[^\w.+-]+", "_", name) or "run")

    def put(
        self, source: Path, about: dict[str, Any] | None = None, skip: Collection[str] = ()
    ) -> int:
        """Copy a folder, read the copy back, and delete the copies before it.

        Args:
            source: the folder; nothing in it may change meanwhile.
            about: facts to keep with it, as json can hold them.
            skip: names in `source` that are left out.

        Returns:
            the number of bytes that were written.

        Raises:
            OSError: a file could not be written or read back. The copy before it is still there.
            DataError: there is no room.
        """
        self._home()
        kept = self.newest()
        # At most one besides the new one: where deleting fails, no further copy is begun.
        self._discard_all_but(kept[0] if kept else None)
        paths = [
            path
            for path in sorted(source.rglob("*"), reverse=True)  # model/ before best/
            if path.is_file() and path.relative_to(source).parts[0] not in skip
        ]
        ensure_room(self.folder, sum(path.stat().st_size for path in paths), f"Keeping {source}")
        number = max(map(_number, self._copies()), default=0) + 1
        copy = self.folder / f"copy-{number:06d}"
        copy.mkdir()
        files: dict[str, Any] = {}
        stored: dict[str, str] = {}  # checksum -> the file that has it: equal files lie there once
        written = 0
        try:
            for path in paths:
                name = path.relative_to(source).as_posix()
                checksum, size = checksum_of(path, "sha256", progress=False), path.stat().st_size
                stored_as = stored.setdefault(checksum, name)
                files[name] = {"bytes": size, "sha256": checksum, "stored_as": stored_as}
                if stored_as == name:
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    _copy(path, copy / name, checksum)
                    written += size
            record = {"format": FORMAT, "version": VERSION, "about": about or {}, "files": files}
            text = manifest_text(record).encode()
            _write(copy / MANIFEST, text)
            if (copy / MANIFEST).read_bytes() != text:
                raise OSError(f"{copy / MANIFEST} reads back differently from what was written")
        except BaseException:
            with suppress(OSError):
                _discard(copy)
            raise
        with suppress(OSError):  # tried again by the next call, which needs it to succeed
            self._discard_all_but(copy)
        return written

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """Find the newest complete copy: its folder and the facts that `put` got, or None.

        Raises:
            OSError: the place does not answer.
        """
        for copy in self._copies():
            if record := _record(copy):
                return copy, record["about"]
        return None

    def take(self, target: Path, holds: set[str] | None) -> dict[str, Any] | None:
        """Copy the newest copy back; one that is damaged is passed over for the one before it.

        Args:
            target: written whole or not at all; what is there is replaced.
            holds: the names that it may hold, see `whole_folder`.

        Returns:
            the facts that `put` got, or None where there is no copy that can be used.

        Raises:
            OSError, DataError: `target` cannot be written, or holds other things.
        """
        refuse_strangers(target, holds)
        for copy in self._copies():
            try:
                record = _record(copy)
            except OSError as error:
                warnings.warn(f"{copy} cannot be read ({error}); it is passed over", stacklevel=2)
                continue
            if record is None:
                continue
            try:
                with whole_folder(target, holds) as draft:
                    for name, entry in record["files"].items():
                        _copy_back(copy / entry["stored_as"], draft / name, entry["sha256"])
            except _Damaged as error:
                warnings.warn(f"{error}; it is passed over", stacklevel=2)
                continue
            about: dict[str, Any] = record["about"]
            return about
        return None

    def clear(self) -> None:
        """Delete all copies, each of their files emptied first."""
        self._discard_all_but(None)
        with suppress(OSError):
            self.folder.rmdir()

    def _home(self) -> None:
        self.folder.parent.mkdir(exist_ok=True)
        self.folder.mkdir(exist_ok=True)

    def _copies(self) -> list[Path]:
        """The folders of all copies, whole or not, the newest first."""
        if not self.folder.is_dir():
            return []
        names = [name for name in os.listdir(self.folder) if _COPY.fullmatch(name)]
        return sorted((self.folder / name for name in names), key=_number, reverse=True)

    def _discard_all_but(self, kept: Path | None) -> None:
        for copy in self._copies():
            if copy != kept:
                _discard(copy)


class _Damaged(Exception):
    """A file of a copy cannot be read, or is not as it was written."""


def _number(copy: Path) -> int:
    return int(copy.name.removeprefix("copy-"))


def _record(copy: Path) -> dict[str, Any] | None:
    """What kept.json says, if the copy is complete: each file there, with its size.

    Raises:
        OSError: it cannot be told, because the disk does not answer.
    """
    try:
        record = read_manifest(copy / MANIFEST, FORMAT, VERSION)
        for name, entry in record["files"].items():
            for part in (name, entry["stored_as"]):
                if part.startswith("/") or ".." in part.split("/") or "\\" in part or ":" in part:
                    return None  # it would lead out of the folder
            if (copy / entry["stored_as"]).stat().st_size != entry["bytes"]:
                return None
        return record
    except (FileNotFoundError, DataError, KeyError, TypeError, AttributeError):
        return None


def _copy(source: Path, target: Path, checksum: str) -> None:
    """Copy a file and read it back; raise OSError unless it is the same."""
    with source.open("rb") as read, target.open("wb") as written:
        while block := read.read(BLOCK):
            written.write(block)
        written.flush()
        os.fsync(written.fileno())
    if checksum_of(target, "sha256", progress=False) != checksum:
        raise OSError(f"{target} reads back differently from what was written")


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _copy_back(source: Path, target: Path, checksum: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    running = hashlib.sha256()
    with target.open("wb") as written:
        try:
            read = source.open("rb")
        except OSError as error:
            raise _Damaged(f"{source} cannot be read ({error})") from None
        with read:
            while True:
                try:
                    block = read.read(BLOCK)
                except OSError as error:
                    raise _Damaged(f"{source} cannot be read ({error})") from None
                if not block:
                    break
                running.update(block)
                written.write(block)
    if running.hexdigest() != checksum:
        raise _Damaged(f"{source} is not as it was written")


def _discard(copy: Path) -> None:
    """Empty each file of a copy, kept.json first, then delete it: a Drive's bin counts bytes."""
    paths = sorted(copy.rglob("*"), key=lambda path: (path.name != MANIFEST, path))
    for path in paths:
        if path.is_file():
            os.truncate(path, 0)
            path.unlink()
    for path in reversed(paths):
        if path.is_dir():
            path.rmdir()
    copy.rmdir()
