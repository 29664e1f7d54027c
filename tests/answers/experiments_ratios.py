"""Answers to task 3 of exercise 10: the interval of a ratio."""

import numpy as np
import torch

DRAWS = 10_000

# ---------------------------------------------------------------------------------------------
# Right


def by_quantile(first, second, generator):
    places = torch.randint(len(first), (DRAWS, len(first)), generator=generator)
    ratios = first[places].mean(dim=1) / second[places].mean(dim=1)
    low, high = torch.quantile(ratios, ratios.new_tensor([0.025, 0.975])).tolist()
    return low, high


def by_sorting(first, second, generator):
    places = torch.randint(len(first), (DRAWS, len(first)), generator=generator)
    ratios = (first[places].sum(1) / second[places].sum(1)).sort().values
    return ratios[int(0.025 * DRAWS)].item(), ratios[int(0.975 * DRAWS)].item()


def by_counts(first, second, generator):
    even = torch.full((DRAWS, len(first)), 1.0 / len(first))
    places = torch.multinomial(even, len(first), replacement=True, generator=generator)
    times = torch.zeros(DRAWS, len(first)).scatter_add_(1, places, torch.ones(places.shape))
    ratios = (times.to(first) @ first) / (times.to(first) @ second)
    return tuple(np.percentile(ratios.numpy(), [2.5, 97.5]).tolist())


