"""Answers to task 1 of exercise 13: a temperature that is learned."""

import math

import torch
from torch import nn


def logit(start, low, high):
    if not low < start < high:
        raise ValueError(f"start = {start} is not between {low} and {high}")
    share = math.log(start / low) / math.log(high / low)
    return math.log(share / (1 - share))


def made(forward, begin=logit, parameter=lambda u: nn.Parameter(torch.tensor(u))):
    """An answer whose module computes `forward(u, low, high)`."""

    def learnable_temperature(start, low, high):
        class Temperature(nn.Module):
            def __init__(self):
                super().__init__()
                self.u = parameter(begin(start, low, high))

            def forward(self):
                return forward(self.u, low, high)

        return Temperature()

    return learnable_temperature


def geometric(u, low, high):
    return low * (high / low) ** u.sigmoid()


# ---------------------------------------------------------------------------------------------
# Right


def by_logarithms(u, low, high):
    return torch.exp(math.log(low) + u.sigmoid() * (math.log(high) - math.log(low)))


def by_buffers(start, low, high):
    class Temperature(nn.Module):
        def __init__(self):
            super().__init__()
            if start <= low or start >= high:
                raise ValueError("the start lies outside of the range")
            self.register_buffer("low", torch.tensor(float(low)))
            self.register_buffer("high", torch.tensor(float(high)))
            share = (torch.tensor(start).double() / low).log() / math.log(high / low)
            self.raw = nn.Parameter(torch.logit(share).float())

        def forward(self):
            share = 1 / (1 + torch.exp(-self.raw))
            return self.low ** (1 - share) * self.high**share

    return Temperature()


RIGHT = [made(geometric), made(by_logarithms), by_buffers]


# ---------------------------------------------------------------------------------------------
# Wrong


def a_parameter(start, low, high):
    return nn.Parameter(torch.tensor(start))


def a_pair(start, low, high):
    u = nn.Parameter(torch.tensor(logit(start, low, high)))
    return u, lambda: geometric(u, low, high)


def the_class(start, low, high):
    class Temperature(nn.Module):
        pass

    return Temperature


def computed_once(start, low, high):
    class Temperature(nn.Module):
        def __init__(self):
            super().__init__()
            self.u = nn.Parameter(torch.tensor(logit(start, low, high)))
            self.value = geometric(self.u, low, high)

        def forward(self):
            return self.value

    return Temperature()


SHARED = nn.Parameter(torch.tensor(0.0))


def shared(start, low, high):
    made_one = made(geometric, parameter=lambda u: SHARED)(start, low, high)
    with torch.no_grad():
        SHARED.fill_(logit(start, low, high))
    return made_one


def linear_start(start, low, high):
    if not low < start < high:
        raise ValueError("outside of the range")
    share = (start - low) / (high - low)
    return math.log(share / (1 - share))


def without_error(start, low, high):
    share = math.log(start / low) / math.log(high / low)
    return math.log(share / (1 - share)) if 0 < share < 1 else 0.0


def math_error(start, low, high):
    share = math.log(start / low) / math.log(high / low)
    return math.log(share) - math.log(1 - share)


def halved_gradient(u, low, high):
    value = geometric(u, low, high)
    return value.detach() + (value - value.detach()) / 2


def checked(start, low, high):
    return logit(start, low, high) and start


def with_two(start, low, high):
    module = made(geometric)(start, low, high)
    module.scale = nn.Parameter(torch.tensor(1.0))
    return module


def in_double(u, low, high):
    return low * (high / low) ** u.sigmoid().float()


class WithSharedRange(nn.Module):
    """Its range is the class's: the one that was asked for last."""

    low: float
    high: float

    def __init__(self, u):
        super().__init__()
        self.u = nn.Parameter(torch.tensor(u))

    def forward(self):
        return geometric(self.u, self.low, self.high)


def shared_range(start, low, high):
    u = logit(start, low, high)
    WithSharedRange.low, WithSharedRange.high = low, high
    return WithSharedRange(u)


def kept_value(start, low, high):
    """Computes the temperature at the first call, and keeps it."""

    class Temperature(nn.Module):
        def __init__(self):
            super().__init__()
            self.u, self.value = nn.Parameter(torch.tensor(logit(start, low, high))), None

        def forward(self):
            if self.value is None:
                self.value = geometric(self.u, low, high)
            return self.value

    return Temperature()


