"""What a message tells the user to do can be done where it is read.

All texts of the library but docstrings are looked through for flags, commands, targets of make and
parameters. A flag must exist in the command that the text names before it, or else in every command
that can print the text; a parameter (`max_missing=…`) in a public function.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import tyro

from mmret_lib.cli import COMMANDS
from mmret_lib.cli.flags import types

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "mmret_lib"
READING = ("data", "features", "train", "evaluate", "search", "index", "app")
BUILDING = ("features", "train")
# Which commands print the texts of a room or module; the longest name that fits decides.
PRINTED_BY = {
    "data": READING,
    "data/judgements": ("evaluate",),
    "encoders": BUILDING,
    "encoders/features": READING,
    "encoders/trainable": ("train",),
    "training": ("train",),
    "show/server": ("app",),
    "studies/evaluate_run": ("evaluate",),
    "training/leak": ("evaluate",),
    "cli/data": ("data",),
}
# Words that follow "mmret" where it is no command: kinds of files, and the program itself.
NO_COMMANDS = frozenset(
    [
        "begun",
        "built",
        "but",
        "coco",
        "does",
        "embeddings",
        "explorer",
        "has",
        "kept",
        "model",
        "never",
        "reads",
        "run",
        "search",
        "snapshot",
        "split",
        "store",
        "that",
    ]
)
FLAG = re.compile(r"(?<![\w-])(?<!var\()--([a-z]+(?:-[a-z]+)*)(?![\w.-])")
COMMAND = re.compile(r"\bmmret ([a-z]+)")
TARGET = re.compile(r"`make ([a-z]+)`|\brun make ([a-z]+)")
PARAMETER = re.compile(r"(?<![\w.{-])([a-z][a-z_]*_?)=(?=[…\w'\"])")


def texts(code: str) -> Iterator[tuple[int, str]]:
    """Each text of a program that is no docstring: its line, and what it says, … for values."""
    tree = ast.parse(code)
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped.update(map(id, node.values))
        elif isinstance(node, ast.FormattedValue):
            skipped.add(id(node.format_spec))
            skipped.update(id(part) for part in getattr(node.format_spec, "values", []))
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (getattr(part, "value", "…") for part in node.values)
            yield node.lineno, "".join(part if isinstance(part, str) else "…" for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@cache
def flags_of(command: str) -> frozenset[str]:
    with types, warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        parser = tyro.extras.get_parser(COMMANDS[command])
    options = (option for action in parser._actions for option in action.option_strings)
    return frozenset(option.removeprefix("--") for option in options)


@cache
def targets() -> frozenset[str]:
    makefile = (ROOT / "Makefile").read_text()
    return frozenset(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


@cache
def parameters() -> frozenset[str]:
    """The parameters of public functions, and the fields of classes."""
    names: set[str] = set()
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (
                not node.name.startswith("_") or node.name == "__init__"
            ):
                names |= {each.arg for each in (*node.args.args, *node.args.kwonlyargs)}
            elif isinstance(node, ast.ClassDef):
                fields = (f.target for f in node.body if isinstance(f, ast.AnnAssign))
                names |= {target.id for target in fields if isinstance(target, ast.Name)}
    return frozenset(names)


def wrong_remedies(text: str, printed_by: tuple[str, ...]) -> list[str]:
    """What a text tells the user to give or run that does not exist.

    Args:
        printed_by: the commands that can print it; none if any of them may.
    """
    wrong = []
    commands = [(0, printed_by)]
    for match in COMMAND.finditer(text):
        if match[1] in COMMANDS:
            commands.append((match.start(), (match[1],)))
        elif match[1] not in NO_COMMANDS:
            wrong.append(f"there is no command {match[0]}")
    for match in FLAG.finditer(text):
        (*_, where) = (names for start, names in commands if start <= match.start())
        lacking = [name for name in where if match[1] not in flags_of(name)]
        if lacking or not any(match[1] in flags_of(name) for name in COMMANDS):
            wrong.append(f"there is no {match[0]} in mmret {', '.join(lacking) or 'at all'}")
    for match in TARGET.finditer(text):
        if (match[1] or match[2]) not in targets():
            wrong.append(f"there is no target in {match[0]}")
    prose = " " in text and not re.search(r"<[a-z]|\bimport torch\b", text)  # no HTML or program
    for match in PARAMETER.finditer(text if prose else ""):
        if match[1] not in parameters():
            wrong.append(f"there is no parameter {match[1]}")
        elif printed_by and not FLAG.search(text):
            flag = match[1].strip("_").replace("_", "-")
            if any(flag in flags_of(name) for name in printed_by):
                wrong.append(f"on the command line {match[1]} is --{flag}: name it, too")
            elif "in Python" not in text:
                wrong.append(f"on the command line there is no {match[1]}: say 'in Python'")
    return wrong


def printers_of(path: Path) -> tuple[str, ...]:
    name = path.relative_to(LIBRARY).with_suffix("").as_posix()
    fitting = [known for known in PRINTED_BY if f"{name}/".startswith(f"{known}/")]
    return PRINTED_BY[max(fitting, key=len)] if fitting else ()


def test_every_remedy_exists():
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {fault}: {text[:300]!r}"
        for path in sorted(LIBRARY.rglob("*.py"))
        if "checks" not in path.parts  # there `name=value` are torch's
        for line, text in texts(path.read_text())
        for fault in wrong_remedies(text, printers_of(path))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "printed_by", "fault"),
    [
        ("pass --max-mising 1", (), "no --max-mising in mmret at all"),
        ("pass --temperature 0.1", READING, "no --temperature in mmret data, features, eval"),
        ("make it anew: mmret index --photos FOLDER --epochs 3", (), "no --epochs in mmret index"),
        ("train one: mmret tarin", (), "no command mmret tarin"),
        ("run `make colap` first", (), "no target in `make colap`"),
        ("pass max_mising=1 to go on", (), "no parameter max_mising"),
        ("call again with workers=1", READING, "there is no workers: say 'in Python'"),
        (
            "pass max_missing=1 to go on",
            READING,
            "on the command line max_missing is --max-missing",
        ),
    ],
)
def test_a_remedy_that_does_not_exist_is_found(text, printed_by, fault):
    (found,) = wrong_remedies(text, printed_by)
    assert fault in found


def test_a_remedy_that_exists_is_fine():
    text = "mmret train --epochs 3, or --max-missing 0.1 (in Python max_missing=0.1), or `make lab`"
    assert wrong_remedies(text, READING) == []


def test_all_texts_of_a_program_are_read_and_no_docstring():
    code = '"""Pass --this."""\nraise E(f"a {b:.1%} c " "d", "e" if f else "g")  # --that\n'
    assert [text for _, text in texts(code)] == ["a … c d", "e", "g"]
