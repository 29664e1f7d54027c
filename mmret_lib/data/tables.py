"""Read a text file of named columns: CSV, TSV or JSON lines.

What stands in the file decides which of them it is, not the ending of its name: many a `.csv` holds
tabs. The text may be UTF-8 or UTF-16, with or without a byte order mark.
"""

import csv
import io
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from mmret_lib.data.reading import first_few, parse_json
from mmret_lib.files.errors import DataError, MissingFile, short

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons"}
ENDINGS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}  # they decide only where the content does not
EXPECTED = (
    "expected a first line that names the columns, separated by commas or tabs, or one JSON object "
    "a line"
)


# The usual names of columns, in small letters.
IMAGE_COLUMNS = [
    "image",
    "filepath",
    "file_path",
    "file_name",
    "filename",
    "path",
    "img",
    "image_path",
    "image_name",
    "image_file",
    "img_path",
    "file",
    "photo",
]
CAPTION_COLUMNS = [
    "caption",
    "title",
    "text",
    "comment",
    "sentence",
    "captions",
    "sentences",
    "raw",
    "description",
]
SPLIT_COLUMNS = ["split", "subset", "partition"]


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        source: the file.
        columns: the names of its columns; of JSON lines, all keys in the order of appearance.
        rows: for each row its line number (from 1) and column -> value, once through.
    """

    source: Path
    columns: list[str]
    rows: Iterator[tuple[int, dict[str, Any]]]

    @overload
    def column(
        self, what: str, usual: Sequence[str], remedy: str, asked: str | None = None
    ) -> str: ...
    @overload
    def column(
        self, what: str, usual: Sequence[str], remedy: str, asked: str | None, *, needed: bool
    ) -> str | None: ...
    def column(
        self,
        what: str,
        usual: Sequence[str],
        remedy: str,
        asked: str | None = None,
        *,
        needed: bool = True,
    ) -> str | None:
        """Find a column by its name, never by its place.

        Args:
            what: what stands in it, for messages: "image", "caption" or "split".
            usual: names that it may have, in small letters.
            remedy: what to do where none has or several have such a name; may hold "{what}".
            asked: its name, if the user gave one.
            needed: whether it is an error that there is none; else the result is then None.

        Raises:
            DataError: there is no such column, or several.
        """
        present = f"its columns are {', '.join(map(short, self.columns)) or 'none'}"
        remedy = remedy.format(what=what)
        if asked is not None:
            if asked in self.columns:
                return asked
            raise DataError(f"{self.source} has no column {short(asked)}; {present}; {remedy}")
        named = {name: name.lower().replace(" ", "_").replace("-", "_") for name in self.columns}
        fitting = [name for name in self.columns if named[name] in usual]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            names = " and ".join(map(repr, fitting))
            raise DataError(
                f"{self.source}: {names} could each be the {what} column; {present}; {remedy}"
            )
        if needed:
            raise DataError(
                f"{self.source} has no {what} column with one of the usual names "
                f"({first_few(usual, ', ')}); {present}; the first line must name the columns; "
                f"{remedy}"
            )
        return None


def read_table(source: Path, known: Collection[str]) -> Table:
    """Read a file of named columns.

    Args:
        known: names that columns may have, in small letters. They only decide between separators
            where the first line can be split by several.

    Raises:
        MissingFile: there is no such file.
        DataError: it is neither CSV, TSV nor JSON lines; the rows raise it for a line that is bad.
    """
    text = read_text(source)
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise DataError(
            f"{source}: line {line} holds a NUL byte, so this is no text file, or a damaged one; "
            "save the table as CSV (UTF-8)"
        )
    if text.lstrip().startswith("{"):
        records = list(_json_rows(source, text))
        columns = list(dict.fromkeys(key for _, record in records for key in record))
        return Table(source, columns, iter(records))
    if text.lstrip().startswith("["):
        raise DataError(f"{source} holds one JSON list; write one object a line, without the list")
    rows = delimited_rows(source, text, _separator(source, text, known))
    number, header = next(rows)
    columns = [name.strip() for name in header]
    if twice := [name for name in columns if name and columns.count(name) > 1]:
        raise DataError(
            f"{source}: line {number} names the column {short(twice[0])} twice; rename one of them"
        )
    filled = (
        (line, dict(zip(columns, row, strict=True)))
        for line, row in rows
        if any(map(str.strip, row))  # spreadsheets write rows of separators alone
    )
    return Table(source, columns, filled)


def texts_of(value: Any) -> list[Any]:
    """The captions in a cell: one, or a list of them, which in a CSV is written as JSON."""
    if isinstance(value, str) and value.lstrip().startswith('["'):
        try:
            value = parse_json(value)
        except (ValueError, RecursionError):  # a caption that begins like a list
            return [value]
    return value if isinstance(value, list) else [value]


def read_text(path: Path) -> str:
    """Read a text in UTF-8 or UTF-16, with or without a byte order mark.

    Raises:
        MissingFile: there is no such file.
        DataError: it cannot be read, or has another encoding.
    """
    try:
        content = path.read_bytes()
        return content.decode(json.detect_encoding(content))
    except FileNotFoundError:
        raise MissingFile(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line}: byte {error.start} is not "
            f"{error.encoding.upper()}; download the file again, or save it as UTF-8 (in Excel: as "
            "CSV UTF-8)"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def delimited_rows(
    source: Path, text: str, separator: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Split a CSV text into rows: the line number of each and its fields, the header first.

    Raises:
        DataError: a row of more or fewer fields than the header, or with broken quotes.
    """
    # strict: else one quote that is never closed swallows the rest of the file in silence
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    fields = 0
    try:
        for row in reader:
            if not row:
                continue
            fields = fields or len(row)
            if len(row) != fields:
                sign = SEPARATORS.get(separator, separator)
                raise DataError(
                    f"{source}: line {reader.line_num} has {len(row)} fields where the header has "
                    f"{fields}: put a caption that has {sign} between double quotes"
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(
            f"{source}: line {reader.line_num}: {error}; check its double quotes"
        ) from error


def _separator(source: Path, text: str, known: Collection[str]) -> str:
    """The sign that splits the first line into columns; of several, the one with known names."""
    found = {}  # separator -> how many of the columns have a known name
    for separator in SEPARATORS:
        try:
            _, header = next(delimited_rows(source, text, separator), (1, []))
        except DataError:  # quotes that do not fit this separator
            continue
        if len(header) > 1:
            found[separator] = sum(name.strip().lower() in known for name in header)
    best = [separator for separator, names in found.items() if names == max(found.values())]
    if ENDINGS.get(source.suffix.lower()) in best:
        best = [ENDINGS[source.suffix.lower()]]
    if len(best) == 1:
        return best[0]
    first_line = short(text.lstrip().partition("\n")[0].rstrip("\r"))
    if not best:
        raise DataError(f"{source}: line 1 is {first_line}; {EXPECTED}")
    signs = " or by ".join(SEPARATORS[separator] for separator in best)
    raise DataError(
        f"{source}: line 1 is {first_line}, which may be split by {signs}; {EXPECTED}, with names "
        f"such as {first_few(known, ', ')}"
    )


def _json_rows(source: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line, nan_is_null=True)  # an empty cell of pandas
        except (ValueError, RecursionError) as error:
            hint = " (a COCO caption file is read as the data set coco)" if number == 1 else ""
            raise DataError(
                f"{source}: line {number} is not JSON that can be read ({error}); write one whole "
                f"object a line{hint}"
            ) from error
        if not isinstance(record, dict):
            raise DataError(f"{source}: line {number} is {short(record)}, not a JSON object")
        yield number, record
