"""Write a function that passed its check into the file, whole, and lose nothing of a student's."""

from __future__ import annotations

import getpass
import tempfile
from pathlib import Path
from types import CodeType
from typing import Any

from filelock import FileLock

from mmret_lib.checks.writing.adding import add
from mmret_lib.checks.writing.lessons import tasks
from mmret_lib.checks.writing.module import (
    Module,
    digest,
    layout,
    read_module,
    was_edited,
)
from mmret_lib.checks.writing.needs import NotWritten, Part
from mmret_lib.files.whole import write_text

SECONDS = 20  # to wait for another notebook that writes


def write_part(part: Part, file: Path) -> str:
    """Put a function and what it needs into a file.

    Returns:
        What was done, in a line or two.

    Raises:
        NotWritten: it cannot stand in the file.
        OSError: the file cannot be written.
    """
    with FileLock(_lock_of(file), timeout=SECONDS):
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        module = read_module(before)
        add(module, part)
        code = layout(module)
        try:
            _try_import(layout(module, with_added=False), code)
        except Exception as error:
            raise NotWritten(f"the file could not be imported: {error!r}") from error
        says = ""
        if was_edited(before) and (copy := _put_aside(file, before, code, bool(module.lost))):
            why = "was no valid Python" if module.lost else "was changed by hand"
            says = f"\n{file.name} {why}: as it was, it is kept as {copy.name}."
        write_text(file, code)
    return f"{part.task} is in {file.name} now ({_count(module)}).{says}"


def _count(module: Module) -> str:
    return f"{len(module.tasks)} of {sum(map(len, tasks().values()))} functions"


def _lock_of(file: Path) -> Path:
    """A lock file outside the student's folder."""
    name = f"mmret-{getpass.getuser()}-{digest(str(file.resolve()))}.lock"
    return Path(tempfile.gettempdir()) / name


def _put_aside(file: Path, before: str, code: str, broken: bool) -> Path | None:
    """Keep a copy of a file changed by hand, if a part of it would be lost."""
    after = {one.code for one in read_module(code).bindings.values()}
    if not broken and all(one.code in after for one in read_module(before).bindings.values()):
        return None
    number = 1
    while (copy := file.with_name(f"{file.stem}_edited_{number}.py")).exists():
        number += 1
    write_text(copy, before)
    return copy


def _try_import(engine: str, code: str) -> None:
    """Compile the file and import it, but for what the student added, which may do anything."""
    compile(code, "my_retrieval.py", "exec", dont_inherit=True)
    compiled: CodeType = compile(engine, "my_retrieval.py", "exec", dont_inherit=True)
    names: dict[str, Any] = {"__name__": "my_retrieval"}
    exec(compiled, names)
