"""The atlas's table (benchmarks/atlas.py) says what its rows say, also while some are missing."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from study_rows import study

from mmret_lib.show.atlas import every_loss
from mmret_lib.show.tables import DISPLAY
from mmret_lib.studies.studies import STUDIES
from mmret_lib.studies.trials import Study, Trial

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "atlas.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("atlas_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """SimCLR and Max Triplet from three seeds, Sum Triplet from one and without wrong captions."""
    trials = {
        f"{loss}, {share}": {"loss": loss, "wrong_captions": share, "r1": r1}
        for loss, share, r1 in (
            ("simclr", 0, 40),
            ("simclr", 0.2, 30),
            ("max_triplet", 0, 20),
            ("max_triplet", 0.2, 5),
            ("sum_triplet", 0, 30),
        )
    }
    rows = study(trials)
    rows = rows[(rows.loss != "sum_triplet") | (rows.seed == 0)]
    epochs = pd.DataFrame(
        [
            {"training": training, "epoch": epoch, "loss": 1.0}
            | {"effective": 20.0 / epoch + seed, "above_1_percent": 9.0}
            for training, seed in zip(rows.training, rows.seed, strict=True)
            for epoch in (1, 2)
        ]
    )
    # Trainings on wrong captions are not asked for the negatives that count.
    epochs.loc[epochs.training.str.contains("0.2"), "effective"] = 99.0
    return rows, epochs


@pytest.fixture(scope="module")
def table(script: ModuleType, tables: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    times = {name: {"cost": 1.0 + place} for place, name in enumerate(DISPLAY)}
    return script.build(*tables, times, every_loss())


def test_a_row_for_each_of_the_twelve(table: pd.DataFrame) -> None:
    assert list(table.index) == list(DISPLAY)
    assert table.loc["simclr", ["gate", "falls_at_top", "compete"]].tolist() == [
        "none",
        False,
        True,
    ]
    assert pd.isna(table.loc["barlow_twins", "gate"])
    assert table.settings["barlow_twins"] == "lambda=0.02"
    assert table.settings["false_negative_filter"] == "SimCLR: temperature=0.07"
    assert table.cost.tolist() == list(range(1, 13))


def test_means_gains_shares_and_counts_are_those_of_the_rows(table: pd.DataFrame) -> None:
    simclr, top = table.loc["simclr"], table.loc["max_triplet"]
    assert (simclr.t2i_r1, simclr.i2t_r1, top.t2i_r1) == (40, 80, 20)
    assert simclr.t2i_r1_half == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    assert (top.t2i_r1_gain, top.t2i_r1_gain_verdict) == (-20, "behind")
    assert pd.isna(simclr.t2i_r1_gain)
    # Per seed: 29 / 39, 30 / 40 and 31 / 41.
    assert simclr.t2i_kept == pytest.approx(100 * (29 / 39 + 30 / 40 + 31 / 41) / 3)
    assert simclr.effective == 11, "of the last epoch, on clean captions"


def test_what_is_not_measured_is_not_made_up(script: ModuleType, table: pd.DataFrame) -> None:
    one = table.loc["sum_triplet"]
    assert (one.seeds, one.t2i_r1) == (1, 29) and pd.isna(one.t2i_r1_half)
    assert pd.isna(one.t2i_r1_gain) and pd.isna(one.t2i_kept)
    assert table.loc["siglip", list(table.columns[6:-1])].isna().all()
    assert script.differences(table).trial.tolist() == ["max_triplet"]
    lines = {line.split(" |")[0][2:]: line for line in script.result_lines(table, 5)}
    assert lines["SimCLR"].endswith("| 3 of 5 |")
    assert lines["Sum Triplet"].endswith("| 1 of 5, 0 with wrong captions |")
    assert lines["SigLIP"].endswith("| – | – | – | – | – | – | – | 0 of 5 |")
    assert "| -20.0 ± 0.0 |" in lines["Max Triplet"]


def test_the_page_names_command_and_seeds(
    script: ModuleType, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STUDIES, "atlas", Study("Which?", {"a": Trial()}, (0, 1, 2, 3, 4)))
    record = {"command": "python x", "date": "today", "machine": "m", "rounds": 5, "load": 0.1}
    page = script.text(table, record, "13 of 120")
    assert "`python x`, today, on m. Seeds 0, 1, 2, 3, 4; trainings measured: 13 of 120." in page
    assert "nan" not in page and "<NA>" not in page and "atlas-gains.png" in page
    only = script.build(*_none(), {}, every_loss())
    assert "atlas-gains.png" not in script.text(only, record, "0 of 120")


def _none() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables in which nothing has been measured yet."""
    rows = study({"simclr, 0": {"loss": "simclr", "wrong_captions": 0, "r1": 1}})
    epochs = ["training", "epoch", "loss", "effective", "above_1_percent"]
    return rows[:0], pd.DataFrame(columns=epochs)
