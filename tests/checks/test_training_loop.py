"""The formulas of exercise 07 are the library's, and its checks leave things as they were."""

import sys

import pytest
from answers import training_loop_saves

from mmret_lib.checks import training_loop
from mmret_lib.checks.loop import rates, rules
from mmret_lib.checks.loop.groups import settings_of
from mmret_lib.checks.loop.models import partly_frozen, two_branches
from mmret_lib.encoders.trainable import parameter_groups
from mmret_lib.training import TrainConfig
from mmret_lib.training.schedule import rate_factor


@pytest.mark.parametrize("warmup", [0.0, 0.05])
def test_the_rate_is_the_librarys(warmup: float) -> None:
    config = TrainConfig(
        epochs=12, schedule="multistep", warmup=warmup, milestones=(1, 4, 10), gamma=0.3
    )
    steps = round(warmup * 12 * 20)  # less than three quarters of the first epoch
    for step in range(240):
        ours = rates.rate(step, steps, (20, 80, 200), 0.3)
        assert ours == pytest.approx(rate_factor(step, config, 20))


@pytest.mark.parametrize("make", [two_branches, partly_frozen])
def test_the_groups_are_the_librarys(make) -> None:
    model = make()
    library = settings_of(parameter_groups(model, 0.003, 0.003, 0.02, 0.05), model)
    for each in rules.parameters_of(model):
        assert library[each.name] == rules.right(each, 0.02, 0.003, 0.05)


def test_a_profile_of_the_callers_goes_on_after_the_check(capsys) -> None:
    def profile(*args: object) -> None:
        pass

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        training_loop.check_save_state(training_loop_saves.renamed)
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(before)
