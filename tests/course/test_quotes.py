"""What a lesson's text says of numbers and captions is in that lesson's own outputs or code.

A quote is a decimal number such as 34.6, a percentage, a pair such as "51.0 / 34.6" (which one cell
must have), or a caption of four words or more in double quotes. It must stand in the text outputs
or in the code of the same notebook; a number may have more digits there, and a percentage may be a
share. Not compared are:

- formulas, code and links in the text, the papers at its end, sections and versions (4.1, 2.11),
  captions in the questions, and quotes that do not begin as a caption does;
- a paragraph, list item or table that names where its figures come from: a paper by arXiv number,
  year or "the paper", the course project of 2021, or a recorded file of `data/` or `benchmarks/`;
- the opening cell, with its minutes.
"""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode, v4
from questions import unanswered

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))

WORDS, PREDICTIONS = 2500, 3
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
DECIMAL = re.compile(rf"(?<![\w.,/])({NUMBER})(?![\w]|\.\d)(\s?%)?")
PAIR = re.compile(rf"({NUMBER})(?:\s?%)?\s/\s({NUMBER})")
CAPTION = re.compile(r'"((?:[A-Z]|an? )[^"\n]+)"')
NOT_TEXT = re.compile(
    r"\$\$.+?\$\$|\$[^$\n]+\$|```.+?```|`[^`\n]+`|\[[^\]]*\]\([^)]*\)|<[^>]+>|https?://\S+"
    r"|\b95 % (?:confidence )?intervals?"
    r"|\b[Ss]ections? \d[\d.]*|\b(?:PyTorch|Python|torch|version) \d[\d.]*",
    re.DOTALL,
)
SOURCE = re.compile(
    r"arXiv|\bpapers?\b|\(\d{4}\)|\bet al\b|\b(?:of|in) 20[012]\d\b|`(?:data|benchmarks)/"
)


def text_of(output: NotebookNode) -> str:
    """What an output says in words, and not in pixels."""
    data = output.get("data", {})
    html = re.sub(r"<[^>]+>", " ", str(data.get("text/html", "")))
    return "\n".join([output.get("text", ""), str(data.get("text/plain", "")), html])


def numbers_in(text: str) -> list[float]:
    return [float(one.replace(",", "")) for one in re.findall(NUMBER, text)]


def paragraphs(text: str) -> list[str]:
    """Paragraphs and tables; each item of a list by itself."""
    return re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)


def has_number(quoted: str, percent: bool, numbers: list[float]) -> bool:
    """Whether a number, rounded as it is quoted, is among those of a notebook."""
    digits = len(quoted.partition(".")[2])
    value, half = float(quoted.replace(",", "")), 0.5 * 10**-digits + 1e-9
    return any(
        abs(value - one) <= half or (percent and abs(value - 100 * one) <= half) for one in numbers
    )


def wrong_quotes(notebook: NotebookNode) -> list[str]:
    """The quotes of a notebook's text that neither its outputs nor its code have."""
    shown = ["\n".join(map(text_of, cell.get("outputs", []))) for cell in notebook.cells]
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    everything = "\n".join([*shown, *code])
    numbers, by_cell = numbers_in(everything), [numbers_in(one) for one in [*shown, *code]]
    words = " ".join(everything.lower().split())
    found = []
    for cell in notebook.cells[1:]:
        if cell.cell_type != "markdown":
            continue
        text = re.split(r"^#+ Papers", cell.source, flags=re.MULTILINE)[0]
        asked = "\n## Questions" in f"\n{text}"  # their captions are of the reader's mind
        for paragraph in paragraphs(text):
            if SOURCE.search(paragraph):
                continue
            plain = NOT_TEXT.sub(" … ", paragraph)
            for quoted, percent in DECIMAL.findall(plain):
                if ("." in quoted or percent) and not has_number(quoted, bool(percent), numbers):
                    found.append(f"{cell.id}: {quoted}{percent}")
            for pair in PAIR.findall(plain):
                both = [[has_number(one, True, cell) for one in pair] for cell in by_cell]
                if "." in pair[0] and not any(map(all, both)):
                    found.append(f"{cell.id}: {' / '.join(pair)} in one cell")
            for caption in CAPTION.findall("" if asked else plain):
                bare = " ".join(caption.lower().split()).rstrip(".,;:!?")
                if len(bare.split()) >= 4 and "…" not in bare and bare not in words:
                    found.append(f'{cell.id}: "{caption}"')
    return found


