"""Figures of recorded studies: bars and lines stand at the means, every seed is shown."""

import pytest
from drawing import drawn

from mmret_lib.show.lesson import read_results
from mmret_lib.show.studies import loss_lines, trial_bars
from mmret_lib.show.tables import over_seeds

pytestmark = pytest.mark.usefixtures("nothing_global_changes")


def test_bars_end_at_the_means_and_rings_are_the_seeds():
    rows = read_results("losses")
    figure = drawn(trial_bars(rows, "Four losses"))
    table = over_seeds(rows)
    assert [axes.get_title() for axes in figure.axes] == ["image → text", "text → image"]
    for axes, name in zip(figure.axes, ("i2t_r1", "t2i_r1"), strict=True):
        assert [bar.get_width() for bar in axes.patches] == table[name].tolist()
        rings = [line for line in axes.lines if line.get_marker() == "o"]
        assert [x for line in rings for x in line.get_xdata()] == [
            value for trial in table.index for value in rows.loc[rows.trial == trial, name]
        ]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["Sum Triplet", "Max Triplet"] and "Max Triplet, plain" in labels


def test_lines_run_through_the_means():
    rows = read_results("robustness")
    figure = drawn(loss_lines(rows, "wrong_captions", "Wrong captions", "share", percent=True))
    simclr = over_seeds(rows[rows.loss == "simclr"], by="wrong_captions").sort_index()
    for axes, name in zip(figure.axes, ("i2t_r1", "t2i_r1"), strict=True):
        lines = {box.get_label(): box.lines[0] for box in axes.containers}
        assert list(lines["SimCLR"].get_ydata()) == simclr[name].tolist()
        assert len(lines) == 4
        assert [t.get_text() for t in axes.get_xticklabels()] == ["0%", "20%", "40%"]
