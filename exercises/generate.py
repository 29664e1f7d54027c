"""Make the exercises from the solutions: `make exercises`.

A solution is the single source. nbgrader's own steps take out what stands between its markers, and
the outputs, lock the checks, and write into each graded cell the checksum by which grading knows
it again. The same source gives the same bytes, so tests/test_exercises.py can compare.
"""

from pathlib import Path

import nbformat
from nbconvert.exporters import NotebookExporter
from nbgrader import preprocessors as steps
from traitlets.config import Config

SOLUTIONS = Path(__file__).resolve().parents[1] / "solutions"

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


def exercise(solution: Path) -> str:
    """The text of the exercise notebook that belongs to a solution notebook."""
    config = Config()
    config.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}
    exporter = NotebookExporter(config=config)
    for step in STEPS:
        exporter.register_preprocessor(step, enabled=True)
    text, _ = exporter.from_notebook_node(nbformat.read(solution, as_version=4))
    return text.rstrip("\n") + "\n"


def main() -> None:
    for solution in sorted(SOLUTIONS.glob("*.ipynb")):
        target = Path(__file__).with_name(solution.name)
        target.write_text(exercise(solution), encoding="utf-8")
        print(f"exercises/{target.name}")


if __name__ == "__main__":
    main()
