"""What a right bootstrap interval keeps to.

Draws differ between right answers, so the ends of the student's intervals are averaged over some
calls and compared with those of many draws. Chance fails a right answer about once in 10**8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Formula
from mmret_lib.checks.pipeline.counted import TEN, draws_another_number, draws_too_few
from mmret_lib.checks.pipeline.draws import leaves_states
from mmret_lib.checks.ranking.batches import BATCHES
from mmret_lib.checks.ranking.bootstrap import (
    DRAWS,
    ROWS,
    TAILS,
    WRONG_INTERVALS,
    bootstrap_interval,
    mean_of_rows,
    rows_drawn,
    spread,
)

Interval = Callable[[Tensor, torch.Generator, float], Any]

MANY = 20_000  # draws of a reference
CALLS = 10  # of the student's function, whose ends are averaged
REPEATS = 40  # calls that tell 500 draws from 2,000
# An end of one interval of 2,000 draws is off by about 0.06 standard deviations of the mean at a
# level of 0.95 and by less below; six times that, over the root of the calls, and the reference's.
CLOSE = 0.13


# ---------------------------------------------------------------------------------------------
# What a right answer keeps to


def ends_of(value: Any) -> list[float] | None:
    """The two ends, of whatever type they are; None if it is no pair of numbers."""
    if isinstance(value, Tensor):
        value = value.tolist()
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return [low, high]


def has_the_form(function: Interval) -> str | None:
    """Two numbers, the lower one first, and the values left alone."""
    for values, level, about in BATCHES:
        given = values.clone()
        value = function(given, seeded(0), level)
        if not torch.equal(given, values):
            return "values is changed in place, but the caller still needs it: work on a copy"
        if value is None:
            return "nothing is returned: the last line should be `return ...`"
        ends = ends_of(value)
        if ends is None:
            kind = f"tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else None
            return (
                f"for {about} a {kind or type(value).__name__} is returned: two numbers are "
                "wanted, low and high"
            )
        if not all(abs(end) < float("inf") for end in ends):
            return f"for {about} the interval is {ends[0]:.4g} to {ends[1]:.4g}: not finite"
        if ends[0] > ends[1] and level > 0.5:  # below, wrong tails may cross: see right_ends
            return (
                f"for {about} low is {ends[0]:.4g} and high {ends[1]:.4g}: the lower end comes "
                "first, and high is the upper end, not the width"
            )
    return None


def leaves_the_global_state_alone(function: Interval) -> str | None:
    """Nothing is drawn from, or set in, the random states that all code shares."""
    if leaves_states(lambda: function(BATCHES[0][0].clone(), seeded(0), 0.95)):
        return None
    return (
        "it draws from the random state that all code shares, or seeds it: hand the generator on, "
        "as in torch.randint(n, size, generator=generator)"
    )


def student_ends(function: Interval, values: Tensor, level: float) -> Tensor:
    """(CALLS, 2) the ends of some intervals."""
    generator = seeded(7)
    found = [ends_of(function(values.clone(), generator, level)) for _ in range(CALLS)]
    return torch.tensor(found, dtype=torch.float64)


def reference(formula: Formula, values: Tensor, level: float) -> Tensor:
    """(2,) the ends of a formula's interval after many draws."""
    return torch.tensor(formula(values, seeded(3), level, draws=MANY), dtype=torch.float64)


@cache
def right_means() -> Tensor:
    """(MANY,) the means of drawn images of the first batch, in order."""
    each = mean_of_rows(BATCHES[0][0])
    return each[rows_drawn(len(each), MANY, seeded(3))].mean(dim=1).sort().values


def enough_draws(function: Interval) -> str | None:
    """The ends hardly move from call to call."""
    values, level, _ = BATCHES[0]
    generator = seeded(8)
    ends = [ends_of(function(values.clone(), generator, level)) for _ in range(REPEATS)]
    found = draws_too_few(torch.tensor(ends, dtype=torch.float64), right_means(), DRAWS)
    if found is None:
        return None
    return (
        f"the ends jump from call to call as those of about {found:,} draws do: draw 2,000 times, "
        "all at once with indices of shape (2000, N)"
    )


def as_many_images(function: Interval) -> str | None:
    """N images out of N: told from ten values of 0 and 1."""
    ends = ends_of(function(TEN.clone(), seeded(9), 0.95))
    says = draws_another_number(ends or (0, 0), "images")
    return says and f"{says}. For ten values, 0 and 1 in turn, the ends are {ends}"


def whole_images(function: Interval) -> str | None:
    """An image is drawn with all its captions: if those always have the mean 0.5, so has a draw."""
    values = torch.tensor([[0.0, 1.0, 0.5]] * 20, dtype=torch.float64, device="cpu")
    low, high = ends_of(function(values.clone(), seeded(10), 0.9)) or (0.0, 0.0)
    if abs(low - 0.5) + abs(high - 0.5) < 1e-5:
        return None
    return (
        f"where each image's captions have the values 0, 1 and 0.5 every draw should have the mean "
        f"0.5, and the interval is {low:.3f} to {high:.3f}: draw images alone, and take all "
        "captions of each, without drawing among them"
    )


