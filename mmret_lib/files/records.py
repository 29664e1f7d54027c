"""Read and write JSON files: settings, notes, and manifests with checksums.

A manifest lists the files of a folder with the checksums of their bytes, and holds the checksum of
its own content, so that damage is noticed before a file is used.
"""

import hashlib
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.whole import write_text

CHECKED_TOGETHER = 2**24  # bytes of a file that share a checksum


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, complete or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_note(path: Path) -> dict[str, Any]:
    """Read an optional JSON file; return {} if it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_json(path: Path, kind: str, version: int, entries: dict[str, Any]) -> dict[str, Any]:
    """Read a JSON object and check that it is a `kind` of this `version` with these `entries`.

    Args:
        path: the file to read.
        kind: what its entry "format" must be, such as "mmret run".
        version: what its entry "version" must be.
        entries: name -> type of every other entry, a tuple of types that it may have, or a dict of
            the same form for an object.

    Raises:
        MissingFile: there is no such file.
        DataError: not JSON, of another kind or version, or an entry missing, unknown or wrong.
    """
    if not path.is_file():
        raise MissingFile(
            f"{path} is missing: {path.parent} is no saved {kind}, or was not written to the end."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # covers bytes that are not UTF-8
        raise DataError(f"{path} is not JSON ({error}). Save or fetch it again.") from error
    if not isinstance(content, dict) or content.get("format") != kind:
        raise DataError(f'{path} does not describe a saved {kind} ("format" says otherwise).')
    if content.get("version") != version:
        raise DataError(
            f"{path} is of version {content.get('version')!r}, this mmret reads version {version}. "
            "Use the mmret that wrote it, or train again."
        )
    _check_entries(path, content, {"format": str, "version": int, **entries}, "")
    return content


def _check_entries(path: Path, content: Any, entries: dict[str, Any], where: str) -> None:
    if not isinstance(content, dict) or content.keys() != entries.keys():
        names = content.keys() if isinstance(content, dict) else set()
        odd = sorted(names ^ entries.keys())
        raise DataError(
            f"{path}: {', '.join(where + name for name in odd)} missing or unknown. "
            "Save the model again with this mmret."
        )
    for name, kind in entries.items():
        value = content[name]
        if isinstance(kind, dict):
            _check_entries(path, value, kind, f"{where}{name}.")
        elif type(value) not in (kind if isinstance(kind, tuple) else (kind,)) or (
            kind is int and value < 1
        ):
            raise DataError(f"{path}: {where}{name} cannot be {value!r}. Save the model again.")


def write_manifest(path: Path, content: dict[str, Any], digest: str = "sha256") -> None:
    """Write a JSON file that carries the checksum of its own content in the entry `digest`."""
    write_text(path, manifest_text(content, digest))


def manifest_text(content: dict[str, Any], digest: str = "sha256") -> str:
    """Return what `write_manifest` writes."""
    return json.dumps({**content, digest: _sha256(content)}, indent=1)


def read_manifest(path: Path, kind: str, version: int, digest: str = "sha256") -> dict[str, Any]:
    """Read what `write_manifest` wrote, without the checksum.

    Args:
        path: the file to read.
        kind: what its entry "format" must be, such as "mmret store".
        version: what its entry "version" must be.
        digest: the entry that holds the checksum.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is damaged, or of another kind or version. The caller adds the remedy to the
            message.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} is not json ({error})") from None
    if not isinstance(content, dict) or content.get("format") != kind:
        raise DataError(f"{path.name} is not that of a {kind.removeprefix('mmret ')}")
    if content.get("version") != version:
        raise DataError(f"it is of version {content.get('version')!r}, not {version}")
    if content.pop(digest, None) != _sha256(content):
        raise DataError(f"{path.name} is not as it was written")
    return content


def _sha256(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def entry_of(path: Path) -> dict[str, Any]:
    """Describe a finished file for a manifest: its name, size, time of change and checksums."""
    status = path.stat()
    block = CHECKED_TOGETHER
    checksums = [crc32_of(path, start, block) for start in range(0, status.st_size, block)]
    return {
        "name": path.name,
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "head_crc32": 0,
        "start": 0,
        "block": block,
        "crc32": checksums,
    }


def damage_of(folder: Path, entry: dict[str, Any]) -> str:
    """Say what is wrong with a file that a manifest describes; "" if nothing is.

    The checksums are compared only where the time of change is not the recorded one, as after a
    copy. With the recorded size and time, the file is taken to be unchanged, as git does.
    """
    path = folder / entry["name"]
    try:
        status = path.stat()
        if status.st_size != entry["bytes"]:
            return f"{path.name} has {status.st_size:,} bytes instead of {entry['bytes']:,}"
        if status.st_mtime_ns == entry["mtime_ns"]:
            return ""
        if crc32_of(path, 0, entry["start"]) != entry["head_crc32"]:
            return f"the head of {path.name} is not what was written"
        starts = range(entry["start"], entry["bytes"], entry["block"])
        with ThreadPoolExecutor() as pool:
            checksums = pool.map(lambda start: crc32_of(path, start, entry["block"]), starts)
            wrong = [k for k, crc in enumerate(checksums) if crc != entry["crc32"][k]]
    except FileNotFoundError:
        return f"{path.name} is missing"
    if not wrong:
        return ""
    which = f"{len(wrong)} of {len(starts)} blocks"
    if "rows" in entry:  # of a packed store or kept features: what the first block is of
        count = entry["block"] * entry["rows"] // (entry["bytes"] - entry["start"])
        unit = entry.get("unit", "images")
        which += f" (the first: {unit} {wrong[0] * count} to {(wrong[0] + 1) * count - 1})"
    return f"{which} of {path.name} are not what was written"


def crc32_of(path: Path, start: int, length: int) -> int:
    """Return the CRC-32 of `length` bytes of a file from byte `start` on."""
    with path.open("rb") as file:
        file.seek(start)
        return zlib.crc32(file.read(length))
