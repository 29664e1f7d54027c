"""The slides that `make slides` makes of the lessons. How they look, a person has to look at."""

import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from conftest import script
from nbformat import NotebookNode, v4

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
by_lesson = pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)


@pytest.fixture(scope="module")
def deck(request: pytest.FixtureRequest) -> ModuleType:
    return script("notebooks/deck.py")


def problems(slides: list) -> list[str]:
    """What is wrong with slides: no title, nothing on it, code alone, too much text."""
    found = []
    for place, slide in enumerate(slides):
        name = f"slide {place + 1}, {slide.title!r}"
        code = [part for part in slide.shown if part.startswith("```")]
        text = [part for part in slide.shown if part not in code] + [slide.about]
        following = slides[place + 1] if place + 1 < len(slides) else None
        later = following and following.title == slide.title and following.outputs
        if not slide.title.strip():
            found.append(f"{name}: no title")
        if not (slide.shown or slide.outputs or slide.notes):
            found.append(f"{name}: empty")
        if code and not (any(text) or slide.outputs or later):
            found.append(f"{name}: only code")
        if slide.words() > 130:
            found.append(f"{name}: {slide.words()} words")
        if re.search(r"Going deeper|^Papers|^Exercise", slide.title):
            found.append(f"{name}: not for a lecture")
    return found


@by_lesson
def test_a_lesson_makes_slides(file: Path, deck: ModuleType) -> None:
    slides = deck.Deck(nbformat.read(file, as_version=4)).slides
    assert 15 <= len(slides) <= 60
    assert not slides[0].below
    assert problems(slides) == []
    titles = [slide.title for slide in slides]
    assert "Summary" in titles and titles[-1] == "Questions to think about"
    shown = "\n".join(part for slide in slides for part in slide.shown)
    assert "<details>" not in shown and ".reveal(" not in shown  # no answer before its time


@by_lesson
def test_a_cell_is_tagged_as_jupyter_tags(file: Path, deck: ModuleType) -> None:
    cells = nbformat.read(file, as_version=4).cells
    types = [cell.metadata.get("slideshow", {}).get("slide_type") for cell in cells]
    assert None not in types, f"run: python notebooks/slides.py --tag {file.stem}"
    assert set(types) <= set(deck.TYPES)


@pytest.mark.slow
@by_lesson
def test_nbconvert_makes_the_page(
    file: Path, deck: ModuleType, tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "notebooks")
    slides = script("notebooks/slides.py")
    html, count = slides.page(nbformat.read(file, as_version=4))
    # Each slide is a section, and so is each row of slides below each other.
    rows = sum(not slide.below for slide in deck.Deck(nbformat.read(file, as_version=4)).slides)
    assert html.count("<section") == count + rows == html.count("</section>")
    assert html.count('class="notes"') > 5
    assert "max-height: 410px" in html and "reveal.js" in html


def lesson(*cells: NotebookNode) -> NotebookNode:
    title = v4.new_markdown_cell("# 99 Small\n\n[![Open in Colab](x)](y)\n\nA problem.")
    return v4.new_notebook(cells=[title, v4.new_code_cell("import os", id="setup"), *cells])


TEXT = """\
The rest of an earlier section, which is said. Twice.

## 1. A section

It says one thing, e.g. this one, in a sentence that has as many words as are needed here. And more.

$$x=1$$

<details><summary>Answer</summary>

Secret.

</details>"""


def test_what_is_said_goes_into_the_notes(deck: ModuleType) -> None:
    first, second = deck.Deck(lesson(v4.new_markdown_cell(TEXT))).slides
    assert (first.title, first.shown) == ("99 Small", ["A problem."])
    assert first.notes[-1].endswith("Twice.")
    assert second.title == "1. A section"
    assert second.shown[0].endswith("needed here.") and second.shown[1:] == ["$$x=1$$"]
    assert "And more." in second.notes[0] and "Secret." in second.notes[-1]


def test_code_is_shown_where_it_builds_and_outputs_with_their_sentence(deck: ModuleType) -> None:
    out = [v4.new_output("stream", name="stdout", text="1\n2\n")]
    build = v4.new_code_cell("import os\nx = 1\nassert x", metadata={"tags": ["build"]})
    cells = [
        v4.new_markdown_cell("## A\n\nOne.\n\nTwo numbers are built."),
        build,
        v4.new_code_cell("hidden = 2", outputs=out),
        v4.new_markdown_cell("*Figure:* two numbers.\n\nTwo numbers. They say so. Further words."),
        v4.new_code_cell("silent = 3"),
        v4.new_markdown_cell("## Going deeper\n\nFar."),
        v4.new_code_cell("far = 4", outputs=out),
    ]
    slides = deck.Deck(lesson(*cells)).slides
    assert [slide.title for slide in slides] == ["99 Small", "A", "A", "A"]
    assert slides[2].shown == ["```python\nx = 1\n```"]
    assert slides[2].about == "Two numbers are built."
    assert problems(slides) == []
    assert slides[3].shown == ["Two numbers. They say so. Further words."]
    assert slides[3].outputs[0].data["text/plain"] == "1\n2"


def test_a_tag_by_hand_decides(deck: ModuleType) -> None:
    skipped = v4.new_markdown_cell("## B", metadata={"slideshow": {"slide_type": "skip"}})
    notebook = lesson(v4.new_markdown_cell("## A"), skipped)
    assert deck.tag(notebook) == 3
    assert [slide.title for slide in deck.Deck(notebook).slides] == ["99 Small", "A"]
    assert deck.tag(notebook) == 0


def test_executing_keeps_the_tags(deck: ModuleType, tool: ModuleType) -> None:
    notebook = lesson(v4.new_markdown_cell("## A"))
    deck.tag(notebook)
    before = [dict(cell.metadata) for cell in notebook.cells]
    tool.tidy(notebook)
    assert [dict(cell.metadata) for cell in notebook.cells] == before
