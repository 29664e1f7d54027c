"""A lesson as slides: what is seen stays on the slide, what is said goes into the speaker's notes.

On a slide stand: the section's heading; the first sentence of each of its paragraphs; its formulas,
lists and tables; the code of cells tagged `build`; figures and short outputs; predictions, without
their answer. All prose, whole, goes into the notes. Which cells are used says their metadata,
`slideshow.slide_type`, as Jupyter's own sidebar sets it: `slide` begins a section, `subslide` a
slide below it, `notes` is only said, but for formulas, lists and tables, and `skip` is left out.
"""

import re
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from nbformat import NotebookNode, v4

TYPES = ("slide", "subslide", "notes", "skip")
NOT_SHOWN = re.compile(r"Going deeper|Papers|Exercise\b")  # sections that no lecture shows
ONLY_SAID = ("<details", "**Build it", "**Minutes", "**Before this")
LINES = 16  # of an output
FULL = 22  # lines of code and output together; what is more goes to a further slide
WORDS = 110  # of a slide; what is more goes to a further one

HEADING = re.compile(r"^(#{1,3}) (.+)$")
FIGURE = re.compile(r"^\*Figure:\*")
LIST = re.compile(r"^(?:[-*]|\d+\.) ")
SENTENCE = re.compile(
    r"(?<!e\.g)(?<!i\.e)(?<!\bvs)(?<!\bal)(?<!\b[A-Z])[.!?][*)\"]* +(?=[\"*$(\[`A-Z])"
)
ITEM = r"\n(?=(?:[-*]|\d+\.) )"  # before each item of a list but the first
RICH = ("$", "|", "-", "1. ")  # a formula, a table or a list
LEAD = 18  # words with which the first sentences of a paragraph are enough


@dataclass
class Slide:
    """One slide: Markdown, outputs of a cell, and what is said."""

    title: str
    below: bool  # a subslide
    shown: list[str] = field(default_factory=list)
    outputs: list[NotebookNode] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    waits: bool = False  # an output that the next prose explains
    closed: bool = False  # a prediction: what follows stands on another slide
    about: str = ""  # stands below code that no text explains

    def words(self) -> int:
        text = [part for part in self.shown if not part.startswith(("```", "|"))]
        return sum(len(part.split()) for part in text)


def sentences(text: str) -> list[str]:
    text = " ".join(text.split())
    ends = [0, *(match.end() for match in SENTENCE.finditer(text)), len(text)]
    return [text[a:b].strip() for a, b in pairwise(ends)]


def lead(text: str) -> str:
    """The first sentences of a paragraph, until they say enough."""
    found: list[str] = []
    for one in sentences(text):
        found.append(one)
        if sum(len(each.split()) for each in found) >= LEAD:
            break
    return " ".join(found)


def blocks(source: str) -> list[str]:
    """The blocks of a Markdown text; a formula and a folded answer are blocks of their own."""
    source = re.sub(r"(\$\$.+?\$\$)", r"\n\n\1\n\n", source, flags=re.DOTALL)
    source = re.sub(r"^(#{1,3} .+)$", r"\n\n\1\n\n", source, flags=re.MULTILINE)
    parts = re.split(r"(<details>.*?</details>|\$\$.+?\$\$)|\n\s*\n", source, flags=re.DOTALL)
    found = []
    for part in parts:
        for one in re.split(r"\n\s*\n", part) if part and part[0] not in "<$" else [part or ""]:
            one = one.strip("\n")
            lines = one.split("\n")
            first = next((i for i, line in enumerate(lines) if LIST.match(line)), 0)
            found += ["\n".join(lines[:first]), "\n".join(lines[first:])] if first else [one]
    return [one for one in found if one.strip()]


def on_slide(block: str) -> str:
    """What of a block stands on the slide; nothing where it is only said."""
    if block.startswith(ONLY_SAID) or FIGURE.match(block):
        return ""
    if block.startswith(("$$", "|", ">")):
        return block
    if LIST.match(block):
        return "\n".join(map(item_on_slide, re.split(ITEM, block)))
    return lead(block)


def item_on_slide(item: str) -> str:
    marker, text = item.split(" ", 1)
    text = " ".join(text.split()) if text.rstrip().endswith("?") else sentences(text)[0]
    return f"{marker} {text.rstrip(';')}"


