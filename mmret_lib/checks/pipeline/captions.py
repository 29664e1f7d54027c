"""Reading captions: the right bookkeeping, and the ways to mix up images and captions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Mistake, mistakes

Annotations = dict[str, list[dict[str, Any]]]
Record = dict[str, Any]
Result = tuple[list[str], list[str], Tensor]

# ---------------------------------------------------------------------------------------------
# The right formula, and its steps


def captioned(annotations: Annotations) -> list[Record]:
    """The images that have a caption, in the order of the list."""
    described = {record["image_id"] for record in annotations["annotations"]}
    return [image for image in annotations["images"] if image["id"] in described]


def captions_of(annotations: Annotations, image: Record) -> list[str]:
    """The captions of one image, in the order of the list."""
    records = annotations["annotations"]
    return [record["caption"] for record in records if record["image_id"] == image["id"]]


def number(place: int, image: Record, annotations: Annotations) -> Any:
    """The owner that is written beside the captions of the image at `place` of the result."""
    return place


def read_captions(
    annotations: Annotations,
    *,
    images: Callable[[Annotations], list[Record]] = captioned,
    texts: Callable[[Annotations, Record], list[str]] = captions_of,
    owner: Callable[[int, Record, Annotations], Any] = number,
    name: Callable[[Record], Any] = lambda image: image["file_name"],
) -> Result:
    """Task 1: file names, captions, and the index of the image that each caption describes."""
    kept = images(annotations)
    groups = [texts(annotations, image) for image in kept]
    owners = [
        owner(place, image, annotations)
        for place, (image, group) in enumerate(zip(kept, groups, strict=True))
        for _ in group
    ]
    captions = [caption for group in groups for caption in group]
    return [name(image) for image in kept], captions, torch.tensor(owners, dtype=torch.int64)


# ---------------------------------------------------------------------------------------------
# Mistakes in one step


def by_first_caption(annotations: Annotations) -> list[Record]:
    """Images in the order in which the captions mention them."""
    of = {image["id"]: image for image in annotations["images"]}
    ids = dict.fromkeys(record["image_id"] for record in annotations["annotations"])
    return [of[image_id] for image_id in ids]


def by(key: str) -> Callable[[Annotations], list[Record]]:
    """Images sorted by one of their entries."""
    return lambda annotations: sorted(captioned(annotations), key=lambda image: image[key])


def sorted_records(key: str) -> Callable[[Annotations, Record], list[str]]:
    """The captions of an image sorted by one of their entries."""

    def texts(annotations: Annotations, image: Record) -> list[str]:
        records = [r for r in annotations["annotations"] if r["image_id"] == image["id"]]
        return [record["caption"] for record in sorted(records, key=lambda record: record[key])]

    return texts


def changed(change: Callable[[list[str]], list[str]]) -> Callable[..., list[str]]:
    """The captions of an image after a change."""
    return lambda annotations, image: change(captions_of(annotations, image))


def place_in_file(place: int, image: Record, annotations: Annotations) -> int:
    """An image's place among all images of the file."""
    return annotations["images"].index(image)


# ---------------------------------------------------------------------------------------------
# Mistakes in the whole


def in_file_order(annotations: Annotations) -> Result:
    """Captions stay in the order of the list, whoever they belong to."""
    kept = captioned(annotations)
    place = {image["id"]: place for place, image in enumerate(kept)}
    records = annotations["annotations"]
    owners = torch.tensor([place[r["image_id"]] for r in records], dtype=torch.int64)
    return [image["file_name"] for image in kept], [r["caption"] for r in records], owners


def counted(captions: int) -> Callable[[Annotations], Result]:
    """Caption j is given to image j // captions, whatever its image_id says."""

    def wrong(annotations: Annotations) -> Result:
        texts = [record["caption"] for record in annotations["annotations"]]
        names = [image["file_name"] for image in annotations["images"]]
        return names, texts, torch.arange(len(texts)) // captions

    return wrong


def sorted_owner(annotations: Annotations) -> Result:
    """Owners are sorted, and the captions are not."""
    names, texts, owner = in_file_order(annotations)
    return names, texts, owner.sort().values


def name_per_caption(annotations: Annotations) -> Result:
    """A file name stands beside every caption."""
    names, texts, owner = read_captions(annotations)
    return [names[i] for i in owner], texts, owner


