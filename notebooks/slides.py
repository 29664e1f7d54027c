"""Slides of the lessons, by nbconvert and reveal.js: `make slides`.

    python notebooks/slides.py             all of them, into build/slides
    python notebooks/slides.py 04          those whose path contains one of the words
    python notebooks/slides.py --tag 04    write a tag into each cell that has none

`deck` says what stands on a slide, and what the cells' tags (`slideshow.slide_type`) do. A page
holds text and pictures, and loads reveal.js, MathJax and require.js from the web when it is opened;
--reveal names another place for reveal.js. In the browser: space goes on, S opens the speaker's
notes, and ?print-pdf at the end of the address is for printing.
"""

import argparse
import sys

import nbformat
from deck import Deck, as_notebook, tag
from execute import ROOT, LessonError, chosen
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode

from mmret_lib.files.whole import write_text

OUT = ROOT / "build" / "slides"
STYLE = """
<style>
.reveal .slides { text-align: left; }
.reveal .slides section { padding: 0 10px; }
.reveal h2 { font-size: 38px; margin: 0 0 18px; text-transform: none; }
.reveal h3 { font-size: 26px; margin: 0 0 12px; text-transform: none; color: #555; }
.reveal .slides p, .reveal .slides li { font-size: 24px; }
.reveal .slides td, .reveal .slides th { font-size: 19px; }
.reveal .slides .jp-RenderedMarkdown { max-width: 940px; }
.reveal .slides .jp-RenderedHTMLCommon > * { margin-right: 0; }
.reveal .slides .highlight pre, .reveal .slides pre { font-size: 15px; line-height: 1.2; margin: 0;
  width: 100%; box-shadow: none; white-space: pre-wrap; }
.reveal .slides .jp-RenderedHTMLCommon pre { padding: 8px; }
.reveal .slides .jp-RenderedHTMLCommon .highlight { background: #f5f5f5; }
.reveal .slides .jp-OutputArea pre { border-left: 3px solid #0072b2; padding: 4px 0 4px 12px; }
.reveal .slides img { max-height: 410px; max-width: 940px; margin: 0 auto; display: block;
  min-width: 640px; object-fit: contain; }
.jp-InputPrompt, .jp-OutputPrompt, .jp-InputCollapser, .jp-OutputCollapser { display: none; }
.jp-Cell { padding: 4px 0 !important; }
</style>
</head>"""


def exporter(reveal: str = "") -> SlidesExporter:
    """The exporter; the code on the slides stands in Markdown, so no input cell is shown."""
    made = SlidesExporter(exclude_input=True, exclude_output_prompt=True, reveal_number="c/t")
    made.reveal_transition = "none"
    if reveal:
        made.reveal_url_prefix = reveal
    return made


def page(notebook: NotebookNode, reveal: str = "") -> tuple[str, int]:
    """The page of a lesson, and the number of its slides."""
    slides = Deck(notebook).slides
    html, _ = exporter(reveal).from_notebook_node(as_notebook(slides))
    html = html.replace("<title>Notebook slides</title>", f"<title>{slides[0].title}</title>")
    return html.replace("</head>", STYLE, 1), len(slides)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make slides of the lessons.")
    parser.add_argument("only", nargs="*", help="parts of paths, such as 04; all if none is given")
    parser.add_argument("--tag", action="store_true", help="write the missing tags, make no slides")
    parser.add_argument("--reveal", default="", help="where reveal.js is, instead of the web")
    asked = parser.parse_args(arguments)
    try:
        for file in chosen(asked.only, ("notebooks",)):
            notebook = nbformat.read(file, as_version=4)
            if asked.tag:
                print(f"{file.name}: {tag(notebook)} cells tagged")
                write_text(file, nbformat.writes(notebook).rstrip("\n") + "\n")
                continue
            html, slides = page(notebook, asked.reveal)
            target = OUT / f"{file.stem}.slides.html"
            write_text(target, html)
            print(f"{target.relative_to(ROOT)}: {slides} slides")
    except LessonError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
