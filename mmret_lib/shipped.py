"""Where the files that travel with the course lie: sprites, mini checkpoints, recorded results.

In a clone or an editable install that is `data/` beside the package. A built wheel carries the same
folder inside the package, as `mmret_lib/shipped_data`.
"""

from pathlib import Path

from mmret_lib.errors import MissingFile

PACKAGE = Path(__file__).resolve().parent


def shipped(name: str, otherwise: str = "") -> Path:
    """The path of `name` (a file or folder such as "mini/image") among what the course ships.

    Raises:
        MissingFile: it is in neither place; the message names both and ends in `otherwise`, what
            the caller's user can do without it.
    """
    # The wheel's own folder first: beside an installed package, `data` may be anybody's.
    places = [PACKAGE / "shipped_data" / name, PACKAGE.parent / "data" / name]
    for place in places:
        if place.exists():
            return place
    raise MissingFile(
        f"{name} should travel with mmret but is neither at {places[1]} (a clone) nor at "
        f"{places[0]} (an installed wheel). Clone the repository again or reinstall the package. "
        f"{otherwise}".rstrip()
    )
