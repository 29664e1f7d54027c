"""The answers of a search: pictures with their captions, the best first."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmret_lib.data.album import credit_of
from mmret_lib.data.pairs import Pairs
from mmret_lib.files.disk import disk_errors
from mmret_lib.files.errors import on_one_line, visible
from mmret_lib.files.whole import write_text


@dataclass(frozen=True)
class Hit:
    """One answer: always a picture of the collection, with its captions.

    `by_text` and `similar_images` find pictures, and `caption` is None. `by_image` and
    `similar_captions` find captions: `caption` is the text, `caption_index` its place in
    `pairs.captions`, and the picture is the one that it was written for. So for every kind of
    search, `image_index` tells whether an answer is right.

    Attributes:
        rank: from 1, the best.
        score: cosine similarity to the query, -1…1.
        image_index: place of the picture in `pairs.images`.
        image: its file.
        captions: its own captions, all of them.
        caption, caption_index: the caption that was found, or None.
        credit: licence and address of the picture, to be shown with it; "" where none is known.
    """

    rank: int
    score: float
    image_index: int
    image: Path
    captions: tuple[str, ...]
    caption: str | None = None
    caption_index: int | None = None
    credit: str = ""

    def __str__(self) -> str:
        """Rank, score and file on one line, captions below, as `mmret search` prints them."""
        captions = self.captions if self.caption is None else [self.caption]
        lines = [f"{self.rank:3d}  {self.score:6.3f}  {on_one_line(str(self.image))}"]
        return "\n".join([*lines, *(f"{'':13}{visible(caption)}" for caption in captions)])


def hits_of(pairs: Pairs, side: str, scores: Sequence[float], rows: Sequence[int]) -> list[Hit]:
    """Make hits from scores, the best first, and places in `pairs.images` or `pairs.captions`.

    Args:
        side: "image" or "text": which of the two the rows are.
        scores: cosine similarities.
        rows: places, one per score.
    """
    hits = []
    for rank, (score, row) in enumerate(zip(scores, rows, strict=True), start=1):
        image = row if side == "image" else int(pairs.owner[row])
        score = min(1.0, max(-1.0, score))  # rounding may pass them by a hair
        hit = Hit(
            rank,
            score,
            image,
            pairs.images[image],
            tuple(pairs.captions_of(image)),
            credit=credit_of(pairs.image_info[image]) if pairs.image_info else "",
        )
        if side == "text":
            hit = replace(hit, caption=pairs.captions[row], caption_index=row)
        hits.append(hit)
    return hits


def write_hits(
    path: Path, query: str | os.PathLike[str], hits: Sequence[Hit], *, collection: str, images: int
) -> None:
    """Write the hits of one query as a JSON file, complete or not at all.

    Beside each path, as text, stands its address (file://…), which is exact for names that are not
    UTF-8 as well.

    Args:
        path: the file; an existing one is replaced.
        query: the text, or the path of the picture, that was asked with.
        hits: the best first.
        collection: what was searched, for the reader.
        images: how many there are in it.

    Raises:
        DataError: it cannot be written.
    """
    record = {
        "query": _utf8(os.fspath(query)),
        "query_is": "text" if isinstance(query, str) else "picture",
        "collection": _utf8(collection),
        "images": images,
        "hits": [_record(hit) for hit in hits],
    }
    with disk_errors(path, "writing the answers"):
        write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _record(hit: Hit) -> dict[str, Any]:
    image = hit.image.absolute()
    record: dict[str, Any] = {"rank": hit.rank, "score": hit.score}
    if hit.caption is not None:
        record["caption"] = _utf8(hit.caption)
    record |= {"path": _utf8(str(image)), "address": image.as_uri()}
    return {**record, "captions": [_utf8(caption) for caption in hit.captions]}


def _utf8(text: str) -> str:
    """Replace what UTF-8 cannot hold: bytes of a file name that are no text."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
