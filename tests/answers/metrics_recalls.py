"""Answers to tasks 2 and 3 of exercise 08: recall at K and the median rank."""

import math

import numpy as np
import torch

# ---------------------------------------------------------------------------------------------
# Task 2, right


def hits_of(better, tied, k):
    return ((k - better) / (tied + 1)).clamp(0, 1)


def recall_in_a_loop(better, tied, k):
    total = 0.0
    for b, t in zip(better.tolist(), tied.tolist(), strict=True):
        total += min(1, max(0, (k - b) / (t + 1)))
    return 100 * total / len(better)


def recall_by_where(better, tied, k):
    places = (k - better).double()
    some = torch.where(places <= 0, 0, places / (tied + 1))
    return 100 * torch.where(places > tied, 1, some).mean()


def recall_of_all_places(better, tied, k):
    """Every place counted, as the lesson draws them."""
    total = 0.0
    for b, t in zip(better, tied, strict=True):
        places = torch.arange(int(b) + 1, int(b + t) + 2)
        total += (places <= k).double().mean().item()
    return torch.tensor(100 * total / len(better))


def recall_by_combinations(better, tied, k):
    """The hypergeometric formula with one right answer."""
    hits = []
    for b, t in zip(better.tolist(), tied.tolist(), strict=True):
        m = min(max(k - b, 0), t + 1)
        hits.append(1 - math.comb(t, m) / math.comb(t + 1, m))
    return 100 * np.mean(hits)


RIGHT_RECALL = [
    lambda b, t, k: 100 * hits_of(b, t, k).mean().item(),
    recall_in_a_loop,
    recall_by_where,
    recall_of_all_places,
    recall_by_combinations,
]

# ---------------------------------------------------------------------------------------------
# Task 2, wrong


def mean_of(hit):
    return lambda b, t, k: 100 * hit(b, t, k).double().mean().item()


def from_hits(change):
    return lambda b, t, k: change(hits_of(b, t, k)).item()


def python_min(better, tied, k):
    return 100 * min(1, max(0, (k - better) / (tied + 1))).mean()


def in_place(better, tied, k):
    better.mul_(-1).add_(k)
    return 100 * (better / (tied + 1)).clamp(0, 1).mean().item()


def recall_by_first_ones(better, tied, k):
    """Only the first K queries."""
    return 100 * hits_of(better[:k], tied[:k], k).mean().item()