def rounded(u, low, high):
    value = geometric(u, low, high)
    return value + (value.detach() * 1e4).round() / 1e4 - value.detach()


def hard(u, low, high):
    return low * (high / low) ** torch.nn.functional.hardsigmoid(u)


def takes_the_ends(start, low, high):
    if start < low or start > high:
        raise ValueError("outside of the range")
    share = math.log(start / low) / math.log(high / low)
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))


def asserts(start, low, high):
    assert low < start < high
    return logit(start, low, high)


def up_to_two(start, low, high):
    if start > 2:
        raise ValueError("too high")
    return logit(start, low, high)


WRONG = {
    "shared range": ("another range", shared_range),
    "kept value": ("state_dict", kept_value),
    "rounded": ("should give", made(rounded)),
    "hard sigmoid": ("solve", made(hard)),
    "takes the ends": ("is taken", made(geometric, takes_the_ends)),
    "asserts": ("AssertionError", made(geometric, asserts)),
    "up to two": ("ValueError", made(geometric, up_to_two)),
    "floor": ("should give", made(lambda u, low, high: geometric(u, low, high).clamp(min=0.01))),
    "ceiling": ("should give", made(lambda u, low, high: geometric(u, low, high).clamp(max=10))),
    "u between -5 and 5": (
        "should give",
        made(lambda u, low, high: geometric(u.clamp(-5, 5), low, high)),
    ),
    "u between -10 and 10": (
        "clamped",
        made(lambda u, low, high: geometric(u.clamp(-10, 10), low, high)),
    ),
    "share within its ends": (
        "clamped",
        made(lambda u, low, high: low * (high / low) ** u.sigmoid().clamp(1e-4, 1 - 1e-4)),
    ),
    "a parameter": ("parameter is returned", a_parameter),
    "a pair": ("nn.Module", a_pair),
    "the class": ("class is returned", the_class),
    "a number": ("nn.Module", lambda start, low, high: start),
    "nothing": ("nothing is returned", lambda start, low, high: None),
    "a plain tensor": ("no parameter", made(geometric, parameter=lambda u: torch.tensor(u))),
    "shape (1,)": (
        "shape (1,)",
        made(geometric, parameter=lambda u: nn.Parameter(torch.tensor([u]))),
    ),
    "two parameters": ("2 parameters", with_two),
    "frozen": (
        "require a gradient",
        made(geometric, parameter=lambda u: nn.Parameter(torch.tensor(u), requires_grad=False)),
    ),
    "item": ("float", made(lambda u, low, high: geometric(u, low, high).item())),
    "detached": ("no gradient", made(lambda u, low, high: geometric(u.detach(), low, high))),
    "computed once": ("forward()", computed_once),
    "begins in the middle": ("middle", made(geometric, lambda start, low, high: 0.0)),
    "begins as if linear": ("solve", made(geometric, linear_start)),
    "begins at start": ("solve", made(geometric, checked)),
    "linear": (
        "divided evenly",
        made(lambda u, low, high: low + (high - low) * u.sigmoid(), linear_start),
    ),
    "clamped": ("clamp", made(lambda u, low, high: u.clamp(low, high), checked)),
    "clamped exp": (
        "clamp",
        made(lambda u, low, high: u.exp().clamp(low, high), lambda s, low, high: math.log(s)),
    ),
    "exp": ("exp keeps", made(lambda u, low, high: u.exp(), lambda s, low, high: math.log(s))),
    "as it is": ("temperature itself", made(lambda u, low, high: 1.0 * u, checked)),
    "swapped": (
        "swapped",
        made(
            lambda u, low, high: geometric(u, high, low), lambda s, low, high: -logit(s, low, high)
        ),
    ),
    "inverse": ("solve", made(lambda u, low, high: 1 / geometric(u, low, high))),
    "half of the gradient": ("gradient", made(halved_gradient)),
    "no error": ("ValueError", made(geometric, without_error)),
    "math's error": ("math", made(geometric, math_error)),
    "shared": ("share", shared),
    "dtype fixed": ("dtype", made(in_double)),
}
