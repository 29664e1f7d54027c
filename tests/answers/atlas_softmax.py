"""Answers to task 1 of exercise 14, a soft maximum of hinges."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from answers.atlas_shared import both, off, wrongs
from answers.shared import cos, eye, own, unit

SET = (0.2, 0.05)


def plain(way: Tensor, m: float, t: float) -> Tensor:
    x = ((way - own(way) + m) / t).masked_fill(eye(way), 0)
    return t * x.logsumexp(dim=1)


def with_column(way: Tensor, m: float, t: float) -> Tensor:
    """The 1 as a column of zeros beside the negatives."""
    x = ((way - own(way) + m) / t).masked_fill(eye(way), -math.inf)
    return t * torch.cat([torch.zeros_like(x[:, :1]), x], dim=1).logsumexp(dim=1)


def softplus_of_sum(way: Tensor, m: float, t: float) -> Tensor:
    x = (way - own(way) + m).masked_fill(eye(way), float("-inf")) / t
    return t * F.softplus(x.logsumexp(dim=1)) if len(way) > 1 else 0 * way[:, 0]


def cross_entropy(way: Tensor, m: float, t: float) -> Tensor:
    """AM-Softmax: the margin is taken off the positive's logit."""
    logits = (way - m * torch.eye(len(way), dtype=way.dtype, device=way.device)) / t
    return t * F.cross_entropy(logits, torch.arange(len(way), device=way.device), reduction="none")


def in_loops(image_emb, text_emb, margin=0.2, temperature=0.05):
    s, total = cos(image_emb, text_emb), 0.0
    for way in (s, s.T):
        for b in range(len(s)):
            terms = [0 * way[b, b]]
            terms += [
                (way[b, k] - way[b, b] + margin) / temperature for k in range(len(s)) if k != b
            ]
            total = total + temperature * torch.stack(terms).logsumexp(0)
    return total / len(s)


def stacked(image_emb, text_emb, margin=0.2, temperature=0.05):
    s = torch.einsum("id,td->it", unit(image_emb), unit(text_emb))
    ways = torch.stack((s, s.mT))
    lead = ways - ways.diagonal(dim1=1, dim2=2).unsqueeze(-1)
    lead = lead + margin * (1 - torch.eye(len(s)).to(s))
    return temperature * (lead / temperature).logsumexp(-1).sum() / s.shape[0]


RIGHT = [
    both(plain, *SET),
    both(with_column, *SET),
    both(softplus_of_sum, *SET),
    both(cross_entropy, *SET),
    in_loops,
    stacked,
]


# ---------------------------------------------------------------------------------------------
# Wrong answers, each beside a word of the message that refuses it


def naive(way, m, t):
    return t * off(((way - own(way) + m) / t).exp()).sum(1).log1p()


def no_one(way, m, t):
    return t * ((way - own(way) + m) / t).masked_fill(eye(way), -math.inf).logsumexp(1)


def diagonal_kept(way, m, t):
    return t * ((way - own(way) + m) / t).logsumexp(1)


def diagonal_kept_and_one(way, m, t):
    x = (way - own(way) + m) / t
    return t * torch.cat([x, 0 * x[:, :1]], dim=1).logsumexp(1)


def one_twice(way, m, t):
    x = ((way - own(way) + m) / t).masked_fill(eye(way), 0)
    return t * torch.cat([x, 0 * x[:, :1]], dim=1).logsumexp(1)


def set_to_one(way, m, t):
    return t * ((way - own(way) + m) / t).masked_fill(eye(way), 1).logsumexp(1)


def by_value(way, m, t):
    x = (way - own(way) + m) / t
    return t * x.masked_fill(way == own(way), 0).logsumexp(1)


def wrong_axis(way, m, t):
    x = (way - own(way).T + m) / t
    return t * x.masked_fill(eye(way), 0).logsumexp(1)


def of_each(way, m, t):
    return t * off(F.softplus((way - own(way) + m) / t)).sum(1)


def hinges(way, m, t):
    return t * ((way - own(way) + m).relu() / t).masked_fill(eye(way), 0).logsumexp(1)


def shared_positive(image_emb, text_emb, margin=0.2, temperature=0.05):
    """The columns of the images' leads, with the images' positives."""
    s = cos(image_emb, text_emb)
    x = ((s - own(s) + margin) / temperature).masked_fill(eye(s), 0)
    return temperature * (x.logsumexp(1) + x.logsumexp(0)).mean()


