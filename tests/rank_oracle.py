"""Ranks from a full float64 matrix and plain loops, and embeddings to rank."""

import math

import numpy as np
import torch

from mmret_lib.metrics.ranks import TIE_TOLERANCE


def cosines(image_emb, text_emb):
    """The full float64 matrix (N, M); a zero row scores 0."""
    sides = [np.asarray(torch.as_tensor(emb).double()) for emb in (image_emb, text_emb)]
    units = []
    for side in sides:
        length = np.linalg.norm(side, axis=1, keepdims=True)
        units.append(side / np.where(length > 0, length, 1))
    return units[0] @ units[1].T


def rank_of(target, others, tolerance):
    above = sum(1 for score in others - target if score > tolerance)
    tied = sum(1 for score in others - target if -tolerance <= score <= tolerance)
    return above + tied / 2


def oracle(scores, owner, tolerance=TIE_TOLERANCE):
    """0-based ranks of both directions, one query after the other."""
    owner = np.asarray(owner)
    with np.errstate(invalid="ignore"):  # -inf minus -inf, in tests that do not use it
        i2t = [
            rank_of(row[owner == i].max(), row[owner != i], tolerance)
            for i, row in enumerate(scores)
        ]
        t2i = [
            rank_of(column[owner[j]], np.delete(column, owner[j]), tolerance)
            for j, column in enumerate(scores.T)
        ]
    return np.array(i2t), np.array(t2i)


def hit_of(target, others, own, k, tolerance):
    """The hypergeometric formula in whole numbers: the chance of an own one among the first k."""
    above = sum(1 for score in others - target if score > tolerance)
    tied = sum(1 for score in others - target if -tolerance <= score <= tolerance)
    own_tied = sum(1 for score in own - target if score >= -tolerance)
    drawn = min(max(k - above, 0), tied + own_tied)
    return 1 - math.comb(tied, drawn) / math.comb(tied + own_tied, drawn)


def hit_oracle(scores, owner, k, tolerance=TIE_TOLERANCE):
    """Expected hits among the first k, both directions, one query after the other."""
    owner = np.asarray(owner)
    i2t = [
        hit_of(row[owner == i].max(), row[owner != i], row[owner == i], k, tolerance)
        for i, row in enumerate(scores)
    ]
    t2i = [
        hit_of(column[i], np.delete(column, i), column[[i]], k, tolerance)
        for i, column in zip(owner, scores.T, strict=True)
    ]
    return np.array(i2t), np.array(t2i)


def assert_hits(report, scores, owner, tolerance=TIE_TOLERANCE):
    """The report's hits and recalls are those of the formula."""
    for k in report.i2t.recall:
        for direction, hits in zip(
            (report.i2t, report.t2i), hit_oracle(scores, owner, k, tolerance), strict=True
        ):
            np.testing.assert_allclose(direction.hits(k), hits, atol=1e-12)
            np.testing.assert_allclose(direction.recall[k], 100 * hits.mean(), atol=1e-9)


def assert_ranks(report, expected):
    np.testing.assert_array_equal(report.i2t.ranks, expected[0])
    np.testing.assert_array_equal(report.t2i.ranks, expected[1])


def world(images=40, dim=16, seed=0, noise=1.0, most=4):
    """Embeddings that half agree, 1 to `most` captions per image, owners unsorted."""
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.repeat(np.arange(images), rng.integers(1, most + 1, images)))
    image_emb = rng.normal(size=(images, dim)).astype(np.float32)
    text_emb = image_emb[owner] + noise * rng.normal(size=(len(owner), dim))
    return image_emb, text_emb.astype(np.float32), owner
