"""The best possible ranking is known for the built-in world alone."""

import dataclasses

import pytest

from mmret_lib.data import load_pairs
from mmret_lib.files.errors import DataError
from mmret_lib.metrics.ceiling import best_possible


def test_only_the_built_in_world_has_a_ceiling(tmp_path):
    world = load_pairs("scenes", root=tmp_path, split="val", size=8, progress=False)
    strangers = dataclasses.replace(world, caption_info=None, name="coco")
    with pytest.raises(DataError, match="only the built-in world"):
        best_possible(strangers)
