"""The answer key and the rubric for instructors, made from lessons and solutions."""

import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from conftest import script

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = [*sorted((ROOT / "notebooks").glob("*.ipynb")), *sorted(ROOT.glob("solutions/*.ipynb"))]


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "exercises")
    return script("exercises/answer_key.py")


def test_both_are_what_lessons_and_solutions_make(key: ModuleType) -> None:
    for name, text in (("ANSWERS.md", key.answers()), ("RUBRIC.md", key.rubric())):
        stored = (ROOT / "exercises" / name).read_text(encoding="utf-8")
        assert stored == text, "run `make exercises`, or python exercises/answer_key.py"


def test_every_folded_answer_is_in_the_key(key: ModuleType) -> None:
    flat = " ".join((ROOT / "exercises" / "ANSWERS.md").read_text(encoding="utf-8").split())
    for file in NOTEBOOKS:
        cells = nbformat.read(file, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        for answer in re.findall(r"<summary>Answer</summary>(.*?)</details>", text, re.DOTALL):
            assert " ".join(answer.split()) in flat, (file.name, answer)


def test_each_task_is_in_the_rubric_with_the_points_of_its_check(key: ModuleType) -> None:
    text = (ROOT / "exercises" / "RUBRIC.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [●○]{5} \| \d+ \| (\d+) \| \S.+ \|$", text, re.MULTILINE)
    points = []
    for file in sorted(ROOT.glob("solutions/*.ipynb")):
        for cell in nbformat.read(file, as_version=4).cells:
            if cell.metadata.get("nbgrader", {}).get("grade"):
                name = re.search(r"\.check_(\w+)\(", cell.source)
                points.append((name[1] if name else "", str(cell.metadata.nbgrader.points)))
    assert rows == points
    assert "None" not in text


def test_links_lead_somewhere() -> None:
    for name in ("ANSWERS.md", "RUBRIC.md", "INSTRUCTORS.md"):
        file = ROOT / "exercises" / name
        for link in re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8")):
            target = link.split("#")[0]
            assert not target or "://" in target or (file.parent / target).exists(), (name, link)
