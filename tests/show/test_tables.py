"""The tables: the layout of the project of 2021, and means over any number of seeds."""

import math

import numpy as np
import pandas as pd
import pytest

from mmret_lib.metrics import report_from_scores
from mmret_lib.show.tables import (
    display_name,
    gain,
    gains,
    over_seeds,
    results_frame,
    results_text,
    seeds_text,
    shares_kept,
    student_t,
    verdict,
)

# As printed in any table of Student's t: by degrees of freedom, two-sided, 95 %.
PRINTED = {1: 12.706, 2: 4.303, 9: 2.262, 10: 2.228, 11: 2.201, 29: 2.045, 120: 1.980, 1000: 1.962}


@pytest.mark.parametrize(("degrees", "printed"), PRINTED.items())
def test_the_factor_of_an_interval_is_the_printed_one(degrees: int, printed: float) -> None:
    assert student_t(degrees + 1) == printed


@pytest.mark.parametrize("count", [2, 11, 12, 30])
def test_means_and_gains_over_many_seeds(count: int) -> None:
    """From eleven seeds on, a table of nine factors was read past its end."""
    seeds = list(range(count))
    rows = pd.DataFrame(
        {
            "trial": ["a"] * count + ["b"] * count,
            "seed": seeds * 2,
            "r": [float(seed) for seed in seeds] + [2.0 * seed for seed in seeds],
        }
    )
    table = over_seeds(rows, ["r"])
    # The variance of 0, 1, …, n - 1 is n (n + 1) / 12.
    half = PRINTED[count - 1] * math.sqrt((count + 1) / 12)
    assert table.seeds.tolist() == [count, count]
    assert table.r.tolist() == [(count - 1) / 2, count - 1]
    assert table.r_half.tolist() == pytest.approx([half, 2 * half])
    assert gain(rows, "b", "a", "r") == (pytest.approx((count - 1) / 2), pytest.approx(half))
    assert f"± {half:6.1f}" in seeds_text(rows, ["r"])


def test_intervals_by_hand() -> None:
    rows = pd.DataFrame(
        {"trial": list("aaabbb"), "seed": [0, 1, 2] * 2, "r": [1.0, 2, 6, 2, 4, 9], "one": 1.0}
    )
    table = over_seeds(rows, ["r", "one"])
    assert table.loc["a", "r"] == 3 and table.loc["a", "seeds"] == 3
    # Variance 7 by hand; t for two degrees of freedom is 4.303.
    assert table.loc["a", "r_half"] == pytest.approx(4.303 * math.sqrt(7 / 3), abs=1e-3)
    assert table.loc["a", "one_half"] == 0
    mean, half = gain(rows, "b", "a", "r")  # differences 1, 2, 3
    assert (mean, half) == (2, pytest.approx(4.303 / math.sqrt(3), abs=1e-3))
    single = rows[rows.seed == 0]
    assert math.isnan(over_seeds(single, ["r"]).loc["a", "r_half"])
    assert "nan" not in seeds_text(single, ["r"])
    with pytest.raises(ValueError, match="1 seeds in common"):
        gain(single, "b", "a", "r")


def test_results_stand_beside_the_project() -> None:
    report = report_from_scores(np.eye(2), owner=np.arange(2))
    text = results_text(results_frame({"simclr": report, "mine": report}, ceiling=report))
    here, project = text.split("the project, COCO")
    assert "2 images, 2 captions in the pool" in here
    for name in ("SimCLR", "mine", "best possible"):
        assert f"\n{name} " in here
    assert "scores each pair by itself" in here and "by itself" not in project
    assert "19.7" in project and "mine" not in project
    assert display_name("max_triplet, plain") == "Max Triplet, plain"


def test_intervals_that_hold_together_are_wider() -> None:
    # Tables of the Bonferroni t: degrees of freedom 4, alpha 0.05 / 5 = 0.01 and 0.05 / 50 = 0.001.
    assert (student_t(5, 5), student_t(5, 50)) == (4.604, 8.610)
    assert student_t(2, 5) == pytest.approx(63.657, abs=2e-3)


@pytest.mark.parametrize(
    ("difference", "half", "said"),
    [
        (2, 1, "ahead"),
        (-2, 1, "behind"),
        (1, 2, "undecided"),
        (-1, 2, "undecided"),
        (1, 1, "undecided"),
        (0, 0, "undecided"),
        (3, math.nan, "undecided"),
    ],
)
def test_an_interval_that_includes_zero_is_undecided(
    difference: float, half: float, said: str
) -> None:
    assert verdict(difference, half) == said


def test_several_gains_are_judged_together() -> None:
    """A difference that is beyond zero alone is undecided among five."""
    seeds = [0, 1, 2, 3, 4]
    values = {"a": [0.0] * 5, "b": [1.0, 2, 3, 4, 5], "c": [10.0, 11, 12, 13, 14]}
    rows = pd.DataFrame([{"trial": t, "seed": s, "r": values[t][s]} for t in values for s in seeds])
    alone, half = gain(rows, "b", "a", "r")
    assert verdict(alone, half) == "ahead"
    table = gains(rows, [("b", "a"), ("a", "c"), ("b", "c"), ("c", "b"), ("c", "a")], ["r"])
    assert table.r.tolist() == [3, -12, -9, 9, 12]
    # The differences of the first pair are 1 to 5, their variance 2.5; t is 4.604 for five pairs.
    assert table.r_half[0] == pytest.approx(4.604 * math.sqrt(2.5 / 5), abs=1e-3)
    assert table.r_verdict.tolist() == ["undecided", "behind", "behind", "ahead", "ahead"]
    assert table.trial.tolist() == ["b", "a", "b", "c", "c"]


def test_shares_kept_are_of_the_same_seed() -> None:
    rows = pd.DataFrame(
        [
            ("a", 0.0, 1, 50.0),
            ("a", 0.0, 0, 40.0),
            ("a", 0.2, 0, 20.0),
            ("a", 0.2, 1, 50.0),
            ("a", 0.2, 2, 9.0),  # not trained on clean data
            ("b", 0.0, 0, 0.0),  # reached nothing there
            ("b", 0.2, 0, 7.0),
            ("b", 0.0, 1, 10.0),
            ("b", 0.2, 1, 2.5),
        ],
        columns=["loss", "wrong_captions", "seed", "r"],
    )
    kept = shares_kept(rows, "wrong_captions", 0.0, ["r"])
    assert kept[["loss", "seed", "r"]].to_numpy().tolist() == [
        ["a", 0, 50],
        ["a", 1, 100],
        ["b", 1, 25],
    ]
    assert rows.r.max() == 50  # the table itself is as it was
