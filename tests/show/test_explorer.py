"""The interactives without a browser: what they show, for every way of asking, as HTML and text."""

import ast
import inspect
import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType

import ipywidgets
import numpy as np
import pytest
import torch
from hostile import CONTROL, HOSTILE, Markup
from PIL import Image

from mmret_lib.data import Pairs, load_pairs
from mmret_lib.encoders import DualEncoder
from mmret_lib.files.errors import DataError, visible
from mmret_lib.losses import negative_weights
from mmret_lib.search import SearchIndex
from mmret_lib.search.right_answers import RightAnswers
from mmret_lib.show import app
from mmret_lib.show import explorer as widgets
from mmret_lib.show import push as negatives_view
from mmret_lib.show.explorer import NegativeWeights, SearchExplorer
from mmret_lib.training import build_loss

# Public traits that ipywidgets 7.7.1 (Colab's) and 8 share, of the widgets used here.
DESCRIBED = {"description", "layout", "style"}
SLIDER = DESCRIBED | {
    "value",
    "min",
    "max",
    "step",
    "disabled",
    "continuous_update",
    "orientation",
    "readout",
    "readout_format",
}
SHARED = {
    "HTML": DESCRIBED | {"value", "placeholder"},
    "Label": DESCRIBED | {"value", "placeholder"},
    "Text": DESCRIBED | {"value", "placeholder", "continuous_update", "disabled"},
    "BoundedIntText": DESCRIBED | {"value", "min", "max", "step", "disabled", "continuous_update"},
    "Button": DESCRIBED | {"button_style", "disabled", "icon", "tooltip"},
    "Dropdown": DESCRIBED | {"options", "value", "label", "index", "disabled"},
    "FileUpload": DESCRIBED | {"accept", "multiple", "button_style", "disabled", "icon", "error"},
    "FloatSlider": SLIDER,
    "FloatLogSlider": SLIDER | {"base"},
    "HBox": {"children", "box_style", "layout"},
    "VBox": {"children", "box_style", "layout"},
    "Layout": {
        "align_content",
        "align_items",
        "align_self",
        "bottom",
        "display",
        "flex",
        "flex_flow",
        "grid_area",
        "grid_gap",
        "grid_template_columns",
        "height",
        "justify_content",
        "justify_items",
        "left",
        "margin",
        "max_height",
        "max_width",
        "min_height",
        "min_width",
        "order",
        "overflow",
        "padding",
        "right",
        "top",
        "visibility",
        "width",
    },
}


def drawn(widget) -> Markup:
    return Markup(widget.results.value)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Pairs:
    root = tmp_path_factory.mktemp("world")
    return load_pairs("scenes", root=root, split="test", size=30, progress=False)


def index_of(pairs: Pairs, seed: int) -> SearchIndex:
    torch.manual_seed(seed)
    model = DualEncoder.from_names(
        image_weights=None, text_weights=None, captions=pairs.captions
    ).eval()
    return SearchIndex.build(model, pairs, progress=False)


@pytest.fixture(scope="module")
def indexes(pairs) -> dict[str, SearchIndex]:
    return {"simclr": index_of(pairs, 0), "max_triplet": index_of(pairs, 1)}


@pytest.fixture
def explorer(indexes) -> SearchExplorer:
    return SearchExplorer(indexes["simclr"])


@pytest.fixture
def both(indexes) -> SearchExplorer:
    return SearchExplorer(indexes)


def typed(explorer: SearchExplorer, text: str) -> None:
    """What the front end sends when a sentence is typed and Enter pressed, in this order."""
    explorer.sentence._handle_custom_msg({"event": "submit"}, [])
    explorer.sentence.set_state({"value": text})


# ---------------------------------------------------------------- asking with a sentence


def test_it_begins_with_an_invitation_or_with_an_answer(indexes):
    empty = drawn(SearchExplorer(indexes["simclr"]))
    assert "30 pictures, 150 captions" in empty.said and "press Enter" in empty.said
    asked = SearchExplorer(indexes["simclr"], query="Grazing zebra")
    assert asked.sentence.value == "Grazing zebra" and len(drawn(asked).of("li", "hit")) == 5


