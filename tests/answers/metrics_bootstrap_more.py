"""Further wrong answers to task 4 of exercise 08, each of which passed at first."""

import torch

from answers.metrics_bootstrap import (
    DRAWS,
    answer,
    changed,
    drawn,
    ends,
    quantiles,
    rows,
    sizes,
)


def captions_too(values, generator, level):
    """Draws images, and then captions of each."""
    table = values.reshape(len(values), -1)
    chosen = table[drawn(len(table), generator)]  # (DRAWS, N, C)
    captions = torch.randint(table.shape[1], chosen.shape, generator=generator)
    return ends(chosen.gather(2, captions).flatten(1).mean(1), level)


def one_caption_of_each(values, generator, level):
    table = values.reshape(len(values), -1)
    chosen = table[drawn(len(table), generator)]
    captions = torch.randint(table.shape[1], (*chosen.shape[:2], 1), generator=generator)
    return ends(chosen.gather(2, captions).flatten(1).mean(1), level)


def poisson_counts(values, generator, level):
    """Each image as often as a Poisson number says: N only on average."""
    each = rows(values)
    times = torch.poisson(torch.ones(DRAWS, len(each)), generator=generator).to(each)
    return ends(times @ each / times.sum(1), level)


def random_weights(values, generator, level):
    """The Bayesian bootstrap: weights in place of counts."""
    each = rows(values)
    weights = -(1 - torch.rand(DRAWS, len(each), generator=generator)).log().to(each)
    return ends(weights @ each / weights.sum(1), level)


def smoothed(values, generator, level):
    """Adds a little noise to what is drawn."""
    each = rows(values)
    chosen = each[drawn(len(each), generator)]
    noise = torch.randn(chosen.shape, generator=generator).to(chosen)
    return ends((chosen + 0.1 * each.std() * noise).mean(1), level)


def distinct_images(values, generator, level):
    """An image that is drawn twice counts once."""
    each = rows(values)
    held = torch.nn.functional.one_hot(drawn(len(each), generator), len(each)).amax(1).to(each)
    return ends(held @ each / held.sum(1), level)


def bias_corrected(values, generator, level):
    each = rows(values)
    means = each[drawn(len(each), generator)].mean(1)
    normal = torch.distributions.Normal(means.new_tensor(0.0), means.new_tensor(1.0))
    shift = 2 * normal.icdf((means < each.mean()).to(means).mean())
    reach = normal.icdf(means.new_tensor((1 + level) / 2))
    low, high = (means.quantile(normal.cdf(shift + z)).item() for z in (-reach, reach))
    return low, high


def to_both_sides(values, generator, level):
    """As far below the mean as above it."""
    each = rows(values)
    means = each[drawn(len(each), generator)].mean(1)
    reach = (means - each.mean()).abs().quantile(level)
    return (each.mean() - reach).item(), (each.mean() + reach).item()


def median_caption(values):
    return values if values.ndim == 1 else values.quantile(0.5, dim=1)


def all_but_the_last(values):
    return values if values.ndim == 1 else values[:, :-1].mean(1)


WRONG = {
    "one too few": ("of 10 images 9", answer(drawn=sizes(lambda n: n - 1))),
    "one too many": ("of 10 images 11", answer(drawn=sizes(lambda n: n + 1))),
    "four hundred draws": ("jump from call to call", answer(drawn=sizes(lambda n: n, 400))),
    "five hundred draws": ("jump from call to call", answer(drawn=sizes(lambda n: n, 500))),
    "captions too": ("without drawing among them", captions_too),
    "one caption of each": ("without drawing among them", one_caption_of_each),
    "median caption": ("median", answer(each=median_caption)),
    "all but the last caption": ("last value", answer(each=all_but_the_last)),
    "poisson counts": ("images", poisson_counts),
    "random weights": ("the interval is wrong", random_weights),
    "smoothed": ("another number of images", smoothed),
    "distinct images": ("drawn twice counts once", distinct_images),
    "bias corrected": ("the interval is wrong", bias_corrected),
    "to both sides": ("evenly around the middle", to_both_sides),
    "smaller tails": (
        "for a level below 0.5",
        answer(
            ends=quantiles(
                lambda level: min(level, 1 - level) / 2, lambda level: 1 - min(level, 1 - level) / 2
            )
        ),
    ),
    "rounded to four digits": (
        "round nothing",
        changed(lambda low, high, m: (round(low, 4), round(high, 4))),
    ),
    "at most 100": (
        "clamp nothing",
        changed(lambda low, high, m: (min(low, 100.0), min(high, 100.0))),
    ),
}
