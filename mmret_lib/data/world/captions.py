"""Write the built-in world's captions: choose which facts of a scene to claim, then the words.

A scene is described in two steps. First a caption *claims* some of the scene's facts (which
objects, how many, how big, where) and leaves out the rest. Then the claim is put into words. The
words depend on the claim alone, and no two claims share a sentence, so

    P(caption | scene) = P(claim | scene) * P(words | claim),

where the second factor is the same for every scene and drops out of any ranking of scenes. That
makes the best possible recall of this world computable.

Every choice goes through one function, `pick(options, weights)`. With a random `pick` the
functions below write captions; with one that tries every branch, the same code lists all captions
with their probabilities (so the tests check `claim_probability`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Pick(Protocol):
    """Chooses one of `options`; uniformly, or in proportion to `weights`."""

    def __call__(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the options."""


@dataclass(frozen=True)
class Objects:
    """All objects of one kind in a scene: `count` of them (1 to 4), all of one `size`."""

    kind: str
    count: int
    size: str  # "small", "normal" or "big"


@dataclass(frozen=True)
class Scene:
    """The facts of a picture; where on the canvas each object lies is not one of them."""

    place: str
    objects: tuple[Objects, ...]

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Scene":
        """The scene whose `dataclasses.asdict` is `record`."""
        return cls(record["place"], tuple(Objects(**group) for group in record["objects"]))


@dataclass(frozen=True)
class Mention:
    """What a caption says of one kind of object."""

    kind: str
    count: int | None  # None: "some", two or more
    size: str | None  # None: not said


@dataclass(frozen=True)
class Claim:
    """The facts that a caption states, in the order in which it names the objects."""

    mentions: tuple[Mention, ...]
    place: str | None  # None: not said

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Claim":
        """The claim whose `dataclasses.asdict` is `record`."""
        return cls(tuple(Mention(**m) for m in record["mentions"]), record["place"])


# ---------------------------------------------------------------------------------- vocabulary


@dataclass(frozen=True)
class Kind:
    """One sprite: its names as (singular, plural), the verbs it takes, where it is usually seen."""

    names: tuple[tuple[str, str], ...]
    group: str  # "grazer", "animal", "vehicle", "food" or "thing"
    places: tuple[str, ...]


def _kind(names: str, group: str, places: str) -> Kind:
    """`names`: "bike/bikes, bicycle/bicycles"; a bare word takes -s."""
    pairs = (name.strip().partition("/") for name in names.split(","))
    return Kind(
        tuple((single, plural or single + "s") for single, _, plural in pairs),
        group,
        tuple(places.split()),
    )


