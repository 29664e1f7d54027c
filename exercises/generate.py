"""Make the exercises, and the table in their README, from the solutions: `make exercises`.

A solution is the single source. nbgrader's own steps take out what stands between its markers, and
the outputs, lock the checks, and write into each graded cell the checksum by which grading knows
it again. The same source gives the same bytes, so tests/test_exercises.py can compare.
"""

import re
import sys
from pathlib import Path

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbgrader import preprocessors as steps
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
SOLUTIONS = ROOT / "solutions"
STUB = {"python": "raise NotImplementedError"}  # what stands in a solution's place

# Those of `nbgrader generate_assignment`, without the ones that need a gradebook or a course.
STEPS = [
    steps.LockCells,
    steps.ClearSolutions,
    steps.ClearOutput,
    steps.CheckCellMetadata,
    steps.ComputeChecksums,
    steps.ClearHiddenTests,
    steps.ClearMarkScheme,
    steps.ComputeChecksums,
    steps.CheckCellMetadata,
]


def exercise(notebook: NotebookNode, target: Path) -> str:
    """The text of the exercise at `target` that belongs to a solution notebook."""
    sys.path.insert(0, str(ROOT / "notebooks"))
    from execute import fill

    cells = notebook.cells
    notebook.cells = [c for c in cells if "solution-only" not in c.metadata.get("tags", [])]
    fill(notebook, target)  # its badge opens the exercise, not the solution
    notebook.metadata.pop("executed", None)
    exporter = NotebookExporter(config=Config(ClearSolutions={"code_stub": STUB}))
    for step in STEPS:
        exporter.register_preprocessor(step, enabled=True)
    text, _ = exporter.from_notebook_node(notebook)
    return text.rstrip("\n") + "\n"


def row(solution: Path) -> str:
    """The row of a solution's exercise in the README's table."""
    cells = {cell.id: cell for cell in nbformat.read(solution, as_version=4).cells}
    title = cells["title"].source.split("\n")[0].removeprefix("# ").removesuffix(": exercise")
    tasks = [name for name in cells if re.fullmatch(r"task-\d+", name)]
    if not tasks:  # it runs what was written before
        [said] = re.findall(r"\*\*Minutes\*\*: about (\d+)", cells["title"].source)
        return f"| [{title}]({solution.name}) | nothing new: it runs your file | {said} | – |"
    about = [re.search(r"about (\d+) minutes · (\d+) point", cells[name].source) for name in tasks]
    minutes, points = (sum(int(one[part]) for one in about if one) for part in (1, 2))
    answers = [cells[name.replace("task", "answer")].source for name in tasks]
    names = [re.findall(r"^def (\w+)", code, re.MULTILINE)[0] for code in answers]
    functions = ", ".join(f"`{name}`" for name in names)
    return f"| [{title}]({solution.name}) | {functions} | {minutes} | {points} |"


def with_table(text: str) -> str:
    """The README's text with its table as the solutions have it."""
    rows = [row(solution) for solution in sorted(SOLUTIONS.glob("*.ipynb"))]
    table = "\n".join(["| exercise | you write | minutes | points |", "|---|---|---|---|", *rows])
    return re.sub(r"^\| exercise \|(?:.*\n)*?(?=\n)", f"{table}\n", text, flags=re.MULTILINE)


def main() -> None:
    for solution in sorted(SOLUTIONS.glob("*.ipynb")):
        target = Path(__file__).with_name(solution.name)
        text = exercise(nbformat.read(solution, as_version=4), target)
        target.write_text(text, encoding="utf-8")
        print(f"exercises/{target.name}")
    readme = Path(__file__).with_name("README.md")
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
