"""The k best rows by cosine, in steps, each with the ways to get it wrong."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, Mistake, mistakes

ZERO = "a row of zeros should have similarity 0 to everything"
TIES = (
    "of two rows with the same cosine the one with the lower index comes first: "
    "scores.argsort(descending=True, stable=True) keeps their order, topk and flip do not"
)


def unit(rows: Tensor) -> Tensor:
    """Bring rows to length 1; zeros stay zeros."""
    return F.normalize(rows, dim=-1)


def raw(rows: Tensor) -> Tensor:
    """Divide by the length without a thought for zeros."""
    divided: Tensor = rows / rows.norm(dim=-1, keepdim=True)
    return divided


def top_k(
    query_emb: Tensor,
    emb: Tensor,
    k: int,
    *,
    score: Formula = lambda q, e: unit(e) @ unit(q),
    order: Formula = lambda s: s.argsort(descending=True, stable=True),
    first: Formula = lambda places, k: places[:k],
) -> Tensor:
    """The indices (k,) of the rows of `emb` (N, D) by cosine to `query_emb` (D,), best first."""
    places: Tensor = first(order(score(query_emb, emb)), k)
    return places


def top_of(query_emb: Tensor, emb: Tensor, k: int, ordered: bool = True) -> Tensor:
    """A wrong answer: topk promises nothing about the order of equal scores."""
    scores: Tensor = unit(emb) @ unit(query_emb)
    return scores.topk(min(k, len(emb)), sorted=ordered).indices


MISTAKES = [
    *mistakes(
        {
            "score": "take the dot products of rows and query after dividing each row by its "
            "length (F.normalize(emb, dim=1))",
            "order": "indices are wanted, the row with the highest cosine first",
            "first": "the first k of the order are wanted",
        },
        score={
            "the rows of emb are not normalised, so a long row wins": lambda q, e: e @ q,
            "normalised over the wrong axis": lambda q, e: F.normalize(e, dim=0) @ unit(q),
            "emb is divided by one norm of the whole matrix": lambda q, e: e / e.norm() @ q,
            f"a row of zeros is divided by its length 0 and becomes NaN: {ZERO}": (
                lambda q, e: raw(e) @ raw(q)
            ),
            "Euclidean distances of the rows as they are: a long row is far from everything": (
                lambda q, e: -torch.cdist(e, q[None])[:, 0]
            ),
            "Euclidean distances of the normalised rows: they order as cosines do, but a row "
            f"of zeros comes out wrong: {ZERO}": (
                lambda q, e: -torch.cdist(unit(e), unit(q)[None])[:, 0]
            ),
            "the absolute value hides which way a cosine points": (
                lambda q, e: (unit(e) @ unit(q)).abs()
            ),
            "the mean of the rows is subtracted": lambda q, e: unit(e - e.mean(0)) @ unit(q),
            "divided by the squared length": (
                lambda q, e: e @ q / e.square().sum(1).clamp(min=1e-12)
            ),
            "the query is not used, the longest row wins": lambda q, e: e.norm(dim=1),
            "the scores are rounded before they are sorted": (
                lambda q, e: (unit(e) @ unit(q)).round(decimals=2)
            ),
            "the scores are rounded before they are sorted, to one digit": (
                lambda q, e: (unit(e) @ unit(q)).round(decimals=1)
            ),
        },
        order={
            "the order is reversed, the worst row comes first": lambda s: s.argsort(),
            "the order is reversed, the worst comes first": lambda s: s.argsort(stable=True),
            f"ties come in reverse order: {TIES}": lambda s: s.argsort(stable=True).flip(0),
            f"ties come in no order: {TIES}": lambda s: s.topk(len(s)).indices,
            "these are ranks, the place of each row in the order": (
                lambda s: s.argsort(descending=True, stable=True).argsort()
            ),
            "scores are returned, not indices": lambda s: s.sort(descending=True).values,
            "the scores are not sorted": lambda s: torch.arange(len(s)),
        },
        first={
            "the best row is left out": lambda places, k: places[1 : k + 1],
            "one too many is returned": lambda places, k: places[: k + 1],
            "one too few is returned": lambda places, k: places[: k - 1],
            "the last k are returned": lambda places, k: places[-k:],
            "the k best are sorted by their index": lambda places, k: places[:k].sort().values,
            "indices start at 0, here they start at 1": lambda places, k: places[:k] + 1,
            "k is fixed at 5: take the argument": lambda places, k: places[:5],
            "only the best is returned, whatever k is": lambda places, k: places[:1],
        },
    ),
    Mistake(f"ties come in no order: {TIES}", top_of),
    Mistake(
        "topk(sorted=False) gives the best in no order: best first is wanted",
        partial(top_of, ordered=False),
    ),
]
