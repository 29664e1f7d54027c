"""Answers to task 3 of exercise 14, a logistic regression on every pair."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from answers.atlas_shared import both, off, wrongs
from answers.shared import cos, eye


def plain(way: Tensor, scale, bias) -> Tensor:
    x = scale * way + bias
    return F.softplus(-x.diagonal()) + off(F.softplus(x)).sum(dim=1)


def by_signs(way: Tensor, scale, bias) -> Tensor:
    """As the paper's code: labels of -1 and 1, log-sigmoid."""
    x = scale * way + bias
    labels = 2 * torch.eye(len(x), device=x.device, dtype=x.dtype) - torch.ones_like(x)
    return -F.logsigmoid(labels * x).sum(dim=-1)


def cross_entropy(way: Tensor, scale, bias) -> Tensor:
    x = scale * way + bias
    right = torch.eye(len(x), dtype=x.dtype, device=x.device)
    return F.binary_cross_entropy_with_logits(x, right, reduction="none").sum(dim=1)


def one_matrix(image_emb, text_emb, scale, bias):
    """Both directions have the same terms."""
    x = cos(image_emb, text_emb) * scale + bias
    return 2 * (F.softplus(x).sum() - x.diagonal().sum()) / len(x)  # softplus(-x) = softplus(x) - x


def rows_twice(image_emb, text_emb, scale, bias):
    return 2 * plain(cos(image_emb, text_emb), scale, bias).mean()


def by_logaddexp(way: Tensor, scale, bias) -> Tensor:
    x = scale * way + bias
    x = torch.where(eye(x), -x, x)
    return torch.logaddexp(x, torch.zeros_like(x)).sum(dim=1)


def by_parts(way: Tensor, scale, bias) -> Tensor:
    """As torch computes it; at a logit of exactly 0 its gradient is 0."""
    x = torch.where(eye(way), -scale * way - bias, scale * way + bias)
    return (x.relu() + (-x.abs()).exp().log1p()).sum(dim=1)


RIGHT = [
    both(by_parts),
    rows_twice,
    both(plain),
    both(by_signs),
    both(cross_entropy),
    one_matrix,
    both(by_logaddexp),
]


# ---------------------------------------------------------------------------------------------
# Wrong answers, each beside a word of the message that refuses it


def naive(way, scale, bias):
    x = scale * way + bias
    return (1 + torch.where(eye(x), -x, x).exp()).log().sum(1)


def log_of_sigmoid(way, scale, bias):
    x = scale * way + bias
    return -torch.where(eye(x), x.sigmoid(), 1 - x.sigmoid()).log().sum(1)


def positive_as_wrong_too(way, scale, bias):
    x = scale * way + bias
    return F.softplus(-x.diagonal()) + F.softplus(x).sum(1)


def all_wrong(way, scale, bias):
    return F.softplus(scale * way + bias).sum(1)


def labels_of_zero(way, scale, bias):
    x = scale * way + bias
    return -F.logsigmoid(x * torch.eye(len(x), dtype=x.dtype, device=x.device)).sum(1)


def softmax(way, scale, bias):
    return -(scale * way + bias).log_softmax(1).diagonal()


def mean_of_pairs(way, scale, bias):
    return cross_entropy(way, scale, bias) / len(way)


def of_floats(way, scale, bias):
    return plain(way, float(scale), float(bias))


def new_tensors(way, scale, bias):
    return plain(way, torch.tensor(float(scale)).to(way), torch.tensor(float(bias)).to(way))


def balanced(way, scale, bias):
    x = scale * way + bias
    negatives = off(F.softplus(x)).sum(1) / max(len(x) - 1, 1)
    return F.softplus(-x.diagonal()) + negatives


def hinge(way, scale, bias):
    x = scale * way + bias
    return torch.where(eye(x), -x, x).relu().sum(1)


def logits(change):
    """A wrong answer with other logits; change(s, scale, bias)."""
    return both(lambda w, a, b: plain(change(w, a, b), 1.0, 0.0))


WRONG = {
    **{name: one for name, one in wrongs(plain).items() if name != "rows twice"},
    # Seen from either side the terms are the same, so these words differ here.
    "images only": ("in one direction only", both(plain, join=lambda i, t: i.mean())),
    "texts only": ("in one direction only", both(plain, join=lambda i, t: t.mean())),
    "by the matrix": ("mean over the row", both(plain, join=lambda i, t: (i + t).mean() / len(i))),
    "one direction detached": (
        "one of the two directions",
        both(plain, join=lambda i, t: (i + t.detach()).mean()),
    ),
    "half": ("twice", lambda i, t, a, b: both(plain)(i, t, a, b) / 2),
    "naive exponentials": ("large logits", both(naive)),
    "log of a sigmoid": ("large logits", both(log_of_sigmoid)),
    "positive among the wrong": ("among the wrong pairs", both(positive_as_wrong_too)),
    "all wrong": ("all pairs are treated as wrong", both(all_wrong)),
    "labels 0 and 1": ("log 2", both(labels_of_zero)),
    "softmax": ("softmax is taken over the row", both(softmax)),
    "mean over pairs": ("mean over the row", both(mean_of_pairs)),
    "balanced": ("negatives' mean", both(balanced)),
    "hinge": ("a hinge is taken", both(hinge)),
    "floats": ("scale", both(of_floats)),
    "new tensors": ("scale", both(new_tensors)),
    "bias subtracted": ("bias has the wrong sign", logits(lambda s, a, b: a * s - b)),
    "no bias": ("bias is missing", logits(lambda s, a, b: a * s)),
    "sign before the bias": (
        "before the bias is added",
        both(lambda w, a, b: F.softplus((1 - 2 * torch.eye(len(w)).to(w)) * a * w - b).sum(1)),
    ),
    "an epsilon": (
        "within the logarithm",
        both(
            lambda w, a, b: (
                -(torch.where(eye(w), a * w + b, -a * w - b).sigmoid() + 1e-6).log().sum(1)
            )
        ),
    ),
    "no scale": ("scale is missing", logits(lambda s, a, b: s + b)),
    "a temperature": ("scale divides", logits(lambda s, a, b: s / a + b)),
    "scaled bias": ("multiplied by the scale", logits(lambda s, a, b: a * (s + b))),
    "scale fixed": ("10", logits(lambda s, a, b: 10 * s + b)),
    "swapped settings": ("swapped", logits(lambda s, a, b: b * s + a)),
    "exp of the scale": (
        "exponential of the scale",
        logits(lambda s, a, b: math.exp(a) * s + b),
    ),
    "signs round": (
        "signs are turned round",
        both(lambda w, a, b: plain(-w, a, -b)),
    ),
    "log-sigmoid's sign": ("below 0", both(lambda w, a, b: -plain(w, a, b))),
    "probability": (
        "probability is taken",
        both(lambda w, a, b: torch.where(eye(w), -(a * w + b), a * w + b).sigmoid().sum(1)),
    ),
    "positives left out": (
        "positives are left out",
        both(lambda w, a, b: off(F.softplus(a * w + b)).sum(1)),
    ),
    "negatives left out": (
        "negatives are left out",
        both(lambda w, a, b: F.softplus(-(a * w + b).diagonal())),
    ),
    "one pair refused": ("one pair", both(lambda w, a, b: no_single(w, a, b))),
    "negatives detached": (
        "negatives are detached",
        both(lambda w, a, b: plain(torch.where(eye(w), w, w.detach()), a, b)),
    ),
}


def no_single(way, scale, bias):
    if len(way) < 2:
        raise ValueError("no negatives")
    return plain(way, scale, bias)
