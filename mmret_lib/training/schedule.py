"""The learning rate at each step, and how many epochs a data set needs."""

import math

from mmret_lib.training.config import TrainConfig

EPOCHS = 7
FEWEST_STEPS = 430  # with fewer, random weights learn too little from a small data set


def enough_epochs(images: int, batch_size: int) -> int:
    """Return 7, or for a small data set the number of epochs that makes 430 steps."""
    return max(EPOCHS, math.ceil(FEWEST_STEPS / max(1, images // batch_size)))


def rate_factor(step: int, config: TrainConfig, steps_per_epoch: int) -> float:
    """Return the factor, 0…1, of the peak learning rates at ``step`` (from 0)."""
    assert config.epochs is not None  # the trainer fills it in
    total = config.epochs * steps_per_epoch
    rising = min(1.0, (step + 1) / (config.warmup * total)) if config.warmup else 1.0
    if config.schedule == "cosine":
        begin = config.warmup * total
        progress = max(0.0, step - begin) / max(1.0, total - begin)
        return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    if config.schedule == "multistep":
        passed = sum(step >= milestone * steps_per_epoch for milestone in config.milestones)
        return rising * config.gamma**passed
    return rising
