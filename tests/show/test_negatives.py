"""How a loss weighs its negatives, as figures: maps, bars, and a circle."""

import numpy as np
import pytest
import torch
from drawing import ODD_TEXTS, drawn, texts
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from mmret_lib.data.images import read_pixels
from mmret_lib.losses import LOSSES, MaxTriplet, SumTriplet, negative_weights
from mmret_lib.show.negatives import push_on_circle, sharing, weight_maps
from mmret_lib.show.tables import DISPLAY

pytestmark = pytest.mark.usefixtures("nothing_global_changes")


@pytest.fixture(scope="module")
def batch(index):
    """24 pairs, one caption each, and the weights of the four losses on them."""
    captions = [index.pairs.captions[5 * i] for i in range(24)]
    images = torch.stack([torch.tensor(read_pixels(p, 64)) for p in index.pairs.images[:24]])
    torch.manual_seed(1)
    image_emb = torch.nn.functional.normalize(torch.randn(24, 6), dim=1)
    text_emb = image_emb + 0.2 * torch.randn(24, 6)
    weights = {
        name: negative_weights(kind(), image_emb, text_emb, caption_ids=captions)
        for name, kind in LOSSES.items()
    }
    return weights, captions, images


def heat_maps(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_xlabel().endswith("of pair …")]


def bar_charts(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_xlabel() == "share of the push"]


@pytest.mark.slow
@pytest.mark.parametrize("query", [0, 23])
def test_maps_hold_the_weights_and_bars_the_row_that_was_asked_for(batch, query):
    weights, captions, images = batch
    figure = drawn(weight_maps(weights, captions, images, query))
    maps, bars = heat_maps(figure), bar_charts(figure)
    assert len(maps) == len(bars) == 4
    rows = [w[0, query].double().numpy() for w in weights.values()]
    order = [k for k in np.argsort(-sum(rows), kind="stable") if k != query]
    norms = set()
    for axes, chart, weight, row in zip(maps, bars, weights.values(), rows, strict=True):
        mesh = axes.collections[0]
        shown = mesh.get_array().reshape(24, 24)
        off = ~np.eye(24, dtype=bool)
        np.testing.assert_allclose(shown[off], weight[0].numpy()[off], atol=1e-7)
        assert np.ma.getmaskarray(shown)[~off].all(), "the own pair is not shown as a negative"
        assert [int(label.get_text()) for label in axes.get_xticklabels()] == [*range(0, 24, 4)]
        norms.add((mesh.norm.vmin, mesh.norm.vmax, mesh.norm.gamma, mesh.get_cmap().name))
        widths = [bar.get_width() for bar in chart.patches]
        np.testing.assert_allclose(widths[:8], row[order[:8]], atol=1e-7)
        assert widths[8] == pytest.approx(row[order[8:]].sum())
        assert sum(widths) == pytest.approx(row.sum())
    assert len(norms) == 1, "one scale of colours for all"
    shown = texts(figure)
    assert f"“{captions[query]}”" in shown
    for k in order[:8]:
        assert captions[k] in shown
    assert "the other 15, together" in shown and "(24 pairs)" in shown[0]


def test_each_loss_says_how_many_share_its_push(batch):
    weights, captions, images = batch
    shown = texts(weight_maps(weights, captions, images))
    numbers = {}
    for name in weights:
        line = shown[shown.index(DISPLAY[name]) + 1]
        squares = weights[name][0].double().square().sum(1)
        expected = float((1 / squares[squares > 0]).mean())
        assert line == f"≈ {expected:.1f} of 23 share a push"
        numbers[name] = expected
    assert numbers["max_triplet"] == 1
    assert numbers["sum_triplet"] > 1 and numbers["simclr"] > 1


def test_how_many_share_a_push_on_weights_that_are_known():
    even = np.full((6, 6), 0.2) * ~np.eye(6, dtype=bool)
    assert sharing(even) == pytest.approx(5)
    one = np.roll(np.eye(6), 1, axis=1)
    assert sharing(one) == 1
    one[0] = 0  # a query that pushes none is not counted
    assert sharing(one) == 1
    assert sharing(np.zeros((6, 6))) is None


def test_the_key_says_who_is_pushed_and_whom_barlow_twins_pushes(batch):
    weights, captions, images = batch
    shown = " ".join(texts(weight_maps(weights, captions, images)))
    assert "Each image pushes away the captions" in shown
    assert "Barlow Twins: their images" in shown and "The captions it pushes" in shown
    only = {"simclr": weights["simclr"]}
    assert "Barlow" not in " ".join(texts(weight_maps(only, captions, images)))


