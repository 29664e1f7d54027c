"""Compute recall and mAP@R with more right answers than the data set has.

Where a caption fits other pictures besides its own, finding one of those is no failure, but plain
recall counts it as one. The figures here use the right answers of `mmret_lib.data.judgements`:
those of people (CxC, ECCV Caption), or of the built-in world's generator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmret_lib.data.judgements import Judgements
from mmret_lib.metrics.inputs import Array, check_embeddings, check_ks
from mmret_lib.metrics.ranks import TIE_TOLERANCE, PairScores, count_above, full_precision
from mmret_lib.metrics.ties import Counts, Floats, RankCounts

Indices = npt.NDArray[np.int64]
HELD = 2**22  # scores held at a time: 32 MB


@dataclass(frozen=True)
class JudgedDirection:
    """The figures of one direction, in percent, over the queries with at least one right answer.

    With R the number of a query's right answers and p_1 < p_2 < … the places (from 1) at which
    they come in the ranking:

    - `recall[K]`: share of queries with p_1 <= K;
    - `r_precision`: mean of (number of p_i <= R) / R;
    - `map_at_r`: mean of 1/R x sum of i / p_i over the p_i <= R.

    All three are expectations over the order of ties, as in `mmret_lib.metrics`: recall by the
    formula of `ties`; a right answer with b answers above it and t others tied with it has each of
    the places b + 1 … b + t + 1 with the same probability.
    `answers` is the mean of R. `queries_of` (Q,) are the judged queries, `ranks` (Q,) the wrong
    answers above the best right one, each tied one half (exact where smaller than the largest of
    all R and K), `average_precision` (Q,) in percent.

    Source: Chun et al., arXiv 2204.03359, section 3 and its published evaluation code; mAP@R as in
    Musgrave et al., arXiv 2003.08505, section 4; ties as in McSherry & Najork, ECIR 2008.
    """

    recall: dict[int, float]
    r_precision: float
    map_at_r: float
    queries: int
    answers: float
    queries_of: Indices = field(repr=False, compare=False)
    ranks: Floats = field(repr=False, compare=False)
    average_precision: Floats = field(repr=False, compare=False)


@dataclass(frozen=True)
class JudgedReport:
    """The figures of both directions, by the judgements of one source."""

    name: str
    i2t: JudgedDirection
    t2i: JudgedDirection

    def as_dict(self) -> dict[str, float]:
        """Return all figures in one dict: i2t_r1, …, i2t_map_at_r, i2t_queries, …, t2i_r1, …."""
        flat: dict[str, float] = {}
        for name, direction in (("i2t", self.i2t), ("t2i", self.t2i)):
            flat |= {f"{name}_r{k}": value for k, value in direction.recall.items()}
            flat[f"{name}_r_precision"] = direction.r_precision
            flat[f"{name}_map_at_r"] = direction.map_at_r
            flat[f"{name}_queries"] = direction.queries
            flat[f"{name}_answers"] = direction.answers
        return flat

    def __str__(self) -> str:
        heads = [*(f"R@{k}" for k in self.i2t.recall), "R-Prec", "mAP@R", "queries", "right each"]
        lines = [f"judged by {self.name}:", " " * 10 + "".join(f"{head:>11}" for head in heads)]
        for title, way in (("image→text", self.i2t), ("text→image", self.t2i)):
            cells = [*way.recall.values(), way.r_precision, way.map_at_r]
            figures = "".join(f"{value:11.1f}" for value in cells)
            lines.append(f"{title}{figures}{way.queries:11,}{way.answers:11.1f}")
        return "\n".join(lines)


def evaluate_judged(
    image_emb: Array, text_emb: Array, judgements: Judgements, *, ks: Iterable[int] = (1, 5, 10)
) -> JudgedReport:
    """Rank the judged queries, within all images and captions, and score them by `judgements`.

    Exact: scores are float64 cosines, those within 5e-7 of each other tie.

    Args:
        image_emb, text_emb: (N, D) and (M, D), as in `mmret_lib.metrics.evaluate`.
        judgements: of the same N images and M captions.

    Raises:
        ValueError: for what cannot be ranked, and for judgements of another collection.
    """
    ks = check_ks(ks)
    images, texts = check_embeddings(image_emb, text_emb)
    for name, pairs, sides in (
        ("i2t", judgements.i2t, (images, texts)),
        ("t2i", judgements.t2i, (texts, images)),
    ):
        if not len(pairs):
            raise ValueError(f"{judgements.name} judges no query of {name}")
        if (pairs < 0).any() or (pairs >= [len(side) for side in sides]).any():
            raise ValueError(
                f"{judgements.name} {name} judges pairs beyond the {len(images)} images and "
                f"{len(texts)} captions given: it is of another collection"
            )
    with full_precision(images.device.type):
        return JudgedReport(
            judgements.name,
            _judge(PairScores(images, texts), judgements.i2t, ks),
            _judge(PairScores(texts, images), judgements.t2i, ks),
        )


def _judge(scores: PairScores, pairs: Indices, ks: tuple[int, ...]) -> JudgedDirection:
    """Judge one direction; queries are the rows of `scores`, answers its columns."""
    queries, first, count = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    depth = max(*ks, int(count.max()))  # how deep a ranking has to be known
    best, precision, average = [], [], []
    step = max(1, HELD // len(scores.texts))
    for start in range(0, len(queries), step):
        chunk = slice(start, start + step)
        size = count[chunk]
        judged = pairs[first[chunk][0] : first[chunk][0] + size.sum()]
        line = np.repeat(np.arange(len(size)), size)  # (P,) which of these queries a pair is of
        target, wrong = _wrong_above(scores, queries[chunk], line, judged[:, 1], depth)
        right = _right_above(target, line, size)
        order = np.lexsort((-target.cpu().numpy(), line))
        top = order[np.cumsum(size) - size]  # (Q,) each query's best right answer
        best.append(RankCounts(wrong[0, top], wrong[1, top], right[1, top] + 1))
        within, precise = _within(wrong + right, right, size[line])
        precision.append(np.bincount(line, within) / size)
        average.append(np.bincount(line, precise) / size)
    counts = RankCounts.joined(best)
    average_precision = 100 * np.concatenate(average)
    return JudgedDirection(
        recall={k: 100 * float(counts.hits(k).mean()) for k in ks},
        r_precision=100 * float(np.concatenate(precision).mean()),
        map_at_r=float(average_precision.mean()),
        queries=len(queries),
        answers=float(count.mean()),
        queries_of=queries,
        ranks=counts.ranks,
        average_precision=average_precision,
    )


def _within(others: Counts, right: Counts, size: Counts) -> tuple[Floats, Floats]:
    """What each right answer adds to R-precision and mAP@R, times R.

    Args:
        others, right: (2, P), how many other answers, and how many other right ones, are above
            each right answer and tied with it.
        size: (P,) R.

    Returns:
        (P,) the probability that its place is at most R, and the expectation of (right answers up
        to its place) / place, counted as 0 beyond R.
    """
    (above, tied), (right_above, right_tied) = others, right
    last = np.minimum(size, above + tied + 1)  # of its possible places, above + 1 …, the last <= R
    places = (last - above).clip(min=0)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, size.max() + 1))])
    # At place p, right_above + share x (p - above - 1) right answers come before it on average.
    share = right_tied / tied.clip(min=1)
    of_place = (1 + right_above - (above + 1) * share) * (
        harmonic[last] - harmonic[np.minimum(above, last)]
    )
    return places / (tied + 1), (places * share + of_place) / (tied + 1)


def _wrong_above(
    scores: PairScores, queries: Indices, line: Indices, right: Indices, depth: int
) -> tuple[Tensor, Counts]:
    """Count the wrong answers above each right one and tied with it.

    Pair p is of query queries[line[p]] and its right answer right[p].

    Returns:
        The scores of the pairs (P,) and the counts (2, P): exact where fewer than `depth` wrong
        answers are above, else `depth` or more above.
    """
    device = scores.images.device
    lines = torch.from_numpy(line).to(device)
    block = scores.block(torch.from_numpy(queries).to(device), slice(None))  # (Q, all answers)
    pairs = lines, torch.from_numpy(right).to(device)
    target = block[pairs]  # (P,)
    block[pairs] = -torch.inf
    hardest = block.topk(min(depth, block.shape[1])).values  # (Q, depth)
    counted = _count_rows(hardest, lines, target)
    if hardest.shape[1] < block.shape[1]:
        # More may tie than the hardest hold, as with a collapsed model.
        full = ((counted[1] == depth) & (counted[0] < depth)).nonzero()[:, 0]
        counted[:, full] = _count_rows(block, lines[full], target[full])
    above, or_tied = counted.cpu().numpy()
    return target, np.stack([above, or_tied - above])


def _right_above(target: Tensor, line: Indices, size: Counts) -> Counts:
    """Count the other right answers above each right one and tied with it: (2, P)."""
    lines = torch.from_numpy(line).to(target.device)
    nth = torch.from_numpy(np.arange(len(line)) - (np.cumsum(size) - size)[line])
    mine = target.new_full((len(size), int(size.max())), -torch.inf)  # (Q, most right answers)
    mine[lines, nth.to(target.device)] = target
    above, or_tied = _count_rows(mine, lines, target).cpu().numpy()
    return np.stack([above, or_tied - above - 1])  # without itself


def _count_rows(rows: Tensor, lines: Tensor, target: Tensor) -> Tensor:
    """Count in row lines[p] of `rows` what is above target[p], and above or tied: (2, P)."""
    held = max(1, HELD // rows.shape[1])
    pieces = zip(torch.split(lines, held), torch.split(target, held), strict=True)
    return torch.cat([count_above(rows[i], goal, TIE_TOLERANCE, 1) for i, goal in pieces], 1)
