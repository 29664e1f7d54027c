"""INSTRUCTORS.md: its minutes, quotes of the checks and commands are those of the course."""

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest
from conftest import script

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "exercises" / "INSTRUCTORS.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def plans() -> ModuleType:
    return script("exercises/plans.py")


def test_the_numbers_are_those_of_lessons_and_exercises(plans: ModuleType) -> None:
    made = plans.with_slides(plans.with_minutes(TEXT))
    assert made == TEXT, "run `make exercises`, or python exercises/answer_key.py"


def test_the_plans_last_as_long_as_they_say() -> None:
    half, saturday, sunday = map(int, re.findall(r"\*\*total\*\* \| (\d+) \|", TEXT))
    assert half <= 245 and max(saturday, sunday) <= 360
    weeks = re.findall(r"^\| \d \| .+ \| (\d+) \| .+ \| (\d+) \|$", TEXT, re.MULTILINE)
    assert len(weeks) == 6
    assert max(int(lecture) for lecture, _ in weeks) <= 90
    assert max(int(exercises) for _, exercises in weeks) <= 180


def test_a_number_that_is_wrong_is_written_anew(plans: ModuleType) -> None:
    rows = [
        "| lesson [04](../notebooks/04_triplet_losses.ipynb) | 1 |",
        "| exercise [04](04_triplet_losses.ipynb), tasks 1 to 2 | 2 |",
        "| break | 15 |",
        "| **total** | 3 |",
    ]
    four = plans.minutes_of_lessons()["04_triplet_losses.ipynb"]
    numbers = re.findall(r"\| (\d+) \|", plans.with_minutes("\n".join(rows)))
    assert numbers == [str(four), "25", "15", str(four + 40)]


def texts_of_checks() -> str:
    """All texts in the code of the checks; what an f-string puts in is left out."""
    found = []
    for file in sorted((ROOT / "mmret_lib" / "checks").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_the_checks_say_what_the_table_quotes(plans: ModuleType) -> None:
    rows = re.findall(r"^\| (\d\d) \| (.+?) \| .+ \|$", TEXT, re.MULTILINE)
    said = texts_of_checks()
    missing = [quote for _, quote in rows if quote not in said]
    assert missing == []
    numbers = [number for number, _ in rows]
    for file in sorted((ROOT / "solutions").glob("*.ipynb")):
        if plans.minutes_of_tasks(file.name):
            assert 2 <= numbers.count(file.name[:2]) <= 4, file.name


def test_its_commands_are_there() -> None:
    for file in re.findall(r"python (\S+\.py)", TEXT):
        assert (ROOT / file).is_file(), file
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", TEXT, re.MULTILINE)) <= set(targets)


@pytest.mark.parametrize("name", re.findall(r"\]\(#([a-z-]+)\)", TEXT))
def test_a_link_inside_leads_to_a_heading(name: str) -> None:
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    slugs = [re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings]
    assert name in slugs
