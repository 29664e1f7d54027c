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

from mmret_lib.data.judgements import Judgements
from mmret_lib.metrics.inputs import Array, check_embeddings, check_ks
from mmret_lib.metrics.ranks import PIECE, TIE_TOLERANCE, PairScores, doubled_ranks, full_precision

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

    A wrong answer that ties with a right one counts half, as in `mmret_lib.metrics`.
    `answers` is the mean of R. `queries_of` (Q,) are the judged queries, `ranks` (Q,) = p_1 - 1
    (exact where smaller than the largest of all R and K), `average_precision` (Q,) in percent.

    Source: Chun et al., arXiv 2204.03359, section 3 and its published evaluation code; mAP@R as in
    Musgrave et al., arXiv 2003.08505, section 4.
    """

    recall: dict[int, float]
    r_precision: float
    map_at_r: float
    queries: int
    answers: float
    queries_of: Indices = field(repr=False, compare=False)
    ranks: npt.NDArray[np.float64] = field(repr=False, compare=False)
    average_precision: npt.NDArray[np.float64] = field(repr=False, compare=False)


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
    worst = max(*ks, int(count.max()))  # how deep a ranking has to be known
    ranks, precision, average = [], [], []
    step = max(1, HELD // len(scores.texts))
    for start in range(0, len(queries), step):
        chunk = slice(start, start + step)
        size = count[chunk]
        judged = pairs[first[chunk][0] : first[chunk][0] + size.sum()]
        line = np.repeat(np.arange(len(size)), size)  # (P,) which of these queries a pair is of
        wrong_above = _wrong_above(scores, queries[chunk], line, judged[:, 1], worst)
        # Among a query's right answers, each comes after those with fewer wrong ones above.
        order = np.lexsort((wrong_above, line))
        wrong_above = wrong_above[order]
        begins = np.cumsum(size) - size
        nth = np.arange(len(judged)) - begins[line]  # 0, 1, … within each query
        place = wrong_above + nth + 1
        within = place <= size[line]
        ranks.append(wrong_above[begins])
        precision.append(np.bincount(line, within) / size)
        average.append(np.bincount(line, within * (nth + 1) / place) / size)
    best = np.concatenate(ranks)
    average_precision = 100 * np.concatenate(average)
    return JudgedDirection(
        recall={k: 100 * float(np.mean(best < k)) for k in ks},
        r_precision=100 * float(np.concatenate(precision).mean()),
        map_at_r=float(average_precision.mean()),
        queries=len(queries),
        answers=float(count.mean()),
        queries_of=queries,
        ranks=best,
        average_precision=average_precision,
    )


def _wrong_above(
    scores: PairScores, queries: Indices, line: Indices, right: Indices, worst: int
) -> npt.NDArray[np.float64]:
    """How many wrong answers come before each right one, exact where fewer than `worst`.

    Pair p is of query queries[line[p]] and its right answer right[p]; the result is (P,).
    """
    device = scores.images.device
    lines = torch.from_numpy(line).to(device)
    block = scores.block(torch.from_numpy(queries).to(device), slice(None))  # (Q, all answers)
    pairs = lines, torch.from_numpy(right).to(device)
    target = block[pairs]  # (P,)
    block[pairs] = -torch.inf
    # Twice as deep, because only half of those that tie are counted.
    hardest = block.topk(min(2 * worst, block.shape[1])).values  # (Q, 2 worst)
    pieces = zip(torch.split(lines, PIECE), torch.split(target, PIECE), strict=True)
    doubled = [doubled_ranks(hardest[piece], goal, TIE_TOLERANCE, 1) for piece, goal in pieces]
    return torch.cat(doubled).cpu().numpy() / 2
