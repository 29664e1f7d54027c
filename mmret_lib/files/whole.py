"""Write files and folders that are either complete or as they were before.

A file or folder is written under a hidden name beside the final one, forced onto the disk, and
then renamed in a single step:

    .NAME.TOKEN.part    being written, or left by a process that died
    .NAME.TOKEN.old     the folder NAME while its replacement takes its name

A folder replaces another by exchanging the two names, one step on Linux and macOS. Windows and some
network disks cannot do that: there the old folder is renamed first, and if the process dies before
the new one has its name, `put_back` gives the old one its name again. Every reader of such folders
calls it first.
"""

import ctypes
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mmret_lib.files.disk import disk_error, is_disk_fault, mark_unused, mark_used, sync_folder
from mmret_lib.files.errors import DataError

MANY_FILES = 100  # from here on it is faster to force everything onto the disk at once
_LEFTOVER = re.compile(r"\.(.+)\.[0-9a-f]+\.(part|old)")


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that gets its name only when it is complete.

    Args:
        path: the final name; missing folders above it are made, a file of that name is replaced. A
            device or a pipe, such as /dev/stdout, is written to directly.

    Yields:
        The file to write into, open for bytes.

    Raises:
        DiskError: it cannot be written; a file of that name stays as it was.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    with _writing(path), _draft(path, Path.touch) as draft:
        with draft.open("wb") as file:
            yield file
        move_into_place(draft, path)


