"""The answers to exercise 13."""

from mmret_lib.checks import extensions

from . import extensions_naming, extensions_temperature, extensions_views

CHECKS = {
    "learnable_temperature": extensions.check_learnable_temperature,
    "within_branch": extensions.check_within_branch,
    "zero_shot": extensions.check_zero_shot,
}
RIGHT = {
    "learnable_temperature": extensions_temperature.RIGHT,
    "within_branch": extensions_views.RIGHT,
    "zero_shot": extensions_naming.RIGHT,
}
WRONG = {
    "learnable_temperature": extensions_temperature.WRONG,
    "within_branch": extensions_views.WRONG,
    "zero_shot": extensions_naming.WRONG,
}
EQUIVALENT: dict[str, dict[str, str]] = {}
