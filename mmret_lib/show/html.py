"""Write HTML: a page of answers in one file, and the content of the widgets.

Queries and captions are other people's text: they are escaped, and isolated from the writing
direction of the text around them (`text_html`). Right and wrong differ in sign, word and frame,
never in colour alone.
"""

import base64
import hashlib
import html
import io
import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from mmret_lib.data.images import Picture, read_image
from mmret_lib.files.disk import disk_errors
from mmret_lib.files.errors import DataError, visible
from mmret_lib.files.places import user_path
from mmret_lib.files.whole import write_text
from mmret_lib.search.hits import Hit
from mmret_lib.search.right_answers import Verdict

SIDE = 360  # longest side of a picture in the page, in pixels: sharp on a phone, about 20 KB
CARD_SIDE = 256  # longest side of a picture in a widget
SMALL = 128  # up to this side a picture is saved as PNG, without loss; larger ones as JPEG


def text_html(text: str) -> str:
    """Escape a text, in an element with a writing direction of its own."""
    # bdi ends a change of direction that the text does not end itself.
    return f'<bdi dir="auto">{html.escape(visible(text))}</bdi>'


def image_html(picture: Picture, alt: str, side: int = SIDE) -> str:
    """Return an img element with the picture in it, no side longer than `side` pixels."""
    small = read_image(picture)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.info.clear()  # metadata of a camera or an editor would be saved with it
    kind = "png" if max(small.size) <= SMALL else "jpeg"
    file = io.BytesIO()
    small.save(file, kind, optimize=True)
    width, height = small.size
    return (
        f'<img src="{data_url(file.getvalue(), kind)}" width="{width}" height="{height}" '
        f'alt="{html.escape(visible(alt))}" dir="auto">'
    )


def credit_html(credit: str) -> str:
    """Return the line with a picture's licence and address, the address as a link; "" for none."""
    if not credit:
        return ""
    text, comma, address = credit.rpartition(", ")
    if comma and re.fullmatch(r"[\w-]+(\.[\w-]+)+/[\w/.=?-]*", address, re.ASCII):
        link = f'<a href="https://{address}" rel="noreferrer">{address}</a>'
        return f'<p class="credit">{text_html(text)}, {link}</p>'
    return f'<p class="credit">{text_html(credit)}</p>'


def data_url(image: bytes, kind: str) -> str:
    """Return a data: address that contains the picture; `kind` is png or jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


# ---------------------------------------------------------------- the page of answers

PAGE_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")

# Only the style with this hash applies, so none that a caption might contain.
PAGE_POLICY = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(PAGE_STYLE.encode()).digest()).decode()
    + "'"
)


def write_page(
    path: str | os.PathLike[str],
    query: Picture,
    hits: Sequence[Hit],
    *,
    title: str = "mmret search",
) -> Path:
    """Write the hits of one query as a single HTML file with its pictures in it.

    The page runs and fetches nothing. It is written whole or not at all.

    Args:
        path: the file; an existing one is replaced, and missing folders above it are created.
        query: what was asked: a text, or a picture in any form that `by_image` takes.
        hits: what `by_text` or `by_image` returned.
        title: what the browser's tab says.

    Returns:
        The path of the page.

    Raises:
        MissingFile, DataError: a picture that cannot be read any more, or a page that cannot be
            written.
    """
    path = user_path(path)
    if os.path.isdir(path):
        raise DataError(f"{path} is a folder; name a file, such as {path / 'page.html'}")
    page = _page(query, hits, title)
    with disk_errors(path, "writing the page"):
        write_text(path, page)
    return path


def _page(query: Picture, hits: Sequence[Hit], title: str) -> str:
    if isinstance(query, str) and not os.path.isfile(query):
        asked = text_html(query)
    else:
        asked = image_html(query, "The picture that was asked with")
    if any(hit.caption for hit in hits):
        noun, legend = "Captions", "Above each caption stands the picture that it was written for."
    elif any(hit.captions for hit in hits):
        noun, legend = "Pictures", "Under each picture stand its own captions."
    else:
        noun, legend = "Pictures", "Under each picture stands the place of its file."
    cards = "\n".join(map(_card, hits))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{PAGE_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(visible(title))}</title>
<style>{PAGE_STYLE}</style>
</head>
<body>
<header>
<h1>{noun} that fit best</h1>
<div class="query">{asked}</div>
</header>
<main>
<ol class="hits">
{cards}
</ol>
</main>
<footer>On the right its cosine similarity to the query, at most 1. {legend}</footer>
</body>
</html>
"""


