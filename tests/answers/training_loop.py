"""The answers to the tasks of exercise 07."""

from answers import training_loop_groups as groups
from answers import training_loop_rates as rates
from answers import training_loop_states as states
from answers import training_loop_steps as steps
from mmret_lib.checks import training_loop

CHECKS = {
    "rate": training_loop.check_rate,
    "parameter_groups": training_loop.check_parameter_groups,
    "train_step": training_loop.check_train_step,
    "save_state": training_loop.check_save_state,
    "load_state": training_loop.check_load_state,
}
RIGHT = {
    "rate": rates.RIGHT,
    "parameter_groups": groups.RIGHT,
    "train_step": steps.RIGHT,
    "save_state": states.RIGHT_SAVES,
    "load_state": states.RIGHT_LOADS,
}
WRONG = {
    "rate": rates.WRONG,
    "parameter_groups": groups.WRONG,
    "train_step": steps.WRONG,
    "save_state": states.WRONG_SAVES,
    "load_state": states.WRONG_LOADS,
}
EQUIVALENT: dict[str, dict[str, str]] = {}
