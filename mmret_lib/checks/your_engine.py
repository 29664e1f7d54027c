"""Load a student's `my_retrieval.py` as one engine, whose missing parts are the library's.

    from mmret_lib.checks.your_engine import load_engine
    engine = load_engine()
    engine  # the scoreboard: whose each part is
    engine.simclr(image_emb, text_emb, 0.07)

Exercise 15 trains, measures and searches with it. A part that fails says in one line which exercise
mends it, and `engine.use_library` puts the library's in its place.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

from mmret_lib import checks
from mmret_lib.checks.engine.task import CheckFailed
from mmret_lib.checks.my_retrieval import lines_of_functions, place_of_engine
from mmret_lib.checks.stand_ins import STAND_INS
from mmret_lib.checks.writing.lessons import lesson_of, tasks
from mmret_lib.checks.writing.place import NAME

__all__ = ["Engine", "EngineError", "library_engine", "load_engine"]


class EngineError(Exception):
    """Raised where a part of an engine cannot be used; a notebook shows only the message."""

    def _render_traceback_(self) -> list[str]:
        return [f"EngineError: {self}"]


@dataclass
class Part:
    """A function that the capstone needs.

    Attributes:
        name: of the function.
        function: the student's, or the library's.
        line: where the student's begins in the file; None for the library's.
        calls: how often it was called.
    """

    name: str
    function: Callable[..., Any]
    line: int | None = None
    calls: int = 0

    @property
    def task(self) -> str:
        """The exercise and the task in which it is written."""
        lesson = lesson_of(self.name) or ""
        return f"{lesson}, task {tasks()[lesson].index(self.name) + 1}"

    @property
    def whose(self) -> str:
        """Whose the function is, for the scoreboard."""
        return "the library's" if self.line is None else f"yours, line {self.line}"


class Engine:
    """The parts of a retrieval engine, each an attribute: `engine.top_k(query_emb, emb, 5)`.

    Attributes:
        file: the student's file, which need not be there; None for the library's engine.
        parts: name -> the part.
    """

    def __init__(self, file: Path | None, parts: list[Part]) -> None:
        self.file = file
        self.parts = {part.name: part for part in parts}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in vars(self).get("parts", {}):
            raise AttributeError(f"an engine has no part {name!r}")
        return _guarded(self.parts[name], self.file)

    @property
    def own(self) -> list[Part]:
        """The student's parts that are in use."""
        return [part for part in self.parts.values() if part.line is not None]

    def use_library(self, *names: str) -> None:
        """Put the library's part in the place of each that is named."""
        for name in names:
            if name not in STAND_INS:
                raise EngineError(f"there is no part {name}; there are {', '.join(STAND_INS)}")
            self.parts[name] = Part(name, STAND_INS[name])

    def check(self) -> None:
        """Run the check of each of the student's parts, and print which ones fail."""
        failed = 0
        for part in self.own:
            module = getattr(checks, str(lesson_of(part.name))[3:])
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    getattr(module, f"check_{part.name}")(part.function)
            except (CheckFailed, NotImplementedError) as error:
                failed += 1
                print(f"{error} (line {part.line} of {NAME}; {part.task})")
        print(f"{len(self.own) - failed} of your {len(self.own)} parts pass their checks.")

    def __repr__(self) -> str:
        rows = [("part", "exercise", "whose", "calls"), *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]])
            for row in rows
        ]
        return "\n".join([self._summary(), "", *(line.rstrip() for line in lines)])

    def _repr_html_(self) -> str:
        rows = []
        for row in self._rows():
            whose = escape(row[2])
            cells = [*map(escape, row[:2]), f"<b>{whose}</b>" if "yours" in whose else whose]
            cells = [f'<td style="text-align:left">{cell}</td>' for cell in cells]
            rows.append("<tr>" + "".join(cells) + f"<td>{row[3]}</td></tr>")
        head = "<tr><th>part</th><th>exercise</th><th>whose</th><th>calls</th></tr>"
        return f"<p>{escape(self._summary())}</p><table>{head}{''.join(rows)}</table>"

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [(p.name, p.task, p.whose, f"{p.calls:,}") for p in self.parts.values()]

    def _summary(self) -> str:
        missing = len(self.parts) - len(self.own)
        if self.file is None:
            return f"All {missing} parts are the library's."
        if not self.file.is_file():
            return f"There is no {self.file} yet: all {missing} parts are the library's."
        code = self.file.read_text(encoding="utf-8")
        imports = "mmret_lib" if "mmret_lib" in _imported(code) else "torch and not mmret_lib"
        return (
            f"{NAME} has {len(code.splitlines()):,} lines and imports {imports}. Of the "
            f"{len(self.parts)} parts here {len(self.own)} are yours, {missing} the library's."
        )


def load_engine(file: Path | None = None) -> Engine:
    """Load a student's file; parts that are not in it, or not checked, are the library's.

    Args:
        file: by default the `my_retrieval.py` that the checks write, beside the notebook, in KEEP,
            or where MMRET_ENGINE says. It need not be there.

    Raises:
        EngineError: the file is no valid Python, or fails when it is imported.
    """
    file = place_of_engine() if file is None else file
    if not file.is_file():
        return Engine(file, list(library_engine().parts.values()))
    try:
        lines = lines_of_functions(file.read_text(encoding="utf-8"))
        module = _import(file)
    except SyntaxError as error:
        says = f"is no valid Python: {error.msg} (line {error.lineno}). Mend that line."
        raise EngineError(f"{NAME} {says}") from None
    except Exception as error:
        line = _line_in(file, error) or "?"
        raise EngineError(
            f"{NAME} cannot be imported: {type(error).__name__}: {error} (line {line}). Mend that "
            "line, or move the file away and run the checks again."
        ) from error
    parts = []
    for name, stand_in in STAND_INS.items():
        is_own = name in lines and callable(getattr(module, name, None))
        own = Part(name, getattr(module, name), lines[name]) if is_own else None
        parts.append(own or Part(name, stand_in))
    return Engine(file, parts)


def library_engine() -> Engine:
    """Return an engine of which every part is the library's."""
    return Engine(None, [Part(name, function) for name, function in STAND_INS.items()])


def _guarded(part: Part, file: Path | None) -> Callable[..., Any]:
    """A part that counts its calls, and says what to do where it fails."""

    @wraps(part.function)
    def call(*args: Any, **kwargs: Any) -> Any:
        part.calls += 1
        try:
            return part.function(*args, **kwargs)
        except EngineError:  # a part that this one calls, such as the loss of a step
            raise
        except Exception as error:
            if part.line is None or file is None:
                raise
            raise EngineError(_what_failed(part, file, error)) from error

    return call


def _what_failed(part: Part, file: Path, error: Exception) -> str:
    says = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, NotImplementedError):
        says = "a line still says raise NotImplementedError"
    where = f" (line {line} of {NAME})" if (line := _line_in(file, error)) else ""
    return (
        f"your {part.name} failed: {says}{where}. Run its check again, in exercise {part.task}; "
        f'to go on with the library\'s: engine.use_library("{part.name}")'
    )


def _line_in(file: Path, error: Exception) -> int | None:
    """The last line of a file that led to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file]
    return lines[-1] if lines else None


def _import(file: Path) -> ModuleType:
    """Import the file anew, under the name that `import my_retrieval` would give it."""
    name = Path(NAME).stem
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _imported(code: str) -> set[str]:
    """The packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found
