"""The loss of Barlow Twins in steps, and the mistakes in each step.

With the steps as they are, it equals `mmret_lib.losses.BarlowTwins`; the tests compare the two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.barlow.correlations import (
    WRONG_CORRELATION_GRADIENTS,
    WRONG_CORRELATIONS,
    cross_correlation,
)
from mmret_lib.checks.engine.task import Formula, Mistake, mistakes


def redundancy(c: Tensor, d: Tensor) -> Tensor:
    """The sum of the squares off the diagonal d of C."""
    return c.square().sum() - d.square().sum()


def barlow_twins(
    image_emb: Tensor,
    text_emb: Tensor,
    lambda_: float,
    *,
    agree: Formula = lambda d: (1 - d).square().sum(),
    repeat: Formula = redundancy,
    weight: Formula = lambda lambda_, c: (1, lambda_),
    total: Formula = lambda loss, c, e: loss,
    **correlation: Any,
) -> Tensor:
    """The loss of a batch, a scalar."""
    c = cross_correlation(image_emb, text_emb, **correlation)
    d = c.diagonal()
    first, second = weight(lambda_, c)
    loss: Tensor = total(first * agree(d) + second * repeat(c, d), c, image_emb)
    return loss


def off(c: Tensor, d: Tensor) -> Tensor:
    """C with a diagonal of zeros."""
    return c - torch.diag(d)


BARLOW_REMEDIES = {
    "agree": "the first term is the sum of (1 - C_ii)^2",
    "repeat": "the second term is the sum of C_ij^2 over all i and j that differ",
    "weight": "lambda_ multiplies the second term, off the diagonal, and it alone",
    "total": "the two sums are added as they are, and nothing is divided",
}
# c is C, d its diagonal, e the images' embeddings.
WRONG_BARLOW = mistakes(
    BARLOW_REMEDIES,
    repeat={
        "the diagonal is not left out of the second term": lambda c, d: c.square().sum(),
        "the entries off the diagonal are summed, and then squared": (
            lambda c, d: off(c, d).sum().square()
        ),
        "the entries off the diagonal are not squared": lambda c, d: off(c, d).sum(),
        "absolute values are taken off the diagonal": lambda c, d: off(c, d).abs().sum(),
        "only the upper triangle is counted": lambda c, d: c.triu(1).square().sum(),
        "only the lower triangle is counted": lambda c, d: c.tril(-1).square().sum(),
        "the upper triangle is counted twice: C is not symmetric, C_ij is not C_ji": (
            lambda c, d: 2 * c.triu(1).square().sum()
        ),
        "the entries off the diagonal are pulled to 1, too: they should be 0": (
            lambda c, d: (1 - c).square().sum() - (1 - d).square().sum()
        ),
        "the root of the sum of squares is taken": lambda c, d: off(c, d).norm(),
        "the mean of the entries off the diagonal is taken": (
            lambda c, d: redundancy(c, d) / max(1, len(c) * (len(c) - 1))
        ),
        "the mean over the whole matrix is taken": lambda c, d: off(c, d).square().mean(),
        "it is divided by D": lambda c, d: redundancy(c, d) / len(c),
        "the second term is missing": lambda c, d: 0 * c.sum(),
    },
    agree={
        "1 - C_ii^2 is taken, which -1 satisfies as well as 1": lambda d: (1 - d.square()).sum(),
        "(1 - C_ii) is not squared": lambda d: (1 - d).sum(),
        "the absolute value |1 - C_ii| is taken": lambda d: (1 - d).abs().sum(),
        "(1 - |C_ii|)^2 is taken, which -1 satisfies as well as 1": (
            lambda d: (1 - d.abs()).square().sum()
        ),
        "C_ii^2 is taken, which pulls the diagonal to 0 and not to 1": lambda d: d.square().sum(),
        "(1 + C_ii)^2 is taken, which pulls the diagonal to -1": lambda d: (1 + d).square().sum(),
        "the sum of (1 - C_ii) is squared: square each before you add": (
            lambda d: (1 - d).sum().square()
        ),
        "the mean over the dimensions is taken": lambda d: (1 - d).square().mean(),
        "(1 - C_ii^2)^2 is taken": lambda d: (1 - d.square()).square().sum(),
        "the root of the sum of squares is taken": lambda d: (1 - d).norm(),
        "the first term is missing": lambda d: 0 * d.sum(),
    },
    weight={
        "lambda_ multiplies the first term": lambda lambda_, c: (lambda_, 1),
        "lambda_ multiplies both terms": lambda lambda_, c: (lambda_, lambda_),
        "lambda_ is missing": lambda lambda_, c: (1, 1),
        "the first term is weighted by 1 - lambda_": lambda lambda_, c: (1 - lambda_, lambda_),
        "lambda_ is fixed at 0.0051: take the argument": lambda lambda_, c: (1, 0.0051),
        "lambda_ is fixed at 0.05: take the argument": lambda lambda_, c: (1, 0.05),
        "lambda_ is squared": lambda lambda_, c: (1, lambda_**2),
        "the second term is subtracted: it should be small": lambda lambda_, c: (1, -lambda_),
    },
    several={
        "both terms are means: take sums, and divide nothing": {
            "agree": lambda d: (1 - d).square().mean(),
            "repeat": lambda c, d: off(c, d).square().sum() / max(1, len(c) * (len(c) - 1)),
        },
    },
    total={
        "the loss is divided by D": lambda loss, c, e: loss / len(c),
        "the loss is divided by B": lambda loss, c, e: loss / len(e),
        "the loss is divided by D * D": lambda loss, c, e: loss / c.numel(),
        "the root of the loss is taken": lambda loss, c, e: loss.sqrt(),
        "the loss is halved": lambda loss, c, e: loss / 2,
        "the loss is negative": lambda loss, c, e: -loss,
    },
)
# A transposed C has the same loss, and entries in place of their squares have none of their own.
SAME_LOSS = ("the result is transposed",)
WRONG_BARLOW += [
    Mistake(f"in the cross-correlation (task 2), {mistake.says}", mistake.wrong)
    for mistake in WRONG_CORRELATIONS
    if not mistake.says.startswith(SAME_LOSS)
]
WRONG_BARLOW_GRADIENTS = [
    *mistakes(
        {},
        agree={
            "the first term is detached: both terms should teach": (
                lambda d: (1 - d.detach()).square().sum()
            )
        },
        repeat={
            "the second term is detached: both terms should teach": (
                lambda c, d: redundancy(c.detach(), d.detach())
            ),
            "the diagonal is detached in the second term, which leaves its own gradient there: "
            "take it off with its gradient, or mask it": (lambda c, d: redundancy(c, d.detach())),
        },
    ),
    *WRONG_CORRELATION_GRADIENTS,
]
