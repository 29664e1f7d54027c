"""A collection embedded once, then asked by text for pictures or by a picture for captions.

    index = SearchIndex.build(model, pairs)
    for hit in index.by_text("A baby elephant plays in the water", k=5):
        print(hit.rank, f"{hit.score:.3f}", hit.image)

The search is exact: every entry of the collection is compared with the query.
"""

import operator
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm.auto import tqdm

from mmret_lib.data.images import read_image, read_pixels, to_pixels, to_rgb
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.encoders import DualEncoder
from mmret_lib.errors import DataError
from mmret_lib.negatives import unit_length

Picture = str | os.PathLike[str] | Image.Image | np.ndarray

CHUNK = 1024  # entries between two moves of the progress bar


@dataclass(frozen=True)
class Hit:
    """One answer: always a picture of the collection, with its captions.

    Asked by text, the picture is what was found, and `caption` is None. Asked by a picture, a
    caption was found: `caption` is its text, `caption_index` its place in `pairs.captions`, and
    the picture is the one that it was written for. So in both directions an answer is right where
    `image_index` is: a hit itself knows nothing of right and wrong.

    Attributes:
        rank: from 1, the best.
        score: cosine similarity to the query, -1…1.
        image_index: place of the picture in `pairs.images`.
        image: its file.
        captions: its own captions, all of them.
        caption, caption_index: the caption that was found, or None.
    """

    rank: int
    score: float
    image_index: int
    image: Path
    captions: tuple[str, ...]
    caption: str | None = None
    caption_index: int | None = None


@dataclass(frozen=True, eq=False, repr=False)
class SearchIndex:
    """A collection ready to be asked; make one with `build`.

    Attributes:
        model: embeds the queries, as it embedded the collection.
        pairs: the collection: N images, M captions.
        image_emb: (N, D) float32 on the CPU, rows of length 1.
        text_emb: (M, D), likewise.
    """

    model: DualEncoder
    pairs: Pairs
    image_emb: Tensor
    text_emb: Tensor

    @classmethod
    def build(
        cls, model: DualEncoder, pairs: Pairs | Store, *, progress: bool = True
    ) -> "SearchIndex":
        """Embed every image and every caption.

        Args:
            model: as trained; it stays on its device.
            pairs: the collection. Images that cannot be read are left out with a warning, as
                `pack` does, and are missing from `index.pairs` too.
            progress: whether to show progress bars.

        Raises:
            DataError: an empty collection, too many unreadable images, or a model whose
                embeddings are not finite.
        """
        if not len(pairs):
            raise DataError(
                "the collection is empty, so there is nothing to search; give pairs with images"
            )
        data = pack(pairs, model.image.image_size, progress=progress)
        image_emb = _embed(model.encode_images, data, "image", progress)  # (N, D)
        text_emb = _embed(model.encode_texts, data.pairs.captions, "caption", progress)  # (M, D)
        return cls(model, data.pairs, image_emb, text_emb)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"<SearchIndex of {self.pairs!r}>"

    def by_text(self, text: str, k: int = 5) -> list[Hit]:
        """The k pictures that fit a text best, the best first; all of them if there are fewer.

        Raises:
            DataError: a text with nothing in it to be seen, or k below 1.
            TypeError: not a string.
        """
        if not isinstance(text, str):
            raise TypeError(f"by_text takes one string, not {type(text).__name__}")
        if not any(sign.isprintable() and not sign.isspace() for sign in text):
            raise DataError(
                f"the query {text[:20]!r} is empty; say what the picture shows, "
                'such as "Red bus on the street"'
            )
        scores = self._scores(self.model.encode_texts([text]), self.image_emb)  # (N,)
        return [
            self._hit(rank, score, image_index) for rank, score, image_index in _best(scores, k)
        ]

    def by_image(self, image: Picture, k: int = 5) -> list[Hit]:
        """The k captions that fit a picture best, the best first; all of them if there are fewer.

        Args:
            image: a file, which is read just as those of the collection were; a PIL image; or a
                uint8 array (H, W), (H, W, 3), (H, W, 4) or (3, H, W).
            k: how many.

        Raises:
            MissingFile, DataError: as `read_image`; DataError for another array, or k below 1.
        """
        size = self.model.image.image_size
        if isinstance(image, Image.Image | np.ndarray):
            pixels = to_pixels(open_picture(image), size)  # (3, S, S)
        else:
            pixels = read_pixels(Path(image), size)
        scores = self._scores(self.model.encode_images(pixels[None]), self.text_emb)  # (M,)
        return [
            self._hit(rank, score, int(self.pairs.owner[caption_index]), caption_index)
            for rank, score, caption_index in _best(scores, k)
        ]

    def _scores(self, query_emb: Tensor, collection_emb: Tensor) -> Tensor:
        """Cosines (rows,) of one query, not yet of length 1 (1, D), to the collection (rows, D)."""
        return collection_emb @ unit_length(query_emb.float().cpu())[0]

    def _hit(
        self, rank: int, score: float, image_index: int, caption_index: int | None = None
    ) -> Hit:
        return Hit(
            rank,
            score,
            image_index,
            self.pairs.images[image_index],
            tuple(self.pairs.captions_of(image_index)),
            None if caption_index is None else self.pairs.captions[caption_index],
            caption_index,
        )


