"""Answers to task 1 of exercise 10: the paired test by random signs."""

import random
from statistics import NormalDist

import torch

DRAWS = 10_000

# ---------------------------------------------------------------------------------------------
# Right


def signs_of(count, generator, draws=DRAWS):
    return 2.0 * torch.randint(2, (draws, count), generator=generator) - 1


def by_a_product(first, second, generator):
    difference = first - second
    sums = signs_of(len(first), generator).to(difference) @ difference
    far = (sums.abs() >= difference.sum().abs() - 1e-9).sum().item()
    return (far + 1) / (DRAWS + 1)


def by_uniform_numbers(first, second, generator):
    difference = (first - second).double()
    flip = torch.rand(DRAWS, len(difference), generator=generator) < 0.5
    means = torch.where(flip, -difference, difference).mean(dim=1)
    far = means.abs() >= difference.mean().abs() - 1e-9
    return float((far.sum() + 1) / (DRAWS + 1))


def by_normal_numbers(first, second, generator):
    difference = first - second
    sign = torch.randn(DRAWS, len(first), generator=generator).sign()
    means = (sign * difference).mean(1).abs()
    return (1 + int((means > difference.mean().abs() - 1e-8).sum())) / (1 + DRAWS)


def in_a_loop(first, second, generator):
    difference = first - second
    found, far = abs(float(difference.sum())), 0
    for _ in range(DRAWS // 1000):
        sign = signs_of(len(first), generator, 1000).to(difference)
        far += int(((sign * difference).sum(1).abs() > found - 1e-7).sum())
    return (far + 1) / (DRAWS + 1)


def as_a_tensor(first, second, generator):
    return torch.tensor(by_a_product(first, second, generator), dtype=torch.float64)


def by_exchange(first, second, generator):
    swap = torch.rand(DRAWS, len(first), generator=generator) < 0.5
    one, other = torch.where(swap, second, first), torch.where(swap, first, second)
    apart = (one.mean(1) - other.mean(1)).abs()
    return ((apart >= (first.mean() - second.mean()).abs() - 1e-9).sum().item() + 1) / (DRAWS + 1)


RIGHT = [
    by_a_product,
    by_uniform_numbers,
    by_normal_numbers,
    in_a_loop,
    as_a_tensor,
    by_exchange,
]

# ---------------------------------------------------------------------------------------------
# Wrong


def drawn(
    first,
    second,
    generator,
    far=lambda sums, found: sums.abs() >= found.abs() - 1e-9,
    draws=DRAWS,
    p=lambda far, draws: (far + 1) / (draws + 1),
):
    difference = first - second
    sums = signs_of(len(first), generator, draws).to(difference) @ difference
    return p(int(far(sums, difference.sum()).sum()), draws)


def but(**steps):
    return lambda first, second, generator: drawn(first, second, generator, **steps)


def two_groups(first, second, generator):
    both, found = torch.cat([first, second]), (first.mean() - second.mean()).abs()
    order = torch.rand(DRAWS, len(both), generator=generator).argsort(dim=1)
    groups = both[order]
    apart = (groups[:, : len(first)].mean(1) - groups[:, len(first) :].mean(1)).abs()
    return (int((apart >= found - 1e-9).sum()) + 1) / (DRAWS + 1)


def bootstrap(first, second, generator):
    difference = first - second
    places = torch.randint(len(first), (DRAWS, len(first)), generator=generator)
    means = difference[places].mean(1) * difference.mean().sign()
    return (int((means <= 0).sum()) + 1) / (DRAWS + 1)


def sign_test(first, second, generator):
    difference = (first - second).sign()
    sums = signs_of(len(first), generator).to(difference).sum(1).abs()
    return (int((sums >= difference.sum().abs()).sum()) + 1) / (DRAWS + 1)


def one_sign(first, second, generator):
    difference = first - second
    sums = signs_of(1, generator).to(difference) * difference.sum()
    return (int((sums.abs() >= difference.sum().abs() - 1e-9).sum()) + 1) / (DRAWS + 1)


def zero_or_one(first, second, generator):
    difference = first - second
    drawn_ones = torch.randint(2, (DRAWS, len(first)), generator=generator).to(difference)
    far = (drawn_ones @ difference).abs() >= difference.sum().abs() - 1e-9
    return (int(far.sum()) + 1) / (DRAWS + 1)


def minus_one_or_zero(first, second, generator):
    difference = first - second
    sign = torch.randint(-1, 1, (DRAWS, len(first)), generator=generator).to(difference)
    far = ((sign @ difference).abs() >= difference.sum().abs() - 1e-9).sum().item()
    return (far + 1) / (DRAWS + 1)


def any_factor(first, second, generator):
    difference = first - second
    factor = 2 * torch.rand(DRAWS, len(first), generator=generator, dtype=difference.dtype) - 1
    far = ((factor @ difference).abs() >= difference.sum().abs() - 1e-9).sum().item()
    return (far + 1) / (DRAWS + 1)


def three_values(first, second, generator):
    difference = first - second
    sign = torch.randint(-1, 2, (DRAWS, len(first)), generator=generator).to(difference)
    far = (sign @ difference).abs() >= difference.sum().abs() - 1e-9
    return (int(far.sum()) + 1) / (DRAWS + 1)


def normal(first, second, generator):
    difference = first - second
    z = abs(float(difference.mean() / (difference.std() / len(difference) ** 0.5)))
    return 2 * (1 - NormalDist().cdf(z))


def shared_state(first, second, generator):
    difference = first - second
    sign = 2.0 * torch.randint(2, (DRAWS, len(first))) - 1
    far = (sign.to(difference) @ difference).abs() >= difference.sum().abs() - 1e-9
    return (int(far.sum()) + 1) / (DRAWS + 1)


def python_random(first, second, generator):
    difference = (first - second).tolist()
    far = 0
    for _ in range(1000):
        total = sum(each * random.choice((-1, 1)) for each in difference)
        far += abs(total) >= abs(sum(difference)) - 1e-9
    return (far + 1) / 1001


def own_generator(first, second, generator):
    return by_a_product(first, second, torch.Generator().manual_seed(0))


def seeds_it(first, second, generator):
    return by_a_product(first, second, generator.manual_seed(3))


def in_place(first, second, generator):
    first -= second
    return by_a_product(first, 0 * second, generator)


def all_patterns(first, second, generator):
    pairs = len(first)
    if pairs > 15:
        return by_a_product(first, second, generator)
    every = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * pairs).to(first)
    difference = first - second
    far = (every @ difference).abs() >= difference.sum().abs() - 1e-9
    return float(far.double().mean())


