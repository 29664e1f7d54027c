"""Scores, counts and right answers on which the metrics are tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Case


def scores(images: int, answers: int, seed: int, levels: int = 0, least: float = -1) -> Tensor:
    """(images, answers) in float64, which float32 and float16 hold without rounding.

    Args:
        levels: how many different scores there are, so that many tie; with 0 no two tie.
        least: the lowest score.
    """
    generator = seeded(seed)
    drawn = torch.randperm(images * answers, generator=generator, device="cpu")
    if levels:
        drawn = drawn % levels
    return (least + drawn.reshape(images, answers) / 64).double()


def whole(values: Sequence[Any]) -> Tensor:
    """Whole numbers on the CPU."""
    return torch.tensor(values, device="cpu")


def counts(better: Sequence[int], tied: Sequence[int], k: int, about: str, *hints: str) -> Case:
    """Queries with these counts."""
    return Case((whole(better), whole(tied), k), about, hints)


def of_ranks(values: Sequence[float], about: str, *hints: str) -> Case:
    """Queries with these ranks, counted from 0."""
    return Case((torch.tensor(values, dtype=torch.float64, device="cpu"),), about, hints)


def answers(queries: int, each: int, seed: int, share: float = 0.3) -> Tensor:
    """(queries, each), True for some answers of every query."""
    generator = seeded(seed)
    right = torch.rand(queries, each, generator=generator) < share
    chosen = torch.randint(each, (queries,), generator=generator)
    right[torch.arange(queries), chosen] = True
    return right


def without(right: Tensor, *queries: int) -> Tensor:
    """The same, but nothing is right for some queries."""
    right = right.clone()
    right[list(queries)] = False
    return right


def by_query(rows: Sequence[Sequence[float]], right: Sequence[Sequence[int]], k: int) -> Any:
    """The arguments of judged_recall, written out."""
    scores = torch.tensor(rows, dtype=torch.float64, device="cpu")
    return scores, torch.tensor(right, device="cpu").bool(), k
