"""The pairs that hide in Barlow Twins' second term, and the mistakes about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmret_lib.checks.barlow.correlations import both
from mmret_lib.checks.barlow.standardising import over_all, standardise, unbiased
from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Formula, mistakes


def hidden_pairs(
    image_emb: Tensor,
    text_emb: Tensor,
    *,
    standards: Formula = lambda i, t: (standardise(i), standardise(t)),
    grams: Formula = lambda i, t: (i @ i.T, t @ t.T),
    everything: Formula = lambda i, t: (i * t).sum(),
    diagonal: Formula = lambda i, t: (i * t).sum(dim=0).square().sum(),
    scale: Formula = lambda e: len(e) ** 2,
    combined: Formula = lambda total, on: (total - on, on),
) -> tuple[Tensor, Tensor]:
    """The sums of squares of C off and on its diagonal, from two (B, B) matrices, scalars."""
    i, t = standards(image_emb, text_emb)
    total = everything(*grams(i, t)) / scale(image_emb)
    on = diagonal(i, t) / scale(image_emb)
    result: tuple[Tensor, Tensor] = combined(total, on)
    return result


def without_diagonal(matrix: Tensor) -> Tensor:
    """The matrix with a diagonal of zeros."""
    return matrix - torch.diag(matrix.diagonal())


REMEDIES = {
    "standards": "standardise each branch (task 1) first",
    "grams": "one matrix (B, B) compares images with images, Za Za^T, the other texts with texts, "
    "Zt Zt^T",
    "everything": "multiply the two matrices entry by entry and sum over all pairs of pairs, "
    "b = k among them",
    "diagonal": "C_ii is the mean over the batch of za_bi zt_bi: square it, and sum over i",
    "scale": "C has a factor of 1 / B, its square one of 1 / B^2",
    "combined": "return (off, on) in this order, where off + on is the sum over all of C",
}
WRONG_HIDDEN = mistakes(
    REMEDIES,
    combined={
        "the order is turned round": lambda total, on: (on, total - on),
        "the first number is the sum over all of C": lambda total, on: (total, on),
        "the second number is the sum over all of C": lambda total, on: (total - on, total),
        "the diagonal is added and not taken away": lambda total, on: (total + on, on),
        "roots are taken of the sums": lambda total, on: ((total - on).sqrt(), on.sqrt()),
        "the sign of the first number is turned": lambda total, on: (on - total, on),
    },
    several={
        "the diagonal of the (B, B) matrices, where b = k, is taken for that of C: the two are "
        "different things. C_ii is the mean over the batch of za_bi zt_bi": {
            "everything": lambda i, t: (i * t).sum() + 0 * i.sum(),
            "diagonal": lambda i, t: (i.square().sum(dim=1) * t.square().sum(dim=1)).sum(),
        },
        "the pairs with themselves (b = k) are left out: they count, too, for the diagonal of C is "
        "another than that of the (B, B) matrices": {
            "everything": lambda i, t: (without_diagonal(i) * t).sum(),
        },
        "the pairs b and k that differ are taken for the entries of C off its diagonal: off is the "
        "sum over all pairs, less on": {
            "everything": lambda i, t: (without_diagonal(i) * t).sum(),
            "combined": lambda total, on: (total, on),
        },
        "the diagonal of C is not squared: square each C_ii and add": {
            "diagonal": lambda i, t: len(i) * (i * t).sum(),
        },
        "the divisor of the total is B and not B^2: C has a factor of 1 / B, its square one of "
        "1 / B^2": {"everything": lambda i, t: len(i) * (i * t).sum()},
        "the divisor of the diagonal is B and not B^2: C has a factor of 1 / B, its square one of "
        "1 / B^2": {"diagonal": lambda i, t: len(i) * (i * t).sum(dim=0).square().sum()},
    },
    grams={
        "only the images are compared": lambda i, t: (i @ i.T, i @ i.T),
        "only the texts are compared": lambda i, t: (t @ t.T, t @ t.T),
        "images are compared with texts in both matrices": lambda i, t: (i @ t.T, i @ t.T),
        "images are compared with texts, once each way": lambda i, t: (i @ t.T, t @ i.T),
        "cosines are compared and not dot products: do not scale the rows": lambda i, t: (
            F.normalize(i, dim=1) @ F.normalize(i, dim=1).T,
            F.normalize(t, dim=1) @ F.normalize(t, dim=1).T,
        ),
        "negative products are cut off": lambda i, t: ((i @ i.T).relu(), (t @ t.T).relu()),
        "absolute values are taken": lambda i, t: ((i @ i.T).abs(), (t @ t.T).abs()),
    },
    everything={
        "the matrix product is summed over all entries: only its trace is wanted": (
            lambda i, t: (i @ t).sum()
        ),
        "the product of the two traces is taken": lambda i, t: i.trace() * t.trace(),
        "the product of the two sums is taken": lambda i, t: i.sum() * t.sum(),
        "the two matrices are added": lambda i, t: (i + t).sum(),
        "the product is squared": lambda i, t: (i * t).square().sum(),
        "each pair is counted once, in the upper triangle: (b, k) and (k, b) both count": (
            lambda i, t: (i * t).triu().sum()
        ),
        "only b = k is counted": lambda i, t: (i * t).trace(),
    },
    diagonal={
        "(1 - C_ii)^2 is summed, which is the loss's first term": (
            lambda i, t: ((len(i) - (i * t).sum(dim=0)).square()).sum()
        ),
        "products are squared before the mean over the batch is taken": (
            lambda i, t: len(i) * (i * t).square().sum()
        ),
        "the sum goes over the dimensions first: that is a number for each pair, not for each "
        "dimension": lambda i, t: (i * t).sum(dim=1).square().sum(),
        "the diagonal is summed before it is squared": lambda i, t: (i * t).sum().square(),
        "absolute values are summed": lambda i, t: len(i) * (i * t).sum(dim=0).abs().sum(),
        "the mean over the dimensions is taken: sum over them": (
            lambda i, t: (i * t).sum(dim=0).square().mean()
        ),
    },
    scale={
        "nothing is divided": lambda e: 1,
        "divided by B": len,
        "divided by B * (B - 1)": lambda e: len(e) * (len(e) - 1),
        "divided by (B - 1)^2": lambda e: (len(e) - 1) ** 2,
        "divided by D^2": lambda e: e.shape[1] ** 2,
    },
    standards={
        "the embeddings are not standardised": lambda i, t: (i, t),
        "only the images are standardised": lambda i, t: (standardise(i), t),
        "only the texts are standardised": lambda i, t: (i, standardise(t)),
        "the means are subtracted, and nothing is divided": both(scaled=lambda x, v, eps: x),
        "the rows are scaled to length 1 instead of standardising the columns": lambda i, t: (
            F.normalize(i, dim=1),
            F.normalize(t, dim=1),
        ),
        "the variance is divided by B - 1: divide it by B": both(variance=unbiased),
        "one mean and one variance are taken of the whole matrix: each dimension has its own": both(
            offset=torch.mean, variance=over_all
        ),
        "each row is standardised and not each dimension (dim=0)": lambda i, t: (
            standardise(i.T).T,
            standardise(t.T).T,
        ),
        "eps is left out: use standardise (task 1) as it is": both(eps_used=lambda eps: 0),
    },
)
WRONG_HIDDEN_GRADIENTS = mistakes(
    {},
    combined={
        "the diagonal is detached where it is taken away: both numbers should carry gradients": (
            lambda total, on: (total - on.detach(), on)
        ),
        "the first number is detached: both numbers should carry gradients": (
            lambda total, on: ((total - on).detach(), on)
        ),
        "the second number is detached: both numbers should carry gradients": (
            lambda total, on: (total - on, on.detach())
        ),
    },
    standards={
        "the images are detached": lambda i, t: (standardise(i.detach()), standardise(t)),
        "the texts are detached": lambda i, t: (standardise(i), standardise(t.detach())),
    },
)


class Watch(TorchFunctionMode):
    """Notes the shapes of the tensors that torch functions return, and how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[torch.Size] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function and look at its result."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.shapes.append(result.shape)
        return result


def makes_no_table(function: Callable[..., Any]) -> str | None:
    """Say that the (D, D) matrix is made, whole or in parts, or None."""
    generator = seeded(0)
    image_emb, text_emb = torch.randn(2, 4, 700, generator=generator, dtype=torch.float64)
    with Watch() as watch:
        function(image_emb, text_emb)
    largest = max(watch.shapes, key=torch.Size.numel, default=torch.Size())
    if largest.numel() >= 700 * 700:
        return (
            "the cross-correlation is made, a (D, D) matrix: with 4 pairs of 700 dimensions it has "
            "490,000 entries. Multiply two (B, B) matrices entry by entry instead: images with "
            "images, and texts with texts"
        )
    if sorted(largest)[-3:] == [4, 4, 700]:
        return (
            "a tensor (B, B, D) is made: the dot products of all rows are one matrix product, "
            "(B, D) @ (D, B)"
        )
    if largest.numel() >= 4 * 4 * 700 or len(watch.shapes) >= 700:
        return (
            "the cross-correlation is made in parts, by rows or blocks of its D dimensions: go "
            "over the pairs instead. Multiply two (B, B) matrices entry by entry: images with "
            "images, and texts with texts"
        )
    return None
