"""Recall at K with ties at their expectation, and the median rank."""

from __future__ import annotations

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

EXPECTED = (
    "of the tied + 1 places from better + 1 on, each as likely as the others, k - better are among "
    "the first k (at least 0, at most all of them)"
)


def expected_hit(better: Tensor, tied: Tensor, k: int) -> Tensor:
    """(Q,) the probability that the right answer is among the first k."""
    return ((k - better).double() / (tied + 1)).clamp(0, 1)


def recall_at_k(
    better: Tensor,
    tied: Tensor,
    k: int,
    *,
    hit: Formula = expected_hit,
    share: Formula = lambda hits: 100 * hits.mean(),
) -> float:
    """The expected share of queries whose right answer is among the first k, in percent."""
    return float(share(hit(better, tied, k).double()))


# b and t are what is better and tied, (Q,), hits (Q,) the probabilities.
WRONG_RECALLS = mistakes(
    {"hit": EXPECTED},
    hit={
        "ties count as found, so a model that gives everything the same score would get 100": (
            lambda b, t, k: b < k
        ),
        "ties count as misses, as when a hit is rounded down (// is an example)": lambda b, t, k: (
            b + t < k
        ),
        "the expected rank is compared with k, and the threshold of an expectation is not the "
        "expectation of the threshold": lambda b, t, k: b + t / 2 < k,
        "the expected rank, counted from 0, may be k itself, and the threshold of an expectation "
        "is not the expectation of the threshold": lambda b, t, k: b + t / 2 <= k,
        "brackets are missing: k - better / (tied + 1) divides first, (k - better) / (tied + 1) is "
        "wanted": lambda b, t, k: (k - b / (t + 1)).clamp(0, 1),
        "brackets are missing: (k - better) / tied + 1 adds last, (k - better) / (tied + 1) is "
        "wanted": lambda b, t, k: ((k - b) / t + 1).clamp(0, 1),
        "the first place alone is shared among the ties, and not the k - better places in reach": (
            lambda b, t, k: (b < k) / (t + 1)
        ),
        "place k + 1 counts, too: ranks count from 0 here, so there are k - better places": (
            lambda b, t, k: expected_hit(b, t, k + 1)
        ),
        "place k is left out: ranks count from 0 here, so there are k - better places": (
            lambda b, t, k: expected_hit(b, t, k - 1)
        ),
        "b places are taken off twice": lambda b, t, k: expected_hit(2 * b, t, k),
        "divided by the number of the tied, and the right answer itself is one more": (
            lambda b, t, k: ((k - b) / t.clamp(min=1)).clamp(0, 1)
        ),
        "divided by tied, which may be 0: 0 / 0 is NaN, and the right answer itself is one more": (
            lambda b, t, k: ((k - b) / t).clamp(0, 1)
        ),
        "divided by tied + 2, though only the right answer itself is added": (
            lambda b, t, k: ((k - b) / (t + 2)).clamp(0, 1)
        ),
        "a hit can be more than 1: where more places are in reach than the tied + 1, it is sure": (
            lambda b, t, k: ((k - b) / (t + 1)).clamp(min=0)
        ),
        "a hit can be less than 0: where k or more are better, it is impossible": (
            lambda b, t, k: ((k - b) / (t + 1)).clamp(max=1)
        ),
        "a hit is neither kept above 0 nor below 1: it is a probability": (
            lambda b, t, k: (k - b) / (t + 1)
        ),
        "the expected rank, counted from 1, is compared with k (or the hits are rounded, which "
        "comes to the same), and the threshold of an expectation is not the expectation of the "
        "threshold": lambda b, t, k: b + t / 2 + 1 <= k,
        "the numbers of better and tied are exchanged": lambda b, t, k: expected_hit(t, b, k),
        "the reciprocal of the rank is averaged (MRR)": lambda b, t, k: 1 / (b + t / 2 + 1),
        "only queries without ties are counted": (lambda b, t, k: expected_hit(b, t, k)[t == 0]),
        "the whole of the ties is drawn at once: a tie counts one half, however many tie": (
            lambda b, t, k: ((b < k).double() + (b + t < k).double()) / 2
        ),
        **{
            f"k is fixed in the code (as {fixed}): take the argument": (
                lambda b, t, k, fixed=fixed: expected_hit(b, t, fixed)
            )
            for fixed in (1, 5, 10)
        },
    },
    share={
        "a share from 0 to 1 is returned: percent are wanted, 100 times that": torch.mean,
        "the hits are added up: divide by the number of queries, and multiply by 100": torch.sum,
        "the hits are added up and not divided by the number of queries": (
            lambda hits: 100 * hits.sum()
        ),
        "the percentage is rounded: return it as it is": lambda hits: (100 * hits.mean()).round(),
        "the percentage is rounded to one digit: return it as it is": (
            lambda hits: (100 * hits.mean()).round(decimals=1)
        ),
        "the percentage is cut to a whole number: return it as it is": (
            lambda hits: (100 * hits.mean()).floor()
        ),
        "these are misses, the share of wrong answers: 100 - recall": (
            lambda hits: 100 - 100 * hits.mean()
        ),
        "the median of the hits is taken: their mean is wanted": lambda hits: 100 * hits.median(),
    },
)

