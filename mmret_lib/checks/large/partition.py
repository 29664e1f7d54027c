"""The cells of k-means, in steps, and the ways to get them wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.arguments import close
from mmret_lib.checks.engine.check import random_states, same_states
from mmret_lib.checks.engine.task import Case, Formula, Mistake, mistakes

EMPTY = "a cell to which no vector comes keeps its centre"
UNUSUAL = 2_718_281_828


def seeded(vectors: Tensor, k: int, seed: int) -> Tensor:
    """The first centres: k different vectors, drawn by the seed."""
    generator = torch.Generator().manual_seed(seed)
    return vectors[torch.randperm(len(vectors), generator=generator)[:k].to(vectors.device)]


def distances(vectors: Tensor, centres: Tensor) -> Tensor:
    """(N, k): squared Euclidean distances, without the cancellation of a product."""
    return (vectors[:, None] - centres[None]).square().sum(dim=2)


def mean_of(members: Tensor, centre: Tensor) -> Tensor:
    """The mean of a cell's vectors (n, D), or its centre (D,) if it has none."""
    return members.mean(dim=0) if len(members) else centre


def cells(
    vectors: Tensor,
    k: int,
    steps: int,
    seed: int,
    *,
    first: Formula = seeded,
    far: Formula = distances,
    move: Formula = mean_of,
    rounds: Formula = lambda steps: steps,
    again: bool = True,
    result: Formula = lambda centres, assigned: (centres, assigned),
) -> tuple[Tensor, Tensor]:
    """The right answer: centres (k, D) and the cell of each vector (N,)."""
    vectors = vectors.detach()
    centres = first(vectors, k, seed)
    assigned = far(vectors, centres).argmin(dim=1)
    for _ in range(rounds(steps)):
        assigned = far(vectors, centres).argmin(dim=1)
        centres = torch.stack([move(vectors[assigned == c], centres[c]) for c in range(k)])
    if again:
        assigned = far(vectors, centres).argmin(dim=1)
    both: tuple[Tensor, Tensor] = result(centres, assigned)
    return both


def one_by_one(vectors: Tensor, k: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """A wrong answer: vectors are assigned anew after each centre's move."""
    vectors = vectors.detach()
    centres = seeded(vectors, k, seed).clone()
    for _ in range(steps):
        for c in range(k):
            assigned = distances(vectors, centres).argmin(dim=1)
            centres[c] = mean_of(vectors[assigned == c], centres[c])
    return centres, distances(vectors, centres).argmin(dim=1)


FIRST = (
    "the first centres are vectors[torch.randperm(N, generator=generator)[:k]], with "
    "generator = torch.Generator().manual_seed(seed)"
)
WRONG_CELLS = [
    *mistakes(
        {
            "first": FIRST,
            "far": "each vector goes to the centre at the smallest Euclidean distance",
            "move": "a centre moves to the mean of the vectors that came to its cell, as it is",
            "rounds": "a round is: assign, then move; there are `steps` of them",
        },
        first={
            "the first k vectors are the first centres": lambda v, k, seed: v[:k],
            "the first centres are drawn with torch.randint, and one vector can come twice": (
                lambda v, k, seed: v[
                    torch.randint(len(v), (k,), generator=torch.Generator().manual_seed(seed))
                ]
            ),
            "the last k of the permutation are taken": lambda v, k, seed: v[
                torch.randperm(len(v), generator=torch.Generator().manual_seed(seed))[-k:]
            ],
            "the k drawn vectors are sorted": lambda v, k, seed: v[
                torch.randperm(len(v), generator=torch.Generator().manual_seed(seed))[:k]
                .sort()
                .values
            ],
            "the first centres are random numbers, and no vectors": lambda v, k, seed: torch.randn(
                k, v.shape[1], generator=torch.Generator().manual_seed(seed)
            ).to(v),
            "the seed is fixed at 0": lambda v, k, seed: seeded(v, k, 0),
        },
        far={
            "the largest dot product decides, and a long centre wins": lambda v, c: -v @ c.T,
            "the largest cosine decides": lambda v, c: -F.normalize(v) @ F.normalize(c).T,
            "each vector goes to the farthest centre": lambda v, c: -distances(v, c),
            "absolute differences are added (cityblock)": lambda v, c: torch.cdist(v, c, p=1),
            "the largest difference decides": lambda v, c: torch.cdist(v, c, p=torch.inf),
        },
        move={
            "a centre becomes the sum of its vectors": lambda m, c: m.sum(0) if len(m) else c,
            "a centre becomes the median of its vectors": lambda m, c: (
                m.median(dim=0).values if len(m) else c
            ),
            "the centres are brought to length 1": lambda m, c: (
                F.normalize(m.mean(0), dim=0) if len(m) else c
            ),
            "a centre goes only half of the way": lambda m, c: (m.mean(0) + c) / 2 if len(m) else c,
            "the sum is divided by one more than the number of vectors": lambda m, c: (
                m.sum(0) / (len(m) + 1) if len(m) else c
            ),
            "the old centre counts as one of the vectors": lambda m, c: (
                (m.sum(0) + c) / (len(m) + 1)
            ),
            f"the mean of an empty cell is 0 / 0, NaN: {EMPTY}": lambda m, c: m.mean(dim=0),
            f"an empty cell's centre becomes 0: {EMPTY}": lambda m, c: (
                m.mean(0) if len(m) else 0 * c
            ),
        },
        rounds={
            "there is one round too many": lambda steps: steps + 1,
            "there is one round too few": lambda steps: steps - 1,
            "there is only one round, whatever steps is": lambda steps: min(steps, 1),
            "the rounds go on until nothing moves, or ten times": lambda steps: 10,
            "there is no round, the first centres are returned": lambda steps: 0,
        },
        again={
            "the cells are those of before the last move: assign once more at the end, so that "
            "they belong to the centres that are returned": False,
        },
        result={
            "the cells come first: return centres, assigned": lambda c, a: (a, c),
            "the cells count from 1": lambda c, a: (c, a + 1),
        },
    ),
    Mistake(
        "a centre moves before all vectors have chosen: a round assigns all, then moves all",
        one_by_one,
    ),
]


def symptom(answers: Sequence[Any], cases: Sequence[Case]) -> str | None:
    """Where all centres are right, it is the cells that are not."""
    right = [cells(*case.args) for case in cases]
    if not all(close(given[0], both[0]) for given, both in zip(answers, right, strict=True)):
        return None
    return (
        "the centres are right, the cells are not: entry n is the number of the centre nearest to "
        "vector n, in the order of the vectors"
    )


def leaves_randomness_alone(function: Formula) -> str | None:
    """Nothing is drawn from, or set in, the random states that all code shares."""
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn(12, 2, generator=generator, dtype=torch.float64, device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNUSUAL)  # so that a seed inside the call changes the state
        before = random_states()
        function(vectors, 3, 1, 5)
        if same_states(before, random_states()):
            return None
    return (
        "it draws from the random state that all code shares, or sets its seed: make a generator "
        "of your own, torch.Generator().manual_seed(seed), and hand it to torch.randperm"
    )
