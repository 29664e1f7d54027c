"""Make ANSWERS.md and RUBRIC.md from lessons and solutions: part of `make exercises`.

ANSWERS.md has the questions at the end of each lesson and exercise with their folded answers, and
the lessons' predictions with what the stored run answers. RUBRIC.md has, for each task, difficulty,
minutes and points as the solution says them, and what a right answer returns, as its stub says it.
Both are for instructors, and not in a student's copy. The numbers in INSTRUCTORS.md are written
anew (`plans`).
"""

import ast
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from plans import with_minutes, with_slides

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "solutions").glob("*.ipynb"))
MADE = "<!-- made by `make exercises`; a change here is lost -->"

QUESTIONS = re.compile(r"^#+ Questions[^\n]*\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(r"<details>\s*<summary>Answer</summary>\s*(.*?)\s*</details>", re.DOTALL)
TASK = re.compile(r"^Difficulty: ([●○]+) .*?about (\d+) minutes · (\d+) point", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)\s#]+\.(?:ipynb|md))")


def title_of(notebook: NotebookNode) -> str:
    return str(notebook.cells[0].source.split("\n")[0].removeprefix("# "))


def questions(notebook: NotebookNode) -> list[str]:
    """Each question with its answer, as Markdown."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    section = QUESTIONS.search(text)
    found = re.split(r"^(?=\d+\. )", section[1], flags=re.MULTILINE)[1:] if section else []
    parts = []
    for one in found:
        if answer := ANSWER.search(one):
            indented = re.sub(r"\n(?=.)", "\n   ", answer[1])
            parts.append(f"{one[: answer.start()].strip()}\n\n   **Answer.** {indented}")
    return parts


def predictions(notebook: NotebookNode) -> list[tuple[str, str]]:
    """Each prediction's question, and what the stored run answers."""
    asked, answered = [], []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if re.search(r"^\w+ = predict\(", cell.source, re.MULTILINE):
            texts = [out.data["text/plain"] for out in cell.outputs if "data" in out]
            asked += [text.split("\n")[0].removeprefix("Predict. ") for text in texts]
        printed = "\n".join(out.get("text", "") for out in cell.outputs)
        answered += re.findall(r"It is: (.*?)\.?$", printed, re.MULTILINE)
    return list(zip(asked, answered, strict=True))


def answers() -> str:
    """The text of ANSWERS.md."""
    parts = ["# Answers", MADE, "What the lessons and exercises ask, for whoever teaches."]
    for file in [*LESSONS, *SOLUTIONS]:
        notebook = nbformat.read(file, as_version=4)
        found = questions(notebook)
        if file in SOLUTIONS and file == SOLUTIONS[0]:
            parts.append("# The questions at the end of the exercises")
        place = "../notebooks" if file in LESSONS else "."
        section = [f"## [{title_of(notebook)}]({place}/{file.name})"]
        if guesses := predictions(notebook):
            section.append("| prediction | answer of the stored run |\n|---|---|")
            section[-1] += "".join(f"\n| {ask.replace('|', '/')} | {got} |" for ask, got in guesses)
        if found or guesses:
            parts += [*section, *found]
    return "\n\n".join(parts) + "\n"


def returns(stub: str) -> str:
    """What a stub's docstring says that the function returns."""
    [function] = [node for node in ast.parse(stub).body if isinstance(node, ast.FunctionDef)]
    text = " ".join((ast.get_docstring(function) or "").split())
    match = re.search(r"Returns (.*?)(?: May use:|$)", text)
    return f"{function.name}: {match[1] if match else text}".replace("|", "\\|")


def rubric() -> str:
    """The text of RUBRIC.md."""
    parts = [
        "# The rubric",
        MADE,
        "Full points: what is returned has the numbers, shape, dtype and gradients that the task "
        "asks for, with the notebook's arguments and with others, and the arguments and the "
        "random state are left alone. INSTRUCTORS.md says how partial points are given, and what "
        "to mark by hand.",
    ]
    for file in SOLUTIONS:
        notebook = nbformat.read(file, as_version=4)
        cells = {cell.id: cell.source for cell in notebook.cells}
        rows, total = [], 0
        for name in [name for name in cells if re.fullmatch(r"task-\d+", name)]:
            difficulty, minutes, points = TASK.search(cells[name]).groups()
            what, says = returns(cells[name.replace("task", "answer")]).split(": ", 1)
            rows.append(f"| `{what}` | {difficulty} | {minutes} | {points} | {says} |")
            total += int(points)
        if rows:
            head = "| task | difficulty | minutes | points | a right answer returns |"
            title = title_of(notebook).removesuffix(": exercise")
            parts.append(f"## [{title}]({file.name}), {total} points")
            parts.append("\n".join([head, "|---|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    guide = Path(__file__).with_name("INSTRUCTORS.md").read_text(encoding="utf-8")
    texts = {
        "ANSWERS.md": answers(),
        "RUBRIC.md": rubric(),
        "INSTRUCTORS.md": with_slides(with_minutes(guide)),
    }
    for name, text in texts.items():
        Path(__file__).with_name(name).write_text(text, encoding="utf-8")
        print(f"exercises/{name}")


if __name__ == "__main__":
    sys.exit(main())
