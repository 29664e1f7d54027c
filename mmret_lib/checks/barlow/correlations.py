"""The cross-correlation in steps, and the mistakes in each step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.barlow.standardising import (
    WRONG_STANDARDISING_GRADIENTS,
    over_all,
    standardise,
    unbiased,
)
from mmret_lib.checks.engine.task import Formula, Mistake, mistakes


def cross_correlation(
    image_emb: Tensor,
    text_emb: Tensor,
    *,
    standards: Formula = lambda i, t: (standardise(i), standardise(t)),
    table: Formula = lambda i, t: i.T @ t,
    divisor: Formula = len,
    shown: Formula = lambda c: c,
) -> Tensor:
    """The correlation of every image dimension with every text dimension, (D, D)."""
    i, t = standards(image_emb, text_emb)
    result: Tensor = shown(table(i, t) / divisor(image_emb))
    return result


def both(**steps: Any) -> Formula:
    """A `standards` that does the same to both branches, with steps of `standardise`."""
    return lambda i, t: (standardise(i, **steps), standardise(t, **steps))


def jointly(i: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """One mean and one variance for both branches."""
    z = standardise(torch.cat([i, t]))
    return z[: len(i)], z[len(i) :]


CORRELATION_REMEDIES = {
    "standards": "standardise each branch (task 1) before the product",
    "table": "C[i, j] has image dimension i and text dimension j: (D, B) @ (B, D)",
    "divisor": "divide by the number of pairs, B",
    "shown": "correlations go from -1 to 1, and are taken as they are",
}
WRONG_CORRELATIONS = mistakes(
    CORRELATION_REMEDIES,
    table={
        "the result is transposed: rows are image dimensions, columns are text dimensions": (
            lambda i, t: t.T @ i
        ),
        "images are correlated with images": lambda i, t: i.T @ i,
        "texts are correlated with texts": lambda i, t: t.T @ t,
        "only the diagonal is kept": lambda i, t: torch.diag((i * t).sum(dim=0)),
    },
    divisor={
        "the product is not divided by B": lambda e: 1,
        "divided by D": lambda e: e.shape[1],
        "divided by B - 1 (as with the unbiased variance)": lambda e: len(e) - 1,
        "divided by the square root of B": lambda e: len(e) ** 0.5,
        "divided by B * D": lambda e: e.numel(),
    },
    standards={
        "the embeddings are not standardised": lambda i, t: (i, t),
        "only the images are standardised": lambda i, t: (standardise(i), t),
        "only the texts are standardised": lambda i, t: (i, standardise(t)),
        "the means are subtracted, and nothing is divided, which makes it a covariance": both(
            scaled=lambda x, v, eps: x
        ),
        "the means are not subtracted": both(
            offset=lambda e: 0 * e, variance=lambda e: e.square().mean(0, keepdim=True)
        ),
        "the rows are scaled to length 1 instead of standardising the columns": lambda i, t: (
            F.normalize(i, dim=1),
            F.normalize(t, dim=1),
        ),
        "the rows are scaled to length 1 before standardising: take them as they are": (
            lambda i, t: (standardise(F.normalize(i, dim=1)), standardise(F.normalize(t, dim=1)))
        ),
        "both branches get one common mean and variance: each branch has its own": jointly,
        "each row is standardised and not each dimension (dim=0)": lambda i, t: (
            standardise(i.T).T,
            standardise(t.T).T,
        ),
        "one mean and one variance are taken of the whole matrix: each dimension has its own": both(
            offset=torch.mean, variance=over_all
        ),
        "the variance is divided by B - 1 and the product by B: divide both by B, as standardise "
        "(task 1) does": both(variance=unbiased),
        "eps is left out: use standardise (task 1) as it is": both(eps_used=lambda eps: 0),
        "eps is added outside of the root: it belongs inside, as in standardise (task 1)": both(
            scaled=lambda x, v, eps: x / (v.sqrt() + eps)
        ),
    },
    several={
        "eps is left out, and variance and product are divided by B - 1: use standardise (task 1) "
        "and divide by B": {
            "standards": both(variance=unbiased, eps_used=lambda eps: 0),
            "divisor": lambda e: len(e) - 1,
        },
        "variance and product are divided by B - 1, which nearly cancels, but eps does not: use "
        "standardise (task 1) and divide by B": {
            "standards": both(variance=unbiased),
            "divisor": lambda e: len(e) - 1,
        },
        "the columns are divided by their lengths, which leaves eps out: use standardise (task 1) "
        "and divide the product by B": {
            "standards": both(scaled=lambda x, v, eps: F.normalize(x, dim=0)),
            "divisor": lambda e: 1,
        },
        "the columns are scaled to length 1 without subtracting their means: standardise each "
        "branch (task 1) before the product": {
            "standards": lambda i, t: (F.normalize(i, dim=0), F.normalize(t, dim=0)),
            "divisor": lambda e: 1,
        },
    },
    shown={
        "the absolute value hides whether two dimensions agree or oppose": torch.abs,
        "negative correlations are cut off": torch.relu,
        "the entries are squared": torch.square,
        "1 is subtracted on the diagonal, which belongs to the loss": (
            lambda c: c - torch.eye(len(c), dtype=c.dtype, device=c.device)
        ),
        "the diagonal is set to 0, which belongs to the loss": (
            lambda c: c - torch.diag(c.diagonal())
        ),
        "a softmax is taken of the rows": lambda c: c.softmax(dim=1),
    },
)
WRONG_CORRELATION_GRADIENTS = [
    *mistakes(
        {},
        standards={
            "the images are detached: both branches should learn": lambda i, t: (
                standardise(i.detach()),
                standardise(t),
            ),
            "the texts are detached: both branches should learn": lambda i, t: (
                standardise(i),
                standardise(t.detach()),
            ),
        },
    ),
    *(
        Mistake(f"in standardise, {mistake.says}", {"standards": both(**dict(mistake.wrong))})
        for mistake in WRONG_STANDARDISING_GRADIENTS
        if not callable(mistake.wrong)
    ),
]
