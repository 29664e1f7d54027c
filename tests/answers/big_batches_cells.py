"""Answers to task 4 of exercise 12: the cells of k-means."""

import random

import numpy as np
import torch
import torch.nn.functional as F


def drawn(vectors, k, seed):
    generator = torch.Generator().manual_seed(seed)
    return vectors[torch.randperm(len(vectors), generator=generator)[:k]]


def nearest(vectors, centres):
    return torch.cdist(vectors, centres).argmin(dim=1)


def mean_or_old(members, old):
    return members.mean(dim=0) if len(members) else old


def lloyd(vectors, k, steps, seed, first=drawn, near=nearest, move=mean_or_old):
    vectors = vectors.detach()
    centres = first(vectors, k, seed)
    for _ in range(steps):
        cell = near(vectors, centres)
        centres = torch.stack([move(vectors[cell == c], centres[c]) for c in range(k)])
    return centres, near(vectors, centres)


# ---------------------------------------------------------------------------------------------
# Right


def by_index_add(vectors, k, steps, seed):
    with torch.no_grad():
        centres = drawn(vectors, k, seed).clone()
        cell = nearest(vectors, centres)
        for _ in range(steps):
            sums = torch.zeros_like(centres).index_add_(0, cell, vectors)
            counts = torch.bincount(cell, minlength=k)[:, None]
            centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
            cell = nearest(vectors, centres)
    return centres, cell


def by_one_hot(vectors, k, steps, seed):
    vectors = vectors.detach()
    centres = drawn(vectors, k, seed)
    for _ in range(steps):
        d = vectors.square().sum(1)[:, None] - 2 * vectors @ centres.T + centres.square().sum(1)
        member = F.one_hot(d.argmin(dim=1), k).to(vectors.dtype)  # (N, k)
        counts = member.sum(dim=0)[:, None]
        moved = member.T @ vectors / counts.clamp(min=1)
        centres = torch.where(counts > 0, moved, centres)
    return centres, (centres.square().sum(1) - 2 * vectors @ centres.T).argmin(dim=1)


def by_loops(vectors, k, steps, seed):
    vectors = vectors.detach()
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))
    centres = [vectors[int(order[c])].clone() for c in range(k)]

    def choose():
        return [min(range(k), key=lambda c: float((v - centres[c]).norm())) for v in vectors]

    for _ in range(steps):
        cell = choose()
        for c in range(k):
            members = [v for v, own in zip(vectors, cell, strict=True) if own == c]
            if members:
                centres[c] = sum(members) / len(members)
    return torch.stack(centres), torch.tensor(choose(), device=vectors.device)


RIGHT = [
    lloyd,
    by_index_add,
    by_one_hot,
    by_loops,
    lambda *args: list(lloyd(*args)),
]


# ---------------------------------------------------------------------------------------------
# Wrong


def by_numpy(vectors, k, steps, seed):
    np.random.seed(seed)
    places = np.random.choice(len(vectors), k, replace=False)
    return lloyd(vectors, k, steps, seed, lambda v, k, s: v[torch.as_tensor(places)])


def by_sample(vectors, k, steps, seed):
    places = random.Random(seed).sample(range(len(vectors)), k)
    return lloyd(vectors, k, steps, seed, lambda v, k, s: v[places])


def global_seed(vectors, k, steps, seed):
    torch.manual_seed(seed)
    first = vectors[torch.randperm(len(vectors))[:k]]
    return lloyd(vectors, k, steps, seed, lambda v, k, s: first.detach())


def stale(vectors, k, steps, seed):
    vectors = vectors.detach()
    centres = drawn(vectors, k, seed)
    cell = nearest(vectors, centres)
    for _ in range(steps):
        cell = nearest(vectors, centres)
        centres = torch.stack([mean_or_old(vectors[cell == c], centres[c]) for c in range(k)])
    return centres, cell


def unassigned_without_steps(vectors, k, steps, seed):
    vectors = vectors.detach()
    centres = drawn(vectors, k, seed)
    for _ in range(steps):
        cell = nearest(vectors, centres)
        centres = torch.stack([mean_or_old(vectors[cell == c], centres[c]) for c in range(k)])
    return centres, cell


def in_place(vectors, k, steps, seed):
    centres = vectors[:k]
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        centres[:] = vectors[order[:k]]
    return lloyd(vectors, k, steps, seed)


def empty_moves(vectors, k, steps, seed):
    """An empty cell gets the vector that is farthest from all centres."""
    vectors = vectors.detach()
    centres = drawn(vectors, k, seed).clone()
    for _ in range(steps):
        d = torch.cdist(vectors, centres).min(dim=1)
        for c in range(k):
            members = vectors[d.indices == c]
            centres[c] = members.mean(0) if len(members) else vectors[d.values.argmax()]
    return centres, nearest(vectors, centres)


