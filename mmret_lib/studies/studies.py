"""Define the studies behind the lessons: their questions, trials and seeds.

A trial is a loss and what differs from the common set-up (BASE, WORLD); a training is a trial with
a seed. `measure` trains and tests them (`mmret experiments`), data/results keeps the figures.
"""

from typing import Any

from mmret_lib.studies.experiments import experiments
from mmret_lib.studies.searches import SEARCHES
from mmret_lib.studies.trials import Study, Trial


def _barlow(
    standardise: bool = True, config: dict[str, Any] | None = None, **settings: Any
) -> Trial:
    dim = {"dim": settings.pop("dim")} if "dim" in settings else {}
    return Trial("barlow_twins", settings, {"standardise": standardise, **dim}, config or {})


LONG = {"epochs": 24}
LONGER = {"epochs": 72}

STUDIES: dict[str, Study] = {
    **SEARCHES,
    **experiments(),
    "barlow": Study(
        "Why does plain Barlow Twins rank so badly: its lambda, the missing standardisation? All "
        "trained for 24 epochs.",
        {
            "plain": _barlow(standardise=False, config=LONG, lambda_=0.0051),
            "lambda": _barlow(standardise=False, config=LONG, lambda_=0.05),
            "standardised": _barlow(config=LONG, lambda_=0.0051),
            "both": _barlow(config=LONG, lambda_=0.05),
            "both, lambda 0.02": _barlow(config=LONG),
            "simclr": Trial(config=LONG),
        },
    ),
    "barlow_short": Study(
        "The same in 6 epochs, with lambda 0.02.",
        {
            "plain": _barlow(standardise=False, lambda_=0.0051),
            "lambda": _barlow(standardise=False, lambda_=0.02),
            "standardised": _barlow(lambda_=0.0051),
            "both": _barlow(lambda_=0.02),
            "simclr": Trial(),
        },
    ),
    "barlow_long": Study(
        "Is it a matter of patience? The plain loss, the mended one and SimCLR in 72 epochs.",
        {
            "plain": _barlow(standardise=False, config=LONGER, lambda_=0.0051),
            "both, lambda 0.02": _barlow(config=LONGER),
            "simclr": Trial(config=LONGER),
        },
    ),
    "trained": Study(
        "Is it worth training the whole model?",
        {part: Trial(config={"train": part}) for part in ("all", "projections", "image", "text")},
    ),
    "schedules": Study(
        "Which learning-rate schedule, and does warming up help?",
        {
            **{
                f"{schedule}, warm-up": Trial(config={"schedule": schedule})
                for schedule in ("cosine", "multistep", "constant")
            },
            "cosine, no warm-up": Trial(config={"warmup": 0.0}),
        },
    ),
    "temperature": Study(
        "How low should SimCLR's temperature be, and should its denominator hold the positive?",
        {
            **{f"{value}": Trial("simclr", {"temperature": value}) for value in (0.02, 0.07, 0.3)},
            "0.07, positive kept": Trial("simclr", {"positive_in_denominator": True}),
        },
    ),
    "margin": Study(
        "How wide should the triplets' margin be?",
        {
            f"{name}, {margin}": Trial(name, {"margin": margin})
            for margin in (0.2, 0.05, 0.5)
            for name in ("sum_triplet", "max_triplet")
        },
    ),
    "batch_size": Study(
        "Do more negatives per query help, at the same number of images seen?",
        {f"{size}": Trial(config={"batch_size": size}) for size in (32, 64, 128)},
    ),
    "captions": Study(
        "Is a caption drawn at random better than always the same? 500 scenes, seen 24 times.",
        {
            choice: Trial(config={"captions": choice, "epochs": epochs}, data={"size": 500})
            for choice, epochs in (("first", 24), ("random", 24), ("all", 5))
        },
    ),
}
