"""The paired test by random signs: what a right p keeps to, and the ways to get it wrong.

The right p is known, because all patterns of signs of a few pairs can be counted. A drawn one comes
near: chance fails a right answer about once in 10**9, and never with the seeds used here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.comparing.patterns import SCALED, WRONG, Pairs, right_p
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
from mmret_lib.checks.pipeline.draws import SURE

DRAWS = 10_000


def pairs(first: list[float], second: list[float]) -> Pairs:
    """The results of two trials, seed by seed."""
    both = (torch.tensor(each, dtype=torch.float64, device="cpu") for each in (first, second))
    return next(both), next(both)


def generated(count: int, seed: int, shift: float, spread: float = 1.0) -> Pairs:
    """Seeds that differ much from each other, and two trials that differ little."""
    draw = torch.randn(2, count, generator=seeded(seed), dtype=torch.float64)
    second = (8 * draw[0]).round() / 4 + 40
    return second + (8 * spread * (draw[1] + shift)).round() / 32, second


SETS: list[tuple[str, Pairs]] = [
    (
        "first = [3, 5, 2, 4] and second = [2, 3, 2.5, 3] (differences 1, 2, -0.5, 1)",
        pairs([3, 5, 2, 4], [2, 3, 2.5, 3]),
    ),
    ("ten seeds, of which first is ahead", generated(10, 3, 0.6)),
    ("nine seeds, of which first is behind", generated(9, 4, -0.5)),
    ("twelve seeds, hardly different", generated(12, 5, 0.1)),
    ("five seeds, all of them ahead", pairs([51, 40, 62, 45, 58], [49, 39, 59, 44.5, 57])),
    ("two trials that are equal", pairs([5, 7, 6], [5, 7, 6])),
]
ROUNDED = pairs([0.3, 0.1, 0.2, -0.1], [0.0, 0.0, 0.0, 0.0])
CLEAR = generated(60, 6, 6.0)


def has_the_form(function: Draws) -> str | None:
    """One number from 0 to 1."""
    value: Any = function(NUMBERS, OTHERS, seeded(0))
    if value is None:
        return NOTHING
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        what = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
        return f"a {type(value).__name__} {what} is returned: one number, p, is wanted".replace(
            "  ", " "
        )
    return None


def is_near(value: float, p: float) -> bool:
    """Whether a drawn p can be that of a share `p` of the patterns."""
    deviation = (max(p * (1 - p), 1 / DRAWS) / DRAWS) ** 0.5
    return bool(abs(value - p) <= SURE * deviation + 2 / DRAWS)


def is_right(function: Draws) -> str | None:
    """P is the share of patterns that lie as far away as what was found."""
    found = [float(plain(function(*both, seeded(21 + n)))) for n, (_, both) in enumerate(SETS)]
    right = [right_p(*both) for _, both in SETS]
    if max(found) > 1 and all(is_near(*each) for each in zip(found, right, strict=True)):
        return (
            "p can be above 1: one pattern more is counted, so divide by one more as well, "
            "(how many are as far + 1) / (10,000 + 1)"
        )
    off = [not is_near(value, p) for value, p in zip(found, right, strict=True)]
    if not any(off):
        return None
    place = off.index(True)
    numbers = f"\nFor {SETS[place][0]} p should be {right[place]:.3f} and is {found[place]:.3f}."
    for says, wrong in WRONG:
        given = [wrong(*both) for _, both in SETS]
        if all(is_near(v, p) for v, p in zip(found, given, strict=True) if p == p):
            return f"probably {says}.{numbers}"
    for says, scale, wrong in SCALED:
        given = [wrong(*both) for _, both in SETS]
        if all(is_near(value / scale, p) for value, p in zip(found, given, strict=True)):
            return f"probably {says}.{numbers}"
    return f"p is wrong.{numbers}"


def allows_for_rounding(function: Draws) -> str | None:
    """Patterns that tie with what was found, but for rounding, count."""
    value = float(plain(function(*ROUNDED, seeded(41))))
    if is_near(value, right_p(*ROUNDED)):
        return None
    return (
        "patterns that lie exactly as far as what was found are lost through rounding, for example "
        "0.3 + 0.1 + 0.2 - 0.1 and 0.3 - 0.1 + 0.2 + 0.1: allow for it, as in "
        ">= found.abs() - 1e-9."
        f"\nFor the differences [0.3, 0.1, 0.2, -0.1] p should be {right_p(*ROUNDED):.3f} and is "
        f"{value:.3f}"
    )


def is_never_zero(function: Draws) -> str | None:
    """The signs that were found are one of the patterns: p is 1 / 10,001 at the least."""
    value = float(plain(function(*CLEAR, seeded(51))))
    if value == 0:
        return (
            "p is 0 for 60 seeds that all say the same, which would be impossible and not rare: "
            "the signs as they were found count as one pattern more, "
            "(how many + 1) / (10,000 + 1)"
        )
    if not 0.9 / (DRAWS + 1) < value < 1.1 / (DRAWS + 1):
        return (
            f"for 60 seeds that all say the same p should be 1 / 10,001 and is {value:.6f}: draw "
            "10,000 patterns, and return (how many are as far + 1) / (10,000 + 1)"
        )
    return None


def is_one_for_equal_trials(function: Draws) -> str | None:
    """Where the trials are equal every pattern lies as far away: p is 1, and exactly so."""
    value = float(plain(function(NUMBERS, NUMBERS, seeded(71))))
    if abs(value - 1) < 1e-5:  # less than one pattern in 10,000; room for float32
        return None
    return (
        "where the two trials are equal every pattern lies as far away as what was found, so p is "
        f"exactly 1, and here it is {value:.6f}: draw 10,000 patterns, and return (how many are as "
        "far + 1) / (10,000 + 1)"
    )


def draws_enough(function: Draws) -> str | None:
    """Two calls differ as those of 10,000 patterns do."""
    first, second = SETS[3][1]
    found = torch.tensor([float(plain(function(first, second, seeded(n)))) for n in range(30)])
    p = right_p(first, second)
    if float(found.std()) < 2 * (p * (1 - p) / DRAWS) ** 0.5:
        return None
    return (
        f"two calls differ too much (by {float(found.std()):.3f} on average, where p is {p:.3f}): "
        "are 10,000 patterns drawn, each with a sign of its own for every pair?"
    )


PROPERTIES = (
    has_the_form,
    leaves_the_global_state_alone,
    leaves_the_arguments_alone,
    is_right,
    goes_by_the_generator,
    is_never_zero,
    is_one_for_equal_trials,
    allows_for_rounding,
    draws_enough,
)
