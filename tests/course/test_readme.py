"""The README's figures and verdicts of the drawn world are those of the recorded rows."""

import re
from pathlib import Path

import pandas as pd
import pytest

from mmret_lib.show.tables import display_name, gains

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SEEDS = README.split("Three seeds are recorded")[1].split("![Heat maps")[0]
WAYS = ("i2t_r1", "t2i_r1")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.read_csv(ROOT / "benchmarks" / "results" / "world.csv")


def test_the_means_over_seeds(rows: pd.DataFrame) -> None:
    assert set(rows.groupby("trial").seed.nunique()) == {3}
    means = rows.groupby("trial")[list(WAYS)].mean().round(1)
    expected = {f"{one.i2t_r1} / {one.t2i_r1}" for one in means.itertuples()}
    quoted = re.sub(r"\s+", " ", SEEDS)
    assert set(re.findall(r"\d+\.\d / \d+\.\d", quoted)) == expected


def test_the_verdicts(rows: pd.DataFrame) -> None:
    pairs = [
        ("simclr", "sum_triplet"),
        ("simclr", "max_triplet"),
        ("simclr", "barlow_twins"),
        ("max_triplet", "sum_triplet"),
        ("max_triplet", "max_triplet, plain"),
        ("barlow_twins", "barlow_twins, plain"),
    ]
    table = gains(rows, pairs)
    verdicts = table[[f"{way}_verdict" for way in WAYS]].to_numpy().tolist()
    assert verdicts[:3] == [["ahead", "ahead"], ["undecided"] * 2, ["undecided", "ahead"]]


def test_the_table_is_the_recorded_demo() -> None:
    demo = pd.read_csv(ROOT / "benchmarks" / "results" / "demo" / "results.csv", index_col="loss")
    columns = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]
    for loss, row in demo[columns].iterrows():
        name = display_name(str(loss))
        head = r"\*best possible\*.*?" if loss == "ceiling" else name
        cells = r" \| ".join(re.escape(f"{value:.1f}") for value in row)
        assert re.search(rf"\| {head} \| {cells} \|", README), f"{name}: {row.tolist()}"
    shares = 100 * demo.loc["simclr", list(WAYS)] / demo.loc["ceiling", list(WAYS)]
    assert [f"{share:.0f} %" for share in shares] == ["95 %", "84 %"]
    assert re.search(r"95 % of the best possible R@1 from image\s+to text and 84 %", README)
