"""What a student wrote in the notebook that runs: cells, definitions, assignments, imports."""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import cached_property
from types import FunctionType
from typing import Any

from mmret_lib.checks.writing.bindings import Binding, import_bindings

NOTHING = ("", ast.Pass())
NBGRADER_MARKS = ("### BEGIN SOLUTION", "### END SOLUTION")


class Notebook:
    """The notebook that runs in this process.

    Args:
        shell: IPython's shell.
    """

    def __init__(self, shell: Any) -> None:
        self.variables: dict[str, Any] = shell.user_ns

    def wrote(self, function: Callable[..., Any]) -> bool:
        """Whether a function was defined in one of the notebook's cells."""
        inner = inspect.unwrap(function)
        return isinstance(inner, FunctionType) and inner.__globals__ is self.variables

    @cached_property
    def binders(self) -> dict[str, tuple[str, ast.stmt]]:
        """For each name of the notebook the cell and the statement that bound it last."""
        found: dict[str, tuple[str, ast.stmt]] = {}
        for cell in self.variables.get("In", []):
            try:
                statements = ast.parse(cell).body
            except SyntaxError:
                continue
            for statement in _outside_functions(statements):
                for name in _bound_by(statement):
                    found[name] = cell, statement
        return found


def running_notebook() -> Notebook | None:
    """Return the notebook that runs in this process, or None if there is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return Notebook(shell) if shell is not None else None


def cell_of(function: Callable[..., Any]) -> str:
    """Return the code of the cell, or of the file, in which a function was defined."""
    inner = inspect.unwrap(function)
    if not isinstance(inner, FunctionType):
        return ""
    return "".join(linecache.getlines(inner.__code__.co_filename))


def definition_of(function: Callable[..., Any]) -> str | None:
    """Return the source of a function with its decorators, or None if it has none to copy.

    That is so for a lambda, a function made inside another one, a class or object that can be
    called, and one that was wrapped by other means than a decorator.
    """
    inner = inspect.unwrap(function)
    if not isinstance(inner, FunctionType) or inner.__closure__:
        return None
    code, cell = inner.__code__, cell_of(function)
    try:
        tree = ast.parse(cell)
    except SyntaxError:
        return None
    for statement in _outside_functions(tree.body):
        if isinstance(statement, ast.FunctionDef) and statement.name == code.co_name:
            first = min([statement.lineno, *(one.lineno for one in statement.decorator_list)])
            if first == code.co_firstlineno:
                wrapped = inner is not function and not statement.decorator_list
                return None if wrapped else source_of(cell, statement)
    return None


def source_of(cell: str, statement: ast.stmt) -> str:
    """Return a statement's lines, without their common indent and nbgrader's marks."""
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(one.lineno for one in decorators)])
    lines = cell.splitlines()[first - 1 : statement.end_lineno]
    kept = [line.rstrip() for line in lines if line.strip() not in NBGRADER_MARKS]
    return textwrap.dedent("\n".join(kept))


def _outside_functions(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run in the module itself, also those inside an if, with or try."""
    for statement in statements:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for part in ("body", "orelse", "handlers", "finalbody"):
            for inner in getattr(statement, part, []):
                yield from _outside_functions(getattr(inner, "body", None) or [inner])


def _bound_by(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [binding.name for binding in import_bindings(statement)]
    return [
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]


def imported_as(notebook: Notebook, name: str) -> Binding | None:
    """Return the notebook's import of a name, if that is what bound it last."""
    _, statement = notebook.binders.get(name, NOTHING)
    if not isinstance(statement, ast.Import | ast.ImportFrom):
        return None
    return next(one for one in import_bindings(statement) if one.name == name)


def assigned_as(notebook: Notebook, name: str) -> str | None:
    """Return the notebook's last assignment to a name alone, if that is what bound it last."""
    cell, statement = notebook.binders.get(name, NOTHING)
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign) and statement.value:
        target = statement.target
    else:
        return None
    if not isinstance(target, ast.Name) or statement.value is None:
        return None
    return f"{name} = {ast.get_source_segment(cell, statement.value)}"


def class_as(notebook: Notebook, name: str) -> str | None:
    """Return the source of a class that the notebook defines."""
    cell, statement = notebook.binders.get(name, NOTHING)
    return source_of(cell, statement) if isinstance(statement, ast.ClassDef) else None
