"""Collect what a student's function needs of the notebook, so that it can stand in a file."""

from __future__ import annotations

import ast
import builtins
import functools
import math
import re
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mmret_lib.checks.engine.task import CheckFailed
from mmret_lib.checks.writing.bindings import (
    Binding,
    assigned_globals,
    can_rename,
    import_line,
    in_one_form,
    is_literal,
    value_of,
)
from mmret_lib.checks.writing.source import (
    Notebook,
    assigned_as,
    class_as,
    definition_of,
    imported_as,
)

MODULE = "my_retrieval"
BUILT_IN = frozenset(vars(builtins)) - {"display", "get_ipython"}  # these two are IPython's
OWN = frozenset(["__name__", "__doc__", "__builtins__", "__file__"])
ALLOWED = frozenset(sys.stdlib_module_names) | {"torch", "numpy"}
ALIASES = (
    types.GenericAlias,
    types.UnionType,
    type(typing.List[int]),  # noqa: UP006
    type(typing.Optional[int]),  # noqa: UP045
    typing.TypeVar,
    re.Pattern,
    functools.partial,
)


class NotWritten(Exception):
    """A function stays out of the file; the message says why, and what to do."""


@dataclass
class Part:
    """A student's function, and what it needs.

    Attributes:
        task: its name.
        bindings: the function and its helpers, constants and imports, by name.
        expects: names that the student imported from the file.
    """

    task: str
    bindings: dict[str, Binding] = field(default_factory=dict)
    expects: set[str] = field(default_factory=set)


def collect(task: str, function: Callable[..., Any], notebook: Notebook) -> Part:
    """Collect a function that is written in a notebook, and what it needs.

    Args:
        task: the name that it gets.

    Raises:
        CheckFailed: it needs a variable of the notebook that is no constant.
        NotWritten: it cannot stand in the file for another reason.
    """
    code = definition_of(function)
    if code is None:
        raise NotWritten("only a function that is defined in a cell of its own can be copied")
    part = Part(task)
    name = function.__name__
    if name != task and not can_rename(code, name):
        raise NotWritten(f"it is called {name}, not {task}")
    binding = Binding(name, code).renamed({name: task})
    part.bindings[task] = binding
    _visit(binding, part, notebook, [task])
    return part


def _visit(binding: Binding, part: Part, notebook: Notebook, path: list[str]) -> None:
    """Collect what a binding uses.

    Args:
        path: the functions that lead to this one, which messages name.
    """
    who = path[0] if len(path) == 1 else f"{path[0]} calls {path[-1]}, which"
    if changed := assigned_globals(binding.code):
        raise CheckFailed(
            f"{who} changes the notebook's variable "
            f"{min(changed)}: it should return its result, and change nothing else."
        )
    _refuse_local_imports(binding, who)
    for name in sorted(binding.uses):
        known = name in part.bindings or name in OWN
        if known or name not in notebook.variables or (len(path) == 1 and name == part.task):
            continue
        value = notebook.variables[name]
        if name in BUILT_IN and value is vars(builtins)[name]:
            continue
        found = _binding_of(name, value, notebook, part, who)
        if found is None:
            raise CheckFailed(_needs_variable(path, name, value))
        if found.name:
            part.bindings[name] = found
            if not found.is_import:
                _visit(found, part, notebook, [*path, name])