def follows_the_scale(function: Interval) -> str | None:
    """The same draws of values a million times smaller, or larger, give such an interval."""
    values, level, _ = BATCHES[1]
    once = ends_of(function(values.clone(), seeded(11), level)) or [0.0, 0.0]
    for factor, about in ((1e-6, "a millionth"), (1e6, "a million times")):
        ends = ends_of(function(values * factor, seeded(11), level)) or [0.0, 0.0]
        off = [abs(end / factor - first) for end, first in zip(ends, once, strict=True)]
        if max(off) > 1e-3 * (once[1] - once[0]):
            return (
                f"for values {about} as large the interval should be {about} as large as "
                f"{once[0]:.4g} to {once[1]:.4g}, and is {ends[0]:.4g} to {ends[1]:.4g}: "
                "values may have any size, so round nothing, and clamp nothing"
            )
    return None


def averages(function: Interval) -> list[Tensor]:
    """The ends of the student's intervals for each batch, each (2,)."""
    return [student_ends(function, values, level).mean(dim=0) for values, level, _ in BATCHES]


@cache
def right_reference(place: int) -> Tensor:
    """(2,) the right ends for a batch."""
    return reference(bootstrap_interval, *BATCHES[place][:2])


def agree(given: list[Tensor], formula: Formula) -> Iterator[bool]:
    """For each batch whether the ends are those of a formula."""
    for place, (ends, (values, level, _)) in enumerate(zip(given, BATCHES, strict=True)):
        right, wanted = right_reference(place), reference(formula, values, level)
        wider = max(1.0, float(wanted.diff() / right.diff()))  # what is scaled up varies more
        yield bool(((ends - wanted).abs() < CLOSE * wider * spread(values)).all())


def known_mistake(function: Interval) -> str | None:
    """Say which mistake gives the ends that the student's function gives."""
    given = averages(function)
    for mistake in WRONG_INTERVALS:
        steps: Any = mistake.wrong
        try:
            if all(agree(given, partial(bootstrap_interval, **steps))):
                return f"probably {mistake.says}"
        except (RuntimeError, ValueError, IndexError):
            continue
    return None


def ignores_the_level(function: Interval) -> bool:
    """Whether the level makes no difference."""
    values = BATCHES[0][0]
    low, high = (ends_of(function(values.clone(), seeded(5), level)) for level in (0.5, 0.95))
    return low == high


def right_ends(function: Interval) -> str | None:
    """On average the ends are where many draws put them."""
    given = averages(function)
    right = list(agree(given, bootstrap_interval))
    if all(right):
        return None
    place = right.index(False)
    values, level, about = BATCHES[place]
    wanted, (low, high) = right_reference(place), given[place]
    numbers = (
        f". For {about}, many draws give {wanted[0]:.3f} to {wanted[1]:.3f}, and yours "
        f"{low:.3f} to {high:.3f}"
    )
    if (student_ends(function, values, level).diff(dim=1).abs() < 1e-9).all():
        return (
            "the interval has no width, so every draw holds the same images: draw with "
            "replacement (torch.randint, not randperm), and anew for each of the 2,000 means"
            + numbers
        )
    if says := known_mistake(function):
        return says + numbers
    if ignores_the_level(function):
        return f"level makes no difference: low and high are quantiles that depend on it{numbers}"
    if says := enough_draws(function):
        return says + numbers
    share = float((high - low) / (wanted[1] - wanted[0]))
    width = "of the right width" if abs(share - 1) < 0.05 else f"{share:.2f} times as wide as right"
    return f"the interval is wrong ({width}). You should {ROWS}. And {TAILS}{numbers}"


def goes_by_the_generator(function: Interval) -> str | None:
    """The randomness comes from the generator, as it is, and each call moves it on."""
    values = BATCHES[0][0]

    def interval(generator: torch.Generator) -> list[float] | None:
        return ends_of(function(values.clone(), generator, 0.95))

    if interval(seeded(1)) != interval(seeded(1)):
        return (
            "two generators with the same seed give different intervals: some of the randomness "
            "does not come from `generator`"
        )
    used, other = seeded(1), seeded(2)
    differ = interval(used) != interval(other)
    if torch.equal(used.get_state(), other.get_state()):
        return (
            "`generator` is seeded inside, so every call draws the same: draw from it as it is, "
            "without manual_seed"
        )
    if not torch.equal(used.get_state(), seeded(1).get_state()):
        return None
    if differ:
        return (
            "the same generator gives the same interval in every call: it is copied inside. Draw "
            "from the generator as it is"
        )
    return known_mistake(function) or (
        "nothing is drawn from `generator`: draw the images with it in each call, as in "
        "torch.randint(n, size, generator=generator)"
    )


PROPERTIES = (
    has_the_form,
    leaves_the_global_state_alone,
    goes_by_the_generator,
    right_ends,
    as_many_images,
    whole_images,
    follows_the_scale,
    enough_draws,
)
