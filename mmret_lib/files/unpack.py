"""Unpack a zip or tar archive, after all its names and sizes were checked.

The files are written into `.unpack-NAME/` inside the folder and move out when all of them are
there, so a new folder is always complete. The next call finishes what a killed one began.
"""

import fnmatch
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from mmret_lib.files.archive import FETCH_AGAIN, Archive, Member, archive_errors, open_archive
from mmret_lib.files.disk import (
    BLOCK,
    alone,
    checksum_of,
    disk_errors,
    ensure_room,
    sync_folder,
)
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import user_path
from mmret_lib.files.records import read_note, write_json


def unpack(
    archive: str | Path,
    folder: str | Path,
    *,
    only: tuple[str, ...] | None = None,
    progress: bool = True,
) -> list[str]:
    """Unpack a zip, tar or tar.gz archive into a folder, completely or not at all.

    Files are added to a folder of the same name, and replace files of the same name. What desktops
    put into archives (`__MACOSX/`, `.DS_Store`) is left out.

    Args:
        folder: made if it does not exist.
        only: patterns (as in a shell, `*` also across `/`) of the files to unpack, instead of all.
            Everything else in the archive is checked all the same.

    Returns:
        The names that the archive puts into the folder, sorted.

    Raises:
        MissingFile: if there is no such archive.
        DataError: if it is damaged or cut short, encrypted, or holds anything but plain files
            that stay inside the folder; if it would unpack to far more than its own size; if the
            disk has no room for it. The message names the archive and the member.
    """
    archive, folder = user_path(archive), user_path(folder)
    if not archive.is_file():
        raise MissingFile(f"{archive} does not exist; expected a zip or tar archive there")
    with disk_errors(folder, f"unpacking {archive.name}"):
        folder.mkdir(parents=True, exist_ok=True)
        with (
            alone(folder / f".unpack-{archive.name}.lock"),
            open_archive(archive) as (source, members),
        ):
            if only is not None:
                members = [m for m in members if any(fnmatch.fnmatchcase(m.name, p) for p in only)]
            if not members:
                sought = f" that fits {', '.join(only)}" if only else ""
                raise DataError(f"{archive} holds no file{sought}; {FETCH_AGAIN}")
            return _Stage(archive, folder, members).run(source, progress)


class _Stage:
    """The folder `.unpack-NAME`, in which files are collected before they move out."""

    def __init__(self, archive: Path, folder: Path, members: list[Member]) -> None:
        self.archive, self.folder, self.members = archive, folder, members
        self.stage = folder / f".unpack-{archive.name}"
        self.note = self.stage / ".note.json"
        self.tops = sorted({member.name.split("/")[0] for member in members})
        listing = "\n".join(f"{m.name}\t{m.size}\t{m.crc}" for m in members)
        # Shows whether the files in the stage are from this archive or another of the same name.
        self.listing = hashlib.sha256(listing.encode()).hexdigest()

    def run(self, source: Archive, progress: bool) -> list[str]:
        note = read_note(self.note)
        if note.get("listing") != self.listing:
            shutil.rmtree(self.stage, ignore_errors=True)
            self.stage.mkdir()
            write_json(self.note, {"listing": self.listing, "whole": False})
            note = {}
        # A call that was killed while it moved files out has left fewer of them here.
        if not note.get("whole") or not all(
            (self.stage / top).exists() or (self.folder / top).exists() for top in self.tops
        ):
            self.fill(source, progress)
            if hasattr(os, "sync"):
                os.sync()  # once for all files: else a power cut may leave empty ones behind
            write_json(self.note, {"listing": self.listing, "whole": True})
        for top in self.tops:
            if os.path.lexists(self.stage / top):
                self.move(self.stage / top, self.folder / top)
        sync_folder(self.folder)
        shutil.rmtree(self.stage)
        return self.tops

    def fill(self, source: Archive, progress: bool) -> None:
        missing = [member for member in self.members if not self.has(member)]
        blocks = sum(-(-member.size // 4096) * 4096 for member in missing)  # disks use whole ones
        ensure_room(self.folder, blocks, f"Unpacking {self.archive.name}")
        total = sum(member.size for member in self.members)
        with tqdm(
            desc=f"unpacking {self.archive.name}",
            total=total,
            initial=total - sum(member.size for member in missing),
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            disable=not progress,
        ) as bar:
            for member in missing:
                self.write(source, member, bar)

    def has(self, member: Member) -> bool:
        path = self.stage / member.name
        if member.crc is None or not path.is_file() or path.stat().st_size != member.size:
            return False
        return checksum_of(path, "crc32", progress=False) == f"{member.crc:08x}"

    def write(self, source: Archive, member: Member, bar: Any) -> None:
        growing = self.stage / ".growing"
        written = 0
        with archive_errors(self.archive, member.name):
            with growing.open("wb") as file, source.open(member) as content:
                while written <= member.size and (block := content.read(BLOCK)):
                    file.write(block)
                    written += len(block)
                    bar.update(len(block))
            if written != member.size:
                more = "more" if written > member.size else "fewer"
                raise ValueError(f"it holds {more} than the {member.size:,} bytes it declares")
        path = self.stage / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(growing, path)

    def move(self, source: Path, target: Path) -> None:
        """Move into place: in one step where nothing is there yet, else file by file."""
        if source.is_dir() and target.is_dir():
            for path in sorted(source.iterdir()):
                self.move(path, target / path.name)
            source.rmdir()
        elif os.path.lexists(target) and source.is_dir() != target.is_dir():
            kind = "folder" if source.is_dir() else "file"
            raise DataError(
                f"{target} is in the way: {self.archive} puts a {kind} there. Move it elsewhere "
                "and try again"
            )
        else:
            os.replace(source, target)
