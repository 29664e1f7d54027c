"""The bootstrap interval of a ratio of means: what is right, and the ways to get it wrong.

Every right answer draws for itself, so its ends are compared with those of many draws, with room
for what 10,000 draws differ by: chance fails a right answer about once in 10**9.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.comparing.patterns import Pairs
from mmret_lib.checks.comparing.random_calls import (
    NUMBERS,
    OTHERS,
    Draws,
    goes_by_the_generator,
    leaves_the_arguments_alone,
    leaves_the_global_state_alone,
    plain,
)
from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.symptoms import NOTHING
from mmret_lib.checks.pipeline.counted import TEN, draws_another_number, draws_too_few
from mmret_lib.checks.pipeline.draws import SURE

DRAWS = 10_000
MANY = 30_000  # of the draws that answers are compared with
LOW, HIGH = 0.025, 0.975
CALLS = 10  # whose ends are compared with each other

Ends = tuple[float, float]
Room = tuple[Ends, Ends]  # from where to where the lower end may lie, and the upper
Interval = Callable[[Tensor, Tensor], Room]


def places(count: int, seed: int = 7) -> Tensor:
    """(MANY, count), which pairs are drawn."""
    return torch.randint(count, (MANY, count), generator=seeded(seed))


def around(values: Tensor, low: float = LOW, high: float = HIGH) -> Room:
    """Where two quantiles of 10,000 draws may lie, by many more draws."""
    room = []
    for share in (low, high):
        off = SURE * (share * (1 - share) / DRAWS) ** 0.5 + 0.001
        between = torch.tensor([max(share - off, 0), min(share + off, 1)], dtype=values.dtype)
        room.append(tuple(torch.quantile(values, between).tolist()))
    return room[0], room[1]


def near(low: float, high: float, width: float) -> Room:
    """Both ends, but for a 20th of a width."""
    room = max(0.05 * abs(width), 1e-9)
    return (low - room, low + room), (high - room, high + room)


def ratios(first: Tensor, second: Tensor) -> Tensor:
    """The ratio of the means in each draw, (MANY,)."""
    drawn = places(len(first))
    quotient: Tensor = first[drawn].mean(dim=1) / second[drawn].mean(dim=1)
    return quotient


def of_ratios(change: Callable[[Tensor], Tensor], low: float = LOW, high: float = HIGH) -> Interval:
    """An interval of what is made of the ratios."""
    return lambda first, second: around(change(ratios(first, second)), low, high)


right_interval = of_ratios(lambda ratio: ratio)


def apart(first: Tensor, second: Tensor) -> Room:
    """A wrong interval: the two are drawn apart."""
    one, other = places(len(first)), places(len(second), 8)
    return around(first[one].mean(dim=1) / second[other].mean(dim=1))


def of_means(first: Tensor, second: Tensor) -> Room:
    """A wrong interval: one interval divided by the other."""
    drawn, share = places(len(first)), torch.tensor([LOW, HIGH], dtype=first.dtype)
    low, high = torch.quantile(first[drawn].mean(1), share).tolist()
    lower, higher = torch.quantile(second[drawn].mean(1), share).tolist()
    return near(low / lower, high / higher, high / lower - low / higher)


def by_deviation(first: Tensor, second: Tensor) -> Room:
    """A wrong interval: the ratio and two deviations of its draws to both sides."""
    middle, half = float(first.mean() / second.mean()), 1.96 * float(ratios(first, second).std())
    return near(middle - half, middle + half, half)


def without_a_draw(first: Tensor, second: Tensor) -> Room:
    """A wrong interval: both ends are the ratio itself."""
    ratio = float(first.mean() / second.mean())
    return near(ratio, ratio, 0)


def turned(first: Tensor, second: Tensor) -> Room:
    """A wrong interval: the upper end first."""
    low, high = right_interval(first, second)
    return high, low


def of_singles(first: Tensor, second: Tensor) -> Room:
    """A wrong interval: of the ratio of one drawn pair."""
    return around((first / second)[places(len(first)).flatten()[:MANY]])


def of_the_data(first: Tensor, second: Tensor) -> Room:
    """A wrong interval: quantiles of the pairs' own ratios, and nothing is drawn."""
    share = torch.tensor([LOW, HIGH], dtype=first.dtype)
    low, high = torch.quantile(first / second, share).tolist()
    return near(low, high, high - low)


SINGLES = (
    "the ends are quantiles of the pairs' own ratios, which more pairs would not narrow: draw "
    "pairs, and take the ratio of the means of each draw"
)
WRONG: list[tuple[str, Interval]] = [
    (
        "the pairs are torn apart: draw one set of places, and take both tensors there, for a pair "
        "that is easy for one is mostly easy for the other",
        apart,
    ),
    (
        "only first is drawn, and divided by the mean of all of second: take both at the places "
        "drawn",
        lambda first, second: around(first[places(len(first))].mean(1) / second.mean()),
    ),
    (
        "the mean of the pairs' ratios is taken: the ratio of the two means is wanted",
        lambda first, second: around((first / second)[places(len(first))].mean(1)),
    ),
    (
        "the ratio of the medians is taken, and not of the means",
        lambda first, second: around(
            first[places(len(first))].median(1).values / second[places(len(first))].median(1).values
        ),
    ),
    (
        "the ratio is turned round: first by second is wanted",
        lambda first, second: right_interval(second, first),
    ),
    (
        "the difference of the means is taken: their ratio is wanted",
        lambda first, second: around((first - second)[places(len(first))].mean(1)),
    ),
    (
        "this is the ratio less 1, or what is gained: return the ratio",
        of_ratios(lambda ratio: ratio - 1),
    ),
    ("the ratio is in percent: return it as it is", of_ratios(lambda ratio: 100 * ratio)),
    ("the logarithm of the ratio is returned: take exp of its ends", of_ratios(torch.log)),
    *(
        (
            f"this is a {says} % interval: of the draws 2.5 % lie below a 95 % one, 2.5 % above",
            of_ratios(lambda ratio: ratio, low, 1 - low),
        )
        for says, low in (("90", 0.05), ("99", 0.005), ("50", 0.25), ("68", 0.16))
    ),
    *((SINGLES, interval) for interval in (of_singles, of_the_data)),
    (
        "two intervals are divided by each other: take the ratio in each draw, then its quantiles",
        of_means,
    ),
    ("the upper end comes first: (low, high) is wanted", turned),
    (
        "nothing is drawn with replacement, so each draw has the same mean: "
        "torch.randint(n, (10_000, n), generator=generator)",
        without_a_draw,
    ),
    (
        "the interval is the ratio ± 1.96 standard deviations of the draws: where their "
        "distribution is lopsided, its quantiles are not equally far from the ratio",
        by_deviation,
    ),
]


