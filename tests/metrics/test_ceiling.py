"""How high a recall can be: known for the built-in world, estimated from captions for photos."""

import dataclasses

import numpy as np
import pytest

from mmret_lib.data import load_pairs
from mmret_lib.data.world.scenes import caption_log_likelihood
from mmret_lib.files.errors import DataError
from mmret_lib.metrics import report_from_scores
from mmret_lib.metrics.ceiling import best_possible, captions_ceiling


def test_only_the_built_in_world_has_a_ceiling(tmp_path):
    world = load_pairs("scenes", root=tmp_path, split="val", size=8, progress=False)
    strangers = dataclasses.replace(world, caption_info=None, name="coco")
    with pytest.raises(DataError, match="only the built-in world"):
        best_possible(strangers)


def test_equal_probabilities_tie_whatever_the_last_bit_says(tmp_path):
    pairs = load_pairs("scenes", root=tmp_path, split="val", size=60, identical=0.5, progress=False)
    likelihood = np.exp(caption_log_likelihood(pairs))
    posterior = likelihood / likelihood.sum(axis=0)
    report = best_possible(pairs)
    for i, row in enumerate(posterior):
        best, others = row[pairs.owner == i].max(), row[pairs.owner != i]
        tied = np.isclose(others, best, rtol=1e-7)
        assert report.i2t.counts.tied[i] == tied.sum()
        assert report.i2t.counts.better[i] == ((others > best) & ~tied).sum()
    assert (report.i2t.counts.tied > 0).mean() > 0.3


def test_captions_stand_for_their_photo_without_the_one_that_asks():
    rng = np.random.default_rng(0)
    counts = [5, 5, 2, 3, 6, 5]
    owner = np.repeat(np.arange(6), counts)
    emb = rng.normal(size=(len(owner), 8)) + 2 * rng.normal(size=(6, 8))[owner]
    unit = emb / np.linalg.norm(emb, axis=1, keepdims=True)
    scores = np.empty((6, len(owner)))
    for image in range(6):
        for caption in range(len(owner)):
            place = (owner[:caption] == owner[caption]).sum()
            others = [row for p, row in enumerate(unit[owner == image]) if p != place]
            mean = np.mean(others, axis=0)
            scores[image, caption] = mean @ unit[caption] / np.linalg.norm(mean)
    assert captions_ceiling(emb, owner) == report_from_scores(scores.round(9), owner=owner)
    assert captions_ceiling(100 * emb, owner.tolist()) == captions_ceiling(emb, owner)


def test_photos_of_the_same_lower_the_ceiling_and_photos_of_different_things_do_not():
    things = np.repeat(np.eye(4), 5, axis=0)  # four photos, five equal captions each
    owner = np.repeat(np.arange(4), 5)
    assert captions_ceiling(things, owner).t2i.recall[1] == 100
    things[5:15] = things[0]  # now three photos show the same
    assert captions_ceiling(things, owner).t2i.recall[1] == 50  # a third each, and one of its own


def test_a_photo_with_one_caption_has_no_ceiling():
    with pytest.raises(ValueError, match="image 1 has one caption"):
        captions_ceiling(np.eye(3), [0, 0, 1])
