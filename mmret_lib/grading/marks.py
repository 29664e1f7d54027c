"""Make points and words of what became of a task."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmret_lib.grading.folder import Submission
from mmret_lib.grading.notebook import Exercise

RULE = (
    "A task earns all its points if its check passes, in the notebook and with other numbers and "
    "sizes, which were drawn for you. Otherwise it earns half of its points times the share of "
    "these other calls, and of the properties that are tested, that are right, if at least half of "
    "them are; rounded to a quarter."
)


@dataclass
class Mark:
    """What a task earns.

    Attributes:
        task: the function's name.
        points: of `worth`.
        says: the first failing check's message; "" for a right answer.
        remark: what whoever marks should know; "" for nothing.
    """

    task: str
    points: float
    worth: int
    says: str = ""
    remark: str = ""


@dataclass
class Marked:
    """A submission with its marks, one for each task of the exercise, in their order."""

    submission: Submission
    marks: list[Mark] = field(default_factory=list)

    @property
    def total(self) -> float:
        """The points of all tasks."""
        return sum(mark.points for mark in self.marks)

    @property
    def remarks(self) -> list[str]:
        """What whoever marks should know, about the notebook and its tasks."""
        of_tasks = [f"{mark.task}: {mark.remark}" for mark in self.marks if mark.remark]
        return [*self.submission.remarks, *of_tasks]


def mark_of(task: str, worth: int, verdict: dict[str, object] | str) -> Mark:
    """Make a mark of what `judge` found, or of what ended it in words."""
    if isinstance(verdict, str):
        return Mark(task, 0, worth, f"{task} could not be judged: {verdict}.", verdict)
    visible, hidden = str(verdict["visible"]), str(verdict["hidden"])
    refused, stand_ins = list_of(verdict["refused"]), list_of(verdict["stand_ins"])
    if refused:
        says = f"{task} is not counted: {'; '.join(refused)}. No answer needs that."
        return Mark(task, 0, worth, says, f"refused, {'; '.join(refused)}")
    remark = ""
    if stand_ins:
        remark = f"judged with a right {' and '.join(stand_ins)}"
    if not visible and not hidden:
        return Mark(task, worth, worth, "", remark)
    says = visible
    if not visible:
        says = f"With other numbers than the notebook's: {hidden}"
        remark = "passes the notebook's check, and not with other numbers"
    else:
        remark = next((says for sign, says in ALARMS.items() if sign in visible), remark)
    share = float(str(verdict["share"]))
    points = round(worth * share / 2 * 4) / 4 if share >= 0.5 else 0.0
    return Mark(task, points, worth, says, remark)


ALARMS = {
    "has not ended after": "it does not end",
    "RecursionError": "it calls itself without end",
    "MemoryError": "it takes too much memory",
    "allocate memory": "it takes too much memory",
    "more memory than": "it takes too much memory",
    "File too large": "it writes too much into a file",
    "ends the process": "it ends the process",
    "its cell is no valid Python": "its cell is no valid Python",
    "is not defined in": "it is not defined",
}


def list_of(value: object) -> list[str]:
    """A list of texts out of JSON."""
    return [str(each) for each in value] if isinstance(value, list) else []


def empty_marks(submission: Submission, exercise: Exercise) -> Marked:
    """A submission without a notebook: no points."""
    says = "There is no notebook of this exercise."
    return Marked(
        submission, [Mark(name, 0, worth, says) for name, worth in exercise.points.items()]
    )
