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
EQUIVALENT: dict[str, dict[str, str]] = {}
