"""Look at the tensors that a function makes, and at those that it keeps for its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from mmret_lib.checks.engine.arguments import is_float, tensors


class Largest(TorchDispatchMode):
    """Remembers the largest tensor of floating-point numbers that any operation has made."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0
        self.shape: tuple[int, ...] = ()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation."""
        made = operation(*args, **(kwargs or {}))
        for each in filter(is_float, tensors(made)):
            if not operation.is_view and each.numel() > self.numbers:
                self.numbers, self.shape = each.numel(), tuple(each.shape)
        return made


def kept_by(call: Callable[[], Any]) -> tuple[int, Any]:
    """Count the numbers that a call keeps for its gradient, each piece of memory once."""
    places: dict[int, int] = {}

    def note(kept: Tensor) -> Tensor:
        places[kept.untyped_storage().data_ptr()] = kept.untyped_storage().nbytes()
        return kept.detach()

    with saved_tensors_hooks(note, lambda kept: kept):
        result = call()
    return sum(places.values()) // 8, result