WRONG = {
    "one side": ("one side alone", but(far=lambda sums, found: sums >= found - 1e-9)),
    "one side, doubled": (
        "doubled",
        but(
            far=lambda sums, found: sums >= found - 1e-9,
            p=lambda far, draws: 2 * (far + 1) / (draws + 1),
        ),
    ),
    "absolute of one": (
        "one side",
        but(far=lambda sums, found: sums >= found.abs() - 1e-9),
    ),
    "further": ("count too", but(far=lambda sums, found: sums.abs() > found.abs() + 1e-9)),
    "nearer": ("nearer", but(far=lambda sums, found: sums.abs() < found.abs() - 1e-9)),
    "at most": ("at the most", but(far=lambda sums, found: sums.abs() <= found.abs() + 1e-9)),
    "two groups": ("not paired", two_groups),
    "bootstrap": ("bootstrap", bootstrap),
    "sign test": ("only the signs", sign_test),
    "one sign": ("one sign is drawn", one_sign),
    "zero or one": ("signs are 0 and 1", zero_or_one),
    "three values": ("some signs are 0", three_values),
    "minus one or zero": ("signs are 0 and 1", minus_one_or_zero),
    "any factor": ("any numbers from -1 to 1", any_factor),
    "normal": ("normal distribution", normal),
    "1 - p": ("1 - p", lambda f, s, g: 1 - by_a_product(f, s, g)),
    "percent": ("percent", lambda f, s, g: 100 * by_a_product(f, s, g)),
    "never one more": ("p is 0", but(p=lambda far, draws: far / draws)),
    "one more above": ("above 1", but(p=lambda far, draws: (far + 1) / draws)),
    "two more below": ("equal", but(p=lambda far, draws: (far + 1) / (draws + 2))),
    "one pattern too few": ("equal", but(draws=DRAWS - 1, p=lambda far, draws: (far + 1) / 10_001)),
    "a hundred": ("p", but(draws=100)),
    "a thousand": ("10,000 patterns", but(draws=1000)),
    "no room for rounding": (
        "rounding",
        but(far=lambda sums, found: sums.abs() >= found.abs()),
    ),
    "much room": ("p", but(far=lambda sums, found: sums.abs() >= found.abs() - 0.3)),
    "shared state": ("generator", shared_state),
    "python's random": ("generator", python_random),
    "its own generator": ("whatever the generator", own_generator),
    "seeds it": ("whatever the generator", seeds_it),
    "all patterns": ("whatever the generator", all_patterns),
    "in place": ("in place", in_place),
    "no return": ("nothing is returned", lambda f, s, g: None),
    "a share of each": (
        "tensor",
        lambda f, s, g: signs_of(len(f), g).double() @ (f - s),
    ),
    "a verdict": ("bool", lambda f, s, g: by_a_product(f, s, g) < 0.05),
    "both": ("tuple", lambda f, s, g: (float((f - s).mean()), by_a_product(f, s, g))),
    "a shape of one": ("list", lambda f, s, g: [by_a_product(f, s, g)]),
}
