"""Which answers of a search are right, as far as anyone can know.

A data set knows for whom a caption was written, and nothing else: every other picture counts as
wrong, though many a caption fits several. Of the built-in world the generator is known too, so
there an answer can also be right without being the data set's own.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.world.captions import Claim, Scene, claim_probability
from mmret_lib.data.world.scenes import SLIDE_QUERIES
from mmret_lib.search.hits import Hit

# "own": caption and picture belong together in the data set. "fits": they do not, yet the caption
# is true of the picture. "wrong": neither. None: nobody knows.
Verdict = Literal["own", "fits", "wrong"] | None


class RightAnswers:
    """Judges the hits of one collection.

    >>> judge = RightAnswers(index.pairs).of_text("Grazing zebra")
    >>> [judge(hit) for hit in index.by_text("Grazing zebra")]
    ['fits', 'fits', 'wrong', …]
    """

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self._scene = lru_cache(maxsize=None)(self._read_scene)
        self._same: dict[str, list[int]] = {}  # what a caption says -> its places
        for place, caption in enumerate(pairs.captions):
            self._same.setdefault(_said(caption), []).append(place)
        self._places = {image: place for place, image in enumerate(pairs.images)}

    def of_text(self, text: str) -> Callable[[Hit], Verdict]:
        """For the answers to a text: known where it is a caption of the collection, give or take
        capitals and the full stop, or one of the course's queries."""
        places = self._same.get(_said(text), [])
        owners = {int(self.pairs.owner[place]) for place in places}
        claims = [claim for place in places if (claim := self._claim(place))]
        claims += [c for query, c in SLIDE_QUERIES.items() if _said(query) == _said(text)]

        def judge(hit: Hit) -> Verdict:
            if hit.image_index in owners:
                return "own"
            scene = self._scene(hit.image_index) if claims else None
            if scene and any(claim_probability(claim, scene) for claim in claims):
                return "fits"
            return "wrong" if owners or scene else None

        return judge

    def of_picture(self, image: Path) -> Callable[[Hit], Verdict]:
        """For the captions that were found for a picture: known where it is of the collection."""
        asked = self._places.get(image)

        def judge(hit: Hit) -> Verdict:
            if asked is None or hit.caption_index is None:
                return None
            if hit.image_index == asked:
                return "own"
            claim, scene = self._claim(hit.caption_index), self._scene(asked)
            return "fits" if claim and scene and claim_probability(claim, scene) else "wrong"

        return judge

    def _claim(self, place: int) -> Claim | None:
        record = (self.pairs.caption_info or {place: {}})[place].get("claim")
        return Claim.from_dict(record) if record else None

    def _read_scene(self, place: int) -> Scene | None:
        record = (self.pairs.image_info or {place: {}})[place].get("scene")
        return Scene.from_dict(record) if record else None


def _said(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" .")
