"""What Python code at the top level of a module defines, what it uses, and how it is renamed."""

from __future__ import annotations

import ast
import collections.abc
import importlib
import symtable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Binding:
    """A name of a module, and the statement that defines it.

    Attributes:
        name: the name; for a statement that defines none, or several, any other text.
        code: the statement, with the comments above it.
    """

    name: str
    code: str

    @cached_property
    def statement(self) -> ast.stmt:
        """The statement as a syntax tree."""
        return ast.parse(self.code).body[-1]

    @property
    def is_import(self) -> bool:
        """Whether the name is imported."""
        return isinstance(self.statement, ast.Import | ast.ImportFrom)

    @property
    def is_constant(self) -> bool:
        """Whether the name stands for a value that is written out: a number, a text, a tuple."""
        return isinstance(self.statement, ast.Assign) and is_literal(self.statement.value)

    @property
    def uses(self) -> frozenset[str]:
        """The names of the module that the statement uses, and those built into Python."""
        return frozenset() if self.is_import else used_names(self.code) - {self.name}

    def renamed(self, names: dict[str, str]) -> Binding:
        """Return the binding with other names, its own or those that it uses."""
        names = {old: new for old, new in names.items() if old != new}
        new = names.get(self.name, self.name)
        if self.is_import:
            return Binding(new, import_line(*imported(self.statement), new))
        return Binding(new, rename(self.code, names))


@lru_cache(maxsize=1000)
def used_names(code: str) -> frozenset[str]:
    """The global names that some code refers to, at once or when its functions are called.

    Names in annotations count, also in those written as text.
    """
    found: set[str] = set()
    tables = [symtable.symtable(code, "code", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            top = table.get_type() == "module"
            if symbol.is_referenced() if top else symbol.is_global() and not _is_hidden(symbol):
                found.add(symbol.get_name())
    for node in ast.walk(ast.parse(code)):
        for annotation in _annotations(node):
            for part in ast.walk(annotation):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    found |= _names_in_text(part.value)
                elif isinstance(part, ast.Name):
                    found.add(part.id)
    return frozenset(found)


def assigned_globals(code: str) -> set[str]:
    """The names that functions in some code declare as `global`."""
    tree = ast.walk(ast.parse(code))
    return {name for node in tree if isinstance(node, ast.Global) for name in node.names}


def _is_hidden(symbol: symtable.Symbol) -> bool:
    return symbol.get_name().startswith(".")  # the iterable of a comprehension


def _annotations(node: ast.AST) -> list[ast.expr]:
    candidates = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    return [one for one in candidates if isinstance(one, ast.expr)]


def _names_in_text(text: str) -> set[str]:
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return set()  # a Literal's value
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def rename(code: str, names: dict[str, str]) -> str:
    """Rename names of the module in some code, and leave everything else as it is written."""
    lines = [line.encode() for line in code.splitlines(keepends=True)]
    places: set[tuple[int, int, str]] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name) and node.id in names:
            places.add((node.lineno - 1, node.col_offset, node.id))
        elif isinstance(node, Function | ast.ClassDef) and node.name in names:
            line = lines[node.lineno - 1]
            start = line.index(b"class" if isinstance(node, ast.ClassDef) else b"def")
            places.add((node.lineno - 1, line.index(node.name.encode(), start + 3), node.name))
    for row, column, name in sorted(places, reverse=True):
        text = lines[row]
        lines[row] = text[:column] + names[name].encode() + text[column + len(name.encode()) :]
    return b"".join(lines).decode()


def can_rename(code: str, name: str) -> bool:
    """Whether no function in some code has a variable or parameter of its own with this name."""
    tables = [symtable.symtable(code, "code", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        inside = table.get_type() != "module" and name in table.get_identifiers()
        if inside and not table.lookup(name).is_global():
            return False
    return True


# ---------------------------------------------------------------------------------------------
# Imports


def imported(statement: ast.stmt) -> tuple[str, str | None]:
    """What an import of one name imports: a module, or a module and a name in it."""
    if isinstance(statement, ast.Import):
        return statement.names[0].name, None
    assert isinstance(statement, ast.ImportFrom)
    return statement.module or "", statement.names[0].name


def import_line(module: str, name: str | None, bound: str) -> str:
    """The import that gives a module, or a name in it, the name `bound`, in one fixed form."""
    if name is None and "." in module and bound not in (module, module.split(".")[0]):
        parent, last = module.rsplit(".", 1)
        if last == bound:
            module, name = parent, last
    if name is None:
        return f"import {module}" + (f" as {bound}" if bound != module.split(".")[0] else "")
    return f"from {module} import {name}" + (f" as {bound}" if bound != name else "")


def in_one_form(code: str) -> str:
    """Import what stands in both from collections.abc, and not from typing."""
    name = code.removeprefix("from typing import ").split(" ")[0]
    if code.startswith("from typing ") and hasattr(collections.abc, name):
        return code.replace("from typing ", "from collections.abc ", 1)
    return code


def import_bindings(statement: ast.stmt) -> list[Binding]:
    """The names that an import binds, each with an import of its own."""
    found = []
    if isinstance(statement, ast.Import):
        for one in statement.names:
            bound = one.asname or one.name.split(".")[0]
            found.append(Binding(bound, import_line(one.name, None, bound)))
    elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
        for one in statement.names:
            bound = one.asname or one.name
            found.append(Binding(bound, import_line(statement.module, one.name, bound)))
    return found


def value_of(statement: ast.stmt) -> Any:
    """Import what an import of one name imports.

    Raises:
        ImportError, AttributeError: there is no such module or name.
    """
    module, name = imported(statement)
    if name is None:
        found = importlib.import_module(module)
        asname = statement.names[0].asname if isinstance(statement, ast.Import) else None
        return found if asname else importlib.import_module(module.split(".")[0])
    owner = importlib.import_module(module)
    if hasattr(owner, name):
        return getattr(owner, name)
    return importlib.import_module(f"{module}.{name}")


def is_literal(value: ast.expr) -> bool:
    """Whether an expression is a number, a text, True, False, None, or a tuple of these."""
    if isinstance(value, ast.Tuple):
        return all(map(is_literal, value.elts))
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        return isinstance(value.operand, ast.Constant)
    if isinstance(value, ast.Call):  # float("inf"), as `write_out` writes it
        return isinstance(value.func, ast.Name) and value.func.id == "float"
    return isinstance(value, ast.Constant)
