"""The result page: one HTML file with everything in it, to look at, to mail, to put on a phone.

Queries and captions are other people's text. Here they are only ever text: escaped, set apart from
the direction of what surrounds them, and under a policy that lets the page run and fetch nothing.
"""

import base64
import hashlib
import html
import io
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mmret_lib.files.errors import DataError, visible
from mmret_lib.search.index import Hit, Picture, open_picture

SIDE = 360  # longest side of an embedded picture, in pixels: sharp on a phone, about 20 KB
SMALL = 128  # up to here PNG costs little and loses nothing

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #57606a; --paper: #fbfbfa;
  --card: #fff; --edge: #d8dcdf; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --quiet: #a3abb4;
  --paper: #16181b; --card: #202327; --edge: #3a3f45; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem; max-width: 75rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.45 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1rem; font-weight: 600; color: var(--quiet); }
.query { margin: .4rem 0 1.25rem; max-height: 16rem; overflow: auto; font-size: 1.5rem;
  line-height: 1.3; }
.query img { max-width: 15rem; }
bdi { white-space: pre-wrap; overflow-wrap: anywhere; }
img { display: block; width: 100%; height: auto; border-radius: .4rem; }
ol, ul { margin: 0; padding: 0; list-style: none; }
.hits { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); }
.hits > li { padding: .75rem; border: 1px solid var(--edge); border-radius: .6rem;
  background: var(--card); }
.score { display: flex; justify-content: space-between; margin: 0 0 .5rem; color: var(--quiet);
  font-size: .875rem; font-variant-numeric: tabular-nums; }
.score b { color: var(--ink); }
ul { margin-top: .6rem; max-height: 20rem; overflow: auto; font-size: .875rem; }
ul li + li { margin-top: .35rem; padding-top: .35rem; border-top: 1px solid var(--edge); }
footer { margin-top: 1.25rem; color: var(--quiet); font-size: .875rem; }
"""

# The style is named by its hash: not even a style that slipped in with a caption would apply.
POLICY = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'"
)


def write_page(
    path: str | os.PathLike[str],
    query: Picture,
    hits: Sequence[Hit],
    *,
    title: str = "mmret search",
) -> Path:
    """Write the hits of one query as a single HTML file, whole or not at all.

    Args:
        path: the file; an older one is replaced, missing folders above it are made.
        query: what was asked: a text, or a picture in any form that `by_image` takes.
        hits: what `by_text` or `by_image` gave.
        title: what the browser's tab says.

    Returns:
        The path of the page.

    Raises:
        MissingFile, DataError: a picture that cannot be read any more; DataError where the page
            cannot be written.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise DataError(f"{path} is a folder; name a file, such as {path / 'page.html'}")
    page = _page(query, hits, title)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.write_text(page, encoding="utf-8")
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror}); choose another place for the page"
        ) from error
    return path


def _page(query: Picture, hits: Sequence[Hit], title: str) -> str:
    # A file name is a string too; that captions were found tells that it named a picture.
    if isinstance(query, str) and not any(hit.caption for hit in hits):
        asked, found = text_html(query), "Pictures"
        beside = "Under each picture stand its own captions."
    else:
        asked, found = picture_html(query, "The picture that was asked with"), "Captions"
        beside = "Above each caption stands the picture that it was written for."
    cards = "\n".join(map(_card, hits))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(visible(title))}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{found} that fit best</h1>
<div class="query">{asked}</div>
</header>
<main>
<ol class="hits">
{cards}
</ol>
</main>
<footer>On the right its cosine similarity to the query, at most 1. {beside}</footer>
</body>
</html>
"""


def _card(hit: Hit) -> str:
    captions = hit.captions if hit.caption is None else (hit.caption,)
    lines = "\n".join(f"<li>{text_html(caption)}</li>" for caption in captions)
    return f"""<li>
<p class="score"><b>{hit.rank}</b> <span>{hit.score:.3f}</span></p>
{picture_html(hit.image, hit.captions[0])}
<ul>
{lines}
</ul>
</li>"""


def text_html(text: str) -> str:
    """A text that is only ever text, in an element of its own direction."""
    # bdi: right-to-left text, or an override that it does not close, ends with it.
    return f'<bdi dir="auto">{html.escape(visible(text))}</bdi>'


def picture_html(picture: Picture, says: str) -> str:
    """A picture with everything in it, and the text that stands for it."""
    return f'<img {embedded(picture)} alt="{html.escape(visible(says))}" dir="auto">'


def embedded(picture: Picture, side: int = SIDE) -> str:
    """The attributes src, width and height: the picture itself, no side longer than `side`."""
    small = open_picture(picture)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.info.clear()  # the camera's or the editor's remarks would be saved with it
    kind = "png" if max(small.size) <= SMALL else "jpeg"
    file = io.BytesIO()
    small.save(file, kind, optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    width, height = small.size
    return f'src="data:image/{kind};base64,{data}" width="{width}" height="{height}"'