WRONG_RECALL = {
    "expected rank of k": ("may be k itself", mean_of(lambda b, t, k: b + t / 2 <= k)),
    "no brackets": ("brackets are missing", mean_of(lambda b, t, k: (k - b / (t + 1)).clamp(0, 1))),
    "no brackets below": (
        "brackets are missing",
        mean_of(lambda b, t, k: ((k - b) / t + 1).clamp(0, 1)),
    ),
    "one digit": ("one digit", from_hits(lambda h: 100 * h.mean().round(decimals=3))),
    "ties are found": ("ties count as found", mean_of(lambda b, t, k: b < k)),
    "ties are missed": ("ties count as misses", mean_of(lambda b, t, k: b + t < k)),
    "expected rank": ("threshold of an expectation", mean_of(lambda b, t, k: b + t / 2 < k)),
    "expected rank from 1": (
        "threshold of an expectation",
        mean_of(lambda b, t, k: 1 + b + t / 2 <= k),
    ),
    "first place": ("first place alone", mean_of(lambda b, t, k: (b < k) / (t + 1))),
    "one place more": (
        "place k + 1 counts",
        mean_of(lambda b, t, k: ((k + 1 - b) / (t + 1)).clamp(0, 1)),
    ),
    "one place less": (
        "place k is left out",
        mean_of(lambda b, t, k: ((k - b - 1) / (t + 1)).clamp(0, 1)),
    ),
    "at most k better": ("wrong", mean_of(lambda b, t, k: b <= k)),
    "over the tied": (
        "right answer itself is one more",
        mean_of(lambda b, t, k: ((k - b) / t.clamp(min=1)).clamp(0, 1)),
    ),
    "over 0": ("NaN", mean_of(lambda b, t, k: ((k - b) / t).clamp(0, 1))),
    "not below 1": (
        "more than 1",
        mean_of(lambda b, t, k: ((k - b) / (t + 1)).clamp(min=0)),
    ),
    "not above 0": (
        "less than 0",
        mean_of(lambda b, t, k: ((k - b) / (t + 1)).clamp(max=1)),
    ),
    "not clamped": ("neither kept above 0", mean_of(lambda b, t, k: (k - b) / (t + 1))),
    "floor": ("//", mean_of(lambda b, t, k: ((k - b) // (t + 1)).clamp(0, 1))),
    "rounded hits": ("hits are rounded", from_hits(lambda h: 100 * h.round().mean())),
    "exchanged": ("exchanged", mean_of(lambda b, t, k: hits_of(t, b, k))),
    "reciprocal": ("MRR", mean_of(lambda b, t, k: 1 / (b + t / 2 + 1))),
    "without ties": ("without ties", mean_of(lambda b, t, k: hits_of(b, t, k)[t == 0])),
    "a half": (
        "one half",
        mean_of(lambda b, t, k: ((b < k).double() + (b + t < k)) / 2),
    ),
    "always at 1": ("as 1", mean_of(lambda b, t, k: hits_of(b, t, 1))),
    "always at 5": ("as 5", mean_of(lambda b, t, k: hits_of(b, t, 5))),
    "always at 10": ("as 10", mean_of(lambda b, t, k: hits_of(b, t, 10))),
    "share": ("percent are wanted", from_hits(torch.mean)),
    "count": ("hits are added up", from_hits(torch.sum)),
    "sum of percents": ("not divided", from_hits(lambda h: 100 * h.sum())),
    "rounded": ("rounded", from_hits(lambda h: (100 * h.mean()).round())),
    "whole": ("whole number", from_hits(lambda h: (100 * h.mean()).floor())),
    "misses": ("misses", from_hits(lambda h: 100 * (1 - h).mean())),
    "median": ("median", from_hits(lambda h: 100 * h.median())),
    "hits": ("one number is wanted", hits_of),
    "min of tensors": ("use clamp", python_min),
    "in place": ("in place", in_place),
    "first queries": ("wrong", recall_by_first_ones),
    "no return": ("nothing is returned", lambda b, t, k: None),
    "text": ("should be", lambda b, t, k: f"{recall_in_a_loop(b, t, k):.1f} %"),
    "two numbers": ("should be", lambda b, t, k: (recall_in_a_loop(b, t, k), k)),
}

# ---------------------------------------------------------------------------------------------
# Task 3, right


def median_by_sorting(ranks):
    ordered = sorted(ranks.tolist())
    half = len(ordered) // 2
    middle = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    return int(middle) + 1


def median_both_ways(ranks):
    """torch.median gives the lower middle; mirrored it gives the upper one."""
    return math.floor((ranks.median() - (-ranks).median()) / 2) + 1


def median_by_topk(ranks):
    ordered = ranks.topk(len(ranks) // 2 + 1, largest=False).values
    middle = ordered[-1] if len(ranks) % 2 else ordered[-2:].mean()
    return (middle + 1).floor().item()


RIGHT_MEDIAN = [
    lambda ranks: ranks.quantile(0.5).floor().item() + 1,
    median_by_sorting,
    median_both_ways,
    median_by_topk,
    lambda ranks: torch.quantile(ranks + 1, 0.5).long(),
]

# ---------------------------------------------------------------------------------------------
# Task 3, wrong


def reported(middle):
    return lambda ranks: middle(ranks).floor().item() + 1


def half(ranks):
    return ranks.quantile(0.5)


def sorted_in_place(ranks):
    ranks.copy_(ranks.sort().values)
    return half(ranks).floor().item() + 1


def index_of_the_middle(ranks):
    return ranks.argsort()[len(ranks) // 2].item() + 1


def fixed_size(ranks):
    return ranks.sort().values[2].floor().item() + 1


def counts_below(ranks):
    """The first rank that half of the queries reach."""
    for rank in range(int(ranks.max()) + 1):
        if (ranks <= rank).sum() >= len(ranks) / 2:
            return rank + 1
    return int(ranks.max()) + 1


WRONG_MEDIAN = {
    "numpy": ("gpu", lambda ranks: math.floor(np.median(ranks.detach().cpu())) + 1),
    "torch.median": ("lower of the two", reported(torch.median)),
    "upper": ("upper of the two", reported(lambda r: r.sort().values[len(r) // 2])),
    "mean": ("the mean is taken", reported(torch.mean)),
    "not sorted": ("not sorted", reported(lambda r: r[(len(r) - 1) // 2 : len(r) // 2 + 1].mean())),
    "mode": ("most frequent", reported(lambda r: r.mode().values)),
    "range": ("middle of the least", reported(lambda r: (r.min() + r.max()) / 2)),
    "whole ranks": ("rounded down before", reported(lambda r: half(r.floor()))),
    "int ranks": ("rounded down before", lambda r: int(half(r.long().double())) + 1),
    "raised ranks": ("rounded up before", reported(lambda r: half(r.ceil()))),
    "quartile": ("quartile", reported(lambda r: r.quantile(0.25))),
    "upper quartile": ("upper quartile", reported(lambda r: r.quantile(0.75))),
    "unique": ("distinct", reported(lambda r: half(r.unique()))),
    "without the worst": (
        "largest rank is left out",
        reported(lambda r: half(r.sort().values[:-1])),
    ),
    "from 0": ("counted from 0", lambda r: half(r).floor().item()),
    "with halves": ("not rounded down", lambda r: half(r).item() + 1),
    "as it is": ("neither rounded", lambda r: half(r).item()),
    "ceil": ("rounded up without", lambda r: half(r).ceil().item()),
    "ceil and 1": ("rounded up", lambda r: half(r).ceil().item() + 1),
    "round": ("to the nearest", lambda r: round(half(r).item()) + 1),
    "twice 1": ("added twice", lambda r: half(r + 1).floor().item() + 1),
    "minus 1": ("taken off", lambda r: half(r).floor().item() - 1),
    "torch.median from 0": ("reported from 0", lambda r: r.median().floor().item()),
    "reached by half": ("two things", counts_below),
    "in place": ("in place", sorted_in_place),
    "argsort": ("wrong", index_of_the_middle),
    "third": ("out of bounds", fixed_size),
    "no return": ("nothing is returned", lambda r: None),
    "gradient": (".item()", lambda r: half(r) - half(r).frac().detach() + 1),
    "a list": ("should be", lambda r: [half(r).floor().item() + 1]),
    "both": ("should be", lambda r: (half(r).floor().item() + 1, r.mean().item())),
}