# ---------------------------------------------------------------------------------------------
# The lessons


@pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)
def test_what_the_text_quotes_is_in_the_outputs_or_the_code(file: Path) -> None:
    assert wrong_quotes(nbformat.read(file, as_version=4)) == []


def main_path(notebook: NotebookNode) -> str:
    """The text without what stands under "Going deeper"."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.sub(r"^## Going deeper.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)


def faults(notebook: NotebookNode) -> list[str]:
    """The rules of a lesson's form that a notebook breaks."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code if cell.source.strip()]
    if counts != list(range(1, len(counts) + 1)):
        found.append("more than one execution")
    if (words := len(main_path(notebook).split())) > WORDS:
        found.append(f"{words} words on the main path")
    predictions = [cell for cell in code if re.search(r"\bpredict\(", cell.source)]
    if len(predictions) < PREDICTIONS:
        found.append(f"{len(predictions)} prediction cells")
    reveals = sum(cell.source.count(".reveal(") for cell in code)
    if reveals < sum(len(re.findall(r"\bpredict\(", cell.source)) for cell in predictions):
        found.append(f"{reveals} predictions revealed")
    return [*found, *unanswered(notebook)]


@pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)
def test_a_lesson_is_short_asks_first_and_answers(file: Path) -> None:
    assert faults(nbformat.read(file, as_version=4)) == []


# ---------------------------------------------------------------------------------------------
# The rules themselves


def lesson(
    text: str, shown: str = "R@1 51.04 34.55, share 0.876\nA zebra on dry dirt."
) -> list[str]:
    output = v4.new_output("stream", name="stdout", text=shown)
    cells = [
        v4.new_markdown_cell("# Title\n\n**Minutes** 3.5", id="opening"),
        v4.new_code_cell("margin = 0.2", id="code", outputs=[output]),
        v4.new_markdown_cell(text, id="text"),
    ]
    return wrong_quotes(v4.new_notebook(cells=cells))


@pytest.mark.parametrize(
    "text",
    [
        "It reaches 51.0 / 34.6, and with a margin of 0.2 the share is 87.6 %, or 88 %.",
        '"A zebra on dry dirt" is found; "a zebra" is short.',
        "The formula $0.37 x$ and `0.38` and section 4.1 and [0.39](0.40.md).",
        "COCO has 9.9 of them (2014).",
        "The course project of 2021 reports 19.7 / 15.7.",
        "Recorded in `data/results/x.csv`: 7.7.",
        "Twelve, 300 and 20 are no decimals.",
        "## Papers\n\n- 0.99",
    ],
)
def test_a_right_quote(text: str) -> None:
    assert lesson(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It reaches 51.5.", "51.5"),
        ("It reaches 51.0 / 33.5.", "33.5"),
        ("It reaches 34.6 / 0.20.", "34.6 / 0.20 in one cell"),
        ("That is 86 %.", "86 %"),
        ("Margins: 0.25", "0.25"),
        ('It finds "a zebra on wet dirt".', "a zebra on wet dirt"),
        ("(2014) has its own.\n\nBut this is 9.9.", "9.9"),
        ("- In the paper 7.7.\n- Here 7.8.", "7.8"),
    ],
)
def test_a_wrong_quote(text: str, found: str) -> None:
    assert [one for one in lesson(text) if found in one]


def test_a_question_without_an_answer() -> None:
    answered = "1. Why?\n\n   <details><summary>Answer</summary>\n\n   So.\n\n   </details>\n"
    text = f"## Questions to think about\n\n{answered}2. How?\n\n## Papers\n\n1. None"
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(text)])
    assert unanswered(notebook) == ["no answer to '2. How?\\n\\n'"]
