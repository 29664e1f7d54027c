"""Answers to task 4 of exercise 08: the bootstrap's interval."""

import random

import numpy as np
import torch

DRAWS = 2000


def rows(values):
    return values.reshape(len(values), -1).mean(1)


def drawn(n, generator):
    return torch.randint(n, (DRAWS, n), generator=generator)


def ends(means, level):
    tail = (1 - level) / 2
    return means.quantile(tail).item(), means.quantile(1 - tail).item()


# ---------------------------------------------------------------------------------------------
# Right


def interval_at_once(values, generator, level):
    each = rows(values)
    return ends(each[drawn(len(each), generator)].mean(1), level)


def interval_in_a_loop(values, generator, level):
    means = []
    for _ in range(DRAWS):
        chosen = torch.randint(len(values), (len(values),), generator=generator)
        means.append(values[chosen].mean().item())
    means.sort()
    cut = round((1 - level) / 2 * DRAWS)
    return means[cut], means[DRAWS - 1 - cut]


def interval_by_counts(values, generator, level):
    """How often each image is drawn, as in a multinomial distribution."""
    n = len(values)
    places = torch.multinomial(torch.ones(n), DRAWS * n, replacement=True, generator=generator)
    times = torch.nn.functional.one_hot(places.reshape(DRAWS, n), n).sum(1).to(values)
    return torch.quantile(
        times @ rows(values) / n, torch.tensor([(1 - level) / 2, (1 + level) / 2]).to(values)
    )


def interval_by_uniform_numbers(values, generator, level):
    places = (torch.rand(DRAWS, len(values), generator=generator) * len(values)).long()
    means = values[places].flatten(1).mean(1)
    low, high = np.percentile(means.numpy(), [50 - 50 * level, 50 + 50 * level])
    return float(low), float(high)


def interval_of_many(values, generator, level):
    """Ten times the draws, a piece at a time."""
    each = rows(values)
    means = torch.cat([each[drawn(len(each), generator)].mean(1) for _ in range(10)])
    return ends(means, level)


RIGHT = [
    interval_at_once,
    interval_in_a_loop,
    interval_by_counts,
    interval_by_uniform_numbers,
    interval_of_many,
]

# ---------------------------------------------------------------------------------------------
# Wrong


def answer(each=rows, drawn=drawn, mean=lambda chosen: chosen.mean(1), ends=ends):
    """A wrong answer: the solution with one line of it changed."""

    def bootstrap_interval(values, generator, level):
        units = each(values)
        return ends(mean(units[drawn(len(units), generator)]), level)

    return bootstrap_interval


def quantiles(low, high):
    return lambda means, level: (
        means.quantile(low(level)).item(),
        means.quantile(high(level)).item(),
    )


def sizes(count, draws=DRAWS):
    return lambda n, generator: torch.randint(n, (draws, count(n)), generator=generator)


def permuted(n, generator):
    return torch.stack([torch.randperm(n, generator=generator) for _ in range(200)])


