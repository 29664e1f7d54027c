"""The searches that choose each loss's learning rate and its one knob, on the validation scenes.

Every loss has the same budget, trainings from one seed: first the learning rates with the knob at
its usual value, then the other values of the knob at the rate that was best. Best is the largest
sum of the six recalls on the val scenes. `SMALL` and `FULL` hold what was chosen; a test compares
them with the recorded tables, data/results/small_rates.csv and so on. The seed of the search is
none of those that are reported.
"""

from typing import Any

from mmret_lib.studies.trials import Study, Trial

SEED = 100
FULL_SIZE: dict[str, Any] = {"size": 8000, "test_size": 1000}
FULL_BUDGET: dict[str, Any] = {"epochs": 7, "batch_size": 128}  # that of `mmret demo`

# Both rates of TrainConfig are multiplied by the factor; 1 gives its defaults, 1e-3 and 2e-3.
FACTORS = {"small": (0.25, 0.5, 1, 2, 4), "full": (0.5, 1, 2), "atlas": (0.5, 1, 2)}

# The forms that are searched: loss, settings of the loss, settings of the model, the values of the
# knob with the usual one first.
Form = tuple[str, dict[str, Any], dict[str, Any], str, tuple[float, ...]]
COURSE: dict[str, Form] = {
    "sum_triplet": ("sum_triplet", {}, {}, "margin", (0.2, 0.1, 0.05)),
    "max_triplet": ("max_triplet", {"margin": 0.2}, {}, "all_negatives_steps", (100, 50, 150)),
    "simclr": ("simclr", {}, {}, "temperature", (0.07, 0.04, 0.1)),
    "barlow_twins": ("barlow_twins", {}, {}, "lambda_", (0.02, 0.01, 0.05)),
    "max_triplet, plain": (
        "max_triplet",
        {"all_negatives_steps": 0},
        {},
        "margin",
        (0.2, 0.1, 0.05),
    ),
    "barlow_twins, plain": (
        "barlow_twins",
        {},
        {"standardise": False},
        "lambda_",
        (0.0051, 0.02, 0.05),
    ),
}

# The atlas, at the small size. The filter is shown the truth, and wraps SimCLR.
ATLAS: dict[str, Form] = {
    "margin_softmax": ("margin_softmax", {"margin": 0.2}, {}, "temperature", (0.05, 0.02, 0.1)),
    "top_k_triplet": ("top_k_triplet", {"margin": 0.2}, {}, "k", (8, 4, 16)),
    "multi_similarity": (
        "multi_similarity",
        {"alpha": 2.0, "base": 0.5},
        {},
        "beta",
        (40.0, 10.0, 20.0),
    ),
    "siglip": ("siglip", {}, {}, "scale", (10.0, 5.0, 20.0)),
    "smooth_ap": ("smooth_ap", {}, {}, "temperature", (0.01, 0.03, 0.1)),
    "hard_negative_nce": ("hard_negative_nce", {"temperature": 0.07}, {}, "beta", (1.0, 3.0, 10.0)),
    "adaptive_nce": (
        "adaptive_nce",
        {"temperature": 0.07, "mu": 0.4},
        {},
        "sigma",
        (1.0, 0.3, 0.15),
    ),
    "false_negative_filter": (
        "false_negative_filter",
        {"inner": "simclr"},
        {},
        "temperature",
        (0.07, 0.04, 0.1),
    ),
}
FORMS = {"small": COURSE, "full": COURSE, "atlas": ATLAS}


def rates(factor: float) -> dict[str, Any]:
    """Return the settings of `TrainConfig` that multiply both its learning rates by a factor."""
    return {"backbone_lr": 1e-3 * factor, "projection_lr": 2e-3 * factor}