# ---------------------------------------------------------------------------------------------
# The median

MIDDLE = (
    "with an even number of queries the median is the mean of the two middle ranks, and "
    "torch.median returns the lower one"
)


def half_way(ranks: Tensor) -> Tensor:
    """The middle rank, or the mean of the two middle ones."""
    ordered = ranks.sort().values
    return (ordered[(len(ranks) - 1) // 2] + ordered[len(ranks) // 2]) / 2


def median_rank(
    ranks: Tensor,
    *,
    middle: Formula = half_way,
    reported: Formula = lambda middle: middle.floor() + 1,
) -> float:
    """The median of ranks from 0, rounded down, plus 1."""
    return float(reported(middle(ranks)))


def upper(ranks: Tensor) -> Tensor:
    """A wrong `middle`: the upper one of two."""
    return ranks.sort().values[len(ranks) // 2]


def unsorted(ranks: Tensor) -> Tensor:
    """A wrong `middle`: the ranks in the middle of the list."""
    return (ranks[(len(ranks) - 1) // 2] + ranks[len(ranks) // 2]) / 2


# ranks are (Q,), from 0; m is the median.
WRONG_MEDIANS: list[Mistake] = mistakes(
    {
        "middle": "sort, and take the middle; of an even number the mean of the two middle ones",
        "reported": "round the median down, then add 1, for ranks count from 0 inside and from 1 "
        "in a report",
    },
    middle={
        f"the lower of the two middle ranks is taken: {MIDDLE}": lambda r: r.median(),
        "the upper of the two middle ranks is taken": upper,
        "the mean is taken": lambda r: r.mean(),
        "the ranks are not sorted": unsorted,
        "the most frequent rank is taken": lambda r: r.mode().values,
        "the middle of the least and the largest rank is taken": lambda r: (
            (r.amin() + r.amax()) / 2
        ),
        "each rank is rounded down before the median is taken": lambda r: half_way(r.floor()),
        "each rank is rounded up before the median is taken": lambda r: half_way(r.ceil()),
        "the largest rank is left out": lambda r: half_way(r.sort().values[: max(1, len(r) - 1)]),
        "the quartile is taken: the half is 0.5": lambda r: r.quantile(0.25),
        "the upper quartile is taken: the half is 0.5": lambda r: r.quantile(0.75),
        "ranks are made distinct first (set, unique), and how often each occurs is lost": (
            lambda r: half_way(r.unique())
        ),
    },
    reported={
        "the median is returned as counted from 0": lambda m: m.floor(),
        "the median is not rounded down": lambda m: m + 1,
        "the median is neither rounded down nor reported from 1": lambda m: m,
        "the median is rounded up": lambda m: m.ceil() + 1,
        "the median is rounded to the nearest": lambda m: m.round() + 1,
        "rounded up without adding 1, which is the same only where the median is no whole number": (
            lambda m: m.ceil()
        ),
        "1 is added twice": lambda m: m.floor() + 2,
        "1 is taken off": lambda m: m.floor() - 1,
    },
    several={
        "the lower of the two middle ranks is taken, and reported from 0: sort, take the mean of "
        "the two middle ones, round down, add 1": {
            "middle": lambda r: r.median(),
            "reported": lambda m: m.floor(),
        },
    },
)
