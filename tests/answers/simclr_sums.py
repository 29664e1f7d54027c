"""Answers to task 1 of exercise 05, the log-sum-exp."""

import math

import torch
import torch.nn.functional as F


def careful(x, dim):
    largest = x.amax(dim=dim, keepdim=True).detach()
    largest = largest.masked_fill(largest.isinf(), 0)
    total = (x - largest).exp().sum(dim=dim)
    empty = total == 0
    return total.masked_fill(empty, 1).log().masked_fill(empty, -math.inf) + largest.squeeze(dim)


def by_where(x, dim):
    largest, _ = x.max(dim)
    shift = torch.where(largest.abs() == math.inf, torch.zeros_like(largest), largest)
    total = torch.exp(x - shift.unsqueeze(dim)).sum(dim)
    nothing = total == 0
    log = torch.log(torch.where(nothing, torch.ones_like(total), total))
    return torch.where(nothing, torch.full_like(log, -math.inf), log) + shift


def one_by_one(x, dim):
    """log(e^a + e^b) = max + log1p(e^-|a - b|), folded along the dimension."""
    total, *rest = x.unbind(dim)
    for term in rest:
        high, low = torch.maximum(total, term), torch.minimum(total, term)
        trivial = low.isinf() | high.isinf()
        gap = (low - high).masked_fill(trivial, 0)
        total = torch.where(trivial, high, high + torch.log1p(gap.exp()))
    return total


def moved_first(x, dim):
    x = x.movedim(dim, 0)
    shift = x.detach().max(dim=0).values.nan_to_num(posinf=0, neginf=0)
    total = sum(term.exp() for term in (x - shift))
    some = total > 0
    return torch.where(some, torch.where(some, total, 1).log() + shift, -math.inf)


def by_softmax(x, dim):
    """exp(max) / sum is the softmax's largest entry, so the log of the sum is max - log of it."""
    largest = x.amax(dim=dim)
    ordinary = ~largest.isinf()
    inner = x.where(ordinary.unsqueeze(dim), 0)
    value = inner.amax(dim=dim) - inner.softmax(dim=dim).amax(dim=dim).log()
    return torch.where(ordinary, value, largest)


RIGHT = [careful, by_where, one_by_one, moved_first, by_softmax]


def naive(x, dim):
    return x.exp().sum(dim=dim).log()


def simple(x, dim):
    largest = x.amax(dim=dim, keepdim=True)
    return (x - largest).exp().sum(dim=dim).log() + largest.squeeze(dim)


def no_gradient_care(x, dim):
    largest = x.amax(dim=dim, keepdim=True)
    largest = torch.where(largest.isfinite(), largest, 0.0)
    return (x - largest).exp().sum(dim=dim).log() + largest.squeeze(dim)


def only_minus_infinity(x, dim):
    largest = x.amax(dim=dim, keepdim=True).detach()
    largest = torch.where(largest == -math.inf, torch.zeros_like(largest), largest)
    total = (x - largest).exp().sum(dim=dim)
    empty = total == 0
    return total.masked_fill(empty, 1).log().masked_fill(empty, -math.inf) + largest.squeeze(dim)


def one_maximum(x, dim):
    return (x - x.max()).exp().sum(dim=dim).log() + x.max()


def keeps_the_axis(x, dim):
    return careful(x, dim).unsqueeze(dim)


def last_axis(x, dim):
    return careful(x, -1)


def rows_only(x, dim):
    return careful(x, 1 if x.ndim > 1 else 0)


def not_added_again(x, dim):
    largest = x.amax(dim=dim, keepdim=True).detach()
    largest = largest.masked_fill(largest.isinf(), 0)
    return careful(x - largest, dim)


def added_twice(x, dim):
    largest = x.amax(dim=dim, keepdim=True).detach()
    return careful(x, dim) + largest.masked_fill(largest.isinf(), 0).squeeze(dim)


def wrong_axis_added(x, dim):
    largest = x.amax(dim=dim, keepdim=True)
    return (x - largest).exp().sum(dim=dim).log() + largest


def epsilon(x, dim):
    largest = x.amax(dim=dim, keepdim=True).detach()
    largest = largest.masked_fill(largest.isinf(), 0)
    return ((x - largest).exp().sum(dim=dim) + 1e-6).log() + largest.squeeze(dim)


def replaced(x, dim):
    return naive(x, dim).nan_to_num()


def clamped(x, dim):
    return x.clamp(-80, 80).exp().sum(dim=dim).log()


def half_detached(x, dim):
    largest = x.amax(dim=dim, keepdim=True)
    largest = largest.masked_fill(largest.isinf(), 0)
    total = (x - largest.detach()).exp().sum(dim=dim)
    empty = total == 0
    log = total.masked_fill(empty, 1).log().masked_fill(empty, -math.inf)
    return log + largest.squeeze(dim)


