"""Locks, free space, checksums and error messages for everything that writes to a disk."""

import errno
import hashlib
import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from mmret_lib.files.errors import DataError, DiskError
from mmret_lib.files.output import say

if sys.platform != "win32":
    import fcntl

    def _lock(handle: int, *, shared: bool = False, wait: bool = True) -> None:
        """Lock an open file or folder; raise OSError where that is not possible."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
else:

    def _lock(handle: int, *, shared: bool = False, wait: bool = True) -> None:
        raise OSError("this system cannot lock folders")


HAS_MARKS = sys.platform != "win32"  # whether `mark_used` works on this system
BLOCK = 2**20  # bytes read from the disk at a time
ROOM_TO_SPARE = 64 * 2**20  # bytes that stay free: a full disk takes other programs down too
WORTH_A_BAR = 2**28  # bytes; reading a larger file takes long enough to show a progress bar


@contextmanager
def alone(lock: Path, *, delete: bool = False) -> Iterator[None]:
    """Hold the lock file `lock`; wait while another process holds it.

    The system releases the lock of a process that dies.

    Args:
        lock: made if it does not exist.
        delete: whether to delete the lock file afterwards: for work that is done only once, which
            later processes find done.
    """
    holder = FileLock(lock)
    try:
        holder.acquire(timeout=0)
    except Timeout:
        # Not in notebooks whose output is stored: they switch tqdm off, and this with it.
        if not os.environ.get("TQDM_DISABLE"):
            say(f"waiting for another process that works on {lock.parent} …", flush=True)
        holder.acquire()
    try:
        yield
    finally:
        holder.release()
        if delete:
            with suppress(OSError):
                lock.unlink()


def mark_used(path: Path, *, shared: bool = False) -> int | None:
    """Mark a file or folder as used by this process until the returned handle is closed.

    The mark is an advisory lock: nothing is written, and it ends with the process.

    Args:
        path: an existing file or folder.
        shared: whether others may use it at the same time.

    Returns:
        The handle to give to `os.close`, or None where the system has no such locks (Windows, some
        network disks).

    Raises:
        FileNotFoundError: `path` is not there, or was deleted before it could be marked.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return None
    try:
        _lock(handle, shared=shared)
    except OSError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    if not _is_still(path, handle):
        os.close(handle)
        raise FileNotFoundError(errno.ENOENT, "deleted by another process", str(path))
    return handle


def mark_unused(path: Path) -> int | None:
    """Mark `path` like `mark_used` if no process uses it; return None if one does or may do so."""
    handle = None
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        _lock(handle, wait=False)
        if _is_still(path, handle):
            return handle
    if handle is not None:
        os.close(handle)
    return None


def _is_still(path: Path, handle: int) -> bool:
    """Whether `path` is still the name of the open file `handle`."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


@contextmanager
def disk_errors(path: Path, task: str) -> Iterator[None]:
    """Turn the ways in which writing fails (no room, no rights, a fault) into a DiskError.

    Around everything that is written to a disk. Each library has its own way of failing: Python,
    Pillow, pandas and matplotlib raise OSError, NumPy one without a number, safetensors a
    SafetensorError, tokenizers a bare Exception and FAISS a RuntimeError. Other errors pass.

    Raises:
        DiskError: names the file, the room that is left, and the remedy.
    """
    try:
        yield
    except DataError:  # some are OSErrors as well
        raise
    except Exception as error:
        if _number_of(error) is None and not isinstance(error, OSError):
            raise
        raise disk_error(getattr(error, "filename", None) or path, task, error) from error


def disk_error(path: str | Path, task: str, error: Exception) -> DiskError:
    """Make the DiskError that says of any library's error what failed, and what to do."""
    number = _number_of(error)
    reason = os.strerror(number) if number else str(error)
    if number in FULL:
        remedy = "Make room there (mmret cache --clear deletes what can be made again)"
        remedy = f"{_room_at(Path(path))}{remedy}"
    else:
        remedy = "Check the disk and the rights of the folder"
    return DiskError(
        f"{path}: {reason} while {task}. {remedy}, or choose another folder, and try again", reason
    )


FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
DISK_FAULTS = (*FULL, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)


def is_disk_fault(error: Exception) -> bool:
    """Whether an error says that something cannot be written, in any library's way."""
    number = _number_of(error)
    return number in DISK_FAULTS if isinstance(error, OSError) else number is not None


def _number_of(error: Exception) -> int | None:
    """The system's number of an error, or None where it names none."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    text = str(error)
    if found := re.search(r"\(os error (\d+)\)", text):  # libraries in Rust
        if sys.platform != "win32":
            return int(found[1])
        return errno.ENOSPC if found[1] == "112" else errno.EIO  # Windows has its own numbers
    if re.search(r"\d+ requested and \d+ written", text):  # NumPy
        return errno.ENOSPC
    # FAISS and shutil quote the system's words.
    return next((number for number in DISK_FAULTS if os.strerror(number) in text), None)


def _room_at(path: Path) -> str:
    """How much room is left on the disk of a path, as a sentence; "" where that is not known."""
    for folder in (path, *path.absolute().parents):
        with suppress(OSError):
            return f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB are free on that disk. "
    return ""


def ensure_room(folder: Path, needed: int, task: str) -> None:
    """Raise DataError unless `needed` more bytes fit on the disk that holds `folder`."""
    free = shutil.disk_usage(folder).free - ROOM_TO_SPARE
    if 0 < needed > free:
        raise DataError(
            f"{task} takes {needed:,} bytes more on the disk that holds {folder}, where "
            f"{max(free, 0):,} bytes are free to use. Make room there, or choose a folder on "
            "another disk"
        )


def checksum_of(path: Path, kind: str, *, progress: bool) -> str:
    """Return the checksum of a file in hexadecimal; `kind` is "sha256", "md5" or "crc32"."""
    running = None if kind == "crc32" else hashlib.new(kind)
    crc, size = 0, path.stat().st_size
    with (
        path.open("rb") as file,
        tqdm(
            desc=f"checking {path.name}",
            total=size,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            disable=not progress or size < WORTH_A_BAR,
            leave=False,
        ) as bar,
    ):
        while block := file.read(BLOCK):
            if running is None:
                crc = zlib.crc32(block, crc)
            else:
                running.update(block)
            bar.update(len(block))
    return f"{crc:08x}" if running is None else running.hexdigest()


def sync_folder(folder: Path) -> None:
    """Write the names in `folder` to the disk, so that a power cut does not lose them."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
