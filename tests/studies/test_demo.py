"""The demo: photographs first, then drawings; it keeps what it trained with."""

import json

import pandas as pd
import pytest

from mmret_lib.losses import LOSSES
from mmret_lib.studies.demo import run_demo
from mmret_lib.training import TrainConfig


@pytest.mark.slow
def test_the_demo_answers_from_photographs_and_records_what_it_trained_with(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("mmret_lib.training.schedule.enough_epochs", lambda *_: 1)
    reports = run_demo(tmp_path, TrainConfig(batch_size=16), size=64)
    for run in (tmp_path / "runs").iterdir():
        record = json.loads((run / "run.json").read_text())
        assert record["config"]["epochs"] == 1
        assert record["config"]["device"] != "auto" and record["config"]["precision"] != "auto"
        assert set(record["figures"]) == {"training_seconds", "model_epoch", "test", "ceiling"}

    album = reports["album"]
    assert set(album) == set(LOSSES) == {run.name for run in (tmp_path / "album/runs").iterdir()}
    table = pd.read_csv(tmp_path / "album" / "results.csv", index_col="loss")
    # Without training the heads are at chance; the recorded figures are seven times as high.
    assert (table.loc[list(LOSSES), "t2i_r10"] > 5 * table.loc["chance", "t2i_r10"]).all()
    assert album["simclr"].images == 156

    # A photograph of the right kind comes first, and before any drawing is trained on.
    printed = capsys.readouterr().out
    first = dict(line.strip().split(" -> ") for line in printed.splitlines() if ".jpg: " in line)
    first = {query.strip(): answer for query, answer in first.items()}
    assert "zebra" in first["Grazing zebra"] and "bus" in first["Red bus on the street"]
    assert printed.index("Grazing zebra") < printed.index("The drawn world")
    assert (tmp_path / "album" / "text_to_image.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_demo_takes_other_losses(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mmret_lib.training.schedule.enough_epochs", lambda *_: 1)
    chosen = ["smooth_ap", "false_negative_filter"]
    reports = run_demo(tmp_path, TrainConfig(batch_size=16), size=64, losses=chosen)
    for part in reports.values():
        assert list(part) == chosen
    printed = capsys.readouterr().out
    assert printed.count("Smooth AP over each other loss") == 1
    assert f"search {tmp_path / 'runs' / 'smooth_ap'}" in printed
    assert (tmp_path / "negative_weights.png").stat().st_size > 10_000