def at_the_margin(way, m, t):
    """The margin outside of the logarithm."""
    return plain(way, 0.0, t) + m


def max_triplet(way, m, t):
    return off((m - own(way) + way).relu()).amax(1)


def info_nce(way, m, t):
    return -(way / t).log_softmax(1).diagonal()


def rights_with(margin: float, temperature: float):
    return lambda i, t, m=margin, tau=temperature: both(plain)(i, t, m, tau)


WRONG = {
    **wrongs(plain, *SET),
    "naive exponentials": ("low temperature", both(naive, *SET)),
    "the 1 is missing": ("the 1 in the logarithm is missing", both(no_one, *SET)),
    "diagonal kept": ("negative of itself", both(diagonal_kept, *SET)),
    "diagonal kept, and 1": ("negative of itself", both(diagonal_kept_and_one, *SET)),
    "1 twice": ("twice", both(one_twice, *SET)),
    "diagonal set to 1": ("exp(1)", both(set_to_one, *SET)),
    "by value": ("by its place", both(by_value, *SET)),
    "wrong axis": ("axis", both(wrong_axis, *SET)),
    "log of each": ("each negative's term apart", both(of_each, *SET)),
    "hinges first": ("no hinge", both(hinges, *SET)),
    "columns of the leads": ("begin anew", shared_positive),
    "margin outside": ("outside the logarithm", both(at_the_margin, *SET)),
    "the maximum": ("largest exponent alone", both(max_triplet, *SET)),
    "InfoNCE": ("margin", both(info_nce, *SET)),
    "no factor": ("factor t", both(lambda w, m, t: plain(w, m, t) / t, *SET)),
    "divided by t": (
        "divided by the temperature",
        both(lambda w, m, t: plain(w, m, t) / t**2, *SET),
    ),
    "sign": ("wrong sign", both(lambda w, m, t: -plain(w, m, t), *SET)),
    "margin subtracted": ("wrong sign", both(lambda w, m, t: plain(w, -m, t), *SET)),
    "no margin": ("margin is missing", both(lambda w, m, t: plain(w, 0.0, t), *SET)),
    "margin fixed": ("0.2", lambda i, t, m=0.2, tau=0.05: both(plain)(i, t, 0.2, tau)),
    "temperature fixed": ("0.05", lambda i, t, m=0.2, tau=0.05: both(plain)(i, t, m, 0.05)),
    "cut off at 0": (
        "cut off at 0",
        both(lambda w, m, t: no_one(w, m, t).relu(), *SET),
    ),
    "settings swapped": (
        "are swapped",
        lambda i, t, m=0.2, tau=0.05: both(plain)(i, t, tau, m),
    ),
    "no brackets": (
        "brackets are missing",
        both(lambda w, m, t: t * off(w - own(w) + m / t).logsumexp(1), *SET),
    ),
    "margin after": (
        "after the division",
        both(lambda w, m, t: t * ((w - own(w)) / t + m).masked_fill(eye(w), 0).logsumexp(1), *SET),
    ),
    "times the temperature": (
        "multiplied by the temperature",
        both(lambda w, m, t: t * (off(w - own(w) + m) * t).logsumexp(1), *SET),
    ),
    "swapped": ("swapped", both(lambda w, m, t: t * (off(own(w) - w + m) / t).logsumexp(1), *SET)),
    "no log": ("log is missing", both(lambda w, m, t: t * (plain(w, m, t) / t).exp(), *SET)),
    "mean of exponentials": (
        "mean of the exponentials",
        both(lambda w, m, t: plain(w, m, t) - t * math.log(len(w)), *SET),
    ),
    "another margin by default": ("default", rights_with(0.1, 0.05)),
    "another temperature by default": ("default", rights_with(0.2, 0.07)),
    "positive detached": (
        "positives are detached",
        both(
            lambda w, m, t: t * ((w - own(w).detach() + m) / t).masked_fill(eye(w), 0).logsumexp(1),
            *SET,
        ),
    ),
    "one pair refused": (
        "one pair",
        lambda i, t, m=0.2, tau=0.05: both(no_single)(i, t, m, tau),
    ),
}


def no_single(way, m, t):
    if len(way) < 2:
        raise ValueError("a batch of one pair has no negatives")
    return plain(way, m, t)
