"""The answers to the tasks of exercise 06."""

from answers import correlations, hidden_pairs
from mmret_lib.checks import barlow_twins

CHECKS = {
    "standardise": barlow_twins.check_standardise,
    "cross_correlation": barlow_twins.check_cross_correlation,
    "barlow_twins": barlow_twins.check_barlow_twins,
    "hidden_pairs": barlow_twins.check_hidden_pairs,
    "running_standardiser": barlow_twins.check_running_standardiser,
}
RIGHT = {
    "standardise": correlations.RIGHT_STANDARD,
    "cross_correlation": correlations.RIGHT_CORRELATE,
    "barlow_twins": correlations.RIGHT_LOSS,
    "hidden_pairs": hidden_pairs.RIGHT_HIDDEN,
    "running_standardiser": hidden_pairs.RIGHT_RUNNING,
}
WRONG = {
    "standardise": correlations.WRONG_STANDARD,
    "cross_correlation": correlations.WRONG_CORRELATE,
    "barlow_twins": correlations.WRONG_LOSS,
    "hidden_pairs": hidden_pairs.WRONG_HIDDEN,
    "running_standardiser": hidden_pairs.WRONG_RUNNING,
}
