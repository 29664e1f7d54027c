"""Exercise 14's second loss: the k largest hinges of each query, and the mistakes in its choice."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes
from mmret_lib.checks.triplet import hinges
from mmret_lib.checks.triplet.cases import WRONG_SIMILARITIES
from mmret_lib.checks.weighting.batches import eye


def largest(h: Tensor, k: int) -> Tensor:
    """The k largest of the last axis, or all where there are fewer."""
    return h.topk(min(k, h.shape[-1]), dim=-1).values


def top_k_triplet(
    image_emb: Tensor,
    text_emb: Tensor,
    k: int = 8,
    margin: float = 0.2,
    *,
    take: Formula = lambda h, k: largest(h, k).sum(dim=-1),
    **steps: Any,
) -> Tensor:
    """The sum of each query's k largest hinges; take(hinges (2, B, B), k) -> (2, B)."""
    steps = {"combine": lambda h: take(h, k), **steps}
    return hinges.triplet(image_emb, text_emb, margin, **steps)


def smallest(h: Tensor, k: int) -> Tensor:
    """The sum of the k smallest hinges, without the diagonal."""
    left = h.masked_fill(eye(h), math.inf).topk(min(k, h.shape[-1] - 1), dim=-1, largest=False)
    return left.values.sum(dim=-1)


def of_whole_matrix(h: Tensor, k: int) -> Tensor:
    """The k largest of a direction's whole matrix, as (2, B) whose mean over B is their sum / B."""
    flat = largest(h.flatten(1), k).sum(dim=-1, keepdim=True)
    return flat.expand(h.shape[:2]) / h.shape[1]


def within_limit(most: Formula) -> Formula:
    """A wrong `take` with another number of hinges; most(h, k) -> the number."""
    return lambda h, k: largest(h, max(int(most(h, k)), 0)).sum(dim=-1)


def first_ones(h: Tensor, k: int) -> Tensor:
    """The hinges of the first k answers of each row."""
    return h[..., :k].sum(dim=-1)


def default_k(value: int) -> Formula:
    """The formula with another default of k."""
    return lambda i, t, k=value, m=0.2: top_k_triplet(i, t, k, m)


def default_margin(value: float) -> Formula:
    """The formula with another default of the margin."""
    return lambda i, t, k=8, m=value: top_k_triplet(i, t, k, m)


TAKE = "each query costs the sum of its k largest hinges, or of all if it has fewer"
WRONG_TOP_K = [
    Mistake(
        "the diagonal is not left out, so every positive stands among the hinges, costs the margin "
        "and can take one of the k places: set its hinge to 0",
        {"counted": hinges.with_diagonal},
    ),
    *mistakes(
        {"take": TAKE},
        take={
            "the mean of the k largest is taken, not their sum": (
                lambda h, k: largest(h, k).mean(dim=-1)
            ),
            "the sum of the k largest is divided by k": (
                lambda h, k: largest(h, k).sum(dim=-1) / k
            ),
            "the k-th largest alone is taken": lambda h, k: largest(h, k)[..., -1],
            "the largest alone is taken, as in max_triplet": lambda h, k: h.amax(dim=-1),
            "all hinges are added, as in sum_triplet": lambda h, k: h.sum(dim=-1),
            "k is fixed at 8: take the argument": within_limit(lambda h, k: 8),
            "k + 1 hinges are added": within_limit(lambda h, k: k + 1),
            "k - 1 hinges are added (does the positive take one of the k places?)": within_limit(
                lambda h, k: k - 1
            ),
            "k is cut off at B - 2": within_limit(lambda h, k: min(k, h.shape[-1] - 2)),
            "the k smallest are taken": smallest,
            "the k smallest are taken, the 0 of the diagonal among them (is it sorted upwards?)": (
                lambda h, k: h.sort(dim=-1).values[..., :k].sum(dim=-1)
            ),
            "the largest is counted k times": lambda h, k: k * h.amax(dim=-1),
            "the k largest of both directions together are taken: each direction has its own": (
                lambda h, k: torch.stack(
                    [largest(torch.cat([h[0], h[1]], dim=-1), k).sum(dim=-1), 0 * h[0].sum(dim=-1)]
                )
            ),
            "the first k answers are taken, and not the k hardest": first_ones,
            "one choice of k is made in the whole matrix: each query has k places": (
                of_whole_matrix
            ),
            "the k largest go over the wrong axis: where the positive was subtracted row by row, "
            "the negatives of a query are a row": lambda h, k: largest(h.mT, k).sum(dim=-1),
            "places are added and not hinges, the indices of topk: use its .values": (
                lambda h, k: h.topk(min(k, h.shape[-1])).indices.sum(dim=-1).to(h.dtype)
            ),
        },
        several={
            "the first of the sorted hinges is dropped as if it were the positive, but a negative "
            "above the positive stands before it: set the diagonal to 0 first": {
                "counted": hinges.with_diagonal,
                "take": lambda h, k: largest(h, k + 1)[..., 1:].sum(dim=-1),
            },
            "the diagonal is not left out, so every positive can take one of the k places, and "
            "costs the margin: set its hinge to 0": {
                "counted": hinges.with_diagonal,
                "take": lambda h, k: largest(h, min(k, h.shape[-1] - 1)).sum(dim=-1),
            },
            "the clamp is missing: of the k places some may go to negatives beyond the margin, "
            "which should cost 0, not less": {
                "hinge": lambda x: x,
                "left_out": -math.inf,
                "take": lambda h, k: largest(h, min(k, h.shape[-1] - 1)).sum(dim=-1),
            },
            "the clamp is missing: negatives beyond the margin should cost 0, not less": {
                "hinge": lambda x: x
            },
            "the hinge is taken of the k negatives' sum: each has a hinge of its own, and they "
            "are added afterwards": {
                "hinge": lambda x: x,
                "left_out": -math.inf,
                "take": lambda h, k: largest(h, min(k, h.shape[-1] - 1)).sum(dim=-1).relu(),
            },
        },
    ),
    *(
        Mistake(f"k's default is {value}: it should be 8", default_k(value))
        for value in (1, 2, 3, 4, 5, 10, 16)
    ),
    *(
        Mistake(f"the margin's default is {value:g}: it should be 0.2", default_margin(value))
        for value in (0.05, 0.1, 0.3, 0.5, 1.0)
    ),
    *(m for m in hinges.WRONG_HINGES if "the diagonal is not left out:" not in m.says),
    *WRONG_SIMILARITIES,
]


def tied() -> tuple[Tensor, Tensor]:
    """Six pairs with exact ties, three texts being equal."""
    image_emb = 3 * torch.eye(6, 4, dtype=torch.float64, device="cpu") + 1
    text_emb = torch.ones(6, 4, dtype=torch.float64, device="cpu")
    text_emb[3:] += 2 * torch.eye(3, 4, dtype=torch.float64, device="cpu")
    return image_emb, text_emb
