"""Execute the lessons and the solutions in clean kernels, and store their outputs.

    python notebooks/execute.py              all of them, in order: `make notebooks`
    python notebooks/execute.py 04 solutions those whose path contains one of the words
    python notebooks/execute.py --fresh 04   store every output anew, also the ones that vary
    python notebooks/execute.py --check      compare with what is stored, by nbval: `make test`

A notebook is stored in one form, so that a second run changes nothing: without timings, versions
and widget states; its badge and set-up cell come from the repository's address in pyproject.toml.
All stored outputs of a notebook come from one execution: the old ones stay, all of them, where the
code is the same and the new ones differ only in what varies from run to run (a figure's pixels, and
all outputs of a cell tagged `nbval-ignore-output`); otherwise all are stored anew. A notebook in
which a cell fails stays as it was.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from mmret_lib.files.whole import write_text

ROOT = Path(__file__).resolve().parents[1]
CELL_SECONDS = 900  # a lesson takes 90 in all on two free cores; this is for a loaded machine
IGNORED = "nbval-ignore-output"
WIDGET = "application/vnd.jupyter.widget-view+json"
PROGRESS = re.compile(r"\d+%\|")  # how a bar of tqdm's prints itself

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REPOSITORY = PROJECT["project"]["urls"]["Repository"]
BRANCH = PROJECT["tool"]["mmret"]["branch"]  # or a tag; notebooks/address.py writes both
NAME = REPOSITORY.rsplit("/", 1)[1]
CLONE = "git clone --quiet --depth 1" + ("" if BRANCH == "main" else f" --branch {BRANCH}")

# Absolute, so that running the cell twice makes no clone inside the clone. Nothing is installed:
# Colab's image has all that mmret_lib imports, and an install could replace a package in use.
SETUP = f"""\
# On Colab this fetches the course; elsewhere it does nothing. It installs and replaces nothing.
import os
import sys

if "google.colab" in sys.modules:
    if not os.path.exists("/content/{NAME}"):
        !{CLONE} {REPOSITORY} /content/{NAME}
    %cd -q /content/{NAME}/notebooks
    sys.path.insert(0, "/content/{NAME}")"""

# No progress bars and no advice in stored outputs, and no requests to the Hugging Face hub.
QUIET = {
    "TQDM_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


class LessonError(Exception):
    """A cell failed, or no notebook was found; the message says which and why."""


def badge(file: Path) -> str:
    """The Markdown line with a link that opens the notebook on Colab."""
    place = file.resolve().relative_to(ROOT).as_posix()
    path = REPOSITORY.removeprefix("https://github.com/")
    return (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{path}/blob/{BRANCH}/{place})"
    )


def fill(notebook: NotebookNode, file: Path) -> None:
    """Write the badge below the title, and the code of the set-up cell, in place."""
    opening = notebook.cells[0]
    lines = [line for line in opening.source.split("\n") if not line.startswith("[![Open in Colab")]
    rest = "\n".join(lines[1:]).strip("\n")
    if file.resolve().is_relative_to(ROOT):  # elsewhere, as in a test, nothing can open it
        opening.source = f"{lines[0]}\n\n{badge(file)}\n\n{rest}".rstrip("\n")
    for cell in notebook.cells:
        if cell.id == "setup":
            cell.source = SETUP


def code_so_far(notebook: NotebookNode) -> dict[str, str]:
    """For the id of each code cell, a digest of all code up to and including it."""
    digest, digests = hashlib.sha256(), {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            digest.update(cell.source.encode() + b"\0")
            digests[cell.id] = digest.hexdigest()[:16]
    return digests


def texts(outputs: list[NotebookNode]) -> list[dict[str, object]]:
    """What nbval compares of a cell's outputs: everything but pictures."""
    return [
        {"text": output.get("text", "")}
        | {
            kind: content
            for kind, content in output.get("data", {}).items()
            if not kind.startswith("image/")
        }
        for output in outputs
    ]


def tidy(notebook: NotebookNode) -> None:
    """Bring outputs and metadata into the form in which they are stored, in place."""
    for cell in notebook.cells:
        kept = [key for key in ("tags", "nbgrader", "slideshow") if key in cell.metadata]
        cell.metadata = NotebookNode({key: cell.metadata[key] for key in kept})
        if cell.cell_type != "code":
            continue
        merged: list[NotebookNode] = []
        for output in cell.outputs:
            output.pop("transient", None)
            if output.output_type == "stream" and merged and merged[-1].get("name") == output.name:
                merged[-1].text += output.text
                continue
            # A widget's view is lost without its kernel, and its printed form is of one version.
            if output.get("data", {}).pop(WIDGET, None) is not None:
                cell.metadata.tags = sorted({*cell.metadata.get("tags", []), IGNORED})
                if PROGRESS.search(output.data["text/plain"]):
                    continue
                if not output.data.keys() & {"text/html", "image/png"}:  # nothing else to see
                    output.data["text/plain"] = "(run this cell to use what it shows)"
            output.pop("metadata", None)
            if output.output_type != "stream":
                output.metadata = NotebookNode()
            merged.append(output)
        cell.outputs = merged
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
        executed=code_so_far(notebook),
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5


