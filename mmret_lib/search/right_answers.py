"""Tell which answers of a search are right, as far as that is known.

A data set says for which picture a caption was written. Every other picture counts as wrong, though
many captions fit several pictures. For the built-in world we also know how each scene was drawn, so
there an answer can be right without being the data set's own.
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
# is true of the picture. "wrong": neither. None: unknown.
Verdict = Literal["own", "fits", "wrong"] | None


class RightAnswers:
    """Judge whether the hits of one collection are right.

    Example:
        >>> judge = RightAnswers(index.pairs).of_text("Grazing zebra")
        >>> [judge(hit) for hit in index.by_text("Grazing zebra")]
        ['fits', 'fits', 'wrong', …]
    """

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self._scene = lru_cache(maxsize=None)(self._read_scene)
        self._by_text: dict[str, list[int]] = {}  # caption -> its places
        for place, caption in enumerate(pairs.captions):
            self._by_text.setdefault(_plain(caption), []).append(place)
        self._places = {image: place for place, image in enumerate(pairs.images)}

    def of_text(self, text: str) -> Callable[[Hit], Verdict]:
        """Return a function that judges the answers to a text.

        The right ones are known if the text is a caption of the collection (but for capitals and
        the full stop) or one of the course's queries.
        """
        places = self._by_text.get(_plain(text), [])
        owners = {int(self.pairs.owner[place]) for place in places}
        claims = [claim for place in places if (claim := self._claim(place))]
        claims += [c for query, c in SLIDE_QUERIES.items() if _plain(query) == _plain(text)]

        def judge(hit: Hit) -> Verdict:
            if hit.image_index in owners:
                return "own"
            scene = self._scene(hit.image_index) if claims else None
            if scene and any(claim_probability(claim, scene) for claim in claims):
                return "fits"
            return "wrong" if owners or scene else None

        return judge

    def of_picture(self, image: Path) -> Callable[[Hit], Verdict]:
        """Return a function that judges the captions found for a picture of the collection."""
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


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" .")
