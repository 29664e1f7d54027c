"""What the tasks of exercise 12 are tried on, the plainest case first, the one for paper last."""

from __future__ import annotations

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Case
from mmret_lib.checks.large import partition, probing, tiling
from mmret_lib.checks.large.losses import (
    head,
    images_ask,
    info_nce,
    numbers,
    others_less_own,
    reader,
    scaling,
    viewer,
)

SIZE = "a size is fixed in the code: take all sizes from the arguments"


def rows(*values: float | list[float]) -> Tensor:
    """A tensor in float64."""
    return torch.tensor(values, dtype=torch.float64, device="cpu")


LAST = "the last piece may be smaller than the others: range(0, B, piece), and slices"
LOSS = "use the loss that you are given, once, on the embeddings of all B pairs"
IDS = (
    "a batch may hold anything that has a row for each pair, such as ids of words (B, L), int64: "
    "only embeddings require a gradient"
)
COLUMNS = rows([1.0], [2]), rows([3.0], [1])

CACHED_CASES = [
    Case(
        ((head(4, 5, 3), head(6, 3)), info_nce, (numbers(12, 4), numbers(12, 6, seed=1)), 4),
        "12 pairs in pieces of 4",
    ),
    Case(
        (
            (head(3, 4, seed=1), head(5, 4, 4, seed=2)),
            info_nce,
            (numbers(10, 3, seed=2), numbers(10, 5, seed=3)),
            4,
        ),
        "10 pairs in pieces of 4",
        (LAST, SIZE),
    ),
    Case(
        (
            (head(3, 4, 2, seed=3), head(5, 2, seed=4)),
            images_ask,
            (numbers(7, 3, seed=4), numbers(7, 5, seed=5)),
            2,
        ),
        "7 pairs in pieces of 2, a loss whose value depends on which side asks",
        (LAST, LOSS),
    ),
    Case(
        (
            (head(4, 3, seed=5), head(4, 3, seed=6)),
            info_nce,
            (numbers(5, 4, seed=6), numbers(5, 4, seed=7)),
            8,
        ),
        "5 pairs in one piece of 8",
        ("piece may be larger than B: then there is one piece", SIZE),
    ),
    Case(
        (
            (viewer(2, 3, seed=7), reader(9, 3, seed=8)),
            info_nce,
            (
                numbers(6, 2, 5, 5, seed=8),
                torch.arange(24, device="cpu").reshape(6, 4).mul(5).remainder(9),
            ),
            4,
        ),
        "6 pictures (6, 2, 5, 5) and captions as ids (6, 4)",
        (IDS,),
    ),
    Case(
        ((scaling(1.0), scaling(3.0)), others_less_own, COLUMNS, 1),
        "heads that multiply by 1 and by 3, images [[1], [2]], texts [[3], [1]], pieces of 1",
        (LOSS, SIZE),
    ),
]

WIDE = "a and b may have different numbers of rows, and the last tiles may be smaller"
RISING = numbers(6, 1).abs() + 0.5, rows([-900.0], [-300], [-2], [0], [250], [700], [1000])
LOW = rows([1.0, 0], [0.5, 0], [2, 0.1]), rows([-1.0, 0], [-1.5, 1], [-1.2, 0], [-3, 0])

TILED_CASES = [
    Case((numbers(7, 3), numbers(5, 3, seed=1), 0.5, 3), "7 rows, 5 columns, tiles of 3"),
    Case(
        (numbers(4, 2, seed=2), numbers(10, 2, seed=3), 0.8, 4),
        "4 rows, 10 columns, tiles of 4",
        (WIDE, SIZE),
    ),
    Case(
        (numbers(9, 5, seed=4), numbers(4, 5, seed=5), 2.0, 2),
        "9 rows, 4 columns, tiles of 2",
        (WIDE, SIZE),
    ),
    Case(
        (numbers(3, 4, seed=6), numbers(5, 4, seed=7), 1.0, 16),
        "a tile larger than the matrix",
        ("tile may be larger than the matrix", WIDE),
    ),
    Case(
        (numbers(5, 4, seed=8), numbers(5, 4, seed=9), 0.7, 1),
        "tiles of 1",
        ("tiles of a single number go wrong", SIZE),
    ),
    Case((*RISING, 1.0, 2), "scores that rise from -1,000 to 1,000", (tiling.RISING, tiling.LOW)),
    Case(
        (RISING[0], RISING[1].flip(0), 1.0, 3),
        "scores that fall from 1,000 to -1,000",
        (tiling.LOW,),
    ),
    Case((*LOW, 1e-5, 2), "a temperature of 0.00001, all scores below -40,000", (tiling.LOW,)),
    Case(
        (rows([1.0], [2]), rows([0.0], [1], [2]), 1.0, 2),
        "a = [[1], [2]], b = [[0], [1], [2]], temperature 1, tiles of 2",
        (SIZE,),
    ),
]

UNEVEN = "the parts of the ranks may differ in size: torch.cat joins them"
ALONE = "with one rank there is nothing to gather: the loss, and its gradient, are the plain ones"


