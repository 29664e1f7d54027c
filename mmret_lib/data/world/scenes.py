"""The built-in world: drawn scenes with five captions each, stored as a COCO caption folder.

It needs no network and no licence, and its difficulty can be set. Because we know how its captions
are made, the best recall that any system can reach on it can be computed: see
`caption_log_likelihood`. The world is written once into a cache folder as PNG files and COCO json,
and read back with `read_coco`.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm.auto import tqdm

from mmret_lib.data.coco import read_coco
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.world import pictures
from mmret_lib.data.world.captions import (
    KINDS,
    PLACES,
    SIZES,
    Claim,
    Mention,
    Objects,
    Pick,
    Scene,
    claim_probability,
    make_claim,
    put_into_words,
)
from mmret_lib.files.cache import use_until_exit
from mmret_lib.files.disk import alone
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import cache_folder, user_path
from mmret_lib.files.whole import put_back, whole_folder

T = TypeVar("T")

VERSION = 1  # raise it when a seed gives other pictures or captions: it changes the cache's names
CAPTIONS_PER_SCENE = 5
SPLIT_SIZES = {"train": 8000, "val": 1000, "test": 1000}

# The queries of the course project of 2021 and what they claim. The first scenes of every split
# show them.
SLIDE_QUERIES: dict[str, Claim] = {
    "Baby elephant plays in the water": Claim((Mention("elephant", 1, "small"),), "water"),
    "Big hamster plays on the grass": Claim((Mention("hamster", 1, "big"),), "grass"),
    "Grazing zebra": Claim((Mention("zebra", 1, None),), None),
    "Red bus on the street": Claim((Mention("bus", 1, None),), "street"),
    "A steaming bowl of ramen": Claim((Mention("ramen", 1, None),), None),
}


@dataclass(frozen=True)
class World:
    """The settings of a world. Shares lie in 0…1 and apply to every split made with them.

    Args:
        size: scenes in the split; None takes 8,000 for train, 1,000 for val and test.
        image_size: side of the square pictures, in pixels.
        seed: another seed is another world.
        wrong_captions: share of captions that describe another scene (outliers).
        look_alikes: share of scenes that differ from an earlier one in a single fact
            (hard negatives).
        identical: share of scenes that repeat an earlier picture to the pixel (false negatives).

    Raises:
        DataError: a setting out of range.
    """

    size: int | None = None
    image_size: int = 64
    seed: int = 0
    wrong_captions: float = 0.0
    look_alikes: float = 0.0
    identical: float = 0.0

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise DataError(f"scenes: size is {self.size}; a world has at least 1 scene")
        if not 16 <= self.image_size <= 1024:
            raise DataError(f"scenes: image_size is {self.image_size}; use 16 to 1024 pixels")
        for name in ("wrong_captions", "look_alikes", "identical"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"scenes: {name} is {getattr(self, name)}; a share lies in 0…1")
        if self.look_alikes + self.identical > 1:
            raise DataError("scenes: look_alikes and identical add up to more than 1")


class RandomPick:
    """Choose by `random.Random(key).random()`, whose numbers Python promises not to change."""

    def __init__(self, key: str):
        self.uniform = random.Random(key).random

    def __call__(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the options, as `Pick` describes it."""
        if weights is None:
            return options[int(self.uniform() * len(options))]
        left = self.uniform() * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            left -= weight
            if left < 0:
                return option
        return options[-1]


# ---------------------------------------------------------------------------- making scenes


def random_scene(pick: Pick) -> Scene:
    """Make a random scene: one to three kinds, mostly in their usual places, not too crowded."""
    while True:
        place = pick(list(PLACES))
        at_home = [name for name, kind in KINDS.items() if place in kind.places]
        kinds: list[str] = []
        for _ in range(pick((1, 2, 3), (0.3, 0.4, 0.3))):
            pool = at_home if pick((True, False), (0.7, 0.3)) else list(KINDS)
            kinds.append(pick([name for name in pool if name not in kinds]))
        objects = tuple(
            Objects(name, pick((1, 2, 3, 4), (0.5, 0.25, 0.15, 0.1)), pick(SIZES)) for name in kinds
        )
        scene = Scene(place, objects)
        if pictures.covered_share(scene) <= pictures.MAX_COVERED:
            return scene


