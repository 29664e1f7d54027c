"""The README's figures and verdicts of the drawn world are those of the recorded rows.

Where a study has got more seeds, a failing test prints the lines that the README has to have.
"""

import re
from pathlib import Path

import pandas as pd
import pytest
from study_rows import AT_FULL_SIZE

from mmret_lib.losses.atlas import ATLAS
from mmret_lib.show.tables import display_name, gains, over_seeds
from mmret_lib.studies.studies import STUDIES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FLAT = re.sub(r"\s+", " ", README)
WAYS = ("i2t_r1", "t2i_r1")
NUMBERS = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten"]


def decimal(value: float) -> str:
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−")


def with_interval(mean: float, half: float) -> str:
    return f"{decimal(mean)} ({decimal(mean - half)} to {decimal(mean + half)})"


def table_of_means(rows: pd.DataFrame) -> list[str]:
    means = over_seeds(rows, WAYS)
    return [
        f"| {display_name(str(trial))} | "
        + " | ".join(with_interval(row[way], row[f"{way}_half"]) for way in WAYS)
        + f" | {row.seeds:.0f} |"
        for trial, row in means.iterrows()
    ]


def table_of_gains(rows: pd.DataFrame) -> list[str]:
    return [
        f"| {display_name(row.trial)} over {display_name(row.over)} | "
        + " | ".join(
            f"{with_interval(row[way], row[f'{way}_half'])}, {row[f'{way}_verdict']}"
            for way in WAYS
        )
        + " |"
        for _, row in gains(rows, AT_FULL_SIZE).iterrows()
    ]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.read_csv(ROOT / "data" / "results" / "world.csv")


def test_how_many_of_the_planned_seeds_are_measured(rows: pd.DataFrame) -> None:
    planned, measured = len(STUDIES["world"].seeds), rows.groupby("trial").seed.nunique().min()
    first = "All" if measured == planned else f"{NUMBERS[measured]} of the"
    assert f"{first} {NUMBERS[planned].lower()} planned seeds are measured" in FLAT


@pytest.mark.parametrize("table", [table_of_means, table_of_gains])
def test_the_tables_over_seeds_are_computed_from_the_rows(table, rows: pd.DataFrame) -> None:
    expected = table(rows)
    assert "\n".join(expected) in README, "README should have\n" + "\n".join(expected)


def test_the_table_is_the_recorded_demo(rows: pd.DataFrame) -> None:
    demo = pd.read_csv(ROOT / "benchmarks" / "results" / "demo" / "results.csv", index_col="loss")
    columns = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]
    for loss, row in demo[columns].iterrows():
        name = display_name(str(loss))
        head = r"\*best possible\*.*?" if loss == "ceiling" else name
        cells = r" \| ".join(re.escape(f"{value:.1f}") for value in row)
        assert re.search(rf"\| {head} \| {cells} \|", README), f"{name}: {row.tolist()}"
    losses = demo.drop(index="ceiling")
    assert (losses[list(WAYS)].idxmax() == "simclr").all()
    i2t, t2i = 100 * losses.loc["simclr", list(WAYS)] / demo.loc["ceiling", list(WAYS)]
    shares = f"{i2t:.0f} % of the best possible R@1 from image to text and {t2i:.0f} %"
    assert shares in FLAT, shares
    seconds = losses.training_seconds
    span = f"{seconds.min():.0f} to {seconds.max():.0f} s of training"
    assert span in FLAT, span
    alone = rows[rows.seed == 0].set_index("trial").loc[losses.index, columns]
    apart = float((alone - losses[columns]).abs().max().max())
    assert f"differs from these by at most {apart:.1f} points" in FLAT, apart


def test_how_many_of_the_atlas_cannot_be_told_from_simclr() -> None:
    table = pd.read_csv(ROOT / "data" / "results" / "atlas_table.csv", index_col="loss")
    verdicts = table.loc[list(ATLAS), [f"{way}_gain_verdict" for way in WAYS]]
    assert not (verdicts == "ahead").any(axis=None)
    assert (table.loc[list(ATLAS), ["seeds", "seeds_wrong"]] == 5).all(axis=None)
    assert (verdicts == "undecided").all(axis=1).sum() == 5
    words = "none of the eight is ahead of SimCLR on drawn scenes, and five of them cannot be told"
    assert words in re.sub(r"\s+", " ", README)
