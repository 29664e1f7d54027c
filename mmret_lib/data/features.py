"""Kept features: what frozen backbones make of photos and captions, computed once.

While only projections train, a backbone gives the same numbers in every epoch. They are computed
once (`encoders.features.keep_features`) into an array on disk, which is mapped into memory: one for
the photos, one for the captions (`feature_files`). `Features` joins such sides with the pairs that
they are of, and stands wherever a packed store does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mmret_lib.data.feature_files import UNITS, VERSION, Side
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.pixel_hash import Hashes
from mmret_lib.data.store import Store
from mmret_lib.data.store_files import key_of, unreadable_line
from mmret_lib.data.tokens import Tokenizer, token_table
from mmret_lib.files.errors import DataError, short


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """Pairs with kept features in the place of pixels, or of captions, or both.

    Stands where a packed `Store` does. `features[3]` is an image's feature, float32 (F,), in view
    0; `features[10:20]`, `features[[4, 2]]` are several, (B, F). Where the image side is a packed
    store, these are pixels, as there.

    Attributes:
        pairs: N images, M captions.
        image: the side of the images, or the store that holds their pixels.
        image_rows: int64 (N,): the row of each image in it.
        text: the side of the captions; None where they are tokenised as ever.
        caption_ids: int64 (M,): equal where two captions have the same text; with a text side, the
            row of the caption in it.
    """

    pairs: Pairs
    image: Side | Store
    image_rows: npt.NDArray[np.int64]
    text: Side | None
    caption_ids: npt.NDArray[np.int64]

    @property
    def owner(self) -> npt.NDArray[np.int64]:
        """The image of each caption, (M,)."""
        return self.pairs.owner

    @property
    def views(self) -> int:
        """Views of each image, the one that is not augmented among them."""
        return self.image.views if isinstance(self.image, Side) else 1

    @property
    def augment(self) -> str | None:
        """How the views were made; None where the images are pixels."""
        return None if isinstance(self.image, Store) else self.image.manifest["origin"]["augment"]

    @property
    def hashes(self) -> Hashes:
        """A hash of each image's pixels, uint64 (N,); `UNKNOWN` where it is not known."""
        return self.image.hashes[self.image_rows]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.image_rows)

    def __repr__(self) -> str:
        sides = [name for name, side in (("image", self.image), ("text", self.text)) if side]
        return f"<Features {self.pairs!r}, {' and '.join(sides)}>"

    def __getitem__(self, which: Any) -> npt.NDArray[Any]:
        rows = self.image_rows[which]
        return self.image[rows] if isinstance(self.image, Store) else self.image.read(rows)

    def read_into(
        self,
        which: npt.NDArray[np.int64],
        buffer: npt.NDArray[Any],
        views: npt.NDArray[np.int64] | int = 0,
    ) -> None:
        """Copy images, each in one view, into an array that is already there, (B, F)."""
        if isinstance(self.image, Store):
            self.image.read_into(self.image_rows[which], buffer)
        else:
            buffer[:] = self.image.read(self.image_rows[which], views)

    def texts(self, which: slice | npt.NDArray[np.int64]) -> Any:
        """Captions as `encode_texts` takes them: features (B, F), or without any a list of B."""
        if self.text is not None:
            return self.text.read(self.caption_ids[which])
        captions = self.pairs.captions
        return captions[which] if isinstance(which, slice) else [captions[j] for j in which]

    def token_ids(self, tokenizer: Tokenizer) -> npt.NDArray[np.int32]:
        """Return the token ids of every caption, (M, longest), as `Store.token_ids` does."""
        return token_table(self.pairs.captions, tokenizer)

    def subset(self, indices: Iterable[int] | npt.NDArray[Any]) -> "Features":
        """Return the given images with all their captions, as `Pairs.subset` does."""
        numbered = replace(
            self.pairs,
            image_info=[{"at": i} for i in range(len(self))],
            caption_info=[{"at": j} for j in range(len(self.pairs.captions))],
        )
        indices = indices if isinstance(indices, np.ndarray) else list(indices)
        part = numbered.subset(indices)
        rows = [info["at"] for info in part.image_info or []]
        captions = [info["at"] for info in part.caption_info or []]
        return replace(
            self,
            pairs=self.pairs.subset(indices),
            image_rows=self.image_rows[rows],
            caption_ids=self.caption_ids[captions],
        )

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the features are made from, in the form of a store's manifest."""
        chosen = key_of("rows", self.image_rows.tobytes().hex(), self.caption_ids.tobytes().hex())
        image = self.image
        key = image.manifest["images"]["key"] if isinstance(image, Store) else image.key
        text = self.text.key if self.text else key_of("captions", self.pairs.to_json())
        return {
            "version": VERSION,
            "images": {"key": key_of(key, chosen), "unreadable": {}},
            "captions": {"key": key_of(text, chosen)},
        }


def join(
    pairs: Pairs, image: Side | Store, image_rows: npt.NDArray[np.int64], text: Side | None
) -> Features:
    """Join sides with the pairs that they are of.

    Images that could not be read are left out, and counted and named in a line of `skipped`.

    Args:
        image_rows: (N,), the row of each image in `image`.

    Raises:
        DataError: the text side lacks a caption.
    """
    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(c, len(numbers)) for c in pairs.captions], np.int64)
    if text is not None and numbers:
        ids = rows_of(text, list(numbers))[ids]
    features = Features(pairs, image, image_rows, text, ids)
    if isinstance(image, Store):
        return features
    unreadable = image.manifest["values"]["unreadable"]
    bad = np.isin(image_rows, [int(row) for row in unreadable])
    if not bad.any():
        return features
    left = features.subset(~bad)
    line = unreadable_line({"images": image.manifest["values"]})
    return replace(left, pairs=replace(left.pairs, skipped=(*left.pairs.skipped, line)))


def rows_of(side: Side, records: Sequence[object]) -> npt.NDArray[np.int64]:
    """Find the row of each image id, or caption: (n,).

    Raises:
        DataError: one is not there; the message names the first.
    """
    rows = side.find(records)
    missing = np.flatnonzero(rows < 0)
    if missing.size:
        unit = UNITS[side.manifest["origin"]["side"]]
        raise DataError(
            f"{side.folder} has no features of {missing.size:,} of the {len(records):,} {unit}, "
            f"the first is {short(records[missing[0]])}; they are of other data"
        )
    return rows
