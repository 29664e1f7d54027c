"""What exercise 13's learned temperature is held to.

Its result is a module, so there are no numbers to compare: each property asks the module for its
temperature, moves its parameter, and asks again.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
from torch import Tensor, nn

from mmret_lib.checks.engine.task import Formula

RANGES = ((0.07, 0.01, 10.0), (0.5, 0.01, 1.0), (2.0, 0.5, 4.0), (3.0, 0.0004, 100.0))
SLOPES = (-2.0, 0.0, 1.5, -11.0)  # where the gradient is looked at
FORMULA = "low * (high / low) ** u.sigmoid()"


def temperature(u: Tensor, low: float, high: float) -> Tensor:
    """The right formula."""
    return low * (high / low) ** u.sigmoid()


def inverse(start: float, low: float, high: float) -> float:
    """The u at which the temperature is `start`."""
    share = math.log(start / low) / math.log(high / low)
    return math.log(share / (1 - share))


# Other ways from a free number to a temperature, by what they are.
OTHER_WAYS = {
    "the range is divided evenly, low + (high - low) * u.sigmoid(): a temperature counts by its "
    "ratios, so divide its logarithm evenly": lambda u, low, high: low + (high - low) * u.sigmoid(),
    "a clamp holds the temperature, and has no gradient once it is reached: a number that has run "
    "out of the range never comes back": lambda u, low, high: u.clamp(low, high),
    "a clamp holds the temperature's logarithm, and has no gradient once it is reached": (
        lambda u, low, high: u.exp().clamp(low, high)
    ),
    "exp keeps it above 0, and nothing keeps it between low and high": (
        lambda u, low, high: u.exp()
    ),
    "the parameter is the temperature itself: it can leave the range, and go below 0": (
        lambda u, low, high: u
    ),
    "tanh goes from -1 to 1, a sigmoid from 0 to 1": (
        lambda u, low, high: low * (high / low) ** u.tanh()
    ),
    "tanh, brought to 0 to 1, is the sigmoid of 2u": (
        lambda u, low, high: low * (high / low) ** ((u.tanh() + 1) / 2)
    ),
    "low and high are swapped, so a larger u makes it smaller": (
        lambda u, low, high: high * (low / high) ** u.sigmoid()
    ),
    "high is not divided by low": lambda u, low, high: low * high ** u.sigmoid(),
    "the inverse of the temperature is returned, as CLIP keeps it": (
        lambda u, low, high: 1 / temperature(u, low, high)
    ),
}


def is_a_module(function: Formula) -> str | None:
    """A module with one parameter of shape (), that gives a tensor of shape () when called."""
    module = function(*RANGES[0])
    if module is None:
        return "nothing is returned: the last line should be `return ...`"
    if isinstance(module, nn.Parameter):
        return (
            "a parameter is returned, which the optimiser would move out of the range: return a "
            "module that makes the temperature of its parameter in forward()"
        )
    if isinstance(module, type):
        return "a class is returned: return an object of it, Temperature()"
    if not isinstance(module, nn.Module):
        kind = {"function": "function"}.get(type(module).__name__, type(module).__name__)
        return (
            f"a {kind} is returned: an nn.Module is wanted, so that an optimiser finds its "
            "parameters() and a snapshot its state_dict()"
        )
    if says := wrong_parameters(list(module.parameters())):
        return says
    value = module()
    if not isinstance(value, Tensor):
        return (
            f"called, the module returns a {type(value).__name__}: a tensor is wanted, or no "
            "gradient reaches the parameter (no .item(), float() or math)"
        )
    if value.shape != ():
        return f"called, the module returns a tensor of shape {tuple(value.shape)}: wanted is ()"
    if not value.requires_grad:
        return "no gradient reaches the parameter: no .detach(), .data, .item() or torch.no_grad"
    return None


def wrong_parameters(parameters: list[nn.Parameter]) -> str | None:
    """What is wrong with a module's parameters."""
    if not parameters:
        return (
            "the module has no parameter, so an optimiser has nothing to move: assign an "
            "nn.Parameter to self (a plain tensor is none), after super().__init__()"
        )
    if len(parameters) > 1:
        return f"the module has {len(parameters)} parameters: one number is learned, u"
    if parameters[0].shape != ():
        shape = tuple(parameters[0].shape)
        return f"the parameter has shape {shape}: one number has (), torch.tensor(0.5)"
    if not parameters[0].requires_grad:
        return "the parameter does not require a gradient"
    return None