def test_a_typed_sentence_finds_the_pictures_of_the_index(explorer, indexes):
    typed(explorer, "A zebra on the grass.")
    hits = indexes["simclr"].by_text("A zebra on the grass.", k=5)
    page = drawn(explorer)
    assert page.texts[0] == "A zebra on the grass." and explorer.hits == hits
    assert len(page.of("li", "hit")) == len(page.of("img")) == 5
    assert [img["alt"] for img in page.of("img")] == [hit.captions[0] for hit in hits]
    for hit in hits:
        assert f"{hit.score:.3f}" in page.said and set(hit.captions) <= set(page.texts)
    assert "The best 5 of 30 pictures" in page.said and " ms" in page.said


def test_enter_asks_the_same_sentence_again_after_something_else(explorer):
    typed(explorer, "A zebra on the grass.")
    sentence = drawn(explorer).structure
    explorer.ask(3)
    assert drawn(explorer).structure != sentence
    explorer.sentence._handle_custom_msg({"event": "submit"}, [])  # no change of value this time
    assert drawn(explorer).structure == sentence and explorer.query == "A zebra on the grass."


def test_the_button_and_the_drawn_caption_ask_too(explorer, pairs):
    explorer.sentence.value = "A red bus."
    explorer.results.value = ""
    explorer.find.click()
    assert drawn(explorer).texts[0] == "A red bus."
    explorer.any_caption.click()
    assert explorer.sentence.value in pairs.captions and explorer.query == explorer.sentence.value


@pytest.mark.parametrize("empty", ["", "   ", "\u200b"])
def test_an_empty_sentence_is_told_so(explorer, empty):
    typed(explorer, "zebra")
    explorer.ask(empty)
    page = drawn(explorer)
    assert [one["role"] for one in page.of("p", "alert")] == ["alert"]
    assert "say what the picture shows" in page.said and explorer.onward.children == ()


def test_the_number_of_answers(explorer):
    explorer.ask("zebra")
    explorer.answers.value = 7
    assert len(drawn(explorer).of("li", "hit")) == len(explorer.hits) == 7
    explorer.answers.set_state({"value": 1000})  # the field's bounds hold in Python, too
    assert len(explorer.hits) == 20


# ---------------------------------------------------------------- asking with a picture


def test_a_picture_of_the_collection_finds_captions_beside_its_own(explorer, indexes, pairs):
    explorer.picture.set_state({"value": 4})
    hits = indexes["simclr"].by_image(pairs.images[4], k=5)
    page = drawn(explorer)
    own = pairs.captions_of(4)
    assert "Picture 4" in page.said and "Original captions" in page.said
    assert page.texts == [*own, *(hit.caption for hit in hits)]
    assert [img["alt"] for img in page.of("img")] == [own[0]]
    explorer.any_picture.click()
    assert explorer.query == explorer.picture.value


def test_the_same_picture_again(explorer):
    explorer.ask("zebra")
    explorer.describe.click()  # picture 0, which the field has shown all the time
    assert "Picture 0" in drawn(explorer).said


def test_going_on_from_an_answer(explorer):
    explorer.ask("zebra")
    third = explorer.hits[2]
    label, *buttons = explorer.onward.children
    assert label.value == "Go on with picture" and len(buttons) == 5
    buttons[2].click()
    assert explorer.query == explorer.picture.value == third.image_index
    caption = explorer.hits[1].caption
    explorer.onward.children[2].click()
    assert explorer.query == explorer.sentence.value == caption


def png(size=(48, 36)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 40, 40)).save(file, "png")
    return file.getvalue()


def upload_forms(content: bytes, name: str = "own.png") -> dict[str, object]:
    """FileUpload.value as ipywidgets 7 and as ipywidgets 8 has it."""
    about = {"name": name, "type": "image/png", "size": len(content)}
    return {
        "7": {name: {"metadata": {**about, "lastModified": 0}, "content": content}},
        "8": ({**about, "last_modified": datetime.now(UTC), "content": memoryview(content)},),
    }


@pytest.mark.parametrize("form", ["7", "8"])
def test_a_picture_of_ones_own(explorer, indexes, form):
    explorer._uploaded({"new": upload_forms(png())[form]})
    page = drawn(explorer)
    expected = indexes["simclr"].by_image(Image.new("RGB", (48, 36), (200, 40, 40)), k=5)
    assert explorer.hits == expected
    assert "Your picture" in page.said and "Original captions" not in page.said
    assert "Nobody knows" in page.said and page.of("img")[0]["alt"]
    explorer._uploaded({"new": () if form == "8" else {}})  # taken away again: nothing happens
    assert explorer.hits == expected


