"""Settings out of range, the learning rate's schedules, devices and precision."""

import math

import pytest
import torch

from mmret_lib.files.errors import DataError
from mmret_lib.training import TrainConfig
from mmret_lib.training.devices import pick_device, pick_precision
from mmret_lib.training.schedule import enough_epochs, fill_in_budget, rate_factor


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"backbone_lr": -1},
        {"warmup": 2},
        {"clip": -1},
        {"text_lr": 2},
        {"image_lr": -1},
        {"milestones": (0, 4)},
    ],
)
def test_settings_out_of_range_are_named(bad):
    with pytest.raises(DataError, match=next(iter(bad))):
        TrainConfig(**bad)


def test_schedules_against_their_formulas():
    plain = {"epochs": 12, "warmup": 0.0}
    steps = TrainConfig(schedule="multistep", **plain)
    by_epoch = [rate_factor(10 * epoch, steps, 10) for epoch in range(12)]
    assert by_epoch == [1, 0.5, 0.5, 0.5, *[0.25] * 6, 0.125, 0.125]  # x 0.5 at 1, 4, 10
    cosine = TrainConfig(schedule="cosine", **plain)
    for step in (0, 30, 60, 120):
        expected = 0.5 * (1 + math.cos(math.pi * step / 120))
        assert math.isclose(rate_factor(step, cosine, 10), expected, abs_tol=1e-12)
    warm = TrainConfig(schedule="constant", epochs=10, warmup=0.1)
    assert [rate_factor(step, warm, 10) for step in (0, 4, 9, 50)] == [0.1, 0.5, 1, 1]


@pytest.mark.parametrize("schedule", ["cosine", "multistep", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.35, 1.0])
def test_rates_rise_once_to_their_peak_and_then_only_fall(schedule, warmup):
    """With "multistep" the rates were cut before warm-up had ended: they came to 0.83 of the peak.

    Held over every length of training, tiny ones too.
    """
    for epochs in (1, 2, 3, 5, 9, 12, 40):
        for steps_per_epoch in (1, 2, 3, 4, 5, 7, 20, 31):
            config = TrainConfig(epochs=epochs, schedule=schedule, warmup=warmup)
            steps = range(epochs * steps_per_epoch)
            factors = [rate_factor(step, config, steps_per_epoch) for step in steps]
            peak = factors.index(max(factors))
            assert factors[peak] == 1.0
            assert factors[:peak] == sorted(factors[:peak])
            assert factors[peak:] == sorted(factors[peak:], reverse=True)
            if schedule == "multistep":
                assert peak < min(config.milestones) * steps_per_epoch
            assert all(0 <= factor <= 1 for factor in factors)


def test_a_warm_up_that_ends_before_the_first_milestone_stays_as_it_was():
    """The recorded study of schedules: 6 epochs of 31 steps, warm-up over a tenth of all."""
    config = TrainConfig(schedule="multistep", epochs=6)
    for step in range(186):
        cuts = sum(step >= milestone * 31 for milestone in (1, 4))
        before = min(1.0, (step + 1) / (0.1 * 186)) * 0.5**cuts
        assert rate_factor(step, config, 31) == before


def test_small_sets_get_more_epochs():
    assert enough_epochs(8000, 128) == 7
    assert enough_epochs(128, 128) == 430
    assert enough_epochs(885, 128) == 72  # 6 batches an epoch


@pytest.mark.parametrize(
    ("given", "backbones", "validated", "epochs", "patience"),
    [
        ({}, True, True, 72, 0),
        ({}, False, False, 10, 0),
        ({}, False, True, 40, 4),
        ({"validate": False}, False, True, 10, 0),
        ({"patience": 0}, False, True, 10, 0),
        ({"patience": 2}, False, True, 40, 2),
        ({"patience": 2}, True, True, 72, 2),
        ({"epochs": 6}, False, True, 6, 0),
        ({"epochs": 6, "patience": 3}, False, True, 6, 3),
    ],
    ids=str,
)
def test_projections_alone_get_few_epochs(given, backbones, validated, epochs, patience):
    config = fill_in_budget(TrainConfig(**given), 885, backbones=backbones, validated=validated)
    assert (config.epochs, config.patience) == (epochs, patience)


def test_devices_and_precision():
    assert pick_precision("auto", torch.device("cpu")) == torch.float32
    assert pick_precision("bfloat16", torch.device("cpu")) == torch.bfloat16
    with pytest.raises(DataError, match="has no device 'nonsense'"):
        pick_device("nonsense")
