"""Add a function that passed its check, and what it needs, to a module."""

from __future__ import annotations

from mmret_lib.checks.writing.bindings import Binding, can_rename, value_of
from mmret_lib.checks.writing.lessons import lesson_of
from mmret_lib.checks.writing.module import Module
from mmret_lib.checks.writing.needs import NotWritten, Part

UNCHECKED = "# Its check has not passed yet; another function calls it."


def add(module: Module, part: Part) -> None:
    """Put a function that passed its check into a module, with what it needs, in place.

    A name that functions of another lesson use for something else gets the lesson's number behind
    it, as in `unit_05`. What only the replaced version used is left out.

    Raises:
        NotWritten: it needs something that cannot be put beside what is there.
    """
    lesson = lesson_of(part.task) or ""
    if missing := sorted(part.expects - module.bindings.keys()):
        raise NotWritten(f"{part.task} uses {missing[0]}, which is not in the file")
    before = module.engine
    names: dict[str, str] = {}
    for name in _inner_first(part):
        binding = part.bindings[name].renamed(names)
        if name == part.task:
            module.bindings.pop(name, None)
            module.bindings[name] = binding
            continue
        new = _free_name(module, binding, lesson)
        for other in part.bindings.values():
            if new != name and not other.is_import and not can_rename(other.code, name):
                raise NotWritten(f"{name} is taken in the file: give yours another name")
        names[name] = new
        if lesson_of(new) is None:
            module.bindings[new] = binding.renamed({name: new})
        elif new not in module.bindings:
            code = f"{UNCHECKED}\n{binding.code}"
            module.bindings[new] = Binding(new, code)
    for name in before - module.engine:
        del module.bindings[name]


def _inner_first(part: Part) -> list[str]:
    """The names of a part, each after those that it uses."""
    done: list[str] = []

    def visit(name: str) -> None:
        if name in seen or name not in part.bindings:
            return
        seen.add(name)
        for used in sorted(part.bindings[name].uses):
            visit(used)
        done.append(name)

    seen: set[str] = set()
    visit(part.task)
    return done


def _free_name(module: Module, binding: Binding, lesson: str) -> str:
    """A name under which something of a lesson's notebook can stand in the module."""
    number = 1
    while True:
        ending = {1: "", 2: f"_{lesson[:2]}"}.get(number, f"_{lesson[:2]}_{number}")
        name = binding.name + ending
        there = module.bindings.get(name)
        if there is not None and _same(there, binding.renamed({binding.name: name})):
            return name
        if lesson_of(name) in (None, lesson) and (
            there is None or (module.users(name) <= {lesson} and lesson_of(name) is None)
        ):
            return name
        if lesson_of(name) == lesson and not binding.is_import:
            return name  # an earlier task of this lesson
        number += 1


def _same(one: Binding, other: Binding) -> bool:
    if one.is_import and other.is_import and one.code != other.code:
        try:
            return value_of(one.statement) is value_of(other.statement)
        except (ImportError, AttributeError):
            return False
    return one.code.removeprefix(f"{UNCHECKED}\n") == other.code
