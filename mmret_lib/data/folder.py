"""Read your own photos with a file of captions: CSV, TSV or JSON lines with named columns.

    filepath,title                      {"image": "a.jpg", "caption": ["A dog.", "A brown dog."]}
    a.jpg,A dog.
    pets/b.jpg,"A cat, asleep."

Columns are found by their usual names, open_clip's `filepath` and `title` among them, or named by
the caller.
"""

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmret_lib.data.assembling import Photo, assemble
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import (
    chosen_splits,
    existing_folder,
    first_few,
    safe_name,
)
from mmret_lib.data.tables import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    SPLIT_COLUMNS,
    Table,
    read_table,
    texts_of,
)
from mmret_lib.files.errors import DataError, MissingFile, short
from mmret_lib.files.places import user_path

# By what a column is named that has no usual name; {what} is image, caption or split.
REMEDY = "say which: --{what}-column NAME (in Python {what}_column=…)"
LAYOUT = "the photos that the captions file names"
VALIDATION = ("val", "validation", "valid", "dev")  # one meaning, whichever a file says


def read_folder(
    root: str | Path | None = None,
    split: str = "all",
    *,
    captions: str | Path | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
    split_column: str | None = None,
    max_missing: float = 0.01,
) -> Pairs:
    """Read a folder of photos with a captions file of named columns.

    Several rows for one photo are its captions. Photos come in the order of their first row. Rows
    without a caption are named in `skipped`, and rows that repeat another are counted there.

    Args:
        root: the folder that the photos' paths begin from; by default that of the captions file.
        split: "all", or a value of the split column, several joined by "+".
        captions: the CSV, TSV or JSON lines file; a relative path may also begin from root.
        image_column, caption_column, split_column: which columns to read, where their names are
            not the usual ones. The captions of a JSON object may be a text or a list of texts.
        max_missing: share of photos whose file may be missing, and of captions that may be empty,
            before that is an error.

    Raises:
        MissingFile: if root, the captions file, or too many photos are not there.
        DataError: if the file has no such columns, or a row of it is wrong; the message names it.
    """
    root, source = _places(root, captions)
    table, columns = _open(source, image_column, caption_column, split_column)
    skipped: list[str] = []
    photos, splits = _group(table, columns, root, skipped)
    if split != "all":
        if columns[2] is None:
            raise DataError(
                f"{source} has no column that says which split a row is in (such as "
                f"{', '.join(SPLIT_COLUMNS)}), so that only 'all' can be read, not {short(split)}. "
                "Add one, or name it: --split-column NAME (in Python split_column=…)"
            )
        present = sorted({*splits.values()} - {""})
        parts = "+".join(_validation_of(present) or part if part in VALIDATION else part
                         for part in split.split("+"))  # fmt: skip
        chosen = chosen_splits(parts, present, str(source))
        photos = {name: photo for name, photo in photos.items() if splits[name] in chosen}
    try:
        return assemble(
            photos.values(),
            root,
            source,
            name="folder",
            split=split,
            max_missing=max_missing,
            skipped=skipped,
        )
    except MissingFile as error:
        raise MissingFile(
            f"{error} Paths begin from {root}; if they should begin elsewhere, pass --root FOLDER "
            "(in Python root=…)."
        ) from None


def usual_splits(root: str | Path | None = None, **options: Any) -> tuple[str, str | None, str]:
    """The splits of a captions file to train on, to validate on, and to report.

    Arguments and errors are those of `splits_of`. Without a split column, these are "all", None
    and "all".
    """
    present = splits_of(root, **options)
    validation = _validation_of(present)
    train = "train" if "train" in present else "all"
    return train, validation, "test" if "test" in present else validation or "all"


def splits_of(
    root: str | Path | None = None,
    *,
    captions: str | Path | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
    split_column: str | None = None,
    **others: Any,
) -> list[str]:
    """The splits that a captions file has, in the order of their first row; "all" if it has none.

    Arguments and errors are those of `read_folder`; `max_missing` does not matter here.
    """
    source = _places(root, captions)[1]
    table, (*_, part) = _open(source, image_column, caption_column, split_column)
    if part is None:
        return ["all"]
    values = dict.fromkeys(_split_of(row, part, f"{source}: line {n}") for n, row in table.rows)
    return [value for value in values if value] or ["all"]


