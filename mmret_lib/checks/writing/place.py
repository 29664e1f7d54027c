"""Where `my_retrieval.py` is: beside the notebook that the student runs, or where they say."""

import os
import sys
from pathlib import Path
from typing import Any

from mmret_lib.checks.writing.lessons import LESSONS
from mmret_lib.files.keep import place_to_keep
from mmret_lib.files.places import PACKAGE, user_path

NAME = "my_retrieval.py"
CLONE = PACKAGE.parent
# nbgrader sets the first while it marks, and both while it validates a submission.
MARKING = ("NBGRADER_EXECUTION", "NBGRADER_VALIDATING")
SOLUTION = "### BEGIN SOLUTION"  # nbgrader's mark in solutions, which exercises do not have


def is_never_written(cell: str = "") -> bool:
    """Whether nothing may be written: while nbgrader marks, in tests, and from a solution.

    Args:
        cell: the code of the cell that holds the function.
    """
    if any(os.environ.get(name) for name in MARKING):
        return True
    if os.environ.get("MMRET_ENGINE"):
        return False
    in_course = Path.cwd() in (CLONE / "solutions", CLONE / "notebooks")
    away = in_course and "google.colab" not in sys.modules
    return away or SOLUTION in cell or bool(os.environ.get("PYTEST_VERSION"))


def place_to_write(notebook: dict[str, Any]) -> Path | None:
    """Return the file to write what passed its check into, or None if it has no place here.

    Args:
        notebook: the notebook's variables; KEEP is the folder that outlives a session on Colab.

    Raises:
        DataError: neither KEEP nor the folder above it is there: the Drive is not mounted.
    """
    if given := os.environ.get("MMRET_ENGINE"):
        return user_path(given).absolute()
    if isinstance(keep := notebook.get("KEEP"), str | os.PathLike):
        place_to_keep(Path(keep))
    return _beside_the_notebook(notebook)


def place_to_read(notebook: dict[str, Any]) -> Path | None:
    """Return where the file is, or would be; None where it has no place."""
    if given := os.environ.get("MMRET_ENGINE"):
        return user_path(given).absolute()
    if (here := Path.cwd() / NAME).is_file():
        return here
    return _beside_the_notebook(notebook)


def _beside_the_notebook(notebook: dict[str, Any]) -> Path | None:
    if isinstance(keep := notebook.get("KEEP"), str | os.PathLike):
        return user_path(keep).absolute() / NAME
    here, exercises = Path.cwd(), CLONE / "exercises"
    # On Colab the set-up cell goes to the lessons' folder.
    if exercises.is_dir() and ("google.colab" in sys.modules or here == CLONE):
        return exercises / NAME
    if here in (CLONE / "solutions", CLONE / "notebooks"):
        return None
    copied = any((here / f"{lesson}.ipynb").is_file() for lesson in LESSONS)
    return here / NAME if copied or here.name == "exercises" else None
