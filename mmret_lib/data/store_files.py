"""What lies in the folder of a packed store: a manifest, and files named after what made them."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import first_few
from mmret_lib.files import records
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import cache_folder
from mmret_lib.files.records import damage_of

VERSION = 2  # raise it with any change to what a store's bytes mean
PARTS = ("images", "captions", "owners")  # entries of the manifest without which there is no store
FILE_NAMES = re.compile(
    r"manifest\.json|\.lock|(images|captions|owners|words)-[0-9a-f]{16}\.\w+(\.part)?|.*\.(tmp|part)"
)


def key_of(*parts: str) -> str:
    """A name for what a file is made from: another one for any other parts or VERSION."""
    digest = hashlib.sha256(str(VERSION).encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def keys_of(pairs: Pairs, size: int) -> dict[str, str]:
    """Keys of the images and captions; any photo's name, length or time changes the former."""
    lines = [str(size)]
    for path in pairs.images:
        try:
            status = path.stat()
            lines.append(f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}")
        except (OSError, ValueError):  # missing, or a NUL in its name: packing will name it
            lines.append(f"{path}\0")
    return {"images": key_of("images", *lines), "captions": key_of("captions", pairs.to_json())}


def usual_folder(pairs: Pairs, size: int) -> Path:
    """Where in the cache folder the store of these images lies."""
    place = key_of("folder", *(str(path.absolute()) for path in pairs.images))
    title = re.sub(r"[^\w.+-]+", "_", f"{pairs.name or 'pairs'}-{pairs.split or 'all'}")
    return cache_folder() / "stores" / f"{title[:60]}-{size}px-{place[:8]}"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a store.

    Raises:
        MissingFile: there is none.
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


def outdated_parts(folder: Path, manifest: dict[str, Any], keys: dict[str, str]) -> dict[str, str]:
    """The parts that must be made again -> their damage, "" if they were made from other inputs."""
    outdated = {}
    for part in PARTS:
        source = "images" if part == "images" else "captions"
        if manifest[source]["key"] != keys[source]:
            outdated[part] = ""
        elif damage := damage_of(folder, manifest[part]):
            outdated[part] = damage
    return outdated


def map_array(folder: Path, entry: dict[str, Any], dtype: Any, dimensions: int) -> Any:
    """An array file of a store, mapped into memory.

    Raises:
        DataError: it does not hold such an array.
    """
    path = folder / entry["name"]
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy reads heads with Python's own parser
        raise broken(folder, f"{path.name} cannot be read ({error})") from None
    if array.dtype != dtype or array.ndim != dimensions or not array.flags.c_contiguous:
        raise broken(folder, f"{path.name} holds {array.dtype} {array.shape}")
    return array


def unreadable_line(manifest: dict[str, Any]) -> str:
    """One line that counts and names the images that could not be read; "" if there are none."""
    reasons = manifest["images"]["unreadable"]
    if not reasons:
        return ""
    named = first_few(reasons[row] for row in sorted(reasons, key=int))
    count = manifest["images"]["rows"]
    return f"{len(reasons):,} of {count:,} images could not be read: {named}"


def broken(folder: Path, why: str) -> DataError:
    """The error that says why a folder is no store, and what to do."""
    return DataError(
        f"{folder} is not a packed store that can be used: {why}. Pack it again; if that says the "
        "same, delete the folder first."
    )
