"""Read the notebooks that students hand in, and tell which exercise one is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from mmret_lib.checks.writing.lessons import LESSONS, tasks
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import PACKAGE

LARGEST = 50 * 2**20  # bytes of a notebook that is read
EXERCISES = PACKAGE.parent / "exercises"


@dataclass(frozen=True)
class Cell:
    """A code cell: its name (nbgrader's, or the notebook's own) and its source."""

    name: str
    source: str


def read_cells(path: Path) -> list[Cell]:
    """Return the code cells of a notebook, in order.

    Raises:
        DataError: it cannot be read; the message is a remark for the mark sheet.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path.name} is larger than {LARGEST // 2**20} MB")
        notebook = json.loads(path.read_text(encoding="utf-8-sig"))  # with or without a BOM
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        return [
            Cell(_name_of(cell, number), "".join(cell["source"]))
            for number, cell in enumerate(cells, 1)
        ]
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{path.name} is no notebook, or a damaged one") from None


def _name_of(cell: dict[str, object], number: int) -> str:
    metadata = cell.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = marks.get("grade_id") if isinstance(marks, dict) else None
    return str(name or cell.get("id") or f"cell {number}")


def exercise_of(cells: list[Cell]) -> str | None:
    """Return the exercise that a notebook is a copy of, whatever its file is called.

    It is the one most of whose functions the notebook defines or checks; None if there is none.
    """
    code = "\n".join(cell.source for cell in cells)
    named = set(re.findall(r"\bdef (\w+)\(|\bcheck_(\w+)\b", code))
    found = {name for both in named for name in both if name}
    counts = {lesson: len(found & set(names)) for lesson, names in tasks().items()}
    best = max(counts, key=lambda lesson: counts[lesson])
    return best if counts[best] else None


@dataclass(frozen=True)
class Exercise:
    """What is handed out.

    Attributes:
        name: such as 04_triplet_losses.
        title: as the notebook has it.
        points: those of each task, by its function's name, in the tasks' order.
    """

    name: str
    title: str
    points: dict[str, int]


def find_exercise(number: str) -> Exercise:
    """Return the exercise with a number ("04") or a name ("04_triplet_losses").

    Raises:
        DataError: there is none, or the clone's folder exercises is not there.
    """
    names = [name for name in LESSONS if number in (name, name[:2], name[:2].lstrip("0"))]
    if len(names) != 1:
        raise DataError(f"--exercise {number}: there are {', '.join(LESSONS)}")
    path = EXERCISES / f"{names[0]}.ipynb"
    if not path.is_file():
        raise DataError(f"{path} is not there: submissions are graded with a clone of the course")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    title = "".join(notebook["cells"][0]["source"]).split("\n")[0]
    points = {}
    for cell in notebook["cells"]:
        marks = cell["metadata"].get("nbgrader", {})
        if marks.get("grade"):
            [name] = re.findall(r"\.check_(\w+)\(", "".join(cell["source"]))
            points[name] = int(marks["points"])
    ordered = {name: points[name] for name in tasks()[names[0]]}
    return Exercise(names[0], title.removeprefix("# ").removesuffix(": exercise"), ordered)
