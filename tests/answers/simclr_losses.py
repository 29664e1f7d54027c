"""Answers to tasks 2 and 3 of exercise 05, the losses without and with the positive in the sum."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from answers.shared import cos, eye, forgets_return, own, unit
from answers.simclr_sums import careful


def plain(x: Tensor, keep: bool) -> Tensor:
    """One direction: (B, B) logits, queries as rows -> (B,) costs."""
    return careful(x if keep else x.masked_fill(eye(x), -math.inf), 1) - x.diagonal()


def skeleton(
    keep: bool,
    cost: Callable = plain,
    join: Callable = lambda i, t, tau: (i + t).mean(),
    logits: Callable = lambda i, t, tau: cos(i, t) / tau,
    refuse: bool = True,
) -> Callable:
    """The loss of a student: `cost` of each direction, `join` of both."""

    def loss(image_emb, text_emb, temperature=0.07):
        if refuse and not keep and len(image_emb) < 2:
            raise ValueError("at least two pairs are needed")
        x = logits(image_emb, text_emb, temperature)
        return join(cost(x, keep), cost(x.T, keep), temperature)

    return loss


def in_loops(keep: bool) -> Callable:
    def loss(image_emb, text_emb, temperature=0.07):
        if not keep and len(image_emb) == 1:
            raise ValueError("one pair has no negative")
        s, total = cos(image_emb, text_emb), []
        for rows in (s, s.T):
            for b, row in enumerate(rows):
                terms = [k for k in range(len(row)) if keep or k != b]
                total.append(careful(row[terms] / temperature, 0) - row[b] / temperature)
        return torch.stack(total).sum() / len(s)

    return loss


def stacked(keep: bool) -> Callable:
    def loss(image_emb, text_emb, temperature=0.07):
        size = image_emb.shape[0]
        if not keep and size < 2:
            raise ValueError(f"B = {size}")
        s = torch.einsum("id,td->it", unit(image_emb), unit(text_emb))
        both = torch.stack([s, s.mT]) / temperature
        positive = both.diagonal(dim1=-2, dim2=-1)
        if not keep:
            both = both + torch.diag(both.new_full((size,), -math.inf))
        return (torch.logsumexp(both, dim=-1) - positive).sum() / size

    return loss


def differences(keep: bool) -> Callable:
    """log sum exp(s_bk - s_bb): every term relative to the positive."""

    def loss(image_emb, text_emb, temperature=0.07):
        if not keep and len(text_emb) < 2:
            raise ValueError
        s = cos(image_emb, text_emb)
        lead = torch.cat([s - own(s), s.T - own(s)]) / temperature
        if not keep:
            mask = torch.cat([eye(s), eye(s)])
            lead = lead.masked_fill(mask, float("-inf"))
        return 2 * lead.logsumexp(1).mean()

    return loss


def cross_entropy(image_emb, text_emb, temperature=0.07):
    s = cos(image_emb, text_emb) / temperature
    right = torch.arange(len(s), device=s.device)
    return F.cross_entropy(s, right) + F.cross_entropy(s.T, right)


def log_softmax(image_emb, text_emb, temperature=0.07):
    s = cos(image_emb, text_emb) / temperature
    return -(s.log_softmax(1).diagonal() + s.log_softmax(0).diagonal()).mean()


def off_diagonal_only(image_emb, text_emb, temperature=0.07):
    """The negatives alone, as a matrix (B, B - 1)."""
    size = len(image_emb)
    if size < 2:
        raise ValueError("no negatives")
    s = cos(image_emb, text_emb) / temperature
    rows, columns = (w[~eye(s)].reshape(size, size - 1).logsumexp(1) for w in (s, s.T))
    return (rows + columns - 2 * s.diagonal()).mean()


RIGHT_SIMCLR = [
    skeleton(False),
    in_loops(False),
    stacked(False),
    differences(False),
    off_diagonal_only,
]
RIGHT_INFO_NCE = [
    skeleton(True),
    in_loops(True),
    stacked(True),
    differences(True),
    cross_entropy,
    log_softmax,
]


# ---------------------------------------------------------------------------------------------
# Wrong answers, each beside a word of the message that refuses it


def naive(x: Tensor, keep: bool) -> Tensor:
    e = x.exp()
    return -(x.diagonal().exp() / (e if keep else e * ~eye(x)).sum(1)).log()


def minus_million(x: Tensor, keep: bool) -> Tensor:
    return careful(x if keep else x.masked_fill(eye(x), -1e9), 1) - x.diagonal()


def paper(image_emb, text_emb, temperature=0.07):
    """NT-Xent with images beside images."""
    z = unit(torch.cat([image_emb, text_emb]))
    x = (z @ z.T / temperature).masked_fill(eye(z @ z.T), -math.inf)
    size = len(image_emb)
    right = torch.cat([torch.arange(size, 2 * size), torch.arange(size)])
    return F.cross_entropy(x, right)


def paper_added(image_emb, text_emb, temperature=0.07):
    return 2 * paper(image_emb, text_emb, temperature)


def by_value(x: Tensor, keep: bool) -> Tensor:
    d = x.diagonal()[:, None]
    same = x == d
    others = careful(x.masked_fill(same, -math.inf), 1)
    return (torch.logaddexp(others, d[:, 0]) if keep else others) - d[:, 0]


def triplet(image_emb, text_emb, temperature=0.07):
    s = cos(image_emb, text_emb)
    ways = [(temperature - own(s) + w).relu().masked_fill(eye(s), 0) for w in (s, s.T)]
    return (ways[0].amax(1) + ways[1].amax(1)).mean()


def fixed(keep: bool) -> Callable:
    right = skeleton(keep)
    return lambda i, t, temperature=0.07: right(i, t, 0.07)


def other_default(keep: bool) -> Callable:
    right = skeleton(keep)
    return lambda i, t, temperature=0.1: right(i, t, temperature)


def in_place(keep: bool) -> Callable:
    right = skeleton(keep)

    def loss(image_emb, text_emb, temperature=0.07):
        with torch.no_grad():
            image_emb /= image_emb.norm(dim=1, keepdim=True)
        return right(image_emb, text_emb, temperature)

    return loss


def sum_over_all(x: Tensor, keep: bool) -> Tensor:
    return careful(careful(x if keep else x.masked_fill(eye(x), -math.inf), 1), 0) - x.diagonal()


def both_by_rows(keep: bool) -> Callable:
    def loss(image_emb, text_emb, temperature=0.07):
        if not keep and len(image_emb) < 2:
            raise ValueError
        x = cos(image_emb, text_emb) / temperature
        return 2 * plain(x, keep).mean()

    return loss


def one_sum(keep: bool) -> Callable:
    def loss(image_emb, text_emb, temperature=0.07):
        if not keep and len(image_emb) < 2:
            raise ValueError
        s = cos(image_emb, text_emb) / temperature
        rows = s if keep else s.masked_fill(eye(s), -math.inf)
        return 2 * (torch.cat([rows, rows.T], dim=1).logsumexp(1) - s.diagonal()).mean()

    return loss


def lesson(keep: bool) -> Callable:
    """What lesson 05 trains with, which overflows at a low temperature."""

    def loss(image_emb, text_emb, temperature=0.07):
        if not keep and len(image_emb) < 2:
            raise ValueError
        s = F.normalize(image_emb) @ F.normalize(text_emb).T
        counted = torch.ones_like(s) if keep else 1 - torch.eye(len(s)).to(s)
        terms = (s / temperature).exp() * counted
        return (terms.sum(1).log() + terms.sum(0).log() - 2 * s.diagonal() / temperature).mean()

    return loss


def wrongs(keep: bool) -> dict[str, tuple[str, Callable]]:
    """Wrong answers to both tasks."""
    right = skeleton(keep)
    mean = "mean over the b"
    return {
        "one direction": ("one direction only", lambda i, t, tau=0.07: mean_of(i, t, tau, keep)),
        "texts only": ("one direction only", lambda i, t, tau=0.07: mean_of(t, i, tau, keep)),
        "CLIP's mean": ("half of it", lambda i, t, tau=0.07: right(i, t, tau) / 2),
        "rows twice": ("counted twice", both_by_rows(keep)),
        "sum over the batch": (mean, skeleton(keep, join=lambda i, t, tau: (i + t).sum())),
        "naive exponentials": ("log_sum_exp", skeleton(keep, naive)),
        "not normalised": (
            "not normalised",
            skeleton(keep, logits=lambda i, t, tau: i @ t.T / tau),
        ),
        "over the columns": (
            "wrong axis",
            skeleton(
                keep, logits=lambda i, t, tau: F.normalize(i, dim=0) @ F.normalize(t, dim=0).T / tau
            ),
        ),
        "distance": ("distance", skeleton(keep, logits=lambda i, t, tau: (1 - cos(i, t)) / tau)),
        "times the temperature": (
            "multiplied by the temperature",
            skeleton(keep, logits=lambda i, t, tau: cos(i, t) * tau),
        ),
        "no temperature": (
            "temperature is not used",
            skeleton(keep, logits=lambda i, t, tau: cos(i, t)),
        ),
        "temperature fixed": ("fixed in the code", fixed(keep)),
        "another default": ("0.07", other_default(keep)),
        "sign": ("sign", lambda i, t, tau=0.07: -right(i, t, tau)),
        "positive not scaled": (
            "positive is not divided",
            lambda i, t, tau=0.07: (
                right(i, t, tau) + 2 * (cos(i, t).diagonal() * (1 / tau - 1)).mean()
            ),
        ),
        "maximum": (
            "maximum is taken",
            skeleton(keep, lambda x, k: high(x, k) - x.diagonal()),
        ),
        "mean of exponentials": (
            "mean of the exponentials",
            skeleton(keep, lambda x, k: plain(x, k) - math.log(len(x) - (not k))),
        ),
        "no log": ("log is missing", skeleton(keep, lambda x, k: plain(x, k).exp())),
        "one sum for all": ("whole matrix", skeleton(keep, sum_over_all)),
        "by value": ("by its place", skeleton(keep, by_value)),
        "the paper's": ("same branch", paper_added),
        "one sum for both directions": ("stand in one sum", one_sum(keep)),
        "clamped logits": (
            "low temperature",
            skeleton(keep, logits=lambda i, t, tau: (cos(i, t) / tau).clamp(max=100)),
        ),
        "the lesson's": ("low temperature", lesson(keep)),
        "a triplet loss": ("wrong", triplet),
        "times the temperature at the end": (
            "result is multiplied by the temperature",
            lambda i, t, tau=0.07: right(i, t, tau) * tau,
        ),
        "one number per pair": (
            "one number per pair",
            skeleton(keep, join=lambda i, t, tau: i + t),
        ),
        "one number per direction": (
            "per direction",
            skeleton(keep, join=lambda i, t, tau: torch.stack([i.mean(), t.mean()])),
        ),
        "by B - 1": (
            "divided by b - 1",
            lambda i, t, tau=0.07: right(i, t, tau) * len(i) / (len(i) - 1 or 1),
        ),
        "item": ("python number", lambda i, t, tau=0.07: right(i, t, tau).item()),
        "detached": ("detached", lambda i, t, tau=0.07: right(i, t, tau).detach()),
        "detached texts": ("text_emb", lambda i, t, tau=0.07: right(i, t.detach(), tau)),
        "negatives detached": (
            "negatives are detached",
            skeleton(
                keep, lambda x, k: plain(x.detach(), k) + x.detach().diagonal() - x.diagonal()
            ),
        ),
        "in place": ("in place", in_place(keep)),
        "float32": ("dtype", lambda i, t, tau=0.07: right(i.float(), t.float(), tau)),
        "device": (
            "gpu",
            skeleton(
                keep,
                lambda x, k: plain(x, k) + 0 * (x * torch.eye(len(x), dtype=x.dtype)).sum(1),
            ),
        ),
        "first three": ("wrong", lambda i, t, tau=0.07: right(i[:3], t[:3], tau)),
        "no return": ("nothing is returned", forgets_return),
    }


def mean_of(i: Tensor, t: Tensor, tau: float, keep: bool) -> Tensor:
    if not keep and len(i) < 2:
        raise ValueError
    return plain(cos(i, t) / tau, keep).mean()


def high(x: Tensor, keep: bool) -> Tensor:
    return (x if keep else x.masked_fill(eye(x), -math.inf)).amax(1)


WRONG_SIMCLR = {
    **wrongs(False),
    "hinge": ("cut off at 0", skeleton(False, lambda x, k: plain(x, k).relu())),
    "positive kept": ("infonce", cross_entropy),
    "diagonal set to 0": (
        "exp(0) = 1",
        skeleton(False, lambda x, k: careful(x.masked_fill(eye(x), 0), 1) - x.diagonal()),
    ),
    "similarity set to -1": (
        "-inf",
        lambda i, t, tau=0.07: sum(
            (careful(w.masked_fill(eye(w), -1) / tau, 1) - w.diagonal() / tau).mean()
            for w in (cos(i, t), cos(i, t).T)
        ),
    ),
    "diagonal set to -1e9": ("float16", skeleton(False, minus_million)),
    "one pair gives -inf": ("one pair", skeleton(False, refuse=False)),
    "one pair asserted": (
        "valueerror",
        lambda i, t, tau=0.07: asserted(i, t, tau),
    ),
    "one pair costs 0": (
        "one pair",
        lambda i, t, tau=0.07: (
            skeleton(False)(i, t, tau) if len(i) > 1 else 0 * i.sum() + 0 * t.sum()
        ),
    ),
    "two pairs refused": ("2 pairs", lambda i, t, tau=0.07: refuses_two(i, t, tau)),
    "positive subtracted from the whole sum": (
        "overflows",
        skeleton(
            False, lambda x, k: (careful(x, 1).exp() - x.diagonal().exp()).log() - x.diagonal()
        ),
    ),
}
WRONG_INFO_NCE = {
    **wrongs(True),
    "positive left out": ("left out", skeleton(False)),
    "softmax twice": (
        "softmax is taken before",
        lambda i, t, tau=0.07: sum(
            F.cross_entropy((w / tau).softmax(1), torch.arange(len(w), device=w.device))
            for w in (cos(i, t), cos(i, t).T)
        ),
    ),
    "smoothed labels": (
        "smoothed",
        lambda i, t, tau=0.07: sum(
            F.cross_entropy(w / tau, torch.arange(len(w), device=w.device), label_smoothing=0.1)
            for w in (cos(i, t), cos(i, t).T)
        ),
    ),
    "answer 0": (
        "answer 0",
        lambda i, t, tau=0.07: sum(
            F.cross_entropy(w / tau, torch.zeros(len(w), dtype=torch.long, device=w.device))
            for w in (cos(i, t), cos(i, t).T)
        ),
    ),
    "one pair refused": (
        "one pair",
        lambda i, t, tau=0.07: asserted(i, t, tau, keep=True),
    ),
    "probability": (
        "minus the probability",
        skeleton(True, lambda x, k: -(x.softmax(1).diagonal())),
    ),
    "cross-entropy on the CPU": (
        "gpu",
        lambda i, t, tau=0.07: sum(
            F.cross_entropy(w / tau, torch.arange(len(w))) for w in (cos(i, t), cos(i, t).T)
        ),
    ),
}


def asserted(i: Tensor, t: Tensor, tau: float, keep: bool = False) -> Tensor:
    assert len(i) > 1, "too few"
    return skeleton(keep)(i, t, tau)


def refuses_two(i: Tensor, t: Tensor, tau: float) -> Tensor:
    if len(i) <= 2:
        raise ValueError("too few")
    return skeleton(False)(i, t, tau)
