"""The course's interactives, for JupyterLab, Colab and Voila: play first, then read the code.

    SearchExplorer(index)                                    type a sentence, find the pictures
    SearchExplorer({"simclr": index, "max_triplet": other})  the same question to two losses
    NegativeWeights(image_emb, text_emb, captions, images)   whom a loss pushes, by its sliders

Only widgets that ipywidgets 7.7 (Colab) and 8 share. Results are drawn into HTML widgets: an
Output widget would lose them where a front end reconnects.
"""

import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipywidgets import (
    HTML,
    BoundedIntText,
    Button,
    Dropdown,
    FileUpload,
    HBox,
    Label,
    Layout,
    Text,
    VBox,
)
from PIL import Image

from mmret_lib.data.images import read_image
from mmret_lib.files.errors import DataError
from mmret_lib.search.index import SearchIndex
from mmret_lib.search.right_answers import RightAnswers
from mmret_lib.show import cards
from mmret_lib.show.html import picture_html, text_html
from mmret_lib.show.push import NegativeWeights
from mmret_lib.show.tables import DISPLAY

__all__ = ["NegativeWeights", "SearchExplorer"]

LOOKED_AT = 100  # answers among which the right one is looked for; not all of them are shown
MOST = 20  # answers shown
NOTHING = "—"


