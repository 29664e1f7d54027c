"""What a zip or tar archive holds, told only if all of it is safe to unpack.

An archive is somebody else's data. A name in it may lead out of the folder, a link may point
anywhere, a few bytes may unfold into gigabytes, two names may be one on another file system. Such
archives are refused as a whole, never mended: they are not what they should be.
"""

import errno
import gzip
import re
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from mmret_lib.files.disk import BLOCK
from mmret_lib.files.errors import DataError, short, visible

MAX_BYTES = 100 * 2**30  # of all files together; the largest archive of the course holds 19 GiB
MAX_MEMBERS = 1_000_000
MAX_RATIO = 200  # unpacked by packed size; annotation files reach 10, photos 1, bombs 1,000
RATIO_FLOOR = 64 * 2**20  # bytes up to which any ratio is harmless
LONGEST_NAME = 255  # bytes of one part of a path, on every common file system
JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db")  # what desktops slip into archives
FETCH_AGAIN = "delete the archive and fetch it again"


@dataclass(frozen=True)
class Member:
    """A file in an archive: its checked name, bytes, and CRC-32 where the archive tells one."""

    name: str
    size: int
    crc: int | None
    entry: Any


class Archive(Protocol):
    """An archive that is open: its files, checked, and the bytes of each."""

    def members(self) -> list[Member]: ...

    def open(self, member: Member) -> IO[bytes]: ...


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[Archive, list[Member]]]:
    """An open archive and all its members, every one of them safe to write.

    Raises:
        DataError: if it is no archive, is damaged, or holds what nobody should unpack.
    """
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    with ExitStack() as stack:
        with damage_of(path):
            source = stack.enter_context(closing(_Zip(path) if zipped else _Tar(path)))
            members = source.members()
        total, packed = sum(member.size for member in members), path.stat().st_size
        _check_size(path, total, len(members))
        if total > max(RATIO_FLOOR, MAX_RATIO * packed):
            raise DataError(
                f"{path}: {packed:,} bytes would unfold into {total:,}, more than {MAX_RATIO} "
                "times as many. Nothing was unpacked; this is not the archive it should be: "
                f"{FETCH_AGAIN}, from a source you trust"
            )
        yield source, members


@contextmanager
def damage_of(path: Path, member: str | None = None) -> Iterator[None]:
    """Turn whatever reading a damaged archive raises into a DataError; the disk's errors pass."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:  # on damaged archives Python's readers raise nearly anything
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        what = f"{path}: member {short(member)}" if member else f"{path}, taken for an archive,"
        raise DataError(
            f"{what} is damaged or cut short ({visible(str(error)) or type(error).__name__}); "
            f"{FETCH_AGAIN}"
        ) from error


class _Zip:
    """What a zip archive holds. Its list of members stands at its end, with sizes and CRCs."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.file = zipfile.ZipFile(archive)

    def members(self) -> list[Member]:
        names = _Names(self.archive)
        found = []
        entries = self.file.infolist()
        # Members that share their packed bytes make bombs of which each part looks harmless.
        if sum(entry.compress_size for entry in entries) > self.archive.stat().st_size:
            raise DataError(f"{self.archive} declares more packed bytes than it has: {FETCH_AGAIN}")
        for entry in entries:
            raw = entry.orig_filename  # .filename is cut at NUL, and mended on Windows
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                names.refuse(raw, "it is a link or a device, not a file")
            name = names.take(raw, folder=raw.endswith("/") or kind == stat.S_IFDIR)
            if name is None:
                continue
            if entry.flag_bits & 0x1:
                names.refuse(raw, "it is encrypted")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                names.refuse(raw, f"it is packed by method {entry.compress_type}, not deflate")
            if entry.file_size > max(RATIO_FLOOR, MAX_RATIO * entry.compress_size):
                names.refuse(
                    raw,
                    f"{entry.compress_size:,} bytes would unfold into {entry.file_size:,} "
                    f"(more than {MAX_RATIO} times as many)",
                )
            found.append(Member(name, entry.file_size, entry.CRC, entry))
        return found

    def open(self, member: Member) -> IO[bytes]:
        return self.file.open(member.entry)

    def close(self) -> None:
        self.file.close()


