"""How the losses share out one query's push, by the similarity of the negative, with sliders."""

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from mmret_lib.losses import MaxTriplet, SimCLR, SumTriplet
from mmret_lib.losses.atlas import FalseNegativeFilter
from mmret_lib.losses.base import PairLoss
from mmret_lib.show import html, sheet
from mmret_lib.show.sheet import QUIET, CourseFigure, styled
from mmret_lib.show.view import widget_view

NEGATIVES = torch.linspace(-0.9, 0.9, 19)  # similarities of one query's negatives
SHARED = "DCL and InfoNCE"  # they share out alike, and differ in the push as a whole


def pushes(loss: PairLoss, positive: float, negatives: torch.Tensor = NEGATIVES) -> np.ndarray:
    """Return the derivatives of one query's cost by its negatives' similarities, (N,).

    Args:
        loss: one with a `direction`, or a `FalseNegativeFilter`, which takes the similarities
            themselves as its guide.
        positive: the similarity of the query's positive.
        negatives: (N,), those of its negatives.
    """
    size = len(negatives) + 1
    rows = torch.full((size, size), -1.0, dtype=negatives.dtype)
    rows[0, 0], rows[0, 1:] = positive, negatives
    counted = ~torch.eye(size, dtype=torch.bool)
    if isinstance(loss, FalseNegativeFilter):
        counted = loss.kept(rows, counted)
        loss = loss.loss
    rows.requires_grad_()
    with torch.enable_grad():
        value = loss.direction(rows, counted) * size
    (gradient,) = torch.autograd.grad(value, rows)
    push: np.ndarray = gradient[0, 1:].numpy()
    return push


@styled
def share_curves(temperature: float = 0.07, margin: float = 0.2, positive: float = 0.6) -> Figure:
    """Draw each loss's shares of one query's push against the similarity of its negatives."""
    losses = {
        "sum_triplet": ("Sum Triplet", SumTriplet(margin)),
        "max_triplet": ("Max Triplet", MaxTriplet(margin)),
        "simclr": (SHARED, SimCLR(temperature)),
    }
    figure = CourseFigure(figsize=(7.6, 3.6), layout="constrained")
    axes = figure.subplots()
    for place, (key, (name, loss)) in enumerate(losses.items()):
        push = pushes(loss, positive)
        colour, marker, line = sheet.look(key, place)
        label = name if push.any() else f"{name}: pushes nobody"
        shares = 100 * push / (push.sum() or 1)
        axes.plot(NEGATIVES, shares, color=colour, marker=marker, linestyle=line, label=label)
    axes.axvline(positive, color=QUIET, linewidth=1)
    axes.annotate("positive", (positive, 98), xytext=(4, 0), textcoords="offset points", va="top")
    axes.axvspan(positive - margin, 1, color=QUIET, alpha=0.08, linewidth=0)
    axes.set(
        title=f"One query, {len(NEGATIVES)} negatives: {described(temperature, margin, positive)}",
        xlabel="similarity of the negative (cosine); shaded: within the margin",
        ylabel="share of the push (%)",
        xlim=(-1, 1),
        ylim=(-3, 103),
    )
    axes.legend(loc="upper left")
    sheet.add_grid(axes)
    return figure


def described(temperature: float, margin: float, positive: float) -> str:
    """Say how hard InfoNCE pushes in all, beside DCL, with these settings."""
    dcl, kept = (pushes(SimCLR(temperature, keep), positive).sum() for keep in (False, True))
    settings = f"τ = {temperature:.2g}, m = {margin:.2g}"
    return f"{settings}; InfoNCE pushes {kept / dcl:.0%} as hard as DCL"


class ShareCurves:
    """The figure with sliders for temperature, margin and the positive's similarity.

    Where there is no kernel, the picture of its first position is shown.

    Example:
        >>> ShareCurves()
    """

    def __init__(self, temperature: float = 0.07, margin: float = 0.2) -> None:
        """Make the sliders and draw the first position."""
        label = {"description_width": "6.5rem"}
        wide = widgets.Layout(width="26rem", max_width="100%")
        self.temperature = widgets.FloatLogSlider(
            value=temperature,
            min=-2,
            max=0.5,
            step=0.05,
            description="Temperature",
            style=label,
            layout=wide,
            readout_format=".3f",
        )
        self.margin = widgets.FloatSlider(
            value=margin, min=0.05, max=1, step=0.05, description="Margin", style=label, layout=wide
        )
        self.positive = widgets.FloatSlider(
            value=0.6, min=-1, max=1, step=0.05, description="Positive", style=label, layout=wide
        )
        self.picture = widgets.HTML()
        sliders = [self.temperature, self.margin, self.positive]
        self.box = widgets.VBox([*sliders, self.picture])
        for slider in sliders:
            slider.observe(lambda _: self.draw(), "value")
        self.draw()

    def draw(self) -> None:
        """Draw the figure for the sliders' values."""
        now = self.temperature.value, self.margin.value, self.positive.value
        self.png = share_curves(*now)._repr_png_()  # type: ignore[attr-defined] # CourseFigure's
        alt = f"Shares of the push against similarity: {described(*now)}"
        url = html.data_url(self.png, "png")
        self.picture.value = f'<img src="{url}" alt="{alt}" style="max-width: 100%">'

    def __repr__(self) -> str:
        now = self.temperature.value, self.margin.value, self.positive.value
        return f"<ShareCurves: {described(*now)}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        """The widget, and for a page without a kernel its picture."""
        return {
            "text/plain": repr(self),
            "image/png": html.data_url(self.png, "png").split(",", 1)[1],
            **widget_view(self.box),
        }