KINDS: dict[str, Kind] = {
    "elephant": _kind("elephant", "grazer", "grass water desert"),
    "zebra": _kind("zebra", "grazer", "grass desert"),
    "horse": _kind("horse, brown horse", "grazer", "grass beach snow"),
    "giraffe": _kind("giraffe", "grazer", "grass desert"),
    "cow": _kind("cow", "grazer", "grass street"),
    "sheep": _kind("sheep/sheep, white sheep/white sheep", "grazer", "grass snow"),
    "camel": _kind("camel", "grazer", "desert beach"),
    "bear": _kind("bear, brown bear", "animal", "snow water grass"),
    "hamster": _kind("hamster", "animal", "grass table"),
    "flamingo": _kind("flamingo, pink flamingo", "animal", "water beach"),
    "fish": _kind("fish/fish, blue fish/blue fish", "animal", "water table"),
    "pig": _kind("pig", "animal", "grass street"),
    "cat": _kind("cat", "animal", "street night table grass"),
    "dog": _kind("dog", "animal", "street beach grass snow"),
    "rabbit": _kind("rabbit, bunny/bunnies", "animal", "grass snow night"),
    "tiger": _kind("tiger", "animal", "grass snow night"),
    "lion": _kind("lion", "animal", "grass desert night"),
    "monkey": _kind("monkey", "animal", "grass street table"),
    "duck": _kind("duck", "animal", "water grass"),
    "penguin": _kind("penguin", "animal", "snow water"),
    "owl": _kind("owl", "animal", "night snow"),
    "turtle": _kind("turtle", "animal", "beach water"),
    "crocodile": _kind("crocodile, alligator", "animal", "water beach"),
    "frog": _kind("frog", "animal", "water grass night"),
    "crab": _kind("crab", "animal", "beach water table"),
    "octopus": _kind("octopus/octopuses", "animal", "water beach"),
    "dolphin": _kind("dolphin", "animal", "water night"),
    "butterfly": _kind("butterfly/butterflies", "animal", "grass table"),
    "snail": _kind("snail", "animal", "grass table"),
    "fox": _kind("fox/foxes", "animal", "snow night grass"),
    "bus": _kind("bus/buses, red bus/red buses", "vehicle", "street night"),
    "car": _kind("car, red car", "vehicle", "street night snow"),
    "taxi": _kind("taxi, yellow taxi, cab", "vehicle", "street night"),
    "bicycle": _kind("bicycle, bike", "vehicle", "street grass beach"),
    "motorcycle": _kind("motorcycle, motorbike", "vehicle", "street desert night"),
    "train": _kind("train, steam train", "vehicle", "snow desert night"),
    "sailboat": _kind("sailboat, sailing boat", "vehicle", "water beach"),
    "tractor": _kind("tractor, green tractor", "vehicle", "grass desert snow"),
    "ramen": _kind(
        "bowl of ramen/bowls of ramen, steaming bowl of ramen/steaming bowls of ramen",
        "food",
        "table street",
    ),
    "pizza": _kind("slice of pizza/slices of pizza, pizza slice", "food", "table street"),
    "hamburger": _kind("hamburger, burger", "food", "table street"),
    "doughnut": _kind("doughnut, chocolate doughnut", "food", "table street"),
    "cake": _kind("cake, birthday cake", "food", "table night"),
    "apple": _kind("apple, red apple", "food", "table grass"),
    "banana": _kind("banana", "food", "table beach"),
    "carrot": _kind("carrot", "food", "table grass snow"),
    "watermelon": _kind("slice of watermelon/slices of watermelon", "food", "table beach"),
    "umbrella": _kind("umbrella, purple umbrella", "thing", "beach street night"),
    "boot": _kind("boot, leather boot", "thing", "street snow desert"),
    "football": _kind("football, soccer ball", "thing", "grass street beach"),
    "guitar": _kind("guitar, red guitar", "thing", "street beach table"),
    "balloon": _kind("balloon, red balloon", "thing", "street grass snow"),
    "chair": _kind("chair, wooden chair", "thing", "street beach grass"),
    "clock": _kind("alarm clock, clock", "thing", "table night"),
    "book": _kind("book, red book", "thing", "table beach"),
    "hat": _kind("hat, black hat", "thing", "table street snow"),
    "cactus": _kind("cactus/cacti", "thing", "desert table"),
    "sunflower": _kind("sunflower", "thing", "grass table desert"),
    "kite": _kind("kite, colourful kite", "thing", "beach grass"),
    "teddy bear": _kind("teddy bear", "thing", "table snow street"),
}

PLACES: dict[str, tuple[str, ...]] = {
    "grass": ("on the grass", "in a field", "in a green meadow"),
    "water": ("in the water", "in a lake", "in shallow water"),
    "beach": ("on the beach", "on the sand", "by the sea"),
    "snow": ("in the snow", "on snowy ground"),
    "street": ("on the street", "on the road", "in the city"),
    "night": ("at night", "in the dark", "under the stars"),
    "desert": ("in the desert", "on dry dirt", "on dusty ground"),
    "table": ("on the table", "on a wooden table", "on a tabletop"),
}

SIZES = ("small", "normal", "big")
_SIZE_WORDS = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge")}
_COUNT_WORDS = {
    2: ("two", "two", "a pair of", "a couple of"),
    3: ("three",),
    4: ("four",),
    None: ("some", "several", "a group of", "a few"),
}
_ANIMAL_VERBS = (
    ("plays", "play"),
    ("stands", "stand"),
    ("is sitting", "are sitting"),
    ("is resting", "are resting"),
    ("is looking around", "are looking around"),
)
_VERBS = {
    "animal": _ANIMAL_VERBS,
    "grazer": (*_ANIMAL_VERBS[:3], ("grazes", "graze"), ("is grazing", "are grazing")),
    "vehicle": (("is parked", "are parked"), ("stands", "stand"), ("is waiting", "are waiting")),
    "food": (("lies", "lie"), ("is ready", "are ready"), ("is served", "are served")),
    "thing": (("lies", "lie"), ("stands", "stand"), ("can be seen", "can be seen")),
}
_PARTICIPLES = {
    "animal": ("playing", "resting", "sitting"),
    "grazer": ("grazing", "resting", "standing"),
    "vehicle": ("parked", "waiting"),
}

# ------------------------------------------------------------------- from scene to claim

# How many kinds a scene has -> how many of them a caption names, with probabilities.
MENTIONED: dict[int, dict[int, float]] = {
    1: {1: 1.0},
    2: {1: 0.2, 2: 0.8},
    3: {1: 0.05, 2: 0.4, 3: 0.55},
}
EXACT_COUNT_SAID = 0.75  # of two or more objects; a single one is always called one
SIZE_SAID = 0.75  # unless it is "normal", which is never said
PLACE_SAID = 0.75


