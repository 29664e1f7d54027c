"""What the widgets show: pieces of HTML, made of other people's text and pictures.

Text is only ever text here (`page.text_html`), and numbers are formatted by us. Right and wrong are
told by sign, word and frame, never by colour alone. Colours come from JupyterLab's theme where
there is one, so that a dark one stays dark.
"""

import html
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from mmret_lib.files.errors import visible
from mmret_lib.search.index import Hit
from mmret_lib.search.right_answers import Verdict
from mmret_lib.show.html import embedded, text_html

SIDE = 256  # longest side of a picture in a card, in pixels

STYLE = """<style>
.mmret { --ink: var(--jp-ui-font-color1, #1b1f24); --quiet: var(--jp-ui-font-color2, #57606a);
  --card: var(--jp-layout-color0, #fff); --edge: var(--jp-border-color2, #d8dcdf);
  --wash: var(--jp-layout-color2, #eef0f2); --right: #00735c; --wrong: #a04a3c; --bar: #0072b2;
  color: var(--ink); background: var(--card); font: 14px/1.45 system-ui, sans-serif;
  padding: 2px 2px 10px; overflow-wrap: anywhere; }
[data-jp-theme-light="false"] .mmret { --right: #4cc9a7; --wrong: #e5a08f; --bar: #5db4e6; }
.mmret * { box-sizing: border-box; }
.mmret p, .mmret h3, .mmret h4, .mmret ol, .mmret ul { margin: 0; padding: 0; list-style: none; }
.mmret h3 { font-size: 17px; font-weight: 650; }
.mmret h4 { font-size: 14px; font-weight: 650; margin-bottom: 6px; }
.mmret bdi { white-space: pre-wrap; }
.mmret img { display: block; width: 100%; height: auto; border-radius: 6px; }
.mmret .status { color: var(--quiet); margin-bottom: 12px; max-height: 9em; overflow: auto; }
.mmret .status bdi { color: var(--ink); font-weight: 600; }
.mmret .alert { padding: 10px 14px; border: 1px solid var(--wrong); border-radius: 8px; }
.mmret .columns { display: grid; gap: 22px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); }
.mmret .where { color: var(--quiet); font-size: 13px; margin: 1px 0 9px; min-height: 1.45em; }
.mmret .hits { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(max(104px, (100% - 48px) / 5), 1fr)); }
.mmret .hits > li, .mmret .lines > li { border: 1px solid var(--edge); border-radius: 10px;
  padding: 8px; }
.mmret .hits > li.wrong, .mmret .lines > li.wrong { border: 1px dashed var(--wrong); }
.mmret .hits > li.fits, .mmret .lines > li.fits { border: 3px double var(--right); padding: 6px; }
.mmret .hits > li.own, .mmret .lines > li.own { border: 3px solid var(--right); padding: 6px; }
.mmret .score { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 6px; font-size: 13px;
  white-space: nowrap; font-variant-numeric: tabular-nums; margin: 6px 0 3px; }
.mmret .score b { font-size: 14px; }
.mmret .score .mark { font-size: 14px; font-weight: 700; }
.mmret .own .mark, .mmret .fits .mark { color: var(--right); }
.mmret .wrong .mark { color: var(--wrong); }
.mmret .score .number { margin-left: auto; color: var(--quiet); }
.mmret .meter { display: block; height: 4px; border-radius: 2px; background: var(--wash);
  margin-bottom: 7px; }
.mmret .meter i { display: block; height: 4px; border-radius: 2px; background: var(--bar); }
.mmret .said { font-size: 13px; max-height: 8em; overflow: auto; }
.mmret details { font-size: 13px; color: var(--quiet); margin-top: 4px; }
.mmret summary { cursor: pointer; }
.mmret details li { margin-top: 4px; color: var(--ink); max-height: 8em; overflow: auto; }
.mmret .lines > li { margin-bottom: 8px; }
.mmret .lines .score { margin: 0 0 3px; }
.mmret .asked { max-width: 240px; }
.mmret .plain li { padding: 5px 0; border-top: 1px solid var(--edge); max-height: 8em;
  overflow: auto; }
</style>"""

MARKS = {"own": "✓", "fits": "✓ fits", "wrong": "✗", None: ""}
MEANS = {
    "own": "right: they belong together",
    "fits": "right: it fits too",
    "wrong": "wrong",
    None: "",
}


def panel(content: str) -> str:
    return f'<div class="mmret">{content}</div>'


def alert(message: str) -> str:
    """What went wrong, for eyes and for screen readers at once."""
    return panel(f'<p class="alert" role="alert">{text_html(message)}</p>')


def status(content: str) -> str:
    return f'<p class="status" role="status">{content}</p>'


def picture(image: Path, says: str) -> str:
    return f'<img {_small(image)} alt="{html.escape(visible(says))}" dir="auto">'


@lru_cache(maxsize=1024)  # about 20 KB each; to encode one again would take longer than the search
def _small(image: Path) -> str:
    return embedded(image, SIDE)


def column(name: str, note: str, content: str) -> str:
    heading = f"<h3>{text_html(name)}</h3>" if name else ""
    return f'<section>{heading}<p class="where">{note}</p>{content}</section>'


def pictures(hits: Sequence[Hit], judge: Callable[[Hit], Verdict]) -> str:
    """Cards of the pictures that were found, each with its captions."""
    cards = []
    for hit in hits:
        verdict = judge(hit)
        rest = "".join(f"<li>{text_html(caption)}</li>" for caption in hit.captions[1:])
        more = f"<details><summary>all its captions</summary><ul>{rest}</ul></details>"
        cards.append(
            f'<li class="hit {verdict or ""}">{picture(hit.image, hit.captions[0])}'
            f'{_score(hit, verdict)}<p class="said">{text_html(hit.captions[0])}</p>'
            f"{more if rest else ''}</li>"
        )
    return f'<ol class="hits">{"".join(cards)}</ol>'


def captions(hits: Sequence[Hit], judge: Callable[[Hit], Verdict]) -> str:
    """The captions that were found, the best first."""
    lines = []
    for hit in hits:
        verdict = judge(hit)
        lines.append(
            f'<li class="hit {verdict or ""}">{_score(hit, verdict)}'
            f'<p class="said">{text_html(hit.caption or "")}</p></li>'
        )
    return f'<ol class="lines">{"".join(lines)}</ol>'


def asked(image: str, heading: str, own: Sequence[str]) -> str:
    """The picture that asks, and the captions that were written for it."""
    lines = "".join(f"<li>{text_html(caption)}</li>" for caption in own)
    said = f'<h4 style="margin-top: 12px">Original captions</h4><ul class="plain">{lines}</ul>'
    return (
        f'<section><h3>{heading}</h3><p class="where">The picture that asks</p>'
        f'<div class="asked">{image}</div>{said if own else ""}</section>'
    )


def _score(hit: Hit, verdict: Verdict) -> str:
    mark = ""
    if verdict:
        mark = (
            f'<span class="mark" role="img" aria-label="{MEANS[verdict]}" title="{MEANS[verdict]}">'
            f"{MARKS[verdict]}</span>"
        )
    share = 100 * min(max(hit.score, 0.0), 1.0)
    return (
        f'<p class="score"><b>{hit.rank}</b> {mark} <span class="number" title="cosine similarity">'
        f'{hit.score:.3f}</span></p><span class="meter" aria-hidden="true">'
        f'<i style="width: {share:.0f}%"></i></span>'
    )
