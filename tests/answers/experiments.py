"""The answers to exercise 10."""

from answers import experiments_choices, experiments_ratios, experiments_signs
from mmret_lib.checks import experiments

CHECKS = {
    "paired_p": experiments.check_paired_p,
    "choose": experiments.check_choose,
    "ratio_interval": experiments.check_ratio_interval,
}
RIGHT = {
    "paired_p": experiments_signs.RIGHT,
    "choose": experiments_choices.RIGHT,
    "ratio_interval": experiments_ratios.RIGHT,
}
WRONG = {
    "paired_p": experiments_signs.WRONG,
    "choose": experiments_choices.WRONG,
    "ratio_interval": experiments_ratios.WRONG,
}

# What `tests/mutants.py` makes of the solutions that is a right answer all the same, and why.
PAIRED = "there are as many of either: they are pairs"
PLACES = "torch.randint(len(first), (10000, len(first)), generator=generator)"
EQUIVALENT: dict[str, dict[str, str]] = {
    "paired_p": {
        "terms swapped in `first - second`": "absolute values are compared",
        "terms swapped in `2 * torch.randint(2, (10000, len(first)), generator=generator) - 1`": (
            "1 and -1 are equally likely"
        ),
        "comparison in `sums.abs() >= difference.sum().abs() - 1e-09`": (
            "sums that tie differ by rounding, which is far less than the room of 1e-9"
        ),
        "first -> second in `len(first)`": PAIRED,
        "1e-09 -> 2e-09 in `difference.sum().abs() - 1e-09`": "rounding is far below either",
    },
    "choose": {
        "mean -> sum in `validation.reshape(len(validation), -1).mean(dim=1)`": (
            "all settings have as many seeds, so the same one is the largest"
        ),
        "validation -> test in `len(validation)`": "both have a row for each setting",
    },
    "ratio_interval": {
        "first -> second in `len(first)`": PAIRED,
        "first -> second in `len(first)` (2)": PAIRED,
    }
    | {
        f"10000 -> {count} in `{PLACES}`": "about as many draws, or more, serve as well"
        for count in (10001, 9999, 20000)
    },
}
