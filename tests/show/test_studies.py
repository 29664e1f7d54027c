"""Figures of recorded studies: bars and lines stand at the means, no interval hides another."""

from itertools import pairwise

import pandas as pd
import pytest
from drawing import drawn
from study_rows import study

from mmret_lib.show.lesson import read_results
from mmret_lib.show.studies import kept_dots, loss_lines, negatives_lines, over_folds, trial_bars
from mmret_lib.show.tables import over_seeds, shares_kept

pytestmark = pytest.mark.usefixtures("nothing_global_changes")

LOSSES = ("sum_triplet", "simclr")


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


def wrong_captions() -> pd.DataFrame:
    trials = {
        f"{loss}, {share}": {"loss": loss, "wrong_captions": share, "r1": best * (1 - share)}
        for loss, best in (("simclr", 40), ("sum_triplet", 30))
        for share in (0.4, 0.0, 0.2)
    }
    return study(trials)


def test_lines_run_through_the_means_side_by_side():
    rows = wrong_captions()
    figure = drawn(loss_lines(rows, "wrong_captions", "Wrong captions", "share", percent=True))
    for axes, name in zip(figure.axes, ("i2t_r1", "t2i_r1"), strict=True):
        lines = {box.get_label(): box.lines[0] for box in axes.containers}
        assert list(lines) == ["Sum Triplet", "SimCLR"]
        simclr = over_seeds(rows[rows.loss == "simclr"], by="wrong_captions").sort_index()
        assert list(lines["SimCLR"].get_ydata()) == simclr[name].tolist()
        assert (lines["Sum Triplet"].get_xdata() < lines["SimCLR"].get_xdata()).all()
        assert [t.get_text() for t in axes.get_xticklabels()] == ["0%", "20%", "40%"]
        assert axes.get_ylim()[0] == 0
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def fewer() -> pd.DataFrame:
    trials = {f"{loss}, all": {"loss": loss, "r1": 30} for loss in LOSSES}
    for count in (1, 4):
        for pick, less in (("random", 0), ("hardest", 5)):
            for loss in LOSSES if pick == "random" else ("simclr",):
                picked = {"negatives_count": count, "negatives_pick": pick}
                trials[f"{loss}, {count} {pick}"] = {
                    "loss": loss,
                    **picked,
                    "r1": 10 + count - less,
                }
    return study(trials)


def test_recall_over_the_negatives_that_count():
    figure = drawn(negatives_lines({"drawn": fewer(), "real": fewer()}, "Worth", every=63))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        f"{w}: {d}" for d in ("image → text", "text → image") for w in ("drawn", "real")
    ]
    axes = figure.axes[2]  # text to image
    lines = {(b.get_label(), b.lines[0].get_linestyle()): b.lines[0] for b in axes.containers}
    assert set(lines) == {("Sum Triplet", "-"), ("SimCLR", "-"), ("SimCLR", ":")}
    assert list(lines["SimCLR", "-"].get_ydata()) == [11, 14, 30]
    assert list(lines["SimCLR", ":"].get_ydata()) == [6, 9, 30], "all negatives belong to both"
    assert lines["SimCLR", ":"].get_markerfacecolor() == "white"
    for line in lines.values():
        assert line.get_xdata() == pytest.approx([1, 4, 63], rel=0.1)
    assert axes.get_xscale() == "log" and axes.get_ylim()[0] == 0
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4", "63"]
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key == ["Sum Triplet", "SimCLR", "drawn at random", "the hardest"]
    with pytest.raises(ValueError, match="worlds is empty"):
        negatives_lines({}, "Worth")


def test_folds_are_averaged_before_seeds():
    real = pd.DataFrame(
        [
            {"form": "simclr", "fold": fold, "seed": seed, "count": count, "pick": "random"}
            | {"plan": plan, "i2t_r1": 10.0 * fold + seed, "t2i_r1": count + fold}
            for fold in (0, 1)
            for seed in (0, 1)
            for count in (1, 127)
            for plan in ("after 10 epochs", "at the best epoch")
        ]
    )
    rows = over_folds(real, "after 10")
    assert rows.i2t_r1.tolist() == [5, 6, 5, 6] and rows.seed.tolist() == [0, 1, 0, 1]
    figure = drawn(negatives_lines({"drawn": fewer(), "real": rows}, "Worth"))
    ticks = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in figure.axes[2:]]
    assert ticks == [["1", "4", "63"], ["1", "127"]]
    (line,) = (box.lines[0] for box in figure.axes[3].containers)
    assert list(line.get_ydata()) == [1.5, 127.5]


def test_kept_shares_stand_beside_each_other_on_a_scale_from_zero():
    rows = wrong_captions()
    rows["world"] = rows.wrong_captions.map({0.0: "clean", 0.2: "20 % wrong", 0.4: "40 % wrong"})
    kept = shares_kept(rows, "world", "clean")
    figure = drawn(kept_dots(kept, "world", "Kept"))
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low == 0 and high >= 110
        boxes = [box.lines[0] for box in axes.containers]
        places = sorted(x for line in boxes for x in line.get_xdata())
        assert len(places) == 4 and min(b - a for a, b in pairwise(places)) > 0.1
        for loss, line in zip(("sum_triplet", "simclr"), boxes, strict=True):
            mean = over_seeds(kept[kept.loss == loss], ["t2i_r1"], by="world").t2i_r1
            assert mean.tolist() == pytest.approx([60, 80], abs=0.5)
            if axes.get_title() == "text → image":
                assert list(line.get_ydata()) == mean.tolist()
        assert [t.get_text() for t in axes.get_xticklabels()] == ["40 % wrong", "20 % wrong"]