def _binding_of(name: str, value: Any, notebook: Notebook, part: Part, who: str) -> Binding | None:
    """What gives a name its value in the file; None if nothing can."""
    if getattr(value, "__module__", None) == MODULE and getattr(value, "__name__", "") == name:
        part.expects.add(name)
        return Binding("", "")
    if binding := _import_of(name, value, notebook):
        _refuse_package(binding.statement, who)
        return binding
    if _is_constant(value):
        code = assigned_as(notebook, name)
        return Binding(
            name, code if code and _says(code, value) else f"{name} = {write_out(value)}"
        )
    if callable(value) and notebook.wrote(value):
        code = definition_of(value)
        if code is None and isinstance(value, types.FunctionType):
            code = assigned_as(notebook, name)  # a lambda
        if code is None:
            raise NotWritten(f"{who} uses {name}, which is not defined in a cell of its own")
        return Binding(getattr(value, "__name__", name), code).renamed(
            {getattr(value, "__name__", name): name}
        )
    if isinstance(value, type) and value.__module__ == "__main__":
        code = class_as(notebook, name)
        return Binding(name, code) if code else None
    if isinstance(value, ALIASES) and (code := assigned_as(notebook, name)):
        return Binding(name, code)
    return None


def _import_of(name: str, value: Any, notebook: Notebook) -> Binding | None:
    """The import that gives a name this value: the notebook's, or one found by the value."""
    candidates = [imported_as(notebook, name)]
    if isinstance(value, types.ModuleType):
        candidates.append(Binding(name, import_line(value.__name__, None, name)))
    else:
        home, own = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
        if isinstance(home, str) and home != "__main__" and own.isidentifier():
            candidates.append(Binding(name, import_line(home, own, name)))
    for binding in candidates:
        if binding is not None and _gives(binding, value):
            return Binding(name, in_one_form(binding.code))
    return None


def _gives(binding: Binding, value: Any) -> bool:
    try:
        return value_of(binding.statement) is value
    except (ImportError, AttributeError):
        return False


def _refuse_local_imports(binding: Binding, who: str) -> None:
    for node in ast.walk(ast.parse(binding.code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            _refuse_package(node, who)


def _refuse_package(statement: ast.stmt, who: str) -> None:
    """Raise NotWritten if something else is imported than torch, numpy and Python's own modules."""
    if isinstance(statement, ast.ImportFrom):
        modules = [statement.module or ""]
        what = f"{statement.names[0].name} of {modules[0]}"
    else:
        assert isinstance(statement, ast.Import)
        modules = [one.name for one in statement.names]
        what = modules[0]
    for module in modules:
        root = module.split(".")[0]
        if root == "mmret_lib":
            raise NotWritten(
                f"{who} uses {what}, and the file is to be yours alone. Use your own function of "
                "an earlier task, or torch"
            )
        if root == MODULE:
            raise NotWritten(
                f"{who} uses the module {MODULE}. Write `from {MODULE} import NAME` in a cell of "
                "its own, and call NAME"
            )
        if root not in ALLOWED:
            raise NotWritten(
                f"{who} uses {what}, and the file imports torch, numpy and Python's own modules "
                "only. Do without it"
            )


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return type(value) is tuple and all(map(_is_constant, value))
    return value is None or type(value) in (int, float, bool, str)


def write_out(value: Any) -> str:
    """Write a constant as Python reads it."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, tuple):
        return f"({', '.join(map(write_out, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _says(code: str, value: Any) -> bool:
    """Whether an assignment writes a constant out, and it is this one."""
    (statement,) = ast.parse(code).body
    assert isinstance(statement, ast.Assign)
    if not is_literal(statement.value) or isinstance(statement.value, ast.Call):
        return False
    return repr(ast.literal_eval(statement.value)) == repr(value)


def _needs_variable(path: list[str], name: str, value: Any) -> str:
    kind = type(value).__name__
    article = "an" if kind[0] in "AEIOUaeiou" else "a"
    uses = "uses" if len(path) == 1 else f"calls {path[-1]}, which uses"
    remedy = "hand it over as an argument, or make it inside the function"
    if len(path) == 1:
        remedy = "take it from the arguments, or make it inside the function"
    if isinstance(value, list | set):
        remedy += ", or write it as a tuple, which nothing can change"
    return (
        f"{path[0]} {uses} {name}, a variable of this notebook ({article} {kind}). With other "
        f"data, and in {MODULE}.py, it would be wrong or missing: {remedy}."
    )
