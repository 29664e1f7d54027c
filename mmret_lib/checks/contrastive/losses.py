"""The two contrastive losses of exercise 05 in steps, and the mistakes that both can have.

Without steps the formulas equal `mmret_lib.losses.SimCLR`; the tests compare the two.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.pairs import (
    WRONG_COSINE_GRADIENTS,
    WRONG_COSINES,
    WRONG_DIRECTION_GRADIENTS,
    WRONG_DIRECTIONS,
    cosines,
)
from mmret_lib.checks.engine.task import Formula, Mistake, mistakes


def eye(rows: Tensor) -> Tensor:
    """(B, B), True on the diagonal, for (..., B, B)."""
    return torch.eye(rows.shape[-1], dtype=torch.bool, device=rows.device)


def others(rows: Tensor) -> Tensor:
    """The terms of the sum where the positive is left out."""
    return ~eye(rows)


def everything(rows: Tensor) -> Tensor:
    """The terms of the sum where the positive is kept."""
    return torch.ones_like(eye(rows))


def positives(rows: Tensor) -> Tensor:
    """The diagonals of (2, B, B) as columns, (2, B, 1)."""
    return rows.diagonal(dim1=1, dim2=2)[..., None]


def log_of_sum(x: Tensor, counted: Tensor) -> Tensor:
    """The log-sum-exp of each row's counted entries, (2, B)."""
    return x.masked_fill(~counted, -math.inf).logsumexp(dim=-1)


def contrastive(
    image_emb: Tensor,
    text_emb: Tensor,
    temperature: float,
    *,
    counted: Formula,
    scale: Formula = lambda s, t: s / t,
    chosen: Formula = lambda x, p: True,
    total: Formula = log_of_sum,
    own: Formula = lambda x, t: positives(x)[..., 0],
    cost: Formula = lambda total, own: total - own,
    directions: Formula = torch.add,
    average: Formula = lambda costs, t: costs.mean(),
    **similarity: Formula,
) -> Tensor:
    """The loss of a batch: a query costs the log-sum-exp of its row less its positive.

    A first axis of 2 is the direction: images as queries, texts as queries. In the steps s are
    similarities and x logits (2, B, B), t the temperature.
    """
    s = cosines(image_emb, text_emb, **similarity)
    x = scale(torch.stack([s, s.T]), temperature)
    costs = cost(total(x, counted(x) & chosen(x, positives(x))), own(x, temperature))  # (2, B)
    loss: Tensor = average(directions(*costs), temperature)
    return loss


def simclr(image_emb: Tensor, text_emb: Tensor, temperature: float = 0.07, **steps: Any) -> Tensor:
    """The decoupled form, whose sum leaves out the positive."""
    return contrastive(image_emb, text_emb, temperature, **{"counted": others, **steps})


def info_nce(
    image_emb: Tensor, text_emb: Tensor, temperature: float = 0.07, **steps: Any
) -> Tensor:
    """The form of CLIP, whose sum keeps the positive."""
    return contrastive(image_emb, text_emb, temperature, **{"counted": everything, **steps})


SUM = "the log is taken of the sum of the exponentials, sum over k of exp(s_bk / temperature)"
REMEDIES = {
    "scale": "every similarity is divided by the temperature",
    "own": "the positive, too, is divided by the temperature",
    "cost": "a query costs log(sum) - s_bb / temperature",
    "average": "the mean over the B pairs is wanted",
    "total": SUM,
}
# The two directions counted twice have other causes here than in a triplet loss.
DIRECTIONS = [m for m in WRONG_DIRECTIONS if "counted twice" not in m.says] + mistakes(
    {},
    directions={
        "the direction image -> texts is counted twice: the other direction takes the rows of "
        "similarity.T (or dim=0 of similarity), once": lambda i, t: 2 * i,
        "the direction texts -> images is counted twice: the other direction takes the rows of "
        "similarity (dim=1), once": lambda i, t: 2 * t,
    },
)
WRONG_STEPS = mistakes(
    REMEDIES,
    scale={
        "the temperature is fixed in the code, 0.07": lambda s, t: s / 0.07,
        "the temperature is not used": lambda s, t: s,
        "multiplied by the temperature": lambda s, t: s * t,
        "divided by the square of the temperature": lambda s, t: s / t**2,
        "divided by the root of the temperature": lambda s, t: s / t**0.5,
        "multiplied by e to the temperature": lambda s, t: s * math.exp(t),
    },
    own={
        "the positive is not divided by the temperature": lambda x, t: positives(x)[..., 0] * t,
        "the positive is missing": lambda x, t: 0 * positives(x)[..., 0],
    },
    cost={
        "the sign is wrong: the positive's similarity lowers the loss, the negatives' raise it": (
            lambda total, own: own - total
        ),
        "the positive is added": lambda total, own: total + own,
        "a query's cost is cut off at 0 (there is no hinge in this loss)": (
            lambda total, own: (total - own).relu()
        ),
        "the log is missing, a quotient of exponentials is left": (
            lambda total, own: (total - own).exp()
        ),
        "the fraction's log is missing, minus the probability is left": (
            lambda total, own: -(own - total).exp()
        ),
        "1 - probability is taken and not its log": lambda total, own: 1 - (own - total).exp(),
        "log2 is taken": lambda total, own: (total - own) / math.log(2),
        "log1p adds 1 to the fraction": lambda total, own: (total - own).exp().log1p(),
    },
    average={
        "the sum over the batch is taken": lambda costs, t: costs.sum(),
        "divided by B - 1": lambda costs, t: costs.sum() / (len(costs) - 1),
        "divided by B twice": lambda costs, t: costs.mean() / len(costs),
        "the result is multiplied by the temperature": lambda costs, t: costs.mean() * t,
        "the result is divided by the temperature once more": lambda costs, t: costs.mean() / t,
        "the largest cost is taken": lambda costs, t: costs.max(),
        "the median is taken": lambda costs, t: costs.median(),
    },
    total={
        "the mean of the exponentials is taken, not their sum": (
            lambda x, c: log_of_sum(x, c) - c.sum(-1).log()
        ),
        "the maximum is taken, not the log-sum-exp": (
            lambda x, c: x.masked_fill(~c, -math.inf).amax(dim=-1)
        ),
        "the similarities themselves are summed": lambda x, c: x.masked_fill(~c, 0).sum(dim=-1),
        "the similarities' mean is taken": (
            lambda x, c: x.masked_fill(~c, 0).sum(dim=-1) / c.sum(-1)
        ),
        "the log is missing after the sum": lambda x, c: log_of_sum(x, c).exp(),
        "one log-sum-exp goes over the whole matrix: every query has its own, over its row": (
            lambda x, c: log_of_sum(x, c).logsumexp(dim=1, keepdim=True).expand(x.shape[:2])
        ),
        "log1p adds 1 to the sum": lambda x, c: log_of_sum(x, c).exp().log1p(),
    },
    chosen={
        "only negatives above the positive are counted: all are": lambda x, p: x >= p,
        "negatives with a similarity below 0 are left out: all count": lambda x, p: x > 0,
    },
)


IN_SIMILARITIES = [Mistake(f"in the similarities, {m.says}", m.wrong) for m in WRONG_COSINES]
WRONG_GRADIENTS = [
    *mistakes(
        {"own": "the loss pulls each pair together", "total": "the loss pushes the negatives away"},
        own={"the positives are detached": lambda x, t: positives(x)[..., 0].detach()},
        total={"the negatives are detached": lambda x, c: log_of_sum(x.detach(), c)},
    ),
    *WRONG_COSINE_GRADIENTS,
    *WRONG_DIRECTION_GRADIENTS,
]
