"""Small tables in the layout of data/results, and what is compared in the recorded ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

SEEDS = (0, 1, 2)
# What README and lesson 10 compare in world.csv: the intervals hold together.
AT_FULL_SIZE = [
    ("simclr", "sum_triplet"),
    ("simclr", "max_triplet"),
    ("simclr", "barlow_twins"),
    ("max_triplet", "sum_triplet"),
    ("max_triplet", "max_triplet, plain"),
    ("barlow_twins", "barlow_twins, plain"),
]
RECALLS = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]


def recalls(r1: float) -> dict[str, float]:
    """All six recalls; from image to text twice as much at R@1."""
    return {"i2t_r1": 2 * r1, "t2i_r1": r1, **dict.fromkeys(RECALLS[1:3] + RECALLS[4:], 50 + r1)}


def study(trials: Mapping[str, Mapping[str, Any]], seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """Rows of trials, each given by its settings and "r1", the R@1 (text to image) of seed 1."""
    rows = []
    for trial, settings in trials.items():
        for seed in seeds:
            own = {name: value for name, value in settings.items() if name != "r1"}
            r1 = settings["r1"] + (seed - 1) * settings.get("spread", 1.0)
            row = {"trial": trial, **own, "seed": seed, **recalls(r1)}
            rows.append({**row, "training": f"{trial}, {seed}"})
    return pd.DataFrame(rows)
