"""Answers to task 2 of exercise 14, the k largest hinges."""

import math

import torch
from torch import Tensor

from answers.atlas_shared import both, off, wrongs
from answers.shared import cos, eye, own

SET = (8, 0.2)


def hinge(way: Tensor, m: float) -> Tensor:
    return off((m - own(way) + way).relu())


def plain(way: Tensor, k: int, m: float) -> Tensor:
    return hinge(way, m).topk(min(k, len(way)), dim=1).values.sum(dim=1)


def by_sort(way: Tensor, k: int, m: float) -> Tensor:
    return hinge(way, m).sort(dim=1, descending=True).values[:, :k].sum(dim=1)


def hardest_first(way: Tensor, k: int, m: float) -> Tensor:
    """The k most similar negatives, then their hinges."""
    others = way.masked_fill(eye(way), -math.inf)
    hard = others.topk(min(k, len(way) - 1), dim=1).values
    return (m - own(way) + hard).relu().sum(dim=1)


def by_rank(way: Tensor, k: int, m: float) -> Tensor:
    """A mask of places in the order of hinges."""
    h = hinge(way, m)
    places = h.argsort(dim=1, descending=True).argsort(dim=1)
    return (h * (places < k)).sum(dim=1)


def shared_places(way: Tensor, k: int, m: float) -> Tensor:
    """As in the library: those that tie share the last places."""
    h = hinge(way, m)
    k = min(k, h.shape[1])
    last = h.detach().topk(k, dim=1).values[:, -1:]
    above, tied = (h > last).to(h.dtype), (h == last).to(h.dtype)
    left = k - above.sum(dim=1, keepdim=True)
    return (h * (above + tied * left / tied.sum(dim=1, keepdim=True))).sum(dim=1)


def in_loops(image_emb, text_emb, k=8, margin=0.2):
    s, total = cos(image_emb, text_emb), 0 * image_emb.sum()
    for way in (s, s.T):
        for b in range(len(s)):
            costs = [(margin - way[b, b] + way[b, j]).relu() for j in range(len(s)) if j != b]
            if costs:
                row = torch.stack(costs)
                total = total + row[row.argsort(descending=True)[:k]].sum()
    return total / len(s)


RIGHT = [
    both(plain, *SET),
    both(by_sort, *SET),
    both(hardest_first, *SET),
    both(by_rank, *SET),
    both(shared_places, *SET),
    in_loops,
]


# ---------------------------------------------------------------------------------------------
# Wrong answers, each beside a word of the message that refuses it


def kept(way, k, m):
    return (m - own(way) + way).relu().topk(min(k, len(way)), dim=1).values.sum(1)


def no_clamp(way, k, m):
    gap = (m - own(way) + way).masked_fill(eye(way), -math.inf)
    return gap.topk(min(k, len(way) - 1), dim=1).values.sum(1)


def no_clamp_but_zero(way, k, m):
    return off(m - own(way) + way).topk(min(k, len(way)), dim=1).values.sum(1)


def hinge_of_sum(way, k, m):
    return no_clamp(way, k, m).relu()


def no_limit(way, k, m):
    return hinge(way, m).topk(k, dim=1).values.sum(1)


def wrong_axis(way, k, m):
    return hinge(way, m).topk(min(k, len(way)), dim=0).values.sum(0)


def whole_matrix(way, k, m):
    flat = hinge(way, m).flatten()
    return flat.topk(min(k, len(flat))).values.sum()[None] / len(way)


def own_takes_a_place(way, k, m):
    """The row is sorted with the positive in it, which is mostly the most similar."""
    places = way.masked_fill(eye(way), math.inf).topk(min(k, len(way)), dim=1).indices
    return hinge(way, m).gather(1, places).sum(1)


def easiest(way, k, m):
    h = (m - own(way) + way).relu().masked_fill(eye(way), math.inf)
    return h.topk(min(k, len(way) - 1), dim=1, largest=False).values.sum(1)


def by_value(way, k, m):
    h = (m - own(way) + way).relu().masked_fill(way == own(way), 0)
    return h.topk(min(k, len(way)), dim=1).values.sum(1)


def above_only(way, k, m):
    return (hinge(way, m) * (way > own(way))).topk(min(k, len(way)), dim=1).values.sum(1)


def semi_hard(way, k, m):
    return (hinge(way, m) * (way < own(way))).topk(min(k, len(way)), dim=1).values.sum(1)


def of_similarities(way, k, m):
    """The hinge of the k similarities' mean."""
    hard = way.masked_fill(eye(way), -math.inf).topk(min(k, len(way) - 1), dim=1).values
    return (m - own(way)[:, 0] + hard.mean(1)).relu()