class SearchExplorer(VBox):
    """Ask a collection by a sentence or by a picture, and see how well one loss or two answer.

    A typed sentence is known to be answered rightly or wrongly where it is a caption of the
    collection (`RightAnswers` says when), a picture where it is one of the collection's.

    Args:
        indexes: one collection; or name of a loss -> the collection as the model that was trained
            with it sees it. An index is looked up when it is first asked.
        k: answers to show, at most 20.
        query: a sentence to begin with; "" begins with an empty page.

    Raises:
        DataError: no index, or k out of range.
    """

    def __init__(
        self, indexes: SearchIndex | Mapping[str, SearchIndex], *, k: int = 5, query: str = ""
    ) -> None:
        self.indexes = indexes if isinstance(indexes, Mapping) else {"": indexes}
        if not self.indexes:
            raise DataError("there is no index to explore; make one with SearchIndex.build")
        if not 1 <= k <= MOST:
            raise DataError(f"k is {k}; between 1 and {MOST} answers can be shown")
        self.judges: dict[str, RightAnswers] = {}
        self.query: str | int | Image.Image | None = None
        self.hits: list[Any] = []
        self._silent = False  # while we, not the reader, fill in a field
        names = list(self.indexes)
        pairs = self.indexes[names[0]].pairs

        label = {"description_width": "5.5rem"}
        wide = Layout(flex="1 1 20rem", width="auto", min_width="14rem")
        self.sentence = Text(
            value=query,
            description="Sentence",
            placeholder="Say what the picture shows",
            continuous_update=False,
            style=label,
            layout=wide,
        )
        self.picture = BoundedIntText(
            value=0,
            min=0,
            max=len(pairs) - 1,
            description="Picture no.",
            style=label,
            layout=Layout(width="12rem"),
        )
        self.find = _button("Find pictures", "Search with the sentence (Enter does it too)", True)
        self.describe = _button("Find captions", "Search with the picture of this number", True)
        self.any_caption = _button("Any caption", "Search with a caption drawn by lot")
        self.any_picture = _button("Any picture", "Search with a picture drawn by lot")
        self.upload = FileUpload(
            accept="image/*", multiple=False, description="Your own", layout=Layout(width="auto")
        )
        options = [(DISPLAY.get(name, name), name) for name in names]
        self.loss = Dropdown(options=options, description="Loss", style=label, layout=_narrow())
        self.beside = Dropdown(
            options=[(NOTHING, NOTHING), *options],
            description="Beside it",
            style=label,
            layout=_narrow(),
        )
        self.answers = BoundedIntText(
            value=k, min=1, max=MOST, description="Answers", style=label, layout=_narrow("10rem")
        )
        self.results = HTML()
        self.go_on = [_button(str(rank), "") for rank in range(1, MOST + 1)]
        self.go_on_with = Label()
        self.onward = HBox(layout=Layout(flex_flow="row wrap", align_items="center"))
        choice = [self.loss, self.beside, self.answers] if len(names) > 1 else [self.answers]
        rows = [
            [self.sentence, self.find, self.any_caption],
            [self.picture, self.describe, self.any_picture, self.upload],
            choice,
        ]
        super().__init__(
            [
                HTML(cards.STYLE, layout=Layout(display="none")),
                *(HBox(row, layout=Layout(flex_flow="row wrap")) for row in rows),
                self.results,
                self.onward,
            ]
        )
        self._connect()
        if query:
            self.ask(query)
        else:
            count = f"{len(pairs):,} pictures, {len(pairs.captions):,} captions"
            self.results.value = cards.panel(
                cards.status(f"{count}. Type a sentence and press Enter, or take any picture.")
            )

    def ask(self, query: str | int | Image.Image) -> None:
        """Search and draw: a sentence, the number of a picture, or a picture of one's own."""
        self._silent = True
        try:
            if isinstance(query, str):
                self.sentence.value = query
            elif isinstance(query, int):
                self.picture.value = query
        finally:
            self._silent = False
        self.query = query
        self.draw()

    def draw(self) -> None:
        """Ask the last question again, of the losses that are chosen now."""
        if self.query is None:
            return
        names = [self.loss.value]
        if self.beside.value not in (NOTHING, *names):
            names.append(self.beside.value)
        try:
            judges = [self._judge(name) for name in names]
            started = time.perf_counter()
            if isinstance(self.query, str):
                columns, noun = [self._pictures(name, self.query) for name in names], "pictures"
                about = f"for {text_html(self.query)}"
            else:
                columns, noun = self._captions(names, self.query), "captions"
                about = ""
        except DataError as error:
            self.results.value, self.onward.children = cards.alert(str(error)), ()
            return
        pairs = judges[0].pairs
        pool = len(pairs) if noun == "pictures" else len(pairs.captions)
        took = 1000 * (time.perf_counter() - started)
        said = f"The best {len(self.hits)} of {pool:,} {noun} {about} · {took:.0f} ms"
        self.results.value = cards.panel(
            cards.status(said) + f'<div class="columns">{"".join(columns)}</div>'
        )
        self.go_on_with.value = f"Go on with {noun.removesuffix('s')}"
        self.onward.children = (self.go_on_with, *self.go_on[: len(self.hits)])

    def _pictures(self, name: str, text: str) -> str:
        index, k = self.indexes[name], self.answers.value
        found = index.by_text(text, k=max(k, LOOKED_AT))
        judge = self._judge(name).of_text(text)
        return self._column(name, found, judge, cards.pictures)

    def _captions(self, names: list[str], query: Any) -> list[str]:
        own: list[str] = []
        heading, asked, image = "Your picture", query, None
        if isinstance(query, int):
            pairs = self.indexes[names[0]].pairs
            asked = image = pairs.images[query]
            own, heading = pairs.captions_of(query), f"Picture {query}"
        columns = []
        for name in names:
            found = self.indexes[name].by_image(asked, k=max(self.answers.value, LOOKED_AT))
            judge = self._judge(name).of_picture(image or Path())
            columns.append(self._column(name, found, judge, cards.captions))
        says = own[0] if own else "The picture that asks"
        shown = cards.picture(image, says) if image else picture_html(asked, says)
        return [cards.asked(shown, heading, own), *columns]

    def _column(self, name: str, found: list[Any], judge: Any, draw: Any) -> str:
        shown = found[: self.answers.value]
        if name == self.loss.value:
            self.hits = shown
        verdicts = {hit.rank: judge(hit) for hit in found}
        first = next((rank for rank, verdict in verdicts.items() if verdict == "own"), None)
        if first:
            note = f"The data set’s own answer stands in place {first}."
        elif "fits" in verdicts.values():
            note = ""
        elif set(verdicts.values()) == {None}:
            note = "Nobody knows the right answers: it is no caption of this collection."
        else:
            note = f"No right answer among the first {len(found)}."
        fitting = sum(judge(hit) == "fits" for hit in shown)
        if fitting:
            note += f" {fitting} of these fit too: the generator knows."
        return cards.column(DISPLAY.get(name, name), note.strip(), draw(shown, judge))

    def _judge(self, name: str) -> RightAnswers:
        if name not in self.judges:  # its collection may first have to be embedded
            shown = text_html(DISPLAY.get(name, name) or "the model")
            self.results.value = cards.panel(cards.status(f"Asking {shown} for the first time …"))
            self.judges[name] = RightAnswers(self.indexes[name].pairs)
        return self.judges[name]

    # ------------------------------------------------------------------ what the reader does

    def _connect(self) -> None:
        # A text that syncs when it is finished changes its value on Enter. Where the sentence is
        # the one of before, only the front end's message tells of Enter (on_submit is deprecated).
        self.sentence.observe(self._typed, "value")
        self.sentence.on_msg(lambda _, message, __: self._entered(message))
        self.picture.observe(self._typed, "value")
        self.upload.observe(self._uploaded, "value")
        self.find.on_click(lambda _: self.ask(self.sentence.value))
        self.describe.on_click(lambda _: self.ask(self.picture.value))
        self.any_caption.on_click(lambda _: self.ask(random.choice(self._pairs().captions)))
        self.any_picture.on_click(lambda _: self.ask(random.randrange(len(self._pairs()))))
        for one in (self.loss, self.beside, self.answers):
            one.observe(lambda _: self.draw(), "value")
        for place, button in enumerate(self.go_on):
            button.on_click(lambda _, place=place: self._follow(place))

    def _pairs(self) -> Any:
        return self.indexes[self.loss.value].pairs

    def _typed(self, change: Any) -> None:
        if not self._silent:
            self.ask(change["new"])

    def _entered(self, message: Any) -> None:
        again = self.sentence.value  # a new sentence arrives right after this message
        if message.get("event") == "submit" and again and self.query != again:
            self.ask(again)

    def _follow(self, place: int) -> None:
        if place < len(self.hits):
            hit = self.hits[place]
            self.ask(hit.image_index if hit.caption is None else hit.caption)

    def _uploaded(self, change: Any) -> None:
        files = change["new"]  # ipywidgets 7: a dict by file name; 8: a tuple
        first = next(iter(files.values() if isinstance(files, dict) else files), None)
        if first is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "your picture"  # never a name of the reader's choosing
            path.write_bytes(first["content"])
            try:
                picture = read_image(path)
            except DataError as error:
                self.results.value = cards.alert(str(error).replace(str(path), "Your picture"))
                return
        self.ask(picture)

    def __repr__(self) -> str:
        return f"<SearchExplorer of {', '.join(filter(None, self.indexes)) or 'one index'}>"


def _button(text: str, tooltip: str, primary: bool = False) -> Button:
    return Button(
        description=text,
        tooltip=tooltip or f"Go on with answer {text}",
        button_style="primary" if primary else "",
        layout=Layout(width="auto"),
    )


def _narrow(width: str = "17rem") -> Layout:
    return Layout(width=width)
