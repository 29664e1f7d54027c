"""The exercises as students open them, and as nbgrader marks them."""

import ast
import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from questions import unanswered

from mmret_lib.checks.writing.lessons import LESSONS, tasks

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = sorted((ROOT / "solutions").glob("*.ipynb"))
EXERCISES = sorted((ROOT / "exercises").glob("*.ipynb"))

# The functions that students write. Their names and arguments are fixed: other code calls them.
SIGNATURES = {
    "00_tour": [
        "top_k(query_emb, emb, k)",
        "recall_at_1(image_emb, text_emb)",
        "train_heads(image_features, text_features, loss, steps, lr, seed)",
    ],
    "01_data_pipeline": [
        "read_captions(annotations)",
        "one_caption_each(owner, generator)",
        "pad(token_lists, pad_id)",
        "normalise(images_uint8, mean, std)",
        "batches(n, batch_size, seed, epoch)",
    ],
    "02_image_branch": [
        "conv2d(images, weight, padding)",
        "basic_block(x, conv1, bn1, conv2, bn2, shortcut=None)",
        "global_pool(maps)",
        "receptive_field(layers)",
    ],
    "03_text_branch": [
        "attention(q, k, v, mask)",
        "masked_mean(states, mask)",
        "distillation_loss(student_logits, teacher_logits, temperature)",
        "word_pieces(word, vocabulary)",
    ],
    "04_triplet_losses": [
        "cosine_similarity_matrix(image_emb, text_emb)",
        "sum_triplet(image_emb, text_emb, margin=0.2)",
        "max_triplet(image_emb, text_emb, margin=0.2)",
        "masked_max_triplet(image_emb, text_emb, image_ids, caption_ids, margin=0.2)",
        "negative_weights(direction, similarity)",
        "semi_hard_triplet(image_emb, text_emb, margin=0.2)",
    ],
    "05_simclr": [
        "log_sum_exp(x, dim)",
        "simclr(image_emb, text_emb, temperature=0.07)",
        "info_nce(image_emb, text_emb, temperature=0.07)",
        "simclr_weights(similarity, temperature)",
        "temperature_gradient(similarity, temperature)",
    ],
    "06_barlow_twins": [
        "standardise(emb, eps=1e-5)",
        "cross_correlation(image_emb, text_emb)",
        "barlow_twins(image_emb, text_emb, lambda_)",
        "hidden_pairs(image_emb, text_emb)",
        "running_standardiser(batches, momentum)",
    ],
    "07_training_loop": [
        "rate(step, warmup, milestones, gamma)",
        "parameter_groups(model, lr, backbone_lr, weight_decay)",
        "train_step(image_head, text_head, batch, loss, optimizer, clip)",
        "save_state(path, model, optimizer, step, generator)",
        "load_state(path, model, optimizer, generator)",
    ],
    "08_metrics": [
        "ranks(scores, owner)",
        "recall_at_k(better, tied, k)",
        "median_rank(ranks)",
        "bootstrap_interval(values, generator, level)",
        "judged_recall(scores, right, k)",
    ],
    "09_qualitative": [
        "hubness(similarity, k)",
        "modality_gap(image_emb, text_emb)",
        "principal_plane(emb)",
        "right_answers(captions_scene, scenes)",
    ],
    "10_experiments": [
        "paired_p(first, second, generator)",
        "choose(validation, test)",
        "ratio_interval(first, second, generator)",
    ],
    "12_big_batches": [
        "cached_gradients(branches, loss, batch, piece)",
        "log_sum_exp_in_tiles(a, b, temperature, tile)",
        "all_gather_loss(parts, loss)",
        "cells(vectors, k, steps, seed)",
        "search_cells(query, vectors, centres, assigned, probes, k)",
    ],
    "13_extensions": [
        "learnable_temperature(start, low, high)",
        "within_branch(emb, other_view, temperature)",
        "zero_shot(image_emb, prompt_emb, owner)",
    ],
    "14_atlas": [
        "margin_softmax(image_emb, text_emb, margin=0.2, temperature=0.05)",
        "top_k_triplet(image_emb, text_emb, k=8, margin=0.2)",
        "siglip(image_emb, text_emb, scale, bias)",
        "smooth_ap(image_emb, text_emb, temperature=0.01)",
        "shares(loss, similarity)",
    ],
}
DIFFICULTY = r"^Difficulty: ([●○]{5}) \((\d) of 5\) · about (\d+) minutes · (\d+) points?$"
HINTS = ("Hint 1: where to look", "Hint 2: which operation", "Hint 3: nearly the line")

CAPSTONE = ROOT / "solutions" / "15_your_engine.ipynb"  # it has no tasks: see test_your_engine.py
WITH_TASKS = [file for file in SOLUTIONS if file != CAPSTONE]

every = pytest.mark.parametrize("solution", SOLUTIONS, ids=lambda file: file.stem)
by_name = pytest.mark.parametrize("solution", WITH_TASKS, ids=lambda file: file.stem)


def exercise_of(solution: Path) -> Path:
    return ROOT / "exercises" / solution.name


