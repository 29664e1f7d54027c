"""Mean and variance for search time, gathered batch by batch, and the mistakes about them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes


def blend(old: Tensor, new: Tensor, momentum: float) -> Tensor:
    """The old value moved towards the new one by a share of `momentum`."""
    return (1 - momentum) * old + momentum * new


def running_standardiser(
    batches: Sequence[Tensor],
    momentum: float,
    *,
    order: Formula = lambda batches: batches,
    first_mean: Formula = lambda batch: batch.new_zeros(batch.shape[1]),
    first_variance: Formula = lambda batch: batch.new_ones(batch.shape[1]),
    mean: Formula = lambda batch: batch.mean(dim=0),
    variance: Formula = lambda batch, running: batch.var(dim=0),
    share: Formula = lambda momentum, count: momentum,
    move_mean: Formula = blend,
    move_variance: Formula = blend,
    returned: Formula = lambda mean, variance: (mean, variance),
) -> tuple[Tensor, Tensor]:
    """Mean and variance (D,) of each dimension, as nn.BatchNorm1d keeps them."""
    running_mean, running_variance = first_mean(batches[0]), first_variance(batches[0])
    for count, batch in enumerate(order(batches), start=1):
        new_variance = variance(batch, running_mean)
        now = share(momentum, count)
        running_mean = move_mean(running_mean, mean(batch), now)
        running_variance = move_variance(running_variance, new_variance, now)
    result: tuple[Tensor, Tensor] = returned(running_mean, running_variance)
    return result


def at_once(batches: Sequence[Tensor], momentum: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of all rows together."""
    rows = torch.cat(list(batches))
    return rows.mean(dim=0), rows.var(dim=0)


def at_once_biased(batches: Sequence[Tensor], momentum: float) -> tuple[Tensor, Tensor]:
    """The same with the biased variance."""
    rows = torch.cat(list(batches))
    return rows.mean(dim=0), rows.var(dim=0, correction=0)


def mean_of_batches(batches: Sequence[Tensor], momentum: float) -> tuple[Tensor, Tensor]:
    """The means over the batches of their means and variances."""
    means = torch.stack([batch.mean(dim=0) for batch in batches])
    return means.mean(dim=0), torch.stack([batch.var(dim=0) for batch in batches]).mean(dim=0)


def from_first_batch(batches: Sequence[Tensor], momentum: float) -> tuple[Tensor, Tensor]:
    """Starts at the first batch, which is then not counted again."""
    mean, variance = batches[0].mean(dim=0), batches[0].var(dim=0)
    for batch in batches[1:]:
        mean = blend(mean, batch.mean(dim=0), momentum)
        variance = blend(variance, batch.var(dim=0), momentum)
    return mean, variance


def by_size(batches: Sequence[Tensor], momentum: float) -> tuple[Tensor, Tensor]:
    """A larger batch gets a larger share than the first."""
    mean = batches[0].new_zeros(batches[0].shape[1])
    variance = torch.ones_like(mean)
    for batch in batches:
        share = momentum * len(batch) / len(batches[0])
        mean = blend(mean, batch.mean(dim=0), share)
        variance = blend(variance, batch.var(dim=0), share)
    return mean, variance


def from_moved(correction: int) -> Formula:
    """Distances from the running mean after the batch has moved it."""

    def wrong(batches: Sequence[Tensor], momentum: float) -> tuple[Tensor, Tensor]:
        mean = batches[0].new_zeros(batches[0].shape[1])
        variance = torch.ones_like(mean)
        for batch in batches:
            mean = blend(mean, batch.mean(dim=0), momentum)
            squares = (batch - mean).square().sum(dim=0) / (len(batch) - correction)
            variance = blend(variance, squares, momentum)
        return mean, variance

    return wrong


def squared_deviation(batches: Sequence[Tensor], momentum: float) -> tuple[Tensor, Tensor]:
    """Deviations are averaged, and squared at the end."""
    mean, deviation = running_standardiser(
        batches, momentum, variance=lambda batch, _: batch.std(dim=0)
    )
    return mean, deviation.square()


def bias_corrected(batches: Sequence[Tensor], momentum: float) -> tuple[Tensor, Tensor]:
    """Starts both at 0 and divides by what the start still weighs, as Adam does."""
    mean, variance = running_standardiser(
        batches, momentum, first_variance=lambda batch: batch.new_zeros(batch.shape[1])
    )
    weight = 1 - (1 - momentum) ** len(batches)
    return mean / weight, variance / weight


