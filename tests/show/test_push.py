"""The weights of a batch with sliders, without a browser: what it shows, as HTML and text."""

import numpy as np
import pytest
import torch
from hostile import CONTROL, HOSTILE, Markup

from mmret_lib.files.errors import DataError, visible
from mmret_lib.losses import EVERY_LOSS, LOSSES, negative_weights
from mmret_lib.show.push import NegativeWeights
from mmret_lib.show.view import WIDGET
from mmret_lib.training import build_loss


def drawn(widget) -> Markup:
    return Markup(widget.results.value)


@pytest.fixture(scope="module")
def batch(pairs):
    generator = torch.Generator().manual_seed(3)
    shared = torch.randn(12, 16, generator=generator)
    image_emb, text_emb = (shared + torch.randn(12, 16, generator=generator) for _ in range(2))
    captions = [pairs.captions_of(i)[0] for i in range(12)]
    return image_emb, text_emb, captions, pairs.images[:12]


def test_the_weights_are_those_of_the_losses(batch):
    view = NegativeWeights(*batch)
    for temperature, margin, direction in ((0.07, 0.2, 0), (0.5, 0.05, 1)):
        view.temperature.value, view.margin.value = temperature, margin
        view.direction.value = direction
        settings = {
            "simclr": {"temperature": temperature},
            "sum_triplet": {"margin": margin},
            "max_triplet": {"margin": margin},
            "barlow_twins": {},
        }
        for name, share in view.shares().items():
            loss = build_loss(name, **settings[name]).eval()
            expected = negative_weights(loss, *batch[:2], caption_ids=batch[2])[direction]
            np.testing.assert_array_equal(share, expected.numpy())


@pytest.mark.parametrize(
    ("slider", "value", "moved", "still"),
    [("temperature", 0.7, "SimCLR", "Sum Triplet"), ("margin", 0.9, "Sum Triplet", "SimCLR")],
)
def test_a_slider_changes_the_loss_that_has_it(batch, slider, value, moved, still):
    view = NegativeWeights(*batch)

    def maps() -> dict[str, tuple[str, str]]:
        found = [img for img in drawn(view).of("img") if (img["alt"] or "").startswith("Heat map")]
        return {img["alt"].split(":")[0].removeprefix("Heat map, "): img for img in found}

    before, text = maps(), drawn(view).said
    getattr(view, slider).set_state({"value": value})
    after = maps()
    assert list(before) == ["Sum Triplet", "Max Triplet", "SimCLR", "Barlow Twins"]
    assert before[moved] != after[moved] and before[moved]["src"] != after[moved]["src"]
    assert before[still] == after[still] and drawn(view).said != text


def test_other_losses_can_be_chosen(batch):
    view = NegativeWeights(*batch, losses=["siglip", "simclr"])
    assert list(view.shares()) == ["simclr", "siglip"]
    assert {name for _, name in view.losses.options} == set(EVERY_LOSS)
    view.losses.value = tuple(EVERY_LOSS)
    shares = view.shares()
    assert len(drawn(view).of("img")) > 12 and list(shares)[:4] == list(LOSSES)
    for name, settings in {
        "margin_softmax": {"temperature": 0.07, "margin": 0.2},
        "adaptive_nce": {"temperature": 0.07},
        "siglip": {},
        "false_negative_filter": {"temperature": 0.07},
    }.items():
        expected = negative_weights(
            build_loss(name, **settings).eval(), *batch[:2], caption_ids=batch[2]
        )[0]
        np.testing.assert_array_equal(shares[name], expected.numpy())
    view.temperature.value, view.margin.value = 0.5, 0.9
    moved = {name for name, share in view.shares().items() if not (share == shares[name]).all()}
    assert moved - {"max_triplet"} == {  # its hardest negative may stay the hardest
        *("sum_triplet", "simclr", "margin_softmax", "top_k_triplet", "smooth_ap"),
        *("hard_negative_nce", "adaptive_nce", "false_negative_filter"),
    }
    assert len(view.stored_picture().axes) == 12
    view.losses.value = ()
    assert "image/png" in view._repr_mimebundle_()
    assert view.shares() == {} and not [
        img for img in drawn(view).of("img") if "Heat" in img["alt"]
    ]
    with pytest.raises(DataError, match="there is no loss 'sinclr'"):
        NegativeWeights(*batch, losses=["sinclr"])


