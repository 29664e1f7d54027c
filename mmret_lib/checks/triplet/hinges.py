"""The triplet losses of exercise 04 in steps, and the mistakes that can be made in each step.

With the steps as they are, the formulas equal `mmret_lib.losses`; the tests compare the two.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.pairs import (
    WRONG_COSINE_GRADIENTS,
    WRONG_DIRECTION_GRADIENTS,
    WRONG_DIRECTIONS,
    cosines,
)
from mmret_lib.checks.engine.task import Formula, Mistake, mistakes


def eye(matrix: Tensor) -> Tensor:
    """(B, B), True on the diagonal, for a matrix (..., B, B)."""
    return torch.eye(matrix.shape[-1], dtype=torch.bool, device=matrix.device)


def same(ids: Tensor) -> Tensor:
    """(B, B), True where two pairs share an id."""
    return ids[:, None] == ids


def share_an_id(image_ids: Tensor, caption_ids: Tensor) -> Tensor:
    """(B, B), True where two pairs show the same image or carry the same caption."""
    return same(image_ids) | same(caption_ids)


def triplet(
    image_emb: Tensor,
    text_emb: Tensor,
    margin: float,
    image_ids: Tensor | None = None,
    caption_ids: Tensor | None = None,
    *,
    combine: Formula,
    duplicates: Formula = share_an_id,
    others: Formula = lambda rows, negative: rows,
    margin_used: Formula = lambda m: m,
    gap: Formula = lambda m, p, n: m - p + n,
    hinge: Formula = torch.relu,
    counted: Formula = lambda negative: negative,
    chosen: Formula = lambda p, n: True,
    left_out: float = 0,
    columns: Formula = lambda h: h,
    directions: Formula = torch.add,
    divisor: Formula = lambda h, negative, emb: len(emb),
    **similarity: Formula,
) -> Tensor:
    """The triplet loss of a batch; combine(hinges (2, B, B)) -> (2, B) is sum or maximum.

    A first axis of 2 is the direction: images as queries, texts as queries. In the steps m is the
    margin, p the positives (1, B, 1), n the negatives and h the hinges (2, B, B).
    """
    s = cosines(image_emb, text_emb, **similarity)
    rows = torch.stack([s, s.T])
    negative = ~eye(s)
    if image_ids is not None:
        negative = ~duplicates(image_ids, caption_ids) & ~eye(s)
    p, n = s.diagonal()[None, :, None], others(rows, negative)
    h = hinge(gap(margin_used(margin), p, n))
    h = columns(h.masked_fill(~(counted(negative) & chosen(p, rows)), left_out))
    loss: Tensor = directions(*combine(h)).sum() / divisor(h, negative, image_emb)
    return loss


def sum_triplet(image_emb: Tensor, text_emb: Tensor, margin: float = 0.2, **steps: Any) -> Tensor:
    """The sum of hinges, a scalar."""
    return triplet(image_emb, text_emb, margin, **{"combine": sum_of, **steps})


def max_triplet(image_emb: Tensor, text_emb: Tensor, margin: float = 0.2, **steps: Any) -> Tensor:
    """The maximum of hinges, a scalar."""
    return triplet(image_emb, text_emb, margin, **{"combine": max_of, **steps})


def masked_max_triplet(
    image_emb: Tensor,
    text_emb: Tensor,
    image_ids: Tensor,
    caption_ids: Tensor,
    margin: float = 0.2,
    **steps: Any,
) -> Tensor:
    """The maximum of hinges over pairs that share no id, a scalar."""
    steps = {"combine": max_of, **steps}
    return triplet(image_emb, text_emb, margin, image_ids, caption_ids, **steps)


def sum_of(h: Tensor) -> Tensor:
    """The sum over each query's negatives."""
    return h.sum(dim=-1)


def max_of(h: Tensor) -> Tensor:
    """The maximum over each query's negatives."""
    return h.amax(dim=-1)


def with_diagonal(negative: Tensor) -> Tensor:
    """The negatives, and the positive among them."""
    return negative | eye(negative)


