"""Take the functions, and what they need, out of a student's notebook.

Only definitions run: imports, functions, classes, and assignments of constants. Checks, trainings
and prints do not, so an overwritten or deleted check, or a cell that fails, changes nothing.
"""

from __future__ import annotations

import ast
import linecache
import sys
import types
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from mmret_lib.checks.engine.limit import time_limit
from mmret_lib.grading.guard import Guard
from mmret_lib.grading.notebook import Cell
from mmret_lib.grading.screen import refuses, root_of

# What the exercises import in their first cells; so a student who has lost that cell loses nothing.
USUAL = """\
import math, os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
"""
MAKERS = {
    *("torch", "math", "np", "nn", "F", "float", "int", "tuple", "list", "dict", "set", "range"),
    *("frozenset", "partial", "functools", "Path", "str", "bool", "len", "sorted", "zip"),
    *("max", "min", "sum", "abs", "round", "pow", "divmod", "enumerate", "reversed", "slice"),
}
LONGEST = 10  # seconds for a definition, such as of a class or a constant
HOMES = {"torch", "numpy", "math", "collections", "functools", "typing", "itertools", "operator"}


class Answers:
    """The namespace of a submission.

    Attributes:
        space: the names that its cells define.
        wrong: for a function's name, why it could not be defined.
    """

    def __init__(self, cells: Iterable[Cell], tasks: Iterable[str], guard: Guard) -> None:
        self.guard = guard
        self.tasks = set(tasks)
        module = types.ModuleType("submission")
        sys.modules[module.__name__] = module  # where dataclasses look for it
        self.space: dict[str, Any] = vars(module)
        self.space["__builtins__"] = guard.builtins
        self.written: set[str] = set()
        self.wrong: dict[str, str] = {}
        self.run(Cell("usual", USUAL))
        for cell in cells:
            self.run(cell)

    def run(self, cell: Cell) -> None:
        """Run the definitions of a cell."""
        source = plain_python(cell.source)
        try:
            statements = ast.parse(source).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            self._not_read(cell, error)
            return
        file = f"<{cell.name}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        for statement in statements:
            if self._is_wanted(statement):
                self._define(statement, file, cell)

    def function(self, name: str) -> Callable[..., Any] | str:
        """Return a task's function, or in words why there is none."""
        value: Callable[..., Any] | None = self.space.get(name)
        if callable(value) and not self.wrong.get(name, "").startswith("refused"):
            return value
        return self.wrong.get(name, f"{name} is not defined in the notebook")

    def _not_read(self, cell: Cell, error: Exception) -> None:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        says = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        for name in self.tasks:
            if f"def {name}(" in cell.source:
                self.wrong[name] = f"its cell is no valid Python: {says}{line}"

    def _is_wanted(self, statement: ast.stmt) -> bool:
        if isinstance(statement, ast.FunctionDef):
            return not (is_stub(statement) and statement.name in self.written)
        if isinstance(statement, ast.Import | ast.ImportFrom | ast.ClassDef | ast.Pass):
            return True
        if isinstance(statement, ast.Try | ast.If):
            test = statement.test if isinstance(statement, ast.If) else ast.Constant(None)
            return self._is_constant(test) and all(map(self._is_wanted, inner(statement)))
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value:
            targets, value = [statement.target], statement.value
        else:
            return False
        if not all(isinstance(target, ast.Name | ast.Tuple) for target in targets):
            return False
        if isinstance(value, ast.Lambda):
            return True
        names = {
            node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)
        }
        if names & self.written and not isinstance(value, ast.Name):
            return False
        made = isinstance(value, ast.Call) and root_of(value.func) in self.written
        return (made and names <= self.tasks) or self._is_constant(value)

    def _is_constant(self, value: ast.expr) -> bool:
        calls = [node for node in ast.walk(value) if isinstance(node, ast.Call)]
        return all(self._is_maker(root_of(call.func)) for call in calls)

    def _is_maker(self, name: str) -> bool:
        """Whether a name is of the modules of which constants are made."""
        thing: Any = self.space.get(name)
        of = "__name__" if isinstance(thing, types.ModuleType) else "__module__"
        home = getattr(thing, of, None)
        return name in MAKERS or str(home).partition(".")[0] in HOMES

    def _define(self, statement: ast.stmt, file: str, cell: Cell) -> None:
        name = name_of(statement)
        modules = {key for key, value in self.space.items() if isinstance(value, types.ModuleType)}
        if says := refuses(statement, modules):
            self.wrong[name] = f"refused: {says}"
            self.space[name] = self._refusing(says)
            self.written.add(name)
            return
        code = ast.Module([statement], type_ignores=[])
        refused = len(self.guard.refused)
        try:
            made = compiled(code, file)
            if isinstance(statement, ast.Import | ast.ImportFrom):  # torch is not left half loaded
                exec(made, self.space)
            else:
                with time_limit(LONGEST):
                    exec(made, self.space)
        except BaseException as error:  # also exit() while a default value is computed
            says = "; ".join(self.guard.refused[refused:])
            del self.guard.refused[refused:]  # it counts where a task needs the name
            if name and says:
                self.wrong[name] = f"refused: {says}"
                self.space[name] = self._refusing(says)
            elif name in self.tasks or hasattr(statement, "name"):
                self.wrong[name] = f"its definition raised {type(error).__name__}: {error}"[:200]
            return
        if name:
            if hasattr(statement, "name"):
                self.written.add(name)
            self.wrong.pop(name, None)

    def _refusing(self, says: str) -> Callable[..., Any]:
        def refused(*args: Any, **named: Any) -> None:
            self.guard.refuse(says)

        return refused


def compiled(code: ast.Module, file: str) -> types.CodeType:
    """Compile statements; annotations are not looked at, as they need names that may be missing."""
    import __future__

    flag = __future__.annotations.compiler_flag
    made: types.CodeType = compile(code, file, "exec", flag, dont_inherit=True)
    return made


def name_of(statement: ast.stmt) -> str:
    """Return the name that a definition or a plain assignment gives; "" if there is none."""
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    return str(getattr(statement, "name", ""))


def inner(statement: ast.Try | ast.If) -> list[ast.stmt]:
    """The statements that stand in a `try` or an `if`."""
    if isinstance(statement, ast.If):
        return statement.body + statement.orelse
    caught = [each for handler in statement.handlers for each in handler.body]
    return statement.body + caught + statement.orelse + statement.finalbody


def is_stub(function: ast.FunctionDef) -> bool:
    """Whether a function is as it was handed out."""
    body = [node for node in function.body if not isinstance(node, ast.Expr)]
    return len(body) == 1 and ast.unparse(body[0]).startswith("raise NotImplementedError")


@cache
def _transformer() -> Any:
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager()  # type: ignore[no-untyped-call]


def plain_python(source: str) -> str:
    """Write IPython's own lines (%magic, !command) as calls, which then do not run."""
    signs = ("%", "!", "?", ">>>", "In [")
    if not source.startswith((" ", "\t", "\n")) and not any(sign in source for sign in signs):
        return source
    if source.lstrip().startswith("%%"):
        source = source.lstrip().partition("\n")[2]
    try:
        return str(_transformer().transform_cell(source))
    except Exception:  # left as it is; the parser says what is wrong
        return source
