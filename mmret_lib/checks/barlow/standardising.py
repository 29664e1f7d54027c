"""Standardising in steps, and the mistakes in each step.

With the steps as they are, the formula equals that of `mmret_lib.losses.barlow`; the tests compare.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, mistakes

EPS = 1e-5


def mean_of(e: Tensor) -> Tensor:
    """The mean of each dimension over the batch, (1, D)."""
    return e.mean(dim=0, keepdim=True)


def variance_of(e: Tensor) -> Tensor:
    """The biased variance of each dimension over the batch, (1, D)."""
    return e.var(dim=0, correction=0, keepdim=True)


def standardise(
    emb: Tensor,
    eps: float = EPS,
    *,
    offset: Formula = mean_of,
    variance: Formula = variance_of,
    eps_used: Formula = lambda eps: eps,
    scaled: Formula = lambda x, v, eps: x / (v + eps).sqrt(),
    finished: Formula = lambda z: z,
) -> Tensor:
    """Bring each dimension of (B, D) to mean 0 and variance 1 over the batch."""
    result: Tensor = finished(scaled(emb - offset(emb), variance(emb), eps_used(eps)))
    return result


def of_rows(e: Tensor) -> Tensor:
    """The biased variance of each row, (B, 1)."""
    return e.var(dim=1, correction=0, keepdim=True)


def unbiased(e: Tensor) -> Tensor:
    """The variance that divides by B - 1, (1, D)."""
    return e.var(dim=0, keepdim=True)


def over_all(e: Tensor) -> Tensor:
    """The variance over all numbers of the matrix, ()."""
    return e.var(correction=0)


# In the steps x are the embeddings less the offset, v the variances, e the embeddings.
STANDARDISE_REMEDIES = {
    "offset": "subtract the mean of each dimension (column) over the batch, dim=0",
    "variance": "take the variance of each dimension (column) over the batch, divided by B: "
    "var(dim=0, correction=0)",
    "scaled": "divide by the square root of (variance + eps)",
    "eps_used": "take the argument",
    "finished": "the columns should have mean 0 and variance 1, and nothing follows",
}
WRONG_STANDARDISING = mistakes(
    STANDARDISE_REMEDIES,
    several={
        "the wrong axis: each row is standardised, as layer norm does it. Take mean and variance "
        "of each dimension over the batch, dim=0": {
            "offset": lambda e: e.mean(dim=1, keepdim=True),
            "variance": of_rows,
        },
        "the wrong axis, with the variance divided by D - 1: take mean and variance of each "
        "dimension over the batch, dim=0 and correction=0": {
            "offset": lambda e: e.mean(dim=1, keepdim=True),
            "variance": lambda e: e.var(dim=1, keepdim=True),
        },
        "one mean and one variance are taken of the whole matrix: each dimension has its own, "
        "dim=0": {"offset": torch.mean, "variance": over_all},
        "one unbiased variance and one mean are taken of the whole matrix: each dimension has its "
        "own, dim=0 and correction=0": {"offset": torch.mean, "variance": torch.var},
        "the columns are divided by their length, so they have variance 1 / B: divide by the "
        "standard deviation": {
            "scaled": lambda x, v, eps: F.normalize(x, dim=0),
        },
        "the rows are scaled to length 1 instead: standardise the columns (dim=0)": {
            "offset": lambda e: 0 * e,
            "scaled": lambda x, v, eps: F.normalize(x, dim=1),
        },
        "eps is added outside of the root, and the variance divided by B - 1: it is "
        "(variance + eps).sqrt(), with correction=0": {
            "variance": unbiased,
            "scaled": lambda x, v, eps: x / (v.sqrt() + eps),
        },
    },
    offset={
        "the mean is not subtracted": lambda e: 0 * e,
        "the mean of each row is subtracted": lambda e: e.mean(dim=1, keepdim=True),
        "one mean of the whole matrix is subtracted": torch.mean,
        "the median is subtracted": lambda e: e.median(dim=0, keepdim=True).values,
        "the smallest value is subtracted": lambda e: e.amin(dim=0, keepdim=True),
        "the mean is added": lambda e: -mean_of(e),
    },
    scaled={
        "eps is added outside of the root": lambda x, v, eps: x / (v.sqrt() + eps),
        "eps is missing, and a deviation of 0 is replaced: eps is added to every variance": (
            lambda x, v, eps: x / v.sqrt().where(v > 0, 1)
        ),
        "eps is a lower limit here, clamp(min=eps): it is added, to the variance": (
            lambda x, v, eps: x / v.clamp(min=eps).sqrt()
        ),
        "the standard deviation is limited by eps from below: eps is added to the variance, "
        "inside of the root": lambda x, v, eps: x / v.sqrt().clamp(min=eps),
        "the square root is missing": lambda x, v, eps: x / (v + eps),
        "eps is missing, and a constant dimension becomes 0 / 0": lambda x, v, eps: x / v.sqrt(),
        "multiplied where a division is wanted": lambda x, v, eps: x * (v + eps).sqrt(),
        "the mean is subtracted, and nothing is divided": lambda x, v, eps: x,
        "eps is squared": lambda x, v, eps: x / (v + eps**2).sqrt(),
        "eps is subtracted": lambda x, v, eps: x / (v - eps).sqrt(),
    },
    variance={
        "the variance is unbiased, divided by B - 1 (torch's default): batch norm divides by B, "
        "var(dim=0, correction=0)": unbiased,
        "the mean of the squares is taken for the variance: subtract the mean before you square": (
            lambda e: e.square().mean(dim=0, keepdim=True)
        ),
        "the mean distance from the mean is taken for the deviation": (
            lambda e: (e - mean_of(e)).abs().mean(dim=0, keepdim=True).square()
        ),
        "the range is taken (min-max scaling)": (
            lambda e: (e.amax(0, keepdim=True) - e.amin(0, keepdim=True)).square()
        ),
        "the sum of squares is not divided by B": lambda e: len(e) * variance_of(e),
        "one variance of the whole matrix is taken": over_all,
        "the variance of each row is taken": of_rows,
    },
    eps_used={
        "eps is fixed at 1e-5 in the code": lambda eps: EPS,
        "eps is fixed at 1e-8 in the code": lambda eps: 1e-8,
        "eps is fixed at 1e-3 in the code": lambda eps: 1e-3,
    },
    finished={
        "the rows are scaled to length 1 afterwards": lambda z: F.normalize(z, dim=1),
        "the result is squashed by tanh": torch.tanh,
        "the sign is turned": torch.neg,
    },
)
WRONG_STANDARDISING_GRADIENTS = mistakes(
    {},
    several={
        "mean and variance are detached, but they depend on the batch: compute them outside of "
        "torch.no_grad and without .detach()": {
            "offset": lambda e: mean_of(e.detach()),
            "variance": lambda e: variance_of(e.detach()),
        }
    },
    offset={
        "the mean is detached, but it depends on every row: take it as it is": (
            lambda e: mean_of(e.detach())
        )
    },
    variance={
        "the variance is detached, but it depends on every row: take it as it is": (
            lambda e: variance_of(e.detach())
        )
    },
)