def plainest_scene(claim: Claim) -> Scene:
    """Make the scene of a claim and nothing more: normal size and usual place where not said."""
    objects = tuple(Objects(m.kind, m.count or 2, m.size or "normal") for m in claim.mentions)
    return Scene(claim.place or KINDS[claim.mentions[0].kind].places[0], objects)


def change_one_fact(scene: Scene, pick: Pick) -> Scene:
    """Make a look-alike: another place, or another kind, count or size of one group."""
    while True:
        group = pick(scene.objects)
        fact = pick(("place", "kind", "count", "size"))
        place, changed = scene.place, group
        if fact == "place":
            place = pick([other for other in PLACES if other != place])
        elif fact == "kind":
            there = [other.kind for other in scene.objects]
            changed = replace(group, kind=pick([name for name in KINDS if name not in there]))
        elif fact == "count":
            changed = replace(group, count=pick([n for n in (1, 2, 3, 4) if n != group.count]))
        else:
            changed = replace(group, size=pick([size for size in SIZES if size != group.size]))
        look_alike = Scene(place, tuple(changed if g is group else g for g in scene.objects))
        if pictures.covered_share(look_alike) <= pictures.MAX_COVERED:
            return look_alike


def make_scenes(world: World, split: str) -> tuple[list[Scene], list[str]]:
    """Make the split's scenes, and for each the key that decides its layout."""
    size = world.size or SPLIT_SIZES.get(split, SPLIT_SIZES["test"])
    scenes = [plainest_scene(claim) for claim in SLIDE_QUERIES.values()][:size]
    keys = [f"{world.seed}/{split}/{index}/layout" for index in range(size)]
    shares = (world.look_alikes, world.identical, 1 - world.look_alikes - world.identical)
    for index in range(len(scenes), size):
        pick = RandomPick(f"{world.seed}/{split}/{index}/scene")
        how = pick(("look-alike", "identical", "new"), shares)
        if how == "new":
            scenes.append(random_scene(pick))
            continue
        earlier = pick(range(index))
        if how == "identical":
            scenes.append(scenes[earlier])
            keys[index] = keys[earlier]
        else:
            scenes.append(change_one_fact(scenes[earlier], pick))
    return scenes, keys


def make_captions(world: World, split: str, scenes: list[Scene]) -> list[tuple[str, Claim, bool]]:
    """Make five (caption, claim, wrong) per scene in turn; a wrong one is of another scene."""
    captions = []
    for index in range(len(scenes)):
        for number in range(CAPTIONS_PER_SCENE):
            pick = RandomPick(f"{world.seed}/{split}/{index}/caption/{number}")
            wrong = len(scenes) > 1 and pick(
                (True, False), (world.wrong_captions, 1 - world.wrong_captions)
            )
            described = (index + 1 + pick(range(len(scenes) - 1))) % len(scenes) if wrong else index
            claim = make_claim(scenes[described], pick)
            captions.append((put_into_words(claim, pick), claim, wrong))
    return captions


# ---------------------------------------------------------------------------- on disk


def load_scenes(
    root: str | Path | None = None, split: str = "test", *, progress: bool = True, **settings: Any
) -> Pairs:
    """Read the built-in world's pairs, which are drawn on first use and then kept on disk.

    Args:
        root: folder for the drawn worlds; without it the user's cache folder (`$MMRET_CACHE` if
            set).
        split: "train", "val" or "test"; any other name is one more independent split.
        **settings: the fields of `World`.

    Returns:
        Pairs whose `image_info[i]["scene"]` and `caption_info[j]["claim"]` hold the facts.

    Raises:
        DataError: a setting out of range, or a cache folder that cannot be read.
    """
    try:
        world = World(**settings)
    except TypeError as error:
        known = ", ".join(World.__dataclass_fields__)
        raise DataError(f"scenes: {error}; the settings are {known}") from None
    if not split.isidentifier():
        raise DataError(f"scenes: split {split!r} must be a plain word such as train, val or test")
    record = {**asdict(world), "version": VERSION, "split": split}
    name = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:12]
    folder = user_path(root) if root else cache_folder() / "scenes"
    folder /= f"{split}-{name}"
    put_back(folder)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(folder.parent / f".{folder.name}.lock", delete=True):
            if not folder.is_dir():  # another process may have made the same world
                write_world(folder, world, split, progress=progress)
    use_until_exit(folder)  # its pictures are opened when they are shown
    return read_coco(folder, split, name="scenes", keep_info=True)


