"""Recall where a query can have several right answers, with ties at their expectation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

DRAWN = (
    "the first m = k - better of the tied + equal ones are drawn without replacement, and all of "
    "them are wrong with probability C(tied, m) / C(tied + equal, m)"
)
NO_ANSWER = (
    "a query without any right answer says nothing about the model: leave it out of the mean"
)
BEST = "the best of a query's right answers decides, and all the others are neither better nor tied"


def best_right(scores: Tensor, right: Tensor) -> Tensor:
    """(Q,) the highest score of a query's right answers, -inf where it has none."""
    return scores.masked_fill(~right, -math.inf).amax(dim=1)


def drawn_hit(better: Tensor, tied: Tensor, equal: Tensor, k: int) -> Tensor:
    """(Q,) the probability that one of the first k answers is right."""
    hits = []
    for b, t, s in zip(better.tolist(), tied.tolist(), equal.tolist(), strict=True):
        m = min(max(k - b, 0), t + s)
        hits.append(1 - math.comb(t, m) / math.comb(t + s, m))
    return torch.tensor(hits, dtype=torch.float64)


def judged_recall(
    scores: Tensor,
    right: Tensor,
    k: int,
    *,
    best: Formula = best_right,
    wrong: Formula = lambda right: ~right,
    better: Formula = torch.gt,
    tied: Formula = torch.eq,
    equals: Formula = lambda scores, right, best: ((scores == best) & right).sum(1),
    hit: Formula = drawn_hit,
    judged: Formula = lambda hits, right: hits[right.any(dim=1)],
    share: Formula = lambda hits: 100 * hits.mean(),
) -> float:
    """The expected share of queries with a right answer among the first k, in percent."""
    target = best(scores, right)[:, None]
    above, beside = ((compare(scores, target) & wrong(right)).sum(1) for compare in (better, tied))
    hits = hit(above, beside, equals(scores, right, target), k).double()
    return float(share(judged(hits, right)))


def replaced(b: Tensor, t: Tensor, s: Tensor, k: int) -> Tensor:
    """A wrong `hit`: as if each of the m were drawn from all."""
    return 1 - (t / (t + s)) ** (k - b).clamp(min=0)


def one_equal(b: Tensor, t: Tensor, s: Tensor, k: int) -> Tensor:
    """A wrong `hit`: as if one right answer alone were among the tied."""
    return ((k - b) / (t + 1)).clamp(0, 1)


def all_right(scores: Tensor, right: Tensor, k: int) -> float:
    """Wrong: all right answers have to be found."""
    worst = scores.masked_fill(~right, math.inf).amin(dim=1)
    return judged_recall(scores, right, k, best=lambda s, r: worst)