def _places(root: str | Path | None, captions: str | Path | None) -> tuple[Path, Path]:
    """The folder of the photos and the captions file, both absolute."""
    if captions is None:
        raise DataError(
            "say which file holds the captions: --captions FILE (in Python captions=…), a CSV, TSV "
            "or JSON lines file with a column of photo paths and one of captions"
        )
    source = user_path(captions)
    if root is not None:
        root = existing_folder(root, LAYOUT)
        if not source.exists() and (root / source).exists():
            source = root / source
    source = source.absolute()
    if not source.is_file():
        what = "is no file" if source.exists() else "does not exist"
        raise MissingFile(f"{source} {what}; expected a CSV, TSV or JSON lines file of captions")
    return root or source.parent, source


def _open(
    source: Path, image: str | None, caption: str | None, part: str | None
) -> tuple[Table, tuple[str, str, str | None]]:
    """The table, and its columns of photos, captions and splits (None where there is none)."""
    asked = [name.lower() for name in (image, caption, part) if name]
    table = read_table(source, [*asked, *IMAGE_COLUMNS, *CAPTION_COLUMNS, *SPLIT_COLUMNS])
    images = table.column("image", IMAGE_COLUMNS, REMEDY, image)
    captions = table.column("caption", CAPTION_COLUMNS, REMEDY, caption)
    split = table.column("split", SPLIT_COLUMNS, REMEDY, part, needed=False)
    if images == captions:
        raise DataError(f"{source}: photos and captions are both read from {images!r}; name two")
    return table, (images, captions, split)


def _group(
    table: Table, columns: tuple[str, str, str | None], root: Path, skipped: list[str]
) -> tuple[dict[str, Photo], dict[str, str]]:
    """Bring the rows of each photo together: path -> photo, and path -> its split."""
    image, caption, part = columns
    source = table.source
    roots = (root, root.resolve())
    photos: dict[str, Photo] = {}
    splits: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    repeated: list[str] = []
    for number, row in table.rows:
        where = f"{source}: line {number}"
        name = _name_of(row.get(image), roots, where)
        split = _split_of(row, part, where)
        if splits.setdefault(name, split) != split:
            raise DataError(
                f"{where}: {name} is in split {short(split)}, and on {photos[name].record} in "
                f"{short(splits[name])}; put all rows of a photo into one split"
            )
        photo = photos.setdefault(name, Photo(f"line {number}", name, name))
        for text in texts_of(row.get(caption)):
            if isinstance(text, str) and (text := text.strip()):
                if (name, text) in seen:
                    repeated.append(f"line {number} ({name})")
                    continue
                seen.add((name, text))
            photo.captions.append(text)
            photo.caption_records.append(f"line {number} ({name})")
    if repeated:
        lines = f"{len(repeated):,} rows repeat a row before them: {first_few(repeated, ', ')}"
        skipped.append(f"{source}: {lines}")
    return photos, splits


def _name_of(value: Any, roots: Sequence[Path], where: str) -> str:
    """The path of a row's photo, relative to the root, in one spelling.

    `roots` is the root as given, and with its links resolved.
    """
    name = value.strip() if isinstance(value, str) else value
    remedy = (
        f"write a path that begins from {roots[0]}, such as 'pets/cat.jpg', or pass another --root"
    )
    if isinstance(name, str):
        if "://" in name:
            raise DataError(f"{where}: {short(name)} is an address; download the photo; {remedy}")
        if os.path.isabs(name) and "\0" not in name:
            for folder in roots:
                if Path(name).is_relative_to(folder):
                    name = Path(name).relative_to(folder).as_posix()
                    break
    return posixpath.normpath(safe_name(name, where, remedy))


def _split_of(row: dict[str, Any], part: str | None, where: str) -> str:
    value = row.get(part) if part else None
    if not isinstance(value, str | None):
        raise DataError(f"{where}: the split is {short(value)}, not a text; write it as a string")
    return (value or "").strip()


def _validation_of(present: Sequence[str]) -> str | None:
    return next((name for name in VALIDATION if name in present), None)
