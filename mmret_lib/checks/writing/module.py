"""Read `my_retrieval.py`, and lay it out in the order of the course."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from mmret_lib.checks.writing.bindings import (
    Binding,
    import_bindings,
    imported,
)
from mmret_lib.checks.writing.lessons import LESSONS, lesson_of, tasks

HEADER = '''\
"""My retrieval engine: the functions that I wrote in the exercises of the course.

A check that passes writes its function into this file, with the helper functions, constants and
imports that it needs; when it passes again, the newer version takes the place of the older one.
Whatever I add myself is kept, and goes to the end.
"""
'''
RULER = f"# {'-' * 93}"
ADDED = "What I added myself"
SEAL = re.compile(r"^# Written by the checks up to here \((\w+)\)\.$", re.MULTILINE)
FUTURE = "from __future__ import annotations"


@dataclass
class Module:
    """What `my_retrieval.py` holds.

    Attributes:
        bindings: all statements, by the name that they define.
        lost: the code that could not be read.
    """

    bindings: dict[str, Binding] = field(default_factory=dict)
    lost: str = ""

    @property
    def tasks(self) -> list[str]:
        """The functions of the course, in its order."""
        return [name for names in tasks().values() for name in names if name in self.bindings]

    def reached(self, names: Iterable[str]) -> set[str]:
        """The names that these names use, directly or through others, and they themselves."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in self.bindings and name not in found:
                found.add(name)
                waiting += self.bindings[name].uses
        return found

    @property
    def engine(self) -> set[str]:
        """The course's functions and what they use."""
        return self.reached(self.tasks)

    @property
    def added(self) -> list[str]:
        """The names of what a student added: no function of the course uses it."""
        engine = self.engine
        return [
            name for name, one in self.bindings.items() if not (one.is_import or name in engine)
        ]

    def users(self, name: str) -> set[str]:
        """The lessons whose functions use a name."""
        found = {lesson_of(one) or "" for one in self.tasks if name in self.reached([one])}
        return found | ({""} if name in self.added else set())


# ---------------------------------------------------------------------------------------------
# Reading


def read_module(code: str) -> Module:
    """Read the file's code; where it is no valid Python, all parts of it that are."""
    try:
        ast.parse(code)
        chunks = [code]
    except (SyntaxError, ValueError):
        chunks = code.split("\n\n\n")
    module = Module()
    for chunk in chunks:
        try:
            statements = ast.parse(chunk).body
        except (SyntaxError, ValueError):
            module.lost += chunk
            continue
        for place, binding in enumerate(_bindings_in(chunk, statements)):
            name = binding.name or f"added {len(module.bindings)} {place}"
            module.bindings.pop(name, None)  # defined again: the later one counts, in its place
            module.bindings[name] = Binding(name, binding.code)
    return module


def _bindings_in(code: str, statements: list[ast.stmt]) -> list[Binding]:
    lines, found, before = code.splitlines(), [], 0
    for statement in statements:
        above = _comments(lines[before : _first_line(statement) - 1])
        before = statement.end_lineno or statement.lineno
        if isinstance(statement, ast.Import | ast.ImportFrom):
            found += import_bindings(statement)
            continue
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if is_text and statement is statements[0]:
            continue  # the header
        own = "\n".join([*above, *lines[_first_line(statement) - 1 : before]])
        found.append(Binding(_defined_by(statement), own))
    if last := _comments(lines[before:]):
        found.append(Binding("", "\n".join([*last, "..."])))
    return found


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(one.lineno for one in decorators)])


def _defined_by(statement: ast.stmt) -> str:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return statement.name
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        return target.id if isinstance(target, ast.Name) else ""
    return ""


def _comments(lines: list[str]) -> list[str]:
    """The comments among some lines that are not the file's own headings."""
    headings = {f"# {title_of(lesson)}" for lesson in LESSONS} | {RULER, f"# {ADDED}"}
    kept = [line for line in lines if line.strip() and line not in headings]
    return [line for line in kept if not SEAL.fullmatch(line)]


