"""Exercise 14's fourth loss in steps: the rank of the right answer made smooth, its mistakes."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes
from mmret_lib.checks.weighting.batches import (
    SHARED_GRADIENTS,
    SHARED_MISTAKES,
    both_ways,
    eye,
    others,
    positives,
)


def smooth_ap(
    image_emb: Tensor,
    text_emb: Tensor,
    temperature: float = 0.01,
    *,
    lead: Formula = lambda p, n, t: n - p,
    scale: Formula = lambda x, t: x / t,
    above: Formula = torch.sigmoid,
    counted: Formula = others,
    total: Formula = lambda a: a.sum(dim=-1),
    rank: Formula = lambda total: 1 + total,
    cost: Formula = lambda rank: 1 - 1 / rank,
    **batch: Any,
) -> Tensor:
    """1 - 1 / (1 + sum sigmoid((s_bk - s_bb) / t)), a scalar.

    In the steps p are the positives (2, B, 1), n the rows (2, B, B).
    """

    def cost_of(rows: Tensor) -> Tensor:
        a = above(scale(lead(positives(rows), rows, temperature), temperature))
        value: Tensor = cost(rank(total(a.masked_fill(~counted(a), 0))))
        return value

    return both_ways(image_emb, text_emb, cost_of, **batch)


def everything(rows: Tensor) -> Tensor:
    """(B, B), True everywhere."""
    return torch.ones_like(eye(rows))


def of_mean_rank(image_emb: Tensor, text_emb: Tensor, temperature: float = 0.01) -> Tensor:
    """One minus the inverse of the mean rank, in each direction."""

    def cost_of(rows: Tensor) -> Tensor:
        above = ((rows - positives(rows)) / temperature).sigmoid().masked_fill(eye(rows), 0)
        ranks = 1 + above.sum(dim=-1)  # (2, B)
        return (1 - 1 / ranks.mean(dim=1, keepdim=True)).expand_as(ranks)

    return both_ways(image_emb, text_emb, cost_of)


def sigmoid_first(image_emb: Tensor, text_emb: Tensor, temperature: float = 0.01) -> Tensor:
    """The sigmoid of the lead, divided by the temperature."""

    def cost_of(rows: Tensor) -> Tensor:
        above = (rows - positives(rows)).sigmoid() / temperature
        return 1 - 1 / (1 + above.masked_fill(eye(rows), 0).sum(dim=-1))

    return both_ways(image_emb, text_emb, cost_of)


def default(value: float) -> Formula:
    """The formula with another default of the temperature."""
    return lambda i, t, tau=value: smooth_ap(i, t, tau)


RANK = (
    "the best rank is 1: one and the number of negatives above the positive, each counted by a "
    "sigmoid"
)
REMEDIES = {
    "lead": "a negative leads by s_bk - s_bb, its own row's positive",
    "scale": "the lead is divided by the temperature, before the sigmoid",
    "above": "a negative is counted by a sigmoid of its lead, torch.sigmoid(lead / temperature)",
    "counted": RANK,
    "total": "the negatives above are counted, so their sigmoids are added",
    "rank": RANK,
    "cost": "with one right answer the average precision is 1 / rank, and the loss 1 less that",
}
WRONG_AP = [
    *mistakes(
        REMEDIES,
        counted={
            "the positive is counted as above itself: sigmoid(0) = 0.5 is added to every rank. Set "
            "the diagonal to 0 after the sigmoid, before the sum": everything,
            "only the positive is counted": eye,
            "only the upper triangle is counted": lambda a: others(a).triu(),
        },
        rank={
            "the 1 in the rank is missing, so ranks begin at 0": lambda total: total,
            "2 is added, not 1": lambda total: 2 + total,
        },
        several={
            "the positive is counted as above itself, and its sigmoid(0) = 0.5 stands for the 1 of "
            "the rank: set the diagonal to 0 and add 1": {
                "counted": everything,
                "rank": lambda total: total,
            },
        },
        lead={
            "positive and negative are swapped (or are they distances?), so what is counted are "
            "the negatives below the positive": lambda p, n, t: p - n,
            "the positive is missing": lambda p, n, t: n,
            "the positive is added": lambda p, n, t: n + p,
            "the positive is from the wrong axis: a row needs its own, diagonal()[:, None]": (
                lambda p, n, t: n - p.mT
            ),
            "where the texts ask, the images' leads are used, along the columns: there, too, the "
            "query's own positive is subtracted, so begin anew with similarity.T": (
                lambda p, n, t: torch.stack([(n - p)[0], (n - p)[0].mT])
            ),
            "only the positive is divided by the temperature, where brackets are missing": (
                lambda p, n, t: n * t - p
            ),
            "only the negative is divided by the temperature": lambda p, n, t: n - p * t,
        },
        scale={
            "nothing is divided by the temperature": lambda x, t: x,
            "multiplied by the temperature": lambda x, t: x * t,
            "the temperature is fixed at 0.01: take the argument": lambda x, t: x / 0.01,
            "divided by the square of the temperature": lambda x, t: x / t**2,
            "the temperature is added": lambda x, t: x + t,
        },
        above={
            "negatives above the positive are counted by a comparison, which has no gradient": (
                lambda x: (x > 0).to(x.dtype) + 0 * x
            ),
            "the hinge is taken": torch.relu,
            "the logarithm of the sigmoid is taken": F.logsigmoid,
            "softplus is taken": F.softplus,
            "tanh goes from -1 to 1, and a count from 0 to 1": torch.tanh,
            "the exponential is taken": torch.exp,
            "a softmax is taken over the row": lambda x: x.softmax(dim=-1),
            "sigmoid * (1 - sigmoid), its derivative, is taken": (
                lambda x: x.sigmoid() * (1 - x.sigmoid())
            ),
            "the sigmoid is taken twice": lambda x: x.sigmoid().sigmoid(),
        },
        total={
            "the mean of the sigmoids is taken": lambda a: a.sum(dim=-1) / (a.shape[-1] - 1),
            "the mean over the row is taken": lambda a: a.mean(dim=-1),
            "the largest sigmoid alone is taken": lambda a: a.amax(dim=-1),
            "the sum goes over the wrong axis: a row holds the negatives of its query": (
                lambda a: a.sum(dim=1)
            ),
            "one sum goes over the whole matrix: every query has its own rank": (
                lambda a: a.sum((1, 2))[:, None].expand(a.shape[:2])
            ),
        },
        cost={
            "the average precision itself is returned, which training would lower": (
                lambda rank: 1 / rank
            ),
            "minus the average precision is returned, without the 1": lambda rank: -1 / rank,
            "the rank itself is returned": lambda rank: rank,
            "the rank less 1 is returned": lambda rank: rank - 1,
            "the logarithm of the rank is returned": torch.log,
            "1 - rank is returned": lambda rank: 1 - rank,
            "the square of the rank divides": lambda rank: 1 - 1 / rank**2,
            "the logarithm of the rank divides, as in a discounted gain": (
                lambda rank: 1 - math.log(2) / (1 + rank).log()
            ),
        },
    ),
    Mistake(
        "the sigmoid itself is divided by the temperature: divide the lead, and take the sigmoid "
        "of that",
        sigmoid_first,
    ),
    Mistake(
        "the inverse of the mean rank is taken: the average precision is the mean of the inverse "
        "ranks, so invert first, query by query",
        of_mean_rank,
    ),
    *(
        Mistake(f"the temperature's default is {value:g}: it should be 0.01", default(value))
        for value in (0.001, 0.02, 0.05, 0.07, 0.1, 1.0)
    ),
    *SHARED_MISTAKES,
]
WRONG_AP_GRADIENTS = [
    *mistakes(
        {"lead": "the loss should pull each pair together and push its negatives away"},
        lead={
            "the positives are detached": lambda p, n, t: n - p.detach(),
            "the negatives are detached": lambda p, n, t: n.where(eye(n), n.detach()) - p,
        },
    ),
    *SHARED_GRADIENTS,
]
