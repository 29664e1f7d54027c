"""Forest plots and maps: what is undecided looks undecided, and every number is the table's."""

import pytest
from drawing import drawn
from study_rows import study

from mmret_lib.show.comparisons import gain_forest, recall_maps
from mmret_lib.show.tables import gains

pytestmark = pytest.mark.usefixtures("nothing_global_changes")


def test_what_is_undecided_is_hollow_and_says_so():
    rows = study(
        {"simclr": {"r1": 40}, "sum_triplet": {"r1": 20, "spread": 2}, "noise": {"r1": 39}}
    )
    rows.loc[rows.trial == "noise", "t2i_r1"] = [10.0, 90.0, 20.0]
    table = gains(rows, [("simclr", "sum_triplet"), ("simclr", "noise"), ("sum_triplet", "simclr")])
    assert table.t2i_r1_verdict.tolist() == ["ahead", "undecided", "behind"]
    figure = drawn(gain_forest(table, "Who is ahead?"))
    i2t, t2i = figure.axes
    assert i2t.get_xlim() == t2i.get_xlim() and i2t.get_xlim()[0] < 0 < i2t.get_xlim()[1]
    labels = [label.get_text() for label in i2t.get_yticklabels()]
    assert labels == ["SimCLR over Sum Triplet", "SimCLR over noise", "Sum Triplet over SimCLR"]
    dots = [box.lines[0] for box in t2i.containers]
    assert [dot.get_xdata()[0] for dot in dots] == table.t2i_r1.tolist()
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [False, True, False]
    said = [text.get_text() for text in t2i.texts]
    assert ["undecided" in text for text in said] == [False, True, False]
    assert said[0].startswith("+20.0 ± ")
    for box, half in zip(t2i.containers, table.t2i_r1_half, strict=True):
        (left, _), (right, _) = box.lines[2][0].get_segments()[0]
        assert right - left == pytest.approx(2 * half)
    assert "98.3% each: 3 comparisons at once" in figure._supxlabel.get_text()
    assert t2i.lines[0].get_xdata() == [0, 0]


def test_rows_can_have_labels_of_their_own():
    rows = study({"a": {"r1": 1}, "b": {"r1": 2, "spread": 0}})
    figure = drawn(gain_forest(gains(rows, [("a", "b")]), "One", labels=["a less b"]))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a less b"]
    assert "each" not in figure._supxlabel.get_text()
    with pytest.raises(ValueError, match="table is empty"):
        gain_forest(gains(rows, []), "None")


def test_cells_show_mean_and_range_in_one_range_of_colours():
    trials = {
        f"{loss} {rate} {batch}": {"loss": loss, "rate": rate, "batch": batch, "r1": r1 + batch}
        for loss, r1 in (("max", 1), ("soft", 20))
        for rate in (1.0, 0.1)
        for batch in (32, 8)
        if (loss, rate, batch) != ("max", 0.1, 8)
    }
    rows = study(trials)
    panels = {name: rows[rows.loss == name] for name in ("max", "soft")}
    figure = drawn(recall_maps(panels, "rate", "batch", "Maps", "rates ×", "batch"))
    left, right = figure.axes[:2]
    assert [axes.get_title() for axes in (left, right)] == ["max", "soft"]
    said = {text.get_position(): text.get_text() for text in left.texts}
    assert said[0, 1] == "33.0\n32.0 to 34.0" and said[1, 0] == "9.0\n8.0 to 10.0"
    assert (0, 0) not in said, "that cell was not measured"
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["0.1", "1"]
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["8", "32"]
    limits = [axes.images[0].get_clim() for axes in (left, right)]
    assert limits == [(0, 52), (0, 52)]
    with pytest.raises(ValueError, match="panels is empty"):
        recall_maps({}, "rate", "batch", "Maps", "x", "y")