def cells(file: Path) -> dict[str, NotebookNode]:
    return {cell.id: cell for cell in nbformat.read(file, as_version=4).cells}


def points_of(solution: Path) -> dict[str, int]:
    """The points of each check, by the cell's id."""
    nbgrader = {name: cell.metadata.get("nbgrader", {}) for name, cell in cells(solution).items()}
    return {name: marks["points"] for name, marks in nbgrader.items() if marks.get("grade")}


# ---------------------------------------------------------------------------------------------
# Generated from the solutions


def test_every_exercise_has_a_solution() -> None:
    assert [file.name for file in EXERCISES] == [file.name for file in SOLUTIONS] != []
    assert [file.stem for file in WITH_TASKS] == list(LESSONS) == list(SIGNATURES)


@every
def test_the_exercise_is_what_its_solution_makes(solution: Path, generator: ModuleType) -> None:
    target = exercise_of(solution)
    made = generator.exercise(nbformat.read(solution, as_version=4), target)
    assert target.read_text(encoding="utf-8") == made, "run `make exercises`"


def test_the_readme_has_the_table_that_the_solutions_make(generator: ModuleType) -> None:
    text = (ROOT / "exercises" / "README.md").read_text(encoding="utf-8")
    assert generator.with_table(text) == text, "run `make exercises`"
    assert text.count(".ipynb) |") == len(SOLUTIONS)
    assert generator.with_table(text.replace("| minutes |", "| hours |")) == text


@by_name
@pytest.mark.parametrize("part", ["prose", "answer", "check"])
def test_drift_would_be_seen(solution: Path, part: str, generator: ModuleType) -> None:
    """What is changed in a solution changes its exercise; in an answer, outside the markers."""
    notebook = nbformat.read(solution, as_version=4)
    cell = {
        "prose": next(cell for cell in notebook.cells if cell.id == "task-1"),
        "answer": next(cell for cell in notebook.cells if cell.id == "answer-1"),
        "check": next(cell for cell in notebook.cells if cell.id == "check-1"),
    }[part]
    cell.source = f"# {cell.source}"
    target = exercise_of(solution)
    assert target.read_text(encoding="utf-8") != generator.exercise(notebook, target)


@every
def test_the_exercise_opens_itself_and_gives_nothing_away(solution: Path, tool: ModuleType) -> None:
    target = exercise_of(solution)
    notebook = nbformat.read(target, as_version=4)
    nbformat.validate(notebook)
    opening = notebook.cells[0].source.split("\n")
    assert tool.badge(target) in opening
    assert f"exercises/{target.name}" in tool.badge(target)
    assert cells(target)["setup"].source == tool.SETUP
    assert "SOLUTION" not in target.read_text(encoding="utf-8")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


def stubs(file: Path) -> dict[str, ast.FunctionDef]:
    """The functions to write, by their cells."""
    found = {}
    for name, cell in cells(file).items():
        if re.fullmatch(r"answer-\d+", name):
            [found[name]] = [
                node for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)
            ]
    return found


def numbers(file: Path) -> list[int]:
    names = [name for name in cells(file) if name.startswith("task-")]
    return [int(name.removeprefix("task-")) for name in names]


@by_name
def test_every_task_says_what_is_wanted(solution: Path) -> None:
    target, points, minutes = exercise_of(solution), points_of(solution), 0
    of, written = cells(target), stubs(target)
    assert numbers(target) == list(range(1, len(written) + 1))
    assert 3 <= len(written) <= 6
    for number in numbers(target):
        text, stub = of[f"task-{number}"].source, of[f"answer-{number}"].source
        assert text.startswith(f"## Task {number}. ")
        [said] = re.findall(
            r"^Difficulty: ([●○]{5}) \((\d) of 5\) · about (\d+) minutes · (\d+) points?$",
            text,
            re.M,
        )
        assert said[0].count("●") == int(said[1])
        assert int(said[3]) == points[f"check-{number}"]
        minutes += int(said[2])
        docstring = ast.get_docstring(written[f"answer-{number}"]) or ""
        assert "Returns" in docstring and stub.endswith("raise NotImplementedError")
        assert re.search(r"^\s*May use: .+\.$", docstring, re.M), number
        assert re.findall(r"<details>\s*<summary>(.+?)</summary>\n\n", text) == list(HINTS)
        assert text.count("</details>") == len(HINTS)
    assert f"about {minutes} for all" in of["title"].source
    assert f"worth {sum(points.values())} points" in of["how"].source


@by_name
def test_names_and_arguments_are_fixed(solution: Path) -> None:
    found = []
    for name, function in stubs(exercise_of(solution)).items():
        check = cells(solution)[name.replace("answer", "check")].source
        called = f"checks.{solution.stem[3:]}.check_{function.name}({function.name})"
        assert check.split("\n")[-1] == called
        for argument in function.args.args:
            argument.annotation = None
        found.append(f"{function.name}({ast.unparse(function.args)})".replace("1e-05", "1e-5"))
    assert found == SIGNATURES[solution.stem]
    assert [one.split("(")[0] for one in found] == tasks()[solution.stem]