class _Tar:
    """What a tar archive holds: members one after the other, so all of it is read to list them."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.plain = archive.open("rb")
        try:
            self.packed = self.plain.read(2) == b"\x1f\x8b"
            self.plain.seek(0)
            inner: Any = gzip.GzipFile(fileobj=self.plain) if self.packed else self.plain
            self.stream: Any = _Modest(inner)
            self.file = tarfile.TarFile(fileobj=cast(Any, self.stream))
        except BaseException:
            self.close()
            raise

    def members(self) -> list[Member]:
        names = _Names(self.archive)
        found: list[Member] = []
        total = 0
        for count, entry in enumerate(self.file, start=1):
            raw = entry.name
            if not (entry.isfile() or entry.isdir()) or entry.issparse() or entry.size < 0:
                names.refuse(raw, "it is a link, a device or sparse, not a plain file")
            total += entry.size
            _check_size(self.archive, total, count)
            name = names.take(raw, folder=entry.isdir())
            if name is not None:
                found.append(Member(name, entry.size, None, entry))
        self.check_end()
        return found

    def check_end(self) -> None:
        """Python takes any end for the end; a whole archive says so with a block of zeros."""
        self.stream.seek(self.file.offset)
        if self.stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends before its end mark")
        while self.packed and self.stream.read(BLOCK):  # to its end: there is gzip's checksum
            if self.stream.tell() > self.file.offset + RATIO_FLOOR:
                raise tarfile.ReadError("it goes on after its end mark")

    def open(self, member: Member) -> IO[bytes]:
        content = self.file.extractfile(member.entry)
        assert content is not None  # only files become members
        return content

    def close(self) -> None:
        self.plain.close()


class _Modest:
    """A stream that is never read in large pieces; a forged header makes tarfile ask for any."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= BLOCK:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.stream.read(size)


class _Names:
    """The names seen in one archive, so that no two of them meet on any file system."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.files: dict[str, str] = {}  # as a file system sees it -> as it is written
        self.folders: dict[str, str] = {}

    def refuse(self, raw: str, why: str) -> None:
        raise DataError(
            f"{self.archive}: member {short(raw)}: {why}. Nothing was unpacked; this is not the "
            f"archive it should be: {FETCH_AGAIN}, from a source you trust"
        )

    def take(self, raw: str, *, folder: bool) -> str | None:
        """The name to write, or None where there is nothing to write; refuses what is unsafe."""
        parts = [part for part in raw.split("/") if part not in ("", ".")]
        if raw.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", raw):
            self.refuse(raw, "its name leads out of the folder")
        if "\\" in raw or any(ord(letter) < 32 or letter == "\x7f" for letter in raw):
            self.refuse(raw, "its name has a backslash or a control character")
        if any(0xD800 <= ord(letter) < 0xE000 for letter in raw):
            self.refuse(raw, "its name is not valid Unicode")
        if any(len(part.encode()) > LONGEST_NAME for part in parts):
            self.refuse(raw, f"its name is longer than {LONGEST_NAME} bytes")
        if any(part in JUNK or part.startswith("._") for part in parts):
            return None
        if not parts:
            if not folder:
                self.refuse(raw, "it has no name")
            return None
        if parts[0].startswith("."):  # such names are ours: parts, notes, locks
            self.refuse(raw, "its name begins with a dot")
        for depth in range(1, len(parts) + (1 if folder else 0)):
            self.enter("/".join(parts[:depth]), raw, self.folders, self.files)
        if folder:
            return None
        name = "/".join(parts)
        if _folded(name) in self.files:
            self.refuse(raw, f"it is there twice (as {short(self.files[_folded(name)])})")
        self.enter(name, raw, self.files, self.folders)
        return name

    def enter(self, name: str, raw: str, own: dict[str, str], other: dict[str, str]) -> None:
        key = _folded(name)
        if key in other:
            self.refuse(raw, f"{short(name)} is both a file and a folder")
        if own.setdefault(key, name) != name:
            self.refuse(raw, f"some file systems do not tell it from {short(own[key])}")


def _folded(name: str) -> str:
    """Names that Windows or macOS take for one another become the same."""
    parts = unicodedata.normalize("NFC", name).casefold().split("/")
    return "/".join(part.rstrip(". ") for part in parts)


def _check_size(archive: Path, total: int, count: int) -> None:
    if total > MAX_BYTES or count > MAX_MEMBERS:
        raise DataError(
            f"{archive} would unfold into more than {MAX_BYTES:,} bytes or {MAX_MEMBERS:,} files. "
            f"Nothing was unpacked; this is not the archive it should be: {FETCH_AGAIN}"
        )
