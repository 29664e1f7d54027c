"""`Pairs`: the images and captions of a data set, as every reader returns them.

They hold image files, captions, and `owner`, which says for every caption which image it describes.
The captions of one image follow one another, as the usual evaluation code expects, so that the
captions of image i are one slice. A reader lists the images as `Photo`s, and `assembling` makes the
`Pairs` of them.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmret_lib.files.errors import DataError, short


@dataclass(frozen=True, eq=False, repr=False)
class Pairs:
    """Images with their captions; immutable, checked when made.

    Attributes:
        images: the file of each image, N of them.
        captions: M captions, each a string that is more than white space.
        owner: int64 (M,), read-only; `owner[j]` is the index of the image that caption j describes.
            Non-decreasing, and every image owns at least one caption; only photos to search may
            have no captions at all (M = 0).
        image_ids: N names under which the data set itself knows the images.
        name, split: which data set and which part of it, for titles and run records.
        skipped: one line for each record (or each kind of record) that was left out, and why.
        features: folder of kept features (`data.features`) for images whose photos are not here;
            an image's row in it is found by its image id. None where `images` can be read.
        notes: one line for each thing that a reader should know, such as where the photos were
            found, or which part of a split this is. No part of what `to_json` writes.
        image_info, caption_info: the raw records of the file that was read, N and M of them, or
            None where they were not kept.

    Raises:
        DataError: if the parts do not fit together; the message names the first wrong entry.
    """

    images: list[Path]
    captions: list[str]
    owner: npt.NDArray[np.int64]
    image_ids: list[int | str]
    name: str = ""
    split: str = ""
    skipped: tuple[str, ...] = ()
    image_info: list[dict[str, Any]] | None = None
    caption_info: list[dict[str, Any]] | None = None
    features: Path | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Copies: a list that the caller goes on changing would undo the checks below.
        for field in ("images", "captions", "image_ids", "image_info", "caption_info"):
            value = getattr(self, field)
            object.__setattr__(self, field, None if value is None else list(value))
        object.__setattr__(self, "skipped", tuple(self.skipped))
        object.__setattr__(self, "notes", tuple(self.notes))
        if self.features is not None:
            object.__setattr__(self, "features", Path(self.features))
        owner = np.asarray(self.owner)
        if owner.size and owner.dtype.kind not in "iu":
            raise DataError(f"owner must hold integers, not {owner.dtype}")
        owner = np.array(owner, dtype=np.int64)
        owner.setflags(write=False)
        object.__setattr__(self, "owner", owner)
        self._check()

    def _check(self) -> None:
        count = len(self.images)
        if self.owner.shape != (len(self.captions),):
            raise DataError(
                f"owner has shape {self.owner.shape} for {len(self.captions)} captions; "
                "it needs one entry per caption"
            )
        for field, wanted in (
            ("image_ids", count),
            ("image_info", count),
            ("caption_info", len(self.captions)),
        ):
            value = getattr(self, field)
            if value is not None and len(value) != wanted:
                raise DataError(f"{field} has {len(value)} entries where {wanted} are needed")
        for index, caption in enumerate(self.captions):
            if not isinstance(caption, str) or not caption.strip():
                raise DataError(f"caption {index} is {short(caption)}; it must be a text")
        if self.owner.size and not 0 <= self.owner.min() <= self.owner.max() < count:
            raise DataError(
                f"owner runs from {self.owner.min()} to {self.owner.max()}, but the images are "
                f"numbered from 0 to {count - 1}"
            )
        out_of_order = np.flatnonzero(np.diff(self.owner) < 0)
        if out_of_order.size:
            raise DataError(
                f"caption {out_of_order[0] + 1} belongs to an earlier image than the caption "
                "before it; the captions of one image must stand together, in image order"
            )
        without = np.flatnonzero(np.bincount(self.owner, minlength=count) == 0)
        if without.size and self.captions:
            raise DataError(
                f"{without.size} of {count} images have no caption, the first is image "
                f"{without[0]} ({self.images[without[0]]}); leave such images out"
            )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def __repr__(self) -> str:
        title = " ".join(part for part in (self.name, self.split) if part)
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        counts = f"{len(self.images):,} images, {len(self.captions):,} captions"
        return f"<Pairs {title}: {counts}{skipped}>" if title else f"<Pairs: {counts}{skipped}>"

    def captions_of(self, image: int) -> list[str]:
        """Return the captions of one image, given its index (0 … N-1).

        Raises:
            IndexError: if there is no such image.
        """
        if not 0 <= image < len(self):
            raise IndexError(f"image {image} of {len(self)}: indices run from 0 to {len(self) - 1}")
        first, end = np.searchsorted(self.owner, [image, image + 1])
        return self.captions[first:end]

    def subset(self, indices: Iterable[int] | npt.NDArray[Any]) -> "Pairs":
        """Return the given images, in the given order, with all their captions.

        Args:
            indices: image indices (0 … N-1), or a boolean mask of N entries.

        Raises:
            IndexError: if an index is out of range or a mask has the wrong length.
            TypeError: if they are neither integers nor booleans.
        """
        chosen = np.asarray(indices if isinstance(indices, np.ndarray) else list(indices))
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise IndexError(f"a mask of shape {chosen.shape} for {len(self)} images")
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise TypeError("subset takes a flat list of image indices or a boolean mask")
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(self):
            raise IndexError(
                f"image indices from {chosen.min()} to {chosen.max()} asked of {len(self)} images; "
                f"they run from 0 to {len(self) - 1}"
            )
        images = [int(index) for index in chosen]
        first = np.searchsorted(self.owner, images)
        end = np.searchsorted(self.owner, images, side="right")
        captions = [j for a, b in zip(first, end, strict=True) for j in range(a, b)]

        def pick(values: Sequence[Any] | None, places: list[int]) -> Any:
            return None if values is None else [values[place] for place in places]

        return Pairs(
            images=pick(self.images, images),
            captions=pick(self.captions, captions),
            owner=np.repeat(np.arange(len(images)), end - first),
            image_ids=pick(self.image_ids, images),
            name=self.name,
            split=self.split,
            skipped=self.skipped,
            image_info=pick(self.image_info, images),
            caption_info=pick(self.caption_info, captions),
            features=self.features,
            notes=self.notes,
        )

    def to_json(self) -> str:
        """Write the pairs as JSON, with absolute paths because another folder may read it.

        Raises:
            DataError: an id or a record that JSON cannot hold.
        """
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        record["images"] = [str(path.absolute()) for path in self.images]
        record["owner"] = self.owner.tolist()
        # As before there were these entries: what this returns is a key of packed stores.
        del record["features"], record["notes"]
        if self.features is not None:
            record["features"] = str(self.features.absolute())
        try:
            return json.dumps(record, default=lambda number: number.item())  # numpy's ids
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"the pairs hold something that json does not ({error})") from None

    @classmethod
    def from_json(cls, text: str | bytes) -> "Pairs":
        """Read what `to_json` wrote.

        Raises:
            DataError: the text is something else.
        """
        try:
            record = json.loads(text)
            record["images"] = [Path(name) for name in record["images"]]
            return cls(**record)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(f"it is not the JSON of pairs ({error})") from None


def need_captions(owner: npt.NDArray[np.int64], task: str) -> None:
    """Raise DataError where a collection has no captions at all.

    Args:
        owner: of `Pairs`, a store or kept features.
        task: what cannot be done without, for the message.
    """
    if not len(owner):
        raise DataError(
            f"these images have no captions, and {task} needs some; they can be searched "
            "(SearchIndex.build, mmret index --photos)"
        )