def places(scores: Tensor, right: Tensor) -> Tensor:
    """(Q, A) whether the answer at each place is right, ties as a stable sort leaves them."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    return right.gather(1, order)


def sorted_recall(scores: Tensor, right: Tensor, k: int) -> float:
    """Wrong: ties are left in the order in which they stand."""
    hits = places(scores, right)[:, :k].any(dim=1)[right.any(dim=1)]
    return float(100 * hits.double().mean())


def found_share(scores: Tensor, right: Tensor, k: int) -> float:
    """Wrong: how many of its right answers a query finds."""
    found, has = places(scores, right)[:, :k].sum(dim=1), right.any(dim=1)
    return float(100 * (found[has] / right[has].sum(dim=1)).mean())


def precision(scores: Tensor, right: Tensor, k: int) -> float:
    """Wrong: how many of the first k answers are right."""
    found, has = places(scores, right)[:, :k].sum(dim=1), right.any(dim=1)
    return float(100 * (found[has] / k).double().mean())


def by_columns(scores: Tensor, right: Tensor, k: int) -> float:
    """Wrong: the columns ask."""
    return judged_recall(scores.T, right.T, k)


# b, t and s are what is better, tied, and right and equal to the best right one, (Q,).
WRONG_JUDGED: list[Mistake] = [
    *mistakes(
        {"hit": DRAWN, "best": BEST, "wrong": BEST, "judged": NO_ANSWER},
        judged={
            "queries without a right answer count as misses": (
                lambda hits, right: hits.where(right.any(dim=1), 0)
            ),
            "queries without a right answer count as hits": (
                lambda hits, right: hits.where(right.any(dim=1), 1)
            ),
            "the hits are added over the queries that have a right answer, and divided by the "
            "number of right answers": lambda hits, right: (
                hits[right.any(dim=1)] * right.any(dim=1).sum() / right.sum()
            ),
            "only queries with a single right answer are counted: one or more is what they need": (
                lambda hits, right: hits[right.sum(dim=1) == 1]
            ),
            "queries with several right answers weigh more: each query counts once": (
                lambda hits, right: hits.repeat_interleave(right.sum(dim=1))
            ),
        },
        hit={
            "ties count as found": lambda b, t, s, k: b < k,
            "ties count as misses": lambda b, t, s, k: b + t < k,
            "ties count as misses, those between right answers too": lambda b, t, s, k: (
                b + t + s - 1 < k
            ),
            "the expected rank is compared with k, and the threshold of an expectation is not "
            "the expectation of the threshold": lambda b, t, s, k: b + t / 2 < k,
            "one right answer alone is taken to be among those that tie, (k - better) / (tied + "
            "1), where several can be": one_equal,
            "the expected number of right ones among the m is taken, which is not the probability "
            "that there is one": lambda b, t, s, k: ((k - b) * s / (t + s)).clamp(0, 1),
            "the m are drawn with replacement, (tied / (tied + equal)) ** m": replaced,
            "the first place alone is shared among the ties, equal / (tied + equal)": (
                lambda b, t, s, k: (b < k) * s / (t + s)
            ),
            "the probability that all m are wrong is averaged: the hit is 1 minus that": (
                lambda b, t, s, k: 1 - drawn_hit(b, t, s, k)
            ),
            "tied and equal are exchanged": lambda b, t, s, k: drawn_hit(b, s, t, k),
            "where k - better is more than tied and equal together, a miss is counted: then all of "
            "them are within the first k": lambda b, t, s, k: drawn_hit(b, t, s, k).where(
                k - b <= t + s, 0
            ),
            "m is one too many": lambda b, t, s, k: drawn_hit(b, t, s, k + 1),
            "m is one too few": lambda b, t, s, k: drawn_hit(b, t, s, k - 1),
            "what is better is not taken off: m is k": lambda b, t, s, k: drawn_hit(0 * b, t, s, k),
            **{
                f"k is fixed in the code (as {fixed}): take the argument": (
                    lambda b, t, s, k, fixed=fixed: drawn_hit(b, t, s, fixed)
                )
                for fixed in (1, 5, 10)
            },
        },
        best={
            "a query's first right answer is taken": lambda s, right: s.gather(
                1, right.int().argmax(1, keepdim=True)
            )[:, 0],
            "the mean of a query's right answers is taken": (
                lambda s, right: (s * right).sum(1) / right.sum(1).clamp(min=1)
            ),
            "what is not right is set to 0 before the maximum, and 0 can be above the right ones: "
            "set it to -inf": lambda s, right: s.masked_fill(~right, 0).amax(1),
            "what is not right is set to -1 before the maximum, and scores can be below -1: set "
            "it to -inf": lambda s, right: s.masked_fill(~right, -1).amax(1),
        },
        wrong={
            "right answers are counted among the tied": torch.ones_like,
        },
        equals={
            "all right answers of a query are counted as tied with its best, equal or not: only "
            "those with the best one's score are among the drawn": (
                lambda scores, right, best: right.sum(1).clamp(min=1)
            ),
        },
        several={
            "the lower score is taken for the better one": {
                "better": torch.lt,
                "best": lambda s, right: s.masked_fill(~right, math.inf).amin(1),
            },
        },
        share={
            "a share from 0 to 1 is returned: percent are wanted, 100 times that": torch.mean,
            "the hits are added up: divide by the number of queries, and multiply by 100": (
                torch.sum
            ),
            "the hits are added up and not divided by the number of queries": (
                lambda hits: 100 * hits.sum()
            ),
            "the percentage is rounded to one digit: return it as it is": (
                lambda hits: (100 * hits.mean()).round(decimals=1)
            ),
            "the percentage is rounded: return it as it is": (
                lambda hits: (100 * hits.mean()).round()
            ),
        },
    ),
    Mistake(
        "ties are left in the order in which they stand (sort, topk): that is chance, so count "
        "what is better and what ties",
        sorted_recall,
    ),
    Mistake(
        "two things: ties are left in the order in which they stand (sort, topk), which is chance; "
        "and queries without a right answer count as misses",
        lambda scores, right, k: float(100 * places(scores, right)[:, :k].any(1).double().mean()),
    ),
    Mistake(
        "the wrong answers are taken for the right ones: `right` is True where an answer is right",
        lambda scores, right, k: judged_recall(scores, ~right, k),
    ),
    Mistake(
        "the share of its right answers that a query finds is averaged: one is enough for a hit",
        found_share,
    ),
    Mistake(
        "the share of right ones among the first k answers is averaged (precision): one is enough "
        "for a hit",
        precision,
    ),
    Mistake("all right answers have to be found: one is enough for a hit", all_right),
    Mistake("the columns ask: a query is a row of scores, along dim=1", by_columns),
]
