"""Marking folders of submissions: who handed in what, what earns points, what is refused."""

import ast
import contextlib
import csv
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from submissions import BAD, NAME, ROOT, WRONG_SUM, hand_in, notebook, solved

from mmret_lib.checks.engine.arguments import tensors
from mmret_lib.checks.writing.lessons import LESSONS, tasks
from mmret_lib.files.errors import DataError
from mmret_lib.grading import answers, run
from mmret_lib.grading.answers import Answers
from mmret_lib.grading.drawn import CALLS
from mmret_lib.grading.folder import find_submissions, student_of
from mmret_lib.grading.guard import Guard
from mmret_lib.grading.judge import Answer, Limits, Verdict, hidden_task, message_of, share_of_right
from mmret_lib.grading.marks import Mark, mark_of
from mmret_lib.grading.notebook import Cell, find_exercise, read_cells
from mmret_lib.grading.run import Grading, grade_folder, seed_of
from mmret_lib.grading.screen import refuses
from mmret_lib.grading.sheet import harmless, page_name
from mmret_lib.grading.tasks import load_tasks
from mmret_lib.grading.workers import run_all

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")

# ---------------------------------------------------------------------------------------------
# Who handed in what


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("ada", "ada"),
        ("Ada Lovelace_4711_assignsubmission_file_", "Ada Lovelace"),
        ("Ada Lovelace_4711_assignsubmission_file_04_triplet_losses", "Ada Lovelace"),
        ("Ada Lovelace_4711_assignsubmission_file_Copy of homework", "Ada Lovelace"),
        ("ada_04_triplet_losses", "ada"),
        ("ada_04_triplet_losses (1)", "ada"),
        ("04_triplet_losses_ada", "ada"),
        ("Copy of 04_triplet_losses", "(no name)"),
    ],
)
def test_a_folder_or_a_file_names_the_student(name: str, student: str) -> None:
    assert student_of(name) == student


def test_folders_of_every_layout(tmp_path: Path) -> None:
    made = solved()
    hand_in(tmp_path / "a" / "submitted" / "ada" / NAME, made)
    hand_in(tmp_path / "a" / "submitted" / "ada" / "05_simclr", solved("05_simclr"), "x.ipynb")
    hand_in(tmp_path / "b" / "Ada_1_assignsubmission_file_", made, "Copy of it (1).ipynb")
    hand_in(tmp_path / "b" / "Ada_2_assignsubmission_file_", made)
    hand_in(tmp_path / "c", made, f"ada_{NAME}.ipynb")
    found = {key: find_submissions(tmp_path / key, NAME) for key in "abc"}
    assert [one.student for one in found["a"]] == ["ada"] and found["a"][0].remarks == []
    assert [one.student for one in found["c"]] == ["ada"] and found["c"][0].remarks == []
    # Two of one name keep their numbers, and none is lost.
    assert [one.student for one in found["b"]] == [
        "Ada_1_assignsubmission_file_",
        "Ada_2_assignsubmission_file_",
    ]
    assert all(one.cells for each in found.values() for one in each)
    (tmp_path / "c" / "emmy.zip").write_bytes(b"PK")
    (tmp_path / "c" / "marks").mkdir()
    ada, emmy = find_submissions(tmp_path / "c", NAME, tmp_path / "c" / "marks" / NAME)
    assert ada.cells and emmy.remarks == [f"no notebook of {NAME}; there is emmy.zip"]
    with pytest.raises(DataError, match="there is no folder"):
        find_submissions(tmp_path / "d", NAME)
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match="has no submissions"):
        find_submissions(tmp_path / "d", NAME)
    (tmp_path / "d" / "all.zip").touch()
    with pytest.raises(DataError, match="is a file; give a folder"):
        grade_folder(tmp_path / "a", "04", tmp_path / "d" / "all.zip")


def test_what_lies_beside_the_notebooks(tmp_path: Path) -> None:
    made = solved()
    for name in (".ipynb_checkpoints", "__MACOSX"):
        hand_in(tmp_path / "a" / "ada" / name, "no notebook", "._it.ipynb")
    hand_in(tmp_path / "a" / "ada", "\ufeff" + nbformat.writes(made))
    [ada] = find_submissions(tmp_path / "a", NAME)
    assert ada.cells and ada.remarks == []
    hand_in(tmp_path / "b", made, "ada.ipynb")
    for name in ("emmy.pdf", "roster.csv"):
        (tmp_path / "b" / name).touch()
    ada, emmy = find_submissions(tmp_path / "b", NAME)
    assert ada.remarks == [] and emmy.remarks == [f"no notebook of {NAME}; there is emmy.pdf"]
    for name in ("ada", "emmy"):  # the students' folders in one more
        hand_in(tmp_path / "c" / "week 4" / name, made)
    [week] = find_submissions(tmp_path / "c", NAME)
    assert "(in 2 folders: of one student?)" in week.remarks[0]


