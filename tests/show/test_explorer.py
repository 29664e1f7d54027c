"""The interactives without a browser: what they show, for every way of asking, as HTML and text."""

import base64
import io
import re
from dataclasses import replace
from datetime import UTC, datetime

import ipywidgets
import pytest
from hostile import CONTROL, HOSTILE, Markup
from own_photos import put
from PIL import Image

from mmret_lib.files.errors import DataError, visible
from mmret_lib.search import SearchIndex
from mmret_lib.search.photos import index_photos
from mmret_lib.search.right_answers import RightAnswers
from mmret_lib.show import app
from mmret_lib.show.explorer import NOTHING, SearchExplorer
from mmret_lib.show.view import WIDGET


def drawn(widget) -> Markup:
    return Markup(widget.results.value)


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


def test_pictures_whose_licence_asks_for_it_are_credited(licensed):
    explorer = SearchExplorer(licensed, k=20, query="A zebra on the grass.")
    shown = [hit.image_index for hit in explorer.hits]
    address = "https://flic.kr/p/eVvoV3"
    links = drawn(explorer).of("a")
    assert [link["href"] for link in links] == [address] * sum(index != 0 for index in shown)
    assert drawn(explorer).said.count("photo: CC BY-SA 2.0") == len(links)
    explorer.ask(7)
    assert [link["href"] for link in drawn(explorer).of("a")] == [address]
    explorer.ask(0)
    assert not drawn(explorer).of("a")


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
    assert "right answers are unknown" in page.said and page.of("img")[0]["alt"]
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
    assert "right answers are unknown" in page.said
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
    both.loss.value, both.beside.value = "simclr", NOTHING
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


@pytest.mark.slow
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


def test_errors_are_text_too(explorer, monkeypatch):
    def fail(*_, **__):
        raise DataError("<b>bad</b> \x1b")

    monkeypatch.setattr(explorer.indexes[""], "by_text", fail)
    explorer.ask("zebra")
    assert drawn(explorer).texts == ["<b>bad</b> ␛"] and not drawn(explorer).of("b")


# ---------------------------------------------------------------- pictures and fields are described


def test_every_picture_and_every_field_says_what_it_is(both):
    both.ask("zebra")
    both.beside.value = "max_triplet"
    page = drawn(both)
    assert len(page.of("img")) > 9 and all(img["alt"] for img in page.of("img"))
    assert {meter["aria-hidden"] for meter in page.of("span", "meter")} == {"true"}
    fields = (ipywidgets.Text, ipywidgets.BoundedIntText, ipywidgets.Dropdown, ipywidgets.Button)
    for one in vars(both).values():
        if isinstance(one, fields):
            assert one.description
        if isinstance(one, ipywidgets.Button):
            assert one.tooltip
    assert [one["role"] for one in page.of("p", "status")] == ["status"]


# ---------------------------------------------------------------- photos without captions


@pytest.fixture
def photos(tmp_path, index) -> SearchExplorer:
    for n in range(6):
        put(tmp_path / f"<b>{n}.png", (40 * n, 9, 200))
    update = index_photos(index.model, tmp_path, tmp_path / "album.idx", progress=False)
    return SearchExplorer(update.index, k=3)


def test_photos_without_captions_are_found_by_text_and_by_picture(photos):
    assert "6 pictures." in drawn(photos).said
    assert "Any caption" not in [button.description for button in photos.children[1].children]
    photos.ask("a red bus")
    page = drawn(photos)
    assert len(page.of("img")) == 3 and "of 6 pictures for" in page.said
    assert page.of("img")[0]["alt"] == photos.hits[0].image.name
    assert "right answers are unknown" not in page.said
    photos.ask(4)
    assert photos.hits[0].image_index == 4 and "of 6 pictures" in drawn(photos).said
    photos.go_on[1].click()
    assert photos.query == photos.hits[0].image_index != 4
    for form in upload_forms(png()).values():
        photos._uploaded({"new": form})
        assert "Your picture" in drawn(photos).said and len(photos.hits) == 3


def test_a_photo_that_has_gone_costs_no_other_answer(photos):
    photos.answers.value = 6
    photos.indexes[""].pairs.images[2].unlink()
    photos.ask("a red bus")
    page = drawn(photos)
    assert len(page.of("img")) == 5 and "The picture cannot be read any more" in page.said


# ---------------------------------------------------------------- where no kernel runs


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("query", ["A zebra on the grass.", 3, HOSTILE[0]])
def test_a_page_without_a_kernel_has_a_picture_of_the_answers(indexes, query):
    explorer = SearchExplorer(indexes["simclr"])
    assert WIDGET in explorer._repr_mimebundle_() and explorer._ipython_display_ is None
    assert "image/png" not in explorer._repr_mimebundle_()  # nothing was asked yet
    explorer.ask(query)
    bundle = explorer._repr_mimebundle_()
    assert bundle[WIDGET]["model_id"] == explorer.model_id
    assert len(bundle["image/png"]) < 150_000
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) as picture:
        assert picture.format == "PNG" and min(picture.size) > 100


def test_the_stored_picture_names_place_caption_and_credit(licensed):
    explorer = SearchExplorer(licensed, query="A zebra on the grass.")
    said = "\n".join(text.get_text() for text in explorer.stored_picture().texts)
    assert "A zebra on the grass." in said and f"{explorer.hits[0].score:.3f}" in said
    assert "flic.kr/p/eVvoV3" in said and "CC BY-SA 2.0" in said


def test_the_stored_picture_does_without_a_photograph_that_is_gone(indexes):
    explorer = SearchExplorer(indexes["simclr"], query="A zebra on the grass.")
    explorer.hits[0] = replace(explorer.hits[0], image=explorer.hits[0].image.with_name("gone"))
    assert "cannot be read" in [text.get_text() for text in explorer.stored_picture().texts]
