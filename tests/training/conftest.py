"""The small built-in world that most tests of training share."""

import pytest

from mmret_lib.data import load_pairs
from mmret_lib.data.store import pack


@pytest.fixture(scope="session")
def splits(tmp_path_factory):
    """64 scenes to train on, 32 to validate."""
    root = tmp_path_factory.mktemp("world")

    def split(name, size):
        pairs = load_pairs("scenes", root=root, split=name, size=size, progress=False)
        return pack(pairs, 64, progress=False)

    return split("train", 64), split("val", 32)


@pytest.fixture(scope="session")
def world(splits):
    """64 scenes to train on."""
    return splits[0]
