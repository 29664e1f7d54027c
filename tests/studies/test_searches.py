"""What the searches chose is what their recorded rows say by the rule; every form pays the same."""

from pathlib import Path

import pandas as pd
import pytest

from mmret_lib.studies.searches import CHOSEN, FACTORS, FORMS, SEARCHES, SEED, chosen, trial
from mmret_lib.studies.studies import STUDIES

RESULTS = Path(__file__).resolve().parents[2] / "data" / "results"
RECALLS = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]
# Once a size has been searched, all of its forms have.
SEARCHED = [(size, form) for size in CHOSEN for form in CHOSEN[size]]


def scores(name: str) -> pd.Series:
    """The sum of the six recalls of each training of a recorded search."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"{path.name} is not recorded yet")
    rows = pd.read_csv(path, dtype={"training": str}).set_index("training")
    assert (rows.seed == SEED).all(), "a search has one seed, none of those that are reported"
    return rows[RECALLS].sum(axis=1)


@pytest.mark.parametrize(("size", "form"), SEARCHED)
def test_the_rate_is_the_best_on_the_validation_scenes(size: str, form: str) -> None:
    recorded = scores(f"{size}_rates")
    usual = FORMS[size][form][4][0]
    found = {
        factor: recorded[trial(form, size, factor, usual, split="val").training(SEED)]
        for factor in FACTORS[size]
    }
    assert CHOSEN[size][form][0] == max(found, key=lambda factor: found[factor]), found


@pytest.mark.parametrize(("size", "form"), SEARCHED)
def test_the_knob_is_the_best_at_that_rate(size: str, form: str) -> None:
    recorded = scores(f"{size}_knobs")
    factor, value = CHOSEN[size][form]
    found = {
        knob: recorded[trial(form, size, factor, knob, split="val").training(SEED)]
        for knob in FORMS[size][form][4]
    }
    assert value == max(found, key=lambda knob: found[knob]), found


@pytest.mark.parametrize("size", FORMS)
def test_every_form_has_the_same_budget(size: str) -> None:
    assert {len(values) for *_, values in FORMS[size].values()} == {3}
    rates = SEARCHES[f"{size}_rates"].trials
    assert len(rates) == len(FORMS[size]) * len(FACTORS[size])
    assert len({one.training(SEED) for one in rates.values()}) == len(rates)
    for form in CHOSEN[size]:
        knobs = [name for name in SEARCHES[f"{size}_knobs"].trials if name.startswith(f"{form}, ")]
        # "max_triplet" also begins "max_triplet, plain, margin 0.2".
        knobs = [name for name in knobs if name.count(",") == form.count(",") + 1]
        assert len(knobs) == 3


@pytest.mark.parametrize("size", CHOSEN)
def test_a_choice_is_one_of_the_values_that_were_searched(size: str) -> None:
    assert set(CHOSEN[size]) in (set(), set(FORMS[size])), "a size is searched as a whole"
    for form, (factor, value) in CHOSEN[size].items():
        assert factor in FACTORS[size] and value in FORMS[size][form][4]


def test_searches_rank_the_validation_scenes_and_reports_the_test_scenes() -> None:
    for study in SEARCHES.values():
        assert study.seeds == (SEED,)
        assert {one.split for one in study.trials.values()} <= {"val"}
    reports = [study for name, study in STUDIES.items() if name not in SEARCHES]
    assert reports
    for study in reports:
        assert SEED not in study.seeds
        assert {one.split for one in study.trials.values()} == {"test"}


def test_options_come_on_top_of_what_was_chosen() -> None:
    usual = chosen("simclr", "small")
    other = chosen("simclr", "small", data={"wrong_captions": 0.2}, config={"epochs": 2})
    assert (usual.data, other.data) == ({}, {"wrong_captions": 0.2})
    assert other.config == {**usual.config, "epochs": 2}
    assert chosen("simclr", "full").data == {"size": 8000, "test_size": 1000}


def test_the_defaults_comment_on_max_triplet_is_what_the_rows_say() -> None:
    rows = pd.read_csv(RESULTS / "losses.csv")
    plain = rows[rows.trial == "max_triplet, plain"]
    assert plain.seed.nunique() >= 3
    assert plain[["i2t_r1", "t2i_r1"]].max().max() < 2, "alone from the first step it hardly ranks"
