"""The checks of exercise 12, one for each of its tasks.

    from mmret_lib import checks
    checks.big_batches.check_cells(cells)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.large`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.task import Formula, Task
from mmret_lib.checks.large import caching, gathering, partition, probing, tiling, watching
from mmret_lib.checks.large.cases import (
    CACHED_CASES,
    CELLS_CASES,
    GATHER_CASES,
    SEARCH_CASES,
    TILED_CASES,
)

__all__ = [
    "check_all_gather_loss",
    "check_cached_gradients",
    "check_cells",
    "check_log_sum_exp_in_tiles",
    "check_search_cells",
]

# ---------------------------------------------------------------------------------------------
# Task 1: the gradient of a batch in pieces

CACHED_TASK = Task(
    name="cached_gradients",
    right=caching.cached_gradients,
    cases=CACHED_CASES,
    mistakes=caching.WRONG_CACHES,
    properties=[watching.in_small_pieces, watching.leaves_the_branches_alone],
    has_gradient=False,
    half=False,
    remark=(
        "It is exactly the gradient of the whole batch, for one more forward pass and the memory "
        "of one piece."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 2: the log-sum-exp of a matrix in tiles

TILED_TASK = Task(
    name="log_sum_exp_in_tiles",
    right=tiling.log_sum_exp_in_tiles,
    cases=TILED_CASES,
    mistakes=tiling.WRONG_TILES,
    gradient_mistakes=tiling.WRONG_TILE_GRADIENTS,
    properties=[tiling.makes_no_matrix, tiling.keeps_no_matrix],
    remark=(
        "At 32,768 rows and columns the matrix has 4 GiB in float32; a tile of 1,024 has 4 MiB."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 3: the loss that several processes share

GATHER_TASK = Task(
    name="all_gather_loss",
    right=gathering.all_gather_loss,
    cases=GATHER_CASES,
    mistakes=gathering.WRONG_GATHERS,
    gradient_mistakes=gathering.WRONG_GATHER_GRADIENTS,
    remark=(
        "Each rank compares with everybody's embeddings, differentiates by its own, and the mean "
        "over the ranks is the gradient of the whole batch."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 4: cells


CELLS_TASK = Task(
    name="cells",
    right=partition.cells,
    cases=CELLS_CASES,
    mistakes=partition.WRONG_CELLS,
    symptom=lambda answers: partition.symptom(answers, CELLS_CASES),
    properties=[partition.leaves_randomness_alone],
    has_gradient=False,
    half=False,
    remark=(
        "No round makes the sum of squared distances larger, so it comes to rest; at which cells "
        "depends on the first centres."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 5: a search in the nearest cells


SEARCH_TASK = Task(
    name="search_cells",
    right=probing.search_cells,
    cases=SEARCH_CASES,
    mistakes=probing.WRONG_SEARCHES,
    properties=[probing.looks_into_the_cells_alone],
    has_gradient=False,
    half=False,
    remark=(
        "With all cells open it is the exact search, with fewer it is quicker and overlooks some: "
        "only a comparison with the exact one says how many."
    ),
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_cached_gradients(function: Callable[..., Sequence[Tensor]]) -> None:
    """Task 1: function(branches, loss, batch, piece) -> a gradient for each parameter."""
    check(CACHED_TASK, function)


def check_log_sum_exp_in_tiles(function: Callable[..., Tensor]) -> None:
    """Task 2: function(a (N, D), b (M, D), temperature, tile) -> (N,)."""
    check(TILED_TASK, function)


def check_all_gather_loss(
    function: Callable[[list[tuple[Tensor, Tensor]], Formula], Tensor],
) -> None:
    """Task 3: function(parts, loss) -> the loss of each rank (P,)."""
    check(GATHER_TASK, function)


def check_cells(function: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Task 4: function(vectors (N, D), k, steps, seed) -> centres (k, D), cells (N,)."""
    check(CELLS_TASK, function)


def check_search_cells(function: Callable[..., Tensor]) -> None:
    """Task 5: function(query (D,), vectors, centres, assigned, probes, k) -> indices (<= k,)."""
    check(SEARCH_TASK, function)
