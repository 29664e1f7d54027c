"""The studies: measured once, resumed, written whole; and the recorded tables add up."""

import csv
import json
import math
import os
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock

from mmret_lib.files.errors import DataError
from mmret_lib.show.tables import over_seeds
from mmret_lib.studies import measure as measuring
from mmret_lib.studies.measure import LAST, measure_studies
from mmret_lib.studies.studies import STUDIES
from mmret_lib.studies.trials import Study, Trial

RESULTS = Path(__file__).resolve().parents[2] / "data" / "results"
SMALL = {"size": 64, "test_size": 16}
SHORT = {"epochs": 1, "batch_size": 32}
WORLDS = pytest.mark.parametrize("name", [n for n in STUDIES if (RESULTS / f"{n}.csv").exists()])


def small_studies() -> dict[str, Study]:
    base = Trial(config=SHORT, data=SMALL)
    low = Trial("simclr", {"temperature": 0.02}, config=SHORT, data=SMALL)
    wrong = Trial(config=SHORT, data={**SMALL, "wrong_captions": 0.5})
    return {
        "temperature": Study("?", {"0.07": base, "0.02": low}, seeds=(0, 1)),
        "wrong": Study("?", {"none": base, "half": wrong}, seeds=(0,)),
    }


class Faked:
    """Stands in for `measure`: counts the trainings, and is stopped before one of them."""

    def __init__(self, stop_before: int = 10**9) -> None:
        self.calls: list[tuple[Trial, int]] = []
        self.stop_before = stop_before

    def __call__(self, trial: Trial, seed: int) -> dict[str, Any]:
        if len(self.calls) == self.stop_before:
            raise KeyboardInterrupt
        self.calls.append((trial, seed))
        numbers = dict.fromkeys(LAST[1:-1], float(len(self.calls)))
        epochs = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
        return {**numbers, "tables": {"epochs": epochs}}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Faked:
    stand_in = Faked()
    monkeypatch.setattr(measuring, "measure", stand_in)
    return stand_in


def test_what_two_studies_share_is_trained_once(tmp_path: Path, fake: Faked) -> None:
    measure_studies(out=tmp_path, studies=small_studies())
    assert len(fake.calls) == 5  # of 2 x 2 + 2 rows
    temperature, wrong = (rows_of(tmp_path / f"{n}.csv") for n in ("temperature", "wrong"))
    assert [(row["trial"], row["seed"]) for row in temperature] == [
        ("0.07", "0"),
        ("0.02", "0"),
        ("0.07", "1"),
        ("0.02", "1"),
    ]
    assert [row["wrong_captions"] for row in wrong] == ["", "0.5"]
    assert temperature[0]["training"] == wrong[0]["training"] != wrong[1]["training"]
    assert [row["temperature"] for row in temperature] == ["0.07", "0.02"] * 2
    assert len(rows_of(tmp_path / "epochs.csv")) == 2 * 5
    origin = json.loads((tmp_path / "wrong.json").read_text(encoding="utf-8"))
    assert origin["command"] == "mmret experiments wrong" and origin["rows"] == "2 of 2"
    assert origin["made_by"]["torch"] and origin["date"]


def test_a_study_asked_for_later_takes_over_what_another_measured(
    tmp_path: Path, fake: Faked
) -> None:
    measure_studies(["temperature"], tmp_path, studies=small_studies())
    assert not (tmp_path / "wrong.csv").exists()
    measure_studies(["wrong"], tmp_path, studies=small_studies())
    assert len(fake.calls) == 5 and len(rows_of(tmp_path / "wrong.csv")) == 2