def test_an_upload_arrives_through_the_widget_itself(explorer):
    form = upload_forms(png())[ipywidgets.__version__[0]]
    explorer.upload.set_trait("value", form)
    assert isinstance(explorer.query, Image.Image)


@pytest.mark.parametrize("content", [b"", b"no picture", png()[:60], b"<svg onload=alert(1)>"])
def test_what_is_no_picture_is_told_so(explorer, content):
    explorer.ask("zebra")
    for form in upload_forms(content, '"><img src=x onerror=alert(1)>').values():
        explorer._uploaded({"new": form})
        page = drawn(explorer)
        assert page.of("p", "alert") and "Your picture" in page.said
        assert "/tmp" not in page.said and "onerror" not in explorer.results.value


# ---------------------------------------------------------------- right and wrong, two losses


def test_right_and_wrong_are_told_by_sign_and_word(explorer, pairs):
    caption = pairs.captions[37]
    explorer.answers.value = 20
    explorer.ask(caption)
    judge = RightAnswers(pairs).of_text(caption)
    verdicts = [judge(hit) for hit in explorer.hits]
    page = drawn(explorer)
    assert [one["class"].split()[1] for one in page.of("li", "hit")] == verdicts
    words = {"own": "right: they belong together", "fits": "right: it fits too"}
    spoken = [words.get(verdict, "wrong") for verdict in verdicts]
    assert [mark["aria-label"] for mark in page.of("span", "mark")] == spoken
    assert page.said.count("✓") == sum(v != "wrong" for v in verdicts)
    assert page.said.count("✗") == verdicts.count("wrong") > 0
    [place] = re.findall(r"own answer stands in place (\d+)", page.said)
    found = explorer.indexes[""].by_text(caption, k=30)
    assert judge(found[int(place) - 1]) == "own"


def test_nobody_knows_of_a_free_sentence(explorer):
    explorer.ask("something nobody wrote")
    page = drawn(explorer)
    assert "Nobody knows the right answers" in page.said
    assert not page.of("span", "mark") and not page.of("li", "wrong")


def test_the_captions_of_a_picture_are_marked(explorer, pairs):
    explorer.answers.value = 20
    explorer.ask(2)
    own = [hit.image_index == 2 for hit in explorer.hits]
    kinds = [one["class"].split()[1] for one in drawn(explorer).of("li", "hit")]
    assert [kind == "own" for kind in kinds] == own


def test_two_losses_side_by_side(both, indexes):
    assert both.loss.options == (("SimCLR", "simclr"), ("Max Triplet", "max_triplet"))
    both.ask("A zebra on the grass.")
    alone = both.results.value
    both.beside.value = "max_triplet"
    page = drawn(both)
    assert len(page.of("section")) == 2 and len(page.of("li", "hit")) == 10
    assert page.texts[1] == "SimCLR" and "Max Triplet" in page.texts
    for name in indexes:
        for hit in indexes[name].by_text("A zebra on the grass.", k=5):
            assert f"{hit.score:.3f}" in page.said
    assert both.hits == indexes["simclr"].by_text("A zebra on the grass.", k=5)
    both.loss.value = "max_triplet"  # beside itself it stands once
    assert len(drawn(both).of("section")) == 1
    assert both.hits == indexes["max_triplet"].by_text("A zebra on the grass.", k=5)
    both.loss.value, both.beside.value = "simclr", widgets.NOTHING
    same = [re.sub(r"\d+ ms", "", text) for text in (alone, both.results.value)]
    assert same[0] == same[1]


def test_two_losses_describe_one_picture(both):
    both.beside.value = "max_triplet"
    both.ask(1)
    page = drawn(both)
    assert len(page.of("section")) == 3 and len(page.of("img")) == 1
    assert page.said.count("Original captions") == 1 and len(page.of("li", "hit")) == 10


def test_one_loss_offers_no_choice_of_losses(explorer, both):
    def shown(widget) -> list:
        below = [shown(child) for child in getattr(widget, "children", ())]
        return [widget, *(one for some in below for one in some)]

    assert explorer.loss not in shown(explorer) and explorer.beside not in shown(explorer)
    assert {both.loss, both.beside} <= set(shown(both))


