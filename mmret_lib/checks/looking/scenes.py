"""The pictures and captions on which right_answers is tried."""

from __future__ import annotations

import random

from mmret_lib.checks.engine import seeds
from mmret_lib.checks.engine.task import Case
from mmret_lib.checks.looking.truths import (
    COUNT,
    KIND,
    NOTHING,
    ORDER,
    PLACE,
    SHAPE,
    SILENT,
    SIZE,
    SOME,
    Record,
)

KINDS = ("zebra", "bus", "fish", "boot")
PLACES = ("grass", "water", "street")
SIZES = ("small", "normal", "big")


def drawn_scene(draw: random.Random) -> Record:
    """A picture of one to three kinds."""
    kinds = draw.sample(KINDS, draw.choice((1, 2, 2, 3)))
    objects = [
        {"kind": kind, "count": draw.choice((1, 1, 2, 3)), "size": draw.choice(SIZES)}
        for kind in kinds
    ]
    return {"place": draw.choice(PLACES), "objects": objects}


def caption_of(scene: Record, draw: random.Random) -> Record:
    """What a caption says of a picture: some kinds in any order, each fact or nothing of it."""
    groups = draw.sample(scene["objects"], draw.randint(1, len(scene["objects"])))
    mentions = [
        {
            "kind": group["kind"],
            "count": group["count"] if group["count"] == 1 or draw.random() < 0.6 else None,
            "size": group["size"] if draw.random() < 0.5 else None,
        }
        for group in groups
    ]
    return {"place": scene["place"] if draw.random() < 0.5 else None, "mentions": mentions}


def drawn(pictures: int, captions: int, seed: int) -> tuple[list[Record], list[Record]]:
    """The captions' claims and the pictures' scenes."""
    draw = random.Random(f"truths {seed + seeds.shift}")
    scenes = [drawn_scene(draw) for _ in range(pictures)]
    claims = [caption_of(scenes[draw.randrange(pictures)], draw) for _ in range(captions)]
    return claims, scenes


def claim(place: str | None, *mentions: tuple[str, int | None, str | None]) -> Record:
    """What a caption says."""
    named = [{"kind": kind, "count": count, "size": size} for kind, count, size in mentions]
    return {"place": place, "mentions": named}


def scene(place: str, *objects: tuple[str, int, str]) -> Record:
    """What a picture shows."""
    shown = [{"kind": kind, "count": count, "size": size} for kind, count, size in objects]
    return {"place": place, "objects": shown}


def case(claims: list[Record], scenes: list[Record], about: str, *hints: str) -> Case:
    """A call of the student's function."""
    return Case((claims, scenes), about, hints)


ALL = (KIND, SOME, SILENT, ORDER, COUNT, SIZE, PLACE, NOTHING)  # what can go wrong in any of many
ZEBRAS = [
    scene("grass", ("zebra", number, size)) for number in (1, 2, 3) for size in ("small", "normal")
]
PAIR = scene("street", ("bus", 1, "big"), ("boot", 3, "small"))
CASES = [
    case(*drawn(6, 6, 1), "6 pictures and 6 captions", *ALL),
    case(*drawn(5, 9, 2), "5 pictures and 9 captions", SHAPE, *ALL),
    case(*drawn(30, 60, 3), "30 pictures and 60 captions", SHAPE, *ALL),
    case(
        [claim(None, ("zebra", None, None)), claim(None, ("zebra", None, "small"))],
        ZEBRAS,
        'captions that say "some zebras"',
        SOME,
    ),
    case(
        [claim("grass", ("zebra", number, "normal")) for number in (1, 2, 3, 4)],
        ZEBRAS,
        "captions that state a number",
        COUNT,
    ),
    case(
        [claim("grass", ("zebra", 2, size)) for size in ("small", "normal", "big")],
        ZEBRAS,
        "captions that state a size",
        SIZE,
    ),
    case([claim("grass", ("zebra", 2, None))], ZEBRAS, "a caption without a size", SILENT),
    case(
        [claim(None, ("bus", 1, "big")), claim("grass", ("bus", 1, "big"))],
        [PAIR, scene("grass", ("bus", 1, "big"))],
        "captions with and without a place",
        SILENT,
        PLACE,
    ),
    case(
        [
            claim("street", ("boot", 3, "small"), ("bus", 1, "big")),
            claim("street", ("bus", 1, "big"), ("boot", 3, "small")),
            claim("street", ("boot", 3, "small")),
        ],
        [PAIR],
        "kinds named in another order than the picture has them",
        ORDER,
    ),
    case(
        [claim("street", ("bus", 1, "small")), claim("street", ("boot", 3, "big"))],
        [PAIR],
        "captions that give a kind the size of another",
        SIZE,
    ),
    case(
        [claim("street", ("bus", 3, "big")), claim("street", ("boot", 1, "small"))],
        [PAIR],
        "captions that give a kind the count of another",
        COUNT,
    ),
    case(
        [claim("street", ("bus", 1, "big"), ("fish", 1, "big")), claim(None, ("fish", 1, None))],
        [PAIR],
        "captions that name a kind that is not there",
        KIND,
    ),
    case(
        [claim("street"), claim("water"), claim(None)],
        [PAIR, scene("water", ("fish", 4, "normal"))],
        "captions that name no kind",
        NOTHING,
        PLACE,
        SILENT,
    ),
    case(
        [claim(None, ("fish", 1, None)), claim("water", ("fish", None, None))],
        [
            scene("water", ("fish", 1, "big")),
            scene("table", ("fish", 1, "small"), ("boot", 2, "big")),
            scene("water", ("boot", 1, "normal"), ("fish", 3, "normal")),
        ],
        'the captions "a fish" and "some fish in the water"; one fish in the water, one fish and '
        "two boots on the table, a boot and three fish in the water",
        *ALL,
    ),
]