@by_name
def test_it_ends_with_the_file_and_answered_questions(solution: Path) -> None:
    notebook = nbformat.read(exercise_of(solution), as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[-1].source.endswith("show_engine()")
    assert "nbval-ignore-output" in code[-1].metadata["tags"]
    assert not code[-2].id.startswith("check-"), "no payoff before it"
    assert unanswered(notebook) == []


# ---------------------------------------------------------------------------------------------
# Run as it is


@pytest.mark.slow
@by_name
def test_the_unsolved_exercise_fails_only_by_not_being_written(solution: Path) -> None:
    notebook = nbformat.read(exercise_of(solution), as_version=4)
    client = NotebookClient(
        notebook,
        timeout=120,
        allow_errors=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT / "exercises")}},
    )
    client.execute()
    failed = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output.text
            if output.output_type == "error":
                assert output.ename == "NotImplementedError", (cell.id, output.evalue)
                failed[cell.id] = output
    checks = points_of(solution)
    assert checks.keys() <= failed.keys()
    for name in checks:  # one line, and not the way through the library that led to it
        [line] = failed[name].traceback
        assert "is not written yet" in line


# ---------------------------------------------------------------------------------------------
# Marked by nbgrader, by the commands that exercises/README.md has


def submit(course: Path, student: str, notebook: NotebookNode, name: str) -> None:
    folder = course / "submitted" / student / name
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")


def solved(solution: Path, **instead: str) -> NotebookNode:
    """The exercise with the solution's answers filled in, or what `instead` has for a cell."""
    notebook = nbformat.read(exercise_of(solution), as_version=4)
    answers = cells(solution)
    for cell in notebook.cells:
        name = cell.id.replace("-", "_")
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = answers[cell.id].source
        cell.source = instead.get(name, cell.source)
    return notebook


def without(notebook: NotebookNode, *names: str) -> NotebookNode:
    notebook.cells = [cell for cell in notebook.cells if cell.id not in names]
    return notebook


def commands() -> list[list[str]]:
    """The nbgrader commands that exercises/README.md gives to instructors."""
    text = (ROOT / "exercises" / "README.md").read_text(encoding="utf-8")
    return [line.split() for line in re.findall(r"^ *nbgrader (.+?)(?: +#.*)?$", text, re.M)]


DIAGONAL_KEPT = """\
def sum_triplet(image_emb, text_emb, margin=0.2):
    s = cosine_similarity_matrix(image_emb, text_emb)
    ways = [(margin - s.diagonal()[:, None] + way).relu() for way in (s, s.T)]
    return (ways[0].sum(dim=1) + ways[1].sum(dim=1)).mean()"""


@pytest.mark.slow
def test_nbgrader_marks_a_folder_of_submissions(tmp_path: Path) -> None:
    [solution] = [file for file in SOLUTIONS if file.stem == "04_triplet_losses"]
    name = solution.stem
    course = tmp_path / "course"
    (course / "source" / name).mkdir(parents=True)
    shutil.copy(solution, course / "source" / name)
    submit(course, "solved", solved(solution), name)
    submit(course, "empty", nbformat.read(exercise_of(solution), as_version=4), name)
    # One wrong answer, and its check made harmless: grading puts the check back.
    submit(course, "slipped", solved(solution, answer_2=DIAGONAL_KEPT, check_2="pass"), name)
    # Cells that were deleted: grading puts back what is locked.
    submit(course, "deleted", without(solved(solution), "imports", "check-2", "check-3"), name)
    submit(course, "lost", without(solved(solution), "answer-3", "check-3"), name)
    text = (ROOT / "exercises" / "README.md").read_text(encoding="utf-8")
    assert "\ncp exercises/nbgrader_config.py ../course/\n" in text
    shutil.copy(ROOT / "exercises" / "nbgrader_config.py", course)

    environ = os.environ | {  # nothing of the user's own settings
        f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")
    }
    environ["IPYTHONDIR"] = str(tmp_path / "ipython")
    # nbgrader calls alembic by its bare name, which an activated environment has in its PATH.
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    *asked, feedback = commands()
    assert [command[0] for command in asked] == ["generate_assignment", "autograde", "export"]
    assert feedback[0] == "generate_feedback"  # shows what is looked at below, and takes its time
    for command in asked:
        answer = subprocess.run(
            [sys.executable, "-m", "nbgrader", *command],
            cwd=course,
            env=environ,
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stderr[-3000:]

    with open(course / "marks.csv", encoding="utf-8", newline="") as file:
        marks = {row["student_id"]: row for row in csv.DictReader(file)}
    points = points_of(solution)
    assert {float(row["max_score"]) for row in marks.values()} == {sum(points.values())}
    assert {student: float(row["score"]) for student, row in marks.items()} == {
        "solved": sum(points.values()),
        "empty": 0,
        "slipped": sum(points.values()) - points["check-2"],
        "deleted": sum(points.values()),
        "lost": sum(points.values()) - points["check-3"],
    }
    assert not list(course.rglob("my_retrieval*"))
    # The student can read why, in the words of the check.
    marked = cells(course / "autograded" / "slipped" / name / f"{name}.ipynb")["check-2"]
    assert "the diagonal is not left out" in marked.outputs[-1].evalue
