"""The errors that a user of the library sees, and how values are shown in their messages.

Each message names the file, the record and the remedy. The command line prints it without a
traceback; any other exception is a bug.
"""

import reprlib
from typing import Any


class DataError(ValueError):
    """Something the user gave (a file, a folder, a record, a setting) cannot be used as it is."""


class MissingFile(DataError, FileNotFoundError):
    """A file or folder the user named, or one that should have been fetched, is not there."""

    def __str__(self) -> str:  # OSError would print a tuple of errno fields
        return " ".join(str(part) for part in self.args)


class DiskError(DataError, OSError):
    """A file or folder cannot be written: a full disk, no rights, a fault.

    Attributes:
        strerror: the reason, in the system's words.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.strerror = reason or message

    def __str__(self) -> str:
        return str(self.args[0])


class MissingPhotos(MissingFile):
    """A part of the photos that a data set lists is not there."""


# Characters that would control a terminal, or break a page or a figure.
_VISIBLE = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_VISIBLE |= {0x7F: 0x2421} | dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], 0xFFFD)


def visible(text: str) -> str:
    """Replace the control characters of a text by visible signs.

    An escape sequence in a caption could control the terminal that it is printed on; a NUL or half
    a surrogate pair breaks pages and figures. Line breaks and tabs stay.
    """
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def on_one_line(text: str) -> str:
    """Do as `visible`, with line breaks and tabs too: for file names, which may hold any."""
    return visible(text).replace("\n", "\u240a").replace("\t", "\u2409")


def short(value: Any) -> str:
    """The repr of a value, cut to a length that fits into a message."""
    return reprlib.repr(value)
