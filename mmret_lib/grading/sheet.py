"""Write the mark sheet, and a page for each student."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from mmret_lib.files.errors import on_one_line
from mmret_lib.files.whole import write_text
from mmret_lib.grading.marks import RULE, Mark, Marked
from mmret_lib.grading.notebook import Exercise
from mmret_lib.show.html import PAGE_STYLE, text_html

STYLE = (
    PAGE_STYLE
    + """
body { max-width: 46rem; }
h2 { margin: 0; font-size: 1.05rem; }
section { margin-top: 1rem; padding: .9rem 1rem; border: 1px solid var(--edge);
  border-radius: .6rem; background: var(--card); }
section p { margin: .5rem 0 0; }
.top { display: flex; justify-content: space-between; gap: 1rem; }
.state { color: var(--quiet); }
"""
)
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'"
)


def write_sheet(path: Path, exercise: Exercise, marked: Sequence[Marked]) -> None:
    """Write the marks of all students as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "file", *exercise.points, "total", "max", "remarks"])
    for one in sorted(marked, key=lambda one: one.submission.student):
        points = [format(mark.points, "g") for mark in one.marks]
        most = sum(exercise.points.values())
        words = [one.submission.student, one.submission.file, "; ".join(one.remarks)]
        student, file, remarks = map(harmless, words)
        writer.writerow([student, file, *points, format(one.total, "g"), most, remarks])
    write_text(path, text.getvalue())


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula, on one line."""
    text = on_one_line(text)
    return f"'{text}" if text[:1] in "=+-@" and text else text


def page_name(student: str, taken: set[str]) -> str:
    """Return a file name for a student's page that is not among `taken`, and add it there."""
    stem = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", student)).strip("._") or "student"
    name, number = stem[:80], 2
    while name.casefold() in taken:
        name, number = f"{stem[:80]}_{number}", number + 1
    taken.add(name.casefold())
    return f"{name}.html"


def write_feedback(path: Path, exercise: Exercise, marked: Marked) -> None:
    """Write a student's page: for each task the points and what the first failing check says."""
    most = sum(exercise.points.values())
    student = marked.submission.student
    remarks = "".join(f"<li>{text_html(each)}</li>" for each in marked.submission.remarks)
    tasks = "\n".join(_section(number, mark) for number, mark in enumerate(marked.marks, 1))
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{html.escape(on_one_line(student))}: {html.escape(exercise.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(exercise.title)}</h1>
<p class="query">{text_html(on_one_line(student))}: {marked.total:g} of {most} points</p>
{f"<ul>{remarks}</ul>" if remarks else ""}
{tasks}
<footer>{html.escape(RULE)}</footer>
</body>
</html>
"""
    write_text(path, page)


def _section(number: int, mark: Mark) -> str:
    state = "right" if mark.points == mark.worth else "partly right" if mark.points else "no points"
    sign = {"right": "✓", "partly right": "◐", "no points": "✗"}[state]
    says = f"<p>{text_html(mark.says)}</p>" if mark.says else ""
    if mark.remark and mark.points == mark.worth:
        says += f"<p>{text_html(mark.remark[0].upper() + mark.remark[1:])}.</p>"
    if mark.points < mark.worth:
        says += (
            f'<p class="state">Where to look: task {number} of the exercise, its three hints, and '
            "its check, which you can run as often as you like.</p>"
        )
    return (
        f'<section><div class="top"><h2>{number}. {mark.task}</h2><span>{sign} {state}, '
        f"<b>{mark.points:g}</b> of {mark.worth}</span></div>{says}</section>"
    )
