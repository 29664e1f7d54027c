"""Recognise embeddings that cannot rank: all in one direction, or one item before all others.

A recall near zero does not say why. Two things are seen in the embeddings themselves:

- **One direction.** All images, or all captions, have nearly the same embedding: the collapse.
  Every query then gets the same order. Embeddings may also differ little and still rank far above
  chance (in data/results/collapse.csv Max Triplet after 50 steps on all negatives, with a mean
  cosine above 0.9), so where the right answers are known, they decide.
- **A hub.** One item is the first answer to very many queries, whatever they ask (Radovanović et
  al., "Hubs in space", JMLR 11, 2010).

At most 500 queries in each direction are looked at, so that this costs little beside ranking all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.metrics.inputs import Array
from mmret_lib.metrics.ranks import TIE_TOLERANCE, full_precision, slices

QUERIES = 500  # looked at in each direction: a share of them is known to 2 or 3 points
FEWEST_QUERIES = 32  # fewer say too little about what most queries get
MOST_SCORES = 2**25  # at a direction: of a million images and more, fewer queries are looked at
ANSWERS_AT_ONCE = 8192
FEWEST_ROWS = 8  # a handful of photos may well resemble each other
# The figures below are of the four losses on 1,000 drawn scenes, over 4 epochs with mini backbones.
# Below this, 98 % of the embeddings' squared length lies along one direction. A branch has 1.4 and
# more after its first epoch, and 1.00 where Max Triplet has collapsed.
ONE_DIRECTION = 1.05
# Of the wrong answers, the share that ranks above the right one: 28 to 39 % after the first epoch,
# 9 to 27 % later, and 47 to 50 % in a collapse, as by chance.
AT_CHANCE = 0.4
# Of the queries, the share with one and the same first answer: up to 29 % after the first epoch,
# 4 to 11 % later, and 42 to 100 % in a collapse.
HUB = 0.4
SPREAD = 5  # standard deviations that a hub lies above chance, which counts in small pools


def diagnose(
    image_emb: Array | None,
    text_emb: Array | None,
    owner: Array | Sequence[int] | None = None,
    *,
    wrong_above: float | None = None,
    batch: bool = False,
) -> dict[str, str]:
    """Say what is wrong with embeddings, in one line for each finding, and what to try.

    >>> for line in diagnose(image_emb, text_emb, pairs.owner).values():
    ...     print(line)

    Args:
        image_emb: (N, D), finite, of any length; None where they are not at hand.
        text_emb: (M, D), likewise.
        owner: (M,), the image of each caption. Without it, or without one of the two sides, it is
            not known how well they rank, and embeddings in one direction are reported in any case.
        wrong_above: of the wrong answers, the share (0…1) that ranks above the right one, where it
            is known already; by default that of a sample of the captions.
        batch: the rows are a batch, whose numbers say nothing of the data set.

    Returns:
        "one direction", "hub image", "hub caption" -> what it looks like and what to try; empty
        for embeddings that are sound.
    """
    sides = {
        name: _tensor(emb)
        for name, emb in (("image", image_emb), ("caption", text_emb))
        if emb is not None and len(emb) >= FEWEST_ROWS
    }
    with full_precision("cpu"):
        narrow = {
            name: figures
            for name, rows in sides.items()
            if (figures := _spread(rows[_sample(len(rows))]))[1] < ONE_DIRECTION
        }
        hubs = {}
        if len(sides) == 2:
            images, texts = sides["image"], sides["caption"]
            of_images = None if owner is None else _tensor(owner)
            found = _first_answers(texts, images, of_images)
            if found and wrong_above is None:
                wrong_above = found[1]
            hubs = {"image": found, "caption": _first_answers(images, texts)}
    if narrow and (wrong_above is None or wrong_above > AT_CHANCE):
        return {"one direction": _narrow_line(narrow, wrong_above)}
    findings = {}
    for name, answered in hubs.items():
        if answered and (line := _hub_line(name, answered[0], len(sides[name]), batch)):
            findings[f"hub {name}"] = line
    return findings


def share_above(image_emb: Array, text_emb: Array, owner: Array | Sequence[int]) -> float:
    """Return the share, 0…1, of the wrong images that rank above a caption's own; chance is 0.5.

    Args:
        image_emb, text_emb, owner: (N, D), (M, D), (M,), as in `diagnose`; N is at least 2.
    """
    with full_precision("cpu"):
        sides = _tensor(text_emb), _tensor(image_emb)
        answered = _first_answers(*sides, _tensor(owner), fewest=1)
    return answered[1] if answered and answered[1] is not None else math.nan


def _tensor(values: Array | Sequence[int]) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().cpu()
    return torch.from_numpy(np.require(values, requirements="W"))  # torch warns of read-only memory


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows.float(), dim=1)


def _sample(count: int, most: int = QUERIES) -> Tensor:
    """So many rows, evenly spread: the same ones at every call."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()