def test_an_index_is_looked_up_when_it_is_first_asked(indexes, monkeypatch, pairs):
    loaded: list[str] = []
    lazy = app.Indexes({"simclr": "a", "max_triplet": "b"}, pairs)
    monkeypatch.setattr(app, "load_run", lambda run: (loaded.append(run), None))
    monkeypatch.setattr(app.SearchIndex, "build", lambda *_, **__: indexes["simclr"])
    explorer = SearchExplorer(lazy, query="zebra")
    assert loaded == ["a"]
    explorer.beside.value = "max_triplet"
    explorer.ask("bear")
    assert loaded == ["a", "b"]


def test_what_cannot_be_explored_is_refused(indexes):
    with pytest.raises(DataError, match="no index"):
        SearchExplorer({})
    for k in (0, 21):
        with pytest.raises(DataError, match="between 1 and 20"):
            SearchExplorer(indexes["simclr"], k=k)


# ---------------------------------------------------------------- text is only ever text


def with_captions(index: SearchIndex, text: str) -> SearchIndex:
    pairs = replace(index.pairs, captions=[text] * len(index.pairs.captions))
    return SearchIndex(index.model, pairs, index.image_emb, index.text_emb)


@pytest.mark.parametrize("text", [*HOSTILE, CONTROL], ids=range(len(HOSTILE) + 1))
def test_queries_and_captions_are_never_markup(indexes, text):
    pages = []
    for word in ("harmless", text):
        name = "a loss" if word == "harmless" else word
        explorer = SearchExplorer(
            {name: with_captions(indexes["simclr"], word), "other": indexes["max_triplet"]}
        )
        by_text = explorer.ask(word), drawn(explorer)
        by_image = explorer.ask(0), drawn(explorer)
        pages.append([by_text[1], by_image[1]])
    for plain, hostile in zip(*pages, strict=True):
        assert hostile.structure == plain.structure
        assert set(hostile.texts) == {visible(text)}
        assert {img["alt"] for img in hostile.of("img")} == {visible(text)}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", explorer.results.value)


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


def test_errors_are_text_too(explorer, monkeypatch):
    def fail(*_, **__):
        raise DataError("<b>bad</b> \x1b")

    monkeypatch.setattr(explorer.indexes[""], "by_text", fail)
    explorer.ask("zebra")
    assert drawn(explorer).texts == ["<b>bad</b> ␛"] and not drawn(explorer).of("b")


# ---------------------------------------------------------------- pictures and fields are described


def test_every_picture_and_every_field_says_what_it_is(both, batch):
    both.ask("zebra")
    both.beside.value = "max_triplet"
    weights = NegativeWeights(*batch)
    for view in (both, weights):
        page = drawn(view)
        assert len(page.of("img")) > 9 and all(img["alt"] for img in page.of("img"))
        for hidden in page.of("span", "meter"):
            assert hidden["aria-hidden"] == "true"
    fields = (ipywidgets.Text, ipywidgets.BoundedIntText, ipywidgets.Dropdown, ipywidgets.Button)
    for one in vars(both).values():
        if isinstance(one, fields):
            assert one.description
        if isinstance(one, ipywidgets.Button):
            assert one.tooltip
    assert [one["role"] for one in drawn(both).of("p", "status")] == ["status"]
    assert {th["scope"] for th in drawn(weights).of("th")} == {"row", "col"}
    assert len(drawn(weights).of("caption")) == 1


# ---------------------------------------------------------------- the weights of a batch


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
    "slider, value, moved, still",
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


# ---------------------------------------------------------------- ipywidgets 7.7 and 8


def calls(module: ModuleType) -> list[tuple[str, set[str]]]:
    """The widgets that a module makes, and by which traits."""
    found = []
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            if name[:1].isupper() and hasattr(ipywidgets, name):
                found.append((name, {word.arg for word in node.keywords if word.arg}))
    return found


@pytest.mark.parametrize("module", [widgets, negatives_view, app], ids=lambda one: one.__name__)
def test_only_what_ipywidgets_7_and_8_share_is_used(module):
    found = calls(module)
    assert found
    for name, traits in found:
        assert name in SHARED, f"is {name} in ipywidgets 7.7?"
        assert traits <= SHARED[name], f"{name} has no {traits - SHARED[name]} in both"


def test_the_installed_ipywidgets_has_what_is_shared():
    for name, traits in SHARED.items():
        assert traits <= set(getattr(ipywidgets, name).class_trait_names()), name