def in_runs(annotations: Annotations) -> Result:
    """Neighbours of one image are joined, and what comes later is taken for another image."""
    of = {image["id"]: image["file_name"] for image in annotations["images"]}
    records = annotations["annotations"]
    starts = [
        j for j, r in enumerate(records) if not j or r["image_id"] != records[j - 1]["image_id"]
    ]
    names = [of[records[j]["image_id"]] for j in starts]
    owner = torch.tensor([sum(s <= j for s in starts) - 1 for j in range(len(records))])
    return names, [record["caption"] for record in records], owner


def all_names(annotations: Annotations) -> Result:
    """File names of all images, beside owners that count those with captions."""
    _, texts, owner = read_captions(annotations)
    return [image["file_name"] for image in annotations["images"]], texts, owner


def nested(annotations: Annotations) -> tuple[list[str], list[list[str]], Tensor]:
    """The captions of each image are in a list of their own."""
    names, _, owner = read_captions(annotations)
    return names, [captions_of(annotations, image) for image in captioned(annotations)], owner


TOGETHER = "the captions of one image should stand together, image after image"
INDEX = (
    "`owner` should hold the image's place in the file names that you return, counted from 0: "
    "`file_names[owner[j]]` is the picture of caption j"
)
ORDER = "images keep the order of annotations['images']"
WITHIN = "the captions of an image keep the order of annotations['annotations']"
WRONG_CAPTIONS: list[Mistake] = [
    Mistake(
        f"the captions are left in the order of the file, which is not sorted by image: {TOGETHER}",
        in_file_order,
    ),
    Mistake(
        "caption j is given to image j // 5: the file is not sorted by image, and images have "
        "different numbers of captions. Look at each caption's image_id",
        counted(5),
    ),
    Mistake(
        "caption j is given to image j: an image has several captions. Look at each caption's "
        "image_id",
        counted(1),
    ),
    Mistake(
        "`owner` is sorted and the captions are not, so they no longer belong together: group the "
        "captions by image first",
        sorted_owner,
    ),
    Mistake(
        "a file name is repeated for each of its captions: each image stands once in the file "
        "names, and `owner` says the rest",
        name_per_caption,
    ),
    Mistake(
        "the captions are nested, a list for each image: make one list of all, with + or extend",
        nested,
    ),
    Mistake(
        "each run of neighbours becomes an image of its own, as itertools.groupby makes them where "
        "the list is not sorted: collect an image's captions in a dict",
        in_runs,
    ),
    Mistake(
        "the file names hold images without captions, which `owner` does not count: leave them "
        "out of the file names, too",
        all_names,
    ),
    *mistakes(
        {"images": ORDER, "texts": WITHIN, "owner": INDEX},
        images={
            "images without captions are kept: leave them out, or no caption will ever be right "
            "for them": lambda annotations: annotations["images"],
            "images come in the order in which the captions mention them": by_first_caption,
            "images are sorted by their id": by("id"),
            "images are sorted by their file name": by("file_name"),
            "the images are reversed": lambda annotations: captioned(annotations)[::-1],
        },
        owner={
            "`owner` holds image ids": lambda place, image, annotations: image["id"],
            "`owner` counts the images that were left out, too": place_in_file,
            "`owner` counts from 1": lambda place, image, annotations: place + 1,
        },
        texts={
            "only the first caption of an image is kept: keep them all": changed(lambda t: t[:1]),
            "only the last caption of an image is kept, as when each one replaces the one before "
            "it in a dict: keep a list for each image": changed(lambda texts: texts[-1:]),
            "the captions of an image are sorted by their id": sorted_records("id"),
            "the captions of an image are sorted by their text": changed(sorted),
            "the captions of an image are reversed": changed(lambda texts: texts[::-1]),
            "captions that an image has twice are left out: keep both, people did write them": (
                changed(lambda texts: list(dict.fromkeys(texts)))
            ),
            "captions are changed to lower case: leave the texts as they are": changed(
                lambda texts: [text.lower() for text in texts]
            ),
            "white space around the captions is removed: leave the texts as they are": changed(
                lambda texts: [text.strip() for text in texts]
            ),
        },
        name={
            "the whole record of an image is returned: take its 'file_name'": lambda image: image,
            "image ids are returned: take the images' 'file_name'": lambda image: image["id"],
        },
    ),
]
