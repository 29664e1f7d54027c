"""How each loss weighs the negatives of a batch, with sliders for temperature and margin."""

import io
from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from mmret_lib.data.images import Picture
from mmret_lib.files.errors import DataError
from mmret_lib.losses import ATLAS, LOSSES, negative_weights
from mmret_lib.show import html
from mmret_lib.show.negatives import SHADE_MAP, SHADES, hardest, percent, sharing
from mmret_lib.show.sheet import FAINT, look
from mmret_lib.show.stored import Pictured, weights_sheet
from mmret_lib.show.tables import display_name
from mmret_lib.training.recipes import build_loss, settings_of

MOST = 128  # pairs: a larger map could not be read, nor drawn while a slider moves
SIDE = 128  # longest side of a picture, in pixels


class NegativeWeights(Pictured):
    """Show how hard each loss pushes each negative of one batch, with sliders for its settings.

    Above, one map for each loss: a row is a query, a column a negative, darker is a larger share of
    the query's push. Below, for the chosen query, the negatives that are pushed away hardest. A
    list offers all losses to compare; temperature and margin are those of every loss that has one.

    Args:
        image_emb, text_emb: (B, D) each, row b of one belonging to row b of the other, not yet
            normalised; B between 2 and 128, best about 24.
        captions: the B captions. Pairs with the same caption are no negatives of each other.
        images: B pictures to show, each in any form that `SearchIndex.by_image` takes, or one
            uint8 tensor (B, 3, S, S).
        losses: the names of those to begin with, by default the four of the course.

    Raises:
        DataError: another number of captions or images than pairs, more than 128 pairs, or no loss
            of such a name.
        TypeError, ValueError: embeddings that no loss takes (see `losses`).

    Example:
        >>> NegativeWeights(model.encode_images(images), model.encode_texts(captions), captions)
    """

    def __init__(
        self,
        image_emb: Tensor,
        text_emb: Tensor,
        captions: Sequence[str],
        images: Sequence[Picture] | Tensor | np.ndarray | None = None,
        losses: Sequence[str] = (),
    ) -> None:
        for name in losses:
            build_loss(name)
        self.image_emb, self.text_emb = image_emb.detach().cpu(), text_emb.detach().cpu()
        self.captions = list(captions)
        size = len(self.image_emb)
        for noun, things in (("captions", captions), ("images", images)):
            if things is not None and len(things) != size:
                raise DataError(f"{len(things)} {noun} for {size} pairs: one each is needed")
        if size > MOST:
            raise DataError(f"{size} pairs are too many to be told apart; show {MOST} at most")
        self.pictures = [""] * size
        if images is not None:
            self.pictures = [
                html.image_html(
                    image.cpu().numpy() if isinstance(image, Tensor) else image, caption, SIDE
                )
                for image, caption in zip(images, captions, strict=True)
            ]

        label = {"description_width": "6.5rem"}
        wide = widgets.Layout(width="26rem", max_width="100%")
        self.temperature = widgets.FloatLogSlider(
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
        self.margin = widgets.FloatSlider(
            value=0.2, min=0.01, max=1, step=0.01, description="Margin", style=label, layout=wide
        )
        self.direction = widgets.Dropdown(
            options=[("image → captions", 0), ("caption → images", 1)],
            description="Who asks",
            style=label,
            layout=wide,
        )
        self.pair = widgets.BoundedIntText(
            value=0,
            min=0,
            max=size - 1,
            description="Query pair",
            style=label,
            layout=widgets.Layout(width="13rem"),
        )
        self.losses = widgets.SelectMultiple(
            options=[(display_name(name), name) for name in [*LOSSES, *ATLAS]],
            value=tuple(losses or LOSSES),
            rows=4,
            description="Losses",
            style=label,
            layout=wide,
        )
        self.results = widgets.HTML()
        row = widgets.Layout(flex_flow="row wrap")
        super().__init__(
            [
                widgets.HTML(html.WIDGET_STYLE, layout=widgets.Layout(display="none")),
                widgets.HBox([self.temperature, self.margin], layout=row),
                widgets.HBox([self.direction, self.pair, self.losses], layout=row),
                self.results,
            ]
        )
        # Begin with the query that has most negatives within the margin: it has most to show.
        within = self.share("sum_triplet") > 0  # (B, B)
        self.pair.value = int(within.sum(axis=1).argmax())
        for field in (self.temperature, self.margin, self.direction, self.pair, self.losses):
            field.observe(lambda _: self.draw(), "value")
        self.draw()

    def shares(self) -> dict[str, np.ndarray]:
        """Name of a loss -> (B, B), the shares of each query's push in the chosen direction."""
        return {name: self.share(name) for name in [*LOSSES, *ATLAS] if name in self.losses.value}

    def share(self, name: str) -> np.ndarray:
        """(B, B), the shares of one loss with the sliders' settings, in the chosen direction."""
        sliders = {"temperature": self.temperature.value, "margin": self.margin.value}
        # A filter's margin is in the unit of its guide, and the temperature its inner loss's.
        filtered = name == "false_negative_filter"
        taken = ["temperature"] if filtered else settings_of(name)
        settings = {key: value for key, value in sliders.items() if key in taken}
        weights = negative_weights(
            build_loss(name, **settings).eval(),
            self.image_emb,
            self.text_emb,
            caption_ids=self.captions,
        )  # (2, B, B)
        share: np.ndarray = weights[self.direction.value].numpy()
        return share

    def draw(self) -> None:
        """Compute the weights for the sliders' values, and show them."""
        shares, query = self.shares(), self.pair.value
        asks, pushed = ("image", "caption") if self.direction.value == 0 else ("caption", "image")
        maps = "".join(_map(name, share, query) for name, share in shares.items())
        self.results.value = html.panel(
            f'<div class="maps">{maps}</div>{_key(asks)}'
            f'<div class="query">{self.pictures[query]}<div><h4>▸ The query: the {asks} of pair '
            f"{query}</h4>{html.text_html(self.captions[query])}</div></div>"
            f"{self._table(shares, query, asks, pushed)}"
        )

    def _table(self, shares: dict[str, np.ndarray], query: int, asks: str, pushed: str) -> str:
        listed, rest = hardest(shares, query)
        rows = [
            f'<th scope="row"><div>{self.pictures[k]}{html.text_html(self.captions[k])}</div></th>'
            + "".join(_cell(name, float(share[query, k])) for name, share in shares.items())
            for k in listed
        ]
        if rest:
            rows.append(
                f'<th scope="row">the other {len(rest)}, together</th>'
                + "".join(_cell(name, float(s[query, rest].sum())) for name, s in shares.items())
            )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        heads = "".join(f'<th scope="col">{display_name(name)}</th>' for name in shares)
        return (
            f"<table><caption>The {pushed}s pushed away hardest, and their share of the push "
            f"(Barlow Twins has no negatives: there {asks}s push {asks}s)</caption>"
            f'<thead><tr><th scope="col">{pushed} of</th>{heads}</tr></thead>'
            f"<tbody>{body}</tbody></table>"
        )

    def stored_picture(self) -> Figure:
        """The maps, for a page without a kernel."""
        asks = ("image", "caption")[self.direction.value]
        asked = f"▶ the {asks} of pair {self.pair.value}: {self.captions[self.pair.value]}"
        return weights_sheet(self.shares(), self.pair.value, asked)

    def __repr__(self) -> str:
        return f"<NegativeWeights of {len(self.captions)} pairs>"


def _map(name: str, share: np.ndarray, query: int) -> str:
    size = len(share)
    effective = sharing(share)
    shared = "none" if effective is None else f"≈ {effective:.1f}"
    said = f"{shared} of {size - 1} share a push"
    top = int(share[query].argmax())
    pushed = (
        f"pair {top} hardest, {percent(share[query, top])}" if share[query, top] > 0 else "nobody"
    )
    alt = f"Heat map, {display_name(name)}: {said}; query {query} pushes {pushed}"
    pixels = _colours(share)
    np.einsum("iic->ic", pixels)[:] = np.round(255 * np.array(to_rgb(FAINT)))  # the own pairs
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")  # one pixel for each pair
    return (
        f'<div><h3>{display_name(name)}</h3><p class="where">{said}</p><div class="map">'
        f'<img src="{html.data_url(file.getvalue(), "png")}" alt="{escape(alt)}"><i class="row" '
        f'style="top: {100 * query / size:.3f}%; height: {100 / size:.3f}%"></i></div></div>'
    )


def _cell(name: str, share: float) -> str:
    colour = look(name, 0)[0]
    return (
        f'<td>{escape(percent(share))}<span class="meter" aria-hidden="true">'
        f'<i style="width: {100 * share:.0f}%; background: {colour}"></i></span></td>'
    )


def _colours(shares: Any) -> np.ndarray:
    """(..., 3) uint8, in the colours of `negatives.weight_maps`."""
    return np.asarray(mpl.colormaps[SHADE_MAP](SHADES(np.asarray(shares)), bytes=True))[..., :3]


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
