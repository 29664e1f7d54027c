"""The tool that executes and stores the lessons, and what shows the library in them."""

import copy
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode, v4

from mmret_lib.files.errors import MissingFile
from mmret_lib.losses import SimCLR
from mmret_lib.show.lesson import read_results, show_source

ROOT = Path(__file__).resolve().parents[2]


def cell_of(notebook: NotebookNode, name: str) -> NotebookNode:
    [cell] = [cell for cell in notebook.cells if cell.id == name]
    return cell


def tiny(file: Path, *sources: str, tags: dict[int, str] | None = None) -> Path:
    cells = [v4.new_markdown_cell("# Tiny", id="title"), v4.new_code_cell("", id="setup")]
    cells += [
        v4.new_code_cell(
            source,
            id=f"cell-{number}",
            metadata={"tags": [tags[number]]} if tags and number in tags else {},
        )
        for number, source in enumerate(sources)
    ]
    nbformat.write(v4.new_notebook(cells=cells), file)
    return file


CLOCK = "import time\n\nprint(time.time_ns())"


@pytest.mark.slow
def test_a_second_run_changes_nothing_and_changed_code_does(
    tmp_path: Path, tool: ModuleType
) -> None:
    file = tiny(tmp_path / "tiny.ipynb", "x = 1", CLOCK, "x", tags={1: tool.IGNORED})
    assert tool.execute(file)
    first = file.read_bytes()
    assert not tool.execute(file)
    assert file.read_bytes() == first
    stored = nbformat.read(file, as_version=4)
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2, 3, 4]
    assert cell_of(stored, "setup").source == tool.SETUP
    assert cell_of(stored, "cell-2").outputs[0].data["text/plain"] == "1"

    cell_of(stored, "cell-0").source = "x = 2"
    nbformat.write(stored, file)
    assert tool.execute(file)
    changed = nbformat.read(file, as_version=4)
    assert cell_of(changed, "cell-2").outputs[0].data["text/plain"] == "2"
    assert cell_of(changed, "cell-1").outputs != cell_of(stored, "cell-1").outputs
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.ipynb"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import time\n\ntime.sleep(60)", "not done after 3 seconds"),
        ("import os\n\nos._exit(1)", "the kernel died"),
    ],
)
def test_a_failing_cell_is_named_and_the_file_stays(
    source: str, said: str, tmp_path: Path, tool: ModuleType
) -> None:
    file = tiny(tmp_path / "tiny.ipynb", "x = 1", source)
    before = file.read_bytes()
    with pytest.raises(tool.LessonError, match=rf"^tiny\.ipynb, cell 'cell-1': .*{said}"):
        tool.execute(file, cell_seconds=3)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.ipynb"]


def kept(tool: ModuleType, before: NotebookNode, after: NotebookNode) -> list[bool]:
    """Whether the picture of each cell is the one of before, once both are tidied and compared."""
    for notebook in (before, after):
        if "executed" not in notebook.metadata:
            tool.tidy(notebook)
    after = copy.deepcopy(after)
    tool.keep_outputs(after, before)
    pictures = [cell.outputs[0].data["image/png"] for cell in after.cells]
    return [picture == "old" for picture in pictures]


def two_cells(tool: ModuleType, picture: str, *texts: str) -> NotebookNode:
    """The cell "f", and the cell "g", which is tagged as varying."""
    cells = []
    for name, text, tags in zip("fg", texts, ([], [tool.IGNORED]), strict=True):
        output = v4.new_output("display_data", data={"text/plain": text, "image/png": picture})
        metadata = {"tags": tags}
        cells.append(v4.new_code_cell(f"{name}()", id=name, outputs=[output], metadata=metadata))
    return v4.new_notebook(cells=cells)


def test_outputs_are_of_one_execution_all_kept_or_all_new(tool: ModuleType) -> None:
    before = two_cells(tool, "old", "a", "1")
    same, varied = two_cells(tool, "new", "a", "1"), two_cells(tool, "new", "a", "2")
    assert kept(tool, before, same) == kept(tool, before, varied) == [True, True]
    # One cell that says something else makes the others new, too, whatever their tags.
    assert kept(tool, before, two_cells(tool, "new", "b", "1")) == [False, False]


def test_outputs_are_new_where_any_code_is(tool: ModuleType) -> None:
    for name in "fg":
        before, after = two_cells(tool, "old", "a", "1"), two_cells(tool, "new", "a", "1")
        cell_of(after, name).source = "h()"
        assert kept(tool, before, after) == [False, False]
    before, after = two_cells(tool, "old", "a", "1"), two_cells(tool, "new", "a", "1")
    before.cells.pop()
    assert kept(tool, before, after) == [False, False]
    before, after = two_cells(tool, "old", "a", "1"), two_cells(tool, "new", "a", "1")
    after.cells.pop()
    assert kept(tool, before, after) == [False]
    # Never executed: nothing is known of the old outputs.
    before, after = two_cells(tool, "old", "a", "1"), two_cells(tool, "new", "a", "1")
    before.metadata["executed"] = {}
    assert kept(tool, before, after) == [False, False]


def test_a_varying_cell_that_had_no_output_makes_all_new(tool: ModuleType) -> None:
    before, after = two_cells(tool, "old", "a", "1"), two_cells(tool, "new", "a", "1")
    cell_of(before, "g").outputs = []
    assert kept(tool, before, after) == [False, False]


def test_widgets_and_progress_bars_leave_no_view_behind(tool: ModuleType) -> None:
    def view(text: str) -> NotebookNode:
        return v4.new_output(
            "display_data", data={"text/plain": text, tool.WIDGET: {"model_id": "1"}}
        )

    outputs = [view("  0%|          | 0/3"), view("SearchExplorer()")]
    notebook = v4.new_notebook(cells=[v4.new_code_cell("f()", id="f", outputs=outputs)])
    notebook.metadata["widgets"] = {"state": {}}
    tool.tidy(notebook)
    [output] = notebook.cells[0].outputs
    assert set(output.data) == {"text/plain"}
    assert notebook.cells[0].metadata.tags == [tool.IGNORED]
    assert "widgets" not in notebook.metadata


def test_the_address_stands_in_pyproject_alone(tool: ModuleType) -> None:
    address = tool.REPOSITORY.removeprefix("https://")
    assert address not in (ROOT / "notebooks" / "execute.py").read_text(encoding="utf-8")
    assert tool.badge(ROOT / "notebooks" / "98_good.ipynb").endswith(
        f"{address.split('/', 1)[1]}/blob/main/notebooks/98_good.ipynb)"
    )
    assert f"clone --quiet --depth 1 https://{address} " in tool.SETUP
    assert "pip" not in tool.SETUP


# ---------------------------------------------------------------------------------------------
# What lessons show of the library


def test_show_source_names_the_file_and_shows_what_runs() -> None:
    shown = show_source(SimCLR.direction).data
    assert shown.startswith("`mmret_lib/losses/simclr.py`, from line ")
    assert "```python\ndef direction(" in shown
    with pytest.raises(TypeError):
        show_source(3)


def test_read_results_says_how_to_measure_what_is_missing() -> None:
    with pytest.raises(MissingFile, match="mmret experiments"):
        read_results("nothing of this name")
