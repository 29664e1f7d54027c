"""The map of all losses: four questions about how a loss weighs its negatives, and their answers.

1. How sharp are the shares? The effective number of negatives, of 64 spread evenly over cosines.
2. Is there a gate, a point from which on a query pushes nobody? None, one relative to its positive,
   or one at an absolute similarity.
3. Do the shares fall again at the top, for the negatives that are the most similar?
4. Do a query's negatives compete: does one that comes nearer take push from another?

The answers are measured on the losses' own gradients (`shares.pushes`), not read off their
formulas, so that they hold for any loss with a `direction`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from torch import Tensor

from mmret_lib.losses.atlas import FalseNegativeFilter
from mmret_lib.losses.base import PairLoss
from mmret_lib.losses.negatives import effective_negatives
from mmret_lib.show import sheet
from mmret_lib.show.shares import pushes
from mmret_lib.show.sheet import FAINT, INK, QUIET, CourseFigure, styled
from mmret_lib.show.tables import DISPLAY, display_name
from mmret_lib.training.recipes import build_loss

POSITIVE = 0.6  # cosine of the query's positive
NEGATIVES = torch.linspace(-0.9, 0.9, 64, dtype=torch.float64)  # cosines of its negatives
NARROW = NEGATIVES / 3  # leaves room to move the positive, and to shift them all
CLOSED = 0.1  # a gate has closed where less than this of the largest push is left


@dataclass(frozen=True)
class Place:
    """A loss's answers to the four questions.

    Attributes:
        effective: the effective number of 64 negatives spread evenly over cosines from -0.9 to 0.9,
            with the positive at 0.6: 1 where one takes the whole push, 64 where all share alike.
        gate: "none", "relative" (it moves with the positive) or "absolute" (it stands at a
            similarity).
        falls: whether the most similar negative has a smaller share than a less similar one.
        compete: whether a negative that comes nearer lowers the push on another.
    """

    effective: float
    gate: str
    falls: bool
    compete: bool


def place_of(loss: PairLoss) -> Place | None:
    """Answer the four questions for a loss, or None where it has no negatives by similarity.

    Barlow Twins is such a loss: it pushes image b from image k as hard as their texts are alike,
    whatever the similarity of image b and text k.
    """
    if not goes_by_similarity(loss):
        return None
    push = torch.from_numpy(pushes(loss, POSITIVE, NEGATIVES))  # (64,)
    share = push / push.sum()
    return Place(
        effective=effective_negatives(share[None])[0],
        gate=_gate(loss),
        falls=bool(share[-1] < 0.999 * share.max()),
        compete=_compete(loss, push),
    )


def goes_by_similarity(loss: PairLoss) -> bool:
    """Return whether a loss pushes a negative by the similarity to its query."""
    return isinstance(loss, FalseNegativeFilter) or type(loss).direction is not PairLoss.direction


def _gate(loss: PairLoss) -> str:
    """Find the gate: move the positive alone, then all similarities together."""
    moved = [_total(loss, float(p), NARROW) for p in torch.linspace(-1, 1, 21)]
    shifts = torch.linspace(-0.65, 0.65, 14).tolist()
    shifted = [_total(loss, shift, NARROW + shift) for shift in shifts]
    relative, absolute = (min(totals) < CLOSED * max(totals) for totals in (moved, shifted))
    if relative and absolute:
        return "relative and absolute"
    return "relative" if relative else "absolute" if absolute else "none"


def _total(loss: PairLoss, positive: float, negatives: Tensor) -> float:
    return float(pushes(loss, positive, negatives).sum())


def _compete(loss: PairLoss, push: Tensor) -> bool:
    """Return whether the push on another falls where the easiest negative becomes a hard one."""
    for hard in (POSITIVE - 0.01, 0.95):  # below the positive, and above all
        nearer = NEGATIVES.clone()
        nearer[0] = hard
        after = torch.from_numpy(pushes(loss, POSITIVE, nearer))
        if (push - after)[1:].max() > 0.01 * push.max():
            return True
    return False


def every_loss() -> dict[str, PairLoss]:
    """Build the twelve losses at their defaults, in the order of the course and its atlas."""
    return {name: build_loss(name).eval() for name in DISPLAY}


@styled
def share_map(losses: Mapping[str, PairLoss] | None = None) -> Figure:
    """Draw each loss's share of a negative against its similarity, one panel a loss.

    One query, its positive at a cosine of 0.6, 64 negatives spread evenly over cosines. The shares
    stand on a logarithmic axis, on which a softmax is a straight line and its slope one over the
    temperature. The other losses are faint lines in every panel. Below each name stand the loss's
    answers to the four questions (see `Place`).

    Args:
        losses: name -> loss; None takes all twelve at their defaults.
    """
    losses = every_loss() if losses is None else losses
    sheet.check_not_empty(losses, "losses")
    curves = {
        name: _shares(loss) for name, loss in losses.items() if goes_by_similarity(loss)
    }  # percent
    columns = min(4, len(losses))
    rows = -(-len(losses) // columns)
    figure = CourseFigure(figsize=(2.9 * columns, 2.85 * rows + 0.8), layout="constrained")
    figure.suptitle("Who is pushed away, by similarity, and how hard", fontsize=13)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in panels[len(losses) :]:
        axes.set_axis_off()
    for number, (axes, (name, loss)) in enumerate(zip(panels, losses.items(), strict=False)):
        colour = sheet.look(name, number)[0]
        axes.set_title(
            display_name(name), loc="left", pad=27, fontsize=11, color=colour, weight="bold"
        )
        place = place_of(loss)
        axes.annotate(
            _answers(place),
            (0, 1),
            xytext=(0, 3),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=8,
            color=QUIET,
        )
        for other, curve in curves.items():
            if other != name:
                axes.plot(NEGATIVES, curve, color=FAINT, linewidth=0.8, zorder=1)
        if name in curves:
            _draw_curve(axes, name, number, curves[name])
        axes.text(-0.93, 1.5, _remark(loss), fontsize=8.5, color=INK, va="center", zorder=4)
        axes.axvline(POSITIVE, color=QUIET, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        _scale(axes)
    first = panels[0]
    first.annotate(
        "positive",
        (POSITIVE, 120),
        xytext=(-3, 0),
        textcoords="offset points",
        fontsize=8,
        color=QUIET,
        ha="right",
        va="top",
    )
    figure.supxlabel("similarity of the negative to the query (cosine)", fontsize=10)
    figure.supylabel("share of the push (%), logarithmic", fontsize=10)
    return figure


def _shares(loss: PairLoss) -> Tensor:
    push = torch.from_numpy(pushes(loss, POSITIVE, NEGATIVES))
    return 100 * push / push.sum()


def _answers(place: Place | None) -> str:
    if place is None:
        return "no negatives by similarity:\nthe four questions do not apply"
    top = "falls at the top" if place.falls else "no fall at the top"
    compete = "they compete" if place.compete else "no competition"
    return f"{place.effective:.1f} of 64 count; gate: {place.gate}\n{top}; {compete}"


def _remark(loss: PairLoss) -> str:
    """What a reader of a panel has to know beside its curve."""
    if isinstance(loss, FalseNegativeFilter):
        return f"around {type(loss.loss).__name__};\nits guide: the\nsimilarities"
    if goes_by_similarity(loss):
        return ""
    return "pushes image b\nfrom image k as\nhard as their texts\nare alike (lesson 06)"


def _draw_curve(axes: Axes, name: str, number: int, curve: Tensor) -> None:
    colour, marker, _ = sheet.look(name, number)
    axes.plot(
        NEGATIVES, curve, color=colour, marker=marker, markersize=3.5, linewidth=1.2, zorder=3
    )


def _scale(axes: Axes) -> None:
    # Linear below 0.01 %, so that a share of 0 has its place at the bottom.
    axes.set_yscale("symlog", linthresh=0.01, linscale=0.4)
    axes.set(xlim=(-1, 1), ylim=(-0.002, 150))
    ticks = [0, 0.01, 0.1, 1, 10, 100]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator([-0.8, -0.4, 0, 0.4, 0.8]))
    sheet.add_grid(axes)
