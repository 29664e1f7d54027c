"""Make, update, check and read the files of a packed store."""

import hashlib
import os
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmret_lib.data.packing import SPAN, decode_into
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import first_few
from mmret_lib.data.spans import spans_of
from mmret_lib.files import records
from mmret_lib.files.disk import alone, ensure_room
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import cache_folder
from mmret_lib.files.records import damage_of, entry_of, write_manifest
from mmret_lib.files.whole import whole_file, write_text

VERSION = 2  # raise it when the meaning of a store's bytes changes
PARTS = ("images", "captions", "owners")  # entries of the manifest without which there is no store
FILE_NAMES = re.compile(
    r"manifest\.json|\.lock|(images|captions|owners|words|hashes)-[0-9a-f]{16}\.\w+(\.part)?|.*\.(tmp|part)"
)


def key_of(*parts: str) -> str:
    """Hash what a file is made from, and VERSION, to 16 hexadecimal digits for its name."""
    digest = hashlib.sha256(str(VERSION).encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def images_key(pairs: Pairs, size: int) -> str:
    """Hash which photos are meant, by name, length and time, and their size in pixels."""
    lines = [str(size)]
    for path in pairs.images:
        try:
            status = path.stat()
            lines.append(f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}")
        except (OSError, ValueError):  # missing, or a NUL in its name: packing will name it
            lines.append(f"{path}\0")
    return key_of("images", *lines)


def title_of(pairs: Pairs) -> str:
    """Name of a data set and its part, as the beginning of a folder's name."""
    return re.sub(r"[^\w.+-]+", "_", f"{pairs.name or 'pairs'}-{pairs.split or 'all'}")[:60]


def usual_folder(pairs: Pairs, size: int) -> Path:
    """Return the place in the cache folder of the store of these images."""
    place = key_of("folder", *(str(path.absolute()) for path in pairs.images))
    return cache_folder() / "stores" / f"{title_of(pairs)}-{size}px-{place[:8]}"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a store.

    Raises:
        MissingFile: there is no manifest.
        DataError: of another version, or changed since it was written.
    """
    try:
        return records.read_manifest(folder / "manifest.json", "mmret store", VERSION)
    except FileNotFoundError:
        raise MissingFile(
            f"{folder} lacks manifest.json: packing it was never finished; pack it again"
        ) from None
    except DataError as error:
        raise broken(folder, str(error)) from None


def bring_up_to_date(
    folder: Path, pairs: Pairs, size: int, *, workers: int | None, progress: bool
) -> dict[str, Any]:
    """Make the files of a store that are missing, damaged, or made from other inputs.

    The arguments are those of `pack`; the folder exists. Returns the manifest.

    Raises:
        DataError: the folder holds something else, or the disk has too little room.
    """
    keys = {
        "images": images_key(pairs, size),
        "captions": key_of("captions", pairs.to_json()),
    }
    manifest, outdated = _state(folder, keys)
    if outdated:
        check_folder(
            folder,
            FILE_NAMES,
            "a packed store",
            f"images-{keys['images']}*",
            len(pairs) * 3 * size * size,
            f"Packing {len(pairs):,} images at {size} x {size} pixels",
        )
        with alone(folder / ".lock"):
            manifest, outdated = _state(folder, keys)  # another process may have made it
            for damage in filter(None, outdated.values()):
                warnings.warn(f"{folder}: mending the store, because {damage}", stacklevel=3)
            if outdated:
                options = {"workers": workers, "progress": progress}
                manifest = _make(folder, pairs, size, keys, manifest, outdated, options)
    return manifest


def _state(folder: Path, keys: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The manifest, and the outdated parts with their damage ("" if made from other inputs)."""
    manifest: dict[str, Any] = {"images": {"key": ""}, "captions": {"key": ""}, "words": {}}
    outdated = {}
    try:
        manifest = read_manifest(folder)
    except MissingFile:
        pass
    except DataError as error:
        outdated["manifest"] = str(error)
    for part in PARTS:
        source = "images" if part == "images" else "captions"
        if manifest[source]["key"] != keys[source]:
            outdated[part] = ""
        elif damage := damage_of(folder, manifest[part]):
            outdated[part] = damage
    return manifest, outdated


def check_folder(
    folder: Path, names: re.Pattern[str], kind: str, unfinished: str, needed: int, task: str
) -> None:
    """Check that a folder holds nothing else, and that the disk has room for its array.

    Args:
        folder: of a packed store, or of kept features.
        names: of the files that it may hold.
        kind: what they are part of, for the message.
        unfinished: the pattern of the files that an earlier, interrupted call has written to: that
            is not written again.
        needed: bytes of the array.
        task: what they are needed for, for the message.

    Raises:
        DataError: it holds other files, or there is too little room.
    """
    strangers = [name for name in sorted(os.listdir(folder)) if not names.fullmatch(name)]
    if strangers:
        raise DataError(
            f"{folder} holds {strangers[0]}, which is not part of {kind}; give a folder of its own"
        )
    written = sum(
        getattr(status := path.stat(), "st_blocks", status.st_size // 512) * 512
        for path in folder.glob(unfinished)
    )
    ensure_room(folder, needed - written, task)


def _make(
    folder: Path,
    pairs: Pairs,
    size: int,
    keys: dict[str, str],
    old: dict[str, Any],
    outdated: dict[str, str],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Make what is outdated, write the manifest, and only then delete what it no longer names."""
    manifest = {**old, "format": "mmret store", "version": VERSION, "size": size}
    if "images" in outdated:
        # In a damaged file, only the damaged spans are decoded again.
        known = spans_of(old["images"], SPAN) if old["images"]["key"] == keys["images"] else {}
        path = folder / f"images-{keys['images']}.npy"
        images, hashes = decode_into(path, pairs.images, size, known=known, **options)
        manifest["images"] = {"key": keys["images"], **images}
        manifest["hashes"] = save_array(hashes_file(folder, manifest), hashes)
        if images["unreadable"] != old["images"].get("unreadable"):
            manifest["words"] = {}
    if {"captions", "owners"} & outdated.keys():
        path = folder / f"captions-{keys['captions']}.json"
        write_text(path, pairs.to_json())
        numbers: dict[str, int] = {}  # equal captions share one
        caption_ids = [numbers.setdefault(text, len(numbers)) for text in pairs.captions]
        owners = np.stack([pairs.owner, np.array(caption_ids, np.int64)])
        manifest["captions"] = {"key": keys["captions"], **entry_of(path)}
        manifest["owners"] = save_array(folder / f"owners-{keys['captions']}.npy", owners)
        manifest["words"] = {}
    write_manifest(folder / "manifest.json", manifest)
    entries = [*(manifest[part] for part in PARTS), *manifest["words"].values()]
    entries += [manifest["hashes"]] if "hashes" in manifest else []  # older stores have none
    for name in set(os.listdir(folder)) - {e["name"] for e in entries} - {"manifest.json", ".lock"}:
        with suppress(OSError):  # Windows keeps mapped files; the next call deletes them
            (folder / name).unlink()
    return manifest


def hashes_file(folder: Path, manifest: dict[str, Any]) -> Path:
    """The file with the hashes of a store's pixels."""
    return folder / f"hashes-{manifest['images']['key']}.npy"


def save_array(path: Path, array: npt.NDArray[Any]) -> dict[str, Any]:
    """Write an array file; return its entry for the manifest."""
    with whole_file(path) as file:
        np.save(file, array)
    return entry_of(path)


def broken(folder: Path, why: str) -> DataError:
    """Make the error that says why a folder is no store, and what to do."""
    return DataError(
        f"{folder} is not a packed store that can be used: {why}. Pack it again; if that says the "
        "same, delete the folder first."
    )


def map_array(
    folder: Path,
    entry: dict[str, Any],
    dtype: Any,
    dimensions: int,
    broken: Callable[[Path, str], DataError] = broken,
) -> Any:
    """Map an array file of a store into memory.

    Raises:
        DataError: it does not hold such an array; made by `broken`.
    """
    path = folder / entry["name"]
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header makes numpy raise nearly anything
        raise broken(folder, f"{path.name} cannot be read ({error})") from None
    if array.dtype != dtype or array.ndim != dimensions or not array.flags.c_contiguous:
        raise broken(folder, f"{path.name} holds {array.dtype} {array.shape}")
    return array


def unreadable_line(manifest: dict[str, Any]) -> str:
    """Count and name, in one line, the images that could not be read; "" if there are none."""
    reasons = manifest["images"]["unreadable"]
    if not reasons:
        return ""
    named = first_few(reasons[row] for row in sorted(reasons, key=int))
    count = manifest["images"]["rows"]
    return f"{len(reasons):,} of {count:,} images could not be read: {named}"
