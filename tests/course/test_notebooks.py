"""The lessons and solutions as they are stored.

That their cells still do what they show is nbval's part (`notebooks/execute.py --check`).
"""

import ast
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode, v4

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "solutions").glob("*.ipynb"))

OPENING = ("**You will learn**", "**Minutes**", "**Before this**")
CLOSING = ("Summary", "Questions to think about", "Exercise", "Papers")
CELL_LINES, FUNCTION_LINES = 25, 10
OWN_FOLDERS = {str(Path.home()), tempfile.gettempdir(), str(ROOT)} - {"/"}
MACHINE = re.compile(
    r"(?<![\w.~-])/(root|work|home|tmp|Users|private|var/folders)/|[A-Z]:\\Users|"
    + "|".join(re.escape(folder) for folder in OWN_FOLDERS)
)
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")


# ---------------------------------------------------------------------------------------------
# What every stored notebook must be


def shown(output: NotebookNode) -> str:
    """An output's text, of every kind that is one; in a picture's base64 any letters may meet."""
    kinds = [part for kind, part in output.get("data", {}).items() if kind != "image/png"]
    kinds = [part for part in kinds if isinstance(part, str)]
    return "\n".join([output.get("text", ""), *kinds])


def code_problems(cell: NotebookNode) -> list[str]:
    """What is too long in a lesson's code cell."""
    problems = []
    if len(cell.source.splitlines()) > CELL_LINES:
        problems.append(f"more than {CELL_LINES} lines")
    tree = ast.parse(TransformerManager().transform_cell(cell.source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and "lesson-subject" not in cell.metadata.get(
            "tags", []
        ):
            assert node.end_lineno
            if node.end_lineno - node.lineno + 1 > FUNCTION_LINES:
                problems.append(f"{node.name} has more than {FUNCTION_LINES} lines")
    return problems


def output_problems(cell: NotebookNode, following: NotebookNode | None) -> list[str]:
    """What a code cell's stored outputs must not hold."""
    problems = []
    pictures = [out for out in cell.outputs if "image/png" in out.get("data", {})]
    described = following is not None and following.cell_type == "markdown"
    if pictures and not (described and re.search(r"^\*Figure:\* \S", following.source, re.M)):
        problems.append("no line '*Figure:* …' below its figure")
    for output in cell.outputs:
        if output.output_type == "error":
            problems.append(f"stored error {output.ename}")
        if output.get("name") == "stderr":
            problems.append(f"stored stderr {output.text[:60]!r}")
        if match := MACHINE.search(shown(output)):
            problems.append(f"path of one machine {match.group()}")
        if match := ADDRESS.search(shown(output)):
            problems.append(f"memory address {match.group()}")
        if any(
            kind.startswith("application/vnd.jupyter.widget") for kind in output.get("data", {})
        ):
            problems.append("stored widget")
    if cell.source.rstrip().endswith(";"):
        problems.append("ends in ';', which nbval does not honour")
    return problems


def link_problems(text: str, folder: Path) -> list[str]:
    """Local links of a Markdown text that lead nowhere."""
    targets = [link.split("#")[0] for link in LINK.findall(text)]
    local = [target for target in targets if target and "://" not in target]
    return [f"no file {target}" for target in local if not (folder / target).exists()]


def find_problems(notebook: NotebookNode, file: Path, tool: ModuleType) -> list[str]:
    """Every rule that a notebook, which is or would be stored at `file`, breaks."""
    lesson = file.parent.name == "notebooks"
    found = []
    cells = notebook.cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        problems = []
        if cell.cell_type == "code":
            problems += output_problems(cell, following) + (code_problems(cell) if lesson else [])
        else:
            problems += link_problems(cell.source, file.parent)
        found += [f"{cell.id}: {problem}" for problem in problems]
    counts = [cell.execution_count for cell in code if cell.source.strip()]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"not executed in order: {counts}")
    if notebook.metadata.get("executed") != tool.code_so_far(notebook):
        found.append("its outputs belong to other code: run `make notebooks`")
    if set(notebook.metadata) != {"kernelspec", "language_info", "executed"}:
        found.append(f"metadata of one run: {sorted(notebook.metadata)}")
    if len({cell.id for cell in cells}) < len(cells):
        found.append("two cells have one id")
    title, opening = cells[0].source.split("\n")[0], cells[0].source
    if not title.startswith("# ") or tool.badge(file) not in opening.split("\n"):
        found.append("no title with this notebook's badge below it")
    if [cell.source for cell in code[:1]] != [tool.SETUP] or code[0].id != "setup":
        found.append("the first code cell is not the set-up cell")
    if lesson:
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        found += [f"opens without {part}" for part in OPENING if part not in opening]
        found += [
            f"closes without {part}"
            for part in CLOSING
            if not re.search(rf"^(#+ |\*\*){part}", prose, re.M)
        ]
    return found


@pytest.mark.parametrize(
    "file", LESSONS + SOLUTIONS, ids=lambda file: f"{file.parent.name}/{file.name}"
)
def test_a_stored_notebook_breaks_no_rule(file: Path, tool: ModuleType) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert find_problems(notebook, file, tool) == []


def test_the_overview_lists_every_lesson_with_its_minutes() -> None:
    overview = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| \[.+?\]\((.+?)\) \| .+ \| (\d+) \|$", overview, re.M))
    said = {}
    for file in LESSONS:
        opening = nbformat.read(file, as_version=4).cells[0].source
        [said[file.name]] = re.findall(r"\*\*Minutes\*\*\D*(\d+)", opening)
    assert listed == said


def test_the_glossary_is_in_alphabetical_order_and_says_each_word_once() -> None:
    glossary = (ROOT / "notebooks" / "glossary.md").read_text(encoding="utf-8")
    words = [word.lower() for word in re.findall(r"^\*\*(.+?)\*\*.*: ", glossary, re.M)]
    assert len(words) > 20
    assert words == sorted(set(words))


# ---------------------------------------------------------------------------------------------
# The rules themselves: a good lesson keeps all, and each slip breaks its own

GOOD = ROOT / "notebooks" / "98_good.ipynb"  # nothing is written there


@pytest.fixture
def good(tool: ModuleType) -> NotebookNode:
    opening = "# 98 Good\n\n**You will learn** much.\n\n**Minutes** 1\n\n**Before this** nothing."
    picture = v4.new_output(
        "display_data", data={"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}
    )
    notebook = v4.new_notebook(
        cells=[
            v4.new_markdown_cell(opening, id="opening"),
            v4.new_code_cell("", id="setup", execution_count=1),
            v4.new_code_cell("draw()", id="draw", execution_count=2, outputs=[picture]),
            v4.new_markdown_cell("*Figure:* A line that rises.", id="seen"),
            v4.new_code_cell("def one():\n    return 1", id="function", execution_count=3),
            v4.new_markdown_cell("\n\n".join(f"## {part}" for part in CLOSING), id="closing"),
        ]
    )
    tool.fill(notebook, GOOD)
    tool.tidy(notebook)
    return notebook


def cell_of(notebook: NotebookNode, name: str) -> NotebookNode:
    [cell] = [cell for cell in notebook.cells if cell.id == name]
    return cell


def give_output(kind: str, **content: object) -> Callable[[NotebookNode], None]:
    def slip(notebook: NotebookNode) -> None:
        cell_of(notebook, "function").outputs.append(v4.new_output(kind, **content))

    return slip


def give_code(source: str) -> Callable[[NotebookNode], None]:
    def slip(notebook: NotebookNode) -> None:
        cell_of(notebook, "function").source = source

    return slip


def change(name: str, old: str, new: str) -> Callable[[NotebookNode], None]:
    def slip(notebook: NotebookNode) -> None:
        cell = cell_of(notebook, name)
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return slip


SLIPS: dict[str, tuple[Callable[[NotebookNode], object], str]] = {
    "error": (give_output("error", ename="E", evalue="", traceback=[]), "stored error E"),
    "stderr": (give_output("stream", name="stderr", text="Warning"), "stored stderr"),
    "path": (
        give_output("stream", name="stdout", text=os.sep.join(["", "home", "me", "x.png"])),
        "path of one machine",
    ),
    "own folder": (give_output("stream", name="stdout", text=str(ROOT / "data")), "path of one"),
    "address": (
        give_output("execute_result", data={"text/plain": "<object at 0x7f3a2b1c>"}),
        "memory address",
    ),
    "widget": (
        give_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}}),
        "stored widget",
    ),
    "widget state": (lambda nb: nb.metadata.update(widgets={}), "metadata of one run"),
    "order": (lambda nb: cell_of(nb, "draw").update(execution_count=7), "not executed in order"),
    "unrun": (lambda nb: cell_of(nb, "draw").update(execution_count=None), "not executed in order"),
    "long cell": (give_code("x = 1\n" * 26), "more than 25 lines"),
    "long function": (give_code("def f():\n" + "    x = 1\n" * 10), "f has more than 10 lines"),
    "semicolon": (give_code("plt.plot();"), "ends in ';'"),
    "other code": (give_code("draw(2)"), "belong to other code"),
    "no description": (change("seen", "*Figure:*", "Figure:"), "no line '*Figure:*"),
    "badge": (change("opening", "98_good.ipynb", "97_bad.ipynb"), "badge"),
    "no minutes": (change("opening", "**Minutes**", ""), "opens without **Minutes**"),
    "no papers": (change("closing", "Papers", ""), "closes without Papers"),
    "set-up": (change("setup", "--depth 1", ""), "not the set-up cell"),
    "link": (change("seen", "line", "[line](nowhere.png)"), "no file nowhere.png"),
    "one id": (lambda nb: cell_of(nb, "seen").update(id="draw"), "two cells have one id"),
}


def test_a_good_lesson_breaks_no_rule(good: NotebookNode, tool: ModuleType) -> None:
    assert find_problems(good, GOOD, tool) == []


@pytest.mark.parametrize("name", SLIPS)
def test_each_slip_is_found(name: str, good: NotebookNode, tool: ModuleType) -> None:
    slip, problem = SLIPS[name]
    slip(good)
    assert problem in "\n".join(find_problems(good, GOOD, tool))
