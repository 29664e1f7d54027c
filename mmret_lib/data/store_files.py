"""The files of a packed store: written whole, described by a manifest, never read unchecked."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from mmret_lib.files import records
from mmret_lib.files.errors import DataError, MissingFile

VERSION = 2  # raise it with any change to what a store's bytes mean
OURS = re.compile(
    r"manifest\.json|\.lock|(images|captions|owners|words)-[0-9a-f]{16}\.\w+(\.part)?|.*\.(tmp|part)"
)  # what a store's folder may hold


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
    records.write_manifest(folder / "manifest.json", manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a store, as `write_manifest` wrote it.

    Raises:
        MissingFile: there is none.
        DataError: of another version, or changed since.
    """
    try:
        return records.read_manifest(folder / "manifest.json", "mmret store", VERSION)
    except FileNotFoundError:
        raise MissingFile(
            f"{folder} lacks manifest.json: packing it was never finished; pack it again"
        ) from None
    except DataError as error:
        raise broken(folder, str(error)) from None


def broken(folder: Path, why: str) -> DataError:
    return DataError(
        f"{folder} is not a packed store that can be used: {why}. Pack it again; if that says the "
        "same, delete the folder first."
    )
