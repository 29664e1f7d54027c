"""Answers to task 4 of exercise 14, the rank made smooth."""

import torch
from torch import Tensor

from answers.atlas_shared import both, off, wrongs
from answers.shared import cos, eye, own


def above(way: Tensor, t: float) -> Tensor:
    return off(((way - own(way)) / t).sigmoid())


def plain(way: Tensor, t: float) -> Tensor:
    return 1 - 1 / (1 + above(way, t).sum(dim=1))


def half_off(way: Tensor, t: float) -> Tensor:
    """The diagonal's sigmoid(0) = 0.5 made up for."""
    return 1 - 1 / (0.5 + ((way - own(way)) / t).sigmoid().sum(dim=1))


def as_quotient(way: Tensor, t: float) -> Tensor:
    count = above(way, t).sum(dim=1)
    return count / (1 + count)


def by_tanh(way: Tensor, t: float) -> Tensor:
    """sigmoid(x) = (1 + tanh(x / 2)) / 2."""
    count = off((1 + torch.tanh((way - own(way)) / (2 * t))) / 2)
    return 1 - (1 + count.sum(dim=1)).reciprocal()


def masked_with_infinity(way: Tensor, t: float) -> Tensor:
    x = ((way - own(way)) / t).masked_fill(eye(way), -torch.inf)
    return 1 - 1 / (1 + torch.sigmoid(x).sum(dim=1))


def in_loops(image_emb, text_emb, temperature=0.01):
    s, total = cos(image_emb, text_emb), 0.0
    for way in (s, s.T):
        for b in range(len(s)):
            rank = 1 + 0 * way[b, b]
            for k in range(len(s)):
                if k != b:
                    rank = rank + torch.sigmoid((way[b, k] - way[b, b]) / temperature)
            total = total + 1 - 1 / rank
    return total / len(s)


RIGHT = [
    both(plain, 0.01),
    both(half_off, 0.01),
    both(as_quotient, 0.01),
    both(by_tanh, 0.01),
    both(masked_with_infinity, 0.01),
    in_loops,
]


# ---------------------------------------------------------------------------------------------
# Wrong answers, each beside a word of the message that refuses it


def naive(way, t):
    count = off(1 / (1 + ((own(way) - way) / t).exp())).sum(1)
    return 1 - 1 / (1 + count)


def compared(way, t):
    return 1 - 1 / (1 + off((way > own(way)).to(way.dtype)).sum(1) + 0 * way.sum(1))


def kept(way, t):
    return 1 - 1 / (1 + ((way - own(way)) / t).sigmoid().sum(1))


def kept_for_one(way, t):
    return 1 - 1 / ((way - own(way)) / t).sigmoid().sum(1)


def diagonal_zero_first(way, t):
    return 1 - 1 / (1 + (off(way - own(way)) / t).sigmoid().sum(1))


def by_value(way, t):
    a = ((way - own(way)) / t).sigmoid().masked_fill(way == own(way), 0)
    return 1 - 1 / (1 + a.sum(1))


def mean_rank(way, t):
    return 1 - 1 / (1 + above(way, t).sum(1)).mean()[None]


def tanh(way, t):
    return 1 - 1 / (1 + off(((way - own(way)) / t).tanh()).sum(1))


def columns(i, t, temperature=0.01):
    """The columns of the images' leads, with the images' positives."""
    a = above(cos(i, t), temperature)
    return (2 - 1 / (1 + a.sum(1)) - 1 / (1 + a.sum(0))).mean()


def changed(change):
    """A wrong answer made of the count of those above; change(count)."""
    return both(lambda w, t: change(above(w, t).sum(1)), 0.01)


def leads(change):
    """A wrong answer with another lead; change(way, positive, t)."""
    return both(lambda w, t: 1 - 1 / (1 + off(change(w, own(w), t).sigmoid()).sum(1)), 0.01)


WRONG = {
    **wrongs(plain, 0.01),
    "naive sigmoid": ("low temperature", both(naive, 0.01)),
    "compared": ("comparison", both(compared, 0.01)),
    "diagonal kept": ("above itself", both(kept, 0.01)),
    "diagonal kept for the 1": ("stands for the 1", both(kept_for_one, 0.01)),
    "diagonal 0 before the sigmoid": ("above itself", both(diagonal_zero_first, 0.01)),
    "by value": ("by its place", both(by_value, 0.01)),
    "mean rank": ("mean rank", both(mean_rank, 0.01)),
    "tanh": ("tanh", both(tanh, 0.01)),
    "no 1": ("the 1 in the rank", changed(lambda c: 1 - 1 / c)),
    "precision": ("average precision itself", changed(lambda c: 1 / (1 + c))),
    "minus the precision": ("minus the average precision", changed(lambda c: -1 / (1 + c))),
    "rank": ("rank itself", changed(lambda c: 1 + c)),
    "count": ("rank less 1", changed(lambda c: c)),
    "log of the rank": ("logarithm of the rank", changed(lambda c: c.log1p())),
    "mean of sigmoids": (
        "mean of the sigmoids",
        both(lambda w, t: 1 - 1 / (1 + above(w, t).sum(1) / max(len(w) - 1, 1)), 0.01),
    ),
    "swapped": ("swapped", leads(lambda w, p, t: (p - w) / t)),
    "no positive": ("positive is missing", leads(lambda w, p, t: w / t)),
    "wrong axis": ("axis", leads(lambda w, p, t: (w - p.T) / t)),
    "not divided": ("nothing is divided", leads(lambda w, p, t: w - p)),
    "multiplied": ("multiplied by the temperature", leads(lambda w, p, t: (w - p) * t)),
    "sigmoid divided": (
        "sigmoid itself is divided",
        both(
            lambda w, t: 1 - 1 / (1 + (off((w - own(w)).sigmoid()) / t).sum(1)),
            0.01,
        ),
    ),
    "temperature fixed": ("0.01", leads(lambda w, p, t: (w - p) / 0.01)),
    "columns of the leads": ("begin anew", columns),
    "no brackets": ("brackets are missing", leads(lambda w, p, t: w - p / t)),
    "only the negative divided": ("only the negative", leads(lambda w, p, t: w / t - p)),
    "another default": ("default", lambda i, t, tau=0.1: both(plain)(i, t, tau)),
    "softmax": (
        "softmax",
        both(lambda w, t: 1 - 1 / (1 + off((w / t).softmax(1)).sum(1)), 0.01),
    ),
    "positive detached": (
        "positives are detached",
        leads(lambda w, p, t: (w - p.detach()) / t),
    ),
    "one pair refused": ("one pair", both(lambda w, t: no_single(w, t), 0.01)),
}


def no_single(way, t):
    if len(way) < 2:
        raise ValueError("no negatives")
    return plain(way, t)
