"""The test figure of what validation chose, in steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Case, Formula, Mistake, mistakes

FAILED = (
    "a setting of which a training failed (NaN) is never chosen: the mean with a NaN in it is NaN, "
    "and argmax takes a NaN for the largest"
)
TIED = "of settings whose means are equal the first is chosen"
SEEDS = "a setting's figure is the mean over its seeds, on validation and on test"
FLAT = "the figures may come without seeds, (C,), too"
LARGE = "the figures may be below 0 or above 100: nothing of that kind may be fixed in the code"


def means(figures: Tensor) -> Tensor:
    """(C,), the mean over the seeds."""
    return figures.reshape(len(figures), -1).mean(dim=1)


def without_failed(figures: Tensor) -> Tensor:
    """NaN becomes the least number there is."""
    return figures.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)


def best(figures: Tensor) -> Tensor:
    """The place of the largest, the first of several."""
    return (figures == figures.max()).nonzero()[0, 0]


def choose(
    validation: Tensor,
    test: Tensor,
    *,
    figures: Formula = means,
    failed: Formula = without_failed,
    place: Formula = best,
    reported: Formula = lambda test, validation, at: means(test)[at],
) -> float:
    """The mean test figure of the setting whose mean on validation is the largest."""
    validation, test = validation.detach(), test.detach()
    at = place(failed(figures(validation)))
    return float(reported(test, validation, at))


def last_best(figures: Tensor) -> Tensor:
    """A wrong `place`: the last of several."""
    return (figures == figures.max()).nonzero()[-1, 0]


def lucky(figures: Tensor) -> Tensor:
    """A wrong `figures`: the best seed of each setting."""
    return figures.reshape(len(figures), -1).amax(dim=1)


REMEDIES = {
    "figures": SEEDS,
    "failed": FAILED,
    "place": "the setting with the largest mean on validation is chosen",
    "reported": "return the mean over the seeds of the chosen setting's test figures",
}
# v and t are the figures (C, S) of validation and test, at the place that was chosen.
MISTAKES = [
    *mistakes(
        REMEDIES,
        reported={
            "the validation figure is returned, which is the best of many and so too high: report "
            "the test figure": lambda t, v, at: means(v)[at],
            "the largest test figure is returned: validation chooses, and the test is only "
            "looked at": lambda t, v, at: without_failed(means(t)).max(),
            "the largest figure of a single test seed is returned": lambda t, v, at: without_failed(
                t
            ).max(),
            "the place of the chosen setting is returned: its test figure is wanted": (
                lambda t, v, at: at
            ),
            "the best seed of the chosen setting is reported": lambda t, v, at: t.reshape(
                len(t), -1
            )[at].max(),
            "the first seed of the chosen setting is reported": lambda t, v, at: t.reshape(
                len(t), -1
            )[at, 0],
            "the test seed that did best on validation is reported": lambda t, v, at: t.reshape(
                len(t), -1
            )[at, v.reshape(len(v), -1)[at].argmax()],
            "the mean of all settings is returned": lambda t, v, at: t.nanmean(),
            "the mean of validation and test is returned": lambda t, v, at: (
                (means(t)[at] + means(v)[at]) / 2
            ),
            "the median of the seeds is reported": lambda t, v, at: t.reshape(len(t), -1)[
                at
            ].median(),
            "the seeds are added up and not averaged": lambda t, v, at: t.reshape(len(t), -1)[
                at
            ].sum(),
            "a failed training of the chosen setting is left out of the test: a mean with NaN in "
            "it is NaN, and says that something failed": lambda t, v, at: t.reshape(len(t), -1)[
                at
            ].nanmean(),
        },
        figures={
            "a setting's best seed decides, so the luckiest setting wins": lucky,
            "the largest single figure of validation decides, so the luckiest setting wins": (
                lambda v: v.reshape(len(v), -1).nan_to_num(nan=-math.inf).amax(dim=1)
            ),
            "a setting's worst seed decides": lambda v: v.reshape(len(v), -1).amin(dim=1),
            "the first seed alone decides": lambda v: v.reshape(len(v), -1)[:, 0],
            "the last seed alone decides": lambda v: v.reshape(len(v), -1)[:, -1],
            "the median of the seeds decides": lambda v: v.reshape(len(v), -1).median(1).values,
            f"failed seeds are left out, so the rest of that setting decides: {FAILED}": (
                lambda v: v.reshape(len(v), -1).nanmean(dim=1)
            ),
            f"a failed seed counts as 0: {FAILED}": lambda v: means(v.nan_to_num(0)),
        },
        failed={
            f"a setting whose training failed is chosen: {FAILED}": lambda figures: (
                figures.nan_to_num(nan=math.inf)
            ),
            f"a failed setting counts as 0 or so, and some figures are below: {FAILED}": (
                lambda figures: figures.nan_to_num(0)
            ),
        },
        place={
            "the smallest figure of validation is chosen": lambda figures: figures.nan_to_num(
                neginf=math.inf
            ).argmin(),
            f"of settings that tie the last is chosen: {TIED}": last_best,
            "the second best is chosen": lambda figures: figures.argsort(descending=True)[
                min(1, len(figures) - 1)
            ],
            "the last setting is chosen": lambda figures: len(figures) - 1,
        },
    ),
    Mistake(
        "the test chooses, and its own best is reported: choose on validation",
        lambda validation, test: float(means(test)[best(without_failed(means(test)))]),
    ),
    Mistake(
        "validation and test are exchanged: choose on the first argument, report of the second",
        lambda validation, test: choose(test, validation),
    ),
    Mistake(
        "both together choose: the test must have no part in it",
        lambda validation, test: float(
            means(test)[best(without_failed(means(validation) + means(test)))]
        ),
    ),
]


def drawn(settings: int, seeds: int, tests: int, seed: int) -> tuple[Tensor, Tensor]:
    """Figures in percent of settings that differ less than their seeds."""
    generator = seeded(seed)
    size = {"generator": generator, "dtype": torch.float64, "device": "cpu"}
    good = 50 + 4 * torch.randn(settings, 1, **size)  # type: ignore[call-overload]
    return (
        good + 5 * torch.randn(settings, seeds, **size),  # type: ignore[call-overload]
        good + 5 * torch.randn(settings, tests, **size),  # type: ignore[call-overload]
    )


def with_nan(seed: int, *failed: tuple[int, int], shift: float = 0) -> tuple[Tensor, Tensor]:
    """Figures in which some trainings failed on validation."""
    validation, test = drawn(6, 3, 4, seed)
    for place in failed:
        validation[place] = math.nan
    return validation - shift, test - shift


def figures_of(*rows: list[float]) -> Tensor:
    """Figures, a row for each setting."""
    return torch.tensor(rows, dtype=torch.float64, device="cpu")


NAN = math.nan
LUCKY = (
    figures_of([60, 61, 59], [90, 40, 41], [20, 64, 65]),
    figures_of([57, 58], [41, 44], [50, 49]),
)
CASES = [
    Case(drawn(5, 3, 4, 1), "5 settings, 3 seeds on validation and 4 on test", (SEEDS,)),
    Case(drawn(8, 4, 2, 3), "8 settings, 4 seeds on validation and 2 on test", (SEEDS,)),
    Case(drawn(12, 1, 5, 4), "12 settings, one seed on validation and 5 on test", (SEEDS,)),
    Case(LUCKY, "a setting with one lucky seed", (SEEDS,)),
    Case(
        (figures_of([50, 40], [70, NAN], [30, 55]), figures_of([44.0], [66], [41])),
        "a setting of which one seed failed",
        (FAILED,),
    ),
    Case(with_nan(6, (0, 1), (2, 0), (2, 2)), "6 settings, two of them with NaN", (FAILED,)),
    Case(
        with_nan(7, (1, 1), (4, 2), shift=200),
        "figures below 0, some of them NaN",
        (FAILED, LARGE),
    ),
    Case(
        (figures_of([30, 50], [45, 45], [35, 55], [60, 30]), figures_of([1], [2], [3], [4.0])),
        "settings whose means on validation tie",
        (TIED,),
    ),
    Case(
        (figures_of([30, 50], [60, 30], [35, 20]), figures_of([1, 9], [2, NAN], [3, 3])),
        "a chosen setting that failed on test (NaN)",
        ("a failed training on test is not hidden: the mean with a NaN in it is NaN",),
    ),
    Case(
        (drawn(6, 1, 1, 8)[0][:, 0], drawn(6, 1, 1, 8)[1][:, 0]),
        "figures without seeds, (C,)",
        (FLAT,),
    ),
    Case(
        (figures_of([41, 43], [52, 38], [47, 45]), figures_of([40, 46], [55, 53], [44, 42])),
        "validation = [[41, 43], [52, 38], [47, 45]] and test = [[40, 46], [55, 53], [44, 42]]",
        (SEEDS,),
    ),
]
