"""Exercise 14's first loss in steps: a soft maximum of the hinges, and its mistakes."""

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
    positives,
)


def margin_softmax(
    image_emb: Tensor,
    text_emb: Tensor,
    margin: float = 0.2,
    temperature: float = 0.05,
    *,
    gap: Formula = lambda p, n, m: n - p + m,
    scale: Formula = lambda x, m, t: x / t,
    own: Formula = lambda x, m, t: x.masked_fill(eye(x), 0),
    total: Formula = lambda x: x.logsumexp(dim=-1),
    result: Formula = lambda y, m, t: t * y,
    **batch: Any,
) -> Tensor:
    """A soft maximum of hinges, t log(1 + sum exp((s_bk - s_bb + m) / t)), a scalar.

    In the steps p are the positives (2, B, 1), n the rows (2, B, B), m and t margin and
    temperature; `own` puts the positive's own term, exp(0) = 1, on the diagonal.
    """

    def cost(rows: Tensor) -> Tensor:
        x = scale(gap(positives(rows), rows, margin), margin, temperature)
        value: Tensor = result(total(own(x, margin, temperature)), margin, temperature)
        return value

    return both_ways(image_emb, text_emb, cost, **batch)


def with_one_more(x: Tensor, m: float, t: float) -> Tensor:
    """The exponents (2, B, B) with a column of zeros, (2, B, B + 1), and the diagonal as it is."""
    return torch.cat([x, torch.zeros_like(x[..., :1])], dim=-1)


def over_negatives(x: Tensor) -> Tensor:
    """The exponents with -inf where the positive is."""
    return x.masked_fill(eye(x), -math.inf)


def defaults(margin: float, temperature: float) -> Formula:
    """The formula with other defaults."""
    return lambda i, t, m=margin, tau=temperature: margin_softmax(i, t, m, tau)


