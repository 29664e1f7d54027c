"""The log-sum-exp of exercise 05's task 1, in steps and with its mistakes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes


def finite(largest: Tensor) -> Tensor:
    """The largest entries, 0 where they are infinite: inf - inf would be NaN."""
    return largest.masked_fill(largest.isinf(), 0)


def safe_log(total: Tensor) -> Tensor:
    """The log, -inf at 0, where the derivative is 0 and not 1 / 0."""
    empty = total == 0
    return total.masked_fill(empty, 1).log().masked_fill(empty, -math.inf)


def log_sum_exp(
    x: Tensor,
    dim: int,
    *,
    axis: Formula = lambda x, dim: dim,
    shift: Formula = lambda x, dim: finite(x.detach().amax(dim=dim, keepdim=True)),
    power: Formula = torch.exp,
    combine: Formula = lambda x, dim: x.sum(dim=dim),
    log: Formula = safe_log,
    back: Formula = lambda value, shift: value + shift,
) -> Tensor:
    """Compute log(sum(exp(x))) over dim: x without that dimension.

    A row of -inf gives -inf with the gradient 0, a row with +inf gives +inf.
    """
    dim = axis(x, dim)
    taken = shift(x, dim)
    total = combine(power(x - taken), dim)
    result: Tensor = back(log(total), taken.squeeze(dim) if taken.ndim == x.ndim else taken)
    return result


def other_axis(x: Tensor, dim: int) -> int:
    """The axis before this one; the last one for the first."""
    return dim % x.ndim - 1


def nothing(x: Tensor, dim: int) -> Tensor:
    """No shift at all."""
    return x.new_zeros(())


NAIVE = (
    "exp overflows to inf, or all its terms underflow to 0 and log(0) is -inf: subtract each row's "
    "largest entry before exp, and add it again after log"
)
EMPTY = (
    "for a row of -inf alone it gives NaN, from -inf - (-inf): its sum is 0, so the result should "
    "be -inf. Subtract 0 where the largest entry is infinite"
)
WRONG_SUMS = [
    *mistakes(
        {
            "axis": "sum along dim, as it is given, which may be negative",
            "shift": "each row needs its own largest entry: amax(dim=dim, keepdim=True)",
            "power": "the exponential is e to the power of x, x.exp()",
            "combine": "the exponentials are added",
            "log": "the natural logarithm is taken of the sum, .log()",
            "back": "after the log, add once what was subtracted before exp",
        },
        shift={
            NAIVE: nothing,
            EMPTY: lambda x, dim: x.detach().amax(dim=dim, keepdim=True),
            "the largest entry of the whole tensor is subtracted, beside which a low row's "
            "exponentials underflow to 0": lambda x, dim: finite(x.detach().max()),
            "the smallest entry is subtracted, and exp still overflows": (
                lambda x, dim: x.detach().amin(dim=dim, keepdim=True)
            ),
            "the mean is subtracted, and exp can still overflow": (
                lambda x, dim: finite(x.detach().mean(dim=dim, keepdim=True))
            ),
        },
        back={
            "what was subtracted is not added again": lambda value, shift: value,
            "what was subtracted is subtracted once more": lambda value, shift: value - shift,
            "what was subtracted is multiplied, not added": lambda value, shift: value * shift,
        },
        log={
            "the log is missing": lambda total: total,
            "log10 is taken": torch.log10,
            "log2 is taken": torch.log2,
            "log1p adds 1 to the sum": torch.log1p,
        },
        axis={
            "it always sums along the last dimension": lambda x, dim: -1,
            "it always sums along dimension 1": lambda x, dim: min(1, x.ndim - 1),
            "it always sums along the first dimension": lambda x, dim: 0,
            "it sums along another dimension": other_axis,
        },
        combine={
            "the mean is taken": lambda x, dim: x.mean(dim=dim),
            "the largest is taken": lambda x, dim: x.amax(dim=dim),
            "they are multiplied": lambda x, dim: x.prod(dim=dim),
        },
        power={
            "expm1 subtracts 1 from each": torch.expm1,
            "2 ** x is taken": torch.exp2,
            "exp is missing": lambda x: x,
        },
    ),
    Mistake(
        "the largest entry of the whole tensor is subtracted, beside which a low row's "
        "exponentials underflow to 0: each row needs its own, amax(dim=dim, keepdim=True)",
        {"shift": lambda x, dim: x.detach().max()},
    ),
    *(
        Mistake(
            f"log{base} is taken: the natural logarithm is wanted, .log()",
            lambda x, dim, base=base: torch.logsumexp(x, dim=dim) / math.log(base),
        )
        for base in (10, 2)
    ),
    Mistake(
        "the maximum alone is returned: the log of the sum of exponentials is wanted",
        lambda x, dim: x.amax(dim=dim),
    ),
    Mistake(
        "the logarithms are summed, log(exp(x)) is x: first add the exponentials, then take the "
        "log of the sum",
        lambda x, dim: x.sum(dim=dim),
    ),
    Mistake(
        f"infinite entries are replaced by 0, which adds e^0 = 1: {EMPTY[: EMPTY.index(':')]} only "
        "if the whole row's maximum is not finite",
        lambda x, dim: torch.logsumexp(x.masked_fill(x.isinf(), 0), dim=dim),
    ),
    Mistake(
        "a row of -inf alone gives a very low number, or 0, and should give -inf: a query without "
        "any term has an empty sum, whose log is -inf",
        lambda x, dim: torch.logsumexp(x, dim=dim).nan_to_num(neginf=0, posinf=math.inf),
    ),
]
WRONG_SUM_GRADIENTS = mistakes(
    {},
    back={
        "the largest entry is detached where it is added, or where it is subtracted: detach it in "
        "both places, or in none. Its derivatives cancel only together": lambda value, shift: value,
    },
    power={"the exponentials are detached": lambda x: x.detach().exp()},
)
