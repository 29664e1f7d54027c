"""What belongs in the sum of each contrastive loss of exercise 05, and the other ways to choose.

InfoNCE keeps the positive, the decoupled form leaves it out: here are the mistakes of each.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.contrastive.losses import (
    DIRECTIONS,
    IN_SIMILARITIES,
    WRONG_STEPS,
    everything,
    eye,
    info_nce,
    others,
    simclr,
)
from mmret_lib.checks.engine.pairs import cosines
from mmret_lib.checks.engine.task import Formula, Mistake, mistakes


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
