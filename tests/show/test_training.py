"""The training curves: what they show and say."""

import numpy as np
import pytest
from drawing import drawn
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from mmret_lib.metrics import report_from_scores
from mmret_lib.show.tables import DISPLAY
from mmret_lib.show.training import LiveCurve, training_curves
from mmret_lib.training import History

pytestmark = pytest.mark.usefixtures("nothing_global_changes")


def history(losses: list[float], recalls: list[float] | None = None) -> History:
    rows = [{"epoch": e, "loss": loss, "lr": 1e-3} for e, loss in enumerate(losses, 1)]
    for row, recall in zip(rows, recalls or [], strict=False):
        row |= {"i2t_r1": recall + 5, "t2i_r1": recall}
    return History(rows)


def test_the_live_curve_is_one_picture_that_is_drawn_anew():
    InteractiveShell.instance()  # what a notebook's kernel has
    curve, growing = LiveCurve("simclr"), history([3.0])
    with capture_output() as captured:
        curve(growing)
        growing.rows.append(history([3.0, 2.0]).rows[1])
        curve(growing)
    first, second = captured.outputs
    assert first.data["image/png"] != second.data["image/png"]
    assert curve.handle is not None


def four_histories() -> dict[str, History]:
    falling = {"sum_triplet": 30.0, "max_triplet": 0.4, "simclr": -2.0, "barlow_twins": 60.0}
    return {
        name: history([scale * 0.9**e for e in range(6)], [8.0 * e + place for e in range(6)])
        for place, (name, scale) in enumerate(falling.items())
    }


@pytest.fixture(scope="module")
def ceiling():
    scores = np.diag([2.0, 2.0, 1.0, 1.0])
    scores[2, 0] = 3.0  # image 2 prefers caption 0, which prefers image 2
    scores[3, 0] = 2.5  # so does image 3, but caption 0 does not prefer it
    return report_from_scores(scores, owner=np.arange(4))


@pytest.mark.slow
def test_curves_show_recall_and_each_loss_on_its_own_scale(ceiling):
    histories = four_histories()
    figure = drawn(training_curves(histories, ceiling))
    recalls, losses = figure.axes[:2], figure.axes[2:]
    assert len(losses) == 4
    for axes, column, title in zip(
        recalls, ("i2t_r1", "t2i_r1"), ("Image → text", "Text → image"), strict=True
    ):
        assert axes.get_title().startswith(title)
        assert axes.get_xlabel() == "epoch" and axes.get_ylim() == (0, 100)
        for line, kept in zip(axes.lines[:4], histories.values(), strict=True):
            assert list(line.get_ydata()) == kept.column(column)
            assert list(line.get_xdata()) == [1, 2, 3, 4, 5, 6]
    assert recalls[0].get_ylabel() == "validation R@1 (%)"
    for axes, (name, kept) in zip(losses, histories.items(), strict=True):
        assert DISPLAY[name] in axes.get_title() and "loss" in axes.get_title()
        assert axes.get_xlabel() == "epoch"
        assert list(axes.lines[0].get_ydata()) == kept.column("loss")
    assert "loss" in losses[0].get_ylabel()


def test_the_ceiling_is_a_dashed_line_in_each_direction_of_its_own(ceiling):
    assert (ceiling.i2t.recall[1], ceiling.t2i.recall[1]) == (50, 75)
    figure = training_curves(four_histories(), ceiling)
    for axes, best in zip(
        figure.axes[:2], (ceiling.i2t.recall[1], ceiling.t2i.recall[1]), strict=True
    ):
        line = axes.lines[4]
        assert set(line.get_ydata()) == {best} and line.get_linestyle() == "--"
        assert any(f"{best:.1f} %" in text.get_text() for text in axes.texts)
    without = training_curves(four_histories())
    assert all(len(axes.lines) == 4 for axes in without.axes[:2])


def test_losses_differ_in_colour_marker_and_line_and_keep_them():
    axes = training_curves(four_histories()).axes
    for look in ("get_color", "get_marker", "_dash_pattern"):
        values = [getattr(line, look) for line in axes[0].lines]
        values = [str(value() if callable(value) else value) for value in values]
        assert len(set(values)) == 4, look
    one = training_curves({"simclr": four_histories()["simclr"]}).axes[0].lines[0]
    assert one.get_color() == axes[0].lines[2].get_color()
    assert one.get_marker() == axes[0].lines[2].get_marker()
    legend = axes[0].figure.legends[0]
    names = ["Sum Triplet", "Max Triplet", "SimCLR", "Barlow Twins"]
    assert [text.get_text() for text in legend.get_texts()] == names


@pytest.mark.slow
def test_every_point_is_seen_whatever_was_measured():
    mixed = {
        "simclr": history([3.0], [2.0]),
        "a run of my own with $5": history([1.0] * 40),
        "another": history([5.0, 4.0, 3.0], [40.0, 50.0, 60.0]),
    }
    figure = drawn(training_curves(mixed))
    assert len(figure.axes) == 2 + 3
    assert "a run of my own with $5" in figure.axes[3].get_title()
    for axes in figure.axes:
        low, high = axes.get_ylim()
        for line in axes.lines:
            assert all(low <= y <= high for y in line.get_ydata())
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_without_validation_only_the_losses_are_shown():
    figure = drawn(training_curves({"simclr": history([2.0, 1.0])}))
    assert [axes.get_title() for axes in figure.axes] == ["SimCLR: training loss"]
    with pytest.raises(ValueError, match="histories is empty"):
        training_curves({})
