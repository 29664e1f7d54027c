"""The questions at the end of lessons and exercises, each with its answer folded below it."""

import re

from nbformat import NotebookNode

ANSWER = re.compile(r"<details>\s*<summary>Answer</summary>[ \t]*\n\s*\n\s*\S")


def unanswered(notebook: NotebookNode) -> list[str]:
    """What is wrong with a notebook's questions: no answer, or no questions at all."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    section = re.search(r"^#+ Questions[^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    questions = re.split(r"^(?=\d+\. )", section[1], flags=re.MULTILINE)[1:] if section else []
    if not questions:
        return ["no questions"]
    return [f"no answer to {one[:40]!r}" for one in questions if not ANSWER.search(one)]
