"""A small packed store."""

from pathlib import Path

import pytest
from small_stores import SIDE, photo_set

from mmret_lib.data import Pairs
from mmret_lib.data.store import Store, pack


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    return photo_set(tmp_path / "photos", 40)


@pytest.fixture
def packed(pairs: Pairs, tmp_path: Path) -> Store:
    return pack(pairs, SIDE, tmp_path / "store", progress=False)