def distance(s: Tensor) -> Tensor:
    """The Euclidean distance of two rows of length 1."""
    return (2 - 2 * s).clamp(min=0).sqrt()


def diagonal_set_to(value: float) -> dict[str, Formula]:
    """Steps that set the diagonal of the similarities, not of the hinges."""
    return {"others": lambda rows, _: rows.masked_fill(eye(rows), value), "counted": with_diagonal}


HINGE = "the hinge is max(0, margin - positive + negative), of cosines"
REMEDIES = {
    "counted": "the diagonal holds the positives, all the rest of a row are its negatives",
    "divisor": "divide by the number of pairs, B",
    "margin_used": HINGE,
    "gap": HINGE,
    "hinge": "the hinge is max(0, x), as clamp(min=0) and relu() give it",
    "chosen": "every negative costs something that is above the positive or less than the margin "
    "below it",
}
# For a maximum, two mistakes give the same numbers.
DIAGONAL_KEPT_MAX = Mistake(
    "the diagonal is not left out, so every positive costs the margin as a negative of its own "
    "(or the margin is added outside the hinge)",
    {"counted": with_diagonal},
)
# Names are as in `triplet`, but in `counted` n is True for negatives.
WRONG_HINGES = [
    *mistakes(
        REMEDIES,
        counted={
            "the diagonal is not left out: every positive counts as its own negative and costs the "
            "margin": with_diagonal
        },
        several={
            "the diagonal is zeroed before the margin is added, so it still costs something: set "
            "the hinges on the diagonal to 0 afterwards": diagonal_set_to(0)
        },
    ),
    *mistakes(
        REMEDIES,
        counted={
            "the diagonal is left out where the texts are the queries, and not where the images "
            "are: each direction has a diagonal of its own": (
                lambda n: torch.stack([with_diagonal(n), n])
            ),
            "the diagonal is left out where the images are the queries, and not where the texts "
            "are: each direction has a diagonal of its own": (
                lambda n: torch.stack([n, with_diagonal(n)])
            ),
            "only the upper triangle is counted": torch.triu,
            "only the diagonal is counted": eye,
            "only the negative next to the diagonal is counted": lambda n: n & eye(n).roll(1, 1),
        },
    ),
    *WRONG_DIRECTIONS,
    *mistakes(
        REMEDIES,
        divisor={
            "summed over the batch, so the loss grows with it": lambda h, n, emb: 1,
            "divided by B * B (a mean over the whole matrix)": lambda h, n, emb: len(emb) ** 2,
            "the mean over the negatives is taken": lambda h, n, emb: n.sum().clamp(min=1),
            "divided by B - 1": lambda h, n, emb: len(emb) - 1,
            "divided by the number of hinges above 0": lambda h, n, emb: (h > 0).sum().clamp(min=1),
            "divided by D, the length of an embedding": lambda h, n, emb: emb.shape[1],
        },
        margin_used={
            "the margin has the wrong sign": lambda m: -m,
            "the margin is missing": lambda m: 0,
            "the margin is added twice": lambda m: 2 * m,
            "the margin is fixed at 0.2: take the argument": lambda m: 0.2,
            "the margin is fixed at 1: take the argument": lambda m: 1,
        },
        gap={
            "positive and negative are swapped (or are they distances?)": lambda m, p, n: m + p - n,
            "the positive is added": lambda m, p, n: m + p + n,
            "the negative is subtracted": lambda m, p, n: m - p - n,
            "the positive is missing": lambda m, p, n: m + n,
            "the margin multiplies": lambda m, p, n: m * (n - p),
            "the difference counts twice, as in squared distances": lambda m, p, n: m + 2 * (n - p),
            "Euclidean distances are taken": lambda m, p, n: m + distance(p) - distance(n),
            "positive and negative are multiplied": lambda m, p, n: m - p * n,
            "the margin is added outside the hinge, or the hinge clamped at it": (
                lambda m, p, n: m + (n - p).relu()
            ),
            "the positive is from the wrong row, not s[b, b]": lambda m, p, n: m - p.roll(1, 1) + n,
        },
        columns={
            "the column direction reuses the row direction's hinges: in a column, too, the "
            "positive is the query's own, the one on that column's diagonal": (
                lambda h: torch.stack([h[0], h[0].T])
            )
        },
        hinge={
            "the absolute value is taken": torch.abs,
            "the hinge is squared": lambda x: x.relu().square(),
            "softplus is a smooth hinge": F.softplus,
            "clamped from above": lambda x: x.clamp(max=0),
            "clamped from above at 1": lambda x: x.clamp(0, 1),
            "violations are counted, not measured": lambda x: (x > 0).to(x.dtype) + 0 * x,
        },
        chosen={
            "only negatives below the positive are counted (semi-hard)": lambda p, n: n < p,
            "only negatives above the positive are counted": lambda p, n: n > p,
            "negatives with a similarity below 0 are left out": lambda p, n: n > 0,
        },
    ),
]
COMBINATIONS = {
    "the min is taken, the easiest negative": lambda h: h.masked_fill(eye(h), math.inf).amin(2),
    "the mean over the negatives is taken": lambda h: h.sum(dim=2) / (h.shape[2] - 1),
    "the two hardest negatives are counted": lambda h: h.topk(2).values.sum(dim=2),
    "a log-sum-exp is taken": lambda h: h.masked_fill(eye(h), -math.inf).logsumexp(dim=2),
    "a root of summed squares is taken": lambda h: h.norm(dim=2),
    "always the first negative is taken": lambda h: h.masked_fill(eye(h), 0)[:, :, 0],
}
# For a maximum, no clamp and -1 on the diagonal are right: the 0 or the margin of the diagonal is
# the least there is, and -1 is never the highest.
WRONG_SUMS = mistakes(
    {
        "hinge": "negatives beyond the margin should cost 0, not less",
        "combine": "the sum is wanted, to which every negative within the margin adds its hinge",
    },
    hinge={"the clamp is missing": lambda x: x, "a leaky hinge goes below 0": F.leaky_relu},
    several={
        "the diagonal is set to -1 before the margin is added, and where the positive is very "
        "dissimilar it still costs something: set the hinges on the diagonal to 0 afterwards": (
            diagonal_set_to(-1)
        ),
        "the hinge is taken of a query's whole sum: each negative has a hinge of its own, and they "
        "are added afterwards": {"hinge": lambda x: x, "combine": lambda h: h.sum(dim=2).relu()},
    },
    combine={"the max is taken": max_of, **COMBINATIONS},
)
WRONG_MAXIMA = mistakes(
    {
        "combine": "each query costs the hinge of its own hardest (most similar) negative, "
        "x.amax(dim=1) or x.max(dim=1).values"
    },
    gap={
        "the positive is broadcast along the wrong axis: a row's hinges all need the row's own "
        "positive, diagonal()[:, None]": lambda m, p, n: m - p.mT + n
    },
    combine={
        "the sum is taken": sum_of,
        "the max goes over the wrong axis: where the positive was subtracted row by row, the "
        "negatives of a query are a row": lambda h: h.amax(dim=1),
        "the max is taken over the whole matrix": lambda h: h.amax((1, 2))[:, None] + 0 * h[:, 0],
        "one max is taken over the whole matrix": lambda h: h.amax((1, 2))[:, None],
        **COMBINATIONS,
        "argmax gives the place of the hardest and not what it costs": (
            lambda h: h.argmax(dim=2).to(h.dtype)
        ),
    },
    several={
        "the clamp is missing: where even the hardest negative is beyond the margin, the query "
        "costs 0, not less": {"hinge": lambda x: x, "left_out": -math.inf}
    },
)
WRONG_GRADIENTS = [
    *mistakes(
        {"gap": "the loss should pull each pair together and push its negatives away"},
        gap={
            "the positives are detached": lambda m, p, n: m - p.detach() + n,
            "the negatives are detached": lambda m, p, n: m - p + n.detach(),
        },
    ),
    *WRONG_COSINE_GRADIENTS,
    *WRONG_DIRECTION_GRADIENTS,
]