def _spread(rows: Tensor) -> tuple[float, float]:
    """The mean cosine between two of (Q, D) rows, and their effective rank, from 1 to D.

    With p_i the share of direction i in the squared length, it is 1 / sum p_i^2 (the participation
    ratio): k for k directions alike. The p_i need not be known, since the sum is that of all
    squared cosines, divided by Q^2.
    """
    unit = _unit(rows)
    cosines = unit @ unit.T  # (Q, Q)
    count, squares = len(unit), float(cosines.square().sum())
    mean = float(cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1))
    return mean, count * count / squares if squares else 1.0  # zeros alone: no direction at all


def _first_answers(
    queries: Tensor, answers: Tensor, owner: Tensor | None = None, fewest: int = FEWEST_QUERIES
) -> tuple[Tensor, float | None] | None:
    """The first answers (Q,) to a sample of queries, and the share of wrong ones above the right.

    Args:
        queries: (M, D).
        answers: (N, D).
        owner: (M,), the right answer of each query; without it the share is None.

    Returns:
        None where there are too many answers for this, or too few queries.
    """
    most = min(QUERIES, MOST_SCORES // len(answers))
    if min(most, len(queries)) < min(fewest, FEWEST_QUERIES) or len(answers) < 2:
        return None
    sample = _sample(len(queries), most)
    asked = _unit(queries[sample])  # (Q, D)
    best = torch.full((len(asked),), -math.inf)
    place = torch.zeros(len(asked), dtype=torch.long)
    above = torch.zeros(len(asked))
    own = None if owner is None else owner[sample]  # (Q,)
    target = None if own is None else (asked * _unit(answers[own])).sum(dim=1, keepdim=True)
    for piece in slices(len(answers), ANSWERS_AT_ONCE):
        scores = asked @ _unit(answers[piece]).T  # (Q, C)
        highest, column = scores.max(dim=1)
        place = torch.where(highest > best, column + piece.start, place)
        best = torch.maximum(best, highest)
        if own is not None and target is not None:
            inside = ((own >= piece.start) & (own < piece.stop)).nonzero()[:, 0]
            scores[inside, own[inside] - piece.start] = math.nan  # compares false with everything
            above += (scores > target + TIE_TOLERANCE).sum(dim=1) / 2
            above += (scores >= target - TIE_TOLERANCE).sum(dim=1) / 2
    share = None if own is None else float(above.mean()) / (len(answers) - 1)
    return place, share


def _narrow_line(narrow: dict[str, tuple[float, float]], wrong_above: float | None) -> str:
    figures = " and ".join(
        f"{name} embeddings (mean cosine {cosine:.4f}, effective rank {rank:.2f})"
        for name, (cosine, rank) in narrow.items()
    )
    if wrong_above is None:
        return (
            f"nearly one direction: {figures}. If what they show differs, the model has collapsed, "
            "or it ranks by hairs: its recall says which (mmret evaluate)"
        )
    return (
        f"nearly one direction: {figures}; the right answers rank as by chance "
        f"({wrong_above:.0%} of the wrong ones above them). The model has collapsed. Try a loss "
        "over all negatives (simclr, margin_softmax; all_negatives_steps of max_triplet), a lower "
        "learning rate, pretrained backbones"
    )


def _hub_line(name: str, first: Tensor, answers: int, batch: bool) -> str:
    counts = first.bincount()
    share, even = float(counts.max()) / len(first), 1 / answers
    chance = even + SPREAD * math.sqrt(even / len(first))
    if share < max(HUB, chance):
        return ""
    queries = "captions" if name == "image" else "images"
    hub = f"{name} {int(counts.argmax())} (counted from 0)"
    if batch:
        hub, queries = f"one {name}", f"{queries} of a batch"
    return (
        f"a hub: {hub} is the first answer to {share:.0%} of the "
        f"{queries}; if all {answers:,} were found alike, it would be {even:.2%}. Look at it, it "
        "may be damaged. Else train longer, with larger batches or with a loss over all negatives "
        "(simclr), or standardise each branch (standardise=True)"
    )
