"""The p of a paired test, counted over all patterns of signs, and what else it is taken for."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Tensor

from mmret_lib.checks.engine.seeds import seeded

Pairs = tuple[Tensor, Tensor]
P = Callable[[Tensor, Tensor], float]


def patterns(pairs: int, signs: tuple[float, ...] = (1, -1)) -> Tensor:
    """All patterns of signs, (2 ** pairs, pairs)."""
    return torch.cartesian_prod(*[torch.tensor(signs, dtype=torch.float64)] * pairs)


def counted(far: Callable[[Tensor, Tensor], Tensor], signs: tuple[float, ...] = (1, -1)) -> P:
    """The share of all patterns whose sums are `far` from 0, beside the sum that was found."""

    def p(first: Tensor, second: Tensor) -> float:
        difference = first - second
        sums = patterns(len(difference), signs) @ difference
        return float(far(sums, difference.sum()).double().mean())

    return p


def as_far(sums: Tensor, found: Tensor) -> Tensor:
    """Which sums lie as far from 0 as the one that was found, or further."""
    return sums.abs() >= found.abs() - 1e-9


right_p = counted(as_far)


def of_two_groups(first: Tensor, second: Tensor) -> float:
    """A wrong p: all results are dealt anew to two groups, whichever seed they are of."""
    both, found = torch.cat([first, second]), abs(first.mean() - second.mean())
    order = torch.rand(40_000, len(both), generator=seeded(5)).argsort(dim=1)
    dealt = both[order]
    apart = dealt[:, : len(first)].mean(1) - dealt[:, len(first) :].mean(1)
    return float((apart.abs() >= found - 1e-9).double().mean())


def of_the_bootstrap(first: Tensor, second: Tensor) -> float:
    """A wrong p: how often the mean of drawn differences has the other sign."""
    difference = first - second
    drawn = difference[torch.randint(len(first), (40_000, len(first)), generator=seeded(6))].mean(1)
    return float((drawn * difference.mean().sign() <= 0).double().mean())


def any_factor(first: Tensor, second: Tensor) -> float:
    """A wrong p: the differences are multiplied by random numbers from -1 to 1."""
    difference = first - second
    factors = 2 * torch.rand(40_000, len(first), generator=seeded(7), dtype=torch.float64) - 1
    return float(as_far(factors @ difference, difference.sum()).double().mean())


def sign_test(first: Tensor, second: Tensor) -> float:
    """A wrong p: only the signs of the differences count, and not how large they are."""
    difference = first - second
    found = abs(int(difference.sign().sum()))
    sums = patterns(len(difference)).sum(dim=1).abs()
    return float((sums >= found).double().mean())


def normal(first: Tensor, second: Tensor) -> float:
    """A wrong p: that of the normal distribution."""
    difference = first - second
    z = abs(float(difference.mean() / (difference.std() / len(difference) ** 0.5)))
    return 2 * (1 - NormalDist().cdf(z))


WRONG: list[tuple[str, P]] = [
    (
        "one side alone is counted: two trials may differ either way, so compare absolute values "
        "of the mean differences",
        counted(lambda sums, found: sums >= found - 1e-9),
    ),
    (
        "one side alone is counted, the other one: compare absolute values of the mean differences",
        counted(lambda sums, found: sums <= found + 1e-9),
    ),
    (
        "one side alone is counted: mean differences far below 0 are as far as those above, so "
        "take absolute values on both sides of >=",
        counted(lambda sums, found: sums >= found.abs() - 1e-9),
    ),
    (
        "only patterns that lie further away are counted: those that lie exactly as far, as the "
        "signs that were found, count too (>=)",
        counted(lambda sums, found: sums.abs() > found.abs() + 1e-9),
    ),
    (
        "this is 1 - p, the share of the patterns that lie nearer: count those that lie as far "
        "away as what was found, or further",
        counted(lambda sums, found: sums.abs() < found.abs() - 1e-9),
    ),
    (
        "the patterns that lie as far away at the most are counted: those at least as far are "
        "wanted",
        counted(lambda sums, found: sums.abs() <= found.abs() + 1e-9),
    ),
    (
        "the results are dealt to two groups anew, as if they were not paired: a seed's two "
        "results stay together, and only the sign of their difference is drawn",
        of_two_groups,
    ),
    (
        "the differences are drawn with replacement (the bootstrap): keep every difference, and "
        "draw its sign",
        of_the_bootstrap,
    ),
    (
        "only the signs of the differences count: their sizes count as well, in the mean of "
        "sign · difference",
        sign_test,
    ),
    ("the normal distribution is used: count drawn patterns", normal),
    (
        "the signs are 0 and 1 (or 0 and -1), so differences are left out and not turned: "
        "2 * torch.randint(2, ...) - 1 is -1 or 1",
        counted(as_far, (1, 0)),
    ),
    (
        "some signs are 0, because torch.randint(-1, 2, ...) draws from -1, 0 and 1: "
        "2 * torch.randint(2, ...) - 1 is -1 or 1",
        counted(as_far, (1, 0, -1)),
    ),
    (
        "the differences are multiplied by any numbers from -1 to 1 (torch.rand): a sign is -1 or "
        "1, 2 * torch.randint(2, ...) - 1",
        any_factor,
    ),
    (
        "one sign is drawn for all pairs, so every pattern lies as far away: each pair has a sign "
        "of its own",
        lambda first, second: 1.0,
    ),
]  # fmt: skip

SCALED: list[tuple[str, float, P]] = [
    ("percent are returned: p lies between 0 and 1", 100, right_p),
    (
        "one side alone is counted and then doubled, which counts some patterns twice: compare "
        "absolute values",
        2,
        WRONG[0][1],
    ),
    ("p is doubled: with absolute values both sides are counted already", 2, right_p),
    ("p is halved: both sides count", 0.5, right_p),
]
