"""What the trainings of `real.py` come to: rows, means over photos, intervals, differences."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

FIGURES = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]
DRAWS = 4000  # of the bootstrap
Training = dict[str, Any]  # what the work folder keeps of one, see `Bench.kept` in `real`
Pick = Callable[[Training], int]  # which of a training's records counts


def best_epoch(most: int = 72) -> Pick:
    """The record that is best on the held-out photos, of those up to an epoch."""

    def pick(training: Training) -> int:
        sums = [sum(r["held"]) for r in training["records"] if r["epoch"] <= most]
        return int(np.argmax(sums))

    return pick


def at_epoch(epoch: int) -> Pick:
    """The record after so many epochs."""
    return lambda training: [r["epoch"] for r in training["records"]].index(epoch)


def row(training: Training, plan: str, pick: Pick) -> dict[str, Any]:
    """One training at one of its epochs, as a row of a table: recalls on the test photos."""
    place = pick(training)
    record = training["records"][place]
    figures = training["hits"][place].mean(0)
    names = ("pair", "form", "fold", "seed", "rate", "value", "wrong", "count", "pick")
    return {
        **{name: training[name] for name in names},
        "plan": plan,
        "epoch": record["epoch"],
        **dict(zip(FIGURES, figures.round(2).tolist(), strict=True)),
        "rsum": round(float(figures.sum()), 2),
        "held_rsum": round(sum(record["held"]), 2),
        "seen_rsum": round(sum(record["seen"]), 2),
        "loss": round(record["loss"], 4),
        "effective": round(record["effective"], 2),
        "above_1_percent": round(record["above"], 2),
    }


def per_photo(trainings: Iterable[Training], pick: Pick) -> dict[int, np.ndarray]:
    """Seed -> the hits of every photo, each tested in its fold: (photos, 6)."""
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for training in trainings:
        hits = training["hits"][pick(training)]
        found.setdefault(training["seed"], []).append((training["rows"], hits))
    table = {}
    for seed, parts in found.items():
        rows = np.concatenate([rows for rows, _ in parts])
        if len(np.unique(rows)) == len(rows) and len(rows) == rows.max() + 1:  # all folds are done
            table[seed] = np.concatenate([hits for _, hits in parts])[np.argsort(rows)]
    return table


@cache
def weights(seeds: int, photos: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each seed and each photo is drawn, as shares: (DRAWS, seeds), (DRAWS, photos)."""
    rng = np.random.default_rng(0)
    return tuple(rng.multinomial(n, np.full(n, 1 / n), size=DRAWS) / n for n in (seeds, photos))


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of values (seeds, photos), with a percentile bootstrap over photos and over seeds."""
    of_seeds, of_photos = weights(*values.shape)
    means = (of_seeds * (of_photos @ values.T)).sum(1)
    low, high = np.percentile(means, [50 - 50 * level, 50 + 50 * level])
    return float(values.mean()), float(low), float(high)


def sums(table: dict[int, np.ndarray], seeds: Iterable[int] | None = None) -> np.ndarray:
    """The sum of the six recalls of every photo, (seeds, photos)."""
    return np.stack([table[seed].sum(1) for seed in (table if seeds is None else seeds)])


def compare(
    tables: dict[str, dict[int, np.ndarray]], couples: Sequence[tuple[str, str]], about: str
) -> pd.DataFrame:
    """Compare the sums of recalls photo by photo and seed by seed.

    The intervals hold together at 95 % (Bonferroni over `couples`).
    """
    level = 1 - 0.05 / max(len(couples), 1)
    rows = []
    for one, other in couples:
        seeds = sorted(tables[one].keys() & tables[other].keys())
        mean, low, high = interval(sums(tables[one], seeds) - sums(tables[other], seeds), level)
        row = {"about": about, "one": one, "other": other, "seeds": len(seeds)}
        row |= {"difference": mean, "low": low, "high": high, "level": level}
        rows.append({**row, "decided": low > 0 or high < 0})
    return pd.DataFrame(rows).round({"difference": 2, "low": 2, "high": 2, "level": 5})


def ordered_couples(tables: dict[str, dict[int, np.ndarray]]) -> list[tuple[str, str]]:
    """Every two of them, the better one first."""
    order = sorted(tables, key=lambda name: -sums(tables[name]).mean())
    return list(itertools.combinations(order, 2))


def curve(trainings: Sequence[Training]) -> pd.DataFrame:
    """One row per seed and epoch of a form: means over the folds, of test figures over photos."""
    rows = []
    seeds = sorted(per_photo(trainings, at_epoch(1)))
    for seed in seeds:
        own = [t for t in trainings if t["seed"] == seed]
        for place, record in enumerate(own[0]["records"]):
            figures = np.concatenate([t["hits"][place] for t in own]).mean(0)
            each = [t["records"][place] for t in own]
            rows.append(
                {
                    "form": own[0]["form"],
                    "seed": seed,
                    "epoch": record["epoch"],
                    "steps": record["steps"],
                    "loss": np.mean([r["loss"] for r in each]),
                    **dict(zip(FIGURES, figures, strict=True)),
                    "rsum": figures.sum(),
                    "held_rsum": np.mean([sum(r["held"]) for r in each]),
                    "seen_rsum": np.mean([sum(r["seen"]) for r in each]),
                    "effective": np.mean([r["effective"] for r in each]),
                    "above_1_percent": np.mean([r["above"] for r in each]),
                }
            )
    return pd.DataFrame(rows).round(3)
