"""`my_retrieval.py`: the file of functions that a student wrote, and that passed their checks.

    from mmret_lib.checks.my_retrieval import show_engine
    show_engine()  # what is in it, and what is missing

A check that passes writes its function into the file, beside the notebook that the student runs. On
Colab a cell with `KEEP = "/content/drive/MyDrive/mmret"` names a folder that outlives the session.
The variable MMRET_ENGINE of the environment names another file. `mmret engine` prints what
`show_engine` shows.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmret_lib.checks.engine.task import CheckFailed
from mmret_lib.checks.writing.adding import UNCHECKED
from mmret_lib.checks.writing.file import write_part
from mmret_lib.checks.writing.lessons import lesson_of, tasks
from mmret_lib.checks.writing.needs import NotWritten, Part, collect
from mmret_lib.checks.writing.place import (
    CLONE,
    NAME,
    is_never_written,
    place_to_read,
    place_to_write,
)
from mmret_lib.checks.writing.source import cell_of, running_notebook

__all__ = ["engine_file", "engine_table", "show_engine"]

NO_PLACE = (
    f"({NAME} is written in the exercises' folder only. For another folder, this one too, say "
    'KEEP = "." or where in a cell, then run this check again.)'
)
said: set[str] = set()  # what was printed in this session, and is not to be printed again


def portable(task: str, function: Callable[..., Any]) -> Part | str | None:
    """Collect a function with all that it needs, before its check.

    Returns:
        The function; or in words why it stays out of the file, though its check may pass; or None
        if it is not for the file: nothing in a notebook, or not one of the course's functions.

    Raises:
        CheckFailed: it needs a variable of the notebook.
    """
    notebook = running_notebook()
    if notebook is None or lesson_of(task) is None:
        return None
    if not notebook.wrote(function):
        in_file = getattr(function, "__module__", None) == Path(NAME).stem
        return None if in_file else "it was not written in this notebook"
    try:
        return collect(task, function, notebook)
    except NotWritten as reason:
        return str(reason)
    except CheckFailed:
        raise
    except Exception as error:  # a check must not fail by what is only a service
        return f"its source could not be read ({error!r})"


def keep(task: str, function: Callable[..., Any], part: Part | str | None) -> None:
    """Write a function that passed its check into `my_retrieval.py`, and say so in a line.

    Args:
        part: what `portable` returned for it.
    """
    if part is None:
        return
    try:
        cell = cell_of(function)
        if is_never_written(cell):
            return
        file = place_to_write(_variables())
        if file is None:
            if not said:
                print(NO_PLACE)
                said.add(NO_PLACE)
            return
        if isinstance(part, str):
            raise NotWritten(part)
        print(write_part(part, file))
    except NotWritten as reason:
        print(f"({task} is not written into {NAME}: {reason}.)")
    except Exception as error:
        print(f"({NAME} could not be written, which changes nothing for the check: {error})")


def show_engine(download: bool = False) -> None:
    """Print which functions of the course are in `my_retrieval.py`, and which are missing.

    Args:
        download: on Colab, also save the file on the computer that the browser runs on.
    """
    file = place_to_read(_variables())
    print(engine_table(file))
    if file is None or not file.is_file():
        return
    on_colab = "google.colab" in sys.modules
    if on_colab and download:
        importlib.import_module("google.colab.files").download(str(file))
    elif on_colab:
        print("To save it on your computer: show_engine(download=True)")


def engine_file() -> Path:
    """Return the `my_retrieval.py` of the working folder, or else of the clone's exercises."""
    return place_to_read({}) or CLONE / "exercises" / NAME


def place_of_engine() -> Path:
    """Return the file that the checks of the running notebook write, or would."""
    return place_to_read(_variables()) or engine_file()


def engine_table(file: Path | None) -> str:
    """Return a text that lists, lesson by lesson, the functions in a file and those missing.

    Args:
        file: need not exist; None stands for a file that has no place here.
    """
    code = file.read_text(encoding="utf-8") if file and file.is_file() else ""
    try:
        lines = lines_of_functions(code)
    except SyntaxError as error:
        return f"{NAME} is no valid Python: {error.msg} (line {error.lineno}). Mend that line."
    wanted = [name for names in tasks().values() for name in names]
    there = [name for name in wanted if name in lines]
    table = [f"{NAME}: {len(there)} of {len(wanted)} functions, {len(code.splitlines())} lines"]
    for lesson, names in tasks().items():
        has = ", ".join(f"{name} (line {lines[name]})" for name in names if name in lines)
        lacks = ", ".join(
            f"{name} (task {number})" for number, name in enumerate(names, 1) if name not in lines
        )
        if has:
            table.append(f"  {lesson}: {has}")
        if lacks:
            table.append(f"  {lesson}, missing: {lacks}")
    if there:
        table.append(f"In this folder: from my_retrieval import {', '.join(there[:3])}")
    else:
        table.append("A function is written into it when its check passes.")
    return "\n".join(table)


def lines_of_functions(code: str) -> dict[str, int]:
    """The line of each function whose check passed."""
    lines = code.splitlines()
    found = {}
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if lines[first - 2] != UNCHECKED:
                found[node.name] = node.lineno
    return found


def _variables() -> dict[str, Any]:
    """The variables of the notebook that runs, if one does."""
    notebook = running_notebook()
    return notebook.variables if notebook else {}
