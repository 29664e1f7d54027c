"""The project's scoreboard: a right project is ranked, a wrong one becomes a line."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import script

LEARNS = """
import torch

def project(images, texts, owner, seed):
    generator = torch.Generator().manual_seed(seed)
    of_one = owner.unique(return_counts=True)[1].cumsum(0) - 1
    pairs = images.T @ texts[of_one]
    u, s, v = torch.linalg.svd(pairs - pairs.mean(), full_matrices=False)
    return u[:, :128], v[:128].T
"""
WRONG = {
    "shape": ("def project(a, b, c, d): return a[:3], b", "the heads' shapes are"),
    "syntax": ("x = (", "SyntaxError"),
    "nan": (
        "import torch\ndef project(a, b, c, d):\n"
        "    return torch.full((1280, 128), torch.nan), torch.ones(160, 128)",
        "not finite",
    ),
    "one": ("def project(a, b, c, d): return [a]", "shapes are"),
    "none": ("", "no attribute 'project'"),
}


@pytest.fixture(scope="module")
def board() -> ModuleType:
    return script("exercises/scoreboard.py")


@pytest.mark.slow
def test_a_board_of_teams(board: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name, code in {
        "learns": LEARNS,
        **{name: code for name, (code, _) in WRONG.items()},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "my_retrieval.py").write_text(code)
    assert board.main([str(tmp_path)]) == 0
    table = capsys.readouterr().out
    lines = {line.split(" | ")[0].strip("| "): line for line in table.splitlines()}
    assert "150 validation photographs" in table
    assert "| baseline | 6" in lines["baseline"] or "| baseline | 7" in lines["baseline"]
    assert float(lines["learns"].split(" | ")[1]) > 5  # chance is 3
    for name, (_, says) in WRONG.items():
        assert says in lines[name], lines[name]


@pytest.mark.slow
def test_an_endless_project_is_stopped(board: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "my_retrieval.py"
    file.write_text("while True: pass")
    torch.save((), tmp_path / "given.pt")
    assert board.run_team(file, tmp_path / "given.pt", 0.5) == ([], "not done after 1.5 seconds")


def test_a_difference_of_nothing_is_undecided(board: ModuleType) -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=150)
    mean, half = board.gain(one, one + rng.normal(size=150) / 10)
    assert board.verdict(mean, half) == "undecided"
    assert board.verdict(*board.gain(one + 1, one)) == "ahead"


def test_no_team_is_said(board: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert board.main([str(tmp_path)]) == 1
    assert "no team" in capsys.readouterr().err