def test_exercises_by_number_and_by_name() -> None:
    assert find_exercise("4") == find_exercise("04") == find_exercise(NAME)
    for lesson in LESSONS:
        exercise = find_exercise(lesson)
        assert list(exercise.points) == tasks()[lesson] and exercise.title.startswith(lesson[:2])
    with pytest.raises(DataError, match="--exercise 11: there are 00_tour"):
        find_exercise("11")


# ---------------------------------------------------------------------------------------------
# What is taken out of a notebook


def answers_of(*cells: str, task: str = "sum_triplet") -> Answers:
    named = [Cell(f"cell-{number}", cell) for number, cell in enumerate(cells)]
    return Answers(named, [task], Guard(task))


STUB = "def sum_triplet(a, b):\n    '''What it does.'''\n    raise NotImplementedError"


def test_definitions_run_and_nothing_else() -> None:
    found = answers_of(
        "import numpy as np\nEPS = 1e-8\nswap = lambda a, b: (b, a)\nTABLE = torch.eye(2)",
        "%time print(1)\n!ls\nloss = train(3)\nassert False\nopen('x', 'w')",
        "def sum_triplet(a: Unknown, b: 'Unknown') -> Unknown:\n    return swap(a, b), EPS",
        STUB,
        "sum_triplet = train(sum_triplet)",
    )
    function = found.function("sum_triplet")
    assert callable(function) and function(1, 2) == ((2, 1), 1e-8)
    assert "TABLE" in found.space and "loss" not in found.space
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ([], "not defined in the notebook"),
        (["import plt\ndef sum_triplet(a=plt.gca()): pass"], "refused: it uses plt.gca"),
        (["def sum_triplet(:"], "no valid Python: invalid syntax, line 1"),
        (["def sum_triplet(a=1 / 0): pass"], "its definition raised ZeroDivisionError"),
        (["def sum_triplet(a): return eval(a)"], "refused: it uses eval"),
    ],
)
def test_why_there_is_no_function(cells: list[str], says: str) -> None:
    assert says in str(answers_of(*cells).function("sum_triplet"))


HONEST = {
    "an indented cell": ["    def sum_triplet(a):\n        return a"],
    "prompts": [">>> def sum_triplet(a):\n...     return a"],
    "line ends of Windows": ["def sum_triplet(a):\r\n    return a\r\n"],
    "a magic": ["%%time\ndef sum_triplet(a): return a"],
    "an argument called input": ["def sum_triplet(input):\n    return {'input': input}['input']"],
    "a factory": ["def make():\n    return lambda a: a", "sum_triplet = make()"],
    "a partial": [
        "from functools import partial",
        "def f(b, a): return a",
        "sum_triplet = partial(f, 0)",
    ],
    "constants": [
        "import numpy\nimport torch as t\nfrom collections import namedtuple",
        "P = namedtuple('P', 'a b')\nZERO = t.zeros(())\nTWO = max(numpy.arange(3))",
        "def sum_triplet(a): return P(a, ZERO * float(TWO)).a",
    ],
    "a try and an if": [
        "try:\n    from math import prod\nexcept ImportError:\n    prod = sum",
        "if torch.cuda.is_available():\n    device = 'cuda'\nelse:\n    device = 'cpu'",
        "def sum_triplet(a): return prod([a]) if device else 0",
    ],
    "another cell fails": [
        "from ipywidgets import interact\n@interact(x=3)\ndef show(x): pass",
        "import pylab\ndef draw(ax=pylab.gca()): pass",
        "def sum_triplet(a): return a",
    ],
}


@pytest.mark.parametrize("name", HONEST)
def test_unusual_ways_to_write_a_right_answer(name: str) -> None:
    found = answers_of(*HONEST[name])
    function = found.function("sum_triplet")
    assert callable(function) and function(7) == 7
    assert found.guard.refused == []


