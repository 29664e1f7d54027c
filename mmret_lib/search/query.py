"""Decide what a query on the command line is: a sentence, or the file of a picture."""

import os
import re
from pathlib import Path

from mmret_lib.data.images import read_pixels
from mmret_lib.files.errors import DataError, MissingFile, visible

# Endings that picture files have, those that cannot be read here included.
IMAGE_ENDING = re.compile(
    r"\.(jpe?g?|jfif|png|webp|gif|bmp|dib|tiff?|p[bgnp]m|heic|heif|hif|avif|jp2|jxl|svg|ico|psd|raw|dng|cr[23]|nef|arw)",
    re.IGNORECASE,
)
# "/photos/a dog", "./a dog", "~/a dog", "C:\a dog": no sentence begins like that.
PATH_START = re.compile(r"(\.{0,2}|~\w*|[A-Za-z]:)[/\\]")


def picture_or_text(query: str) -> Path | str:
    r"""Decide whether a query names a picture file or is a text to search for.

    The file itself decides: where there is a file of that name, it is a picture, whatever its
    ending, and is read to be sure. Otherwise the query is a text, unless it looks like a path: it
    ends like a picture (.jpg, .tif, …), begins like a path (/, ./, ~/, C:\), or has a slash and no
    spaces. So "a man/woman on a bike" is a text and "photos/bike" is a path.

    Returns:
        The path of a picture that can be read, or the text.

    Raises:
        MissingFile: the query looks like a path, and there is no such file.
        DataError: the query is empty, or names a file that is no readable picture.

    Example:
        >>> picture_or_text("a red bus")
        'a red bus'
    """
    text = query.strip()
    if not text:
        raise DataError('the query is empty; say what to look for, such as "a red bus"')
    looks_like_path = (
        PATH_START.match(text) is not None
        or re.fullmatch(r"\S*[/\\]\S*", text) is not None
        or IMAGE_ENDING.fullmatch(Path(text).suffix) is not None
    )
    path = _existing(query) or _existing(text)
    if path is None and looks_like_path:
        raise MissingFile(
            f"there is no file {visible(text)}, and the query looks like the path of a picture; "
            "check the path. A text with a slash in it needs a space as well, such as "
            '"a man/woman on a bike"'
        )
    if path is None or (path.is_dir() and not looks_like_path):
        return _as_typed(query)  # a word such as "photos" may be a folder's name by chance
    try:
        read_pixels(path, 64)
    except DataError as error:
        raise DataError(
            f"the query names a file that is not a readable picture: {error}. "
            "To search for the name itself as a text, put a full stop after it"
        ) from error
    return path


def _as_typed(query: str) -> str:
    """Undo what Python makes of UTF-8 letters on a command line where the system says ASCII."""
    try:
        return os.fsencode(query).decode()
    except UnicodeError:
        return query


def _existing(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, no such user
        return None
