"""The built-in world: the same everywhere, read back whole, and honest about its ceiling."""

import hashlib
import json
import math
from collections import defaultdict
from itertools import product

import numpy as np
import pytest

from mmret_lib.data import load_pairs
from mmret_lib.data.store import pack
from mmret_lib.data.world import captions as words
from mmret_lib.data.world import pictures, scenes
from mmret_lib.data.world.captions import KINDS, PLACES, SIZES, Claim, Objects, Scene
from mmret_lib.data.world.scenes import World
from mmret_lib.files.errors import DataError
from mmret_lib.metrics.ceiling import best_possible


class Replay:
    """A `pick` that follows a script of choices and notes their probability."""

    def __init__(self, script):
        self.script, self.taken, self.open, self.probability = list(script), [], [], 1.0

    def __call__(self, options, weights=None):
        weights = weights or [1] * len(options)
        choice = self.script[len(self.taken)] if len(self.taken) < len(self.script) else 0
        self.taken.append(choice)
        self.open.append(len(options))
        self.probability *= weights[choice] / sum(weights)
        return options[choice]


def every_outcome(function, *args):
    """Each (outcome, probability) of a function that makes its choices through `pick`."""
    scripts = [[]]
    while scripts:
        script = scripts.pop()
        pick = Replay(script)
        outcome = function(*args, pick)
        yield outcome, pick.probability
        for place in range(len(script), len(pick.taken)):
            scripts += [[*pick.taken[:place], other] for other in range(1, pick.open[place])]


CAPTIONS_DIGEST = "91111936f1057c9f"
PIXELS_DIGEST = "4dbffbefdde2d36f"

TINY = [
    Scene(place, (Objects("zebra", count, size), *others))
    for place, count, size, others in product(
        ("grass", "water"), (1, 2), ("small", "normal"), ((), (Objects("bus", 1, "big"),))
    )
]


def test_every_branch_is_tried_once():
    outcomes = list(every_outcome(lambda pick: (pick("ab"), pick("xyz", (1, 0, 1)))))
    assert len(outcomes) == 6
    assert math.isclose(sum(probability for _, probability in outcomes), 1)


@pytest.mark.parametrize(
    "scene",
    [
        *TINY[::3],
        Scene(
            "snow",
            (Objects("fox", 3, "big"), Objects("hat", 1, "normal"), Objects("owl", 2, "small")),
        ),
    ],
)
def test_claim_probability_is_that_of_the_generator(scene):
    chances = defaultdict(float)
    for claim, probability in every_outcome(words.make_claim, scene):
        chances[claim] += probability
    assert math.isclose(sum(chances.values()), 1)
    for claim, probability in chances.items():
        assert math.isclose(words.claim_probability(claim, scene), probability)


def test_what_is_untrue_of_a_scene_is_never_said_of_it():
    claims = {claim for scene in TINY for claim, _ in every_outcome(words.make_claim, scene)}
    for scene in TINY:
        said = {claim for claim, _ in every_outcome(words.make_claim, scene)}
        for claim in claims - said:
            assert words.claim_probability(claim, scene) == 0


@pytest.mark.slow
def test_no_two_claims_share_a_sentence_on_a_tiny_world():
    claims = {claim for scene in TINY for claim, _ in every_outcome(words.make_claim, scene)}
    meaning: dict[str, Claim] = {}
    for claim in claims:
        for sentence, _ in every_outcome(words.put_into_words, claim):
            assert meaning.setdefault(sentence, claim) == claim, sentence


@pytest.mark.slow
def test_no_two_claims_share_a_sentence_in_the_real_world():
    meaning: dict[str, Claim] = {}
    made, _ = scenes.make_scenes(World(size=4000), "train")
    for sentence, claim, _ in scenes.make_captions(World(size=4000), "train", made):
        assert meaning.setdefault(sentence, claim) == claim, sentence


def test_names_of_kinds_are_told_apart():
    names = [name for kind in KINDS.values() for name in set(sum(kind.names, ()))]
    assert len(names) == len(set(names))
    assert all(place in PLACES for kind in KINDS.values() for place in kind.places)
    phrases = [phrase for place in PLACES.values() for phrase in place]
    assert len(phrases) == len(set(phrases))


