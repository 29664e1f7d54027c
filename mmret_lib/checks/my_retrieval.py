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
from pathlib import Path
from typing import Any

from mmret_lib.checks.writing.lessons import tasks
from mmret_lib.checks.writing.place import NAME, place_to_read

__all__ = ["engine_table", "show_engine"]

UNCHECKED = "# Its check has not passed yet"  # stands above a function that another one calls


def show_engine(download: bool = False) -> None:
    """Print which functions of the course are in `my_retrieval.py`, and which are missing.

    Args:
        download: on Colab, also save the file on the computer that the browser runs on.
    """
    file = place_to_read(_notebook())
    print(engine_table(file))
    if file is None or not file.is_file():
        return
    on_colab = "google.colab" in sys.modules
    if on_colab and download:
        importlib.import_module("google.colab.files").download(str(file))
    elif on_colab:
        print("To save it on your computer: show_engine(download=True)")


def engine_table(file: Path | None) -> str:
    """Return a text that lists, lesson by lesson, the functions in a file and those missing.

    Args:
        file: need not exist; None stands for a file that has no place here.
    """
    code = file.read_text(encoding="utf-8") if file and file.is_file() else ""
    try:
        lines = _lines_of_functions(code)
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


def _lines_of_functions(code: str) -> dict[str, int]:
    """The line of each function whose check passed."""
    lines = code.splitlines()
    found = {}
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if not lines[first - 2].startswith(UNCHECKED):
                found[node.name] = node.lineno
    return found


def _notebook() -> dict[str, Any]:
    """The variables of the notebook that runs, if one does."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell.user_ns if shell else {}
