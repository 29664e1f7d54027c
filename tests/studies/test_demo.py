"""The demo keeps what it trained with, not what it was asked for."""

import json

import pytest

from mmret_lib.studies.demo import run_demo
from mmret_lib.training import TrainConfig


@pytest.mark.slow
def test_each_run_records_the_settings_that_it_came_to(tmp_path, monkeypatch):
    monkeypatch.setattr("mmret_lib.training.schedule.enough_epochs", lambda *_: 1)
    run_demo(tmp_path, TrainConfig(batch_size=16), size=64)
    for run in (tmp_path / "runs").iterdir():
        record = json.loads((run / "run.json").read_text())
        assert record["config"]["epochs"] == 1
        assert record["config"]["device"] != "auto" and record["config"]["precision"] != "auto"
        assert set(record["figures"]) == {"training_seconds", "test", "ceiling"}
