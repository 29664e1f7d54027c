"""What the checks of exercise 05 ask beyond numbers: what is called and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmret_lib.checks.engine.pairs import batch, cosines
from mmret_lib.checks.engine.seeds import seeded

READY_MADE = {
    *("logsumexp", "special_logsumexp", "log_softmax", "special_log_softmax"),
    *("cross_entropy", "logaddexp", "logaddexp2", "logcumsumexp"),
}


class Calls(TorchFunctionMode):
    """Collects the names of the torch functions that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, and keep its name."""
        self.names.add(getattr(func, "__name__", "").rsplit(".", 1)[-1].strip("_"))
        return func(*args, **(kwargs or {}))


def writes_it_itself(function: Callable[..., Any]) -> str | None:
    """Whether log_sum_exp is the student's own."""
    with Calls() as calls:
        function(torch.randn(3, 4, generator=seeded(0)), 1)
    used = sorted(calls.names & READY_MADE)
    if not used:
        return None
    return (
        f"it calls torch's ready {used[0]}, and the task is to write it: use amax, exp, sum and log"
    )


def gradient_of_nothing(function: Callable[..., Any]) -> str | None:
    """Whether a row of -inf gets a finite gradient, and the rows beside it the right one."""
    x = torch.tensor([[1.0, 2.0], [-math.inf, -math.inf]], dtype=torch.float64, requires_grad=True)
    function(x, 1).sum().backward()
    if x.grad is None or not x.grad.isnan().any():
        return None
    return (
        "a row of -inf alone gets a gradient of NaN, because the derivative of log at 0 is inf and "
        "inf * 0 is NaN: put 1 in place of a sum of 0 before the log (masked_fill, where), and "
        "-inf in place of its log afterwards"
    )


def refuses_one_pair(function: Callable[..., Any]) -> str | None:
    """Whether a batch without negatives is refused with a ValueError."""
    image_emb, text_emb = batch(1, 4, 0)
    try:
        value = function(image_emb, text_emb)
    except ValueError:
        return None
    except Exception as error:
        name = type(error).__name__
        return f"for a batch of one pair it raises {name}: raise a ValueError that says why"
    given = f"returns {float(value):g}" if isinstance(value, Tensor) else f"returns {value}"
    return (
        f"for a batch of one pair it {given}: there is no negative, and the log of an empty sum is "
        "-inf. Begin with `if len(image_emb) < 2: raise ValueError(...)`"
    )


def needs_no_autograd(function: Callable[..., Any]) -> str | None:
    """Whether it works where torch can differentiate nothing."""
    with torch.inference_mode():
        similarity = cosines(*batch(4, 3, 0))
        try:
            function(similarity, 0.2)
        except RuntimeError:
            return (
                "it fails where autograd is switched off: write the derivative's formula, without "
                "requires_grad_, backward or torch.autograd.grad"
            )
    return None


def one_pair_costs_nothing(function: Callable[..., Any]) -> str | None:
    """Whether a batch of one pair costs 0, where the positive is in the sum."""
    try:
        value = function(*batch(1, 4, 0))
    except Exception:
        return "for a batch of one pair it raises an error: the only answer is right, and costs 0"
    if not isinstance(value, Tensor) or abs(float(value)) > 1e-9:
        return "for a batch of one pair it should be 0: the only answer is the right one"
    return None