REMEDIES = {
    "first_mean": "the mean starts at 0 in each dimension",
    "first_variance": "the variance starts at 1 in each dimension",
    "variance": "take each batch's unbiased variance of each dimension, batch.var(dim=0)",
    "mean": "take each batch's mean of each dimension, batch.mean(dim=0)",
    "move_mean": "new = (1 - momentum) * old + momentum * mean of the batch",
    "move_variance": "new = (1 - momentum) * old + momentum * variance of the batch",
    "share": "momentum is the share of the new batch, as torch's BatchNorm has it",
    "order": "go through the batches as they come, from the first to the last",
    "returned": "return (mean, variance), both (D,)",
}
# In `share` m is the momentum and n the number of the batch, from 1.
WRONG_RUNNING = [
    *mistakes(
        REMEDIES,
        variance={
            "the variance of a batch is biased, divided by B: for search time batch norm keeps the "
            "unbiased one, batch.var(dim=0)": lambda batch, _: batch.var(dim=0, correction=0),
            "the standard deviation of a batch is taken": lambda batch, _: batch.std(dim=0),
            "one variance of the whole batch is taken": (
                lambda batch, _: batch.var() + 0 * batch[0]
            ),
            "distances from the running mean are taken, and not from the batch's own": (
                lambda batch, running: (batch - running).square().sum(dim=0) / (len(batch) - 1)
            ),
            "the mean of the squares is taken: subtract the batch's mean before you square": (
                lambda batch, _: batch.square().mean(dim=0)
            ),
        },
        share={
            "momentum is the weight of the old value here, as in optimizers": lambda m, n: 1 - m,
            "momentum is fixed at 0.1: take the argument": lambda m, n: 0.1,
            "momentum is fixed at 0.9: take the argument": lambda m, n: 0.9,
            "a plain average is taken, in which the n-th batch has a share of 1 / n": (
                lambda m, n: 1 / n
            ),
            "momentum shrinks from batch to batch": lambda m, n: m**n,
        },
    ),
    Mistake(
        "the first batch is taken as the start: mean and variance start at 0 and 1, and the first "
        "batch then moves them as every other does",
        from_first_batch,
    ),
    *mistakes(
        REMEDIES,
        first_variance={
            "the variance starts at 0": lambda batch: batch.new_zeros(batch.shape[1]),
            "the variance starts at that of the first batch": lambda batch: batch.var(dim=0),
        },
        first_mean={
            "the mean starts at 1": lambda batch: batch.new_ones(batch.shape[1]),
            "the mean starts at that of the first batch": lambda batch: batch.mean(dim=0),
        },
        several={
            "both start at the first batch's: mean and variance start at 0 and 1": {
                "first_mean": lambda batch: batch.mean(dim=0),
                "first_variance": lambda batch: batch.var(dim=0),
            },
            "both start at 1: the mean starts at 0": {
                "first_mean": lambda batch: batch.new_ones(batch.shape[1]),
            },
            "mean and variance start swapped: the mean at 0, the variance at 1": {
                "first_mean": lambda batch: batch.new_ones(batch.shape[1]),
                "first_variance": lambda batch: batch.new_zeros(batch.shape[1]),
            },
        },
        move_mean={
            "the mean of the last batch is returned": lambda old, new, m: new,
            "the old mean is not weighted": lambda old, new, m: old + m * new,
            "the new mean is not weighted": lambda old, new, m: (1 - m) * old + new,
            "the mean never moves": lambda old, new, m: old,
        },
        move_variance={
            "the variance of the last batch is returned": lambda old, new, m: new,
            "the old variance is not weighted": lambda old, new, m: old + m * new,
            "the new variance is not weighted": lambda old, new, m: (1 - m) * old + new,
            "the variance never moves": lambda old, new, m: old,
        },
        order={
            "the batches are taken in reverse": lambda batches: list(reversed(batches)),
            "the last batch is left out": lambda batches: batches[:-1],
            "the first batch is left out": lambda batches: batches[1:],
            "only the first batch is taken": lambda batches: batches[:1],
            "only the last batch is taken": lambda batches: batches[-1:],
        },
        returned={
            "the order is turned round": lambda mean, variance: (variance, mean),
            "the standard deviation is returned, and not the variance": (
                lambda mean, variance: (mean, variance.sqrt())
            ),
            "an eps is added to the variance, which belongs to the division": (
                lambda mean, variance: (mean, variance + 1e-5)
            ),
            "the inverse of the deviation is returned": (
                lambda mean, variance: (mean, 1 / variance.sqrt())
            ),
        },
    ),
    Mistake(
        "mean and variance are taken of all rows at once: move them batch by batch, by a share of "
        "momentum",
        at_once,
    ),
    Mistake(
        "mean and variance are taken of all rows at once, the variance divided by their number: "
        "move them batch by batch, by a share of momentum, towards the unbiased variance",
        at_once_biased,
    ),
    Mistake(
        "all batches count alike, and momentum not at all: move mean and variance batch by batch, "
        "by a share of momentum",
        mean_of_batches,
    ),
    Mistake(
        "a batch's share goes by its size: every batch has the share momentum, however large it is",
        by_size,
    ),
    *(
        Mistake(
            "distances from the running mean are taken, after the batch has moved it: take the "
            "batch's own variance, batch.var(dim=0)",
            from_moved(correction),
        )
        for correction in (0, 1)
    ),
    Mistake(
        "standard deviations are blended, and squared at the end: blend the variances",
        squared_deviation,
    ),
    Mistake(
        "the start is corrected for, as Adam does it: batch norm keeps 0 and 1 as they fade",
        bias_corrected,
    ),
]