def filled_in_place(x, dim):
    x[x == -math.inf] = -1e4
    return careful(x, dim)


def low_instead(x, dim):
    return careful(x.clamp(min=-1e4), dim)


def in_float32(x, dim):
    return careful(x.float(), dim)


def with_numpy(x, dim):
    import numpy as np

    return torch.from_numpy(np.logaddexp.reduce(x.detach().numpy(), axis=dim))


def mean_of_exponentials(x, dim):
    return careful(x, dim) - math.log(x.shape[dim])


def by_smallest(x, dim):
    smallest = x.amin(dim=dim, keepdim=True)
    return (x - smallest).exp().sum(dim=dim).log() + smallest.squeeze(dim)


def by_log_softmax(x, dim):
    largest = x.amax(dim=dim)
    ordinary = ~largest.isinf()
    inner = x.where(ordinary.unsqueeze(dim), 0)
    value = inner.amax(dim=dim) - inner.log_softmax(dim=dim).amax(dim=dim)
    return torch.where(ordinary, value, largest)


def squeezed(x, dim):
    largest = x.detach().amax(dim=dim, keepdim=True)
    largest = largest.masked_fill(largest.isinf(), 0)
    total = (x - largest).exp().sum(dim=dim, keepdim=True)
    empty = total == 0
    log = total.masked_fill(empty, 1).log().masked_fill(empty, -math.inf)
    return (log + largest).squeeze()


def by_special(x, dim):
    largest = x.amax(dim=dim)
    ordinary = ~largest.isinf()
    inner = x.where(ordinary.unsqueeze(dim), 0)
    return torch.where(ordinary, torch.special.logsumexp(inner, dim), largest)


def tiny_instead(x, dim):
    largest = x.amax(dim=dim, keepdim=True).detach()
    largest = largest.masked_fill(largest.isinf(), 0)
    total = (x - largest).exp().sum(dim=dim).clamp(min=torch.finfo(x.dtype).tiny)
    return total.log() + largest.squeeze(dim)


def largest_by_size(x, dim):
    largest = x.detach().abs().amax(dim=dim, keepdim=True)
    largest = largest.masked_fill(largest.isinf(), 0)
    total = (x - largest).exp().sum(dim=dim)
    empty = total == 0
    log = total.masked_fill(empty, 1).log().masked_fill(empty, -math.inf)
    return log + largest.squeeze(dim)


WRONG = {
    "squeezes all": ("squeeze", squeezed),
    "special": ("ready", by_special),
    "tiny in place of 0": ("row of -inf alone", tiny_instead),
    "largest absolute value": ("low entries", largest_by_size),
    "naive": ("subtract each row's largest", naive),
    "row of -inf is NaN": ("row of -inf alone", simple),
    "gradient of an empty row": ("gradient of nan", no_gradient_care),
    "+inf is NaN": ("+inf", only_minus_infinity),
    "one maximum for all": ("largest entry of the whole tensor", one_maximum),
    "keepdim kept": ("shape", keeps_the_axis),
    "always the last axis": ("last dimension", last_axis),
    "always axis 1": ("dim", rows_only),
    "maximum not added": ("not added again", not_added_again),
    "maximum added twice": ("log", added_twice),
    "broadcast": ("shape", wrong_axis_added),
    "epsilon": ("-13.8155", epsilon),
    "NaN replaced": ("overflows", replaced),
    "clamped": ("large entries", clamped),
    "half detached": ("gradient", half_detached),
    "in place": ("in place", filled_in_place),
    "a low number for -inf": ("own largest entry", low_instead),
    "float32": ("dtype", in_float32),
    "numpy": ("numpy", with_numpy),
    "mean": ("mean", mean_of_exponentials),
    "smallest subtracted": ("smallest", by_smallest),
    "maximum only": ("largest is taken", lambda x, dim: x.amax(dim=dim)),
    "softplus of the maximum": (
        "wrong",
        lambda x, dim: F.softplus(x.amax(dim=dim)),
    ),
    "no log": ("log is missing", lambda x, dim: careful(x, dim).exp()),
    "log10": ("log10", lambda x, dim: careful(x, dim) / math.log(10)),
    "ready-made": ("ready", torch.logsumexp),
    "method": ("ready", lambda x, dim: x.logsumexp(dim)),
    "by log_softmax": ("ready", by_log_softmax),
    "sum of logs": ("logarithms are summed", lambda x, dim: x.sum(dim=dim)),
    "forgets return": ("nothing is returned", lambda x, dim: None),
}
