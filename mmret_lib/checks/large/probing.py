"""A search in the nearest cells, in steps, and the ways to get it wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes
from mmret_lib.checks.large.losses import numbers
from mmret_lib.checks.large.making import Largest

TIES = (
    "of two vectors at the same distance the one with the lower index comes first, whatever their "
    "cells: keep the indices in order, and argsort(stable=True) leaves them so"
)
FEW = "where the opened cells hold fewer than k vectors, all of them are returned, and no others"


def squared(rows: Tensor, query: Tensor) -> Tensor:
    """(n,): the squared distances of rows (n, D) to a query (D,)."""
    return (rows - query).square().sum(dim=1)


def search_cells(
    query: Tensor,
    vectors: Tensor,
    centres: Tensor,
    assigned: Tensor,
    probes: int,
    k: int,
    *,
    nearest: Formula = squared,
    opened: Formula = lambda order, probes: order[:probes],
    inside: Formula = lambda cells, assigned: torch.isin(assigned, cells).nonzero()[:, 0],
    far: Formula = squared,
    order: Formula = lambda d: d.argsort(stable=True),
    first: Formula = lambda places, k: places[:k],
    result: Formula = lambda members, places, d: members[places],
) -> Tensor:
    """The right answer: indices of the k nearest vectors in the `probes` nearest cells."""
    cells = opened(nearest(centres, query).argsort(stable=True), probes)
    members = inside(cells, assigned)
    d = far(vectors[members], query)
    found: Tensor = result(members, first(order(d), k), d)
    return found


def cell_by_cell(
    query: Tensor, vectors: Tensor, centres: Tensor, assigned: Tensor, probes: int, k: int
) -> Tensor:
    """A wrong answer: the cells' answers stand one after the other."""
    found = []
    for cell in squared(centres, query).argsort(stable=True)[:probes]:
        members = (assigned == cell).nonzero()[:, 0]
        found.append(members[squared(vectors[members], query).argsort(stable=True)])
    return torch.cat(found)[:k]


def in_order_of_cells(
    query: Tensor, vectors: Tensor, centres: Tensor, assigned: Tensor, probes: int, k: int
) -> Tensor:
    """A wrong answer: of equally near vectors the nearer cell's comes first."""
    order = squared(centres, query).argsort(stable=True)[:probes]
    members = torch.cat([(assigned == cell).nonzero()[:, 0] for cell in order])
    return members[squared(vectors[members], query).argsort(stable=True)[:k]]


def assigned_anew(
    query: Tensor, vectors: Tensor, centres: Tensor, assigned: Tensor, probes: int, k: int
) -> Tensor:
    """A wrong answer: the cells are computed, not those given."""
    own = torch.cdist(vectors, centres).argmin(dim=1)
    return search_cells(query, vectors, centres, own, probes, k)


def k_of_each(
    query: Tensor, vectors: Tensor, centres: Tensor, assigned: Tensor, probes: int, k: int
) -> Tensor:
    """A wrong answer: k vectors of each opened cell."""
    order = squared(centres, query).argsort(stable=True)[:probes].tolist()
    each = [search_cells(query, vectors, centres[[c]], assigned.sub(c), 1, k) for c in order]
    return torch.cat(each)


def filled_up(
    query: Tensor, vectors: Tensor, centres: Tensor, assigned: Tensor, probes: int, k: int
) -> Tensor:
    """A wrong answer: where the opened cells hold too few, vectors of the others follow."""
    cells = squared(centres, query).argsort(stable=True)[:probes]
    d = squared(vectors, query).where(torch.isin(assigned, cells), torch.inf)
    return d.argsort(stable=True)[:k]


def without_empty(
    query: Tensor, vectors: Tensor, centres: Tensor, assigned: Tensor, probes: int, k: int
) -> Tensor:
    """A wrong answer: cells without any vector are passed over."""
    holds = torch.bincount(assigned, minlength=len(centres)) > 0
    far = centres.where(holds[:, None], torch.inf)
    return search_cells(query, vectors, far, assigned, min(probes, int(holds.sum())), k)


