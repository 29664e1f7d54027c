"""Whom a loss pushes away, under the reader's own hand: `widgets.NegativeWeights`."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from ipywidgets import (
    HTML,
    BoundedIntText,
    Dropdown,
    FloatLogSlider,
    FloatSlider,
    HBox,
    Layout,
    VBox,
)
from matplotlib.colors import to_rgb
from PIL import Image
from torch import Tensor

from mmret_lib.files.errors import DataError, visible
from mmret_lib.losses import LOSSES, negative_weights
from mmret_lib.search.index import Picture
from mmret_lib.show import cards
from mmret_lib.show.figures import LISTED, SHADE_MAP, SHADES, look, percent, sharing
from mmret_lib.show.html import embedded, text_html
from mmret_lib.show.sheet import FAINT
from mmret_lib.show.tables import DISPLAY
from mmret_lib.training.recipes import build_loss

MOST = 128  # pairs: a larger map could not be read, nor drawn while a slider moves

STYLE = """<style>
.mmret .maps { display: grid; gap: 18px; margin: 4px 0 16px;
  grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.mmret .maps h3 { font-size: 15px; }
.mmret .maps .map { position: relative; max-width: 300px; }
.mmret .maps img { image-rendering: pixelated; border-radius: 0; border: 1px solid var(--quiet); }
.mmret .maps .row { position: absolute; left: -2px; right: -2px; border: 2px solid var(--ink);
  border-left-width: 6px; }
.mmret .key { display: flex; flex-wrap: wrap; gap: 4px 14px; font-size: 13px; color: var(--quiet);
  margin-bottom: 14px; }
.mmret .key i { display: inline-block; width: 14px; height: 14px; margin-right: 5px;
  vertical-align: -2px; border: 1px solid var(--edge); }
.mmret .query { display: flex; gap: 14px; align-items: center; margin-bottom: 12px; }
.mmret .query img { width: 84px; }
.mmret table { border-collapse: collapse; width: 100%; font-size: 13px; color: var(--ink); }
.mmret table caption { text-align: left; font-weight: 650; font-size: 14px; padding-bottom: 6px;
  color: var(--ink); }
.mmret th, .mmret td { text-align: left; padding: 4px 8px; border-top: 1px solid var(--edge);
  vertical-align: middle; font-weight: 400; }
.mmret thead th { font-weight: 650; border-top: none; }
.mmret td { width: 15%; min-width: 84px; font-variant-numeric: tabular-nums; }
.mmret tbody th > div { display: flex; gap: 10px; align-items: center; max-height: 6em;
  overflow: auto; }
.mmret tbody th img { width: 38px; flex: none; }
.mmret td .meter { margin: 3px 0 0; height: 6px; }
.mmret td .meter i { height: 6px; }
</style>"""


class NegativeWeights(VBox):
    """One batch: how hard every loss pushes each negative, while temperature and margin move.

    Above, one map for each loss: a row is a query, a column a negative, darker is a larger share of
    the query's push. Below, for the chosen query, the negatives that are pushed away hardest.

    Args:
        image_emb, text_emb: (B, D) each, row b of one belonging to row b of the other, not yet
            normalised; B between 2 and 128, best about 24.
        captions: the B captions. Pairs with the same caption are no negatives of each other.
        images: B pictures to show, each in any form that `SearchIndex.by_image` takes, or one
            uint8 tensor (B, 3, S, S).

    Raises:
        DataError: another number of captions or images than pairs, or more than 128 pairs.
        TypeError, ValueError: embeddings that no loss takes (see `losses`).
    """

    def __init__(
        self,
        image_emb: Tensor,
        text_emb: Tensor,
        captions: Sequence[str],
        images: Sequence[Picture] | Tensor | np.ndarray | None = None,
    ) -> None:
        self.image_emb, self.text_emb = image_emb.detach().cpu(), text_emb.detach().cpu()
        self.captions = list(captions)
        size = len(self.image_emb)
        for noun, things in (("captions", captions), ("images", images)):
            if things is not None and len(things) != size:
                raise DataError(f"{len(things)} {noun} for {size} pairs: one each is needed")
        if size > MOST:
            raise DataError(f"{size} pairs are too many to be told apart; show {MOST} at most")
        self.thumbs = [_thumb(one) for one in images] if images is not None else None

        label = {"description_width": "6.5rem"}
        wide = Layout(width="26rem", max_width="100%")
        self.temperature = FloatLogSlider(
            value=0.07,
            base=10,
            min=-2,
            max=0,
            step=0.005,
            description="Temperature",
            style=label,
            layout=wide,
            readout_format=".3f",
        )
        self.margin = FloatSlider(
            value=0.2, min=0.01, max=1, step=0.01, description="Margin", style=label, layout=wide
        )
        self.direction = Dropdown(
            options=[("image → captions", 0), ("caption → images", 1)],
            description="Who asks",
            style=label,
            layout=wide,
        )
        self.pair = BoundedIntText(
            value=0,
            min=0,
            max=size - 1,
            description="Query pair",
            style=label,
            layout=Layout(width="13rem"),
        )
        self.results = HTML()
        row = Layout(flex_flow="row wrap")
        super().__init__(
            [
                HTML(cards.STYLE + STYLE, layout=Layout(display="none")),
                HBox([self.temperature, self.margin], layout=row),
                HBox([self.direction, self.pair], layout=row),
                self.results,
            ]
        )
        self.shares()  # refuses embeddings that no loss takes, before anything is shown
        self.pair.value = self._busiest()
        for one in (self.temperature, self.margin, self.direction, self.pair):
            one.observe(lambda _: self.draw(), "value")
        self.draw()

    def shares(self) -> dict[str, np.ndarray]:
        """Name of a loss -> (B, B), the shares of each query's push in the chosen direction."""
        settings = {
            "simclr": {"temperature": self.temperature.value},
            "sum_triplet": {"margin": self.margin.value},
            "max_triplet": {"margin": self.margin.value},
        }
        both = {
            name: negative_weights(
                build_loss(name, **settings.get(name, {})).eval(),
                self.image_emb,
                self.text_emb,
                caption_ids=self.captions,
            )  # (2, B, B)
            for name in LOSSES
        }
        return {name: weights[self.direction.value].numpy() for name, weights in both.items()}

    def draw(self) -> None:
        """Compute the weights as the sliders stand, and show them."""
        shares, query = self.shares(), self.pair.value
        asks, pushed = ("image", "caption") if self.direction.value == 0 else ("caption", "image")
        maps = "".join(self._map(name, share, query) for name, share in shares.items())
        thumb = self._picture(query)
        self.results.value = cards.panel(
            f'<div class="maps">{maps}</div>{_key(asks)}'
            f'<div class="query">{thumb}<div><h4>▸ The query: the {asks} of pair {query}</h4>'
            f"{text_html(self.captions[query])}</div></div>"
            f"{self._table(shares, query, asks, pushed)}"
        )

    def _map(self, name: str, share: np.ndarray, query: int) -> str:
        size = len(share)
        effective = sharing(share)
        shared = "none" if effective is None else f"≈ {effective:.1f}"
        said = f"{shared} of {size - 1} share a push"
        hardest = int(share[query].argmax())
        top = share[query, hardest]
        whom = f"pair {hardest} hardest, {percent(top)}" if top > 0 else "nobody"
        alt = f"Heat map, {DISPLAY[name]}: {said}; query {query} pushes {whom}"
        return (
            f'<div><h3>{DISPLAY[name]}</h3><p class="where">{said}</p><div class="map">'
            f'<img src="{_heat(share)}" alt="{html.escape(alt)}"><i class="row" '
            f'style="top: {100 * query / size:.3f}%; height: {100 / size:.3f}%"></i></div></div>'
        )

    def _table(self, shares: dict[str, np.ndarray], query: int, asks: str, pushed: str) -> str:
        total = np.sum([share[query] for share in shares.values()], axis=0)  # (B,)
        others = [k for k in np.argsort(-total, kind="stable").tolist() if k != query]
        listed, rest = others[:LISTED], others[LISTED:]
        rows = [
            f'<th scope="row"><div>{self._picture(k)}{text_html(self.captions[k])}</div></th>'
            + "".join(_cell(name, float(share[query, k])) for name, share in shares.items())
            for k in listed
        ]
        if rest:
            rows.append(
                f'<th scope="row">the other {len(rest)}, together</th>'
                + "".join(_cell(name, float(s[query, rest].sum())) for name, s in shares.items())
            )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        heads = "".join(f'<th scope="col">{DISPLAY[name]}</th>' for name in shares)
        return (
            f"<table><caption>The {pushed}s pushed away hardest, and their share of the push "
            f"(Barlow Twins has no negatives: there {asks}s push {asks}s)</caption>"
            f'<thead><tr><th scope="col">{pushed} of</th>{heads}</tr></thead>'
            f"<tbody>{body}</tbody></table>"
        )

    def _picture(self, k: int) -> str:
        if self.thumbs is None:
            return ""
        says = html.escape(visible(self.captions[k]))
        return f'<img {self.thumbs[k]} alt="{says}" dir="auto">'

    def _busiest(self) -> int:
        """The query that has most negatives within the margin: the one worth looking at."""
        return int((self.shares()["sum_triplet"] > 0).sum(axis=1).argmax())

    def __repr__(self) -> str:
        return f"<NegativeWeights of {len(self.captions)} pairs>"


def _thumb(picture: Any) -> str:
    return embedded(picture.cpu().numpy() if isinstance(picture, Tensor) else picture, 128)


def _cell(name: str, share: float) -> str:
    colour = look(name, 0)[0]
    return (
        f'<td>{html.escape(percent(share))}<span class="meter" aria-hidden="true">'
        f'<i style="width: {100 * share:.0f}%; background: {colour}"></i></span></td>'
    )


def _colours(share: Any) -> np.ndarray:
    """(..., 3) uint8, in the colours of `figures.negative_weights`."""
    return mpl.colormaps[SHADE_MAP](SHADES(np.asarray(share)), bytes=True)[..., :3]


def _heat(share: np.ndarray) -> str:
    """(B, B) as a picture of B x B pixels, the queries' own pairs in grey."""
    pixels = _colours(share)
    np.einsum("iic->ic", pixels)[:] = np.round(255 * np.array(to_rgb(FAINT)))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _key(asks: str) -> str:
    steps = (0, 0.05, 0.2, 0.5, 1)
    swatches = "".join(
        f'<span><i style="background: rgb{tuple(colour)}"></i>{share:.0%}</span>'
        for share, colour in zip(steps, _colours(steps).tolist(), strict=True)
    )
    return (
        f'<div class="key"><span>A row: one {asks} asks. Darker: a larger share of its push.</span>'
        f'{swatches}<span><i style="background: {FAINT}"></i>its own pair</span></div>'
    )