def make_claim(scene: Scene, pick: Pick) -> Claim:
    """Choose what a caption of `scene` will say."""
    share = MENTIONED[len(scene.objects)]
    left = list(scene.objects)
    mentions = []
    for _ in range(pick(list(share), list(share.values()))):
        group = pick(left)
        left.remove(group)
        exact = group.count == 1 or _happens(EXACT_COUNT_SAID, pick)
        sized = group.size != "normal" and _happens(SIZE_SAID, pick)
        count, size = group.count if exact else None, group.size if sized else None
        mentions.append(Mention(group.kind, count, size))
    return Claim(tuple(mentions), scene.place if _happens(PLACE_SAID, pick) else None)


def claim_probability(claim: Claim, scene: Scene) -> float:
    """P(claim | scene): how likely `make_claim` says just this of the scene (0 if it is untrue)."""
    named, there = len(claim.mentions), len(scene.objects)
    probability = MENTIONED[there].get(named, 0.0)
    if not probability:
        return 0.0
    probability /= math.perm(there, named)  # which kinds, in which order
    groups = {group.kind: group for group in scene.objects}
    for mention in claim.mentions:
        group = groups.get(mention.kind)
        if group is None:
            return 0.0
        if group.count > 1:
            probability *= _chance(mention.count, group.count, EXACT_COUNT_SAID)
        elif mention.count != 1:
            return 0.0
        if group.size != "normal":
            probability *= _chance(mention.size, group.size, SIZE_SAID)
        elif mention.size is not None:
            return 0.0
    return probability * _chance(claim.place, scene.place, PLACE_SAID)


def _happens(probability: float, pick: Pick) -> bool:
    return pick((True, False), (probability, 1 - probability))


def _chance(said: T | None, truth: T, probability: float) -> float:
    """The chance of saying `said` where the truth is said with `probability`, else nothing."""
    if said is None:
        return 1 - probability
    return probability if said == truth else 0.0


# ------------------------------------------------------------------- from claim to words


def put_into_words(claim: Claim, pick: Pick) -> str:
    """Write one sentence that says exactly `claim`; different claims never share a sentence."""
    where = " " + pick(PLACES[claim.place]) if claim.place else ""
    first, *others = claim.mentions
    single = len(claim.mentions) == 1 and first.count == 1
    style = pick(("verb", "bare", "there", "photo"), (4, 3, 2, 1))
    if style == "verb":
        subject = _noun_phrase(first, pick, drop_article=True)
        singular, plural = pick(_VERBS[KINDS[first.kind].group])
        verb = singular if first.count == 1 else plural
        beside = _join([_noun_phrase(mention, pick) for mention in others])
        company = " " + pick(("next to", "beside")) + " " + beside if others else ""
        sentence = f"{subject} {verb}{company}{where}"
    elif style == "bare":
        doing = pick((False, True)) if first.count == 1 or not others else False
        start = _noun_phrase(first, pick, drop_article=True, doing=doing)
        rest = [_noun_phrase(mention, pick) for mention in others]
        if len(rest) == 1 and pick((False, True)):
            sentence = f"{start} {pick(('next to', 'with'))} {rest[0]}{where}"
        else:
            sentence = f"{_join([start, *rest])}{where}"
    else:
        listed = _join([_noun_phrase(mention, pick) for mention in claim.mentions])
        opening = "there is" if single else "there are"
        if style == "photo":
            opening = pick(("a photo of", "a picture of", "a view of"))
        sentence = f"{opening} {listed}{where}"
    return sentence[0].upper() + sentence[1:] + "."


def _noun_phrase(
    mention: Mention, pick: Pick, drop_article: bool = False, doing: bool = False
) -> str:
    kind = KINDS[mention.kind]
    words = []
    if doing and kind.group in _PARTICIPLES:
        words.append(pick(_PARTICIPLES[kind.group]))
    if mention.size:
        animal = kind.group in ("animal", "grazer")
        young = ("baby",) if mention.size == "small" and animal else ()
        words.append(pick((*_SIZE_WORDS[mention.size], *young)))
    singular, plural = pick(kind.names)
    words.append(singular if mention.count == 1 else plural)
    if mention.count == 1:
        article = "an" if words[0][0] in "aeiou" else "a"
        determiner = pick((article, "one", ""), (6, 1, 3)) if drop_article else article
    else:
        determiner = pick(_COUNT_WORDS[mention.count])
    return " ".join([determiner, *words] if determiner else words)


def _join(phrases: list[str]) -> str:
    """Join phrases as in "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(phrases[:-1]), *phrases[-1:]]))
