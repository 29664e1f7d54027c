"""Search in a notebook: type a sentence or choose a picture, and compare what two losses find.

The widgets are those that ipywidgets 7.7 (Colab) and 8 share. Results are drawn into HTML widgets:
an Output widget would lose them where a front end reconnects.
"""

import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure
from PIL import Image

from mmret_lib.data.album import credit_of
from mmret_lib.data.images import Picture, read_image
from mmret_lib.data.pairs import Pairs
from mmret_lib.files.errors import DataError
from mmret_lib.search.hits import Hit
from mmret_lib.search.index import SearchIndex
from mmret_lib.search.right_answers import RightAnswers, Verdict
from mmret_lib.show import html
from mmret_lib.show.stored import Pictured, answers_sheet
from mmret_lib.show.tables import display_name

SEARCHED = 100  # answers among which the right one is looked for; not all of them are shown
MOST = 20  # answers shown
NOTHING = "—"
WRAP = "row wrap"


class SearchExplorer(Pictured):
    """Search a collection by a sentence or by a picture, with one loss or two side by side.

    A picture finds captions, or where the collection has none, the pictures similar to it. Answers
    are marked right or wrong where that is known: for a sentence that is a caption of the
    collection (see `RightAnswers`), and for a picture of the collection.

    Args:
        indexes: one collection; or name of a loss -> the collection embedded by the model that was
            trained with it. A lazy mapping is only asked for the indexes that are searched.
        k: answers to show, at most 20.
        query: a sentence to begin with; "" begins with an empty page.

    Raises:
        DataError: no index, or k out of range.

    Example:
        >>> SearchExplorer({"simclr": index, "max_triplet": other}, query="Grazing zebra")
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
        self.hits: list[Hit] = []
        names = list(self.indexes)
        pairs = self.indexes[names[0]].pairs
        captioned = bool(pairs.captions)

        label = {"description_width": "5.5rem"}
        narrow, auto = widgets.Layout(width="17rem"), widgets.Layout(width="auto")
        self.sentence = widgets.Text(
            value=query,
            description="Sentence",
            placeholder="Say what the picture shows",
            continuous_update=False,
            style=label,
            layout=widgets.Layout(flex="1 1 20rem", width="auto", min_width="14rem"),
        )
        self.picture = widgets.BoundedIntText(
            value=0,
            min=0,
            max=len(pairs) - 1,
            description="Picture no.",
            style=label,
            layout=widgets.Layout(width="12rem"),
        )
        self.find = _button("Find pictures", "Search with the sentence (Enter does it too)", True)
        found = "Find captions" if captioned else "Find similar"
        self.describe = _button(found, "Search with the picture of this number", True)
        self.any_caption = _button("Any caption", "Search with a random caption")
        self.any_picture = _button("Any picture", "Search with a random picture")
        self.upload = widgets.FileUpload(
            accept="image/*", multiple=False, description="Your own", layout=auto
        )
        options = [(display_name(name), name) for name in names]
        self.loss = widgets.Dropdown(
            options=options, description="Loss", style=label, layout=narrow
        )
        self.beside = widgets.Dropdown(
            options=[(NOTHING, NOTHING), *options],
            description="Beside it",
            style=label,
            layout=narrow,
        )
        self.answers = widgets.BoundedIntText(
            value=k,
            min=1,
            max=MOST,
            description="Answers",
            style=label,
            layout=widgets.Layout(width="10rem"),
        )
        self.results = widgets.HTML()
        self.go_on = [_button(f"{n}", f"Go on with answer {n}") for n in range(1, MOST + 1)]
        self.go_on_with = widgets.Label()
        self.onward = widgets.HBox(layout=widgets.Layout(flex_flow=WRAP, align_items="center"))
        rows = [
            [self.sentence, self.find, *([self.any_caption] if captioned else [])],
            [self.picture, self.describe, self.any_picture, self.upload],
            [self.loss, self.beside, self.answers] if len(names) > 1 else [self.answers],
        ]
        super().__init__(
            [
                widgets.HTML(html.WIDGET_STYLE, layout=widgets.Layout(display="none")),
                *(widgets.HBox(row, layout=widgets.Layout(flex_flow=WRAP)) for row in rows),
                self.results,
                self.onward,
            ]
        )
        self._connect()
        if query:
            self.ask(query)
        else:
            count = f"{len(pairs):,} pictures"
            count += f", {len(pairs.captions):,} captions" if captioned else ""
            self._say(f"{count}. Type a sentence and press Enter, or take any picture.")

    def ask(self, query: str | int | Image.Image) -> None:
        """Search and draw the answers.

        Args:
            query: a sentence, the number of a picture of the collection, or another picture.
        """
        self.query = query  # first: a change of the field would otherwise ask again
        if isinstance(query, str):
            self.sentence.value = query
        elif isinstance(query, int):
            self.picture.value = query
        self.draw()

    def draw(self) -> None:
        """Repeat the last search with the losses that are chosen now, and show the answers."""
        if self.query is None:
            return
        names = [self.loss.value]
        if self.beside.value not in (NOTHING, *names):
            names.append(self.beside.value)
        try:
            judges = [self._judge(name) for name in names]
            started = time.perf_counter()
            if isinstance(self.query, str):
                noun, about = "pictures", f"for {html.text_html(self.query)}"
                columns = self._find_pictures(names, self.query)
            else:
                noun, about = ("captions" if judges[0].pairs.captions else "pictures"), ""
                columns = self._ask_with_picture(names, self.query)
        except DataError as error:
            self.results.value, self.onward.children = html.alert(str(error)), ()
            return
        pairs = judges[0].pairs
        pool = len(pairs) if noun == "pictures" else len(pairs.captions)
        milliseconds = 1000 * (time.perf_counter() - started)
        self._say(
            f"The best {len(self.hits)} of {pool:,} {noun} {about} · {milliseconds:.0f} ms",
            f'<div class="columns">{"".join(columns)}</div>',
        )
        self.go_on_with.value = f"Go on with {noun.removesuffix('s')}"
        self.onward.children = (self.go_on_with, *self.go_on[: len(self.hits)])

    def _say(self, status: str, content: str = "") -> None:
        self.results.value = html.panel(html.status(status) + content)

    def _find_pictures(self, names: list[str], text: str) -> list[str]:
        columns = []
        for name in names:
            hits = self.indexes[name].by_text(text, k=SEARCHED)
            columns.append(self._column(name, hits, self._judge(name).of_text(text)))
        return columns

    def _ask_with_picture(self, names: list[str], query: int | Image.Image) -> list[str]:
        image: Picture
        if isinstance(query, int):
            pairs = self.indexes[names[0]].pairs
            image = file = pairs.images[query]
            heading, own = f"Picture {query}", pairs.captions_of(query)
            credit = credit_of(pairs.image_info[query]) if pairs.image_info else ""
        else:
            image, file, heading, own, credit = query, Path(), "Your picture", [], ""
        columns = [html.query_picture(image, heading, own, credit)]
        for name in names:
            index = self.indexes[name]
            find = index.by_image if index.pairs.captions else index.similar_images
            hits = find(image, k=SEARCHED)
            columns.append(self._column(name, hits, self._judge(name).of_picture(file)))
        return columns

    def _column(self, name: str, hits: list[Hit], judge: Callable[[Hit], Verdict]) -> str:
        shown = hits[: self.answers.value]
        if name == self.loss.value:
            self.hits = shown
        verdicts = [judge(hit) for hit in hits]
        if "own" in verdicts:
            place = hits[verdicts.index("own")].rank
            note = f"The data set’s own answer stands in place {place}."
        elif "fits" in verdicts or not self._judge(name).pairs.captions:
            note = ""
        elif set(verdicts) == {None}:
            note = "The right answers are unknown: the query is not in this collection."
        else:
            note = f"No right answer among the first {len(hits)}."
        if fitting := verdicts[: len(shown)].count("fits"):
            note += f" {fitting} of these fit too: the generator knows."
        return html.column(display_name(name), note.strip(), html.answers(shown, judge))

    def _judge(self, name: str) -> RightAnswers:
        if name not in self.judges:  # its collection may first have to be embedded
            model = html.text_html(display_name(name) or "the model")
            self._say(f"Asking {model} for the first time …")
            self.judges[name] = RightAnswers(self.indexes[name].pairs)
        return self.judges[name]

    # ------------------------------------------------------------------ what the reader does

    def _connect(self) -> None:
        # Enter changes the value of the text field. If the sentence is the same as before, only the
        # front end's message reports the Enter (on_submit is deprecated).
        self.sentence.observe(self._field_changed, "value")
        self.sentence.on_msg(lambda _, message, __: self._entered(message))
        self.picture.observe(self._field_changed, "value")
        self.upload.observe(self._uploaded, "value")
        self.find.on_click(lambda _: self.ask(self.sentence.value))
        self.describe.on_click(lambda _: self.ask(self.picture.value))
        self.any_caption.on_click(lambda _: self.ask(random.choice(self._pairs().captions)))
        self.any_picture.on_click(lambda _: self.ask(random.randrange(len(self._pairs()))))
        for field in (self.loss, self.beside, self.answers):
            field.observe(lambda _: self.draw(), "value")
        for place, button in enumerate(self.go_on):
            button.on_click(lambda _, place=place: self._follow(place))

    def _pairs(self) -> Pairs:
        return self.indexes[self.loss.value].pairs

    def _field_changed(self, change: Any) -> None:
        if change["new"] != self.query:
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
        try:
            picture = read_upload(change["new"])
        except DataError as error:
            self.results.value, self.onward.children = html.alert(str(error)), ()
            return
        if picture is not None:
            self.ask(picture)

    def stored_picture(self) -> Figure | None:
        """The first answers, for a page without a kernel."""
        asked = f"Picture {self.query}" if isinstance(self.query, int) else self.query
        asked = asked if isinstance(asked, str) else "A picture of one's own"
        return answers_sheet(asked, self.hits) if self.hits else None

    def __repr__(self) -> str:
        return f"<SearchExplorer of {', '.join(filter(None, self.indexes)) or 'one index'}>"


def read_upload(value: Any) -> Image.Image | None:
    """Read the picture that a FileUpload widget holds; None where it holds none.

    Args:
        value: the widget's; ipywidgets 7 has a dict by file name, 8 a tuple of files.

    Raises:
        DataError: it is no picture that can be read.
    """
    files = value.values() if isinstance(value, dict) else value
    first = next(iter(files), None)
    if first is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "your picture"  # never a name of the reader's choosing
        path.write_bytes(first["content"])
        try:
            return read_image(path)
        except DataError as error:
            raise DataError(str(error).replace(str(path), "Your picture")) from None


def _button(text: str, tooltip: str, primary: bool = False) -> widgets.Button:
    return widgets.Button(
        description=text,
        tooltip=tooltip,
        button_style="primary" if primary else "",
        layout=widgets.Layout(width="auto"),
    )
