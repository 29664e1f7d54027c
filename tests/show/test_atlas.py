"""The map of the losses: the answers that formulas give, and shares that are the losses' own."""

from functools import partial

import numpy as np
import pytest
import torch
from drawing import drawn

from mmret_lib.losses import BarlowTwins, MaxTriplet, SimCLR, SumTriplet
from mmret_lib.losses.atlas import (
    AdaptiveNCE,
    FalseNegativeFilter,
    MarginSoftmax,
    MultiSimilarity,
    SigLIP,
    TopKTriplet,
)
from mmret_lib.show.atlas import NEGATIVES, POSITIVE, Place, every_loss, place_of, share_map
from mmret_lib.show.tables import DISPLAY

pytestmark = pytest.mark.usefixtures("nothing_global_changes")


def soft(temperature: float) -> float:
    """The effective number of negatives of a softmax over the map's cosines."""
    share = np.exp(NEGATIVES.numpy() / temperature)
    return float(share.sum() ** 2 / np.square(share).sum())


WITHIN = int((NEGATIVES > POSITIVE - 0.2).sum())
KNOWN = {
    "sum_triplet": Place(WITHIN, "relative", falls=False, compete=False),
    "max_triplet": Place(1, "relative", falls=False, compete=True),
    "simclr": Place(soft(0.07), "none", falls=False, compete=True),
    "barlow_twins": None,
    "margin_softmax": Place(soft(0.05), "relative", falls=False, compete=True),
    "top_k_triplet": Place(8, "relative", falls=False, compete=True),
    "multi_similarity": Place(soft(1 / 40), "absolute", falls=False, compete=True),
    "siglip": Place(21.8, "absolute", falls=False, compete=False),
    "smooth_ap": Place(2.4, "relative", falls=True, compete=True),
    "hard_negative_nce": Place(soft(1 / (1 / 0.07 + 1)), "relative", falls=False, compete=True),
    "adaptive_nce": Place(5.1, "relative", falls=False, compete=True),
    "false_negative_filter": Place(5.0, "relative", falls=True, compete=True),
}


@pytest.mark.parametrize("name", DISPLAY)
def test_every_loss_has_its_place(name: str) -> None:
    place, known = place_of(every_loss()[name]), KNOWN[name]
    if known is None or place is None:
        assert place is known
        return
    assert (place.gate, place.falls, place.compete) == (known.gate, known.falls, known.compete)
    assert place.effective == pytest.approx(known.effective, rel=1e-6 if name in EXACT else 0.02)


EXACT = set(DISPLAY) - {"siglip", "smooth_ap", "adaptive_nce", "false_negative_filter"}


@pytest.mark.parametrize(
    ("make", "gate"),
    [
        (partial(SimCLR, positive_in_denominator=True), "relative"),
        (partial(MarginSoftmax, 0.0), "relative"),
        (partial(SigLIP, bias=0.0), "absolute"),
        (partial(MultiSimilarity, base=-0.9), "none"),  # open at any of these similarities
    ],
)
def test_a_setting_can_open_or_close_a_gate(make: partial, gate: str) -> None:
    assert place_of(make()).gate == gate


def test_a_narrow_bell_falls_at_the_top_and_a_wide_one_does_not() -> None:
    """The bell's share is largest at mu + sigma^2 / t: 0.54 and 0.97 here."""
    assert place_of(AdaptiveNCE(sigma=0.1)).falls
    assert not place_of(AdaptiveNCE(sigma=0.2)).falls


def test_top_k_goes_from_the_max_to_the_sum() -> None:
    assert place_of(TopKTriplet(k=1)) == place_of(MaxTriplet())
    assert place_of(TopKTriplet(k=64)) == place_of(SumTriplet())


def test_a_filter_without_a_positive_above_anything_drops_all() -> None:
    place = place_of(FalseNegativeFilter(SumTriplet()))
    assert place.effective == ((NEGATIVES > POSITIVE - 0.2) & (NEGATIVES < POSITIVE)).sum()


def test_the_map_draws_the_shares_of_the_losses() -> None:
    figure = drawn(share_map())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == list(DISPLAY.values())
    panels = dict(zip(DISPLAY, figure.axes, strict=True))
    own = {name: next(lines(axes), None) for name, axes in panels.items()}
    assert own.pop("barlow_twins") is None
    for name, line in own.items():
        assert line.get_ydata().sum() == pytest.approx(100), name
    expected = (NEGATIVES / 0.07).softmax(0)
    np.testing.assert_allclose(own["simclr"].get_ydata(), 100 * expected, rtol=1e-6)
    assert "four questions do not apply" in said(panels["barlow_twins"])
    assert "5.0 of 64 count; gate: none" in said(panels["simclr"])


def lines(axes):
    """The lines that belong to the panel's own loss: those with marks."""
    return (line for line in axes.lines if line.get_marker() not in ("None", None, ""))


def said(axes) -> str:
    return "\n".join(text.get_text() for text in axes.texts)


def test_a_map_of_two_losses_needs_no_atlas() -> None:
    torch.manual_seed(0)
    figure = drawn(share_map({"simclr": SimCLR(0.3), "mine": BarlowTwins()}))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["SimCLR", "mine"]
    with pytest.raises(ValueError, match="empty"):
        share_map({})