def test_a_definition_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LONGEST", 0.2)
    endless = "class Endless:\n    while True: pass"
    assert callable(answers_of(endless, "def sum_triplet(a): pass").function("sum_triplet"))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import operator\nx = operator.attrgetter(n)(torch)", "operator.attrgetter"),
        ("match torch:\n    case object(sys=s): pass", "it uses sys"),
        ("x = '{0.tb_frame}'.format(e)", "tb_frame in a string"),
        ("x = typing.get_type_hints(C)", "typing.get_type_hints"),
        ("__import__ = 3\n__import__('os')", "it uses __import__"),
    ],
)
def test_what_the_source_alone_tells(code: str, says: str) -> None:
    [definition] = ast.parse(f"def f(e):\n{textwrap.indent(code, '    ')}").body
    assert says in refuses(definition, {"torch"})


def test_what_the_exercise_offers_may_be_used_but_not_for_its_own_task() -> None:
    code = (
        "from mmret_lib.losses.base import similarities\n"
        "def sum_triplet(a, b): return similarities(a, b)"
    )
    emb = torch.eye(2)
    allowed, refused = answers_of(code), answers_of(code, task="cosine_similarity_matrix")
    assert torch.equal(allowed.space["sum_triplet"](emb, emb), emb)
    with pytest.raises(ImportError):
        refused.space["sum_triplet"](emb, emb)
    assert refused.guard.refused == ["it uses mmret_lib.losses.base.similarities"]


@pytest.mark.parametrize("lesson", LESSONS)
def test_no_right_answer_is_refused(lesson: str) -> None:
    cells = read_cells(ROOT / "solutions" / f"{lesson}.ipynb")
    names = tasks()[lesson]
    found = Answers(cells, names, Guard(names[0]))
    assert found.wrong == {} and found.guard.refused == []
    assert all(callable(found.function(name)) for name in names)
    module = import_module(f"answers.{lesson[3:]}")
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef):
            assert refuses(statement, {"torch", "F", "nn", "math"}) == ""


# ---------------------------------------------------------------------------------------------
# Other numbers


def test_the_numbers_depend_on_the_student_and_the_seed() -> None:
    seeds = {seed_of(text, NAME, who) for text in ("", "autumn") for who in ("ada", "emmy")}
    assert len(seeds) == 4 and seed_of("", NAME, "ada") == seed_of("", NAME, "ada")


def test_every_comparison_has_calls_of_other_sizes() -> None:
    for lesson in LESSONS:
        for name, task in load_tasks(lesson).items():
            assert bool(task.cases) == (name in CALLS), name
            if task.cases:
                drawn = [repr(CALLS[name](random.Random(seed))) for seed in range(5)]
                assert len(set(drawn)) == 5, name


class Memory:
    """Answers what it has seen, and nothing else."""

    def __init__(self, right: Any) -> None:
        self.right, self.seen, self.learns = right, dict[str, Any](), True

    def __call__(self, *args: Any) -> Any:
        key = str([(each.shape, each.detach().double()) for each in tensors(list(args))])
        key += str([each for each in args if not isinstance(each, torch.Tensor)])
        if self.learns:
            self.seen[key] = self.right(*args)
        return self.seen.get(key)


FUNCTIONS = ("negative_weights", "shares", "cached_gradients", "all_gather_loss", "basic_block")


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS)
def test_who_knows_the_numbers_of_the_check_earns_nothing(lesson: str) -> None:
    right = import_module(f"answers.{lesson[3:]}").RIGHT
    for name, task in load_tasks(lesson).items():
        if not task.cases or name in FUNCTIONS:  # these are called with functions or modules
            continue
        memory = Memory(right[name][0])
        message_of(replace(task, properties=()), memory)
        memory.learns = False
        hidden = hidden_task(lesson, name, 12345, 20)
        assert message_of(hidden, memory), name
        assert share_of_right(hidden, memory, task.cases) < 0.5, name
        assert not message_of(hidden, right[name][0]), name


# Wrong where no vector comes to a centre, which the notebook's seeds were chosen for.
RARE = {"empty cell moves"}


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS)
def test_wrong_answers_fail_with_other_numbers_too(lesson: str) -> None:
    """A sample: the whole catalogue is held against the notebook's numbers in tests/checks."""
    wrong = import_module(f"answers.{lesson[3:]}").WRONG
    quick = {"one_caption_each", "batches", "save_state", "load_state"}
    for name in wrong:
        hidden = hidden_task(lesson, name, 999, 20)
        sample = random.Random(name).sample(sorted(wrong[name]), 2 if name in quick else 6)
        passed = [each for each in sample if not message_of(hidden, wrong[name][each][-1])]
        assert set(passed) <= RARE, name