def trial(form: str, size: str, factor: float, value: float, **options: Any) -> Trial:
    """Return a form's trial at one learning rate and one value of its knob.

    Args:
        form: one of `FORMS` of the size.
        size: "small" or "atlas" (2,000 scenes, 6 epochs, batches of 64), or "full" (that of
            `mmret demo`).
        factor: of the learning rates.
        value: of the form's knob.
        options: of `Trial`; its `config`, `data` and `loss_settings` come on top.
    """
    loss, loss_settings, model_settings, knob, _ = FORMS[size][form]
    config = {**(FULL_BUDGET if size == "full" else {}), **rates(factor)}
    data = FULL_SIZE if size == "full" else {}
    if loss == "false_negative_filter":
        options = {"negatives": {"guide": "truth"}, **options}
    more = {name: options.pop(name, {}) for name in ("config", "data", "loss_settings")}
    return Trial(
        loss,
        {**loss_settings, knob: value, **more["loss_settings"]},
        model_settings,
        {**config, **more["config"]},
        {**data, **more["data"]},
        **options,
    )


# Chosen: form -> factor of the rates, value of the knob.
SMALL: dict[str, tuple[float, float]] = {
    "sum_triplet": (1, 0.2),
    "max_triplet": (1, 100),
    "simclr": (2, 0.1),
    "barlow_twins": (1, 0.02),
    "max_triplet, plain": (0.5, 0.05),
    "barlow_twins, plain": (1, 0.02),
}
FULL: dict[str, tuple[float, float]] = {
    "sum_triplet": (2, 0.2),
    "max_triplet": (2, 100),
    "simclr": (2, 0.1),
    "barlow_twins": (1, 0.01),
    "max_triplet, plain": (0.5, 0.2),
    "barlow_twins, plain": (2, 0.05),
}
OF_ATLAS: dict[str, tuple[float, float]] = {
    "margin_softmax": (2, 0.05),
    "top_k_triplet": (0.5, 16),
    "multi_similarity": (1, 10.0),
    "siglip": (1, 10.0),
    "smooth_ap": (0.5, 0.1),
    "hard_negative_nce": (2, 3.0),
    "adaptive_nce": (2, 1.0),
    "false_negative_filter": (2, 0.1),
}
CHOSEN = {"small": SMALL, "full": FULL, "atlas": OF_ATLAS}


def chosen(form: str, size: str, **options: Any) -> Trial:
    """Return a form's trial with what the search has chosen; `options` as in `trial`."""
    return trial(form, size, *CHOSEN[size][form], **options)


def for_the_demo(loss: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the search chose for a loss: its settings, and the learning rates of its config.

    For the course's four at the full size, for the atlas at the small one. A loss that was not
    searched gets its defaults.
    """
    for size, forms in (("full", COURSE), ("atlas", ATLAS)):
        if loss in forms and loss in CHOSEN[size]:
            best = chosen(loss, size)
            return best.loss_settings, rates(CHOSEN[size][loss][0])
    return {}, {}


def rate_study(size: str) -> Study:
    """Every form at every learning rate, its knob at its usual value."""
    trials = {
        f"{form}, rates x {factor:g}": trial(form, size, factor, values[0], split="val")
        for factor in sorted(FACTORS[size], key=lambda factor: abs(factor - 1))
        for form, (_, _, _, _, values) in FORMS[size].items()
    }
    return Study(f"Which learning rate suits each loss at the {size} size?", trials, (SEED,))


def knob_study(size: str) -> Study:
    """Every form at the rate chosen for it, over the values of its knob."""
    trials = {
        f"{form}, {knob.rstrip('_')} {value:g}": trial(
            form, size, CHOSEN[size][form][0], value, split="val"
        )
        for form, (_, _, _, knob, values) in FORMS[size].items()
        if form in CHOSEN[size]
        for value in values
    }
    return Study(
        f"Which margin, first steps, temperature or lambda suits each loss at the {size} size?",
        trials,
        (SEED,),
    )


SEARCHES = {
    f"{size}_{what}": study(size)
    for size in CHOSEN
    for what, study in (("rates", rate_study), ("knobs", knob_study))
}
