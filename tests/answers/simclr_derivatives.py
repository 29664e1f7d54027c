"""Answers to tasks 4 and 5 of exercise 05: weights and the temperature's gradient, by formula."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from answers.shared import eye, forgets_return


def softmax(s: Tensor, tau: float) -> Tensor:
    """(B, B): of each row's negatives."""
    return (s / tau).masked_fill(eye(s), -math.inf).softmax(dim=1)


def right(similarity, temperature):
    s = similarity.detach()
    return torch.stack([softmax(s, temperature), softmax(s.T, temperature)])


def by_hand(similarity, temperature):
    out = []
    with torch.no_grad():
        for s in (similarity, similarity.T):
            x = s / temperature
            x = x.masked_fill(eye(x), float("-inf"))
            e = (x - x.max(dim=1, keepdim=True).values).exp()
            out.append(e / e.sum(1, keepdim=True))
    return torch.stack(out)


def entry_by_entry(similarity, temperature):
    s = similarity.detach()
    out = s.new_zeros(2, len(s), len(s))
    for d, rows in enumerate((s, s.T)):
        for b in range(len(s)):
            others = [k for k in range(len(s)) if k != b]
            out[d, b, others] = (rows[b, others] / temperature).softmax(0)
    return out


@torch.no_grad()
def by_columns(similarity, temperature):
    x = similarity / temperature + torch.diag(similarity.new_full((len(similarity),), -torch.inf))
    return torch.stack([torch.softmax(x, 1), torch.softmax(x, 0).T])


def as_differences(similarity, temperature):
    """1 / sum of exp(s_j - s_k): no softmax at all."""
    s = torch.stack([similarity, similarity.T]).detach() / temperature
    keep = ~eye(similarity)
    gaps = (s[:, :, None, :] - s[:, :, :, None]).masked_fill(~keep[:, None, :], -math.inf)
    return (1 / gaps.exp().sum(3)).where(keep, 0)


def autograd(similarity, temperature):
    out = []
    for s in (similarity, similarity.T):
        leaf = s.detach().clone().requires_grad_()
        (leaf / temperature).masked_fill(eye(leaf), -math.inf).logsumexp(1).sum().backward()
        out.append(leaf.grad * temperature)
    return torch.stack(out)


def changed(similarity, temperature):
    similarity.fill_diagonal_(-math.inf)
    return torch.stack([(s / temperature).softmax(1) for s in (similarity, similarity.T)])


def exponentials(similarity, temperature):
    e = torch.stack([similarity, similarity.T]).detach().div(temperature).exp() * ~eye(similarity)
    return e / e.sum(2, keepdim=True)


def after(what: Callable) -> Callable:
    """A wrong answer made of the right one."""
    return lambda s, t: what(right(s, t), s.detach(), t)


