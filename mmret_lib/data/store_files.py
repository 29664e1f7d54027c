"""The files of a packed store: written whole, described by a manifest, never read unchecked."""

import hashlib
import json
import os
import re
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mmret_lib.data.packing import SPAN
from mmret_lib.files.errors import DataError, MissingFile

VERSION = 2  # raise it with any change to what a store's bytes mean
BLOCK = 2**24  # bytes that share a checksum, in the files that are not images
OURS = re.compile(
    r"manifest\.json|\.lock|(images|captions|owners|words)-[0-9a-f]{16}\.\w+(\.part)?|.*\.tmp"
)  # what a store's folder may hold


def write_whole(path: Path, write: Any) -> None:
    """Write a file so that nothing half-written carries its name."""
    draft = tempfile.NamedTemporaryFile(  # noqa: SIM115, closed below, before it is renamed
        dir=path.parent, suffix=".tmp", delete=False
    )
    try:
        with draft:
            write(draft)
            draft.flush()
            os.fsync(draft.fileno())
        os.chmod(draft.name, 0o644)  # a temporary file is for its maker's eyes only
        os.replace(draft.name, path)
    except BaseException:
        Path(draft.name).unlink(missing_ok=True)
        raise


def entry_of(path: Path) -> dict[str, Any]:
    """What the manifest says of a file that is whole."""
    status = path.stat()
    starts = range(0, status.st_size, BLOCK)
    sums = [checksum(path, start, BLOCK) for start in starts]
    times = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    return {"name": path.name, **times, "head_crc32": 0, "start": 0, "block": BLOCK, "crc32": sums}


def checksum(path: Path, start: int, length: int) -> int:
    with path.open("rb") as file:
        file.seek(start)
        return zlib.crc32(file.read(length))


def damage_of(folder: Path, entry: dict[str, Any]) -> str:
    """What is wrong with a file of the store, or nothing.

    Its size and time tell most of the time, as they tell git; where they differ from what was
    recorded, as after a copy, its checksums are compared.
    """
    path = folder / entry["name"]
    try:
        status = path.stat()
        if status.st_size != entry["bytes"]:
            return f"{path.name} has {status.st_size:,} bytes instead of {entry['bytes']:,}"
        if status.st_mtime_ns == entry["mtime_ns"]:
            return ""
        if checksum(path, 0, entry["start"]) != entry["head_crc32"]:
            return f"the head of {path.name} is not what was written"
        starts = range(entry["start"], entry["bytes"], entry["block"])
        with ThreadPoolExecutor() as pool:
            sums = pool.map(lambda start: checksum(path, start, entry["block"]), starts)
            wrong = [k for k, found in enumerate(sums) if found != entry["crc32"][k]]
    except FileNotFoundError:
        return f"{path.name} is missing"
    if not wrong:
        return ""
    what = f"{len(wrong)} of {len(starts)} blocks"
    if "rows" in entry:
        what = f"{what} (the first: images {wrong[0] * SPAN} to {wrong[0] * SPAN + SPAN - 1})"
    return f"{what} of {path.name} are not what was written"


def map_array(folder: Path, entry: dict[str, Any], dtype: Any, dimensions: int) -> Any:
    path = folder / entry["name"]
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy reads heads with Python's own parser
        raise broken(folder, f"{path.name} cannot be read ({error})") from None
    if array.dtype != dtype or array.ndim != dimensions or not array.flags.c_contiguous:
        raise broken(folder, f"{path.name} holds {array.dtype} {array.shape}")
    return array


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps({**manifest, "sha256": _digest(manifest)}, indent=1)
    write_whole(folder / "manifest.json", lambda file: file.write(text.encode()))


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `write_manifest` wrote, to the letter: its own checksum vouches for every entry.

    Raises:
        MissingFile: there is none.
        DataError: of another version, or changed since.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise MissingFile(
            f"{folder} lacks manifest.json: packing it was never finished; pack it again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise broken(folder, f"manifest.json is not json ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("format") != "mmret store":
        raise broken(folder, "manifest.json is not that of a packed store")
    if manifest.get("version") != VERSION:
        raise broken(folder, f"it is of version {manifest.get('version')!r}, not {VERSION}")
    if manifest.pop("sha256", None) != _digest(manifest):
        raise broken(folder, "manifest.json is not as it was written")
    return manifest


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def broken(folder: Path, why: str) -> DataError:
    return DataError(
        f"{folder} is not a packed store that can be used: {why}. Pack it again; if that says the "
        "same, delete the folder first."
    )
