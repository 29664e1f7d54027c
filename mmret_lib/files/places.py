"""Places on this computer: the cache folder, and the files that the course ships.

In a clone or an editable install the shipped files are `data/` beside the package. A wheel holds
the same folder inside the package, as `mmret_lib/shipped_data`.
"""

import os
import sys
from pathlib import Path

import platformdirs

from mmret_lib.files.errors import DataError, MissingFile

PACKAGE = Path(__file__).resolve().parents[1]


def cache_folder() -> Path:
    """Return the cache folder: `$MMRET_CACHE` if set, else the system's usual place for caches."""
    return user_path(os.environ.get("MMRET_CACHE") or platformdirs.user_cache_dir("mmret"))


def user_path(path: str | os.PathLike[str]) -> Path:
    """Make a Path of what a user gave, with `~` replaced by the home folder.

    Shells do not replace the `~` in `--root=~/photos`, and Python would make a folder of that name.

    Raises:
        DataError: `~name` for a user that does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{path}: {error}; write the folder out, or ./{path}") from None


def refuse_no_text(path: Path) -> None:
    """Raise DataError for a path that is no text: some libraries cannot write to such a one.

    With LC_ALL=C and without UTF-8 mode, Python takes every letter beyond ASCII for such bytes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{path}: this name is no text in the encoding of file names here, "
            f"{sys.getfilesystemencoding()}. Set PYTHONUTF8=1, or give a name in plain letters"
        ) from None


def shipped(name: str, otherwise: str = "") -> Path:
    """Find a file or folder that the course ships.

    Args:
        name: such as "mini/image".
        otherwise: what to do without it; the end of the error message.

    Raises:
        MissingFile: it is neither in a clone nor in a wheel; the message names both places.
    """
    # The wheel's folder first: a `data` beside an installed package may belong to another one.
    places = [PACKAGE / "shipped_data" / name, PACKAGE.parent / "data" / name]
    for place in places:
        if place.exists():
            return place
    raise MissingFile(
        f"{name} comes with mmret but is neither at {places[1]} (a clone) nor at "
        f"{places[0]} (an installed wheel). Clone the repository again or reinstall the package. "
        f"{otherwise}".rstrip()
    )
