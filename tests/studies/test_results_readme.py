"""data/results/README.md names every file, and says how much of each study is measured.

Where rows were added, a failing test prints what the README has to say.
"""

import re
from pathlib import Path

import pandas as pd
import pytest

from mmret_lib.studies.studies import STUDIES

RESULTS = Path(__file__).resolve().parents[2] / "data" / "results"
README = (RESULTS / "README.md").read_text(encoding="utf-8")
FLAT = re.sub(r"\s+", " ", README)
NOT_OURS = "real_"  # of benchmarks/real.py, with columns of their own
NO_LONGER_DEFINED = {"barlow_search": 1}
TABLES = {
    path.stem: pd.read_csv(path)
    for path in sorted(RESULTS.glob("*.csv"))
    if not path.stem.startswith(NOT_OURS)
}
TRAININGS = {name: rows for name, rows in TABLES.items() if "seconds" in rows}


def cells_of(study: str) -> list[str]:
    """The cells of the line of the README that begins with a study's name."""
    [line] = re.findall(rf"(?m)^\| `{study}` \|.*", README)
    return [cell.strip() for cell in line.strip("|").split("|")]


def measured(study: str) -> str:
    """From how many seeds the trials of a study are trained, and of how many planned ones."""
    planned = len(STUDIES[study].seeds) if study in STUDIES else NO_LONGER_DEFINED[study]
    if study not in TRAININGS:
        return f"0 of {planned}"  # defined, and no file yet
    seeds = TRAININGS[study].groupby("trial").seed.nunique()
    if study in STUDIES:
        seeds.index = seeds.index.map(str)  # the trials of batch_size are read as numbers
        seeds = seeds.reindex(list(STUDIES[study].trials), fill_value=0)
    if seeds.min() == planned:
        return f"{planned}"
    fewest, most = seeds.min(), seeds.max()
    return f"{fewest} of {planned}" if fewest == most else f"{fewest} to {most} of {planned}"


def test_every_file_is_described() -> None:
    for path in RESULTS.glob("*.csv"):
        assert re.search(rf"`{path.stem}(?:\.csv)?`", README), path.name


@pytest.mark.parametrize("study", [*STUDIES, *NO_LONGER_DEFINED])
def test_the_seeds_are_those_of_the_rows(study: str) -> None:
    assert cells_of(study)[-1] == measured(study)


def test_the_computing_time_is_the_sum_of_the_trainings() -> None:
    rows = pd.concat(TRAININGS.values()).drop_duplicates("training")
    said = f"{len(rows)} trainings took {rows.seconds.sum() / 3600:.1f} hours"
    assert said in FLAT, said