def test_arguments_are_also_handed_over_by_their_names() -> None:
    calls: list[tuple[Any, Any]] = []

    def function(a: Any, b: Any = 2) -> None:
        calls.append((a, b))

    def of_any(*args: Any) -> None:
        calls.append(args)

    for each in (function, of_any, lambda *, a, b: None):
        answer = Answer(each, Guard(""))
        answer.by_name = True
        with contextlib.suppress(TypeError):
            answer(1)
            answer(1, 3)
    assert calls == [(1, 2), (1, 3), (1,), (1, 3)]


# ---------------------------------------------------------------------------------------------
# Points, sheet and pages


def verdict(**what: Any) -> dict[str, object]:
    return vars(Verdict(**what))


@pytest.mark.parametrize(
    ("found", "points", "remark"),
    [
        (verdict(share=1.0), 3, ""),
        (verdict(visible="wrong", share=1.0), 1.5, ""),
        (verdict(visible="wrong", share=0.75), 1.0, ""),
        (verdict(visible="wrong", share=0.49), 0, ""),
        (verdict(hidden="wrong", share=0.6), 1.0, "not with other numbers"),
        (verdict(share=1.0, refused=["it uses eval"]), 0, "refused, it uses eval"),
        (verdict(share=1.0, stand_ins=["pad"]), 3, "judged with a right pad"),
        (verdict(visible="It has not ended after 3 seconds"), 0, "it does not end"),
        ("its process was ended by SIGSEGV", 0, "SIGSEGV"),
    ],
)
def test_points(found: dict[str, object] | str, points: float, remark: str) -> None:
    mark = mark_of("sum_triplet", 3, found)
    assert (mark.points, remark in mark.remark) == (points, True)
    assert bool(mark.says) == (points < 3)


def test_names_are_harmless() -> None:
    assert harmless("=HYPERLINK(1)") == "'=HYPERLINK(1)" and harmless("a\nb") == "a␊b"
    taken: set[str] = set()
    names = [
        page_name(name, taken)
        for name in ("../../etc/x", "a b", "a_b", "A_B", "..", "王", "u\u0308")
    ]
    assert names == [
        "etc_x.html",
        "a_b.html",
        "a_b_2.html",
        "A_B_3.html",
        "student.html",
        "王.html",
        "\u00fc.html",
    ]


