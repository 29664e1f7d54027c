"""Say which pictures a data set holds twice, within a split or in two of its splits."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt

from mmret_lib.data.features import Features
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.pixel_hash import copies_in
from mmret_lib.data.store import Store
from mmret_lib.files.errors import on_one_line

NAMED = 3  # examples in a line


def duplicate_lines(splits: Mapping[str, Store | Features]) -> list[str]:
    """Describe the copies in a data set, a line for each split and each two splits with some.

    Args:
        splits: name -> its packed pictures, or features that know their hashes.

    Returns:
        such as "train: 12 photos are there twice: a.jpg = b.jpg, c.jpg = d.jpg, …" and
        "train2017 and test: 3,412 photos are in both: a.jpg, …".
    """
    lines = []
    for name, data in splits.items():
        first = copies_in(data.hashes, data.hashes)
        copies = np.flatnonzero((first >= 0) & (first < np.arange(len(first))))
        if len(copies):
            named = _named(data.pairs, first[copies], data.pairs, copies)
            lines.append(f"{name}: {_photos(len(copies))} there twice: {named}")
    for (name, data), (other, more) in combinations(splits.items(), 2):
        first = copies_in(data.hashes, more.hashes)
        copies = np.flatnonzero(first >= 0)
        if len(copies):
            named = _named(data.pairs, first[copies], more.pairs, copies)
            lines.append(f"{name} and {other}: {_photos(len(copies))} in both: {named}")
    return lines


def _photos(count: int) -> str:
    return "1 photo is" if count == 1 else f"{count:,} photos are"


def _named(
    some: Pairs,
    rows: npt.NDArray[np.int64],
    others: Pairs,
    copies: npt.NDArray[np.int64],
) -> str:
    """Name the first few: "a.jpg = b.jpg", or "a.jpg" where both have that name."""
    parts = []
    for i, j in zip(rows[:NAMED], copies[:NAMED], strict=True):
        names = dict.fromkeys((some.images[i].name, others.images[j].name))
        parts.append(on_one_line(" = ".join(names)))
    return ", ".join(parts) + (", …" if len(copies) > NAMED else "")
