"""Open a zip or tar archive and check that every file in it is safe to unpack.

An archive from the web can be hostile: a name may lead out of the folder, a link may point
anywhere, a few bytes may unpack to gigabytes, two names may be the same on another file system.
Such an archive is refused as a whole.
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
from typing import IO, Any, NoReturn, Protocol, cast

from mmret_lib.files.disk import BLOCK
from mmret_lib.files.errors import DataError, short, visible

MAX_BYTES = 100 * 2**30  # of all files together; the largest archive of the course holds 19 GiB
MAX_MEMBERS = 1_000_000
MAX_RATIO = 200  # unpacked to packed size: photos have 1, annotation files 10, "zip bombs" 1,000
RATIO_FLOOR = 64 * 2**20  # bytes up to which any ratio is harmless
LONGEST_NAME = 255  # bytes of one part of a path, on every common file system
JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db")  # added by desktops, left out when unpacking
FETCH_AGAIN = "delete the archive and fetch it again"


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path, checked.
        size: bytes, unpacked.
        crc: CRC-32 of its bytes, where the archive holds it.
        entry: the object that zipfile or tarfile has for it.
    """

    name: str
    size: int
    crc: int | None
    entry: Any


class Archive(Protocol):
    """An open archive."""

    def members(self) -> list[Member]:
        """List all its files, checked; DataError names the first that is not safe."""

    def open(self, member: Member) -> IO[bytes]:
        """Open one file for reading."""


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[Archive, list[Member]]]:
    """Open an archive and check all its members.

    Yields:
        The archive, and its files.

    Raises:
        DataError: it is no archive, is damaged, or is not safe to unpack.
    """
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    with ExitStack() as stack:
        with archive_errors(path):
            source = stack.enter_context(closing(_Zip(path) if zipped else _Tar(path)))
            members = source.members()
        total = sum(member.size for member in members)
        packed = path.stat().st_size
        _check_size(path, total, len(members))
        if total > max(RATIO_FLOOR, MAX_RATIO * packed):
            raise DataError(
                f"{path}: {packed:,} bytes would unpack to {total:,}, more than {MAX_RATIO} "
                "times as many. Nothing was unpacked; this is not the archive it should be: "
                f"{FETCH_AGAIN}, from a source you trust"
            )
        yield source, members


@contextmanager
def archive_errors(path: Path, member: str | None = None) -> Iterator[None]:
    """Turn the errors that a damaged archive causes into a DataError; let disk errors pass."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:  # on damaged archives Python's readers raise nearly anything
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        what = f"{path}: member {short(member)}" if member else f"{path}, read as an archive,"
        raise DataError(
            f"{what} is damaged or cut short ({visible(str(error)) or type(error).__name__}); "
            f"{FETCH_AGAIN}"
        ) from error


class _Zip:
    """A zip archive: a list of its members, with sizes and CRCs, is at its end."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.file = zipfile.ZipFile(archive)

    def members(self) -> list[Member]:
        names = _Names(self.archive)
        members = []
        entries = self.file.infolist()
        # Members may share their packed bytes: together a bomb, though each looks harmless.
        if sum(entry.compress_size for entry in entries) > self.archive.stat().st_size:
            raise DataError(f"{self.archive} declares more packed bytes than it has: {FETCH_AGAIN}")
        for entry in entries:
            raw = entry.orig_filename  # .filename is cut at NUL, and changed on Windows
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                names.refuse(raw, "it is a link or a device, not a file")
            name = names.check(raw, folder=raw.endswith("/") or kind == stat.S_IFDIR)
            if name is None:
                continue
            if entry.flag_bits & 0x1:
                names.refuse(raw, "it is encrypted")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                names.refuse(raw, f"it is packed by method {entry.compress_type}, not deflate")
            if entry.file_size > max(RATIO_FLOOR, MAX_RATIO * entry.compress_size):
                names.refuse(
                    raw,
                    f"{entry.compress_size:,} bytes would unpack to {entry.file_size:,} "
                    f"(more than {MAX_RATIO} times as many)",
                )
            members.append(Member(name, entry.file_size, entry.CRC, entry))
        return members

    def open(self, member: Member) -> IO[bytes]:
        return self.file.open(member.entry)

    def close(self) -> None:
        self.file.close()