@pytest.mark.slow
def test_ceiling_equals_brute_force_over_whole_sentences(tmp_path):
    """P(caption | scene) summed over every way to say it, then ranked in a plain double loop."""
    pairs = load_pairs("scenes", root=tmp_path, split="tiny", size=12, progress=False)
    scene_of = [Scene.from_dict(info["scene"]) for info in pairs.image_info]
    said_of = []  # for each scene: sentence -> probability
    for scene in scene_of:
        chances = defaultdict(float)
        for claim, p_claim in every_outcome(words.make_claim, scene):
            if any(Claim.from_dict(i["claim"]) == claim for i in pairs.caption_info):
                for sentence, p_words in every_outcome(words.put_into_words, claim):
                    chances[sentence] += p_claim * p_words
        said_of.append(chances)
    likelihood = np.array([[chances[c] for c in pairs.captions] for chances in said_of])
    posterior = likelihood / likelihood.sum(axis=0)

    def count(best, others):
        """How many are above, how many tie."""
        tied = sum(math.isclose(o, best, rel_tol=1e-9, abs_tol=0) for o in others)
        return sum(o > best * (1 + 1e-9) for o in others), tied

    t2i = [
        count(likelihood[own, j], np.delete(likelihood[:, j], own))
        for j, own in enumerate(pairs.owner)
    ]
    i2t = [
        count(posterior[i, pairs.owner == i].max(), posterior[i, pairs.owner != i])
        for i in range(len(pairs))
    ]
    report = best_possible(pairs)
    for direction, counted in ((report.t2i, t2i), (report.i2t, i2t)):
        assert direction.ranks.tolist() == [above + tied / 2 for above, tied in counted]
    for k in (1, 5, 10):
        hits = [min(1, max(0, (k - above) / (tied + 1))) for above, tied in t2i]
        assert math.isclose(report.t2i.recall[k], 100 * np.mean(hits))


@pytest.mark.slow
def test_identical_scenes_lower_the_ceiling(tmp_path):
    plain, repeated = (
        best_possible(load_pairs("scenes", root=tmp_path, size=200, progress=False, **knobs))
        for knobs in ({}, {"identical": 0.5})
    )
    assert repeated.t2i.recall[1] < plain.t2i.recall[1] - 20


def test_same_seed_same_world_on_every_machine(tmp_path):
    """These two digests are the world: they hold on every platform and Python, or it is another."""
    pairs = load_pairs("scenes", root=tmp_path, split="test", size=60, progress=False)
    pixels = pack(pairs, 64, progress=False)[:]
    assert hashlib.sha256("\n".join(pairs.captions).encode()).hexdigest()[:16] == CAPTIONS_DIGEST
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == PIXELS_DIGEST


def test_seeds_and_splits_differ(tmp_path):
    def captions(split, seed):
        return load_pairs(
            "scenes", root=tmp_path, split=split, seed=seed, size=20, progress=False
        ).captions

    assert captions("test", 0) != captions("val", 0) != captions("val", 1)


def test_pixels_are_stored_without_loss_at_any_size(tmp_path):
    for side in (64, 100):
        pairs = load_pairs("scenes", root=tmp_path, size=8, image_size=side, progress=False)
        pixels = pack(pairs, side, progress=False)[:]
        made, keys = scenes.make_scenes(World(size=8, image_size=side), "test")
        for index in range(8):
            drawn = np.asarray(pictures.draw(made[index], keys[index], side))
            assert (pixels[index].transpose(1, 2, 0) == drawn).all()


def test_it_is_a_coco_folder_and_is_made_once(tmp_path):
    pairs = load_pairs("scenes", root=tmp_path, size=10, progress=False)
    assert len(pairs) == 10 and len(pairs.captions) == 50
    assert (np.bincount(pairs.owner) == 5).all()
    folder = pairs.images[0].parents[1]
    record = json.loads((folder / "annotations" / "captions_test.json").read_text())
    assert {"images", "annotations"} <= record.keys()
    written = pairs.images[0].stat().st_mtime_ns
    assert load_pairs("scenes", root=tmp_path, size=10).images[0].stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]  # no draft is left behind