def half_permuted(n, generator):
    return torch.stack([torch.randperm(n, generator=generator)[: n // 2] for _ in range(DRAWS)])


def of_the_values(values, generator, level):
    return ends(rows(values), level)


def normal(values, generator, level):
    """The textbook's: no draws at all."""
    each = rows(values)
    reach = 1.96 * each.std() / len(each) ** 0.5
    return (each.mean() - reach).item(), (each.mean() + reach).item()


def normal_of_draws(values, generator, level):
    each = rows(values)
    means = each[drawn(len(each), generator)].mean(1)
    z = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor((1 + level) / 2))
    return (means.mean() - z * means.std()).item(), (means.mean() + z * means.std()).item()


def one_deviation(means, level):
    return (means.mean() - means.std()).item(), (means.mean() + means.std()).item()


def changed(change):
    return lambda values, generator, level: change(
        *interval_at_once(values, generator, level), rows(values).mean().item()
    )


def reseeds(values, generator, level):
    return interval_at_once(values, torch.Generator().manual_seed(0), level)


def seeds_it(values, generator, level):
    return interval_at_once(values, generator.manual_seed(0), level)


def copies_it(values, generator, level):
    copy = torch.Generator()
    copy.set_state(generator.get_state())
    return interval_at_once(values, copy, level)


def ignores_it(values, generator, level):
    return interval_at_once(values, None, level)


def by_numpy(values, generator, level):
    each = rows(values).numpy()
    chosen = np.random.randint(len(each), size=(DRAWS, len(each)))
    return tuple(np.quantile(each[chosen].mean(1), [(1 - level) / 2, (1 + level) / 2]).tolist())


def by_random(values, generator, level):
    each = rows(values).tolist()
    means = [sum(random.choices(each, k=len(each))) / len(each) for _ in range(200)]
    return ends(torch.tensor(means), level)


def by_numpys_generator(values, generator, level):
    each = rows(values).numpy()
    chosen = np.random.default_rng().integers(len(each), size=(DRAWS, len(each)))
    return tuple(np.quantile(each[chosen].mean(1), [(1 - level) / 2, (1 + level) / 2]).tolist())


def in_place(values, generator, level):
    values -= values.mean()
    return interval_at_once(values, generator, level)


def rows_as_they_are(values, generator, level):
    """Right for (N,); for (N, C) there is an interval for each column."""
    means = values[drawn(len(values), generator)].mean(1)
    tail = (1 - level) / 2
    return means.quantile(tail, dim=0), means.quantile(1 - tail, dim=0)


def columns_drawn_apart(values, generator, level):
    """Each column draws images of its own."""
    table = values.reshape(len(values), -1)
    chosen = torch.randint(len(table), (DRAWS, *table.shape), generator=generator)
    return ends(table.expand(DRAWS, -1, -1).gather(1, chosen).flatten(1).mean(1), level)


def drawn_once(n, generator):
    return torch.randint(n, (n,), generator=generator).expand(DRAWS, n)


def goes_on(values, generator, level):
    means = torch.zeros(0)
    while len(means) < DRAWS:
        rows(values)[drawn(len(values), generator)].mean(1)


WRONG = {
    "single values": ("single values are drawn", answer(each=torch.ravel)),
    "apart": ("single values are drawn", columns_drawn_apart),
    "first captions": (
        "only the first value",
        answer(each=lambda v: v.reshape(len(v), -1)[:, 0]),
    ),
    "any caption": ("best value", answer(each=lambda v: v.reshape(len(v), -1).amax(1))),
    "means of columns": (
        "mean over dim=0",
        answer(each=lambda v: v.mean(0) if v.ndim > 1 else v),
    ),
    "an interval each": ("two numbers", rows_as_they_are),
    "whole tails": (
        "whole of 1 - level",
        answer(ends=quantiles(lambda level: 1 - level, lambda level: level)),
    ),
    "95 always": ("as 0.95", answer(ends=quantiles(lambda _: 0.025, lambda _: 0.975))),
    "level on top": (
        "upper end is the level",
        answer(ends=quantiles(lambda level: (1 - level) / 2, lambda level: level)),
    ),
    "one whole tail": (
        "lower end is 1 - level",
        answer(ends=quantiles(lambda level: 1 - level, lambda level: (1 + level) / 2)),
    ),
    "inner tails": (
        "level outside",
        answer(ends=quantiles(lambda level: level / 2, lambda level: 1 - level / 2)),
    ),
    "least and largest": (
        "level makes no difference",
        answer(ends=quantiles(lambda _: 0, lambda _: 1)),
    ),
    "high first": (
        "lower end comes first",
        answer(ends=quantiles(lambda level: (1 + level) / 2, lambda level: (1 - level) / 2)),
    ),
    "percentiles": (
        "range [0, 1]",
        answer(ends=quantiles(lambda level: 50 - 50 * level, lambda level: 50 + 50 * level)),
    ),
    "normal": ("1.96 standard deviations", normal),
    "normal of the draws": ("normal distribution", normal_of_draws),
    "one deviation": ("one standard deviation", answer(ends=one_deviation)),
    "of the values": ("quantiles of the values", of_the_values),
    "permuted": ("no width", answer(drawn=permuted)),
    "half, without replacement": ("without replacement", answer(drawn=half_permuted)),
    "last one never": (
        "last image is never drawn",
        answer(drawn=lambda n, g: drawn(n - 1, g)[:, :n]),
    ),
    "half of them": ("half as many", answer(drawn=sizes(lambda n: n // 2))),
    "twice as many": ("twice as many", answer(drawn=sizes(lambda n: 2 * n))),
    "one": ("single image", answer(drawn=sizes(lambda n: 1))),
    "ten": ("ten images", answer(drawn=sizes(lambda n: 10))),
    "a hundred": ("hundred images", answer(drawn=sizes(lambda n: 100))),
    "as many as draws": ("jump from call to call", answer(drawn=sizes(lambda n: DRAWS, 30))),
    "drawn once": ("no width", answer(drawn=drawn_once)),
    "fifty draws": ("jump from call to call", answer(drawn=sizes(lambda n: n, 50))),
    "two hundred draws": ("jump from call to call", answer(drawn=sizes(lambda n: n, 200))),
    "median": ("median", answer(mean=lambda chosen: chosen.quantile(0.5, dim=1))),
    "lower median": ("lower median", answer(mean=lambda chosen: chosen.median(1).values)),
    "sum": ("added up", answer(mean=lambda chosen: chosen.sum(1))),
    "deviation": ("standard deviation of the drawn", answer(mean=lambda chosen: chosen.std(1))),
    "percent": ("percent", changed(lambda low, high, mean: (100 * low, 100 * high))),
    "distances": ("distances from the mean", changed(lambda low, high, m: (low - m, high - m))),
    "mirrored": ("mirrored", changed(lambda low, high, m: (2 * m - high, 2 * m - low))),
    "width": ("width", changed(lambda low, high, m: (low, high - low))),
    "width alone": ("two numbers", changed(lambda low, high, m: high - low)),
    "rounded": ("rounded", changed(lambda low, high, m: (round(low, 2), round(high, 2)))),
    "with the mean": ("two numbers", changed(lambda low, high, m: (low, m, high))),
    "means": ("two numbers", answer(ends=lambda means, level: means)),
    "reseeds": ("nothing is drawn from `generator`", reseeds),
    "seeds it": ("seeded inside", seeds_it),
    "copies it": ("copied inside", copies_it),
    "no generator": ("all code shares", ignores_it),
    "numpy": ("all code shares", by_numpy),
    "random": ("all code shares", by_random),
    "numpy's generator": ("does not come from `generator`", by_numpys_generator),
    "in place": ("in place", in_place),
    "no return": ("nothing is returned", lambda values, generator, level: None),
}
