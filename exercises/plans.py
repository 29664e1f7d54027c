"""The numbers in INSTRUCTORS.md: minutes of the plans, and slides of each lesson.

`make exercises` writes them anew. A plan is a table whose last column has minutes; a row that links
lessons or exercises has theirs ("exercise [04](…), tasks 1 to 3" those of three tasks, ", task 2"
that of one), any other row keeps its own, and the row **total** has the sum.
"""

import re
import sys
from functools import cache
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[\d\d\]\((\.\./notebooks/)?([\w.]+)\)(?:, tasks? (\d)(?: to (\d))?)?")


@cache
def minutes_of_lessons() -> dict[str, int]:
    """The minutes in notebooks/README.md, by the lesson's file."""
    text = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[.+?\]\((.+?)\) \| .+ \| (\d+) \|$", text, re.MULTILINE)
    return {name: int(minutes) for name, minutes in rows}


@cache
def minutes_of_tasks(name: str) -> list[int]:
    """The minutes of an exercise's tasks."""
    cells = nbformat.read(ROOT / "solutions" / name, as_version=4).cells
    texts = [cell.source for cell in cells if cell.id.startswith("task-")]
    found = [re.search(r"about (\d+) minutes · \d", text) for text in texts]
    return [int(match[1]) for match in found if match]


def minutes(text: str) -> int:
    """The minutes of all lessons and exercises that a cell of a table links."""
    total = 0
    for lesson, name, first, last in LINK.findall(text):
        if lesson:
            total += minutes_of_lessons()[name]
        else:
            tasks = minutes_of_tasks(name)
            total += sum(tasks[int(first) - 1 : int(last or first)] if first else tasks)
    return total


def with_minutes(text: str) -> str:
    """INSTRUCTORS.md with the minutes of its plans as lessons and exercises have them."""
    lines, total = text.split("\n"), 0
    for place, line in enumerate(lines):
        if match := re.fullmatch(r"\| (\d) \| (.+) \| \d+ \| (.+) \| \d+ \|", line):  # a week
            one, other = minutes(match[2]), minutes(match[3])
            lines[place] = f"| {match[1]} | {match[2]} | {one} | {match[3]} | {other} |"
        elif match := re.fullmatch(r"\| ([^|]+) \| (\d+) \|", line):
            if match[1] == "**total**":
                lines[place], total = f"| **total** | {total} |", 0
                continue
            number = minutes(match[1]) or int(match[2])
            lines[place], total = f"| {match[1]} | {number} |", total + number
    return "\n".join(lines)


def with_slides(text: str) -> str:
    """INSTRUCTORS.md with its table of slides as the lessons have them."""
    sys.path.insert(0, str(ROOT / "notebooks"))
    from deck import Deck

    rows = ["| lesson | slides |", "|---|---|"]
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        slides = Deck(nbformat.read(file, as_version=4)).slides
        rows.append(f"| {slides[0].title} | {len(slides)} |")
    table = "\n".join(["<!-- slides -->", *rows, "<!-- /slides -->"])
    return re.sub(r"<!-- slides -->.*<!-- /slides -->", lambda _: table, text, flags=re.DOTALL)