def ranks(*sizes: int, dim: int = 3, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Embeddings of so many pairs for each rank."""
    return [
        (numbers(size, dim, seed=seed + 2 * r), numbers(size, dim, seed=seed + 2 * r + 1))
        for r, size in enumerate(sizes)
    ]


GATHER_CASES = [
    Case((ranks(4, 4, 4), info_nce), "3 ranks of 4 pairs"),
    Case((ranks(5, 5, dim=4, seed=7), info_nce), "2 ranks of 5 pairs", (SIZE,)),
    Case((ranks(3, 2, 4, 3, seed=20), info_nce), "ranks of 3, 2, 4 and 3 pairs", (UNEVEN,)),
    Case(
        (ranks(3, 3, 3, dim=2, seed=30), images_ask),
        "a loss whose value depends on which side asks",
        ("use the loss that you are given: loss(images, texts)",),
    ),
    Case((ranks(6, seed=40), info_nce), "one rank of 6 pairs", (ALONE,), smooth=False),
    Case(
        ([(rows([1.0]), rows([3.0])), (rows([2.0]), rows([1.0]))], others_less_own),
        "2 ranks of one pair, images [[1]] and [[2]], texts [[3]] and [[1]]",
        (SIZE,),
    ),
]


def clumps(size: int, k: int, dim: int, seed: int) -> Tensor:
    """Vectors around k middles."""
    middles = 2 * numbers(k, dim, seed=seed)
    return middles[torch.arange(size) % k] + 0.5 * numbers(size, dim, seed=seed + 100) + 1


def partitioned(size: int, k: int, dim: int, steps: int, seed: int, *hints: str) -> Case:
    """Seeds whose vectors have no two centres nearly as near as each other, at any step."""
    about = f"N = {size}, D = {dim}, k = {k}, steps = {steps}, seed = {seed}"
    return Case((clumps(size, k, dim, seed), k, steps, seed), about, hints)


LINE = rows([0.0], [1], [2], [10], [12])  # seed 0 draws the rows 4, 1, 2

CELLS_CASES = [
    partitioned(14, 3, 2, 3, 73),
    partitioned(40, 5, 3, 4, 46, SIZE),
    partitioned(30, 4, 6, 1, 9, SIZE, "one round alone goes wrong"),
    partitioned(9, 9, 2, 1, 1, "as many cells as vectors are allowed"),
    partitioned(20, 1, 3, 2, 5, "a single cell goes wrong: it holds all vectors"),
    partitioned(
        14, 3, 2, 0, 1, "with steps = 0 the first centres are wanted, and the cells by them"
    ),
    partitioned(12, 5, 1, 3, 1369, partition.EMPTY),
    partitioned(14, 6, 2, 4, 591, partition.EMPTY),
    Case(
        (LINE, 2, 1, 0),
        "vectors [[0], [1], [2], [10], [12]], k = 2, steps = 1, seed = 0",
        (SIZE,),
    ),
]


def searched(size: int, k: int, dim: int, probes: int, want: int, *hints: str) -> Case:
    """A search among clumps, in cells that k-means has found."""
    seed = 10 * size + k
    vectors = clumps(size, k, dim, seed)
    centres, assigned = partition.cells(vectors, k, 3, seed)
    about = f"N = {size}, D = {dim}, {k} cells, probes = {probes}, k = {want}"
    query = vectors[0] + 0.4 * numbers(dim, seed=seed)
    return Case((query, vectors, centres, assigned, probes, want), about, hints)


def whole_numbers() -> Case:
    """Vectors on a grid, many at the same distance, in cells that lie across each other."""
    across, up = torch.meshgrid(torch.arange(-3, 4.0), torch.arange(-3, 4.0), indexing="ij")
    vectors = torch.stack([across.flatten(), up.flatten()], dim=1).double()
    assigned = torch.arange(49, device="cpu") * 3 % 4
    centres = rows([4.0, 0], [0.0, 1], [1.0, 0], [0.0, 3])
    args = (rows(0.0, 0), vectors, centres, assigned, 3, 17)
    return Case(args, "vectors at the same distance, in several cells", (probing.TIES,))


OTHER = "the cells are those in `assigned`, whatever the centres say"

SEARCH_CASES = [
    searched(30, 4, 3, 2, 5),
    searched(60, 8, 2, 3, 7, SIZE),
    searched(25, 5, 4, 1, 3, "with a single cell to open it goes wrong", SIZE),
    searched(20, 4, 2, 4, 6, "with all cells open it should be the exact search"),
    searched(18, 6, 2, 2, 12, probing.FEW),
    Case(
        (
            rows(0.0, 1),
            numbers(12, 2, seed=4),
            numbers(5, 2, seed=5),
            torch.arange(12, device="cpu") % 2 * 3,
            3,
            12,
        ),
        "cells that are empty, and vectors that lie far from their centres",
        (OTHER, probing.FEW),
    ),
    Case(
        (
            rows(1.0, 1),
            numbers(6, 2, seed=6),
            rows([-9.0, -9], [1.0, 1]),
            torch.zeros(6, dtype=torch.int64, device="cpu"),
            1,
            2,
        ),
        "an opened cell without any vector (no answer, shape (0,))",
        (probing.FEW,),
    ),
    whole_numbers(),
    Case(
        (
            rows(4.0),
            rows([0.0], [3], [6], [7], [20], [22]),
            rows([0.0], [16 / 3], [21.0]),
            torch.tensor([0, 1, 1, 1, 2, 2], device="cpu"),
            1,
            2,
        ),
        "query [4], vectors [[0], [3], [6], [7], [20], [22]], cells [0, 1, 1, 1, 2, 2] around 0, "
        "5.33 and 21, probes = 1, k = 2",
        (SIZE,),
    ),
]
