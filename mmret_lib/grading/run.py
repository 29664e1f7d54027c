"""Mark a folder of submissions: `mmret grade` calls this."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmret_lib.files.errors import DataError
from mmret_lib.grading.folder import Submission, find_submissions
from mmret_lib.grading.judge import Limits, judge, warm_up
from mmret_lib.grading.marks import Mark, Marked, empty_marks, mark_of
from mmret_lib.grading.notebook import Exercise, find_exercise
from mmret_lib.grading.sheet import page_name, write_feedback, write_sheet
from mmret_lib.grading.workers import run_all


@dataclass(frozen=True)
class Grading:
    """What a grading came to.

    Attributes:
        marked: the submissions, in the order in which they were finished.
        sheet: the CSV file; the pages are in the folder feedback beside it.
        network: whether the system kept every process from the network; else only Python did.
    """

    marked: list[Marked]
    sheet: Path
    network: bool


def grade_folder(
    folder: Path,
    exercise: str,
    out: Path | None = None,
    *,
    seed: str = "",
    jobs: int = 2,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Grading:
    """Mark all submissions of an exercise, and write a sheet and a page for each student.

    Sheet and page are written anew with each submission that is finished, so what an interrupt
    leaves is whole.

    Args:
        folder: with a folder or a notebook for each student (see `folder`).
        exercise: its number or name.
        out: the folder for marks.csv and feedback/; by default marks/ and the exercise's name.
        seed: any text; with the student's name it decides over the numbers of the hidden checks.
        jobs: how many processes at a time.
        limits: of each task.
        progress: called with how many submissions are finished, of how many.

    Raises:
        DataError: no such folder or exercise, nobody in it, or a system without fork.
    """
    if jobs < 1:
        raise DataError(f"--jobs is {jobs}; it must be at least 1")
    chosen = find_exercise(exercise)
    limits = limits or Limits()
    out = out or Path("marks") / chosen.name
    if out.exists() and not out.is_dir():
        raise DataError(f"--out {out} is a file; give a folder for the sheet and the pages")
    submissions = find_submissions(folder, chosen.name, out.resolve())
    taken: set[str] = set()
    pages = {id(one): out / "feedback" / page_name(one.student, taken) for one in submissions}
    marked: list[Marked] = []
    network = True

    def finish(one: Marked) -> None:
        marked.append(one)
        write_feedback(pages[id(one.submission)], chosen, one)
        write_sheet(out / "marks.csv", chosen, marked)
        progress(len(marked), len(submissions))

    for one in submissions:
        if not one.file:
            finish(empty_marks(one, chosen))
    open_marks: dict[int, dict[str, Mark]] = {id(one): {} for one in submissions}
    work = [(one, name) for one in submissions if one.file for name in chosen.points]
    warm_up(chosen.name)
    call = partial(_judge, exercise=chosen, seed=seed, limits=limits)
    for (one, name), verdict in run_all(work, call, workers=jobs, seconds=limits.seconds):
        if isinstance(verdict, dict):
            network = network and bool(verdict["network"])
        marks = open_marks[id(one)]
        marks[name] = mark_of(name, chosen.points[name], verdict)
        if len(marks) == len(chosen.points):
            finish(Marked(one, [marks[task] for task in chosen.points]))
    return Grading(marked, out / "marks.csv", network)


def seed_of(seed: str, exercise: str, student: str) -> int:
    """Return the number by which a student's hidden checks draw, from 1 to 2^30."""
    digest = hashlib.sha256("\n".join((seed, exercise, student)).encode(errors="replace")).digest()
    return 1 + int.from_bytes(digest[:4], "big") % 2**30


def _judge(
    job: tuple[Submission, str], folder: Path, *, exercise: Exercise, seed: str, limits: Limits
) -> dict[str, Any]:
    submission, name = job
    own = seed_of(seed, exercise.name, submission.student)
    return judge(submission, exercise.name, name, own, folder, limits)