class _Tar:
    """A tar archive: its members follow one another, so listing them reads all of it."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.plain = archive.open("rb")
        try:
            self.packed = self.plain.read(2) == b"\x1f\x8b"
            self.plain.seek(0)
            inner: Any = gzip.GzipFile(fileobj=self.plain) if self.packed else self.plain
            self.stream: Any = _SmallReads(inner)
            self.file = tarfile.TarFile(fileobj=cast(Any, self.stream))
        except BaseException:
            self.close()
            raise

    def members(self) -> list[Member]:
        names = _Names(self.archive)
        members: list[Member] = []
        total = 0
        for count, entry in enumerate(self.file, start=1):
            raw = entry.name
            if not (entry.isfile() or entry.isdir()) or entry.issparse() or entry.size < 0:
                names.refuse(raw, "it is a link, a device or sparse, not a plain file")
            total += entry.size
            _check_size(self.archive, total, count)
            name = names.check(raw, folder=entry.isdir())
            if name is not None:
                members.append(Member(name, entry.size, None, entry))
        self._check_end()
        return members

    def _check_end(self) -> None:
        """Check for the block of zeros that ends an archive; Python does not need it."""
        self.stream.seek(self.file.offset)
        if self.stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends before its end mark")
        while self.packed and self.stream.read(BLOCK):  # gzip's checksum is at its end
            if self.stream.tell() > self.file.offset + RATIO_FLOOR:
                raise tarfile.ReadError("it goes on after its end mark")

    def open(self, member: Member) -> IO[bytes]:
        content = self.file.extractfile(member.entry)
        assert content is not None  # only files become members
        return content

    def close(self) -> None:
        self.plain.close()


class _SmallReads:
    """A stream that refuses large reads: a forged header makes tarfile ask for any size."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= BLOCK:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.stream.read(size)


class _Names:
    """The names in one archive, checked one by one."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.files: dict[str, str] = {}  # name as `_folded` makes it -> as written
        self.folders: dict[str, str] = {}

    def refuse(self, raw: str, why: str) -> NoReturn:
        raise DataError(
            f"{self.archive}: member {short(raw)}: {why}. Nothing was unpacked; this is not the "
            f"archive it should be: {FETCH_AGAIN}, from a source you trust"
        )

    def check(self, raw: str, *, folder: bool) -> str | None:
        """Return the name to write, or None where nothing is to be written.

        Raises:
            DataError: the name is not safe, or two names are the same on some file system.
        """
        parts = [part for part in raw.split("/") if part not in ("", ".")]
        if fault := _fault_of(raw, parts):
            self.refuse(raw, fault)
        if any(part in JUNK or part.startswith("._") for part in parts) or (folder and not parts):
            return None
        if not parts:
            self.refuse(raw, "it has no name")
        if parts[0].startswith("."):  # we use such names: parts, notes, locks
            self.refuse(raw, "its name begins with a dot")
        for depth in range(1, len(parts) + folder):
            self._add("/".join(parts[:depth]), raw, self.folders, self.files)
        if folder:
            return None
        name = "/".join(parts)
        if _folded(name) in self.files:
            self.refuse(raw, f"it is there twice (as {short(self.files[_folded(name)])})")
        self._add(name, raw, self.files, self.folders)
        return name

    def _add(self, name: str, raw: str, own: dict[str, str], other: dict[str, str]) -> None:
        key = _folded(name)
        if key in other:
            self.refuse(raw, f"{short(name)} is both a file and a folder")
        if own.setdefault(key, name) != name:
            self.refuse(raw, f"some file systems do not tell it from {short(own[key])}")


def _fault_of(raw: str, parts: list[str]) -> str:
    if raw.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", raw):
        return "its name leads out of the folder"
    if re.search(r"[\\\x00-\x1f\x7f]", raw):
        return "its name has a backslash or a control character"
    if re.search(r"[\ud800-\udfff]", raw):
        return "its name is not valid Unicode"
    if any(len(part.encode()) > LONGEST_NAME for part in parts):
        return f"its name is longer than {LONGEST_NAME} bytes"
    return ""


def _folded(name: str) -> str:
    """The same string for names that Windows or macOS do not tell apart."""
    parts = unicodedata.normalize("NFC", name).casefold().split("/")
    return "/".join(part.rstrip(". ") for part in parts)


def _check_size(archive: Path, total: int, count: int) -> None:
    if total > MAX_BYTES or count > MAX_MEMBERS:
        raise DataError(
            f"{archive} would unpack to more than {MAX_BYTES:,} bytes or {MAX_MEMBERS:,} files. "
            f"Nothing was unpacked; this is not the archive it should be: {FETCH_AGAIN}"
        )
