"""The two contrastive losses of exercise 05 in steps, and the mistakes in each step.

Without steps the formulas equal `mmret_lib.losses.SimCLR`; the tests compare the two.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
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


def nt_xent(image_emb: Tensor, text_emb: Tensor, temperature: float = 0.07) -> Tensor:
    """SimCLR's own form, in which negatives of the same branch are in the sum, too."""
    size = len(image_emb)
    both = F.normalize(torch.cat([image_emb, text_emb]))
    x = (both @ both.T / temperature).masked_fill(eye(both[:, :1] @ both[:, :1].T), -math.inf)
    answers = torch.arange(2 * size, device=x.device).roll(size)
    return 2 * F.cross_entropy(x, answers)


def same_branch_decoupled(image_emb: Tensor, text_emb: Tensor, temperature: float = 0.07) -> Tensor:
    """The same with the positive left out."""
    size = len(image_emb)
    both = F.normalize(torch.cat([image_emb, text_emb]))
    x = both @ both.T / temperature
    answers = torch.arange(2 * size, device=x.device).roll(size)
    own = x.gather(1, answers[:, None])
    x = x.masked_fill(eye(x), -math.inf).scatter(1, answers[:, None], -math.inf)
    return 2 * (x.logsumexp(dim=1) - own[:, 0]).mean()


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


def filled(value: float) -> Formula:
    """A `total` in which what should be left out gets a value that still counts."""
    return lambda x, c: x.masked_fill(~c, value).logsumexp(dim=-1)


def in_one_sum(counted: Formula) -> Formula:
    """A wrong loss: one log-sum-exp over the negatives of both directions."""

    def loss(image_emb: Tensor, text_emb: Tensor, temperature: float = 0.07) -> Tensor:
        s = cosines(image_emb, text_emb) / temperature
        rows = s.masked_fill(~counted(s), -math.inf)
        return 2 * (torch.cat([rows, rows.T], dim=1).logsumexp(dim=1) - s.diagonal()).mean()

    return loss


ONE_SUM = (
    "the images' and the texts' negatives stand in one sum: each direction has its own log-sum-exp"
)
SAME_BRANCH = (
    "negatives of the same branch are in the sum (images beside images), as in SimCLR's NT-Xent: "
    "only the other branch's rows are wanted here"
)
FIRST = [
    Mistake(
        "the positive is kept in the sum, which is InfoNCE (task 3): set the diagonal to -inf "
        "before the log-sum-exp",
        {"counted": everything},
    ),
    *mistakes(
        {
            "total": "what is left out has to be -inf before exp, because exp(-inf) = 0; any other "
            "number still adds something"
        },
        total={
            "the diagonal is set to 0, and exp(0) = 1 is added to every sum": filled(0),
            "the diagonal is set to -1": filled(-1),
            "the diagonal is set to -100, too little where the temperature is low": filled(-100),
            "the diagonal is set to +inf": filled(math.inf),
        },
    ),
    Mistake(SAME_BRANCH, nt_xent),
    Mistake(
        "negatives of the same branch are in the sum (images beside images): only the other "
        "branch's rows are wanted here",
        same_branch_decoupled,
    ),
]


def similarity_set_to(value: float) -> Formula:
    """A wrong `simclr` that sets the similarities on the diagonal, not their exponentials."""

    def loss(image_emb: Tensor, text_emb: Tensor, temperature: float = 0.07) -> Tensor:
        s = cosines(image_emb, text_emb)
        x = torch.stack([s, s.T]).masked_fill(eye(s), value) / temperature
        return (x.logsumexp(dim=2).sum(0) - 2 * s.diagonal() / temperature).mean()

    return loss


def defaults(formula: Formula) -> list[Mistake]:
    """Mistakes in the default of the temperature."""
    return [
        Mistake(
            f"the temperature's default is {value:g}: it should be 0.07",
            lambda i, t, temperature=value: formula(i, t, temperature),
        )
        for value in (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 0.7)
    ]


FIRST += [
    Mistake(
        f"the positive's similarity is set to {value} and stays in the sum: set it to -inf",
        similarity_set_to(value),
    )
    for value in (0, -1, -2)
]
IN_SIMILARITIES = [Mistake(f"in the similarities, {m.says}", m.wrong) for m in WRONG_COSINES]
FIRST.append(Mistake(ONE_SUM, in_one_sum(others)))
WRONG_SIMCLR = [*FIRST, *defaults(simclr), *DIRECTIONS, *WRONG_STEPS, *IN_SIMILARITIES]


def answered(logits: Formula, answers: Formula) -> Formula:
    """A wrong `info_nce` by F.cross_entropy, in both directions."""

    def loss(image_emb: Tensor, text_emb: Tensor, temperature: float = 0.07) -> Tensor:
        x = cosines(image_emb, text_emb) / temperature
        number = answers(torch.arange(len(x), device=x.device))
        return F.cross_entropy(logits(x), number) + F.cross_entropy(logits(x.T), number)

    return loss


def smoothed(image_emb: Tensor, text_emb: Tensor, temperature: float = 0.07) -> Tensor:
    """A wrong `info_nce`, with a tenth of the probability spread over all answers."""
    x = cosines(image_emb, text_emb) / temperature
    right = torch.arange(len(x), device=x.device)
    ways = (F.cross_entropy(way, right, label_smoothing=0.1) for way in (x, x.T))
    return torch.stack(list(ways)).sum()


WRONG_INFO_NCE = [
    Mistake(
        "the positive is left out of the sum, which is task 2: here it stays, one term of B",
        {"counted": others},
    ),
    Mistake(
        "a softmax is taken before F.cross_entropy, which takes one itself: hand it the logits",
        answered(lambda x: x.softmax(dim=1), lambda n: n),
    ),
    Mistake(
        "answer 0 is taken for every query's right one: it is answer b for query b, arange(B)",
        answered(lambda x: x, lambda n: 0 * n),
    ),
    Mistake(
        "the answers are in reverse order: answer b is right for query b, torch.arange(B)",
        answered(lambda x: x, lambda n: n.flip(0)),
    ),
    Mistake(SAME_BRANCH, nt_xent),
    Mistake(ONE_SUM, in_one_sum(everything)),
    Mistake(
        "the labels are smoothed: answer b alone is right for query b, label_smoothing=0",
        smoothed,
    ),
    *defaults(info_nce),
    *DIRECTIONS,
    *(m for m in WRONG_STEPS if "no hinge" not in m.says),
    *IN_SIMILARITIES,
]
WRONG_GRADIENTS = [
    *mistakes(
        {"own": "the loss pulls each pair together", "total": "the loss pushes the negatives away"},
        own={"the positives are detached": lambda x, t: positives(x)[..., 0].detach()},
        total={"the negatives are detached": lambda x, c: log_of_sum(x.detach(), c)},
    ),
    *WRONG_COSINE_GRADIENTS,
    *WRONG_DIRECTION_GRADIENTS,
]
