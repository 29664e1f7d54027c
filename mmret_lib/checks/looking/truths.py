"""Which captions are true of which pictures, in steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

Record = dict[str, Any]

KIND = "every kind that a caption names has to be in the picture, and the picture may show more"
COUNT = "a count that a caption states has to be the picture's own count of that kind"
SOME = "count None stands for some of them, two or more: it is untrue of one alone"
SILENT = (
    "what a caption does not say (size None, place None) is no claim: it is true of every picture"
)
PLACE = "a place that a caption states has to be the picture's"
SIZE = "a size that a caption states has to be that of the very kind it is said of"
ORDER = "a caption may name the kinds in any order: look each kind up by its name"
NOTHING = "a caption that names no kind claims its place alone"
SHAPE = (
    "there may be more pictures than captions, or fewer: rows are pictures, columns are captions"
)


def count_fits(said: int | None, there: int) -> bool:
    """Whether a count is true; None stands for two or more."""
    return there >= 2 if said is None else said == there


def silent_or_same(said: Any, there: Any) -> bool:
    """Whether what is said is true; None says nothing."""
    return said is None or bool(said == there)


def by_kind(mention: Record, scene: Record) -> Record | None:
    """The group of objects that a caption names, or None where the picture has none."""
    return next((group for group in scene["objects"] if group["kind"] == mention["kind"]), None)


def right_answers(
    captions_scene: list[Record],
    scenes: list[Record],
    *,
    group_of: Callable[[Record, Record], Record | None] = by_kind,
    count: Formula = count_fits,
    size: Formula = silent_or_same,
    place: Formula = silent_or_same,
    every: Formula = all,
    exactly: Formula = lambda caption, scene: True,
    result: Formula = lambda table, pictures: table,
) -> Tensor:
    """Bool (N, M): whether caption j is true of picture i."""

    def true(caption: Record, scene: Record) -> bool:
        facts = [place(caption["place"], scene["place"])]
        for mention in caption["mentions"]:
            group = group_of(mention, scene)
            facts.append(
                group is not None
                and count(mention["count"], group["count"])
                and size(mention["size"], group["size"])
            )
        return bool(every(facts) and exactly(caption, scene))

    rows = [[true(caption, scene) for caption in captions_scene] for scene in scenes]
    table: Tensor = result(
        torch.tensor(rows, dtype=torch.bool).reshape(len(scenes), len(captions_scene)), scenes
    )
    return table


def at_place(captions_scene: list[Record], scenes: list[Record]) -> Tensor:
    """A wrong answer: the kinds are compared by their place in the list."""

    def true(caption: Record, scene: Record) -> bool:
        pairs = list(zip(caption["mentions"], scene["objects"], strict=False))
        return silent_or_same(caption["place"], scene["place"]) and all(
            mention["kind"] == group["kind"]
            and count_fits(mention["count"], group["count"])
            and silent_or_same(mention["size"], group["size"])
            for mention, group in pairs
        )

    rows = [[true(caption, scene) for caption in captions_scene] for scene in scenes]
    return torch.tensor(rows).reshape(len(scenes), len(captions_scene))


def shared(key: str) -> Callable[[Record, Record], Record | None]:
    """A wrong `group_of`: a fact is taken from any kind of the picture."""

    def group_of(mention: Record, scene: Record) -> Record | None:
        group = by_kind(mention, scene)
        if group is None:
            return None
        found = [other[key] for other in scene["objects"] if other[key] == mention[key]]
        return {**group, key: found[0]} if found else group

    return group_of


def one_missing(facts: list[bool]) -> bool:
    """A wrong `every`: one untrue fact is forgiven."""
    return sum(not fact for fact in facts) <= 1


REMEDIES = {
    "group_of": KIND,
    "count": f"{COUNT}; {SOME}",
    "size": SILENT,
    "place": SILENT,
    "every": "a caption is true only if all that it claims is",
    "exactly": KIND,
    "result": "bool (N, M) is wanted, rows are pictures and columns captions",
}
MISTAKES = [
    *mistakes(
        REMEDIES,
        count={
            f"count None is taken for any number: {SOME}": silent_or_same,
            f"count None is never true: {SOME}": lambda said, there: said == there,
            f"count None is taken for one: {SOME}": lambda said, there: (
                there == (1 if said is None else said)
            ),
            f"count None is taken for three or more: {SOME}": lambda said, there: (
                there > 2 if said is None else said == there
            ),
            f"count None is taken for exactly two: {SOME}": lambda said, there: (
                there == (2 if said is None else said)
            ),
            f"the counts are not looked at: {COUNT}": lambda said, there: True,
            f"a stated count is not looked at: {COUNT}": lambda said, there: (
                said is not None or there >= 2
            ),
            f"a picture that shows more of a kind than is said passes: {COUNT}": (
                lambda said, there: there >= (2 if said is None else said)
            ),
            f"a picture that shows fewer of a kind than is said passes: {COUNT}": (
                lambda said, there: there >= 2 if said is None else there <= said
            ),
            f"two, three and four are all taken for several: {COUNT}": lambda said, there: (
                (there == 1) == (said == 1)
            ),
        },
        size={
            f"an unsaid size is never true: {SILENT}": lambda said, there: said == there,
            f"an unsaid size is taken for normal: {SILENT}": lambda said, there: (
                (said or "normal") == there
            ),
            f"the sizes are not looked at: {SIZE}": lambda said, there: True,
            f"a size that is said of a normal thing passes: {SIZE}": lambda said, there: (
                said is None or there in (said, "normal")
            ),
        },
        place={
            f"an unsaid place is never true: {SILENT}": lambda said, there: said == there,
            f"the places are not looked at: {PLACE}": lambda said, there: True,
        },
        every={
            "one true fact is enough": any,
            "one untrue fact is forgiven": one_missing,
            f"the first kind alone is looked at: {KIND}": lambda facts: all(facts[:2]),
            f"the last kind alone is looked at: {KIND}": lambda facts: facts[0] and facts[-1],
            f"one of the kinds is enough: {KIND}": lambda facts: (
                facts[0] and (len(facts) == 1 or any(facts[1:]))
            ),
            "it is turned round: True where the caption is untrue": lambda facts: not all(facts),
        },
        exactly={
            "a picture that shows more kinds than the caption names is refused, and leaving a kind "
            "out is no lie": lambda caption, scene: (
                len(caption["mentions"]) == len(scene["objects"])
            ),
            f"a caption that names no kind is never true: {NOTHING}": (
                lambda caption, scene: bool(caption["mentions"])
            ),
            f"the kinds have to stand in the same order: {ORDER}": lambda caption, scene: (
                [one["kind"] for one in caption["mentions"]]
                == [one["kind"] for one in scene["objects"]][: len(caption["mentions"])]
            ),
        },
        group_of={
            f"a size is looked for at any kind of the picture: {SIZE}": shared("size"),
            f"a count is looked for at any kind of the picture: {COUNT}": shared("count"),
            "the first kind of the picture is taken, whichever is named": lambda mention, scene: (
                scene["objects"][0]
            ),
        },
        several={
            "only the kinds are compared: counts, sizes and the place are claims, too": {
                "count": lambda said, there: True,
                "size": lambda said, there: True,
                "place": lambda said, there: True,
            },
            f"the kinds are compared, and nothing of count and size: {COUNT}; {SIZE}": {
                "count": lambda said, there: True,
                "size": lambda said, there: True,
            },
            f"what is not said is taken for untrue: {SILENT}; {SOME}": {
                "count": lambda said, there: said == there,
                "size": lambda said, there: said == there,
                "place": lambda said, there: said == there,
            },
            f"None is taken for nothing said, of the count, too: {SOME}; and an unsaid size is "
            "taken for normal": {
                "count": silent_or_same,
                "size": lambda said, there: (said or "normal") == there,
            },
        },
        result={
            "the result is transposed: rows are pictures, columns are captions": (
                lambda table, scenes: table.T
            ),
            "only the first picture of which a caption is true is marked: mark them all": (
                lambda table, scenes: table & (table.cumsum(0) == 1)
            ),
        },
    ),
    Mistake(f"the kinds are compared by their places in the two lists: {ORDER}", at_place),
]
