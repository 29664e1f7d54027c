"""Recall at 1 in steps, each with the ways to get it wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.task import Formula, Mistake, mistakes
from mmret_lib.checks.search.best import ZERO, raw, unit

CONSTANT = (
    "a model that gives everything the same embedding should get 100 / N, as chance does: a query "
    "whose own answer ties with others for the first place counts 1 / (how many tie, its own "
    "included)"
)
TIED = (
    "a query whose own answer ties for the first place counts 1 / (how many tie, its own included)"
)


def shared(s: Tensor) -> Tensor:
    """What each row's query counts: 1 if its own is above all, less where others tie with it."""
    own = s.diagonal()[:, None]
    return ((s > own).sum(1) == 0) / (s >= own).sum(1)


def recall_at_1(
    image_emb: Tensor,
    text_emb: Tensor,
    *,
    normalise: Formula = lambda i, t: (unit(i), unit(t)),
    product: Formula = lambda i, t: i @ t.T,
    turned: Formula = lambda s: (s, s.T),
    counts: Formula = shared,
    share: Formula = lambda hits: 100 * hits.double().mean(),
    result: Formula = lambda i2t, t2i: (i2t, t2i),
) -> Any:
    """(i2t, t2i), in percent: the share of images, and of texts, whose own partner comes first."""
    ways = turned(product(*normalise(image_emb, text_emb)))
    found = result(*(share(counts(way).to(image_emb.dtype)) for way in ways))
    return tuple(map(float, found)) if isinstance(found, tuple) else float(found)


def in_five(s: Tensor) -> Tensor:
    """A wrong `counts`: whether the own answer is among the first five."""
    own = torch.arange(len(s), device=s.device)[:, None]
    return (s.topk(min(5, len(s)), dim=1).indices == own).any(dim=1)


def at_argmax(s: Tensor) -> Tensor:
    """A wrong `counts`: the first of several equal maxima is taken."""
    return s.argmax(dim=1) == torch.arange(len(s), device=s.device)


MISTAKES = [
    *mistakes(
        {},
        share={
            "a share from 0 to 1 is returned: percent are wanted, 100 times that": (
                lambda hits: hits.mean()
            ),
            "the hits are counted: divide by the number of queries, N, and multiply by 100": (
                lambda hits: hits.sum()
            ),
            "the hits are added up and not divided by their number, N": (
                lambda hits: 100 * hits.sum()
            ),
            "the percentages are rounded: return them as they are": (
                lambda hits: (100 * hits.mean()).round()
            ),
            "the percentages are cut to whole numbers: return them as they are": (
                lambda hits: (100 * hits.mean()).floor()
            ),
            "these are misses, the share of wrong answers: 100 - recall": (
                lambda hits: 100 * (1 - hits.mean())
            ),
        },
        result={
            "the two directions are swapped: the images' recall (rows of the similarities as "
            "queries) comes first": lambda a, b: (b, a),
            "the images' recall is returned twice: the texts ask in similarity.T, along a "
            "column": lambda a, b: (a, a),
            "the texts' recall is returned twice: the images ask along a row": (
                lambda a, b: (b, b)
            ),
        },
        turned={
            "images are compared with images where the images ask: each asks for a text": (
                lambda s: (s, s)
            ),
        },
        counts={
            "a tie counts as found, so that a model that gives everything the same embedding "
            f"would get 100: {TIED}": lambda s: (s > s.diagonal()[:, None]).sum(1) == 0,
            f"a tie counts as a miss: {TIED}": (lambda s: (s >= s.diagonal()[:, None]).sum(1) == 1),
            "of several equal scores argmax takes the first, so a tie is decided by the order "
            f"of the rows: {TIED}": at_argmax,
            "one of the first five is enough: this is recall at 5": (
                lambda s: (s > s.diagonal()[:, None]).sum(1) < 5
            ),
            "the first five are looked at: this is recall at 5": in_five,
            "the second place counts as found, too: the own answer may have none above it": (
                lambda s: (s > s.diagonal()[:, None]).sum(1) < 2
            ),
            "the wrong axis: the positive of a row is diagonal()[:, None], and what is above "
            "it is counted along that row, dim=1": (
                lambda s: ((s > s.diagonal()).sum(1) == 0) / (s >= s.diagonal()).sum(1)
            ),
            "the lowest score is taken for the best: a high cosine means alike": (
                lambda s: shared(-s)
            ),
            "the reciprocal of the rank is averaged (MRR): only the first place counts": (
                lambda s: 1 / (s >= s.diagonal()[:, None]).sum(1)
            ),
        },
    ),
    *mistakes(
        {},
        product={
            "images are compared with images, or texts with texts: each asks for the other": (
                lambda i, t: i @ i.T
            ),
        },
    ),
    *(one for one in pairs.WRONG_COSINES if "(1 + cosine) / 2" not in one.says),  # same order
    Mistake(
        f"a row of zeros is divided by its length 0 and becomes NaN: {ZERO}",
        {"normalise": lambda i, t: (raw(i), raw(t))},
    ),
]
