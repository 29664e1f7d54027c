"""Compute recall@K, mean and median rank in both directions.

`ranks` counts the answers above the right ones, `ties` computes ranks and hits from the counts,
`intervals` estimates how sure the figures are, and `judged` computes them with more right answers
than the data set has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmret_lib.metrics.inputs import Array, check_ks, check_owner, check_pool, check_scores
from mmret_lib.metrics.ranks import Owner, embedding_ranks, score_ranks
from mmret_lib.metrics.ties import Floats, RankCounts

FOLDS, FOLD_IMAGES = 5, 1000  # the COCO "1K" protocol


@dataclass(frozen=True)
class DirectionReport:
    """The ranks of the right answers in one direction, and the figures computed from them.

    For each of Q queries, `better` wrong answers score above its best right one, `tied` wrong ones
    score the same, and so do `own_tied` right ones, itself included (`counts` holds all three):

    - `recall[K]` = 100 / Q x sum of hit(K), in percent, with hit(K) the probability that a right
      answer is among the first K if ties are put in random order: min(1, max(0, (K - better) /
      (tied + 1))) for one right answer, in general 1 - C(tied, K - better) / C(tied + own_tied,
      K - better). Without ties it is the share of queries with rank < K;
    - `mean_rank` = mean(rank) + 1 with the 0-based rank = better + tied / 2;
    - `median_rank` = floor(median(rank)) + 1, as VSE++ prints it;

    so the best mean and median rank is 1. `ranks` (Q,) are float64 and may be half-integers, `hits`
    computes hit(K) of every query. A model that scores everything the same has the recall of
    chance: R@10 = 10 % among 100 images.

    Source: Faghri et al., VSE++, arXiv 1707.05612, section 4 and its published evaluation code.
    """

    recall: dict[int, float]
    mean_rank: float
    median_rank: float
    counts: RankCounts = field(repr=False, compare=False)

    @property
    def ranks(self) -> Floats:
        """(Q,) ranks of the best right answers, from 0; each tied wrong one counts one half."""
        return self.counts.ranks

    def hits(self, k: int) -> Floats:
        """(Q,) the probability, 0 to 1, that a right answer is among the first k (ties random)."""
        return self.counts.hits(k)


@dataclass(frozen=True)
class Report:
    """The figures of both directions, with the size of the pool, on which all recalls depend.

    `images` and `captions` are the pool a query is ranked in: with protocol "1k" one fold
    (a fraction of captions is then the mean of uneven folds). `captions_per_image` is
    (fewest, most). `owner` (captions,) is the image of each caption; with protocol "1k" `folds` are
    the five reports that were averaged, and counts and owners are theirs, one after the other.
    """

    i2t: DirectionReport
    t2i: DirectionReport
    images: int
    captions: int | float
    captions_per_image: tuple[int, int]
    owner: Owner = field(repr=False, compare=False)
    protocol: str = "full"
    folds: tuple[Report, ...] = field(default=(), repr=False, compare=False)

    @property
    def rsum(self) -> float:
        """The sum of all recalls of both directions (with K = 1, 5, 10 at most 600)."""
        return sum(self.i2t.recall.values()) + sum(self.t2i.recall.values())

    def as_dict(self) -> dict[str, float]:
        """Return all figures in one dict: i2t_r1, …, i2t_mean_rank, …, t2i_r1, …, images."""
        flat: dict[str, float] = {}
        for name, direction in (("i2t", self.i2t), ("t2i", self.t2i)):
            flat |= {f"{name}_r{k}": value for k, value in direction.recall.items()}
            flat[f"{name}_mean_rank"] = direction.mean_rank
            flat[f"{name}_median_rank"] = direction.median_rank
        return flat | {"images": self.images, "captions": self.captions}

    def __str__(self) -> str:
        fewest, most = self.captions_per_image
        each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        folds = f", mean of {FOLDS} folds" if self.protocol == "1k" else ""
        heads = [f"R@{k}" for k in self.i2t.recall]
        lines = [
            f"pool: {self.images:,} images, {self.captions:,} captions, {each} per image "
            f"(protocol {self.protocol}{folds}); rsum {self.rsum:.1f}",
            " " * 10 + "".join(f"{head:>8}" for head in (*heads, "mean r", "med r")),
        ]
        for name, direction in (("image→text", self.i2t), ("text→image", self.t2i)):
            recalls = "".join(f"{value:8.1f}" for value in direction.recall.values())
            lines.append(f"{name}{recalls}{direction.mean_rank:8.1f}{direction.median_rank:8g}")
        return "\n".join(lines)


def evaluate(
    image_emb: Array,
    text_emb: Array,
    owner: Array | Sequence[int],
    *,
    ks: Iterable[int] = (1, 5, 10),
    protocol: str = "full",
    tile: int | None = None,
) -> Report:
    """Rank every caption for every image and every image for every caption, by cosine.

    Args:
        image_emb: (N, D), any float type, torch or NumPy, as the encoder gives it: rows are
            normalised inside (a zero vector stays zero and scores 0 with everything).
        text_emb: (M, D), likewise; brought to the device of `image_emb`.
        owner: (M,) integers: the image that each caption describes. Every image needs at least
            one caption; an image's rank is that of its best caption, and its other captions do not
            count as wrong.
        ks: the K of recall@K.
        protocol: "full" ranks within all images at once (on COCO's 5,000: "5K"). "1k" ranks
            within five contiguous folds of 1,000 images and averages the five reports; it takes
            the first 5,000 images, and captions in the order of their images. Source: Karpathy &
            Fei-Fei, arXiv 1412.2306.
        tile: side of the square of scores held at a time; no effect on the result. The full
            (N, M) matrix never exists.

    Returns:
        A `Report`; `report.i2t` is image to text, `report.t2i` text to image. Scores within
        5e-7 of each other are ties; ranks and recalls are expectations over the order of ties
        (the formulas stand in `DirectionReport`).

    Raises:
        ValueError: naming the argument and its first bad row: non-finite or integer embeddings,
            shapes or owners that do not fit together, an image without a caption, or a data set
            that the protocol cannot be applied to.
    """
    ks = check_ks(ks)
    images, texts, owners = check_pool(image_emb, text_emb, owner)
    if tile is not None and tile < 1:
        raise ValueError(f"tile is {tile}: at least one score must be held at a time")

    if protocol == "full":
        return _report(*embedding_ranks(images, texts, owners, tile), owners, ks)
    if protocol != "1k":
        raise ValueError(f'protocol is {protocol!r}: choose "full" or "1k"')
    _check_folds(owners, len(images))
    reports = []
    for first in range(0, FOLDS * FOLD_IMAGES, FOLD_IMAGES):
        last = first + FOLD_IMAGES
        captions = slice(*np.searchsorted(owners, (first, last)))
        fold_owners = owners[captions] - first
        ranks = embedding_ranks(images[first:last], texts[captions], fold_owners, tile)
        reports.append(_report(*ranks, fold_owners, ks))
    return _mean_report(reports)


def report_from_scores(
    i2t_scores: Array,
    t2i_scores: Array | None = None,
    *,
    owner: Array | Sequence[int],
    ks: Iterable[int] = (1, 5, 10),
) -> Report:
    """Make a report from the matrix of all scores, for a pool small enough to hold it.

    Each direction may have its own scores, as in the best possible ranking of the built-in world:
    log P(caption | scene) for one and log P(scene | caption) for the other.

    Args:
        i2t_scores: (N, M), images by captions, higher is better; ranks captions along each row.
        t2i_scores: (N, M), likewise; ranks images down each column. None: the same scores.
        owner: (M,) integers, the image of each caption.
        ks: the K of recall@K.

    Scores may be -inf (impossible). Only equal scores tie, -inf with -inf included; ties count as
    in `evaluate`.

    Raises:
        ValueError: for NaN, naming its place, and for shapes or owners that do not fit.
    """
    ks = check_ks(ks)
    i2t = t2i = check_scores("i2t_scores", i2t_scores)
    if t2i_scores is not None:
        t2i = check_scores("t2i_scores", t2i_scores)
        if i2t.shape != t2i.shape:
            raise ValueError(
                f"i2t_scores is {tuple(i2t.shape)} and t2i_scores {tuple(t2i.shape)}: both are "
                "(images, captions) of the same pool"
            )
    owners = check_owner(owner, *i2t.shape)
    return _report(score_ranks(i2t, owners)[0], score_ranks(t2i, owners)[1], owners, ks)


def _report(i2t: RankCounts, t2i: RankCounts, owner: Owner, ks: tuple[int, ...]) -> Report:
    per_image = np.bincount(owner)
    return Report(
        i2t=_direction_report(i2t, ks),
        t2i=_direction_report(t2i, ks),
        images=len(per_image),
        captions=len(owner),
        captions_per_image=(int(per_image.min()), int(per_image.max())),
        owner=owner,
    )


def _direction_report(counts: RankCounts, ks: tuple[int, ...]) -> DirectionReport:
    ranks = counts.ranks
    return DirectionReport(
        recall={k: 100.0 * float(counts.hits(k).mean()) for k in ks},
        mean_rank=float(ranks.mean()) + 1,
        median_rank=float(math.floor(np.median(ranks))) + 1,
        counts=counts,
    )


def _mean_report(reports: list[Report]) -> Report:
    """Average the figures of all folds; put the queries of all folds one after the other."""

    def mean(parts: list[DirectionReport]) -> DirectionReport:
        return DirectionReport(
            recall={k: float(np.mean([part.recall[k] for part in parts])) for k in parts[0].recall},
            mean_rank=float(np.mean([part.mean_rank for part in parts])),
            median_rank=float(np.mean([part.median_rank for part in parts])),
            counts=RankCounts.joined([part.counts for part in parts]),
        )

    captions = float(np.mean([report.captions for report in reports]))
    fewest, most = zip(*(report.captions_per_image for report in reports), strict=True)
    return Report(
        i2t=mean([report.i2t for report in reports]),
        t2i=mean([report.t2i for report in reports]),
        images=reports[0].images,
        captions=int(captions) if captions.is_integer() else captions,
        captions_per_image=(min(fewest), max(most)),
        owner=np.concatenate([part.owner + i * FOLD_IMAGES for i, part in enumerate(reports)]),
        protocol="1k",
        folds=tuple(reports),
    )


def _check_folds(owner: Owner, images: int) -> None:
    needed = FOLDS * FOLD_IMAGES
    if images < needed or images % FOLD_IMAGES:
        raise ValueError(
            f'protocol "1k" takes {FOLDS} folds of {FOLD_IMAGES} images: it needs {needed} images '
            f'or more, in whole thousands, and there are {images}. Use protocol "full"'
        )
    steps_back = np.flatnonzero(np.diff(owner) < 0)
    if len(steps_back):
        j = steps_back[0] + 1
        raise ValueError(
            f'protocol "1k" needs captions in the order of their images, but owner[{j}] = '
            f"{owner[j]} follows {owner[j - 1]}: sort the captions by owner first"
        )