def write_text(path: Path, text: str) -> None:
    r"""Write a text file in UTF-8, as `whole_file` does.

    Half a surrogate pair, which stands for a byte of a file name that is no text, becomes an escape
    such as \udce9. In JSON that is the same character.
    """
    with whole_file(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def move_into_place(part: Path, path: Path) -> None:
    """Force a finished file onto the disk, then give it its final name."""
    _force_to_disk(part)
    os.replace(part, path)
    sync_folder(path.parent)


@contextmanager
def whole_folder(folder: Path, holds: set[str] | None = None) -> Iterator[Path]:
    """Write a folder that gets its name only when it is complete.

    When the block ends, the new folder takes the place of `folder`. When it fails, or the process
    is killed at any moment, what stood at `folder` before is still there.

    Args:
        folder: the final name; missing folders above it are made.
        holds: the names that a folder of this kind may hold. If None, other files in `folder` are
            kept beside the new ones.

    Yields:
        The folder to write into.

    Raises:
        DataError: `folder` holds other things than `holds`, which replacing it would delete.
        DiskError: it cannot be written, and stays as it was.
    """
    folder = Path(os.path.realpath(folder))
    put_back(folder)
    refuse_strangers(folder, holds)
    with _writing(folder), _draft(folder, Path.mkdir) as draft:
        yield draft
        mode = draft.stat().st_mode & 0o666
        files = [path for path in draft.rglob("*") if path.is_file()]
        for path in files:
            path.chmod(mode)  # some libraries write files that only their owner can read
        if len(files) > MANY_FILES and hasattr(os, "sync"):
            os.sync()
        else:
            for path in files:
                _force_to_disk(path)
        if holds is None and folder.exists():
            _keep_others(folder, draft)
        _replace_folder(draft, folder)
        sync_folder(folder.parent)
    _remove_leftovers(folder)


def refuse_strangers(folder: Path, holds: set[str] | None) -> None:
    """Raise DataError if `folder` is a file, or holds anything that replacing it would delete.

    Args:
        folder: need not be there yet.
        holds: the names that it may hold; None allows all.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; give a folder.")
    if holds is None:
        return
    names = {path.name for path in folder.iterdir()}
    # What a process left that died while it wrote one of `holds` is no stranger.
    leftovers = {name for name in names if (left := _LEFTOVER.fullmatch(name)) and left[1] in holds}
    if strangers := names - holds - leftovers:
        raise DataError(
            f"{folder} holds {min(strangers)}, which does not belong to what is written there "
            f"({', '.join(sorted(holds))}). Writing would delete it; give a folder of its own."
        )


def put_back(folder: Path) -> None:
    """Give `folder` its name back if a process died while it replaced the folder.

    Call this before reading a folder that `whole_folder` writes.

    Raises:
        DataError: the old folder is there, but the system refuses to rename it.
    """
    folder = Path(os.path.realpath(folder))
    if folder.exists():
        return
    try:
        old = max(_siblings(folder, "old"), key=os.path.getmtime, default=None)
        if old is not None:
            os.replace(old, folder)  # a writer that is alive after all renames it once more
    except OSError as error:
        left = _siblings(folder, "old")
        if left and not folder.exists():
            raise DataError(
                f"Replacing {folder} was interrupted: what stood there is now {left[0]}, and "
                f"cannot be renamed ({error.strerror}). Rename it back."
            ) from None


def put_back_all(parent: Path) -> None:
    """Call `put_back` for every folder in `parent`."""
    if parent.is_dir():
        for name in os.listdir(parent):
            if (match := _LEFTOVER.fullmatch(name)) and match[2] == "old":
                put_back(parent / match[1])


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Make `target` the same file as `source` by a hard link, or a copy where the disk has none.

    Only for files that are replaced, never written into: else both would change.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):  # a disk without hard links, or Windows
        shutil.copy2(source, target, follow_symlinks=False)


def _replace_folder(draft: Path, folder: Path) -> None:
    """Give `draft` the name `folder`; what had that name before is deleted."""
    if folder.exists() and _exchange(draft, folder):
        return
    try:
        while True:
            try:
                os.replace(draft, folder)
                return
            except OSError:
                if not folder.is_dir():
                    raise
            os.replace(folder, _sibling(folder, "old"))
    except BaseException:  # Ctrl-C among them
        put_back(folder)
        raise


def _exchange(draft: Path, folder: Path) -> bool:
    """Exchange the names of two folders in one step; False where that is not possible."""
    first, second = os.fsencode(draft), os.fsencode(folder)
    try:
        if sys.platform == "linux":
            here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE: see renameat2(2)
            return bool(ctypes.CDLL(None).renameat2(here, first, here, second, exchange) == 0)
        if sys.platform == "darwin":
            return bool(ctypes.CDLL(None).renamex_np(first, second, 2) == 0)  # RENAME_SWAP
    except AttributeError:  # an older C library
        pass
    return False


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make the folder above `path`; turn what keeps it from being written into a DiskError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield
    except DataError:
        raise
    except Exception as error:
        # A file elsewhere that could not be read, inside the block, is no failure of writing.
        name = getattr(error, "filename", None)
        near = not isinstance(name, str) or Path(os.path.abspath(name)).is_relative_to(path.parent)
        if near and is_disk_fault(error):
            raise disk_error(path, "writing it", error) from error
        raise


@contextmanager
def _draft(path: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """Make a hidden file or folder beside `path`; afterwards delete whatever has that name."""
    while True:
        draft = _sibling(path, "part")
        make(draft)
        try:
            handle = mark_used(draft)
            break
        except FileNotFoundError:  # unmarked, another process took it for a leftover
            continue
    try:
        yield draft
    finally:
        _delete(draft)
        if handle is not None:
            os.close(handle)


def _keep_others(folder: Path, draft: Path) -> None:
    """Link or copy into `draft` whatever is in `folder` and not in `draft`."""
    for path in folder.iterdir():
        target = draft / path.name
        if target.exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, target, symlinks=True, copy_function=link_or_copy)
        else:
            link_or_copy(path, target)


def _force_to_disk(path: Path) -> None:
    with path.open("rb+") as file:  # else a power cut may leave the final name on an empty file
        os.fsync(file.fileno())


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{suffix}")


def _siblings(path: Path, suffix: str) -> list[Path]:
    if not path.parent.is_dir():
        return []
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]+\.{suffix}")
    return [path.parent / name for name in os.listdir(path.parent) if pattern.fullmatch(name)]


def _remove_leftovers(path: Path) -> None:
    """Delete what processes that died while they wrote `path` left beside it."""
    for part in _siblings(path, "part"):
        handle = mark_unused(part)
        if handle is not None:
            _delete(part)
            os.close(handle)
    old_folders = _siblings(path, "old")  # listed first: they are needed until `path` is there
    if path.exists():
        for old in old_folders:
            _delete(old)


def _delete(path: Path) -> None:
    with suppress(OSError):  # Windows keeps open files; the next write deletes them
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
