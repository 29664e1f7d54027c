"""How much of a batch goes through the branches at a time, and what is left behind in them."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mmret_lib.checks.engine.task import Formula
from mmret_lib.checks.large.losses import head, info_nce, numbers


class Waiting:
    """Rows that wait for a backward pass, as long as something of them is kept."""

    def __init__(self, rows: int) -> None:
        """Begin to wait."""
        self.rows = rows


class Watched(nn.Module):
    """A branch that counts the rows it is called with, and those that wait at the same time."""

    def __init__(self, inner: nn.Module) -> None:
        """Watch a branch."""
        super().__init__()
        self.inner = inner
        self.calls: list[int] = []
        self.seen: list[float] = []
        self.peak = 0
        self.waiting: weakref.WeakSet[Waiting] = weakref.WeakSet()

    def forward(self, rows: Tensor) -> Tensor:
        """Embed rows (b, D)."""
        self.calls.append(len(rows))
        self.seen += rows[:, 0].tolist()
        token = Waiting(len(rows))
        self.waiting.add(token)
        with saved_tensors_hooks(lambda kept: (token, kept.detach()), lambda pair: pair[1]):
            emb: Tensor = self.inner(rows)
        if not emb.requires_grad:
            self.waiting.discard(token)
        self.peak = max(self.peak, sum(each.rows for each in list(self.waiting)))
        return emb


def in_small_pieces(function: Formula) -> str | None:
    """No call has more than a piece, no more waits than two, and a pair goes through twice."""
    size, piece = 25, 3
    branches = Watched(head(4, 5, 3, seed=1)), Watched(head(6, 5, 3, seed=2))
    batch = numbers(size, 4, seed=3), numbers(size, 6, seed=4)
    function(branches, info_nce, batch, piece)
    for name, branch, rows in zip(("image", "text"), branches, batch, strict=True):
        if not branch.calls:
            return f"the {name} branch is never called: branches[{int(name == 'text')}](rows)"
        if max(branch.calls) > piece:
            return (
                f"the {name} branch gets {max(branch.calls)} rows in one call, with piece = "
                f"{piece}: no more than `piece` rows may go through a branch at a time, in the "
                "first pass, too"
            )
        if branch.peak > 2 * piece:
            return (
                f"with piece = {piece}, {branch.peak} rows of the {name} branch wait for their "
                f"backward pass at the same time, which takes the memory of {branch.peak} pairs: "
                "embed first under torch.no_grad(), and send each piece back before you embed the "
                "next one"
            )
        times = [branch.seen.count(each) for each in rows[:, 0].tolist()]
        if max(times) > 2:
            return (
                f"a pair goes through the {name} branch {max(times)} times: once for the cache "
                "and once more to send its part back is enough"
            )
    return None


def leaves_the_branches_alone(function: Formula) -> str | None:
    """The parameters keep their .grad, what they require, and the branches their mode."""
    for before in (None, 7.0):
        branches = head(4, 5, 3, seed=1).train(), head(6, 3, seed=2)
        parameters = [each for branch in branches for each in branch.parameters()]
        values = [each.detach().clone() for each in parameters]
        for each in parameters:
            each.grad = None if before is None else torch.full_like(each, before)
        function(branches, info_nce, (numbers(6, 4, seed=3), numbers(6, 6, seed=4)), 2)
        if says := changed(parameters, values, before):
            return says
        if [branch.training for branch in branches] != [True, False]:
            return "a branch is put into another mode (train, eval): leave it as it is"
    return None


def changed(parameters: list[Any], values: list[Tensor], before: float | None) -> str | None:
    """What has become of parameters whose .grad was `before` everywhere, if it is wrong."""
    for each, value in zip(parameters, values, strict=True):
        if not each.requires_grad:
            return "requires_grad of a parameter is switched off, and stays off for the caller"
        if not torch.equal(each, value):
            return "the parameters are changed: the gradients are wanted, and no step of a training"
        same = each.grad is None if before is None else each.grad is not None
        if same and before is not None:
            same = bool((each.grad == before).all())
        if not same:
            return (
                "the parameters' .grad is changed, but the caller decides what goes there: use "
                "torch.autograd.grad(emb, parameters, grad_outputs=...), which returns gradients "
                "and leaves none behind, and add up what it returns"
            )
    return None