def test_the_thumbnails_are_the_querys_and_the_listed_negatives(batch):
    weights, captions, images = batch
    figure = weight_maps(weights, captions, images.numpy(), query=5)
    total = sum(w[0, 5].double().numpy() for w in weights.values())
    order = [k for k in np.argsort(-total, kind="stable") if k != 5][:8]
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(shown) == 9
    for picture, k in zip(shown, [5, *order], strict=True):
        assert np.array_equal(picture, images[k].permute(1, 2, 0).numpy())


def test_nothing_pushed_reads_as_nothing_and_hardly_anything_does_not(batch):
    _, captions, images = batch
    nothing, hardly = torch.zeros(2, 24, 24), torch.zeros(2, 24, 24)
    hardly[:, 0, 1], hardly[:, 0, 2] = 0.9999, 0.0001
    weights = {"max_triplet": nothing, "simclr": hardly}
    figure = drawn(weight_maps(weights, captions, images))
    assert "no of 23 share a push" in texts(figure)
    first, second = bar_charts(figure)
    assert {text.get_text() for text in first.texts} == {"0"}
    assert [text.get_text() for text in second.texts][:3] == ["100%", "<1%", "0"]


@pytest.mark.slow
def test_small_batches_and_odd_captions_are_drawn(batch):
    _, _, images = batch
    for size in (2, 5, 9):
        share = (1 - torch.eye(size)).repeat(2, 1, 1) / (size - 1)
        figure = drawn(weight_maps({"mine": share}, ODD_TEXTS[:size], images[:size], size - 1))
        assert len(bar_charts(figure)[0].patches) == size - 1
        assert not any("together" in text for text in texts(figure))


def test_what_does_not_fit_together_is_refused(batch):
    weights, captions, images = batch
    for bad in (
        (weights, captions[:-1], images),
        (weights, captions, images[:-1]),
        ({"simclr": weights["simclr"][0]}, captions, images),
    ):
        with pytest.raises(ValueError, match=r"\(2, B, B\) is needed"):
            weight_maps(*bad)
    for query in (24, -1):
        with pytest.raises(ValueError, match="it runs from 0 to 23"):
            weight_maps(weights, captions, images, query)
    with pytest.raises(ValueError, match="weights is empty"):
        weight_maps({}, captions, images)


# ---------------------------------------------------------------- on a circle


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_circle_labels_the_querys_negatives_with_their_shares(count: int) -> None:
    angle = torch.deg2rad(torch.tensor([[85.0, 112], [45, 68], [140, 125], [300, 330]]))
    image_emb, text_emb = (torch.stack([a.cos(), a.sin()], 1) for a in angle.T)
    losses = [SumTriplet(), MaxTriplet()] * 3
    weights = {
        f"loss {n}": negative_weights(loss, 5 * image_emb, text_emb)
        for n, loss in enumerate(losses[:count])
    }
    figure = push_on_circle(image_emb, text_emb, weights, query=0)
    figure.canvas.draw()
    first = [text.get_text() for text in figure.axes[0].texts]
    assert {"i0", "t0", "t1: 50%", "t2: 50%", "t3: 0"} <= set(first)
    if count > 1:
        assert {"t1: 100%", "t2: 0"} <= {text.get_text() for text in figure.axes[1].texts}
    assert [axes.get_title() for axes in figure.axes][:count] == list(weights)


def test_an_arrow_leads_each_pushed_text_away_from_the_query() -> None:
    angle = torch.deg2rad(torch.tensor([[85.0, 112], [45, 68], [140, 125], [160, 190], [300, 330]]))
    image_emb, text_emb = (torch.stack([a.cos(), a.sin()], 1) for a in angle.T)
    weights = {"sum": negative_weights(SumTriplet(), image_emb, text_emb)}
    figure = push_on_circle(image_emb, text_emb, weights, query=0)
    arrows = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == 2, "t1 and t2 are pushed, t3 and t4 are not"
    for arrow, text in zip(arrows, (text_emb[1], text_emb[2]), strict=True):
        path = arrow._path_original.vertices  # what the arrow follows, in data coordinates
        nearness = path @ image_emb[0].numpy()
        assert np.allclose(path[0], 0.86 * text.numpy()) and nearness[0] > nearness[-1]


def test_circle_refuses_more_than_two_dimensions() -> None:
    with pytest.raises(ValueError, match="circle"):
        push_on_circle(torch.ones(3, 4), torch.ones(3, 4), {"loss": torch.zeros(2, 3, 3)})
