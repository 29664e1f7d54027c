"""Make a `my_retrieval.py` from the solutions, as a student who solved all tasks owns it.

    python solutions/make_engine.py FILE              every function
    python solutions/make_engine.py FILE simclr pad   these, and what they call

The solution of exercise 15 and its tests run with such a file.
"""

import linecache
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat

from mmret_lib.checks.writing.file import write_part
from mmret_lib.checks.writing.lessons import lesson_of, tasks
from mmret_lib.checks.writing.needs import collect
from mmret_lib.checks.writing.source import Notebook

SOLUTIONS = Path(__file__).resolve().parent


def run_answers(solution: Path) -> Notebook:
    """Run the cells of a solution that import or define, in a namespace of their own."""
    variables: dict = {"In": [], "__name__": "__main__"}
    for cell in nbformat.read(solution, as_version=4).cells:
        if cell.id == "imports" or cell.id.startswith("answer-"):
            name = f"<{solution.stem}, {cell.id}>"
            linecache.cache[name] = (len(cell.source), None, cell.source.splitlines(True), name)
            exec(compile(cell.source, name, "exec"), variables)
            variables["In"].append(cell.source)
    return Notebook(SimpleNamespace(user_ns=variables))


def make_engine(file: Path, names: list[str] | None = None) -> Path:
    """Write functions into a file, all of the course or those named.

    Raises:
        ValueError: a name that is none of the course's functions.
    """
    if unknown := [name for name in names or [] if lesson_of(name) is None]:
        raise ValueError(f"{unknown[0]} is no function of the exercises")
    for lesson, functions in tasks().items():
        wanted = [name for name in functions if names is None or name in names]
        if wanted:
            notebook = run_answers(SOLUTIONS / f"{lesson}.ipynb")
            for name in wanted:
                write_part(collect(name, notebook.variables[name], notebook), file)
    return file


if __name__ == "__main__":
    print(make_engine(Path(sys.argv[1]), sys.argv[2:] or None))
