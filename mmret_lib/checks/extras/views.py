"""The loss of two views of one branch (NT-Xent), in steps, and the ways to get it wrong."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.pairs import WRONG_COSINE_GRADIENTS
from mmret_lib.checks.engine.task import Formula, Mistake, mistakes


def partners(size: int, device: torch.device) -> Tensor:
    """(2B,): where the other view of each row stands."""
    return torch.arange(2 * size, device=device).roll(size)


def itself(s: Tensor) -> Tensor:
    """(2B, 2B), True where a row meets itself."""
    return torch.eye(len(s), dtype=torch.bool, device=s.device)


def in_denominator(s: Tensor) -> Tensor:
    """Which similarities a row's sum counts: all but that with itself."""
    return ~itself(s)


def within_branch(
    emb: Tensor,
    other_view: Tensor,
    temperature: float,
    *,
    normalise: Formula = F.normalize,
    compare: Formula = lambda z, t: z @ z.T / t,
    counted: Formula = in_denominator,
    own: Formula = lambda s: s.gather(1, partners(len(s) // 2, s.device)[:, None])[:, 0],
    pool: Formula = torch.mean,
) -> Tensor:
    """The right answer: the mean over 2B rows of the log-sum-exp of all others, less the own."""
    z = torch.cat([normalise(emb), normalise(other_view)])  # (2B, D)
    s = compare(z, temperature)
    total = s.masked_fill(~counted(s), -math.inf).logsumexp(dim=1)
    cost: Tensor = pool(total - own(s))
    return cost


def other_views_alone(emb: Tensor, other_view: Tensor, temperature: float) -> Tensor:
    """A wrong answer: only rows of the other view are negatives."""
    s = F.normalize(emb) @ F.normalize(other_view).T / temperature
    first = s.logsumexp(dim=1) - s.diagonal()
    second = s.logsumexp(dim=0) - s.diagonal()
    return (first + second).mean() / 2


def one_view_asks(emb: Tensor, other_view: Tensor, temperature: float, second: bool) -> Tensor:
    """A wrong answer: B of the 2B rows are queries."""

    def half(costs: Tensor) -> Tensor:
        size = len(costs) // 2
        return (costs[size:] if second else costs[:size]).mean()

    return within_branch(emb, other_view, temperature, pool=half)


def without_partner(s: Tensor) -> Tensor:
    """A wrong `counted`: the positive is left out of the sum."""
    rows = torch.arange(len(s), device=s.device)
    return ~itself(s) & (rows[:, None] != partners(len(s) // 2, s.device))


def across(s: Tensor) -> Tensor:
    """(2B, 2B), True where the rows are of different views."""
    first = torch.arange(len(s), device=s.device) < len(s) // 2
    return first[:, None] != first


WRONG_VIEWS = [
    Mistake(
        "only the other view's rows are compared with: the rows of the same view are negatives, "
        "too, so a row meets all 2B - 1 others",
        other_views_alone,
    ),
    Mistake(
        "only the rows of emb ask: those of other_view ask, too, and the mean goes over all 2B",
        lambda e, o, t: one_view_asks(e, o, t, False),
    ),
    Mistake(
        "only the rows of other_view ask: those of emb ask, too, and the mean goes over all 2B",
        lambda e, o, t: one_view_asks(e, o, t, True),
    ),
    *mistakes(
        {
            "normalise": "bring each row of both views to length 1, F.normalize(emb, dim=1)",
            "compare": "the similarities are cosines divided by the temperature",
            "counted": "a row's sum goes over all 2B - 1 others, its own other view among them",
            "own": "the positive of row b is row b + B, and of row b + B it is row b",
            "pool": "the mean over the 2B rows is wanted",
        },
        normalise={
            "the rows are not normalised": lambda e: e,
            "normalised over the wrong axis": lambda e: F.normalize(e, dim=0),
        },
        compare={
            "the temperature is left out": lambda z, t: z @ z.T,
            "the temperature is multiplied": lambda z, t: z @ z.T * t,
            "the sign is wrong": lambda z, t: -z @ z.T / t,
        },
        counted={
            "a row is compared with itself, and its similarity of 1 is in the sum": (
                lambda s: torch.ones_like(s, dtype=torch.bool)
            ),
            "the positive is left out of the sum, as in DCL (lesson 05): here it stays in": (
                without_partner
            ),
            "the rows of the other view, but for the positive, are left out of the sum": (
                lambda s: ~itself(s) & ~(across(s) & without_partner(s))
            ),
        },
        own={
            "the positive is taken to be the row itself": lambda s: s.diagonal(),
            "the next row is taken for the positive, as if both views took turns": lambda s: s[
                torch.arange(len(s)), torch.arange(len(s)) ^ 1
            ],
            "the positive is subtracted twice": lambda s: (
                2 * s.gather(1, partners(len(s) // 2, s.device)[:, None])[:, 0]
            ),
            "the positive is not subtracted": lambda s: 0 * s[:, 0],
        },
        pool={
            "the sum is taken": torch.sum,
            "the sum is divided by B, half of the rows": lambda c: 2 * c.mean(),
            "half of the mean is taken": lambda c: c.mean() / 2,
            "the sign of the loss is wrong": lambda c: -c.mean(),
            "the largest cost is taken": torch.max,
        },
        several={
            "similarities with itself are set to 0, which is a similarity like any other: use "
            "-inf": {
                "compare": lambda z, t: (z @ z.T / t).masked_fill(itself(z), 0),
                "counted": lambda s: torch.ones_like(s, dtype=torch.bool),
            },
        },
    ),
]
WRONG_VIEW_GRADIENTS = [
    *(m for m in WRONG_COSINE_GRADIENTS if "lengths" in m.says and callable(m.wrong)),
    Mistake("emb is detached", lambda e, o, t: within_branch(e.detach(), o, t)),
    Mistake("other_view is detached", lambda e, o, t: within_branch(e, o.detach(), t)),
]