RIGHT_WEIGHTS = [right, by_hand, entry_by_entry, by_columns, as_differences]
WRONG_WEIGHTS = {
    "one direction": ("one direction", lambda s, t: softmax(s.detach(), t)),
    "rows twice": ("those of the images", lambda s, t: right(s, t)[[0, 0]]),
    "transposed back": ("is transposed", after(lambda w, s, t: torch.stack([w[0], w[1].T]))),
    "first transposed": ("[0] transposed", after(lambda w, s, t: torch.stack([w[0], w[0].T]))),
    "swapped": ("swapped", lambda s, t: right(s, t).flip(0)),
    "diagonal kept": (
        "positive is no negative",
        lambda s, t: torch.stack([(r / t).softmax(1) for r in (s.detach(), s.detach().T)]),
    ),
    "diagonal zeroed afterwards": (
        "only after the softmax",
        lambda s, t: torch.stack(
            [(r / t).softmax(1).masked_fill(eye(r), 0) for r in (s.detach(), s.detach().T)]
        ),
    ),
    "diagonal zeroed before": (
        "exp(0) = 1",
        lambda s, t: torch.stack(
            [(r / t).masked_fill(eye(r), 0).softmax(1) for r in (s.detach(), s.detach().T)]
        ),
    ),
    "over the columns": (
        "wrong axis",
        lambda s, t: torch.stack(
            [(r / t).masked_fill(eye(r), -math.inf).softmax(0) for r in (s.detach(), s.detach().T)]
        ),
    ),
    "no temperature": ("temperature is not used", lambda s, t: right(s, 1.0)),
    "fixed temperature": ("fixed in the code", lambda s, t: right(s, 0.07)),
    "times the temperature": ("multiplied by the temperature", lambda s, t: right(s, 1 / t)),
    "minus": ("minus", lambda s, t: right(-s, t)),
    "the gradient": ("not its shares", after(lambda w, s, t: w / t / len(s))),
    "by the temperature": ("not its shares", after(lambda w, s, t: w / t)),
    "by B": ("divided by b", after(lambda w, s, t: w / len(s))),
    "overflow": ("overflows", exponentials),
    "one-hot": (
        "hardest negative gets all",
        after(lambda w, s, t: torch.nn.functional.one_hot(w.argmax(2), len(s)).to(w.dtype)),
    ),
    "hardest": (
        "hardest negatives share all",
        after(
            lambda w, s, t: (
                (w == w.amax(2, keepdim=True)).to(w.dtype)
                / (w == w.amax(2, keepdim=True)).sum(2, keepdim=True)
            )
        ),
    ),
    "even": (
        "get the same",
        after(lambda w, s, t: (~eye(s)).to(w.dtype).expand_as(w) / (len(s) - 1)),
    ),
    "exponentials": (
        "not divided",
        after(lambda w, s, t: torch.stack([s, s.T]).div(t).masked_fill(eye(s), -math.inf).exp()),
    ),
    "by the largest": (
        "divided by the largest",
        after(lambda w, s, t: w / w.amax(2, keepdim=True)),
    ),
    "whole matrix": (
        "whole matrix",
        lambda s, t: torch.stack(
            [
                (r / t).masked_fill(eye(r), -math.inf).flatten().softmax(0).view_as(r)
                for r in (s.detach(), s.detach().T)
            ]
        ),
    ),
    "logarithms": ("log", after(lambda w, s, t: w.log())),
    "mean of both": ("averaged", after(lambda w, s, t: w.mean(0, keepdim=True).expand_as(w))),
    "autograd": ("autograd", autograd),
    "in place": ("in place", changed),
    "carries gradient": (
        "detach",
        lambda s, t: torch.stack([softmax(s, t), softmax(s.T, t)]),
    ),
    "on the CPU": (
        "gpu",
        lambda s, t: right(s, t) * (1 - torch.eye(len(s), dtype=s.dtype)),
    ),
    "first five": ("shape", lambda s, t: right(s, t)[:, :5, :5]),
    "float32": ("dtype", lambda s, t: right(s.float(), t)),
    "no return": ("nothing is returned", lambda s, t: forgets_return(s)),
}


# ---------------------------------------------------------------------------------------------
# Task 5


def by_weights(similarity, temperature):
    s = similarity.detach()
    w = right(s, temperature)
    both = torch.stack([s, s.T])
    return (2 * s.diagonal() - (w * both).sum((0, 2))).mean() / temperature**2


def one_after_another(similarity, temperature):
    total = 0
    with torch.no_grad():
        for rows in (similarity, similarity.T):
            for b, row in enumerate(rows):
                others = torch.cat([row[:b], row[b + 1 :]])
                total = total + row[b] - (others / temperature).softmax(0) @ others
    return total / len(similarity) / temperature**2


def by_inverse(similarity, temperature):
    """By beta = 1 / temperature first, then the chain rule."""
    s, beta = similarity.detach(), 1 / temperature
    by_beta = sum(
        (torch.einsum("bk,bk->b", softmax(way, temperature), way) - way.diagonal()).mean()
        for way in (s, s.T)
    )
    return -(beta**2) * by_beta


def by_trace(similarity, temperature):
    s = similarity.detach()
    w = by_columns(s, temperature)
    pulled = 2 * torch.trace(s) - torch.trace(w[0] @ s.T) - torch.trace(w[1] @ s)
    return pulled / (len(s) * temperature * temperature)


def centred(similarity, temperature):
    """The mean lead of the positive, by weights of differences."""
    out = []
    for s in (similarity.detach(), similarity.detach().T):
        lead = s.diagonal()[:, None] - s
        out.append((softmax(s, temperature) * lead).sum(1))
    return (out[0] + out[1]).mean() / temperature**2


def loss(similarity: Tensor, tau) -> Tensor:
    x = torch.stack([similarity, similarity.T]) / tau
    return (
        (x.masked_fill(eye(similarity), -math.inf).logsumexp(2) - x.diagonal(dim1=1, dim2=2))
        .sum(0)
        .mean()
    )


def differentiated(similarity, temperature):
    tau = torch.tensor(temperature, dtype=similarity.dtype, requires_grad=True)
    return torch.autograd.grad(loss(similarity.detach(), tau), tau)[0]


def numeric(similarity, temperature, step=1e-4):
    s = similarity.detach()
    return (loss(s, temperature + step) - loss(s, temperature - step)) / (2 * step)


