"""Recall and negatives over a training; what validation chose is marked on the test curve."""

import pandas as pd
import pytest
from drawing import drawn
from study_rows import recalls, study

from mmret_lib.show.progress import chosen_points, effective_curves, length_curves, with_names

pytestmark = pytest.mark.usefixtures("nothing_global_changes")

EPOCHS = (1, 2, 4)
# R@1 of the val and the test scenes after each epoch; the best on val is not the best on test.
CURVES = {
    "simclr": {"val": (10, 30, 20), "test": (10, 28, 29)},
    "sum_triplet": {"val": (5, 10, 15), "test": (6, 11, 14)},
}
ROWS = study({loss: {"loss": loss, "r1": 20} for loss in CURVES})


def curves() -> pd.DataFrame:
    table = []
    for row in ROWS.to_dict("records"):
        for split, values in CURVES[row["loss"]].items():
            for epoch, value in zip(EPOCHS, values, strict=True):
                name = {"training": row["training"], "epoch": epoch, "split": split}
                table.append({**name, **recalls(value + row["seed"])})
    # A tie: seed 2 of Sum Triplet is as good after 2 epochs as after 4.
    table[-5] = {**table[-5], **recalls(17)}
    return pd.DataFrame(table)


def epochs() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "training": training,
                "epoch": epoch,
                "loss": 8 / epoch,
                "effective": 16 / epoch,
                "above_1_percent": 20.0,
            }
            for training in ROWS.training
            for epoch in range(1, 5)
        ]
    )


def test_points_are_chosen_on_validation_and_reported_on_test():
    named = with_names(curves(), ROWS)
    chosen = chosen_points(named).set_index(["loss", "seed"])
    assert (chosen.split == "test").all()
    assert chosen.loc["simclr"].epoch.tolist() == [2, 2, 2]
    assert chosen.loc["simclr"].t2i_r1.tolist() == [28, 29, 30]
    assert chosen.loc["sum_triplet"].epoch.tolist() == [4, 4, 2], "the earlier of two that tie"


def test_curves_mark_the_chosen_points():
    tables = with_names(curves(), ROWS), with_names(epochs(), ROWS)
    figure = drawn(length_curves(*tables, "Length", steps=7))
    assert len(figure.axes) == 4
    axes = figure.axes[1]
    lines = {line.get_label(): line for line in axes.lines if len(line.get_xdata()) == len(EPOCHS)}
    assert list(lines["SimCLR"].get_xdata()) == [7, 14, 28]
    assert list(lines["SimCLR"].get_ydata()) == [11, 29, 30]
    rings = [line for line in axes.lines if line.get_markersize() == 10]
    assert [list(line.get_xdata()) for line in rings[:2]] == [[28, 28, 14], [14, 14, 14]]
    assert list(rings[1].get_ydata()) == [28, 29, 30]
    below = figure.axes[3]
    assert "SimCLR" in below.get_title() and list(below.lines[0].get_ydata()) == [8, 4, 8 / 3, 2]
    assert below.lines[1].get_xdata() == [14, 14]


def test_negatives_that_count_stand_beside_the_recall():
    named = with_names(epochs(), ROWS)
    figure = drawn(effective_curves(named, ROWS, "Negatives", steps=31))
    left, middle, right = figure.axes
    assert left.get_yscale() == middle.get_yscale() == right.get_xscale() == "log"
    assert left.get_ylim() == middle.get_ylim() == right.get_xlim()
    assert list(left.lines[0].get_ydata()) == [16, 8, 16 / 3, 4]
    assert list(left.lines[0].get_xdata()) == [31, 62, 93, 124]
    assert list(right.lines[0].get_xdata()) == [4, 4, 4]
    assert list(right.lines[0].get_ydata()) == [19, 20, 21]
    with pytest.raises(ValueError, match="epochs is empty"):
        effective_curves(named[:0], ROWS, "Negatives", steps=31)
