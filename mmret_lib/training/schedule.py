"""The learning rate at each step, and how many epochs a training needs."""

import math
from dataclasses import replace

from mmret_lib.training.config import TrainConfig

EPOCHS = 7
FEWEST_STEPS = 430  # with fewer, random weights learn too little from a small data set
# Projections alone learn within a few epochs and then overfit: on 1,137 photos of Flickr8k, every
# loss of the course has lost from its best epoch to epoch 72 (benchmarks/results/real.md).
PROJECTION_EPOCHS = 10
MOST_PROJECTION_EPOCHS, PROJECTION_PATIENCE = 40, 4  # where validation pairs say when to stop
# Of the steps before the first milestone, the most that warm-up takes. With all of them, or more,
# the rates would be cut as soon as they reach their peak, or before.
WARMUP_SHARE = 0.75


def enough_epochs(images: int, batch_size: int) -> int:
    """Return 7, or for a small data set the number of epochs that makes 430 steps."""
    return max(EPOCHS, math.ceil(FEWEST_STEPS / max(1, images // batch_size)))


def fill_in_budget(
    config: TrainConfig, images: int, *, backbones: bool, validated: bool
) -> TrainConfig:
    """Fill in the epochs and the patience of a training where they are not given.

    Args:
        images: how many there are to train on.
        backbones: whether a backbone trains, and not only projections.
        validated: whether there are validation pairs.
    """
    epochs, patience = config.epochs, config.patience
    validated = validated and config.validate
    if epochs is None and backbones:
        epochs = enough_epochs(images, config.batch_size)
    elif epochs is None and validated and patience != 0:
        epochs = MOST_PROJECTION_EPOCHS
        patience = PROJECTION_PATIENCE if patience is None else patience
    elif epochs is None:
        epochs = PROJECTION_EPOCHS
    return replace(config, epochs=epochs, patience=patience or 0)


def rate_factor(step: int, config: TrainConfig, steps_per_epoch: int) -> float:
    """Return the factor, 0…1, of the peak learning rates at ``step`` (from 0).

    It rises to 1, which at least one step has, however few there are, and then never rises again.
    """
    assert config.epochs is not None  # the trainer fills it in
    total = config.epochs * steps_per_epoch
    warmup = warmup_steps(config, steps_per_epoch)
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if config.schedule == "cosine":
        progress = max(0.0, step - warmup) / max(1.0, total - warmup)
        return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    if config.schedule == "multistep":
        passed = sum(step >= milestone * steps_per_epoch for milestone in config.milestones)
        return rising * config.gamma**passed
    return rising


def warmup_steps(config: TrainConfig, steps_per_epoch: int) -> float:
    """Return the number of steps over which the rates rise; it need not be whole."""
    assert config.epochs is not None
    steps = config.warmup * config.epochs * steps_per_epoch
    if config.schedule == "multistep" and config.milestones:
        steps = min(steps, WARMUP_SHARE * min(config.milestones) * steps_per_epoch)
    return steps
