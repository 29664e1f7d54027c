"""Divide photos into splits by chance, the same on every machine and ever after.

For copies of a data set that lack its official lists. What a photo is used for depends on its name
alone: not on the order of a file, nor on which other photos a copy holds.
"""

import hashlib
from collections.abc import Mapping

SEEDED = "seeded-"  # begins the name of such a split, in titles and in the records of runs
WARNING = (
    "the photos are divided by a hash of their names; published figures were measured on another "
    "division, and cannot be compared with figures on this one"
)


def part_of(name: str, shares: Mapping[str, float], rest: str) -> str:
    """The split of a photo.

    Args:
        name: of its file, as the caption file has it.
        shares: split -> its share of the photos.
        rest: the split of all others.
    """
    digest = hashlib.sha256(f"mmret split {name}".encode("utf-8", "surrogatepass")).digest()
    chance = int.from_bytes(digest[:8]) / 2**64  # from 0 to 1, all equally likely
    for part, share in shares.items():
        if chance < share:
            return part
        chance -= share
    return rest
