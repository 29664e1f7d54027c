"""The bootstrap's interval in steps, and the ways to get it wrong."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

DRAWS = 2000  # what the task asks for


def mean_of_rows(values: Tensor) -> Tensor:
    """(N,) the mean of each image's values."""
    return values.reshape(len(values), -1).mean(dim=1)


def rows_drawn(count: int, draws: int, generator: torch.Generator) -> Tensor:
    """(draws, count) indices, drawn with replacement."""
    return torch.randint(count, (draws, count), generator=generator)


def middle(means: Tensor, level: float, values: Tensor) -> Tensor:
    """(2,) the ends of the middle share of the means."""
    tail = (1 - level) / 2
    return means.quantile(torch.tensor([tail, 1 - tail], dtype=means.dtype))


def bootstrap_interval(
    values: Tensor,
    generator: torch.Generator,
    level: float,
    *,
    draws: int = DRAWS,
    rows: Formula = mean_of_rows,
    drawn: Formula = rows_drawn,
    statistic: Formula = lambda chosen: chosen.mean(dim=1),
    ends: Formula = middle,
    result: Formula = lambda ends, values: ends,
) -> tuple[float, float]:
    """(low, high): where the middle `level` of the means of drawn images lie."""
    each = rows(values)
    means = statistic(each[drawn(len(each), draws, generator)])
    low, high = result(ends(means, level, values), values)
    return float(low), float(high)


def spread(values: Tensor) -> float:
    """The standard deviation of the mean over images."""
    return float(mean_of_rows(values).std(correction=0) / len(values) ** 0.5)


def plain_normal(means: Tensor, level: float, values: Tensor) -> Tensor:
    """A wrong `ends`: the mean plus and minus some standard deviations."""
    reach = NormalDist().inv_cdf((1 + level) / 2) * spread(values)
    return values.mean() + torch.tensor([-reach, reach])


def fewer(part: Callable[[int], int]) -> Formula:
    """A wrong `drawn`: another number of images."""
    return lambda n, draws, g: torch.randint(n, (draws, part(n)), generator=g)


def mean_of_distinct(chosen: Tensor) -> Tensor:
    """A wrong `statistic`: the mean of the different values in each row."""
    ordered = chosen.sort(dim=1).values
    new = torch.ones_like(ordered)
    new[:, 1:] = (ordered.diff(dim=1) > 0).to(new)
    mean: Tensor = (ordered * new).sum(dim=1) / new.sum(dim=1)
    return mean


def at(low: Callable[[float], float], high: Callable[[float], float]) -> Formula:
    """A wrong `ends`: at other quantiles."""
    return lambda means, level, values: torch.stack(
        [means.quantile(low(level)), means.quantile(high(level))]
    )


ROWS = (
    "draw images, that is rows of `values`, each with all its captions: those of one picture are "
    "found or missed together"
)
TAILS = "half of what lies outside of the level is below the interval, half above: (1 - level) / 2"
WRONG_INTERVALS: list[Mistake] = mistakes(
    {"ends": TAILS, "drawn": "draw N images out of N, with replacement", "rows": ROWS},
    rows={
        "single values are drawn, as if the captions of one picture were independent": torch.ravel,
        "only the first value of each image is used": lambda v: v.reshape(len(v), -1)[:, 0],
        "the last value of each image is left out": (
            lambda v: v if v.ndim == 1 else v[:, :-1].mean(dim=1)
        ),
        "the median of each image's values is taken, and not their mean": (
            lambda v: v if v.ndim == 1 else v.quantile(0.5, dim=1)
        ),
        "the best value of each image is taken, and not their mean: take the mean of all that is "
        "drawn": lambda v: v.reshape(len(v), -1).amax(dim=1),
        "the captions' means are drawn (the mean over dim=0), and not the images'": (
            lambda v: v.mean(dim=0) if v.ndim > 1 else v
        ),
    },
    ends={
        "the whole of 1 - level lies at each end": at(lambda level: 1 - level, lambda level: level),
        "the level is fixed in the code (as 0.95): take the argument": at(
            lambda level: 0.025, lambda level: 0.975
        ),
        "the lower end is right and the upper end is the level itself": at(
            lambda level: (1 - level) / 2, lambda level: level
        ),
        "the lower end is 1 - level, the upper end is right": at(
            lambda level: 1 - level, lambda level: (1 + level) / 2
        ),
        "the tails are taken for the interval: low and high leave the level outside": at(
            lambda level: level / 2, lambda level: 1 - level / 2
        ),
        "for a level below 0.5 the tails are those of 1 - level": at(
            lambda level: min(level, 1 - level) / 2, lambda level: 1 - min(level, 1 - level) / 2
        ),
        "a normal distribution is assumed: the ends are to be quantiles of the means, which need "
        "not lie evenly around the middle": plain_normal,
        "1.96 standard deviations are taken to each side, whatever the level, as for a normal "
        "distribution: the ends are to be quantiles of the means": (
            lambda means, level, values: plain_normal(means, 0.95, values)
        ),
        "mean plus and minus one standard deviation is taken": lambda means, level, values: (
            means.mean() + means.std() * torch.tensor([-1.0, 1.0])
        ),
        "quantiles of the values themselves are taken: those of the means of drawn images are "
        "wanted, which lie much closer together": lambda means, level, values: middle(
            mean_of_rows(values), level, values
        ),
    },
    drawn={
        "the last image is never drawn: the upper end of torch.randint is left out already": (
            lambda n, draws, g: torch.randint(n - 1, (draws, n), generator=g)
        ),
        "the first image is never drawn": (
            lambda n, draws, g: torch.randint(1, n, (draws, n), generator=g)
        ),
        "half as many images are drawn": fewer(lambda n: n // 2),
        "twice as many images are drawn": fewer(lambda n: 2 * n),
        "a single image is drawn each time": fewer(lambda n: 1),
        "ten images are drawn, however many there are": fewer(lambda n: 10),
        "a hundred images are drawn, however many there are": fewer(lambda n: 100),
        "without replacement, half of the images each time": lambda n, draws, g: torch.rand(
            draws, n, generator=g
        ).argsort(dim=1)[:, : n // 2],
    },
    statistic={
        "the median of the drawn images is taken: their mean is wanted": (
            lambda chosen: chosen.quantile(0.5, dim=1)
        ),
        "the lower median of the drawn images is taken: their mean is wanted": (
            lambda chosen: chosen.median(dim=1).values
        ),
        "an image that is drawn twice counts once: it should count each time that it is drawn": (
            mean_of_distinct
        ),
        "the drawn values are added up: their mean is wanted": lambda chosen: chosen.sum(dim=1),
        "the standard deviation of the drawn images is taken: their mean is wanted": (
            lambda chosen: chosen.std(dim=1)
        ),
    },
    result={
        "the interval is in percent, 100 times the values: return it on the scale of `values`": (
            lambda ends, values: 100 * ends
        ),
        "distances from the mean are returned: low and high are on the scale of `values`": (
            lambda ends, values: ends - values.mean()
        ),
        "the interval is mirrored at the mean: return the quantiles as they are": (
            lambda ends, values: 2 * values.mean() - ends.flip(0)
        ),
        "high is the width, and not the upper end": lambda ends, values: (
            ends[0],
            ends[1] - ends[0],
        ),
        "the ends are rounded to two digits": lambda ends, values: torch.round(ends, decimals=2),
    },
)
