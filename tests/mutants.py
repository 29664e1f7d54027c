"""Mutate the solutions mechanically, and see which mutants the checks let through.

    python tests/mutants.py           a table of all tasks, and the survivors
    python tests/mutants.py simclr    only the tasks whose exercise or name holds the word

A mutant is a solution with one change: a constant, an axis, a sign, a comparison, a mask, a term
that is dropped, two arguments that change places. A check should refuse it. A survivor is either a
gap in the check, or still a right answer: these are in EQUIVALENT of the lesson's module in
`tests/answers`, each with its reason.
"""

import ast
import contextlib
import io
import re
import signal
import sys
import time
from collections.abc import Callable, Container, Iterator
from copy import deepcopy
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType

import nbformat

from mmret_lib import checks
from mmret_lib.checks.engine.limit import load_lazy_parts

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 10  # of computing, for a mutant that never ends, where its check has no limit below this

SWAPPED = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.GtE],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.LtE],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
# A method or function by another that takes the same arguments.
RENAMED = {
    "mean": "sum",
    "sum": "mean",
    "amax": "amin",
    "max": "min",
    "argmax": "argmin",
    "log_softmax": "softmax",
    "softmax": "log_softmax",
    "exp": "expm1",
    "log": "log1p",
    "triu": "tril",
    "tril": "triu",
    "zeros": "ones",
    "ones": "zeros",
    "logical_and": "logical_or",
}
# A call of one of these can be left out: x.relu() -> x, F.normalize(x, dim=1) -> x.
LEFT_OUT = frozenset(
    """
    abs clamp cumsum detach div exp flatten flip float log log_softmax masked_fill mul nan_to_num
    normalise normalize permute relu softmax sort sorted sqrt square standardise transpose where
    """.split()  # noqa: SIM905 (a list of quoted words is longer than the words)
)


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield each change of one node: what it is, and the node in its place."""
    for kind in (constants, operators, calls, choices):
        yield from kind(node)


def constants(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if not isinstance(node, ast.Constant):
        return
    value = node.value
    if isinstance(value, bool):
        yield f"{value} -> {not value}", ast.Constant(not value)
    elif isinstance(value, int | float):
        for other in dict.fromkeys((value + 1, value - 1, 0, -value, 2 * value)):
            # The last axis of a matrix has two names.
            if other != value and (value, other) != (1, -1):
                yield f"{value} -> {other}", ast.Constant(other)
    elif isinstance(value, str) and value:
        yield f"{value!r} -> ''", ast.Constant("")


def operators(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.BinOp):
        for other in SWAPPED.get(type(node.op), []):
            yield "operator", ast.BinOp(node.left, other(), node.right)
        yield "left term alone", node.left
        yield "right term alone", node.right
        if isinstance(node.op, ast.MatMult | ast.Sub | ast.Div):
            yield "terms swapped", ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.UnaryOp):
        yield "sign or negation dropped", node.operand
    elif isinstance(node, ast.BoolOp):
        for other in SWAPPED[type(node.op)]:
            yield "and/or", ast.BoolOp(other(), node.values)
        for value in node.values:
            yield "one condition alone", value
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in SWAPPED.get(type(node.ops[0]), []):
            yield "comparison", ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.IfExp):
        yield "always the first branch", node.body
        yield "always the second branch", node.orelse


def calls(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if not isinstance(node, ast.Call):
        if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
            yield "not transposed", node.value
        return
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    method = isinstance(node.func, ast.Attribute) and not (
        isinstance(node.func.value, ast.Name) and node.func.value.id in ("torch", "F", "np", "math")
    )
    subject = node.func.value if method else node.args[0] if node.args else None
    if name in LEFT_OUT and isinstance(subject, ast.expr):
        yield f"without {name}", subject
    if name in RENAMED:
        func = deepcopy(node.func)
        setattr(func, "attr" if isinstance(func, ast.Attribute) else "id", RENAMED[name])
        yield f"{name} -> {RENAMED[name]}", ast.Call(func, node.args, node.keywords)
    if len(node.args) >= 2 and not any(isinstance(each, ast.Starred) for each in node.args):
        first, second, *rest = node.args
        yield "arguments swapped", ast.Call(node.func, [second, first, *rest], node.keywords)
    elif len(node.args) == 1 and not node.keywords and name not in LEFT_OUT:
        yield f"without {name}", node.args[0]
    for place in range(len(node.keywords)):
        left = node.keywords[:place] + node.keywords[place + 1 :]
        yield f"without {node.keywords[place].arg}=", ast.Call(node.func, node.args, left)


def choices(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Tuple | ast.List) and isinstance(node.ctx, ast.Load):
        if len(node.elts) == 2:
            first, second = node.elts
            for pair in ((second, first), (first, first), (second, second)):
                new = type(node)(list(pair), node.ctx)
                yield f"-> {ast.unparse(new)}", new
    elif isinstance(node, ast.Slice):
        if node.lower is not None:
            yield "slice without its start", ast.Slice(None, node.upper, node.step)
        if node.upper is not None:
            yield "slice without its end", ast.Slice(node.lower, None, node.step)
    elif isinstance(node, ast.If):
        yield "never", ast.If(ast.Constant(False), node.body, node.orelse)
        yield "always", ast.If(ast.Constant(True), node.body, node.orelse)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "statement left out", ast.Pass()


def other_arguments(node: ast.AST, arguments: list[str]) -> Iterator[tuple[str, ast.AST]]:
    """Yield the next argument of the function in the place of one."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in arguments:
        other = arguments[(arguments.index(node.id) + 1) % len(arguments)]
        if other != node.id:
            yield f"{node.id} -> {other}", ast.Name(other, node.ctx)


