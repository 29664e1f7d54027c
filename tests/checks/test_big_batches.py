"""The formulas of exercise 12 are the library's, or those of the whole batch."""

import torch
from torch import nn

from mmret_lib.checks import big_batches
from mmret_lib.checks.engine.arguments import close, copies
from mmret_lib.checks.large import caching, gathering, losses
from mmret_lib.losses import SimCLR
from mmret_lib.training.grad_cache import cached_backward


class Both(nn.Module):
    """Two heads in the form that the library's caching takes."""

    def __init__(self, image: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.image, self.text = image, text

    def forward(self, images, tokens):
        return self.image(images), self.text(tokens["rows"])


def test_gradients_in_pieces_are_those_of_the_whole_batch() -> None:
    for case in big_batches.CACHED_TASK.cases:
        branches, loss, batch, piece = copies(case.args, torch.float64)
        whole = caching.of_rows(branches, loss, batch, slice(None))
        assert close(caching.cached_gradients(branches, loss, batch, piece), whole)


def test_gradients_in_pieces_are_the_librarys() -> None:
    heads = losses.head(4, 5, 3, seed=1), losses.head(6, 3, seed=2)
    batch = losses.numbers(10, 4, seed=3), losses.numbers(10, 6, seed=4)
    loss = SimCLR(0.2)
    ours = caching.cached_gradients(heads, loss, batch, 4)
    both = Both(*heads)
    cached_backward(both, batch[0], {"rows": batch[1]}, loss, 4)
    assert close(tuple(each.grad for each in both.parameters()), ours)


def test_the_mean_over_the_ranks_is_the_gradient_of_the_whole_batch() -> None:
    case = big_batches.GATHER_TASK.cases[2]
    parts, loss = copies(case.args, torch.float64, requires_grad=True)
    leaves = [each for part in parts for each in part]
    averaged = torch.autograd.grad(gathering.all_gather_loss(parts, loss).mean(), leaves)
    whole = loss(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))
    assert close(averaged, torch.autograd.grad(whole, leaves))


def test_the_cells_have_no_near_ties_and_some_of_them_fall_empty() -> None:
    """Else float32, or another way to compute distances, might choose another cell."""
    empty = 0
    for case in big_batches.CELLS_TASK.cases:
        vectors, k, steps, seed = case.args
        for step in range(steps + 1):
            centres, assigned = big_batches.CELLS_TASK.right(vectors, k, step, seed)
            empty += len(assigned.unique()) < k
            if k > 1:
                near = torch.cdist(vectors, centres).sort(dim=1).values
                assert (near[:, 1] - near[:, 0]).min() > 1e-3, case.about
    assert empty > 2
