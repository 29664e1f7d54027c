"""How captions are read: what a comparison of results cannot tell in exercise 01's first task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.pipeline.captions import Annotations

UNLISTED = 4711


def takes_a_file_without_captions(function: Callable[[Annotations], Any]) -> str | None:
    """Without captions nothing is left, and the owners are still whole numbers."""
    names, texts, owner = function({"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": []})
    if not isinstance(owner, Tensor) or owner.dtype != torch.int64 or owner.shape != (0,):
        return (
            "a file without captions should give an owner of shape (0,) and int64. "
            "torch.tensor([]) is float32, so write torch.tensor(owner, dtype=torch.int64)"
        )
    if list(names) or list(texts):
        return "a file without captions should give two empty lists: leave its images out"
    return None


def refuses_an_unlisted_image(function: Callable[[Annotations], Any]) -> str | None:
    """A caption of an image that is not in the list: a ValueError that names the image's id."""
    annotations = {
        "images": [{"id": 5, "file_name": "5.jpg"}],
        "annotations": [
            {"id": 0, "image_id": 5, "caption": "A boot."},
            {"id": 1, "image_id": UNLISTED, "caption": "A bus."},
        ],
    }
    remedy = (
        f"raise ValueError with a message that names it, as in "
        f"`raise ValueError(f'no image {{image_id}}')`: the file here has a caption of image "
        f"{UNLISTED}, and only image 5"
    )
    try:
        function(annotations)
    except ValueError as error:
        if str(UNLISTED) in str(error):
            return None
        return (
            f"the ValueError for a caption whose image is not listed does not say which: {remedy}"
        )
    except (LookupError, AssertionError) as error:
        kind = type(error).__name__
        return f"a caption whose image is not listed ends in {kind}, not in a ValueError: {remedy}"
    return f"a caption whose image is not listed is dropped without a word: {remedy}"


class Counted(list):  # type: ignore[type-arg]
    """A list that counts how often one of its entries is looked at."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        """Count an entry when it is handed out."""
        for entry in super().__iter__():
            self.looks += 1
            yield entry

    def __getitem__(self, which: Any) -> Any:
        """Count an entry, or those of a slice."""
        entry = super().__getitem__(which)
        self.looks += len(entry) if isinstance(which, slice) else 1
        return entry


class Compared:
    """An id or a name that counts how often it is compared, as `list.index` does it."""

    times = 0

    def __eq__(self, other: object) -> bool:
        """Count, then compare."""
        Compared.times += 1
        return super().__eq__(other)

    def __hash__(self) -> int:
        """Find it in a dict."""
        return super().__hash__()


class Id(Compared, int):
    """An image's id."""


class Name(Compared, str):
    """An image's file name."""


IMAGES, LIMIT = 60, 12  # an answer that goes through the captions once per image looks 60 times


def goes_through_the_captions_once(function: Callable[[Annotations], Any]) -> str | None:
    """The list of captions is gone through a few times, and not once for every image."""
    records = [{"id": j, "image_id": Id(j % IMAGES), "caption": str(j)} for j in range(2 * IMAGES)]
    images = Counted({"id": Id(i), "file_name": Name(f"{i}.jpg")} for i in range(IMAGES))
    captions = Counted(records)
    Compared.times = 0
    function({"images": images, "annotations": captions})
    compared = Compared.times
    for looked, what, other in (
        (captions, "captions", "image"),
        (images, "images", "caption"),
    ):
        if looked.looks > LIMIT * len(looked):
            return (
                f"the list of {what} is searched anew for every {other}: with COCO's 118,287 "
                "images and 591,753 captions that takes hours. Go through it once, and keep what "
                "you need in a dict"
            )
    if compared > LIMIT * len(records):
        return (
            "a list of ids or names is searched for every caption, as ids.index(...) and `in` do "
            "it: with COCO that takes hours. A dict from id to place finds it at once"
        )
    return None