@pytest.mark.parametrize("stop", range(5))
def test_a_run_that_was_stopped_goes_on_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    first, second = Faked(stop), Faked()
    monkeypatch.setattr(measuring, "measure", first)
    with pytest.raises(KeyboardInterrupt):
        measure_studies(out=tmp_path, studies=small_studies())
    kept = {row["training"] for file in tmp_path.glob("*.csv") for row in rows_of(file)}
    assert len(kept) == stop
    monkeypatch.setattr(measuring, "measure", second)
    measure_studies(out=tmp_path, studies=small_studies())
    names = [trial.training(seed) for trial, seed in first.calls + second.calls]
    assert len(names) == len(set(names)) == 5
    assert len(rows_of(tmp_path / "temperature.csv")) == 4
    assert len(rows_of(tmp_path / "epochs.csv")) == 10
    third = Faked()
    monkeypatch.setattr(measuring, "measure", third)
    measure_studies(out=tmp_path, studies=small_studies())
    assert third.calls == []


def test_a_full_disk_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Faked
) -> None:
    measure_studies(["wrong"], tmp_path, studies=small_studies())
    before = (tmp_path / "wrong.csv").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        measure_studies(out=tmp_path, studies=small_studies())
    assert (tmp_path / "wrong.csv").read_bytes() == before
    monkeypatch.undo()
    monkeypatch.setattr(measuring, "measure", fake)
    measure_studies(out=tmp_path, studies=small_studies())
    assert len(rows_of(tmp_path / "temperature.csv")) == 4


def test_rows_of_other_settings_are_refused(tmp_path: Path, fake: Faked) -> None:
    studies = small_studies()
    measure_studies(["wrong"], tmp_path, studies=studies)
    changed = Trial(config={**SHORT, "backbone_lr": 0.1}, data=SMALL)
    studies["wrong"] = Study("?", {"none": changed}, seeds=(0,))
    with pytest.raises(DataError, match=r"wrong\.csv.*'none'.*move the file away"):
        measure_studies(["wrong"], tmp_path, studies=studies)
    assert len(fake.calls) == 2


def test_bad_calls_are_told(tmp_path: Path, fake: Faked) -> None:
    with pytest.raises(DataError, match="no study 'margins'"):
        measure_studies(["margins"], tmp_path)
    with pytest.raises(DataError, match="jobs is 0"):
        measure_studies(out=tmp_path, jobs=0)
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(DataError, match="another process is measuring"),
    ):
        measure_studies(out=tmp_path)
    assert fake.calls == []


def test_the_seed_and_every_setting_name_another_training() -> None:
    trials = [
        Trial(),
        Trial("sum_triplet"),
        Trial(loss_settings={"temperature": 0.1}),
        Trial(model_settings={"standardise": True}),
        Trial(config={"warmup": 0.2}),
        Trial(data={"wrong_captions": 0.1}),
    ]
    assert len({trial.training(seed) for trial in trials for seed in (0, 1)}) == 12
    # Said or left out, a default is the same training.
    said = Trial(
        loss_settings={"temperature": 0.07}, config={"warmup": 0.1}, data={"wrong_captions": 0.0}
    )
    assert said.training(0) == Trial().training(0)


@pytest.mark.slow
def test_a_real_study_two_at_a_time_is_the_same_as_one(tmp_path: Path) -> None:
    for jobs in (1, 2):
        measure_studies(["wrong"], tmp_path / str(jobs), jobs=jobs, studies=small_studies())
    one, two = (pd.read_csv(tmp_path / str(jobs) / "wrong.csv") for jobs in (1, 2))
    assert list(one.images) == [16, 16] and list(one.captions) == [80, 80]
    assert (one.seconds > 0).all() and one.last_loss.nunique() == 2  # the captions differed
    for column in ("trial", "training"):
        assert list(one[column]) == list(two[column])
    assert one.last_loss.tolist() == pytest.approx(two.last_loss.tolist(), abs=0.01)


@WORLDS
def test_recorded_rows_belong_to_the_studies_as_they_are(name: str) -> None:
    study, rows = STUDIES[name], rows_of(RESULTS / f"{name}.csv")
    places = {
        t.training(s): (label, str(s)) for label, t in study.trials.items() for s in study.seeds
    }
    assert {r["training"]: (r["trial"], r["seed"]) for r in rows}.items() <= places.items()
    assert len({row["training"] for row in rows}) == len(rows)
    columns = ["study", "trial", *study.varying(), *LAST]
    assert list(rows[0]) == columns and len(set(columns)) == len(columns)
    for row in rows:
        assert 0 <= float(row["i2t_r1"]) <= float(row["i2t_r5"]) <= float(row["i2t_r10"]) <= 100
        assert (row["images"], row["captions"]) == ("1000", "5000")
    origin = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert origin["rows"] == f"{len(rows)} of {len(places)}"


