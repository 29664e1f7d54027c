"""Checks that the readers of data sets share: of folders, JSON, records, ids, names and captions.

Files of a data set can be wrong. Unchecked, a missing key would raise a bare KeyError, two images
with the same id would become one, and `../../x.jpg` would read a file outside of the folder. So
each record is checked before it is used, and an error names the file, the record and the remedy.
"""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmret_lib.files.errors import DataError, MissingFile, short
from mmret_lib.files.places import user_path

NAMED = 5  # records that a message names before it only counts the rest
# How tables write an empty cell: pandas, R, Excel and databases.
EMPTY = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none"))
REPAIR = "unpack or download the file again, or mend this record"


def first_few(records: Iterable[str], separator: str = "; ") -> str:
    """List the first few of many records and count the rest: "a; b; c; d; e; and 7 more"."""
    records = list(records)
    rest = [f"and {len(records) - NAMED:,} more"] if len(records) > NAMED else []
    return separator.join(records[:NAMED] + rest)


def enough_of(part: int, count: int) -> float:
    """The share that would allow `part` of `count`, in whole hundredths, for messages."""
    return math.ceil(100 * part / count) / 100


def existing_folder(folder: str | Path, layout: str) -> Path:
    """Check that a folder exists and return its absolute path.

    Absolute, because the paths of the images are kept in stores and indexes, which are opened from
    other working folders too.

    Raises:
        MissingFile: if it does not exist or is no folder; the message says what it should hold.
    """
    folder = user_path(folder).absolute()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise MissingFile(f"{folder} {what}; expected {layout}")
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object, in UTF-8 or UTF-16, as strictly as `parse_json`.

    Raises:
        MissingFile: if there is no such file.
        DataError: if it cannot be read or is not a JSON object.
    """
    again = "unpack or download the file again"
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise MissingFile(f"{path} does not exist; expected a json file there") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply to be a caption file; {again}") from error
    except ValueError as error:  # no json, another encoding, a number of thousands of digits
        raise DataError(f"{path} is not json that can be read ({error}); {again}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a json {type(content).__name__}, not an object; {again}")
    return content


def parse_json(text: str | bytes, *, nan_is_null: bool = False) -> Any:
    """Parse JSON more strictly than Python does.

    It refuses NaN, which is not JSON, and an object with two equal keys, of which Python would drop
    the first.

    Args:
        nan_is_null: read NaN as null instead, as Python's json writes an empty cell.

    Raises:
        ValueError, RecursionError: the text is no such JSON.
    """

    def constant(name: str) -> None:
        if not (nan_is_null and name == "NaN"):
            raise ValueError(f"{name} is not json; write the number or null")

    return json.loads(text, object_pairs_hook=_distinct_keys, parse_constant=constant)


def _distinct_keys(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(entries)
    if len(content) != len(entries):
        keys = [key for key, _ in entries]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {short(twice)} stands twice in one object")
    return content


def record_list(content: dict[str, Any], key: str, source: Path) -> list[dict[str, Any]]:
    """Return the list of objects under `key` of a JSON file.

    Raises:
        DataError: if there is no such key, or it holds anything but a list of objects.
    """
    if key not in content:
        raise DataError(
            f"{source} lacks {key!r}; it has {first_few(map(short, content), ', ') or 'nothing'}. "
            "Is this the caption file?"
        )
    records = content[key]
    if not isinstance(records, list):
        raise DataError(f"{source}: {key!r} is {short(records)}, not a list; {REPAIR}")
    for place, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataError(f"{source}: {key}[{place}] is {short(record)}, not an object; {REPAIR}")
    return records


def unique_ids(ids: Iterable[tuple[str, Any]], field: str) -> set[int | str]:
    """Check that each record has a valid id and no two the same, and return the ids.

    Args:
        ids: for each record, how a message should name it, and its id.
        field: the name of the ids, for messages.

    Raises:
        DataError: if an id is neither a text nor an integer of 64 bits, or occurs twice.
    """
    seen: set[int | str] = set()
    for where, value in ids:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not (isinstance(value, str) or (is_number and abs(value) < 2**63)):
            raise DataError(
                f"{where}: {field} is {short(value)}, not a whole number of 64 bits or a text; "
                f"{REPAIR}"
            )
        if value in seen:
            raise DataError(f"{where}: {field} {short(value)} stands twice; {REPAIR}")
        seen.add(value)
    return seen


def chosen_splits(split: str, known: list[str], source: str) -> set[str]:
    """Return the splits that "train+restval" or "all" names, checking that `source` has them.

    Raises:
        DataError: if there is no such split; the message lists the known ones.
    """
    chosen = set(known) if split == "all" else set(split.split("+"))
    if unknown := sorted(chosen - set(known)):
        raise DataError(
            f"{source} has no split {short(unknown[0])}; it has {', '.join(known)}, several of "
            "them joined by '+', or 'all'"
        )
    return chosen


def safe_name(
    file_name: Any,
    where: str,
    remedy: str = "write it as a name inside the image folder, such as 'photo.jpg'",
) -> str:
    """Check that a file name stays inside its folder on every operating system; return it.

    Other names are refused: a corrected name could be that of another file.

    Raises:
        DataError: if it is not a text, or leads out of its folder.
    """
    if not isinstance(file_name, str) or not file_name.strip():
        raise DataError(f"{where}: the file name is {short(file_name)}; {remedy}")
    if (
        ".." in file_name.split("/")
        or file_name.startswith("/")
        or file_name.endswith("/")
        or re.search(r"\\|\0|^[A-Za-z]:", file_name)
    ):
        raise DataError(
            f"{where}: the file name {short(file_name)} leads out of its folder; {remedy}"
        )
    return file_name


def clean_caption(caption: Any) -> str:
    """Return a caption without the white space around it.

    Raises:
        ValueError: it is empty, no text, or not valid Unicode; the message is such a predicate.
    """
    if caption is None or (isinstance(caption, str) and _is_empty(caption)):
        raise ValueError("is empty" if not caption else f"is empty ({short(caption)})")
    if not isinstance(caption, str):
        raise ValueError(f"is {short(caption)}, not a text")
    try:
        caption.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair: json lets it through, every tokeniser and every print fails.
        raise ValueError(f"{short(caption)} is not valid Unicode") from None
    return caption.strip()


def _is_empty(text: str) -> bool:
    return text.strip().casefold() in EMPTY
