"""The studies that ask what negatives are worth, at the settings that `searches` chose.

How many negatives count, how softly they are weighed, when the hardest alone collapses, what wrong
captions and look-alikes cost, and how the order of the losses changes with the length of training.
"""

from typing import Any

from mmret_lib.studies.searches import ATLAS, CHOSEN, COURSE, SMALL, chosen, rates
from mmret_lib.studies.trials import BASE, Study, Trial

SEEDS = (0, 1, 2, 3, 4)
MANY_SEEDS = tuple(range(10))
FOUR = ("sum_triplet", "max_triplet", "simclr", "barlow_twins")
ALL = BASE["batch_size"] - 1  # negatives of a query in a batch of the small size


def fewer_negatives() -> dict[str, Trial]:
    """Each loss with n of its 63 negatives, drawn at random or the hardest."""
    trials = {f"{loss}, all": chosen(loss, "small") for loss in FOUR}
    for count in (1, 4, 16):
        for loss in FOUR:
            picked = {"count": count, "pick": "random"}
            trials[f"{loss}, {count} random"] = chosen(loss, "small", negatives=picked)
        for loss in ("sum_triplet", "simclr"):
            picked = {"count": count, "pick": "hardest"}
            trials[f"{loss}, {count} hardest"] = chosen(loss, "small", negatives=picked)
    return trials


# Worlds that are harder to learn from; the scenes that are ranked stay as they are.
WORLDS: dict[str, dict[str, Any]] = {
    "clean": {},
    "20% wrong": {"wrong_captions": 0.2},
    "40% wrong": {"wrong_captions": 0.4},
    "look-alikes": {"look_alikes": 0.5},
    "identical": {"identical": 0.3},
}


def robustness() -> dict[str, Trial]:
    """Each of the four losses in each world."""
    return {
        f"{loss}, {world}": chosen(loss, "small", data=data)
        for world, data in WORLDS.items()
        for loss in FOUR
    }


STEPS = 186  # of the small size: 6 epochs of 31 batches


def collapse() -> dict[str, Trial]:
    """Max Triplet from the first step, and SimCLR, over learning rates and batch sizes; remedies.

    Every training takes as many steps as the small size does, so that a larger batch is not a
    shorter training.
    """
    trials = {}
    for batch, epochs in ((32, 3), (64, 6), (128, 12)):
        for factor in (0.1, 0.3, 1):
            config = {"batch_size": batch, "epochs": epochs, **rates(factor)}
            for loss, settings in (
                ("max_triplet", {"margin": 0.2, "all_negatives_steps": 0}),
                ("simclr", {"temperature": 0.07}),
            ):
                name = f"{loss}, batch {batch}, rates x {factor:g}"
                trials[name] = Trial(loss, settings, config=config)
    plain = {"margin": 0.2, "all_negatives_steps": 0}
    slow = {**rates(1), "backbone_lr": 1e-4}
    trials |= {
        "remedy: 50 first steps": Trial("max_triplet", {**plain, "all_negatives_steps": 50}),
        "remedy: 100 first steps": Trial("max_triplet", {**plain, "all_negatives_steps": 100}),
        "remedy: margin 0.05": Trial("max_triplet", {**plain, "margin": 0.05}),
        "remedy: backbones at a tenth": Trial("max_triplet", plain, config=slow),
        "remedy: warm-up over half": Trial("max_triplet", plain, config={"warmup": 0.5}),
        "remedy: hardest of 8 random": Trial(
            "max_triplet", plain, negatives={"count": 8, "pick": "random"}
        ),
        "remedy: the 8 hardest": Trial("top_k_triplet", {"k": 8, "margin": 0.2}),
        "remedy: soft maximum": Trial("margin_softmax", {"margin": 0.2, "temperature": 0.05}),
        "remedy: semi-hard": Trial(
            "false_negative_filter", {"inner": "max_triplet", "inner_settings": plain}
        ),
    }
    return trials


LENGTH: dict[str, Any] = {"epochs": 128, "schedule": "constant"}
CURVE = (2, 4, 8, 16, 24, 32, 48, 64, 96, 128)


def length() -> dict[str, Trial]:
    """The four losses on 500 scenes at a constant rate, ranked along the way."""
    return {
        loss: chosen(loss, "small", config=LENGTH, data={"size": 500}, curve=CURVE) for loss in FOUR
    }


def barlow_pairs() -> dict[str, Trial]:
    """Barlow Twins over the length of an embedding and lambda (D - 1) / B."""
    trials = {}
    for dim in (32, 128, 512):
        for strength in (0.01, 0.04, 0.16):
            weight = round(strength * BASE["batch_size"] / (dim - 1), 5)
            trials[f"D {dim}, lambda (D - 1) / B = {strength:g}"] = Trial(
                "barlow_twins",
                {"lambda_": weight},
                {"standardise": True, "dim": dim},
                rates(SMALL["barlow_twins"][0]),
            )
    return trials


def branches() -> dict[str, Trial]:
    """Trained models whose branches' offsets and scales are measured."""
    plain = {"standardise": False}
    factor, weight = SMALL["barlow_twins, plain"]
    config = {**rates(factor), "epochs": 24}
    return {
        "barlow_twins, lambda 0.0051": Trial(
            "barlow_twins", {"lambda_": 0.0051}, plain, config, branches=True
        ),
        f"barlow_twins, lambda {weight:g}": Trial(
            "barlow_twins", {"lambda_": weight}, plain, config, branches=True
        ),
        "simclr": chosen("simclr", "small", config={"epochs": 24}, branches=True),
    }


def atlas() -> dict[str, Trial]:
    """The four losses and the eight of the atlas, with clean and with wrong captions."""
    forms = [(loss, "small") for loss in FOUR] + [(loss, "atlas") for loss in ATLAS]
    return {
        f"{form}, {world}": chosen(form, size, data=WORLDS[world])
        for world in ("clean", "20% wrong")
        for form, size in forms
    }


def experiments() -> dict[str, Study]:
    """Return the studies whose settings have been chosen."""
    studies: dict[str, Study] = {}
    if set(CHOSEN["full"]) == set(COURSE):
        studies["world"] = Study(
            "How do the losses compare on the whole built-in world, each at its own settings?",
            {form: chosen(form, "full") for form in COURSE},
            MANY_SEEDS,
        )
    if set(CHOSEN["small"]) != set(COURSE):
        return studies
    if set(CHOSEN["atlas"]) == set(ATLAS):
        studies["atlas"] = Study(
            "Where do eight more weightings stand, with clean and with wrong captions?",
            atlas(),
            SEEDS,
        )
    return studies | {
        "losses": Study(
            "How do the losses compare at the small size, each at its own settings?",
            {form: chosen(form, "small") for form in COURSE},
            SEEDS,
        ),
        "fewer_negatives": Study(
            "What is a negative worth? Batch and steps fixed, only n negatives count.",
            fewer_negatives(),
            SEEDS,
        ),
        "collapse": Study("When does the hardest negative alone collapse?", collapse(), SEEDS),
        "robustness": Study(
            "What do wrong captions, look-alikes and identical scenes cost each loss?",
            robustness(),
            SEEDS,
        ),
        "length": Study("How does the order of the losses change with training?", length(), SEEDS),
        "barlow_pairs": Study(
            "Is it lambda (D - 1) / B that counts for Barlow Twins?", barlow_pairs(), SEEDS
        ),
        "branches": Study(
            "How far do the branches' offsets and scales lie apart, and what do they cost?",
            branches(),
            SEEDS,
        ),
    }