def keep_outputs(notebook: NotebookNode, before: NotebookNode) -> None:
    """Put back, in place, all outputs of `before` if nothing but what varies is different.

    All outputs or none: two prints of one model that come from two executions can contradict each
    other. So the outputs of `before` are kept only if all code is what it was and every cell
    without the tag still says what it said.
    """
    earlier = {cell.id: cell for cell in before.cells if cell.cell_type == "code"}
    if before.metadata.get("executed", {}) != code_so_far(notebook):
        return
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        old = earlier[cell.id]
        ignored = IGNORED in cell.metadata.get("tags", []) and bool(old.outputs)
        if not ignored and texts(old.outputs) != texts(cell.outputs):
            return
    for cell in cells:
        cell.outputs = earlier[cell.id].outputs


def run_cells(
    notebook: NotebookNode,
    name: str,
    folder: Path,
    cell_seconds: float = CELL_SECONDS,
    **options: object,
) -> None:
    """Run all cells in a clean kernel that starts in a folder; the outputs go into the notebook.

    Args:
        name: what messages call the notebook.
        options: further traits of nbclient's `NotebookClient`.

    Raises:
        LessonError: a cell failed or took too long, or the kernel died.
    """
    current: list[str] = []
    client = NotebookClient(
        notebook,
        timeout=cell_seconds,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],
        on_cell_start=lambda cell, cell_index: current.append(cell.id),
        **options,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        problem = f"{error.ename}: {error.evalue}"
        raise LessonError(f"{name}, cell {current[-1]!r}: {problem}") from error
    except CellTimeoutError as error:
        problem = f"not done after {cell_seconds:g} seconds"
        raise LessonError(f"{name}, cell {current[-1]!r}: {problem}") from error
    except DeadKernelError as error:
        raise LessonError(f"{name}, cell {current[-1]!r}: the kernel died") from error


def execute(file: Path, *, fresh: bool = False, cell_seconds: float = CELL_SECONDS) -> bool:
    """Execute one notebook and store it.

    Returns:
        Whether its file changed.

    Raises:
        LessonError: a cell failed or took too long, or the kernel died; the file is as it was.
    """
    stored = file.read_text(encoding="utf-8")
    before = nbformat.reads(stored, as_version=4)
    notebook = nbformat.reads(stored, as_version=4)
    fill(notebook, file)
    run_cells(notebook, file.name, file.parent, cell_seconds)
    tidy(notebook)
    if not fresh:
        keep_outputs(notebook, before)
    nbformat.validate(notebook)
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if text == stored:
        return False
    write_text(file, text)
    return True


def chosen(words: list[str], folders: tuple[str, ...] = ("notebooks", "solutions")) -> list[Path]:
    """The lessons, then the solutions; given words, those whose path contains one of them."""
    files = [file for folder in folders for file in sorted((ROOT / folder).glob("*.ipynb"))]
    if not words:
        return files
    names = [Path(word).resolve() if word.endswith(".ipynb") else word for word in words]
    found = [
        file
        for file in files
        if any(file == w or str(w) in file.relative_to(ROOT).as_posix() for w in names)
    ]
    if not found:
        raise LessonError(f"no notebook's path holds {' or '.join(words)}")
    return found


def check(files: list[Path], workers: int) -> int:
    """Compare outputs with the stored ones by nbval; 0 where all that should be the same is."""
    if not files:
        return 0
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env"]
    command += ["--nbval-cell-timeout", str(CELL_SECONDS), "--durations", "10"]
    command += ["-n", str(workers), "--dist", "loadscope"] if workers > 1 else []
    return subprocess.run([*command, *map(str, files)], cwd=ROOT).returncode


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Execute the lessons and keep what came out.")
    parser.add_argument("only", nargs="*", help="parts of paths, such as 04; all if none is given")
    parser.add_argument("--fresh", action="store_true", help="store every output anew")
    parser.add_argument("--check", action="store_true", help="change nothing, compare by nbval")
    parser.add_argument("--workers", type=int, default=2, help="processes of --check")
    asked = parser.parse_args(arguments)
    os.environ.update(QUIET)
    # Kernels side by side take a core each; alone, one may take them all.
    if asked.check and asked.workers > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        files = chosen(asked.only)
        # The built-in world is drawn anew, so that no output depends on an earlier run.
        with tempfile.TemporaryDirectory(prefix="mmret-lessons-") as cache:
            os.environ["MMRET_CACHE"] = cache
            if asked.check:
                return check(files, asked.workers)
            for file in files:
                began = time.perf_counter()
                changed = execute(file, fresh=asked.fresh)
                seconds = time.perf_counter() - began
                print(f"{file.name}: {seconds:.0f} s, {'stored' if changed else 'unchanged'}")
    except LessonError as error:
        print(re.sub("\x1b\\[[0-9;]*m", "", str(error)), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