def was_edited(code: str) -> bool:
    """Whether something else than the checks changed the file since they wrote it."""
    seal = SEAL.search(code)
    return bool(code.strip()) and (
        seal is None or code[seal.end() :].strip() != "" or digest(code[: seal.start()]) != seal[1]
    )


def digest(code: str) -> str:
    """A short checksum of the file's code."""
    return hashlib.sha256(code.encode()).hexdigest()[:10]


# ---------------------------------------------------------------------------------------------
# Writing


def title_of(lesson: str) -> str:
    """A lesson's heading in the file."""
    return lesson.replace("_", " ")


def layout(module: Module, with_added: bool = True) -> str:
    """Return the module's code: imports, then a section for each lesson, then what was added."""
    engine, added = module.engine, module.added if with_added else []
    used = {name for one in [*engine, *added] for name in module.bindings[one].uses}
    imports = [
        one
        for name, one in module.bindings.items()
        if one.is_import and (name in used or one.code == FUTURE)
    ]
    parts = [HEADER.rstrip("\n")]
    if imports:
        parts[0] += "\n\n" + _import_block(imports)
    done: set[str] = set()
    for lesson, names in tasks().items():
        blocks = [module.bindings[name] for name in _in_order(module, names, done)]
        if blocks:
            parts.append(f"{RULER}\n# {title_of(lesson)}" + _blocks(blocks))
    if added:
        parts.append(f"{RULER}\n# {ADDED}" + _blocks([module.bindings[name] for name in added]))
    code = "\n\n\n".join(parts) + "\n\n\n"
    if imports:  # a comment follows them after one blank line, as ruff and isort have it
        code = code.replace(f"\n\n\n{RULER}", f"\n\n{RULER}", 1)
    return code + f"# Written by the checks up to here ({digest(code)}).\n"


def _in_order(module: Module, names: list[str], done: set[str]) -> list[str]:
    """The names of a lesson's section: constants, then each function after its helpers."""
    every = {name for lesson in tasks().values() for name in lesson}
    found: list[str] = []

    def visit(name: str) -> None:
        if name in done or name not in module.bindings or module.bindings[name].is_import:
            return
        done.add(name)
        for used in sorted(module.bindings[name].uses - every):
            visit(used)
        found.append(name)

    for name in names:
        visit(name)
    return sorted(found, key=lambda name: not module.bindings[name].is_constant)


def _blocks(blocks: list[Binding]) -> str:
    """The statements of a section, with two blank lines around each that is no constant."""
    text, previous = "", False
    for place, block in enumerate(blocks):
        gap = "\n" if previous and block.is_constant else "\n\n\n"
        text += ("\n\n" if place == 0 and block.is_constant else gap) + block.code
        previous = block.is_constant
    return text


def _import_block(imports: list[Binding]) -> str:
    """Imports, merged and sorted: Python's own modules, then numpy and torch."""
    groups: dict[int, dict[tuple[bool, str], set[str]]] = {0: {}, 1: {}, 2: {}}
    for binding in imports:
        statement = binding.statement
        assert isinstance(statement, ast.Import | ast.ImportFrom)
        is_from = isinstance(statement, ast.ImportFrom)
        module = imported(statement)[0]
        root = module.split(".")[0]
        number = 0 if root == "__future__" else 1 if root in sys.stdlib_module_names else 2
        what = binding.code.split(" import ", 1)[1] if is_from else binding.code
        groups[number].setdefault((is_from, module), set()).add(what)
    blocks = []
    for group in groups.values():
        lines: list[str] = []
        for (is_from, module), names in sorted(group.items(), key=lambda item: item[0]):
            lines += _from_lines(module, names) if is_from else sorted(names)
        blocks.append("\n".join(lines))
    return "\n\n".join(filter(None, blocks))


def _from_lines(module: str, names: set[str]) -> list[str]:
    ordered = sorted(names, key=lambda name: (not name.isupper(), name.islower(), name))
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= 100:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in ordered), ")"]