def _best(scores: Tensor, k: int) -> list[tuple[int, float, int]]:
    """(rank, score, index) of the k highest of (rows,) scores."""
    k = operator.index(k)
    if k < 1:
        raise DataError(f"k is {k}; ask for at least 1 hit")
    top = scores.topk(min(k, len(scores)))
    return list(zip(range(1, k + 1), top.values.tolist(), top.indices.tolist(), strict=False))


def _embed(
    encode: Callable[[Any], Tensor], entries: Sequence[str] | Store, noun: str, progress: bool
) -> Tensor:
    """Unit vectors (rows, D), float32 on the CPU."""
    parts = []
    with tqdm(
        total=len(entries), desc=f"embedding {noun}s", unit="", disable=not progress, leave=False
    ) as bar:
        for first in range(0, len(entries), CHUNK):
            part = entries[first : first + CHUNK]
            emb = encode(part).float().cpu()  # (rows, D)
            # topk would put NaN first: a broken model would look like a confident one.
            bad = (~torch.isfinite(emb).all(dim=1)).nonzero()
            if len(bad):
                raise DataError(
                    f"the model's embedding of {noun} {first + int(bad[0])} is not finite; its "
                    "training has diverged: train again at a lower learning rate"
                )
            parts.append(unit_length(emb))
            bar.update(len(part))
    return torch.cat(parts)


def open_picture(picture: Picture) -> Image.Image:
    """A picture, however it is given, upright in 8-bit RGB.

    Args:
        picture: a file, a PIL image, or a uint8 array (H, W), (H, W, 3), (H, W, 4) or (3, H, W).

    Raises:
        MissingFile, DataError: as `read_image`; DataError for another array.
    """
    if isinstance(picture, np.ndarray):
        if picture.ndim == 3 and picture.shape[0] == 3 and picture.shape[2] not in (3, 4):
            picture = picture.transpose(1, 2, 0)  # (H, W, 3), as a store gives it
        channels = picture.shape[2:] in ((), (3,), (4,))
        if picture.dtype != np.uint8 or picture.ndim < 2 or not channels or not picture.size:
            raise DataError(
                f"a picture given as an array must be uint8 (H, W), (H, W, 3), (H, W, 4) or "
                f"(3, H, W), not {picture.dtype} {picture.shape}"
            )
        picture = Image.fromarray(np.ascontiguousarray(picture))
    if isinstance(picture, Image.Image):
        return to_rgb(ImageOps.exif_transpose(picture))
    return read_image(Path(picture))