NEAREST = "the cells to open are those whose centres have the smallest distance to the query"
FAR = "the nearest vectors are those at the smallest Euclidean distance, the nearest first"
WRONG_SEARCHES = [
    Mistake(
        "the cells' answers stand one after the other: gather the vectors of all opened cells, "
        "then order them together",
        cell_by_cell,
    ),
    *mistakes(
        {
            "nearest": NEAREST,
            "far": FAR,
            "order": FAR,
            "opened": "`probes` cells are opened, those whose centres are nearest to the query",
            "first": "k is how many are returned at most",
        },
        result={
            "places among the vectors of the opened cells are returned: the index in all vectors "
            "is wanted, members[places]": lambda members, places, d: places,
            "distances are returned, not indices": lambda members, places, d: d[places],
            "indices start at 0, here they start at 1": lambda m, places, d: m[places] + 1,
            "the k best are sorted by their index": lambda m, places, d: m[places].sort().values,
        },
        opened={
            "only one cell is opened, whatever probes is": lambda order, probes: order[:1],
            "the nearest cell is left out": lambda order, probes: order[1 : probes + 1],
            "one cell too many is opened": lambda order, probes: order[: probes + 1],
            "one cell too few is opened": lambda order, probes: order[: max(probes - 1, 0)],
            "the farthest cells are opened": lambda order, probes: order.flip(0)[:probes],
            "the first cells are opened, whatever the query is": lambda order, probes: (
                order.sort().values[:probes]
            ),
            "the cell at distance `probes` alone is opened": lambda order, probes: order[
                probes - 1 : probes
            ],
        },
        nearest={
            "the centres' dot products decide, and a long centre wins": lambda c, q: -(c @ q),
            "the centres' cosines decide": lambda c, q: -F.cosine_similarity(c, q[None]),
        },
        far={
            "the largest dot product wins: a long vector is not near": lambda v, q: -(v @ q),
            "the largest cosine wins": lambda v, q: -F.cosine_similarity(v, q[None]),
            "absolute differences are added": lambda v, q: (v - q).abs().sum(dim=1),
        },
        order={
            "the order is reversed, the farthest comes first": (
                lambda d: (-d).argsort(stable=True)
            ),
            "the vectors of the cells are returned in their own order": lambda d: torch.arange(
                len(d), device=d.device
            ),
            f"ties come in reverse order: {TIES}": lambda d: (
                d.flip(0).argsort(stable=True).sub(len(d) - 1).neg()
            ),
        },
        first={
            "one too many is returned": lambda places, k: places[: k + 1],
            "one too few is returned": lambda places, k: places[: k - 1],
            "only the nearest is returned, whatever k is": lambda places, k: places[:1],
            "k is fixed at 10: take the argument": lambda places, k: places[:10],
            "all vectors of the cells are returned": lambda places, k: places,
            "the nearest is left out": lambda places, k: places[1 : k + 1],
        },
    ),
    *mistakes(
        {},
        opened={
            "all cells are opened, that is the exact search (or cells are opened until they hold k "
            "vectors)": lambda order, probes: order
        },
    ),
    Mistake(f"equally near vectors come in the order of their cells: {TIES}", in_order_of_cells),
    Mistake(
        "k vectors of each cell are returned: k are wanted, the nearest of all opened cells",
        k_of_each,
    ),
    Mistake(f"vectors of cells that are not opened fill up the answer: {FEW}", filled_up),
    Mistake(
        "cells without any vector are passed over: the `probes` nearest cells are opened, whatever "
        "they hold",
        without_empty,
    ),
    Mistake(
        "probes and k are swapped: `probes` cells are opened, and k vectors returned",
        lambda query, vectors, centres, assigned, probes, k: search_cells(
            query, vectors, centres, assigned, k, probes
        ),
    ),
    Mistake(
        "the cells are computed anew from vectors and centres: take them from `assigned`, that is "
        "what is stored for",
        assigned_anew,
    ),
]


def looks_into_the_cells_alone(function: Formula) -> str | None:
    """Distances to the vectors of all other cells are not computed."""
    size, count = 2000, 50
    vectors, centres = numbers(size, 2, seed=1), numbers(count, 2, seed=2)
    assigned = torch.arange(size) % count
    with Largest() as watch:
        function(numbers(2, seed=3), vectors, centres, assigned, 2, 5)
    if watch.numbers < size:
        return None
    shape = " × ".join(map(str, watch.shape))
    return (
        f"with {size} vectors in {count} cells, two of them opened, a tensor of {shape} numbers is "
        f"made: the query is compared with all {size}, and nothing is saved. Select first, "
        "vectors[members], then compare"
    )