def is_prediction(cell: NotebookNode) -> bool:
    return bool(re.search(r"^\w+ = predict\(", cell.source, re.MULTILINE))


def printed(cell: NotebookNode) -> str:
    return "".join(out.text for out in cell.outputs if out.get("name") == "stdout")


def pictures(cell: NotebookNode) -> list[NotebookNode]:
    kinds = {"image/png", "image/svg+xml"}
    return [out for out in cell.outputs if kinds & out.get("data", {}).keys()]


def default_type(cell: NotebookNode, section: str) -> str:
    """How a cell without a tag is shown, after a heading of its section."""
    if cell.cell_type == "markdown":
        heads = [len(marks) for marks in re.findall(r"^(#{1,3}) ", cell.source, re.MULTILINE)]
        if heads:
            return "slide" if min(heads) < 3 else "subslide"
        return "skip" if NOT_SHOWN.match(section) else "notes"
    build = "build" in cell.metadata.get("tags", [])
    if cell.id == "setup" or NOT_SHOWN.match(section):
        return "skip"
    if build or is_prediction(cell) or pictures(cell) or printed(cell).count("\n") >= 2:
        return "subslide"
    return "skip"


def tag(notebook: NotebookNode) -> int:
    """Write the default type into every cell that has none; returns how many."""
    section, added = "", 0
    for cell in notebook.cells:
        if not cell.metadata.get("slideshow", {}).get("slide_type"):
            cell.metadata["slideshow"] = {"slide_type": default_type(cell, section)}
            added += 1
        if cell.cell_type == "markdown":
            section = ([section, *re.findall(r"^## (.+)$", cell.source, re.MULTILINE)])[-1]
    return added


def code_shown(source: str) -> str:
    """The code without imports and without what closes a prediction."""
    lines = [
        line
        for line in source.split("\n")
        if not re.match(r"(?:import|from|assert) |\w+\.reveal\(", line)
    ]
    return "\n".join(["```python", "\n".join(lines).strip(), "```"])


def question(cell: NotebookNode) -> str:
    """A prediction's question and choices, as its stored text has them."""
    text = next((out.data["text/plain"] for out in cell.outputs if "data" in out), "")
    first, *choices = [line.strip() for line in text.split("\n") if line.strip()]
    choices = [f"- {choice.lstrip('○ ')}" for choice in choices if choice.startswith("○")]
    return "\n\n".join([f"**Predict.** {first.removeprefix('Predict. ')}", "\n".join(choices)])


def outputs_shown(cell: NotebookNode) -> list[NotebookNode]:
    """Figures, tables, and of what is printed as much as fits."""
    figures = pictures(cell)
    tables = [out for out in cell.outputs if "text/html" in out.get("data", {})]
    text = re.sub(r"Your prediction: none\. It is: ", "It is: ", printed(cell)).rstrip()
    lines = text.split("\n")
    if figures and len(lines) > 3:
        return figures
    if len(lines) > LINES:
        text = "\n".join([*lines[: LINES - 1], "…"])
    return [*([print_of(text)] if text else []), *tables, *figures]


