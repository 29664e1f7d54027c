"""What docstrings, comments and messages of the library say of recorded rows holds in them."""

from pathlib import Path

import pandas as pd
import pytest

from mmret_lib.studies.searches import CHOSEN

RESULTS = Path(__file__).resolve().parents[2] / "data" / "results"
WAYS = ["i2t_r1", "t2i_r1"]


def rows_of(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / f"{name}.csv")


def test_max_triplet_alone_collapses_on_the_drawn_world() -> None:
    """`MaxTriplet`: R@1 below 3 %, the loss near 2 * margin, whatever was tried."""
    tables = [rows_of(name) for name in ("collapse", "world")]
    rows = pd.concat(table[table.loss == "max_triplet"] for table in tables)
    rows = rows[(rows.all_negatives_steps == 0) & rows.negatives_count.isna()]
    assert rows.batch_size.nunique() == 3 and rows.backbone_lr.nunique() >= 4
    assert set(rows.margin) == {0.05, 0.2}
    assert rows[WAYS].max().max() < 3
    assert (rows.last_loss / (2 * rows.margin)).between(1, 1.1).all()


def test_what_the_warning_of_a_collapse_advises_helped() -> None:
    """`training.diagnosis`: all negatives first, a soft maximum; not lower rates nor warm-up."""
    rows = rows_of("collapse").set_index("trial")[WAYS]
    for helps in ("100 first steps", "soft maximum"):
        assert rows.loc[f"remedy: {helps}"].min().min() > 10, helps
    for does_not in ("backbones at a tenth", "warm-up over half"):
        assert rows.loc[f"remedy: {does_not}"].max().max() < 3, does_not


def test_embeddings_that_differ_little_may_rank_above_chance() -> None:
    """`metrics.diagnosis`: Max Triplet after 50 first steps, a mean cosine above 0.9."""
    epochs = rows_of("epochs").groupby("training").last()
    rows = rows_of("collapse").set_index("trial").loc["remedy: 50 first steps"]
    assert (epochs.alike[rows.training] > 0.9).all()
    chance = 100 / rows.images
    assert (rows.t2i_r1 > 5 * chance).all() and (rows.i2t_r1 > 5 * chance).all()


@pytest.mark.parametrize(("size", "best"), [("small", 0.02), ("full", 0.01)])
def test_the_lambda_that_was_best(size: str, best: float) -> None:
    """`BarlowTwins` names the best of three for each size."""
    rows = rows_of(f"{size}_knobs")
    rows = rows[(rows.loss == "barlow_twins") & rows.standardise]
    recalls = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]
    assert len(rows) == 3 and rows.lambda_[rows[recalls].sum(axis=1).idxmax()] == best


def test_it_is_the_offset_of_a_branch_that_costs_recall() -> None:
    """`DualEncoder`: centring gives most of what standardising gives, scaling next to nothing."""
    trainings = rows_of("branches").query("loss == 'barlow_twins'").training
    offsets = rows_of("offsets").query("training in @trainings")
    forms = offsets.set_index(["form", "training"])[WAYS]
    as_they_are = forms.loc["as they are"]
    assert len(as_they_are) == len(trainings) >= 4
    assert (forms.loc["centred"] - as_they_are).min().min() > 15
    assert (forms.loc["scaled"] - as_they_are).abs().max().max() < 3


def test_the_rates_that_the_search_chose() -> None:
    """`TrainConfig.backbone_lr` and `encoders.trainable`: half to twice 1e-3."""
    factors = {factor for chosen in CHOSEN.values() for factor, _ in chosen.values()}
    assert (min(factors), max(factors)) == (0.5, 2)


def test_every_loss_has_lost_on_photographs_by_epoch_72() -> None:
    """`training.schedule`: projections alone overfit."""
    rows = rows_of("real_losses")
    rows = rows[rows.pair == "full"]
    means = rows.groupby(["plan", "form"]).rsum.mean()
    assert (means.loc["72 epochs"] < means.loc["chosen"]).all()