@WORLDS
def test_means_and_intervals_of_the_lessons_are_those_of_the_csv(name: str) -> None:
    """Recomputed with the standard library from the text of the file."""
    table = over_seeds(pd.read_csv(RESULTS / f"{name}.csv"))
    trials: dict[str, list[float]] = {}
    for row in rows_of(RESULTS / f"{name}.csv"):
        trials.setdefault(row["trial"], []).append(float(row["t2i_r1"]))
    table.index = table.index.map(str)
    assert list(table.index) == list(trials)
    t = dict(enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262), start=2))
    for trial, values in trials.items():
        assert table.loc[trial, "t2i_r1"] == pytest.approx(statistics.fmean(values))
        assert table.loc[trial, "seeds"] == len(values)
        if len(values) > 1:
            half = t[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
            assert table.loc[trial, "t2i_r1_half"] == pytest.approx(half, rel=1e-6)


def stored_text(lesson: str, cell: str) -> str:
    """What a cell of a lesson printed when it was stored."""
    file = RESULTS.parents[1] / "notebooks" / f"{lesson}.ipynb"
    [shown] = [c for c in json.loads(file.read_text(encoding="utf-8"))["cells"] if c["id"] == cell]
    return "".join(line for output in shown["outputs"] for line in output["text"])


def mean_and_half(rows: list[dict], trial: str, name: str) -> tuple[float, float]:
    """The mean of a figure over three seeds, and half the length of its 95 % interval."""
    values = [float(row[name]) for row in rows if row["trial"] == trial]
    return statistics.fmean(values), 4.303 * statistics.stdev(values) / math.sqrt(3)


@pytest.mark.parametrize(
    ("lesson", "cell", "study"),
    [
        ("10_experiments", "deeper-trained", "trained"),
        ("10_experiments", "deeper-schedules", "batch_size"),
    ],
)
def test_the_tables_stored_in_the_lessons_are_those_of_the_csv(
    lesson: str, cell: str, study: str
) -> None:
    text = stored_text(lesson, cell)
    rows = rows_of(RESULTS / f"{study}.csv")
    for trial in dict.fromkeys(row["trial"] for row in rows):
        [line] = [line for line in text.splitlines() if line.startswith(f"{trial}  ")][:1]
        cells = []
        for name in ("i2t_r1", "t2i_r1", "i2t_mean_rank", "t2i_mean_rank"):
            mean, half = mean_and_half(rows, trial, name)
            cells += [f"{mean:.1f}", "±", f"{half:.1f}"]
        assert line[len(trial) :].split() == cells


@pytest.mark.parametrize(
    ("line", "trials"),  # after 6, 24 and 72 epochs
    [
        ("plain", ("plain", "plain", "plain")),
        ("λ", ("lambda", "lambda")),
        ("standardised", ("standardised", "standardised")),
        ("both", ("both", "both, lambda 0.02", "both, lambda 0.02")),
        ("SimCLR", ("simclr", "simclr", "simclr")),
    ],
)
def test_the_table_stored_in_lesson_06_is_that_of_three_studies(
    line: str, trials: tuple[str, ...]
) -> None:
    lines = stored_text("06_barlow_twins", "recorded-recalls").splitlines()
    [shown] = [each for each in lines if each.startswith(f"{line} ")]
    studies = ("barlow_short", "barlow", "barlow_long")
    for study, trial in zip(studies, trials, strict=False):
        rows = rows_of(RESULTS / f"{study}.csv")
        both = [mean_and_half(rows, trial, name) for name in ("i2t_r1", "t2i_r1")]
        wanted = " / ".join(f"{mean:5.1f} ±{half:5.1f}" for mean, half in both)
        assert wanted in shown
