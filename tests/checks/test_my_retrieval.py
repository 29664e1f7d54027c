"""The file that grows: what passed its check is in it, and it stands by itself."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbclient import NotebookClient

from mmret_lib import checks
from mmret_lib.checks import CheckFailed, my_retrieval
from mmret_lib.checks.writing import place
from mmret_lib.checks.writing.bindings import Binding
from mmret_lib.checks.writing.file import write_part
from mmret_lib.checks.writing.lessons import LESSONS, lesson_of, tasks
from mmret_lib.checks.writing.module import layout, read_module, was_edited
from mmret_lib.checks.writing.needs import Part
from mmret_lib.cli import main

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = [ROOT / "solutions" / f"{lesson}.ipynb" for lesson in LESSONS]
Run = Callable[..., None]

IMPORTS = """\
import torch
import torch.nn.functional as F
from torch import Tensor
from mmret_lib import checks"""
COSINES = '''\
def cosine_similarity_matrix(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """The cosine of every image with every text."""
    return F.normalize(image_emb, dim=1) @ F.normalize(text_emb, dim=1).T'''
CHECK_COSINES = "checks.triplet_losses.check_cosine_similarity_matrix(cosine_similarity_matrix)"
WITH_HELPER = """\
EPS = 1e-12

def unit(emb):
    return emb / emb.norm(dim=1, keepdim=True).clamp_min(EPS)

def cosine_similarity_matrix(image_emb, text_emb):
    return unit(image_emb) @ unit(text_emb).T"""
MAXIMUM = """\
def max_triplet(image_emb, text_emb, margin=0.2):
    s = cosine_similarity_matrix(image_emb, text_emb)
    own = torch.eye(len(s), dtype=torch.bool, device=s.device)
    costs = [(margin - s.diagonal()[:, None] + w).relu().masked_fill(own, 0) for w in (s, s.T)]
    return (costs[0].amax(dim=1) + costs[1].amax(dim=1)).mean()"""
CHECK_MAXIMUM = "checks.triplet_losses.check_max_triplet(max_triplet)"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the checks write, which is not there yet."""
    file = tmp_path / "my_retrieval.py"
    monkeypatch.setenv("MMRET_ENGINE", str(file))
    return file


