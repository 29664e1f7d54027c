"""Describe a file on the web, and check that a copy of it has the right size and checksum."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmret_lib.files.disk import checksum_of
from mmret_lib.files.errors import DataError
from mmret_lib.files.records import read_note, write_json


@dataclass(frozen=True)
class Remote:
    """A file on the web.

    Attributes:
        name: the file's name on this computer.
        urls: its addresses, in the order in which they are tried.
        size: bytes, if known.
        sha256, md5: hexadecimal checksums, if known; where both are, the first is used.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def checksum(self) -> tuple[str, str] | None:
        """Kind and hexadecimal digits, or None where nobody has published one."""
        if self.sha256:
            return "sha256", self.sha256.lower()
        return ("md5", self.md5.lower()) if self.md5 else None


class WrongBytes(DataError):
    """A file that has the wrong size or checksum."""


def verify(remote: Remote, path: Path, *, progress: bool = True) -> None:
    """Raise DataError unless the file at `path` has the size and the checksum of `remote`.

    For a file under its final name the result is kept in `.NAME.verified`: the checksum is computed
    again only if the file's size or time has changed.
    """
    status = path.stat()
    if remote.size is not None and status.st_size != remote.size:
        raise WrongBytes(f"{path} has {status.st_size:,} bytes, not {remote.size:,}")
    if remote.checksum is None or read_note(_note(path)) == _facts(remote, path):
        return
    kind, wanted = remote.checksum
    checksum = checksum_of(path, kind, progress=progress)
    if checksum != wanted:
        raise WrongBytes(f"the {kind} of {path} is {checksum}, not {wanted}")
    if path.name == remote.name:
        note_verified(remote, path)


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")


def _facts(remote: Remote, path: Path) -> dict[str, Any]:
    status = path.stat()
    checksum = list(remote.checksum or ())
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "checksum": checksum}


def note_verified(remote: Remote, path: Path) -> None:
    """Record, for `verify`, that a file has the right checksum."""
    if remote.checksum:
        write_json(_note(path), _facts(remote, path))
