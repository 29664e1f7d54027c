"""The two errors a user of the library is meant to read.

Each message names the file, the record and the remedy. The command line prints it as it stands;
anything else that escapes is a bug and keeps its traceback.
"""

import reprlib
from typing import Any


class DataError(ValueError):
    """Something the user gave (a file, a folder, a record, a setting) cannot be used as it is."""


class MissingFile(DataError, FileNotFoundError):
    """A file or folder the user named, or one that should have been fetched, is not there."""

    def __str__(self) -> str:  # OSError would print a tuple of errno fields
        return " ".join(str(part) for part in self.args)


# What must not reach a terminal, a page or a figure as it is: it would steer them, or break them.
_UNSEEN = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_UNSEEN |= {0x7F: 0x2421} | dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], 0xFFFD)


def visible(text: str) -> str:
    """A text for people's eyes: control characters become the signs that stand for them.

    A caption is somebody else's data. An escape sequence in it would steer the terminal that it is
    printed on, a NUL or half a surrogate pair breaks pages and figures. Line breaks and tabs stay.
    """
    return text.replace("\r\n", "\n").translate(_UNSEEN)


def short(value: Any) -> str:
    """A value for a message: its repr, cut to a line, escapes and all."""
    return reprlib.repr(value)
