"""Make the exercises from the solutions: `make exercises`.

A solution is the single source. nbgrader's own steps take out what stands between its markers, and
the outputs, lock the checks, and write into each graded cell the checksum by which grading knows
it again. The same source gives the same bytes, so tests/test_exercises.py can compare.
"""

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

    fill(notebook, target)  # its badge opens the exercise, not the solution
    notebook.metadata.pop("executed", None)
    exporter = NotebookExporter(config=Config(ClearSolutions={"code_stub": STUB}))
    for step in STEPS:
        exporter.register_preprocessor(step, enabled=True)
    text, _ = exporter.from_notebook_node(notebook)
    return text.rstrip("\n") + "\n"


def main() -> None:
    for solution in sorted(SOLUTIONS.glob("*.ipynb")):
        target = Path(__file__).with_name(solution.name)
        text = exercise(nbformat.read(solution, as_version=4), target)
        target.write_text(text, encoding="utf-8")
        print(f"exercises/{target.name}")


if __name__ == "__main__":
    main()