def generated(count: int, seed: int, skewed: float, noise: float, scale: float) -> Pairs:
    """Two results of each pair: alike, above 0, some pairs far larger than others."""
    draw = torch.randn(2, count, generator=seeded(seed), dtype=torch.float64)
    second = scale * (skewed * draw[0]).exp()
    return second * (1.4 + noise * draw[1].clamp(-2, 2)), second


def unlike(count: int, seed: int) -> Pairs:
    """Two results of each pair that have nothing in common: a lopsided ratio."""
    first, second = torch.randn(2, count, generator=seeded(seed), dtype=torch.float64)
    return (0.9 * first).exp(), (0.9 * second).exp()


SETS: list[tuple[str, Pairs]] = [
    ("60 pairs", generated(60, 3, 0.8, 0.2, 1.0)),
    ("40 pairs of small numbers", generated(40, 4, 0.5, 0.4, 0.01)),
    ("12 pairs, some far larger than others", generated(12, 5, 1.2, 0.6, 3.0)),
    ("20 pairs that have little in common", unlike(20, 6)),
]
DOUBLE = (2 * OTHERS, OTHERS)


def has_the_form(function: Draws) -> str | None:
    """Two numbers."""
    value: Any = function(NUMBERS, OTHERS, seeded(0))
    if value is None:
        return NOTHING
    found = plain(value)
    if not isinstance(found, list) or len(found) != 2:
        return f"a {type(value).__name__} is returned: two numbers, (low, high), are wanted"
    if not all(isinstance(end, int | float) for end in found):
        return "each of the two results should be one number"
    return None


def is_within(found: Ends, room: Room) -> bool:
    """Whether both ends are where they may be."""
    return all(low <= end <= high for end, (low, high) in zip(found, room, strict=True))


@cache
def rooms_of(interval: Interval) -> list[Room]:
    """Where the ends of each of `SETS` may lie, which takes a moment: once."""
    return [interval(*both) for _, both in SETS]


def is_right(function: Draws) -> str | None:
    """Both ends are those of the paired bootstrap."""
    found: list[Ends] = [
        tuple(plain(function(*both, seeded(31 + number)))) for number, (_, both) in enumerate(SETS)
    ]
    right = rooms_of(right_interval)
    off = [not is_within(*each) for each in zip(found, right, strict=True)]
    if not any(off):
        return None
    place = off.index(True)
    (low, high), (lower, higher) = right[place]
    numbers = (
        f"\nFor {SETS[place][0]} the ends should be about {(low + high) / 2:.4g} and "
        f"{(lower + higher) / 2:.4g}, and are {shown(found[place])}."
    )
    if any(math.isnan(end) for value in found for end in value):
        return f"the result is NaN.{numbers}"
    for says, wrong in WRONG:
        if all(is_within(*each) for each in zip(found, rooms_of(wrong), strict=True)):
            return f"probably {says}.{numbers}"
    return f"{draws_often(function) or 'the interval is wrong'}.{numbers}"


def shown(both: Ends) -> str:
    """Format the ends of an interval."""
    return f"({both[0]:.4g}, {both[1]:.4g})"


def keeps_pairs_together(function: Draws) -> str | None:
    """Where first is twice second in each pair, every draw has the ratio 2."""
    found = plain(function(*DOUBLE, seeded(61)))
    if all(math.isclose(end, 2, rel_tol=1e-6) for end in found):
        return None
    return (
        "where each number of first is twice that of second every draw should have the ratio 2: "
        f"draw the same places of both.\nThe interval should be (2, 2) and is {shown(found)}"
    )


def draws_as_many_pairs(function: Draws) -> str | None:
    """As many pairs are drawn as there are: told from ten pairs whose ratio is 1 or 2."""
    ends = plain(function(TEN + 1, torch.ones_like(TEN), seeded(71)))
    says = draws_another_number([end - 1 for end in ends], "pairs")
    return says and f"{says}.\nFor ten pairs the ends are {shown(ends)}"


def draws_often(function: Draws) -> str | None:
    """The ends hardly move from call to call, as those of 10,000 draws."""
    _, both = SETS[2]
    ends = torch.tensor([plain(function(*both, seeded(80 + call))) for call in range(CALLS)])
    found = draws_too_few(ends.double(), ratios(*both).sort().values, DRAWS)
    if found is None:
        return None
    return (
        f"the ends of the interval jump from call to call as those of about {found:,} draws do: "
        "draw 10,000 times"
    )


PROPERTIES = (
    has_the_form,
    leaves_the_global_state_alone,
    leaves_the_arguments_alone,
    is_right,
    goes_by_the_generator,
    keeps_pairs_together,
    draws_as_many_pairs,
    draws_often,
)
