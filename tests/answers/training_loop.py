"""The answers to the tasks of exercise 07."""

from answers import training_loop_groups as groups
from answers import training_loop_loads as loads
from answers import training_loop_rates as rates
from answers import training_loop_saves as saves
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
    "save_state": saves.RIGHT,
    "load_state": loads.RIGHT,
}
WRONG = {
    "rate": rates.WRONG,
    "parameter_groups": groups.WRONG,
    "train_step": steps.WRONG,
    "save_state": saves.WRONG,
    "load_state": loads.WRONG,
}
EQUIVALENT: dict[str, dict[str, str]] = {
    "rate": {
        "arguments swapped in `min(1.0, (step + 1) / warmup)`": "min does not care about the order"
    },
    "train_step": {
        "-> (text_head, image_head) in `heads = (image_head, text_head)`": (
            "the squares are summed in another order"
        ),
    },
    "load_state": {
        "without weights_only= in `torch.load(path, map_location='cpu', weights_only=True)`": (
            "True is the default since torch 2.6"
        ),
    },
}
