"""A file on the web: where it lies, what it must be once it is here, and whether it is that."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmret_lib.files.disk import checksum_of
from mmret_lib.files.errors import DataError
from mmret_lib.files.records import read_note, write_json


@dataclass(frozen=True)
class Remote:
    """A file somewhere on the web, and what it must be once it is here.

    Attributes:
        name: the file's name on this computer.
        urls: where it lies, in the order in which the places are tried.
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
    """A file that has another size or checksum than it must have."""


def verify(remote: Remote, path: Path, *, progress: bool = True) -> None:
    """Raise DataError unless the file at `path` has the size and the checksum of `remote`.

    A file under its final name is read through once; `.NAME.verified` remembers its size and time.
    """
    status = path.stat()
    if remote.size is not None and status.st_size != remote.size:
        raise WrongBytes(f"{path} has {status.st_size:,} bytes, not {remote.size:,}")
    if remote.checksum is None or read_note(_note(path)) == _facts(remote, path):
        return
    kind, wanted = remote.checksum
    found = checksum_of(path, kind, progress=progress)
    if found != wanted:
        raise WrongBytes(f"the {kind} of {path} is {found}, not {wanted}")
    if path.name == remote.name:
        remember(remote, path)


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")


def _facts(remote: Remote, path: Path) -> dict[str, Any]:
    status = path.stat()
    checksum = list(remote.checksum or ())
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "checksum": checksum}


def remember(remote: Remote, path: Path) -> None:
    if remote.checksum:
        write_json(_note(path), _facts(remote, path))
