"""The recorded figures of `benchmarks/real.py` on real photographs: one file follows from another.

The photos themselves are not needed.
"""

from pathlib import Path

import pandas as pd
import pytest

RESULTS = Path(__file__).resolve().parents[2] / "data" / "results"
PHOTOS = (228, 228, 227, 227, 227)  # tested in each fold, 1,137 in all
FORMS = 15  # six of the course's losses, nine of the atlas


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / f"real_{name}.csv")


def test_every_loss_had_the_same_budget() -> None:
    """Five rates with the knob at its usual value, three more values at the best rate."""
    trainings = table("search").groupby(["form", "fold"])
    assert len(trainings) == FORMS * len(PHOTOS)
    for _, own in trainings:
        assert len(own) == 8 and own.seed.nunique() == 1
        usual, others = own[own.usual], own[~own.usual]
        assert len(usual) == 5 and usual.rate.nunique() == 5 and others.value.nunique() == 3
        assert set(others.rate) == {usual.loc[usual.held.idxmax(), "rate"]}


@pytest.mark.parametrize(("chosen", "figure"), [("chosen", "held"), ("chosen_for_72", "held_72")])
def test_what_was_chosen_is_best_on_the_held_out_photos(chosen: str, figure: str) -> None:
    for _, own in table("search").groupby(["form", "fold"]):
        [best] = own.loc[own[chosen], figure]
        assert best == own[figure].max()


def test_the_trainings_that_are_reported_have_the_chosen_settings_and_other_seeds() -> None:
    search, losses = table("search"), table("losses")
    losses = losses[losses.plan != "72 epochs, settings for 72"]
    assert not set(search.seed) & set(losses.seed)
    chosen = search[search.chosen][["form", "fold", "rate", "value"]]
    assert len(losses.merge(chosen)) == len(losses)


def test_means_are_those_of_the_rows_weighted_by_photos() -> None:
    losses, means = table("losses"), table("means")
    full = losses[losses.pair == "full"]
    plans = {"each at its own best epoch": "chosen"}
    plans |= {f"after {epochs} epochs": f"{epochs} epochs" for epochs in (10, 20, 72)}
    for about, plan in plans.items():
        part = means[means.about == about]
        assert part.form.nunique() == FORMS
        for _, mean in part.iterrows():
            rows = full[(full.plan == plan) & (full.form == mean.form)]
            assert len(rows) == len(PHOTOS) * mean.seeds
            by_fold = rows.groupby("fold")[mean.figure].mean()
            expected = sum(by_fold[fold] * count for fold, count in enumerate(PHOTOS)) / 1137
            assert mean["mean"] == pytest.approx(expected, abs=0.02)
            assert mean.low < mean["mean"] < mean.high


def test_a_difference_is_decided_where_its_interval_excludes_zero() -> None:
    differences, means = table("differences"), table("means")
    excludes = (differences.low > 0) | (differences.high < 0)
    assert (differences.decided == excludes).all()
    rsum = means[means.figure == "rsum"].set_index(["about", "form"])
    compared = 0
    for about, own in differences.groupby("about"):
        assert own.level.iloc[0] == pytest.approx(1 - 0.05 / len(own), abs=1e-4)
        for _, row in own.iterrows():
            couple = [(about, row.one), (about, row.other)]
            if set(couple) <= set(rsum.index) and (rsum.loc[couple, "seeds"] == row.seeds).all():
                expected = rsum.loc[couple[0], "mean"] - rsum.loc[couple[1], "mean"]
                assert row.difference == pytest.approx(expected, abs=0.02)
                compared += 1
    assert compared > 100


def test_curves_end_where_the_table_after_72_epochs_stands() -> None:
    curves, means = table("curves"), table("means")
    last = curves[curves.epoch == 72].groupby("form").rsum.mean()
    rows = means[(means.about == "after 72 epochs") & (means.figure == "rsum")]
    for _, mean in rows.iterrows():
        assert last[mean.form] == pytest.approx(mean["mean"], abs=0.02)


def test_the_readme_quotes_these_figures() -> None:
    readme = " ".join((RESULTS.parents[1] / "README.md").read_text(encoding="utf-8").split())
    differences = table("differences")

    def between(about: str, one: str, other: str) -> tuple[str, str]:
        found = differences[differences.about == about].set_index(["one", "other"])
        row = found.loc[one, other]
        assert row.decided
        return f"{row.difference:.1f}", f"({row.low:.1f} to {row.high:.1f})"

    best, interval = between("each at its own best epoch", "simclr", "sum_triplet")
    assert f"SimCLR is ahead of Sum Triplet by {best} points {interval}" in readme
    plain = [
        between("each at its own best epoch", "simclr", f"{loss}, plain")[0]
        for loss in ("max_triplet", "barlow_twins")
    ]
    assert f"Max Triplet and Barlow Twins by {plain[0]} and {plain[1]}." in readme
    early, interval = between("after 20 epochs", "sum_triplet", "simclr")
    assert f"Sum Triplet is ahead of SimCLR by {early} points {interval}" in readme
    late, interval = between("after 72 epochs", "sum_triplet", "simclr")
    assert f"and after 72 epochs by {late} {interval}" in readme
    lost = table("means").set_index(["about", "form", "figure"])["mean"]
    lost = lost["change from the best epoch to epoch 72"]
    lost = [-lost[form, "rsum"] for form in ("simclr", "sum_triplet")]
    assert f"it loses {lost[0]:.1f} points, Sum Triplet {lost[1]:.1f}." in readme
    undecided = differences[(differences.about == "each at its own best epoch")]
    for one, other in (("simclr", "max_triplet"), ("simclr", "barlow_twins")):
        [row] = undecided[(undecided.one == one) & (undecided.other == other)].itertuples()
        assert not row.decided
