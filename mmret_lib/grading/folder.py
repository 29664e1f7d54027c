"""Find who has handed in what, in a folder as nbgrader, Moodle or a person lays it out.

    FOLDER/submitted/ada/04_triplet_losses/04_triplet_losses.ipynb    nbgrader
    FOLDER/ada/Copy of 04_triplet_losses (1).ipynb                    a folder for each student
    FOLDER/Ada Lovelace_4711_assignsubmission_file_/04.ipynb          Moodle
    FOLDER/ada_04_triplet_losses.ipynb                                a file for each student

What a notebook is called does not matter: it belongs to the exercise whose functions it has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from mmret_lib.checks.writing.lessons import LESSONS
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.grading.notebook import Cell, exercise_of, read_cells

MOODLE = re.compile(r"_\d+_assignsubmission_\w+?_(?=\d\d_|$)|_\d+_assignsubmission_.*$")
COPY = re.compile(r"^Copy of |^Copie de |^Kopie von |[ _-]*\(\d+\)$|[ _-]*Copy\d*$", re.IGNORECASE)

# Files that stand for a student, though they are no notebook, and one that does not.
LOOSE = {".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".py", ".txt", ".pdf", ".html"}
OURS = {"nbgrader_config.py"}


@dataclass
class Submission:
    """What a student handed in for an exercise.

    Attributes:
        student: the name that the folder or the file gives.
        file: the notebook that is marked, from the folder's top; "" if there is none.
        cells: its code cells.
        engine: the source of a `my_retrieval.py` beside it, from which it may import.
        remarks: what whoever marks should know, one line each.
    """

    student: str
    file: str = ""
    cells: list[Cell] = field(default_factory=list)
    engine: str = ""
    remarks: list[str] = field(default_factory=list)


def find_submissions(folder: Path, exercise: str, skip: Path | None = None) -> list[Submission]:
    """Return what each student has handed in for an exercise, in the order of their names.

    A student whose notebook is missing, damaged or of another exercise is listed too, with a
    remark. Of several notebooks the newest is taken.

    Args:
        folder: of the submissions.
        exercise: its name.
        skip: a folder that is nobody's, as that for the marks.

    Raises:
        DataError: there is no such folder, or nobody in it.
    """
    if not folder.is_dir():
        raise MissingFile(f"there is no folder {folder}")
    root = folder / "submitted" if (folder / "submitted").is_dir() else folder
    found: dict[str, list[Path]] = {}
    for path in sorted(root.iterdir()):
        if path.name.startswith((".", "__")) or (skip and skip.is_relative_to(path.resolve())):
            continue
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if file.is_file()]
            found[path.name] = [file for file in files if not is_by_product(file, path)]
        elif path.suffix == ".ipynb" or (path.suffix in LOOSE and path.name not in OURS):
            found.setdefault(path.stem, []).append(path)
    names = {key: student_of(key) for key in found}
    unique = {key: name for key, name in names.items() if list(names.values()).count(name) == 1}
    submissions = [
        _choose(unique.get(key, key), files, exercise, root) for key, files in found.items()
    ]
    if not submissions:
        raise DataError(f"{folder} has no submissions: a folder or a notebook for each student")
    return sorted(submissions, key=lambda one: one.student)


def is_by_product(file: Path, folder: Path) -> bool:
    """Whether a file in a student's folder was made by Jupyter or by macOS beside another one."""
    inside = file.relative_to(folder).parts
    made = {".ipynb_checkpoints", "__MACOSX", "__pycache__"}
    return bool(made & set(inside)) or file.name.startswith("._") or file.name == ".DS_Store"


def student_of(name: str) -> str:
    """Return the student's name from that of a folder, or of a file without its ending."""
    name = MOODLE.sub("_", name)
    for lesson in LESSONS:
        name = name.replace(lesson, "")
    while (shorter := COPY.sub("", name).strip(" _-")) != name:
        name = shorter
    return name or "(no name)"


def _choose(student: str, files: list[Path], exercise: str, root: Path) -> Submission:
    """Take the newest of a student's notebooks that belongs to the exercise."""
    submission = Submission(student)
    fitting = []
    others = []
    for path in files:
        if path.suffix != ".ipynb":
            if path.name != "my_retrieval.py":
                others.append(path.name)
            continue
        try:
            cells = read_cells(path)
        except DataError as error:
            submission.remarks.append(str(error))
            continue
        belongs_to = exercise_of(cells)
        if belongs_to == exercise:
            fitting.append((path.stat().st_mtime, path, cells))
        else:
            what = f"is {belongs_to}" if belongs_to else "has no function of an exercise"
            others.append(f"{path.name} ({what})")
    if not fitting:
        there = f"; there is {', '.join(others[:5])}" if others else ""
        submission.remarks.append(f"no notebook of {exercise}{there}")
        return submission
    _, path, cells = max(fitting, key=lambda one: one[:2])
    if len(fitting) > 1:
        places = len({path.parent for _, path, _ in fitting})
        whose = f" (in {places} folders: of one student?)" if places > 1 else ""
        says = f"{len(fitting)} notebooks of this exercise: the newest counts{whose}"
        submission.remarks.append(says)
    if path.stem != exercise and len(path.relative_to(root).parts) > 1:
        submission.remarks.append(f"the notebook is called {path.name}")
    beside = path.with_name("my_retrieval.py")
    if beside in files and beside.stat().st_size < 2**20:
        submission.engine = beside.read_text(encoding="utf-8", errors="replace")
    submission.file, submission.cells = path.relative_to(root).as_posix(), cells
    return submission