def with_parts(
    weights: Callable = right,
    gap: Callable = lambda own, others: own - others,
    factor: Callable = lambda t: 1 / t**2,
    join: Callable = lambda i, t: (i + t).mean(),
) -> Callable:
    """The student's function in parts, of which one is wrong."""

    def gradient(similarity, temperature):
        s = similarity.detach()
        both, w = torch.stack([s, s.T]), weights(s, temperature)
        gaps = gap(both.diagonal(dim1=1, dim2=2), (w * both).sum(2))
        return factor(temperature) * join(*gaps)

    return gradient


def with_positive(s: Tensor, t: float) -> Tensor:
    return (torch.stack([s, s.T]) / t).softmax(2)


RIGHT_TEMPERATURE = [by_weights, one_after_another, by_inverse, by_trace, centred, with_parts()]
WRONG_TEMPERATURE = {
    "sign": ("sign is wrong", with_parts(gap=lambda own, others: others - own)),
    "no factor": ("1 / t^2 is missing", with_parts(factor=lambda t: 1)),
    "1 / t": ("factor is 1 / t:", with_parts(factor=lambda t: 1 / t)),
    "1 / t^3": ("1 / t^3", with_parts(factor=lambda t: 1 / t**3)),
    "by the inverse": ("by 1 / t is given", with_parts(factor=lambda t: -1)),
    "positive missing": ("positive's part is missing", with_parts(gap=lambda own, o: -o)),
    "negatives missing": ("negatives' part is missing", with_parts(gap=lambda own, o: own)),
    "InfoNCE": ("infonce", with_parts(with_positive)),
    "zeroed afterwards": (
        "only after the softmax",
        with_parts(lambda s, t: with_positive(s, t).masked_fill(eye(s), 0)),
    ),
    "even weights": (
        "weigh alike",
        with_parts(lambda s, t: (~eye(s)).to(s.dtype).expand(2, -1, -1) / (len(s) - 1)),
    ),
    "softmax without temperature": (
        "without the temperature",
        with_parts(lambda s, t: right(s, 1.0)),
    ),
    "hardest only": (
        "hardest negative is taken alone",
        lambda s, t: (
            (
                2 * s.detach().diagonal()
                - s.detach().masked_fill(eye(s), -2).amax(1)
                - s.detach().masked_fill(eye(s), -2).amax(0)
            ).mean()
            / t**2
        ),
    ),
    "images only": ("one direction only", with_parts(join=lambda i, t: i.mean())),
    "texts only": ("one direction only", with_parts(join=lambda i, t: t.mean())),
    "mean of both": ("half of it", with_parts(join=lambda i, t: (i + t).mean() / 2)),
    "sum over the batch": ("sum over the batch", with_parts(join=lambda i, t: (i + t).sum())),
    "overflow": ("overflows", with_parts(exponentials)),
    "weights not of the texts": ("[0] again", with_parts(lambda s, t: right(s, t)[[0, 0]])),
    "texts' weights transposed": (
        "transposed",
        with_parts(lambda s, t: torch.stack([right(s, t)[0], right(s, t)[1].T])),
    ),
    "similarities not transposed": (
        "similarities that it is multiplied with",
        lambda s, t: (
            (2 * s.detach().diagonal() - (right(s, t) * s.detach()).sum((0, 2))).mean() / t**2
        ),
    ),
    "log-sum-exp over t": ("chain rule", lambda s, t: by_product_rule(s.detach(), t)),
    "the loss": ("loss itself", lambda s, t: loss(s.detach(), t)),
    "autograd": ("autograd", differentiated),
    "finite differences": ("difference quotient", numeric),
    "two pairs fixed": ("size is fixed", lambda s, t: by_weights(s, t) * len(s) / 5),
    "per pair": (
        "one number per pair",
        with_parts(join=lambda i, t: i + t),
    ),
    "a number": ("python number", lambda s, t: float(by_weights(s, t))),
    "carries gradient": (
        "detach",
        lambda s, t: (
            (2 * s.diagonal() - (softmax(s, t) * s).sum(1) - (softmax(s.T, t) * s.T).sum(1)).mean()
            / t**2
        ),
    ),
    "float32": ("dtype", lambda s, t: by_weights(s.float(), t)),
    "log of t": ("1 / t:", with_parts(factor=lambda t: 1 / t)),
    "no return": ("nothing is returned", lambda s, t: forgets_return(s)),
}


def by_product_rule(s: Tensor, t: float) -> Tensor:
    sums = sum((w / t).masked_fill(eye(w), -math.inf).logsumexp(1) for w in (s, s.T))
    return (2 * s.diagonal() / t - sums).mean() / t