def write_world(folder: Path, world: World, split: str, *, progress: bool = True) -> None:
    """Write `folder/<split>/*.png` and `folder/annotations/captions_<split>.json`.

    The folder gets its name only when all of it is written.
    """
    scenes, keys = make_scenes(world, split)
    with whole_folder(folder, {split, "annotations"}) as draft:
        (draft / split).mkdir()
        (draft / "annotations").mkdir()
        bar = tqdm(scenes, f"drawing {split}", unit="scene", disable=not progress, leave=False)
        for index, scene in enumerate(bar):
            picture = pictures.draw(scene, keys[index], world.image_size)
            picture.save(draft / split / f"{index:06d}.png", compress_level=1)
        path = draft / "annotations" / f"captions_{split}.json"
        record = _coco_record(world, scenes, make_captions(world, split, scenes))
        path.write_text(json.dumps(record), encoding="utf-8")


def _coco_record(
    world: World, scenes: list[Scene], captions: list[tuple[str, Claim, bool]]
) -> dict[str, Any]:
    side = world.image_size
    return {
        "info": {"description": "mmret built-in world", **asdict(world), "version": VERSION},
        "images": [
            {"id": index, "file_name": f"{index:06d}.png", "width": side, "height": side}
            | {"scene": asdict(scene)}
            for index, scene in enumerate(scenes)
        ],
        "annotations": [
            {"id": number, "image_id": number // CAPTIONS_PER_SCENE, "caption": caption}
            | {"claim": asdict(claim), "wrong": wrong}
            for number, (caption, claim, wrong) in enumerate(captions)
        ],
    }


# ---------------------------------------------------------------------------- which captions fit


def images_that_fit(pairs: Pairs, claim: Claim) -> set[int]:
    """Return the indices of the built-in world's images of which `claim` is true."""
    return {
        index
        for index, info in enumerate(pairs.image_info or [])
        if claim_probability(claim, Scene.from_dict(info["scene"]))
    }


def caption_log_likelihood(pairs: Pairs) -> np.ndarray:
    """Compute log P(caption | scene), up to a constant per caption: float64 (images, captions).

    -inf where the caption says something untrue of the scene. The constant is the probability of
    the words given the claim, the same for every scene (see `mmret_lib.data.world.captions`). A
    wrong caption is scored like any other, because nothing in its text shows that it is wrong.

    Raises:
        DataError: pairs that do not come from the built-in world.
    """
    known = all("scene" in info for info in pairs.image_info or [{}])
    if not known or pairs.image_info is None or pairs.caption_info is None:
        raise DataError(f"{pairs.name or 'pairs'}: only the built-in world's captions have facts")
    scenes = [Scene.from_dict(info["scene"]) for info in pairs.image_info]
    showing: dict[str, list[int]] = {}
    for index, scene in enumerate(scenes):
        for group in scene.objects:
            showing.setdefault(group.kind, []).append(index)
    scores = np.full((len(scenes), len(pairs.captions)), -np.inf)
    for column, info in enumerate(pairs.caption_info):
        claim = Claim.from_dict(info["claim"])
        # Only scenes that show the first-named kind can have a probability above zero.
        for row in showing.get(claim.mentions[0].kind, ()):
            probability = claim_probability(claim, scenes[row])
            if probability:
                scores[row, column] = np.log(probability)
    return scores