class Replace(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, place: int, new: ast.AST) -> None:
        self.place, self.new = place, new

    def visit(self, node: ast.AST) -> ast.AST:
        if getattr(node, "place", None) == self.place:
            return self.new
        return self.generic_visit(node)


def mutants(source: str) -> dict[str, str]:
    """The mutants of one function: where and what was changed -> its source."""
    tree = ast.parse(source)
    [function] = tree.body
    function.decorator_list, function.returns = [], None
    for argument in [*function.args.args, *function.args.kwonlyargs]:
        argument.annotation = None
    if ast.get_docstring(function) is not None:
        function.body = function.body[1:]
    for node in ast.walk(function):
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Name("object", ast.Load())
    original = ast.unparse(tree)
    nodes = list(ast.walk(function))
    around: dict[int, ast.AST] = {}  # what a small node is part of
    for place, node in enumerate(nodes):
        node.place = place
        for child in ast.iter_child_nodes(node):
            small = isinstance(child, ast.Constant | ast.Name | ast.Tuple | ast.Slice | ast.keyword)
            around[id(child)] = around.get(id(node), node) if small else child
    messages = {
        id(each)
        for node in nodes
        if isinstance(node, ast.Raise)
        for each in ast.walk(node)  # what an error says is not looked at
    }
    found: dict[str, str] = {}
    arguments = [argument.arg for argument in function.args.args]
    for place, node in enumerate(nodes):
        if id(node) in messages:
            continue
        for what, new in [*changes(node), *other_arguments(node, arguments)]:
            changed = Replace(place, deepcopy(new)).visit(deepcopy(tree))
            try:
                text = ast.unparse(ast.fix_missing_locations(changed))
                ast.parse(text)
            except (SyntaxError, ValueError):
                continue
            if text != original and text not in found.values():
                where = ast.unparse(around.get(id(node), node)).split("\n")[0]
                found[unique(f"{what} in `{where}`", found)] = text
    return found


def unique(name: str, names: Container[str]) -> str:
    """The name, numbered where it is taken."""
    numbered = (f"{name} ({number})" for number in count(2))
    return name if name not in names else next(each for each in numbered if each not in names)


def answers() -> Iterator[tuple[str, str, str, str, Callable[[object], None]]]:
    """Each task: its exercise, its name, the code before it, its own code and its check."""
    for file in sorted((ROOT / "solutions").glob("*.ipynb")):
        cells = nbformat.read(file, as_version=4).cells
        before = [cell.source for cell in cells if cell.id == "imports"]
        checked = {
            match[2]: (match[1], match[2])
            for cell in cells
            for match in re.finditer(r"checks\.(\w+)\.check_(\w+)\(", cell.source)
        }
        for cell in cells:
            if not cell.id.startswith("answer-"):
                continue
            code = re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", cell.source, flags=re.M)
            for part in ast.parse(code).body:
                if isinstance(part, ast.FunctionDef) and part.name in checked:
                    lesson, name = checked[part.name]
                    check = getattr(getattr(checks, lesson), f"check_{name}")
                    yield file.stem, name, "\n\n".join(before), ast.unparse(part), check
            before.append(code)


def refused(before: str, mutant: str, name: str, check: Callable[[object], None]) -> str:
    """What a check says against a mutant; "" if it lets the mutant through."""
    names: dict[str, object] = {}

    def too_long(*_: object) -> None:
        raise KeyboardInterrupt  # not an Exception, which a check would explain, and call again

    signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of computing: others' work does not count
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(before, names)
            exec(mutant, names)
            check(names[name])
    except BaseException as error:  # refused, or failing in some way that a student would see
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ""


def catalogue(exercise: str) -> ModuleType:
    """The answers to an exercise, right and wrong ones."""
    return import_module(f"answers.{exercise.partition('_')[2]}")


def equivalent(exercise: str) -> dict[str, dict[str, str]]:
    """The mutants that are right answers, by task and by name, each with the reason."""
    return getattr(catalogue(exercise), "EQUIVALENT", {})


def main(words: list[str]) -> None:
    load_lazy_parts()  # the alarm is for mutants
    head = ["exercise", "task", "right", "wrong", "mutants", "survive", "equivalent", "seconds"]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    listed, sums = [], [0] * 5
    for exercise, name, before, source, check in answers():
        if words and not any(word in f"{exercise}/{name}" for word in words):
            continue
        began = time.perf_counter()
        if refused(before, source, name, check):
            raise SystemExit(f"{exercise}: the solution of {name} does not pass")
        made, known = mutants(source), equivalent(exercise).get(name, {})
        left = [what for what, text in made.items() if not refused(before, text, name, check)]
        gaps = [what for what in left if what not in known]
        answered = catalogue(exercise)
        row = [len(answered.RIGHT[name]), len(answered.WRONG[name])]
        row += [len(made), len(gaps), len(left) - len(gaps)]
        sums = [total + one for total, one in zip(sums, row, strict=True)]
        seconds = f"{time.perf_counter() - began:.0f}"
        print(f"| {' | '.join([exercise[:2], f'`{name}`', *map(str, row), seconds])} |", flush=True)
        listed += [f"{name}: {what} ({known.get(what, 'SURVIVES')})" for what in left]
    print(f"| all | | {' | '.join(map(str, sums))} | |\n")
    print(*listed, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