ONE = (
    "the positive stands in the sum as the 1, which is exp(0): put 0 in its place on the diagonal "
    "of the exponents"
)
REMEDIES = {
    "gap": "a negative's exponent is (s_bk - s_bb + margin) / temperature",
    "scale": "the whole of s_bk - s_bb + margin is divided by the temperature",
    "own": ONE,
    "total": "a query costs t log(1 + sum of its negatives' exponentials)",
    "result": "the logarithm is multiplied by the temperature, once",
}
WRONG_SOFTMAX = [
    *mistakes(
        REMEDIES,
        own={
            "the 1 in the logarithm is missing": lambda x, m, t: over_negatives(x),
            "the positive is taken for a negative of itself: its term is exp(margin / "
            "temperature), and no 1 is in the sum (or the margin is added outside the "
            f"logarithm). In truth {ONE}": lambda x, m, t: x,
            "the positive is taken for a negative of itself, with the term exp(margin / "
            f"temperature) beside the 1. In truth {ONE}": with_one_more,
            "the 1 is counted twice, on the diagonal and added to the sum": (
                lambda x, m, t: with_one_more(x.masked_fill(eye(x), 0), m, t)
            ),
            "the diagonal of the exponents is set to 1, and exp(1) = 2.7": (
                lambda x, m, t: x.masked_fill(eye(x), 1)
            ),
            "the positive's term has the margin with the wrong sign": (
                lambda x, m, t: x.masked_fill(eye(x), -m / t)
            ),
        },
        gap={
            "positive and negative are swapped (or are they distances?)": lambda p, n, m: p - n + m,
            "the margin has the wrong sign": lambda p, n, m: n - p - m,
            "the margin is missing": lambda p, n, m: n - p,
            "the margin is added twice": lambda p, n, m: n - p + 2 * m,
            "the margin is fixed at 0.2: take the argument": lambda p, n, m: n - p + 0.2,
            "the margin multiplies": lambda p, n, m: m * (n - p),
            "the positive is missing": lambda p, n, m: n + m,
            "the positive is added": lambda p, n, m: n + p + m,
            "the positive is from the wrong axis: a row's exponents all need the row's own "
            "positive, diagonal()[:, None]": lambda p, n, m: n - p.mT + m,
            "a hinge is taken before the exponential, and beyond the margin each negative then "
            "counts as exp(0) = 1: there is no hinge in this loss": (
                lambda p, n, m: (n - p + m).relu()
            ),
        },
        scale={
            "nothing is divided by the temperature": lambda x, m, t: x,
            "multiplied by the temperature": lambda x, m, t: x * t,
            "only the margin is divided by the temperature, where brackets are missing": (
                lambda x, m, t: x - m + m / t
            ),
            "where the texts ask, the images' exponents are used, along the columns: there, too, "
            "the query's own positive is subtracted, so begin anew with similarity.T": (
                lambda x, m, t: torch.stack([x[0], x[0].mT]) / t
            ),
            "the margin is added after the division": lambda x, m, t: (x - m) / t + m,
            "the temperature is fixed at 0.05: take the argument": lambda x, m, t: x / 0.05,
            "divided by the square of the temperature": lambda x, m, t: x / t**2,
        },
        result={
            "the factor t before the logarithm is missing": lambda y, m, t: y,
            "divided by the temperature": lambda y, m, t: y / t,
            "the factor before the logarithm is fixed at 0.05: take the argument": (
                lambda y, m, t: 0.05 * y
            ),
            "the result is multiplied by the margin": lambda y, m, t: m * y,
            "the margin is subtracted in the end": lambda y, m, t: t * y - m,
            "the result is squared": lambda y, m, t: (t * y) ** 2,
            "the result has the wrong sign": lambda y, m, t: -t * y,
        },
        total={
            "the log is missing": lambda x: x.exp().sum(-1),
            "the largest exponent alone is taken": lambda x: x.amax(-1),
            "the mean of the exponentials is taken, not their sum": (
                lambda x: x.logsumexp(-1) - math.log(x.shape[-1])
            ),
            "only the negatives' exponentials are averaged": (
                lambda x: (
                    (over_negatives(x).logsumexp(-1) - math.log(max(x.shape[-1] - 1, 1))).exp()
                ).log1p()
            ),
            "the logarithm is taken of each negative's term apart, and then they are added: add "
            "first": lambda x: F.softplus(x).masked_fill(eye(x), 0).sum(-1),
            "the exponents are added, without exponentials": (
                lambda x: x.masked_fill(eye(x), 0).sum(-1)
            ),
            "log2 is taken": lambda x: x.logsumexp(-1) / math.log(2),
            "log10 is taken": lambda x: x.logsumexp(-1) / math.log(10),
            "log1p adds 1 to a sum that has its 1": lambda x: x.logsumexp(-1).exp().log1p(),
            "one logarithm is taken of the whole matrix: each query has its own": (
                lambda x: (
                    over_negatives(x).logsumexp((1, 2))[:, None].expand(x.shape[:2]).exp().log1p()
                )
            ),
        },
        several={
            "the 1 in the logarithm is missing, and a query's cost is cut off at 0 instead: put 0 "
            "on the diagonal of the exponents, then nothing falls below 0": {
                "own": lambda x, m, t: over_negatives(x),
                "result": lambda y, m, t: (t * y).relu(),
            },
            "the 1 in the logarithm is missing, and the factor t as well: that is the loss of "
            "exercise 05": {
                "own": lambda x, m, t: over_negatives(x),
                "result": lambda y, m, t: y,
            },
        },
    ),
    Mistake(
        "margin and temperature are swapped: the margin is the third argument",
        lambda i, t, m=0.2, tau=0.05: margin_softmax(i, t, tau, m),
    ),
    *(
        Mistake(f"the {name}'s default is {value:g}: it should be {right:g}", wrong)
        for name, right, value, wrong in [
            *(("margin", 0.2, m, defaults(m, 0.05)) for m in (0.0, 0.1, 0.3, 0.5, 1.0)),
            *(("temperature", 0.05, t, defaults(0.2, t)) for t in (0.01, 0.07, 0.1, 0.2, 1.0)),
        ]
    ),
    *SHARED_MISTAKES,
]
WRONG_SOFTMAX_GRADIENTS = [
    *mistakes(
        {"gap": "the loss should pull each pair together and push its negatives away"},
        gap={
            "the positives are detached": lambda p, n, m: n - p.detach() + m,
            "the negatives are detached": lambda p, n, m: n.where(eye(n), n.detach()) - p + m,
        },
    ),
    *SHARED_GRADIENTS,
]
