"""List and clear the cache folder; what a running process uses is kept.

    CACHE/stores/…        packed photos (`data.pack`)
    CACHE/features/…      what frozen backbones make of photos and captions (`keep_features`)
    CACHE/scenes/…        drawn splits of the built-in world
    CACHE/embeddings/…    embeddings of `mmret search` and `mmret app`
    CACHE/photos/…        indexes of your own photos, of `mmret app --photos`
    CACHE/quick/…         the two small runs of `mmret app`
    CACHE/weights/…       pretrained weights that somebody put there by hand: listed, never deleted

The modification time of a folder says when it was last used. A process that uses a folder holds an
advisory lock on it (`InUse`). The system releases the lock when the process ends, even when killed.
"""

import json
import os
import re
import secrets
import shutil
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from mmret_lib.files.disk import HAS_MARKS, mark_unused, mark_used
from mmret_lib.files.errors import DataError, visible
from mmret_lib.files.places import cache_folder
from mmret_lib.files.records import read_note

UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}  # seconds


class InUse:
    """Keep a folder from being cleared for as long as this object lives.

    Also sets its time of last use to now.

    Args:
        make: whether to make the folder if it does not exist.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, folder: Path, *, make: bool = False) -> None:
        handle = None
        while True:
            if make:
                folder.mkdir(parents=True, exist_ok=True)
            try:
                handle = mark_used(folder, shared=True)
                break
            except FileNotFoundError:  # perhaps cleared at this very moment
                if not make:
                    raise
        if handle is not None:
            weakref.finalize(self, os.close, handle)
        with suppress(OSError):  # somebody else's folder
            os.utime(folder)


def use_until_exit(folder: Path) -> None:
    """Keep a folder from being cleared until this process ends.

    For callers that keep only the names of its files. Only the 64 folders used last are kept,
    because each takes an open file.
    """
    _keep(folder, folder.stat().st_ino)  # by inode: the folder may be deleted and made anew


@lru_cache(maxsize=64)
def _keep(folder: Path, inode: int) -> InUse:
    return InUse(folder)


@dataclass(frozen=True)
class Entry:
    """One folder in the cache.

    Attributes:
        path: where it lies.
        kind: "packed store", "features", "drawn world", "embeddings", "photo index", "small run"
            or "weights".
        size: bytes of all files in it.
        last_used: seconds since 1970.
        made_from: what it was made from, as a text.
        is_cleared: whether `clear` may delete it.
    """

    path: Path
    kind: str
    size: int
    last_used: float
    made_from: str
    is_cleared: bool


def list_cache(older_than: str | None = None) -> list[Entry]:
    """List the folders in the cache folder, the largest first.

    Args:
        older_than: list only what was last used longer ago than this, such as "30d"; see
            `seconds_of`.

    Raises:
        DataError: `older_than` is no time.
    """
    until = time.time() - (seconds_of(older_than) if older_than is not None else 0)
    root = cache_folder()
    entries = []
    for name, (kind, describe) in KINDS.items():
        # A model's weights lie two folders down, as the model hub names them: timm/resnet34.
        for path in (root / name).glob("*/*" if kind == "weights" else "*"):
            if path.is_dir():
                with suppress(FileNotFoundError):  # another process clears at the same time
                    last_used = path.stat().st_mtime
                    unfinished = path.name.startswith(".")
                    made_from = "left unfinished" if unfinished else describe(path)
                    is_cleared = kind != "weights"
                    entries.append(Entry(path, kind, _size(path), last_used, made_from, is_cleared))
    entries = [entry for entry in entries if entry.last_used <= until]
    return sorted(entries, key=lambda entry: -entry.size)


def clear_cache(
    older_than: str | None = None, *, progress: bool = True
) -> tuple[list[Entry], list[Entry]]:
    """Delete the folders in the cache folder that can be made again.

    Args:
        older_than: delete only what was last used longer ago than this, as for `list_cache`.

    Returns:
        The deleted folders, and those kept because a running process uses them.

    Raises:
        DataError: `older_than` is no time.
    """
    chosen = [entry for entry in list_cache(older_than) if entry.is_cleared]
    deleted: list[Entry] = []
    used: list[Entry] = []
    for entry in tqdm(chosen, "clearing", unit="folder", disable=not progress, leave=False):
        (deleted if _delete(entry.path) else used).append(entry)
    return deleted, used


def _delete(folder: Path) -> bool:
    handle = mark_unused(folder)
    if handle is None and HAS_MARKS:
        return False
    # Renamed first, so that nobody finds half of it. The next call deletes what this one cannot.
    name = folder.name if folder.name.startswith(".") else f".{folder.name}"
    doomed = folder.with_name(f"{name}.{secrets.token_hex(4)}.part")
    try:
        os.rename(folder, doomed)  # fails on Windows if a process has a file in it open
    except OSError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    shutil.rmtree(doomed, ignore_errors=True)
    return not doomed.exists()


def seconds_of(age: str) -> int:
    """Turn a time such as "12h", "30d" or "6w" into seconds.

    Raises:
        DataError: `age` has another form.
    """
    match = re.fullmatch(r"([0-9]{1,6})([hdw])", age.strip().lower())
    if not match:
        raise DataError(f"{age!r} is no time; give hours, days or weeks, such as 12h, 30d or 6w")
    return int(match[1]) * UNITS[match[2]]


def table_of(entries: list[Entry]) -> str:
    """Format entries as a table to print, with a total."""
    rows = [
        (
            _gigabytes(entry.size),
            time.strftime("%Y-%m-%d", time.localtime(entry.last_used)),
            entry.kind,
            visible(str(entry.path.relative_to(cache_folder()))),
            visible(entry.made_from),
        )
        for entry in entries
    ]
    rows = [("size", "last used", "kind", "folder", "made from"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{size:>{widths[0]}}  {used:{widths[1]}}  {kind:{widths[2]}}  {name:{widths[3]}}  {origin}"
        for size, used, kind, name, origin in rows
    ]
    total = sum(entry.size for entry in entries)
    return "\n".join([f"{cache_folder()}:", *lines, f"{_gigabytes(total):>{widths[0]}}  in all"])


def summary_of(deleted: list[Entry], used: list[Entry]) -> str:
    """Say in a few lines what `clear_cache` did."""
    freed = _gigabytes(sum(entry.size for entry in deleted))
    lines = [f"freed {freed}: {len(deleted)} folders deleted in {cache_folder()}"]
    for entry in used:
        lines.append(
            f"kept {entry.path} ({_gigabytes(entry.size)}): a running process uses it, "
            "or this disk cannot tell whether one does"
        )
    return "\n".join(lines)


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _gigabytes(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1000:.1f} kB"


def _store(folder: Path) -> str:
    manifest = read_note(folder / "manifest.json")
    try:
        text = f"{manifest['images']['rows']:,} images at {manifest['size']} pixels"
        # The first photo's name says where they lie; reading all of them takes a second.
        start = _beginning(folder / manifest["captions"]["name"])
        first = re.match(r'\{"images": \[("(?:[^"\\]|\\.)*")', start)
        return f"{text}, from {Path(json.loads(first[1])).parent}" if first else text
    except (KeyError, TypeError, ValueError):
        return "not packed to the end"


def _features(folder: Path) -> str:
    record = read_note(folder / "manifest.json") or read_note(folder / "image" / "manifest.json")
    return str(record.get("about", "not computed to the end"))


def _world(folder: Path) -> str:
    split = folder.name.rpartition("-")[0]
    info = re.search(
        r'"info": (\{[^{}]*\})', _beginning(folder / f"annotations/captions_{split}.json")
    )
    try:
        world: dict[str, Any] = json.loads(info[1]) if info else {}
    except ValueError:
        world = {}
    shares = [
        f"{name.replace('_', ' ')} {world[name]:g}"
        for name in ("wrong_captions", "look_alikes", "identical")
        if world.get(name)
    ]
    facts = [f"{world.get('image_size')} pixels", f"seed {world.get('seed')}", *shares]
    return f"the generator of scenes: {', '.join(facts)}"


def _embeddings(folder: Path) -> str:
    record = read_note(folder / "image.json") or read_note(folder / "text.json")
    model = (record.get("made_from") or {}).get("model", "?")
    return f"{record.get('name', '?')}, by model {str(model)[:12]}"


def _photos(folder: Path) -> str:
    manifest = read_note(folder / "manifest.json")
    try:
        return f"{manifest['sides']['image']['rows']:,} photos in {manifest['photos']['folder']}"
    except (KeyError, TypeError, ValueError):
        return "not begun"


def _run(folder: Path) -> str:
    record = read_note(folder / "run.json")
    return f"{record.get('loss', '?')}, trained on {(record.get('data') or {}).get('name', '?')}"


def _beginning(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(10_000).decode(errors="replace")
    except OSError:
        return ""


KINDS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "stores": ("packed store", _store),
    "features": ("features", _features),
    "scenes": ("drawn world", _world),
    "embeddings": ("embeddings", _embeddings),
    "photos": ("photo index", _photos),
    "quick": ("small run", _run),
    "weights": ("weights", lambda _: "put there by hand; delete it yourself"),
}