def in_a_loop(first, second, generator):
    ratios = []
    for _ in range(DRAWS // 1000):
        places = (torch.rand(1000, len(first), generator=generator) * len(first)).long()
        ratios.append(first[places].mean(1) / second[places].mean(1))
    every = torch.cat(ratios)
    return torch.stack([every.quantile(0.025), every.quantile(0.975)])


def with_stacked_pairs(first, second, generator):
    both = torch.stack([first, second])
    places = torch.randint(0, len(first), (DRAWS, len(first)), generator=generator)
    means = both[:, places].mean(-1)
    ratios = means[0] / means[1]
    return [float(torch.quantile(ratios, q)) for q in (0.025, 0.975)]


RIGHT = [by_quantile, by_sorting, by_counts, in_a_loop, with_stacked_pairs]

# ---------------------------------------------------------------------------------------------
# Wrong


def ends(values, low=0.025, high=0.975):
    return tuple(torch.quantile(values, values.new_tensor([low, high])).tolist())


def drawn(
    first,
    second,
    generator,
    ratio=lambda f, s: f.mean(1) / s.mean(1),
    result=ends,
    draws=DRAWS,
):
    places = torch.randint(len(first), (draws, len(first)), generator=generator)
    return result(ratio(first[places], second[places]))


def but(**steps):
    return lambda first, second, generator: drawn(first, second, generator, **steps)


def apart(first, second, generator):
    n = len(first)
    one = first[torch.randint(n, (DRAWS, n), generator=generator)].mean(1)
    other = second[torch.randint(n, (DRAWS, n), generator=generator)].mean(1)
    return ends(one / other)


def two_intervals(first, second, generator):
    places = torch.randint(len(first), (DRAWS, len(first)), generator=generator)
    (low, high), (lower, higher) = ends(first[places].mean(1)), ends(second[places].mean(1))
    return low / lower, high / higher


def permuted(first, second, generator):
    places = torch.rand(DRAWS, len(first), generator=generator).argsort(dim=1)
    return ends(first[places].mean(1) / second[places].mean(1))


def by_deviation(first, second, generator):
    places = torch.randint(len(first), (DRAWS, len(first)), generator=generator)
    ratios = first[places].mean(1) / second[places].mean(1)
    middle = float(first.mean() / second.mean())
    return middle - 1.96 * float(ratios.std()), middle + 1.96 * float(ratios.std())


def one_pair(first, second, generator):
    places = torch.randint(len(first), (DRAWS,), generator=generator)
    return ends(first[places] / second[places])


def half_of_them(first, second, generator):
    half = len(first) // 2
    places = torch.randint(len(first), (DRAWS, half), generator=generator)
    return ends(first[places].mean(1) / second[places].mean(1))


def so_many(count, draws=DRAWS):
    """Another number of pairs, or of draws."""

    def interval(first, second, generator):
        places = torch.randint(len(first), (draws, count(len(first))), generator=generator)
        return ends(first[places].mean(1) / second[places].mean(1))

    return interval


def shared_state(first, second, generator):
    places = torch.randint(len(first), (DRAWS, len(first)))
    return ends(first[places].mean(1) / second[places].mean(1))


def in_place(first, second, generator):
    first /= second
    return by_quantile(first * second, second, generator)


def last_never(first, second, generator):
    places = torch.randint(len(first) - 1, (DRAWS, len(first)), generator=generator)
    return ends(first[places].mean(1) / second[places].mean(1))


def one_draw_for_all(first, second, generator):
    places = torch.randint(len(first), (len(first),), generator=generator)
    ratio = float(first[places].mean() / second[places].mean())
    return ratio, ratio


WRONG = {
    "apart": ("torn apart", apart),
    "mean of ratios": ("mean of the pairs' ratios", but(ratio=lambda f, s: (f / s).mean(1))),
    "medians": ("medians", but(ratio=lambda f, s: f.median(1).values / s.median(1).values)),
    "turned round": ("turned round", lambda f, s, g: by_quantile(s, f, g)),
    "difference": ("difference", but(ratio=lambda f, s: f.mean(1) - s.mean(1))),
    "gain": ("less 1", but(ratio=lambda f, s: f.mean(1) / s.mean(1) - 1)),
    "percent": ("percent", but(ratio=lambda f, s: 100 * f.mean(1) / s.mean(1))),
    "logarithm": ("logarithm", but(ratio=lambda f, s: (f.mean(1) / s.mean(1)).log())),
    "90 %": ("90 %", but(result=lambda r: ends(r, 0.05, 0.95))),
    "99 %": ("99 %", but(result=lambda r: ends(r, 0.005, 0.995))),
    "quartiles": ("50 %", but(result=lambda r: ends(r, 0.25, 0.75))),
    "smallest and largest": ("interval", but(result=lambda r: (float(r.min()), float(r.max())))),
    "0.25 and 0.975": ("interval", but(result=lambda r: ends(r, 0.25, 0.975))),
    "singles": ("own ratios", one_pair),
    "of the data": ("own ratios", lambda f, s, g: ends(f / s)),
    "two intervals": ("divided by each other", two_intervals),
    "high first": ("upper end", lambda f, s, g: by_quantile(f, s, g)[::-1]),
    "without replacement": ("with replacement", permuted),
    "only first is drawn": (
        "only first is drawn",
        lambda f, s, g: ends(
            f[torch.randint(len(f), (DRAWS, len(f)), generator=g)].mean(1) / s.mean()
        ),
    ),
    "no draw": ("with replacement", lambda f, s, g: 2 * (float(f.mean() / s.mean()),)),
    "by the deviation": ("standard deviations", by_deviation),
    "one deviation": (
        "68 %",
        but(result=lambda r: (float(r.mean() - r.std()), float(r.mean() + r.std()))),
    ),
    "half of them": ("interval", half_of_them),
    "one pair too few": ("of 10 pairs 9 ", so_many(lambda n: n - 1)),
    "one pair too many": ("of 10 pairs 11 ", so_many(lambda n: n + 1)),
    "two pairs too few": ("pairs", so_many(lambda n: n - 2)),
    "a thousand draws": ("jump from call to call", so_many(lambda n: n, 1000)),
    "five hundred draws": ("jump from call to call", so_many(lambda n: n, 500)),
    "last never": ("interval", last_never),
    "one draw": ("interval", one_draw_for_all),
    "a few draws": ("interval", but(draws=30)),
    "shared state": ("generator", shared_state),
    "its own generator": (
        "whatever the generator",
        lambda f, s, g: by_quantile(f, s, torch.Generator().manual_seed(0)),
    ),
    "seeds it": ("whatever the generator", lambda f, s, g: by_quantile(f, s, g.manual_seed(1))),
    "in place": ("in place", in_place),
    "the ratio": ("two numbers", lambda f, s, g: float(f.mean() / s.mean())),
    "three": ("two numbers", lambda f, s, g: (1.0, *by_quantile(f, s, g))),
    "all draws": ("two numbers", but(result=lambda r: r)),
    "half width": (
        "interval",
        but(result=lambda r: (float(r.mean()), float((ends(r)[1] - ends(r)[0]) / 2))),
    ),
    "no return": ("nothing is returned", lambda f, s, g: None),
}
