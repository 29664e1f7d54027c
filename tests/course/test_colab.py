"""What Colab's image lacks: no notebook and no module of the library may need it.

`make colab` runs every notebook with the versions of the image. These tests take seconds.
"""

import ast
import json
import os
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from conftest import script
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import v4
from on_colab.sitecustomize import ALSO, HIDDEN, canonical, read_image
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
ON_COLAB = ROOT / "tests" / "on_colab"
NOTEBOOKS = [
    file
    for folder in ("notebooks", "exercises", "solutions")
    for file in sorted((ROOT / folder).glob("*.ipynb"))
]
OPTIONAL = {"tyro", "faiss", "pymilvus", "voila", "nbval", "jupyterlab", "pillow_heif"}


def needs(code: str) -> set[str]:
    """Modules that a cell imports outside a `try`, with their full names."""
    tree = ast.parse(TransformerManager().transform_cell(code))
    tried = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found: set[str] = set()
    for node in set(ast.walk(tree)) - tried:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def modules_on_colab() -> set[str]:
    """Of the modules that can be imported here, the top-level ones that Colab has."""
    image = read_image()
    return set(sys.stdlib_module_names) | {
        module
        for module, owners in metadata.packages_distributions().items()
        if any(canonical(owner) in image for owner in owners)
    }


def problems(code: str) -> list[str]:
    """What a cell needs and Colab lacks."""
    modules = needs(code)
    tops = {module.partition(".")[0] for module in modules} - {"mmret_lib"}
    found = [f"{top} is not in Colab's image" for top in sorted(tops - modules_on_colab())]
    if any(module.split(".")[:2] == ["mmret_lib", "cli"] for module in modules):
        found.append("mmret_lib.cli needs tyro; call the library")
    if any(line.lstrip().startswith(("!mmret", "!python -m mmret")) for line in code.splitlines()):
        found.append("the command mmret needs tyro; call the library")
    return found


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_notebook_imports_nothing_that_colab_lacks(file: Path) -> None:
    cells = nbformat.read(file, as_version=4).cells
    code = {cell.id: cell.source for cell in cells if cell.cell_type == "code"}
    assert {name: found for name, source in code.items() if (found := problems(source))} == {}


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import json, torch, PIL.Image", []),
        ("import tyro", ["tyro is not in Colab's image"]),
        ("def f():\n    from faiss import IndexFlat", ["faiss is not in Colab's image"]),
        ("try:\n    import faiss\nexcept ImportError:\n    faiss = None", []),
        ("from mmret_lib.cli import main", ["mmret_lib.cli needs tyro; call the library"]),
        ("from mmret_lib import cli", ["mmret_lib.cli needs tyro; call the library"]),
        ("!mmret demo", ["the command mmret needs tyro; call the library"]),
        ("import no_such_module_anywhere", ["no_such_module_anywhere is not in Colab's image"]),
    ],
)
def test_each_lack_is_found(code: str, problem: list[str]) -> None:
    assert problems(code) == problem


# ---------------------------------------------------------------------------------------------
# The library, and the runner of `make colab`, where everything else is hidden


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Variables that hide what Colab lacks, but not what newer versions than Colab's want."""
    known, unread = set(), [name for name in read_image() if name in {"ipykernel", "ipywidgets"}]
    project = metadata.requires("mmret") or []
    unread += [canonical(Requirement(line).name) for line in project if "extra ==" not in line]
    unread.remove("tyro")
    while unread:
        name = unread.pop()
        if name not in known:
            known.add(name)
            lines = [Requirement(line) for line in metadata.requires(name) or []]
            unread += [
                canonical(one.name)
                for one in lines
                if not one.marker or one.marker.evaluate({"extra": ""})
            ]
    return {ALSO: " ".join(sorted(known)), "PYTHONPATH": str(ON_COLAB)}


LIBRARY = """
import json, sys
from importlib import import_module, metadata, util

sys.path.insert(0, sys.argv[1])
failed = {}
for name in sys.argv[2].split():
    try:
        import_module(name)
    except (ImportError, SystemExit) as error:
        failed[name] = str(error)
there = [name for name in sys.argv[3:] if util.find_spec(name)]
known = [name for name in ("tyro", "faiss-cpu", "mmret") if list(metadata.distributions(name=name))]
print(json.dumps([failed, there, known, sys.modules["mmret_lib"].__file__]))
"""


def run(code: str, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != HIDDEN}
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env=inherited | environment,
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_library_is_imported_without_what_colab_lacks(environment: dict[str, str]) -> None:
    files = [file.relative_to(ROOT) for file in sorted((ROOT / "mmret_lib").rglob("*.py"))]
    modules = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]
    asked = [name for name in modules if not name.endswith("__main__")]
    done = run(LIBRARY, environment, str(ROOT), " ".join(asked), *sorted(OPTIONAL))
    assert done.returncode == 0, done.stderr
    failed, there, known, file = json.loads(done.stdout.splitlines()[-1])
    lacking = {name for name in asked if f"{name}.".startswith("mmret_lib.cli.")}
    assert (set(failed) - lacking, there, known) == (set(), [], [])
    assert failed["mmret_lib.cli"] == "mmret: the command line needs tyro: pip install tyro"
    assert Path(file).parents[1] == ROOT


@pytest.mark.slow
def test_processes_that_a_lesson_starts_see_no_more(environment: dict[str, str]) -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import tyro'])"
    done = run(child, environment)
    assert "ModuleNotFoundError: No module named 'tyro'" in done.stderr


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "notebooks")
    for name, value in {**environment, "MMRET_CACHE": os.environ["MMRET_CACHE"]}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(HIDDEN, raising=False)
    return script("notebooks/colab.py")


@pytest.mark.slow
def test_a_notebook_is_run_from_its_set_up_cell_on(colab: ModuleType, tmp_path: Path) -> None:
    course = tmp_path / "course"
    (course / "mmret_lib").mkdir(parents=True)
    (course / "mmret_lib" / "__init__.py").write_text("CLONED = True\n")
    (course / "notebooks").mkdir()
    (course / "notebooks" / "README.md").write_text("Lessons\n")
    colab.git(tmp_path, "init", "--quiet", str(course))
    colab.git(course, "add", "--all")
    author = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    colab.git(course, *author, "commit", "--quiet", "--message", "A")

    def try_out(folder: str, *sources: str) -> list[str]:
        cells = [v4.new_markdown_cell("# Tiny", id="title"), v4.new_code_cell("", id="setup")]
        cells += [v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
        (tmp_path / folder).mkdir(exist_ok=True)
        nbformat.write(v4.new_notebook(cells=cells), file := tmp_path / folder / "tiny.ipynb")
        ran = colab.run_on_colab(file, course, 60)
        return [output.get("text", "") for cell in ran.cells[3:] for output in cell.outputs]

    where = "import os, mmret_lib\nprint(mmret_lib.CLONED, os.path.basename(os.getcwd()))"
    stub = "raise NotImplementedError"
    assert try_out("exercises", where, stub) == ["True notebooks\n", ""]
    with pytest.raises(colab.LessonError, match="cell 'c0': ZeroDivisionError"):
        try_out("exercises", "1 / 0")
    lacks = r"^lessons/tiny.ipynb, cell 'c0': .*No module named 'tyro'; Colab's image does not"
    with pytest.raises(colab.LessonError, match=lacks):
        try_out("lessons", "import tyro")
    with pytest.raises(colab.LessonError, match="cell 'c0': NotImplementedError"):
        try_out("lessons", stub)
