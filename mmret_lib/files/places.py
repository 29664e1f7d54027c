"""Places on this computer: the cache folder, and the files that the course ships.

In a clone or an editable install the shipped files are `data/` beside the package. A wheel holds
the same folder inside the package, as `mmret_lib/shipped_data`.
"""

import os
from pathlib import Path

import platformdirs

from mmret_lib.files.errors import DataError, MissingFile

PACKAGE = Path(__file__).resolve().parents[1]


def cache_folder() -> Path:
    """The folder for what can be made again: `$MMRET_CACHE`, else the system's usual place."""
    return user_path(os.environ.get("MMRET_CACHE") or platformdirs.user_cache_dir("mmret"))


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path that a user gave, with `~` replaced by the home folder, as a shell does it.

    A shell leaves `--root=~/photos` as it is, and Python takes `~` for a folder of that name.

    Raises:
        DataError: `~name` for a user that does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{path}: {error}; write the folder out, or ./{path}") from None


def shipped(name: str, otherwise: str = "") -> Path:
    """Find a file or folder that the course ships.

    Args:
        name: such as "mini/image".
        otherwise: what one can do without it; ends the error message.

    Raises:
        MissingFile: it is in neither of the two places; the message names both.
    """
    # The wheel's own folder first: beside an installed package, `data` may be anybody's.
    places = [PACKAGE / "shipped_data" / name, PACKAGE.parent / "data" / name]
    for place in places:
        if place.exists():
            return place
    raise MissingFile(
        f"{name} comes with mmret but is neither at {places[1]} (a clone) nor at "
        f"{places[0]} (an installed wheel). Clone the repository again or reinstall the package. "
        f"{otherwise}".rstrip()
    )
