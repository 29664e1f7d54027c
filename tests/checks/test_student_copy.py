"""A student's copy of the course: what is not in it, and that it works."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from conftest import script

ROOT = Path(__file__).resolve().parents[2]
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)
REPOSITORY = "https://github.com/university/retrieval-2026"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return script("exercises/student_copy.py")


@pytest.fixture(scope="module")
def copy(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("term") / "retrieval"
    assert tool.main([str(out), "--repository", REPOSITORY, "--branch", "week-1"]) == 0
    return out


def code_lines(text: str) -> list[str]:
    """The lines that say something, without comments and indentation."""
    bare = [line.split("  #")[0].strip() for line in text.splitlines()]
    return [line for line in bare if line and not line.startswith("#")]


def answers() -> dict[str, str]:
    """For each answer of the solutions, its code."""
    found = {}
    for file in sorted((ROOT / "solutions").glob("*.ipynb")):
        for cell in nbformat.read(file, as_version=4).cells:
            if match := SOLUTION.search(cell.source):
                found[f"{file.stem}/{cell.id}"] = "\n".join(code_lines(match[1]))
    return found


def test_no_solution_no_answer_and_no_key_is_in_it(copy: Path) -> None:
    names = {file.relative_to(copy).as_posix() for file in copy.rglob("*")}
    gone = ("solutions", "tests", "docs", ".github", "exercises/ANSWERS.md")
    assert not names & {*gone, "exercises/INSTRUCTORS.md", "exercises/generate.py"}
    assert {
        "README.md",
        "Makefile",
        "exercises/README.md",
        "exercises/scoreboard.py",
        "mmret_lib/checks",
    } <= names
    for file in copy.rglob("*.md"):
        assert not re.search(r"instructors[\[\]]|nbgrader", file.read_text(encoding="utf-8")), file


def test_no_answer_stands_in_it_word_for_word(copy: Path) -> None:
    """Whole answers of three lines and more; shorter ones are often the library's own line."""
    texts = {}
    for file in copy.rglob("*.py"):
        texts[file] = "\n".join(code_lines(file.read_text(encoding="utf-8")))
    for file in copy.rglob("*.ipynb"):
        cells = nbformat.read(file, as_version=4).cells
        texts[file] = "\n".join("\n".join(code_lines(cell.source)) for cell in cells)
    found = [
        (name, file.relative_to(copy).as_posix())
        for name, answer in answers().items()
        if answer.count("\n") >= 2
        for file, text in texts.items()
        if answer in text
    ]
    assert found == []


def test_every_link_leads_somewhere(copy: Path) -> None:
    texts = {file: file.read_text(encoding="utf-8") for file in copy.rglob("*.md")}
    for file in copy.rglob("*.ipynb"):
        cells = nbformat.read(file, as_version=4).cells
        texts[file] = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for file, text in texts.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            target = link.split("#")[0]
            assert not target or "://" in target or (file.parent / target).exists(), (file, link)


def test_the_makefile_has_no_target_that_needs_what_is_gone(copy: Path) -> None:
    makefile = (copy / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert targets == {"help", "demo", "lab", "app", "slides", "notebooks", "clean"}
    assert not re.search(r"tests/|student_copy|generate\.py", makefile)


def test_badges_and_set_up_cells_open_the_terms_repository(copy: Path) -> None:
    place = "university/retrieval-2026/blob/week-1"
    for file in copy.glob("*/[0-9]*.ipynb"):
        cells = {cell.id: cell.source for cell in nbformat.read(file, as_version=4).cells}
        assert f"{place}/{file.parent.name}/{file.name})" in next(iter(cells.values()))
        clone = f"--depth 1 --branch week-1 {REPOSITORY} /content/retrieval-2026\n"
        assert clone in cells["setup"]


CHECKED = """
import mmret_lib, sys
from pathlib import Path
assert Path(mmret_lib.__file__).is_relative_to(sys.argv[1]), mmret_lib.__file__
import torch
import torch.nn.functional as F
from torch import Tensor
from mmret_lib import checks
{answer}
checks.triplet_losses.check_cosine_similarity_matrix(cosine_similarity_matrix)
"""


@pytest.mark.slow
def test_a_check_runs_in_it(copy: Path, tmp_path: Path) -> None:
    right = "def cosine_similarity_matrix(image_emb, text_emb):\n"
    right += "    return F.normalize(image_emb) @ F.normalize(text_emb).T"
    environ = os.environ | {"PYTHONPATH": str(copy), "MMRET_ENGINE": str(tmp_path / "mine.py")}
    for answer, words in ((right, "right."), (right.removesuffix(".T"), "CheckFailed")):
        command = [sys.executable, "-c", CHECKED.format(answer=answer), str(copy)]
        done = subprocess.run(command, env=environ, cwd=copy, capture_output=True, text=True)
        assert words in done.stdout + done.stderr


def test_a_folder_with_files_is_refused(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert tool.main([str(tmp_path)]) == 1
    assert "notes.txt" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    for inside in ("", str(ROOT / "copy")):
        assert tool.main([inside]) == 1
        assert "outside of the course" in capsys.readouterr().err
    assert not (ROOT / "copy").exists()


def test_it_is_whole_or_not_there(tool: ModuleType, tmp_path: Path) -> None:
    assert tool.main([str(tmp_path / "a"), "--repository", "not an address"]) == 1
    assert list(tmp_path.iterdir()) == []


def test_words_of_dangling_links_stay(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("")
    text = "[a](there.md#x) [b](gone/) ![p](gone.png) [c](https://gone) [d](#here)"
    assert tool.without_dangling(text, tmp_path) == text.replace("[b](gone/)", "b")
