"""Run lessons, exercises and solutions as they would run on Colab: `make colab`.

    python notebooks/colab.py               all of them
    python notebooks/colab.py 04 solutions  those whose path contains one of the words

Each begins as its badge does on a new machine: an empty folder in the place of /content, an empty
cache, and the set-up cell, which clones the course from here instead of GitHub. Packages have the
versions of Colab's image (tests/colab.txt), and those that it does not hold are hidden
(tests/on_colab). Nothing is stored. An exercise may stop where its student has to write something,
and nowhere else. What this cannot show: a GPU, Google Drive, the model hub, Colab's own widgets.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import nbformat
from execute import NAME, QUIET, REPOSITORY, ROOT, LessonError, chosen, fill, run_cells
from nbformat import NotebookNode, v4

ON_COLAB = ROOT / "tests" / "on_colab"
sys.path.insert(0, str(ON_COLAB.parent))
from on_colab.sitecustomize import canonical, read_image  # noqa: E402

# The registry's torch brings other libraries of Nvidia's than Colab's torch does.
OF_NVIDIA = re.compile(r"nvidia-|cuda-")
COLAB_MODULE = """\
import sys
from importlib.util import module_from_spec, spec_from_loader

sys.modules["google.colab"] = module_from_spec(spec_from_loader("google.colab", None))"""
STUB = "NotImplementedError"
MISSING = "; Colab's image does not hold it (tests/colab.txt), so the lesson must do without"


def other_versions() -> list[str]:
    """Installed packages that have another version than in the image, with both versions."""
    image = read_image()
    found = []
    for one in metadata.distributions():
        name, version = canonical(one.metadata["Name"]), one.version.partition("+")[0]
        wanted = image.get(name) or version
        if version != wanted and not OF_NVIDIA.match(name):
            found.append(f"{name} {version}, not {wanted}")
    return sorted(found)


def git(folder: Path, *words: str) -> str:
    """What git prints."""
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit_all(repository: Path) -> None:
    """Make a repository of what this clone would hold if all changes were committed."""
    git(ROOT, "init", "--quiet", str(repository))
    names = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            (repository / name).write_bytes((ROOT / name).read_bytes())
    git(repository, "add", "--all", "--force")
    author = ["-c", "user.name=mmret", "-c", "user.email=mmret@localhost"]
    git(repository, *author, "commit", "--quiet", "--message", "As it is here")


def on_colab(file: Path, content: Path, repository: Path) -> NotebookNode:
    """The notebook as Colab opens it, but for where the course and /content are."""
    notebook = nbformat.read(file, as_version=4)
    fill(notebook, file)
    [setup] = [cell for cell in notebook.cells if cell.id == "setup"]
    assert REPOSITORY in setup.source and "/content" in setup.source
    setup.source = setup.source.replace(REPOSITORY, repository.as_uri())
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = cell.source.replace("/content", str(content))
    notebook.cells.insert(0, v4.new_code_cell(COLAB_MODULE, id="colab"))
    return notebook


def errors_in(notebook: NotebookNode) -> list[tuple[NotebookNode, NotebookNode]]:
    """Each output that is an error, after its cell."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [(cell, out) for cell in code for out in cell.outputs if out.output_type == "error"]


def run_on_colab(file: Path, repository: Path, cell_seconds: float = 900) -> NotebookNode:
    """Run one notebook on a new machine, as it were.

    Raises:
        LessonError: a cell failed, or the course did not come from the clone.
    """
    name = f"{file.parent.name}/{file.name}"
    is_exercise = file.parent.name == "exercises"
    with tempfile.TemporaryDirectory(prefix="mmret-colab-") as folder:
        content = Path(folder, "content")
        content.mkdir()
        os.environ["MMRET_CACHE"] = str(Path(folder, "cache"))
        notebook = on_colab(file, content, repository)
        try:
            run_cells(notebook, name, content, cell_seconds, allow_errors=is_exercise)
        except LessonError as error:
            hint = MISSING if "No module named" in str(error) else ""
            raise LessonError(f"{error}{hint}") from error
        for cell, error in errors_in(notebook):
            if error.ename != STUB:
                raise LessonError(f"{name}, cell {cell.id!r}: {error.ename}: {error.evalue}")
        if not (content / NAME / "mmret_lib").is_dir():
            raise LessonError(f"{name}: its set-up cell fetched nothing")
    return notebook


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the lessons as they would run on Colab.")
    parser.add_argument("only", nargs="*", help="parts of paths, such as 04; all if none is given")
    asked = parser.parse_args()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "ipywidgets"))
    print(f"Python {platform.python_version()} (Colab has 3.13), {versions}")
    if others := other_versions():
        print("not Colab's versions:", "; ".join(others[:5]), "...: `make colab` installs these")
        return 1
    os.environ.update(QUIET, PYTHONPATH=str(ON_COLAB))
    del os.environ["TQDM_DISABLE"]  # students see the bars, made of widgets
    failed = 0
    with tempfile.TemporaryDirectory(prefix="mmret-course-") as repository:
        commit_all(Path(repository))
        for file in chosen(asked.only, ("notebooks", "exercises", "solutions")):
            began = time.perf_counter()
            try:
                notebook = run_on_colab(file, Path(repository))
            except LessonError as error:
                print(re.sub("\x1b\\[[0-9;]*m", "", str(error)), file=sys.stderr, flush=True)
                failed += 1
                continue
            stubs = len(errors_in(notebook))
            to_write = f", {stubs} cells wait for their student" if stubs else ""
            seconds = time.perf_counter() - began
            print(f"{file.parent.name}/{file.name}: {seconds:.0f} s{to_write}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
