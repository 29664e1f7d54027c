"""What fetching and unpacking both ask of a disk: room, one writer at a time, steps that are whole.

Each error says what was being done, where, and what would help.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from mmret_lib.files.errors import DataError

BLOCK = 2**20  # bytes read from the disk at a time
ROOM_TO_SPARE = 64 * 2**20  # bytes that stay free: a full disk takes other programs down too
WORTH_A_BAR = 2**28  # bytes from which on reading a file through takes long enough to show


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold the lock file `lock`, waiting for a process that holds it; a dead one holds nothing."""
    holder = FileLock(lock)
    try:
        holder.acquire(timeout=0)
    except Timeout:
        # Like a bar of tqdm, this is for someone who sits there, not for outputs that are stored.
        if not os.environ.get("TQDM_DISABLE"):
            print(f"waiting for another process that works on {lock.parent} …", flush=True)
        holder.acquire()
    try:
        yield
    finally:
        holder.release()


@contextmanager
def disk_errors(path: Path, task: str) -> Iterator[None]:
    """Turn what the system says of a disk (no rights, no room, a fault) into a DataError."""
    try:
        yield
    except DataError:  # some are OSErrors as well
        raise
    except OSError as error:
        where = error.filename or path
        raise DataError(
            f"{where}: {error.strerror or error} while {task}. Check the disk and the rights of "
            "the folder, or choose another folder, and try again"
        ) from error


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
    """The checksum of a file in hexadecimal digits; `kind` is "sha256", "md5" or "crc32"."""
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


def write_note(path: Path, content: dict[str, Any]) -> None:
    """Keep a few facts in a small json file, which is never seen half-written."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def read_note(path: Path) -> dict[str, Any]:
    """What `write_note` kept; nothing where there is no such file, or somebody spoiled it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def sync_folder(folder: Path) -> None:
    """Make new names in `folder` outlive a power cut, where the system can do that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