def only_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mark two of the six tasks, for time."""
    whole = find_exercise(NAME)
    points = {name: whole.points[name] for name in ("cosine_similarity_matrix", "sum_triplet")}
    monkeypatch.setattr(run, "find_exercise", lambda number: replace(whole, points=points))


def marks_of(grading: Grading) -> dict[str, dict[str, Mark]]:
    return {
        one.submission.student: {mark.task: mark for mark in one.marks} for one in grading.marked
    }


@pytest.mark.slow
def test_each_hostile_submission_becomes_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_sum(monkeypatch)
    (tmp_path / "own").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "own"))
    for name, bad in BAD.items():
        bad.hand_in(tmp_path / "in" / name)
    files = set(Path("/tmp").glob("mmret-was-here"))
    grading = grade_folder(tmp_path / "in", "04", tmp_path / "out", limits=Limits(24, 1024))
    assert set(Path("/tmp").glob("mmret-was-here")) == files
    points = {"all": 5, "the rest": 2, "a part": 3, "nothing": 0}
    found = {}
    for one in grading.marked:
        said = " ".join([*one.remarks, *(mark.says for mark in one.marks)])
        bad = BAD[one.submission.student]
        total = 3 if 2 < one.total < 5 else one.total
        found[one.submission.student] = (total, bad.says in said)
    assert found == {name: (points[bad.earns], True) for name, bad in BAD.items()}
    with open(grading.sheet, encoding="utf-8", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert rows.keys() == BAD.keys()
    assert {0, 2, 5} < {float(row["total"]) for row in rows.values()}
    assert len(list((tmp_path / "out" / "feedback").glob("*.html"))) == len(BAD)
    left = [each.name for each in (tmp_path / "own").iterdir()]
    assert not [name for name in left if not name.startswith("torchinductor")]  # torch's own cache


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS)
def test_right_answers_earn_all_and_stubs_nothing(lesson: str, tmp_path: Path) -> None:
    hand_in(tmp_path / "in" / "solved", solved(lesson), "Copy of it.ipynb")
    hand_in(tmp_path / "in" / "stub", notebook(lesson))
    grading = grade_folder(tmp_path / "in", lesson, tmp_path / "out", seed="a term")
    totals = {one.submission.student: one.total for one in grading.marked}
    assert totals == {"solved": sum(find_exercise(lesson).points.values()), "stub": 0}
    [stub] = [one for one in grading.marked if one.submission.student == "stub"]
    assert all("not written yet" in mark.says for mark in stub.marks)


EPSILON = """\
def cosine_similarity_matrix(image_emb, text_emb):
    unit = [e / (e.norm(dim=1, keepdim=True) + 0.1) for e in (image_emb, text_emb)]
    return unit[0] @ unit[1].T"""
DETACHED = """\
def sum_triplet(image_emb, text_emb, margin=0.2):
    s = cosine_similarity_matrix(image_emb, text_emb)
    p = s.diagonal()[:, None].detach()
    hinges = [(margin - p + way).relu() for way in (s, s.T)]
    return sum(h.sum() - h.diagonal().sum() for h in hinges) / len(s)"""


@pytest.mark.slow
def test_partial_points_and_an_earlier_task_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_sum(monkeypatch)
    hand_in(tmp_path / "in" / "earlier", solved(answer_1=EPSILON))
    hand_in(tmp_path / "in" / "detached", solved(answer_2=DETACHED))
    grading = grade_folder(tmp_path / "in", "04", tmp_path / "out")
    marks = marks_of(grading)
    earlier = marks["earlier"]["sum_triplet"]
    assert earlier.points == 3
    assert earlier.remark == "judged with a right cosine_similarity_matrix"
    assert marks["earlier"]["cosine_similarity_matrix"].points == 0
    detached = marks["detached"]["sum_triplet"]
    assert detached.points == 1.5 and "the positives are detached" in detached.says
    page = (tmp_path / "out" / "feedback" / "detached.html").read_text(encoding="utf-8")
    assert "3.5 of 5 points" in page and "the positives are detached" in page
    assert "<b>1.5</b> of 3" in page and "half of its points" in page


@pytest.mark.slow
def test_an_engine_of_earlier_lessons_may_be_handed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_sum(monkeypatch)
    answers = {cell.id: cell.source for cell in solved().cells}
    made = solved(answer_1="from my_retrieval import cosine_similarity_matrix")
    hand_in(tmp_path / "in" / "ada", made)
    engine = f"import torch\nimport torch.nn.functional as F\n{answers['answer-1']}"
    (tmp_path / "in" / "ada" / "my_retrieval.py").write_text(engine, encoding="utf-8")
    assert grade_folder(tmp_path / "in", "04", tmp_path / "out").marked[0].total == 5


@pytest.mark.slow
def test_an_interrupt_leaves_a_whole_sheet(tmp_path: Path) -> None:
    loop = "def sum_triplet(a, b, margin=0.2):\n    while True: pass"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "aaron").mkdir()
    for number in range(3):
        hand_in(tmp_path / "in" / f"student {number}", solved(answer_2=loop))
    command = [sys.executable, "-m", "mmret_lib.cli", "grade", "in", "--exercise", "04"]
    process = subprocess.Popen(
        [*command, "--out", "out"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    sheet = tmp_path / "out" / "marks.csv"
    end = time.monotonic() + 60
    while not sheet.exists() and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert re.search(r"the sheet has the \d of 4 that are marked", errors)
    with open(sheet, encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["student"] == "aaron"


def test_a_wrong_answer_beside_its_overwritten_check() -> None:
    """Nothing that stands in a cell reaches the check that is used."""
    found = answers_of(
        "from mmret_lib import checks\nchecks.triplet_losses = None",
        WRONG_SUM,
        "checks.triplet_losses.check_sum_triplet = print",
    )
    assert callable(found.function("sum_triplet")) and "checks" in found.space
    task = load_tasks(NAME)["sum_triplet"]
    found.space["cosine_similarity_matrix"] = load_tasks(NAME)["cosine_similarity_matrix"].right
    function = found.function("sum_triplet")
    assert not isinstance(function, str)
    assert "the diagonal is not left out" in message_of(task, function)


# ---------------------------------------------------------------------------------------------
# Processes


@pytest.mark.slow
def test_processes_end_and_answer_for_themselves() -> None:
    def call(job: str, folder: Path) -> dict[str, Any]:
        if job == "sleeps":
            time.sleep(60)
        if job == "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        if job == "fails":
            raise ValueError
        return {"job": job, "empty": not list(folder.iterdir())}

    jobs = ["a", "sleeps", "dies", "fails", "b"]
    found = dict(run_all(jobs, call, workers=2, seconds=-3))
    assert found == {
        "a": {"job": "a", "empty": True},
        "b": {"job": "b", "empty": True},
        "sleeps": "it was ended after -3 seconds",
        "dies": "its process was ended by SIGSEGV",
        "fails": "it ended its process before the end of the check",
    }
