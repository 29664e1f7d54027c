"""INSTRUCTORS.md: its minutes, quotes of the checks and commands are those of the course."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from conftest import script

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "exercises" / "INSTRUCTORS.md").read_text(encoding="utf-8")
LINK = re.compile(r"\[\d\d\]\((\.\./notebooks/)?([\w.]+)\)(?:, tasks (\d) to (\d))?")


def minutes_of_lessons() -> dict[str, int]:
    text = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[.+?\]\((.+?)\) \| .+ \| (\d+) \|$", text, re.MULTILINE)
    return {name: int(minutes) for name, minutes in rows}


def minutes_of_tasks(name: str) -> list[int]:
    cells = nbformat.read(ROOT / "solutions" / name, as_version=4).cells
    found = [re.search(r"about (\d+) minutes · \d", c.source) for c in cells if c.id[:5] == "task-"]
    return [int(match[1]) for match in found if match]


def minutes(text: str) -> int:
    """The minutes of all lessons and exercises that a cell of a table links."""
    total = 0
    for lesson, name, first, last in LINK.findall(text):
        if lesson:
            total += minutes_of_lessons()[name]
        else:
            tasks = minutes_of_tasks(name)
            total += sum(tasks[int(first) - 1 : int(last)] if first else tasks)
    return total


def test_the_minutes_of_the_plans_add_up() -> None:
    plans = re.findall(r"^\| [^|]*\| minutes \|\n\|---\|---\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert len(plans) == 3
    for plan in plans:
        rows = re.findall(r"^\| (.+?) \| (\d+) \|$", plan, re.MULTILINE)
        for words, said in rows[:-1]:
            if LINK.search(words):
                assert minutes(words) == int(said), words
        total = sum(int(said) for _, said in rows[:-1])
        assert rows[-1] == ("**total**", str(total)), total


def test_the_minutes_of_six_weeks() -> None:
    rows = re.findall(r"^\| \d \| (.+) \| (\d+) \| (.+) \| (\d+) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 6
    for lecture, said, exercises, minutes_said in rows:
        assert minutes(lecture) == int(said), lecture
        assert minutes(exercises) == int(minutes_said), exercises


def texts_of_checks() -> str:
    """All texts in the code of the checks; what an f-string puts in is left out."""
    found = []
    for file in sorted((ROOT / "mmret_lib" / "checks").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_the_checks_say_what_the_table_quotes() -> None:
    rows = re.findall(r"^\| (\d\d) \| (.+?) \| .+ \|$", TEXT, re.MULTILINE)
    said = texts_of_checks()
    missing = [quote for _, quote in rows if quote not in said]
    assert missing == []
    numbers = [number for number, _ in rows]
    for file in sorted((ROOT / "solutions").glob("*.ipynb")):
        if minutes_of_tasks(file.name):
            assert 2 <= numbers.count(file.name[:2]) <= 4, file.name


def test_the_table_of_slides_is_current() -> None:
    key = script("exercises/answer_key.py")
    assert key.with_slides(TEXT) == TEXT, "run `make exercises`, or python exercises/answer_key.py"
    assert TEXT.count(" | ") > 100 and key.with_slides(TEXT.replace("| 00 A tour", "| x")) == TEXT


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