def print_of(text: str) -> NotebookNode:
    """What was printed, in letters small enough for its longest line."""
    widest = max(map(len, text.split("\n")))
    size = min(18, 1400 // max(widest, 1))  # pixels; a letter is about 0.6 of it wide
    html = f'<pre style="font-size: {size}px !important">{escape(text)}</pre>'
    return v4.new_output("display_data", data={"text/html": html, "text/plain": text})


class Deck:
    """The slides of a lesson, made cell by cell."""

    def __init__(self, notebook: NotebookNode) -> None:
        self.slides: list[Slide] = []
        self.hidden = False  # in a section that is not shown
        self.said = ""  # the last paragraph of plain text
        section = ""
        for cell in notebook.cells:
            kind = cell.metadata.get("slideshow", {}).get("slide_type", "")
            kind = kind if kind in TYPES else default_type(cell, section)
            if cell.cell_type == "markdown":
                section = ([section, *re.findall(r"^## (.+)$", cell.source, re.MULTILINE)])[-1]
            if kind == "skip":
                continue
            if cell.cell_type == "markdown":
                self.add_text(cell.source, kind)
            else:
                self.add_code(cell)

    def new(self, title: str = "", below: bool = True) -> Slide:
        last = self.slides[-1] if self.slides else Slide("", False)
        if not title and last.title and not (last.shown or last.outputs or last.notes):
            return last  # a heading that nothing has followed yet
        self.slides.append(Slide(title or last.title, below))
        return self.slides[-1]

    def add_text(self, source: str, kind: str) -> None:
        parts = blocks(source)
        before = "notes" if any(map(HEADING.match, parts)) else kind  # of an earlier section
        for block in parts:
            if match := HEADING.match(block):
                before = kind
                if len(match[1]) < 3:
                    self.hidden = bool(NOT_SHOWN.match(match[2]))
                if not self.hidden:
                    self.new(match[2], below=len(match[1]) == 3)
            elif not self.hidden and not block.startswith("[!["):
                self.add_block(block, before)

    def add_block(self, block: str, kind: str) -> None:
        slide = self.slides[-1] if self.slides else self.new(below=False)
        text = self.text_shown(block, kind)
        rich = text.startswith(RICH)
        if text and (slide.closed or (rich and slide.outputs)):
            slide = self.new()
        for one in re.split(ITEM, text) if LIST.match(text) else [text]:
            if slide.shown and slide.words() + len(one.split()) > WORDS:
                slide = self.new()
            if one:
                slide.shown.append(one)
                slide.waits = False
        if not FIGURE.match(block):
            slide.notes.append(block)
        if (plain := on_slide(block)) and not plain.startswith(RICH):
            self.said = block

    def text_shown(self, block: str, kind: str) -> str:
        """What of a block is shown here; of text that is only said, the form decides."""
        text = on_slide(block)
        if self.slides[-1].title == "Summary" and not LIST.match(block):
            return "\n".join(f"- {one}" for one in sentences(block))
        said = kind == "notes" and not self.slides[-1].waits
        return "" if said and not text.startswith((*RICH, "**")) else text

    def add_code(self, cell: NotebookNode) -> None:
        if self.hidden:
            return
        if is_prediction(cell):
            self.new().shown.append(question(cell))
            self.slides[-1].closed = True
            return
        outputs = outputs_shown(cell)
        if "build" in cell.metadata.get("tags", []):
            slide, code = self.new(), code_shown(cell.source)
            slide.shown.append(code)
            docstring = re.search(r'^ +"""(.+?)(?:"""|$)', cell.source, re.MULTILINE)
            slide.about = docstring[1] if docstring else sentences(self.said)[-1]
            texts = [out.get("data", {}).get("text/plain", "") for out in outputs]
            lines = code.count("\n") + "\n".join(texts).count("\n")
            if outputs and (pictures(cell) or lines > FULL):
                self.new()
        else:
            self.new()
        self.slides[-1].outputs = outputs
        self.slides[-1].waits = True


def joined(parts: list[str]) -> str:
    """The parts as one Markdown text; the items of a list stay close together."""
    return re.sub(r"(?m)(^(?:[-*]|\d+\.) .+)\n\n(?=(?:[-*]|\d+\.) )", r"\1\n", "\n\n".join(parts))


def as_notebook(slides: list[Slide]) -> NotebookNode:
    """The slides as the notebook that nbconvert's exporter of slides reads."""
    cells = []
    for slide in slides:
        code = [part for part in slide.shown if part.startswith("```")]
        text = [part for part in slide.shown if not part.startswith("```")]
        text = text or [slide.about] if code else text
        title = f"{'###' if slide.below else '##'} {slide.title}"
        above = [] if slide.outputs or code else text
        first = v4.new_markdown_cell(joined([title, *above, *code]))
        first.metadata["slideshow"] = {"slide_type": "subslide" if slide.below else "slide"}
        cells.append(first)
        if slide.outputs:
            cells.append(v4.new_code_cell("", outputs=slide.outputs))
        if any(text) and not above:
            cells.append(v4.new_markdown_cell(joined(text)))
        if slide.notes:
            notes = v4.new_markdown_cell("\n\n".join(slide.notes))
            notes.metadata["slideshow"] = {"slide_type": "notes"}
            cells.append(notes)
    return v4.new_notebook(cells=cells)
