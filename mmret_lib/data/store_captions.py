"""The texts of a packed store: its Pairs and word pieces, and the keys that say what made it.

Images that could not be read stay black rows of the array; here they, and their captions, are left
out, counted and named.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store_files import VERSION, broken
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import cache_folder

NAMED = 10  # unreadable images that a summary lists before it only counts


class Tokenizes(Protocol):
    """What `Store.token_ids` asks of a text encoder; `TextEncoder` is one."""

    def tokenize(self, texts: Sequence[str]) -> dict[str, Any]: ...
    def vocabulary(self) -> str: ...


def unreadable_line(manifest: dict[str, Any]) -> str:
    """One line that counts and names the images that could not be read, or nothing."""
    faults = {int(row): why for row, why in manifest["images"]["unreadable"].items()}
    if not faults:
        return ""
    named = "; ".join(faults[row] for row in sorted(faults)[:NAMED])
    more = f"; and {len(faults) - NAMED:,} more" if len(faults) > NAMED else ""
    count = manifest["images"]["rows"]
    return f"{len(faults):,} of {count:,} images could not be read: {named}{more}"


def readable(pairs: Pairs, manifest: dict[str, Any], max_unreadable: float) -> Pairs:
    """The pairs without the images at fault, which are warned of; an error if they are too many."""
    faults = len(manifest["images"]["unreadable"])
    if not faults:
        return pairs
    share, summary = faults / len(pairs), unreadable_line(manifest)
    if share == 1:
        raise DataError(f"none of the {faults:,} images can be read; fetch them again. {summary}")
    if share > max_unreadable:
        raise DataError(
            f"{share:.1%} of the images cannot be read, more than the {max_unreadable:.1%} "
            "allowed. Fetch them again, take them out of the data set, or pass a larger "
            f"max_unreadable. {summary}"
        )
    warnings.warn(summary, stacklevel=3)
    return without_unreadable(pairs, manifest)


def without_unreadable(pairs: Pairs, manifest: dict[str, Any]) -> Pairs:
    faults = {int(row) for row in manifest["images"]["unreadable"]}
    if not faults:
        return pairs
    left = pairs.subset([row for row in range(len(pairs)) if row not in faults])
    return replace(left, skipped=(*left.skipped, unreadable_line(manifest)))


def pairs_json(pairs: Pairs) -> str:
    record = {field.name: getattr(pairs, field.name) for field in fields(pairs)}
    record["images"] = [str(path) for path in pairs.images]
    record["owner"] = pairs.owner.tolist()
    try:
        return json.dumps(record, default=lambda number: number.item())  # numpy's ids
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"the pairs hold something that json does not ({error})") from None


def read_pairs(folder: Path, manifest: dict[str, Any]) -> Pairs:
    path = folder / manifest["captions"]["name"]
    try:
        record = json.loads(path.read_bytes())
        record["images"] = [Path(name) for name in record["images"]]
        pairs = Pairs(**record)
    except (ValueError, TypeError, KeyError) as error:
        raise broken(folder, f"{path.name} does not hold what it should ({error})") from None
    if len(pairs) != manifest["images"]["rows"]:
        raise broken(folder, f"{path.name} has {len(pairs):,} images")
    return without_unreadable(pairs, manifest)


def numbered(pairs: Pairs) -> npt.NDArray[np.int64]:
    """(2, M): the image of each caption, and a number that equal captions share."""
    numbers: dict[str, int] = {}
    ids = [numbers.setdefault(caption, len(numbers)) for caption in pairs.captions]
    return np.stack([pairs.owner, np.array(ids, np.int64)])


def all_words(pairs: Pairs, encoder: Tokenizes) -> npt.NDArray[np.int32]:
    parts = []
    for start in range(0, len(pairs.captions), 4096):
        tokens = encoder.tokenize(pairs.captions[start : start + 4096])
        ids = np.asarray(tokens["input_ids"], np.int32)
        parts.append(np.where(np.asarray(tokens["attention_mask"], bool), ids, -1))
    words = np.full((len(pairs.captions), max(part.shape[1] for part in parts)), -1, np.int32)
    for number, part in enumerate(parts):
        words[number * 4096 : number * 4096 + len(part), : part.shape[1]] = part
    return words


def key_of(*parts: str) -> str:
    digest = hashlib.sha256(str(VERSION).encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def images_key(pairs: Pairs, size: int) -> str:
    """Changes with the size and with any photo's name, length or time."""
    lines = [str(size)]
    for path in pairs.images:
        try:
            status = path.stat()
            lines.append(f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}")
        except (OSError, ValueError):  # missing, or a NUL in its name: packing will name it
            lines.append(f"{path}\0")
    return key_of("images", *lines)


def captions_key(pairs: Pairs) -> str:
    return key_of("captions", pairs_json(pairs))


def usual_folder(pairs: Pairs, size: int) -> Path:
    place = key_of("folder", *(str(path.absolute()) for path in pairs.images))
    title = re.sub(r"[^\w.+-]+", "_", f"{pairs.name or 'pairs'}-{pairs.split or 'all'}")
    return cache_folder() / "stores" / f"{title[:60]}-{size}px-{place[:8]}"
