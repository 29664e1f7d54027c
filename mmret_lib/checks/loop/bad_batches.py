"""A step of exercise 07 along a gradient that is not finite: it is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from mmret_lib.checks.engine.arguments import close
from mmret_lib.checks.loop.models import same_bits
from mmret_lib.checks.loop.settings import (
    ADAM,
    MOMENTUM,
    TOLERANCE,
    Make,
    Setting,
    TrainStep,
    apart,
    batches,
    groups_of,
)
from mmret_lib.checks.loop.steps import Batch, train_step


def broken_losses() -> Iterator[tuple[str, Callable[[Tensor, Tensor], Tensor], bool]]:
    """Losses whose gradient is not finite, with what is broken, and whether the value is too."""
    yield "a loss of NaN", lambda i, t: apart(i, t) * torch.nan, True
    yield "an infinite loss", lambda i, t: apart(i, t) * torch.inf, True
    yield (
        "a loss that is finite and has gradients of NaN (the root of 0)",
        lambda i, t: apart(i, t) + (i - i.detach()).square().sum().sqrt(),
        False,
    )
    yield (
        "a loss whose gradient is NaN in the text head alone",
        lambda i, t: apart(i, t) + (t - t.detach()).square().sum().sqrt(),
        False,
    )


def steps_over_what_is_not_finite(function: TrainStep) -> str | None:
    """Heads and optimiser stay as they were, and the next batch trains as if it were the first."""
    good, other = batches(2)
    for about, loss, _ in broken_losses():
        for make, clip in ((MOMENTUM, 0.5), (ADAM, None)):
            heads, optimizer = Setting("", make, clip).start()
            train_step(heads[0], heads[1], good, apart, optimizer, clip)
            weights = deepcopy([each.detach() for each in heads.parameters()])
            kept = deepcopy(optimizer.state_dict())
            named = f"{about} and {'no clipping' if clip is None else f'clip={clip:g}'}"
            try:
                value = function(heads[0], heads[1], other, loss, optimizer, clip)
            except (ArithmeticError, ValueError, RuntimeError, AssertionError) as error:
                return (
                    f"for {named} it raised {type(error).__name__}: {error}. Leave the step out, "
                    "and return the loss as it is: the next batch may be a good one"
                )
            if not same_bits(weights, [each.detach() for each in heads.parameters()]):
                spoilt = any(not each.isfinite().all() for each in heads.parameters())
                return (
                    f"after {named} the weights {'are NaN' if spoilt else 'have moved'}: call "
                    "optimizer.step() only if the length of the gradient is finite "
                    "(torch.isfinite), as the gradient scaler does"
                )
            if not same_bits(kept, optimizer.state_dict()):
                return (
                    f"after {named} the optimiser's own averages have changed: leave its step out "
                    "altogether, a gradient set to 0 is a step too"
                )
            if not isinstance(value, Tensor) or value.isfinite() != torch.isfinite(
                loss(torch.ones(2, 2), torch.ones(2, 2))
            ):
                return f"for {named} the loss is not returned as it is"
            if says := goes_on(function, heads, optimizer, make, good, clip):
                return f"after {named}, {says}"
    return None


def goes_on(
    function: TrainStep,
    heads: nn.ModuleList,
    optimizer: torch.optim.Optimizer,
    make: Make,
    batch: Batch,
    clip: float | None,
) -> str | None:
    """Whether the batch after a broken one trains as it should."""
    copied = deepcopy((heads, optimizer.state_dict()))
    twin = make(groups_of(copied[0]))
    twin.load_state_dict(copied[1])
    function(heads[0], heads[1], batch, apart, optimizer, clip)
    train_step(copied[0][0], copied[0][1], batch, apart, twin, clip)
    end, wanted = (list(each.state_dict().values()) for each in (heads, copied[0]))
    if close(end, wanted, TOLERANCE):
        return None
    return "the next batch does not train as it should: are gradients of NaN left over?"