def functions(file: Path) -> list[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("my_retrieval", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------------------------------------
# Made from the solutions


def is_needed(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell has an answer or its check, or only defines what answers may need."""
    if re.fullmatch(r"(imports|answer-\d+|check-\d+)", cell.id):
        return True
    defines = ast.FunctionDef | ast.Import | ast.ImportFrom
    if cell.cell_type != "code" or cell.id == "setup":
        return False
    return all(isinstance(node, defines) for node in ast.parse(cell.source).body)


@pytest.mark.slow
def test_made_from_the_solutions_the_file_is_complete(
    engine: Path, run_cell: Run, capsys: pytest.CaptureFixture
) -> None:
    for solution in SOLUTIONS:
        cells = nbformat.read(solution, as_version=4).cells
        run_cell("%reset -f", *(cell.source for cell in cells if is_needed(cell)))
    wanted = [name for file in SOLUTIONS for name in tasks()[file.stem]]
    assert "is not written" not in capsys.readouterr().out

    # It is complete, in the course's order, readable, and free of the solutions' marks.
    code = engine.read_text(encoding="utf-8")
    assert [name for name in functions(engine) if lesson_of(name)] == wanted
    assert "SOLUTION" not in code and "mmret_lib" not in code and not was_edited(code)
    assert layout(read_module(code)) == code
    headings = [f"# {lesson.replace('_', ' ')}" for lesson in tasks()]
    found = [line for line in code.splitlines() if line in headings]
    assert found == [f"# {file.stem.replace('_', ' ')}" for file in SOLUTIONS]
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef) and lesson_of(node.name):
            assert ast.get_docstring(node), node.name
    assert "\n\n\n\n" not in code and "\t" not in code
    for command in (["check", "--isolated", "--select", "E,F,I"], ["format", "--diff"]):
        options = ["--line-length", "100", str(engine)]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout

    # It needs no mmret_lib, and each of its functions passes its check.
    script = "import sys; sys.modules['mmret_lib'] = None; import my_retrieval as my; print(my)"
    subprocess.run([sys.executable, "-c", script], cwd=engine.parent, check=True, env=plain())
    module = load(engine)
    for name in wanted:
        check = getattr(getattr(checks, str(lesson_of(name))[3:]), f"check_{name}")
        check(getattr(module, name))
    table = my_retrieval.engine_table(engine)
    assert f": {len(wanted)} of " in table and all(f"{name} (line " in table for name in wanted)


def plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_the_courses_functions_are_those_with_a_check() -> None:
    for lesson, names in tasks().items():
        module = getattr(checks, lesson[3:], None)
        there = [name for name in vars(module or checks) if name.startswith("check_")]
        assert [f"check_{name}" for name in names] == there
    every = [name for names in tasks().values() for name in names]
    assert len(set(every)) == len(every)
    assert all(file.is_file() for file in SOLUTIONS)


# ---------------------------------------------------------------------------------------------
# What is written


def test_a_function_is_written_and_replaced(
    engine: Path, run_cell: Run, capsys: pytest.CaptureFixture
) -> None:
    run_cell(IMPORTS, COSINES, CHECK_COSINES)
    assert "cosine_similarity_matrix is in my_retrieval.py now (1 of" in capsys.readouterr().out
    assert COSINES in engine.read_text()
    newer = COSINES.replace("every text.", "every text, written anew.")
    run_cell(newer, CHECK_COSINES)
    code = engine.read_text()
    assert newer in code and COSINES not in code and code.count("def ") == 1
    assert list(engine.parent.iterdir()) == [engine]


def test_a_wrong_answer_is_not_written(engine: Path, run_cell: Run) -> None:
    with pytest.raises(CheckFailed):
        run_cell(IMPORTS, COSINES.replace(").T", ")"), CHECK_COSINES)
    assert not engine.exists()


def test_helpers_constants_and_imports_come_along_and_go_with_their_user(
    engine: Path, run_cell: Run
) -> None:
    run_cell(IMPORTS, WITH_HELPER, CHECK_COSINES)
    code = engine.read_text()
    assert "EPS = 1e-12" in code and "import" not in code.split('"""')[2]
    assert functions(engine) == ["unit", "cosine_similarity_matrix"]
    run_cell(COSINES, CHECK_COSINES)
    assert functions(engine) == ["cosine_similarity_matrix"]
    assert "EPS" not in engine.read_text()


@pytest.mark.parametrize(
    ("given", "body", "has"),
    [
        ("from math import pi", "pi and ", "from math import pi"),
        ("import numpy as np", "np and ", "import numpy as np"),
        ("from torch import nn", "nn.Identity and ", "from torch import Tensor, nn"),
        ("from typing import Callable", "Callable and ", "from collections.abc import Callable"),
        ("SIZES = (1, 2.5, 'a', (None, True))", "SIZES and ", "SIZES = (1, 2.5, 'a', (None"),
        ("TOP = 2 ** 3", "TOP and ", "TOP = 8"),
        ("FAR = float('inf')", "FAR and ", 'FAR = float("inf")'),
        ("one = lambda x: x * TWO\nTWO = 2", "one(1) and ", "one = lambda x: x * TWO"),
        ("class Head(torch.nn.Module):\n    size = 3", "Head and ", "class Head(torch.nn.Module):"),
        ("Pair = tuple[Tensor, Tensor]", "Pair and ", "Pair = tuple[Tensor, Tensor]"),
        ("import re\nWORD = re.compile('a+')", "WORD and ", "WORD = re.compile('a+')"),
        (
            "def f(n):\n    return n and g(n - 1)\ndef g(n):\n    return n and f(n - 1)",
            "f(2) or ",
            "g",
        ),
    ],
)
def test_what_a_function_may_need(
    engine: Path, run_cell: Run, given: str, body: str, has: str
) -> None:
    run_cell(IMPORTS, given, COSINES.replace("return ", f"return {body}"), CHECK_COSINES)
    assert has in engine.read_text()
    checks.triplet_losses.check_cosine_similarity_matrix(load(engine).cosine_similarity_matrix)


def test_decorators_annotations_and_other_names(engine: Path, run_cell: Run) -> None:
    cell = "from functools import wraps\n\ndef same(f):\n    return f\n\n@same\n" + COSINES
    run_cell(IMPORTS, cell.replace("cosine_similarity_matrix(", "cosines("))
    run_cell("checks.triplet_losses.check_cosine_similarity_matrix(cosines)")
    code = engine.read_text()
    assert "@same\ndef cosine_similarity_matrix(image_emb: Tensor" in code
    assert "from torch import Tensor" in code and "wraps" not in code


def test_a_name_of_another_lesson_is_not_taken(engine: Path) -> None:
    first, second = "def unit(x):\n    return x", "def unit(x):\n    return 2 * x"
    write_part(part_of("cosine_similarity_matrix", unit=first), engine)
    write_part(part_of("standardise", unit=second), engine)
    code = engine.read_text()
    assert first in code and "def unit_06(x):\n    return 2 * x" in code
    assert "def standardise():\n    return unit_06(1)" in code
    write_part(part_of("standardise", unit=second.replace("2", "3")), engine)
    assert functions(engine) == ["unit", "cosine_similarity_matrix", "unit_06", "standardise"]
    write_part(part_of("standardise", unit=first), engine)  # the same: once is enough
    assert functions(engine) == ["unit", "cosine_similarity_matrix", "standardise"]


def part_of(task: str, **helpers: str) -> Part:
    calls = " + ".join(f"{name}(1)" for name in helpers) or "1"
    code = {task: f"def {task}():\n    return {calls}"} | helpers
    return Part(task, {name: Binding(name, text) for name, text in code.items()})


def test_an_earlier_task_that_is_not_in_the_file_yet(
    engine: Path, run_cell: Run, capsys: pytest.CaptureFixture
) -> None:
    run_cell(IMPORTS, COSINES, MAXIMUM, CHECK_MAXIMUM)
    assert functions(engine) == ["cosine_similarity_matrix", "max_triplet"]
    assert "# Its check has not passed yet" in engine.read_text()
    missing = "cosine_similarity_matrix (task 1)"
    assert missing in my_retrieval.engine_table(engine)
    run_cell(CHECK_COSINES)
    assert "has not passed" not in engine.read_text()
    assert missing not in my_retrieval.engine_table(engine)
    # What has passed is not replaced by what has not.
    run_cell(COSINES.replace("every text.", "anything."), CHECK_MAXIMUM)
    assert COSINES in engine.read_text()


def test_a_function_imported_from_the_file(
    engine: Path, run_cell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cell(IMPORTS, COSINES, CHECK_COSINES)
    monkeypatch.syspath_prepend(engine.parent)
    run_cell("%reset -f", IMPORTS, "from my_retrieval import cosine_similarity_matrix")
    monkeypatch.delitem(sys.modules, "my_retrieval")
    before = engine.read_text()
    run_cell(CHECK_COSINES)
    assert engine.read_text() == before
    run_cell(MAXIMUM, CHECK_MAXIMUM)
    assert functions(engine) == ["cosine_similarity_matrix", "max_triplet"]
    assert "import cosine" not in engine.read_text()


# ---------------------------------------------------------------------------------------------
# What is refused, and what is not written


@pytest.mark.parametrize(
    ("given", "body", "says"),
    [
        ("batch = torch.ones(2)", "batch.sum() and ", "uses batch, a variable of this notebook"),
        ("model = torch.nn.Linear(2, 2)", "model and ", r"\(a Linear\)"),
        ("table = {}", "table or ", r"\(a dict\).*take it from the arguments"),
        ("n = [3]\ndef f():\n    return n", "f() and ", "calls f, which uses n.*as a tuple"),
        (
            "n = 1\ndef f():\n    global n\n    n += 1",
            "f() or ",
            "changes the notebook's variable n",
        ),
    ],
)
def test_a_variable_of_the_notebook_is_refused_by_the_check(
    engine: Path, run_cell: Run, given: str, body: str, says: str
) -> None:
    run_cell(IMPORTS, given, COSINES.replace("return ", f"return {body}"))
    with pytest.raises(CheckFailed, match=says) as refused:
        run_cell(CHECK_COSINES)
    assert "argument" in str(refused.value) or "should return" in str(refused.value)
    assert not engine.exists()


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (
            "from mmret_lib.losses.base import similarities\n"
            "def cosine_similarity_matrix(a, b):\n    return similarities(a, b)",
            "uses similarities of mmret_lib.losses.base, and the file is to be yours alone",
        ),
        (
            "def cosine_similarity_matrix(a, b):\n"
            "    from mmret_lib.losses.base import similarities as s\n    return s(a, b)",
            "uses similarities of mmret_lib.losses.base",
        ),
        (
            "from mmret_lib.losses.base import similarities\ndef mine(a, b):\n"
            "    return similarities(a, b)\n"
            "def cosine_similarity_matrix(a, b):\n    return mine(a, b)",
            "calls mine, which uses similarities of mmret_lib",
        ),
        (f"import pandas\n{COSINES.replace('return ', 'return pandas and ')}", "uses pandas"),
        (
            "one = F.normalize\ncosine_similarity_matrix = lambda a, b: one(a) @ one(b).T",
            "a function that is defined in a cell",
        ),
        (
            f"{COSINES}\nfrom functools import partial\n"
            "cosine_similarity_matrix = partial(cosine_similarity_matrix)",
            "not written in this",
        ),
        (
            "def make():\n    d = 1\n    def f(a, b):\n"
            "        return F.normalize(a, dim=d) @ F.normalize(b, dim=d).T\n    return f\n"
            "cosine_similarity_matrix = make()",
            "a function that is defined in a cell",
        ),
    ],
)
def test_a_right_answer_that_cannot_stand_alone_passes_and_is_not_written(
    engine: Path, run_cell: Run, capsys: pytest.CaptureFixture, cell: str, says: str
) -> None:
    run_cell(IMPORTS, cell, CHECK_COSINES)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("cosine_similarity_matrix: right.")
    assert out[1].startswith("(cosine_similarity_matrix is not written into my_retrieval.py: ")
    assert says in out[1] and len(out) == 2
    assert not engine.exists()


def test_outside_a_notebook_nothing_is_written(engine: Path, capsys: pytest.CaptureFixture) -> None:
    names: dict = {}
    exec(f"{IMPORTS}\n{COSINES}\n{CHECK_COSINES}", names)
    assert not engine.exists()
    assert len(capsys.readouterr().out.splitlines()) == 1


# ---------------------------------------------------------------------------------------------
# Changed by hand, broken, written by two, not writable


def test_what_a_student_adds_is_kept(engine: Path, run_cell: Run) -> None:
    run_cell(IMPORTS, COSINES, CHECK_COSINES)
    mine = (
        "# mine\ndef rank(a, b):\n    return math.pi and cosine_similarity_matrix(a, b).argsort()"
    )
    loop = "for x in range(3):\n    y = x"
    code = engine.read_text().replace('"""\n\nimport', '"""\n\nimport math\nimport')
    engine.write_text(f"{code}\n{mine}\n\n\n{loop}\n# the end\n")
    run_cell(MAXIMUM, CHECK_MAXIMUM)
    code = engine.read_text()
    assert functions(engine) == ["cosine_similarity_matrix", "max_triplet", "rank"]
    assert mine in code and loop in code and "# the end" in code and "import math\n" in code
    assert list(engine.parent.iterdir()) == [engine]
    assert layout(read_module(code)) == code
    run_cell(CHECK_MAXIMUM)
    assert engine.read_text() == code


def test_an_edited_function_that_is_replaced_is_kept_aside(
    engine: Path, run_cell: Run, capsys: pytest.CaptureFixture
) -> None:
    run_cell(IMPORTS, COSINES, CHECK_COSINES)
    edited = engine.read_text().replace("dim=1).T", "dim=1).T  # my own remark")
    engine.write_text(edited)
    run_cell(CHECK_COSINES)
    assert "as it was, it is kept as my_retrieval_edited_1.py" in capsys.readouterr().out
    assert (engine.parent / "my_retrieval_edited_1.py").read_text() == edited
    assert COSINES in engine.read_text()


def test_a_broken_file_is_kept_aside_and_its_good_parts_stay(
    engine: Path, run_cell: Run, capsys: pytest.CaptureFixture
) -> None:
    run_cell(IMPORTS, COSINES, CHECK_COSINES)
    broken = engine.read_text() + "\n\ndef half(:\n"
    engine.write_text(broken)
    assert "is no valid Python" in my_retrieval.engine_table(engine)
    run_cell(MAXIMUM, CHECK_MAXIMUM)
    assert "was no valid Python" in capsys.readouterr().out
    assert (engine.parent / "my_retrieval_edited_1.py").read_text() == broken
    assert functions(engine) == ["cosine_similarity_matrix", "max_triplet"]
    load(engine)


def test_two_notebooks_that_write_at_once(engine: Path) -> None:
    names = tasks()["04_triplet_losses"]
    writers = [threading.Thread(target=write_part, args=(part_of(n), engine)) for n in names * 3]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert functions(engine) == names


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_check_passes_where_nothing_can_be_written(
    engine: Path,
    run_cell: Run,
    capsys: pytest.CaptureFixture,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if what == "folder":
        engine.mkdir()
    else:  # a folder that is a file, for root, too
        engine.write_text("")
        monkeypatch.setenv("MMRET_ENGINE", str(engine / "my_retrieval.py"))
    run_cell(IMPORTS, COSINES, CHECK_COSINES)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("cosine_similarity_matrix: right.")
    assert "could not be written, which changes nothing for the check" in out[1]
    assert len(out) == 2


# ---------------------------------------------------------------------------------------------
# Where


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """As outside of tests."""
    for name in ("MMRET_ENGINE", "PYTEST_VERSION", *place.MARKING):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(place, "CLONE", tmp_path)
    for folder in ("exercises", "solutions", "notebooks", "copy", "other"):
        (tmp_path / folder).mkdir()
        if folder != "other":
            (tmp_path / folder / "04_triplet_losses.ipynb").touch()
    return tmp_path


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize(
    ("here", "file"),
    [
        ("exercises", "exercises"),
        (".", "exercises"),
        ("copy", "copy"),
        ("solutions", None),
        ("notebooks", None),
        ("other", None),
    ],
)
def test_the_file_is_beside_the_notebook(
    clone: Path, monkeypatch: pytest.MonkeyPatch, here: str, file: str | None
) -> None:
    monkeypatch.chdir(clone / here)
    assert place.place_to_write({}) == (clone / file / "my_retrieval.py" if file else None)
    assert place.is_never_written() == (here in ("solutions", "notebooks"))
    assert place.is_never_written(f"    {place.SOLUTION}")


@pytest.mark.usefixtures("free")
def test_on_colab_keep_says_where(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, run_cell: Run
) -> None:
    saved: list[str] = []
    colab, files = ModuleType("google.colab"), ModuleType("google.colab.files")
    files.download = saved.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setitem(sys.modules, "google.colab.files", files)
    monkeypatch.chdir(clone / "notebooks")  # where the set-up cell goes
    run_cell(IMPORTS, COSINES, CHECK_COSINES)
    in_clone = clone / "exercises" / "my_retrieval.py"
    assert COSINES in in_clone.read_text()
    drive = clone / "drive" / "mmret"
    drive.parent.mkdir()
    run_cell(f"KEEP = {str(drive)!r}", CHECK_COSINES)
    assert (drive / "my_retrieval.py").read_text() == in_clone.read_text()
    run_cell("from mmret_lib.checks.my_retrieval import show_engine\nshow_engine()")
    assert "show_engine(download=True)" in capsys.readouterr().out
    assert saved == []
    run_cell("show_engine(download=True)")
    assert saved == [str(drive / "my_retrieval.py")]
    absent = clone / "not mounted"
    run_cell(f"KEEP = {str(absent / 'mmret')!r}", CHECK_COSINES)
    assert "Mount the Drive first" in capsys.readouterr().out and not absent.exists()


@pytest.mark.parametrize("variable", ["NBGRADER_EXECUTION", "NBGRADER_VALIDATING"])
def test_marking_writes_nothing(
    engine: Path, run_cell: Run, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "autograde")
    run_cell(IMPORTS, COSINES, CHECK_COSINES)
    assert list(engine.parent.iterdir()) == []


def test_tests_write_nothing_unless_they_say_where(
    run_cell: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exercises").mkdir()
    monkeypatch.chdir(tmp_path / "exercises")
    run_cell(IMPORTS, COSINES, CHECK_COSINES)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
def test_in_a_kernel_as_a_student_runs_it(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = "from mmret_lib.checks.my_retrieval import show_engine\nshow_engine()"
    later = "from my_retrieval import cosine_similarity_matrix as mine\nmine is not None"
    sources = [IMPORTS, WITH_HELPER, CHECK_COSINES, last, later]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    resources = {"metadata": {"path": str(clone / "copy")}}
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources)
    for name in ("MMRET_ENGINE", "PYTEST_VERSION"):
        monkeypatch.delenv(name, raising=False)  # the kernel inherits what is left
    client.execute()
    engine = clone / "copy" / "my_retrieval.py"
    assert functions(engine) == ["unit", "cosine_similarity_matrix"]
    assert "is in my_retrieval.py now (1 of" in notebook.cells[2].outputs[0].text
    assert "cosine_similarity_matrix (line " in notebook.cells[3].outputs[0].text
    assert notebook.cells[4].outputs[0].data["text/plain"] == "True"


@pytest.mark.usefixtures("free")
def test_where_it_has_no_place_a_notebook_says_so_once(
    clone: Path, run_cell: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(clone / "other")
    monkeypatch.setattr(my_retrieval, "said", set())
    run_cell(IMPORTS, COSINES, CHECK_COSINES, CHECK_COSINES)
    out = capsys.readouterr().out
    assert out.count("my_retrieval.py is written in the exercises' folder only") == 1
    assert "KEEP" in out and list(Path.cwd().iterdir()) == []
    run_cell("KEEP = '.'", CHECK_COSINES)
    assert COSINES in Path("my_retrieval.py").read_text()


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize("folder", ["solutions", "exercises"])
def test_a_solution_writes_nothing_and_says_nothing(
    clone: Path,
    run_cell: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    folder: str,
) -> None:
    monkeypatch.chdir(clone / folder)
    marked = COSINES.replace("    return", "    ### BEGIN SOLUTION\n    return") + (
        "\n    ### END SOLUTION"
    )
    run_cell(IMPORTS, marked, CHECK_COSINES)
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert [path.suffix for path in Path.cwd().iterdir()] == [".ipynb"]


def test_the_command_and_the_cell_list_what_is_missing(
    engine: Path, run_cell: Run, capsys: pytest.CaptureFixture
) -> None:
    run_cell(IMPORTS, COSINES, CHECK_COSINES)
    capsys.readouterr()
    run_cell("from mmret_lib.checks.my_retrieval import show_engine\nshow_engine()")
    shown = capsys.readouterr().out
    line = engine.read_text().splitlines().index(COSINES.splitlines()[0]) + 1
    assert f"04_triplet_losses: cosine_similarity_matrix (line {line})" in shown
    assert "04_triplet_losses, missing: sum_triplet (task 2), max_triplet (task 3)" in shown
    assert "from my_retrieval import cosine_similarity_matrix" in shown
    main(["engine"])
    assert capsys.readouterr().out == shown
    main(["engine", str(engine)])
    assert capsys.readouterr().out == shown
    with pytest.raises(SystemExit):
        main(["engine", str(engine.parent / "none.py")])
    assert "there is no file" in capsys.readouterr().err
