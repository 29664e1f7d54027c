"""What functions that draw from a generator keep to, whatever they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.pipeline.draws import leaves_states

Draws = Callable[[Tensor, Tensor, torch.Generator], Any]

NUMBERS = torch.tensor([3.0, 1.5, 2.0, 4.0, 2.5, 3.5], dtype=torch.float64, device="cpu")
OTHERS = torch.tensor([2.0, 1.75, 2.25, 2.0, 1.0, 3.0], dtype=torch.float64, device="cpu")


def plain(value: Any) -> Any:
    """A number, or a list of numbers, of whatever kind a result is."""
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.tolist() if hasattr(value, "tolist") else value


def leaves_the_arguments_alone(function: Draws) -> str | None:
    """Neither tensor is changed."""
    first, second = NUMBERS.clone(), OTHERS.clone()
    function(first, second, seeded(0))
    for name, now, before in (("first", first, NUMBERS), ("second", second, OTHERS)):
        if not torch.equal(now, before):
            return f"{name} is changed in place, but the caller still needs it: work on a copy"
    return None


def leaves_the_global_state_alone(function: Draws) -> str | None:
    """Nothing is drawn from, or set in, the random states that all code shares."""
    if leaves_states(lambda: function(NUMBERS, OTHERS, seeded(0))):
        return None
    return (
        "it draws from the random state that all code shares, or seeds it: hand the generator on, "
        "as in torch.randint(2, (10, 3), generator=generator)"
    )


def goes_by_the_generator(function: Draws) -> str | None:
    """The same state gives the same result, and each call moves the state on."""
    first, again = (plain(function(NUMBERS, OTHERS, seeded(1))) for _ in range(2))
    if first != again:
        return (
            "two generators with the same seed give different results: some of the randomness does "
            "not come from `generator`"
        )
    generator = seeded(1)
    calls = [plain(function(NUMBERS, OTHERS, generator)) for _ in range(6)]
    others = [plain(function(NUMBERS, OTHERS, seeded(seed))) for seed in range(6)]
    if all(call == calls[0] for call in calls):
        if all(other == others[0] for other in others):
            return (
                "the result is the same whatever the generator: draw 10,000 times from it, with "
                "generator=generator, and neither seed it nor make another"
            )
        return (
            "the same generator gives the same result in every call: it is seeded or copied "
            "inside. Draw from the generator as it is"
        )
    if all(other == others[0] for other in others):
        return (
            "generators with different seeds give the same result: a seed is fixed inside. Draw "
            "from `generator`, and do not seed it"
        )
    return None