def test_the_list_names_the_negatives_pushed_hardest(batch):
    view = NegativeWeights(*batch)
    view.pair.value = 5
    shares = view.shares()
    order = np.argsort(-sum(share[5] for share in shares.values()), kind="stable")
    hardest = [batch[2][k] for k in order if k != 5]
    page = drawn(view)
    assert page.texts[0] == batch[2][5]
    assert page.texts[1:] == hardest[: len(page.texts) - 1] and len(page.texts) > 4
    assert "the image of pair 5" in page.said
    view.direction.value = 1
    assert "the caption of pair 5" in drawn(view).said


def test_pictures_in_other_forms_or_none(batch):
    image_emb, text_emb, captions, images = batch
    tensor = torch.zeros(12, 3, 64, 64, dtype=torch.uint8)
    arrays = [np.zeros((20, 30, 3), np.uint8)] * 12
    counts = [
        len(drawn(NegativeWeights(image_emb, text_emb, captions, given)).of("img"))
        for given in (images, tensor, arrays, None)
    ]
    assert counts[0] == counts[1] == counts[2] > counts[3] == 4


def test_a_batch_that_cannot_be_shown_is_refused(batch):
    image_emb, text_emb, captions, images = batch
    with pytest.raises(DataError, match="11 captions for 12 pairs"):
        NegativeWeights(image_emb, text_emb, captions[1:], images)
    with pytest.raises(DataError, match="3 images for 12 pairs"):
        NegativeWeights(image_emb, text_emb, captions, images[:3])
    many = torch.randn(129, 16)
    with pytest.raises(DataError, match="128 at most"):
        NegativeWeights(many, many, ["a"] * 129)
    with pytest.raises(ValueError, match=r"(?i)finite|nan"):
        NegativeWeights(image_emb * float("nan"), text_emb, captions)


@pytest.mark.slow
@pytest.mark.parametrize("text", [*HOSTILE, CONTROL], ids=range(len(HOSTILE) + 1))
def test_captions_of_a_batch_are_never_markup(batch, text):
    image_emb, text_emb, captions, images = batch
    pages = []
    for word in ("harmless", text):
        view = NegativeWeights(image_emb, text_emb, [word, *captions[1:]], images)
        view.pair.value = 0
        pages.append(drawn(view))
    assert pages[1].structure == pages[0].structure
    assert visible(text) in pages[1].texts
    assert [img["alt"] for img in pages[1].of("img")].count(visible(text)) == 1


def test_every_picture_and_column_says_what_it_is(batch):
    page = drawn(NegativeWeights(*batch))
    assert len(page.of("img")) > 9 and all(img["alt"] for img in page.of("img"))
    assert {meter["aria-hidden"] for meter in page.of("span", "meter")} == {"true"}
    assert {th["scope"] for th in page.of("th")} == {"row", "col"}
    assert len(page.of("caption")) == 1


def test_a_page_without_a_kernel_has_a_picture_of_the_maps(batch):
    view = NegativeWeights(*batch)
    bundle = view._repr_mimebundle_()
    assert bundle[WIDGET]["model_id"] == view.model_id and view._ipython_display_ is None
    assert bundle["image/png"].startswith("iVBOR") and len(bundle["image/png"]) < 100_000
    said = [text.get_text() for text in view.stored_picture().texts]
    assert {"Sum Triplet", "Max Triplet", "SimCLR", "Barlow Twins"} <= set(said)
    view.temperature.value = 0.7
    assert view._repr_mimebundle_()["image/png"] != bundle["image/png"]
