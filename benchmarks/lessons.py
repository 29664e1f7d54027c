"""Count what a reader meets in each lesson, and what a reader does there.

    python benchmarks/lessons.py                        the lessons of this checkout
    python benchmarks/lessons.py --at REVISION          those of a revision in git

Columns: words of Markdown (all, and on the main path, before "Going deeper"), minutes as the lesson
says, code cells, cells that build (tensor code without the library and without a figure, outside of
`assert`), prediction cells, questions, and questions with a folded answer.
"""

import argparse
import ast
import re
import subprocess
from pathlib import Path

import nbformat
import pandas as pd
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
DRAWING = {"plt", "sns", "figure", "axes", "display"}


def stored(name: str, revision: str | None) -> NotebookNode:
    """A lesson as it is in the checkout, or as it was at a revision."""
    path = f"notebooks/{name}"
    if revision is None:
        return nbformat.read(ROOT / path, as_version=4)
    shown = ["git", "show", f"{revision}:{path}"]
    text = subprocess.run(shown, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return nbformat.reads(text, as_version=4)


def names_used(tree: ast.AST) -> set[str]:
    """The names that code reads, without those in its `assert` statements."""
    asserted = {
        id(each)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        for each in ast.walk(node)
    }
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and id(node) not in asserted
    }


def building(notebook: NotebookNode) -> int:
    """How many code cells compute something of their own, without the library or a figure."""
    library: set[str] = set()
    total = 0
    for cell in notebook.cells:
        if cell.cell_type != "code" or cell.id == "setup":
            continue
        tree = ast.parse(re.sub(r"^( *)[!%].*$", r"\1pass", cell.source, flags=re.M))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmret_lib"):
                library |= {each.asname or each.name for each in node.names}
        steps = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.Assign | ast.AugAssign)
        ]
        total += len(steps) >= 2 and not names_used(tree) & (library | DRAWING)
    return total


def counts(notebook: NotebookNode) -> dict[str, object]:
    """One row of the table."""
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    text = "\n".join(prose)
    main = re.split(r"^#+ *Going deeper", text, flags=re.M)[0]
    questions = re.split(r"^## Questions.*$", text, flags=re.M)
    listed = re.split(r"^## ", questions[1], flags=re.M)[0] if len(questions) > 1 else ""
    minutes = re.search(r"\*\*Minutes\*\*:? *(?:about )?(\d+)", text)
    return {
        "words": len(text.split()),
        "main path": len(main.split()),
        "minutes": int(minutes[1]) if minutes else None,
        "code cells": len(code),
        "build": building(notebook),
        "predict": sum(bool(re.search(r"\bpredict\(", source)) for source in code),
        "questions": len(re.findall(r"^(?:\d+\.|\*\*\d+)", listed, flags=re.M)),
        "answered": text.count("<details"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What a reader meets and does in each lesson.")
    parser.add_argument("--at", help="a revision in git")
    asked = parser.parse_args()
    listed = ["git", "ls-tree", "--name-only", asked.at or "HEAD", "notebooks/"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = [Path(file).name for file in files.split() if file.endswith(".ipynb")]
    table = pd.DataFrame({name[:-6]: counts(stored(name, asked.at)) for name in names}).T
    print(table.to_string())
    for lessons in ("00 to 06", "07 to 14"):
        first, last = lessons.split(" to ")
        some = table[[first <= name[:2] <= last for name in table.index]]
        print(f"\n{lessons}:", some.sum().astype(int).to_dict())


if __name__ == "__main__":
    main()