def begins_at_start(function: Formula) -> str | None:
    """The first temperature is `start`."""
    for start, low, high in RANGES:
        value = float(function(start, low, high)())
        if not math.isclose(value, start, rel_tol=1e-4):
            about = f"learnable_temperature({start}, {low}, {high}) begins at {value:.4g}"
            if math.isclose(value, (low * high) ** 0.5, rel_tol=1e-3):
                return f"{about}, in the middle of its range: u has to begin where it gives start"
            return (
                f"{about}: solve start = {FORMULA} for u, with share = log(start / low) / "
                "log(high / low) and u = log(share / (1 - share))"
            )
    return None


def follows_the_formula(function: Formula) -> str | None:
    """Moved, the parameter leads where the formula does, in value and gradient."""
    for start, low, high in RANGES:
        found = []
        for u in (*SLOPES, 40.0, -40.0):
            module = function(start, low, high)
            set_to(module, u)
            value = module()
            slope = torch.autograd.grad(value, list(module.parameters()), allow_unused=True)[0]
            found.append((u, float(value), 0.0 if slope is None else float(slope)))
        if says := wrong_values(found, start, low, high):
            return says
    return None


def set_to(module: nn.Module, u: float) -> None:
    """Put a number into a module's parameter."""
    with torch.no_grad():
        next(module.parameters()).fill_(u)


def wrong_values(
    found: list[tuple[float, float, float]], start: float, low: float, high: float
) -> str | None:
    """What is wrong with temperatures and slopes at several u."""

    def fits(way: Any) -> bool:
        rights = [float(way(torch.tensor(u), low, high)) for u, _, _ in found]
        return all(
            math.isclose(value, right, rel_tol=1e-3, abs_tol=1e-9)
            for (_, value, _), right in zip(found, rights, strict=True)
        )

    if all(math.isclose(value, start, rel_tol=1e-4) for _, value, _ in found):
        return (
            "the temperature does not follow the parameter: compute it in forward(), anew at each "
            "call, and not once in __init__()"
        )
    if not fits(temperature):
        for says, way in OTHER_WAYS.items():
            if fits(way):
                return says
        for u, value, _ in found:
            right = float(temperature(torch.tensor(u), low, high))
            if not math.isclose(value, right, rel_tol=1e-3):
                return (
                    f"between {low} and {high}, the parameter set to {u:g} should give "
                    f"{right:.4g} and gives {value:.4g}: {FORMULA}"
                )
    for u, _, slope in found[: len(SLOPES)]:
        leaf = torch.tensor(u, dtype=torch.float64, requires_grad=True)
        right = float(torch.autograd.grad(temperature(leaf, low, high), leaf)[0])
        if not math.isclose(slope, right, rel_tol=1e-3):
            return (
                f"the value is right, its gradient is not: at u = {u:g} it should be {right:.4g} "
                f"and is {slope:.4g}. Is a part detached, clamped, rounded, or made with math in "
                "place of torch?"
            )
    return None


def refuses_what_it_cannot_give(function: Formula) -> str | None:
    """A start that is not within the range is an error that says so."""
    for start in (0.01, 10.0, 0.005, 20.0):
        with contextlib.suppress(ValueError):
            try:
                function(start, 0.01, 10.0)
            except ValueError as error:
                if "math domain" in str(error) or "math range" in str(error):
                    return (
                        f"for start = {start}, low = 0.01, high = 10 math raises its own error: "
                        "compare first, and raise ValueError with words of your own"
                    )
                raise
            except Exception as error:
                return f"for start = {start}, low = 0.01, high = 10 it raises {error!r}: ValueError"
            return (
                f"start = {start} is taken, with low = 0.01 and high = 10: no u gives it. Unless "
                "low < start < high, raise ValueError"
            )
    return None


def stands_alone(function: Formula) -> str | None:
    """Two modules share nothing; a module can be made float64 and restored from a snapshot."""
    first, second = function(*RANGES[0]), function(*RANGES[0])
    set_to(first, 3.0)
    if not math.isclose(float(second()), RANGES[0][0], rel_tol=1e-4):
        return "two modules share one parameter: make a new one in each call"
    function(*RANGES[2])
    if not math.isclose(float(second()), RANGES[0][0], rel_tol=1e-4):
        return (
            "a module made later, for another range, changes this one: keep low and high in the "
            "module, self.low, and not in its class or in a variable that all share"
        )
    second.load_state_dict(first.state_dict())
    if not math.isclose(float(second()), float(first()), rel_tol=1e-6):
        return "a module restored from another one's state_dict() has another temperature"
    if function(*RANGES[0]).double()().dtype != torch.float64:
        return "made float64 by .double(), it returns another dtype: is one fixed in forward()?"
    return None


PROPERTIES = [
    is_a_module,
    begins_at_start,
    follows_the_formula,
    refuses_what_it_cannot_give,
    stands_alone,
]