def together(i, t, k=8, m=0.2):
    both_hinges = torch.cat([hinge(cos(i, t), m), hinge(cos(t, i), m)], dim=1)
    return both_hinges.topk(min(k, 2 * len(i)), dim=1).values.sum(1).mean()


def most(k_used):
    return both(lambda w, k, m: plain(w, max(k_used(k, w), 1), m), *SET)


def with_defaults(first, second):
    return lambda i, t, k=first, m=second: both(plain)(i, t, k, m)


def summed(i, t, k=8, m=0.2):
    return len(i) * both(plain)(i, t, k, m)


WRONG = {
    **wrongs(plain, *SET),
    "sum over the batch": ("number of pairs", summed),
    "diagonal kept": ("diagonal is not left out", both(kept, *SET)),
    "no clamp": ("clamp is missing", both(no_clamp, *SET)),
    "no clamp, diagonal 0": ("clamp is missing", both(no_clamp_but_zero, *SET)),
    "hinge of the sum": ("hinge of its own", both(hinge_of_sum, *SET)),
    "the first dropped": (
        "is dropped as if",
        both(
            lambda w, k, m: (
                (m - own(w) + w).relu().sort(dim=1, descending=True).values[:, 1 : k + 1].sum(1)
            ),
            *SET,
        ),
    ),
    "sorted upwards": (
        "sorted upwards",
        both(lambda w, k, m: hinge(w, m).sort(dim=1).values[:, :k].sum(1), *SET),
    ),
    "both directions' k": ("each direction has its own", together),
    "no limit": ("larger than the number", both(no_limit, *SET)),
    "wrong axis": ("axis", both(wrong_axis, *SET)),
    "whole matrix": ("whole matrix", both(whole_matrix, *SET)),
    "the positive takes a place": ("take one of the k places", both(own_takes_a_place, *SET)),
    "easiest": ("smallest", both(easiest, *SET)),
    "by value": ("by its place", both(by_value, *SET)),
    "above only": ("above the positive", both(above_only, *SET)),
    "semi-hard": ("semi-hard", both(semi_hard, *SET)),
    "hinge of the mean": ("wrong", both(of_similarities, *SET)),
    "mean": (
        "mean of the k largest",
        both(lambda w, k, m: plain(w, k, m) / min(k, len(w)), *SET),
    ),
    "by k": ("divided by k", both(lambda w, k, m: plain(w, k, m) / k, *SET)),
    "k-th alone": (
        "k-th largest",
        both(lambda w, k, m: hinge(w, m).topk(min(k, len(w)), dim=1).values[:, -1], *SET),
    ),
    "maximum": ("largest alone", both(lambda w, k, m: hinge(w, m).amax(1), *SET)),
    "sum": ("all hinges are added", both(lambda w, k, m: hinge(w, m).sum(1), *SET)),
    "k fixed": ("k is fixed", most(lambda k, w: 8)),
    "k + 1": ("k + 1", most(lambda k, w: k + 1)),
    "k - 1": ("k - 1", both(lambda w, k, m: by_sort(w, k - 1, m), *SET)),
    "first k": ("first k", both(lambda w, k, m: hinge(w, m)[:, :k].sum(1), *SET)),
    "too strict a limit": ("b - 2", both(lambda w, k, m: by_sort(w, min(k, len(w) - 2), m), *SET)),
    "indices": (
        "places are added",
        both(
            lambda w, k, m: (
                hinge(w, m).topk(min(k, len(w)), dim=1).indices.sum(1).to(w.dtype)
                + 0 * hinge(w, m).sum(1)
            ),
            *SET,
        ),
    ),
    "a tuple": (
        "values",
        both(lambda w, k, m: hinge(w, m).topk(min(k, len(w)), dim=1).sum(1), *SET),
    ),
    "margin fixed": ("0.2", lambda i, t, k=8, m=0.2: both(plain)(i, t, k, 0.2)),
    "no margin": ("margin is missing", both(lambda w, k, m: plain(w, k, 0.0), *SET)),
    "margin's sign": ("wrong sign", both(lambda w, k, m: plain(w, k, -m), *SET)),
    "another k by default": ("default", with_defaults(5, 0.2)),
    "another margin by default": ("default", with_defaults(8, 0.1)),
    "swapped": (
        "swapped",
        both(lambda w, k, m: off((m + own(w) - w).relu()).topk(min(k, len(w))).values.sum(1), *SET),
    ),
    "squared": (
        "squared",
        both(lambda w, k, m: hinge(w, m).square().topk(min(k, len(w))).values.sum(1), *SET),
    ),
}