def _card(hit: Hit) -> str:
    captions = hit.captions if hit.caption is None else (hit.caption,)
    lines = "\n".join(f"<li>{text_html(line)}</li>" for line in captions or [str(hit.image)])
    return f"""<li>
<p class="score"><b>{hit.rank}</b> <span>{hit.score:.3f}</span></p>
{image_html(hit.image, _alt(hit))}
{credit_html(hit.credit)}
<ul>
{lines}
</ul>
</li>"""


def _alt(hit: Hit) -> str:
    """What stands for a picture where it is not seen: its first caption, or its file's name."""
    return hit.captions[0] if hit.captions else hit.image.name


# ---------------------------------------------------------------- what the widgets show

WIDGET_STYLE = "<style>" + Path(__file__).with_name("widgets.css").read_text("utf-8") + "</style>"

# Sign and meaning of each verdict.
MARKS = {
    "own": ("✓", "right: they belong together"),
    "fits": ("✓ fits", "right: it fits too"),
    "wrong": ("✗", "wrong"),
}


def panel(content: str) -> str:
    """Wrap the content of a widget in the element that `WIDGET_STYLE` applies to."""
    return f'<div class="mmret">{content}</div>'


def alert(message: str) -> str:
    """Return a panel with an error message, which screen readers announce."""
    return panel(f'<p class="alert" role="alert">{text_html(message)}</p>')


def status(content: str) -> str:
    """Return a line on what was searched, which screen readers announce."""
    return f'<p class="status" role="status">{content}</p>'


def column(name: str, note: str, content: str) -> str:
    """Return one model's column: its name, a note on its answers, and the answers."""
    heading = f"<h3>{text_html(name)}</h3>" if name else ""
    return f'<section>{heading}<p class="where">{note}</p>{content}</section>'


def answers(hits: Sequence[Hit], judge: Callable[[Hit], Verdict]) -> str:
    """Return the hits as a list: pictures as cards with their captions, captions as lines."""
    items = []
    for hit in hits:
        verdict = judge(hit)
        score = _score(hit, verdict)
        if hit.caption is None:
            first, rest = _alt(hit), hit.captions[1:]
            try:
                image = _card_image(hit.image, first) + credit_html(hit.credit)
            except DataError:  # one photo that has gone must not cost all answers
                image = '<p class="gone">The picture cannot be read any more.</p>'
            item = f'{image}{score}<p class="said">{text_html(first)}</p>'
            if rest:
                lines = "".join(f"<li>{text_html(caption)}</li>" for caption in rest)
                item += f"<details><summary>all its captions</summary><ul>{lines}</ul></details>"
        else:
            item = f'{score}<p class="said">{text_html(hit.caption)}</p>'
        items.append(f'<li class="hit {verdict or ""}">{item}</li>')
    kind = "hits" if hits and hits[0].caption is None else "lines"
    return f'<ol class="{kind}">{"".join(items)}</ol>'


def query_picture(image: Picture, heading: str, own: Sequence[str], credit: str = "") -> str:
    """Return the column of the query: the picture, its credit, and its own captions."""
    alt = own[0] if own else "The picture that asks"
    shown = _card_image(image, alt) if isinstance(image, Path) else image_html(image, alt)
    lines = "".join(f"<li>{text_html(caption)}</li>" for caption in own)
    captions = f'<h4 style="margin-top: 12px">Original captions</h4><ul class="plain">{lines}</ul>'
    return (
        f'<section><h3>{heading}</h3><p class="where">The picture that asks</p>'
        f'<div class="asked">{shown}{credit_html(credit)}</div>{captions if own else ""}</section>'
    )


@lru_cache(maxsize=1024)  # about 20 KB each; encoding one again would take longer than the search
def _card_image(file: Path, alt: str) -> str:
    return image_html(file, alt, CARD_SIDE)


def _score(hit: Hit, verdict: Verdict) -> str:
    mark = ""
    if verdict:
        sign, meaning = MARKS[verdict]
        mark = (
            f'<span class="mark" role="img" aria-label="{meaning}" title="{meaning}">{sign}</span>'
        )
    share = 100 * min(max(hit.score, 0.0), 1.0)
    return (
        f'<p class="score"><b>{hit.rank}</b> {mark} <span class="number" title="cosine similarity">'
        f'{hit.score:.3f}</span></p><span class="meter" aria-hidden="true">'
        f'<i style="width: {share:.0f}%"></i></span>'
    )