def test_a_break_while_drawing_leaves_nothing(tmp_path, monkeypatch):
    def broken(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "draw", broken)
    with pytest.raises(KeyboardInterrupt):
        load_pairs("scenes", root=tmp_path, size=10, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_the_projects_queries_have_their_pictures():
    for split in ("train", "val", "test"):
        made, _ = scenes.make_scenes(World(size=50), split)
        for claim in scenes.SLIDE_QUERIES.values():
            assert any(words.claim_probability(claim, scene) for scene in made)
    # And they mean what they are said to mean: the generator can say each of them, or nearly so.
    said = {
        s for s, _ in every_outcome(words.put_into_words, scenes.SLIDE_QUERIES["Grazing zebra"])
    }
    assert "Grazing zebra." in said


def test_images_that_fit_are_those_the_claim_is_true_of(tmp_path):
    pairs = load_pairs("scenes", root=tmp_path, size=300, progress=False)
    claim = scenes.SLIDE_QUERIES["Red bus on the street"]
    by_hand = {
        index
        for index, info in enumerate(pairs.image_info)
        if info["scene"]["place"] == "street"
        and any(g["kind"] == "bus" and g["count"] == 1 for g in info["scene"]["objects"])
    }
    assert by_hand and scenes.images_that_fit(pairs, claim) == by_hand


def test_scenes_fit_on_the_canvas_and_use_the_whole_vocabulary():
    made, _ = scenes.make_scenes(World(size=3000), "train")
    assert {group.kind for scene in made for group in scene.objects} == set(KINDS)
    assert {scene.place for scene in made} == set(PLACES)
    assert {group.size for scene in made for group in scene.objects} == set(SIZES)
    assert max(pictures.covered_share(scene) for scene in made) <= pictures.MAX_COVERED


def test_knobs_change_the_share_they_name():
    wrong = scenes.make_captions(
        World(wrong_captions=0.3), "train", scenes.make_scenes(World(size=600), "train")[0]
    )
    assert abs(np.mean([is_wrong for _, _, is_wrong in wrong]) - 0.3) < 0.05
    made, keys = scenes.make_scenes(World(size=600, identical=0.4), "train")
    assert abs((1 - len(set(keys)) / 600) - 0.4) < 0.08
    for scene, key in zip(made, keys, strict=True):
        assert scene == made[keys.index(key)]  # the same layout only for the same facts
    made, _ = scenes.make_scenes(World(size=600, look_alikes=0.4), "train")
    close = [
        any(_facts_apart(scene, earlier) == 1 for earlier in made[:index])
        for index, scene in enumerate(made)
    ]
    plain, _ = scenes.make_scenes(World(size=600), "train")
    usual = [
        any(_facts_apart(scene, earlier) == 1 for earlier in plain[:index])
        for index, scene in enumerate(plain)
    ]
    assert np.mean(close) > np.mean(usual) + 0.2


def _facts_apart(one: Scene, other: Scene) -> int:
    if len(one.objects) != len(other.objects):
        return 9
    facts = [(one.place, other.place)]
    for group, its in zip(one.objects, other.objects, strict=True):
        facts += [(group.kind, its.kind), (group.count, its.count), (group.size, its.size)]
    return sum(a != b for a, b in facts)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"size": 0}, "at least 1"),
        ({"image_size": 5}, "16 to 1024"),
        ({"wrong_captions": 1.5}, "wrong_captions is 1.5"),
        ({"look_alikes": 0.7, "identical": 0.7}, "more than 1"),
        ({"colour": 1}, "settings are"),
        ({"split": "../up"}, "plain word"),
    ],
)
def test_bad_knobs_are_named(tmp_path, knobs, said):
    with pytest.raises(DataError, match=said):
        load_pairs("scenes", root=tmp_path, **knobs)
    assert list(tmp_path.iterdir()) == []


def test_a_home_folder_is_no_folder_named_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    pairs = scenes.load_scenes("~/worlds", size=2, progress=False)
    assert pairs.images[0].is_relative_to(tmp_path / "worlds")