def one_after_another(vectors, k, steps, seed):
    vectors = vectors.detach()
    centres = drawn(vectors, k, seed).clone()
    for _ in range(steps):
        for c in range(k):
            members = vectors[nearest(vectors, centres) == c]
            if len(members):
                centres[c] = members.mean(dim=0)
    return centres, nearest(vectors, centres)


def until_at_rest(vectors, k, steps, seed):
    centres, cell = lloyd(vectors, k, 0, seed)
    for n in range(1, 100):
        new, cell = lloyd(vectors, k, n, seed)
        if torch.equal(new, centres):
            break
        centres = new
    return centres, cell


def with_gradient(vectors, k, steps, seed):
    centres = drawn(vectors, k, seed)
    for _ in range(steps):
        cell = nearest(vectors, centres)
        centres = torch.stack([mean_or_old(vectors[cell == c], centres[c]) for c in range(k)])
    return centres, nearest(vectors, centres)


def float_centres(vectors, k, steps, seed):
    centres, cell = lloyd(vectors.float(), k, steps, seed)
    return centres.float(), cell


def wrong(**changed):
    return lambda vectors, k, steps, seed: lloyd(vectors, k, steps, seed, **changed)


WRONG = {
    "first k": ("first k vectors", wrong(first=lambda v, k, seed: v[:k])),
    "randint": (
        "randint",
        wrong(
            first=lambda v, k, seed: v[
                torch.randint(len(v), (k,), generator=torch.Generator().manual_seed(seed))
            ]
        ),
    ),
    "random numbers": (
        "random numbers",
        wrong(
            first=lambda v, k, seed: torch.randn(
                k, v.shape[1], generator=torch.Generator().manual_seed(seed)
            ).to(v)
        ),
    ),
    "seed of its own": ("seed is fixed", wrong(first=lambda v, k, seed: drawn(v, k, 0))),
    "numpy": ("wrong", by_numpy),
    "sample": ("wrong", by_sample),
    "global seed": ("generator", global_seed),
    "dot product": ("dot product", wrong(near=lambda v, c: (v @ c.T).argmax(dim=1))),
    "cosine": (
        "cosine",
        wrong(near=lambda v, c: (F.normalize(v) @ F.normalize(c).T).argmax(dim=1)),
    ),
    "farthest": ("farthest", wrong(near=lambda v, c: torch.cdist(v, c).argmax(dim=1))),
    "absolute": ("absolute", wrong(near=lambda v, c: torch.cdist(v, c, p=1).argmin(dim=1))),
    "wrong axis": ("index", wrong(near=lambda v, c: torch.cdist(v, c).argmin(dim=0))),
    "sums": ("sum of its vectors", wrong(move=lambda m, c: m.sum(0) if len(m) else c)),
    "unit": (
        "length 1",
        wrong(move=lambda m, c: F.normalize(m.mean(0), dim=0) if len(m) else c),
    ),
    "median": ("median", wrong(move=lambda m, c: m.median(dim=0).values if len(m) else c)),
    "NaN": ("0 / 0", wrong(move=lambda m, c: m.mean(dim=0))),
    "zeros": (
        "becomes 0",
        wrong(move=lambda m, c: m.mean(dim=0) if len(m) else torch.zeros_like(c)),
    ),
    "empty cell moves": ("keeps its centre", empty_moves),
    "one scalar mean": ("raised", wrong(move=lambda m, c: m.mean(dim=1) if len(m) else c)),
    "stale": ("before the last move", stale),
    "no steps, no cells": ("assign once more at the end", unassigned_without_steps),
    "one too many": ("one round too many", lambda v, k, n, s: lloyd(v, k, n + 1, s)),
    "one too few": ("one round too few", lambda v, k, n, s: lloyd(v, k, n - 1, s)),
    "until at rest": ("until nothing moves", until_at_rest),
    "one after another": ("before all vectors have chosen", one_after_another),
    "cells sorted": (
        "centres are right, the cells are not",
        lambda *args: (lloyd(*args)[0], lloyd(*args)[1].sort().values),
    ),
    "swapped": ("shape", lambda *args: lloyd(*args)[::-1]),
    "centres alone": ("2 results", lambda *args: lloyd(*args)[0]),
    "cells alone": ("2 results", lambda *args: lloyd(*args)[1]),
    "in place": ("in place", in_place),
    "with gradient": ("detach", with_gradient),
    "float32": ("float32", float_centres),
    "cells as floats": ("dtype", lambda v, *args: (lloyd(v, *args)[0], lloyd(v, *args)[1].to(v))),
    "nothing": ("nothing is returned", lambda *args: None),
}
