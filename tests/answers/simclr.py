"""Answers to exercise 05: log-sum-exp, the two losses, and their derivatives in closed form."""

from answers import simclr_derivatives, simclr_losses, simclr_sums
from mmret_lib.checks import simclr

CHECKS = {
    "log_sum_exp": simclr.check_log_sum_exp,
    "simclr": simclr.check_simclr,
    "info_nce": simclr.check_info_nce,
    "simclr_weights": simclr.check_simclr_weights,
    "temperature_gradient": simclr.check_temperature_gradient,
}
RIGHT = {
    "log_sum_exp": simclr_sums.RIGHT,
    "simclr": simclr_losses.RIGHT_SIMCLR,
    "info_nce": simclr_losses.RIGHT_INFO_NCE,
    "simclr_weights": simclr_derivatives.RIGHT_WEIGHTS,
    "temperature_gradient": simclr_derivatives.RIGHT_TEMPERATURE,
}
WRONG = {
    "log_sum_exp": simclr_sums.WRONG,
    "simclr": simclr_losses.WRONG_SIMCLR,
    "info_nce": simclr_losses.WRONG_INFO_NCE,
    "simclr_weights": simclr_derivatives.WRONG_WEIGHTS,
    "temperature_gradient": simclr_derivatives.WRONG_TEMPERATURE,
}
