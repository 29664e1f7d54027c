"""Task 6 of exercise 04: of the negatives less similar than the positive, the hardest."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.pairs import HAND, SIZE, case
from mmret_lib.checks.engine.task import Formula, Mistake, Task, mistakes
from mmret_lib.checks.triplet import hinges
from mmret_lib.checks.triplet.cases import MARGIN, OPPOSITE, WRONG_SIMILARITIES, opposites

TIE = (
    "a negative exactly as similar as the positive is not semi-hard: strictly less similar, s_bk < "
    "s_bb, is wanted"
)
NONE_LEFT = "a query without a negative that is less similar than its positive should cost 0"


def below(p: Tensor, n: Tensor) -> Tensor:
    """True where a negative is strictly less similar than the positive."""
    return n < p


def semi_hard_triplet(
    image_emb: Tensor, text_emb: Tensor, margin: float = 0.2, **steps: Any
) -> Tensor:
    """The hinge of each query's hardest negative among those below its positive, a scalar."""
    steps = {"combine": hinges.max_of, "chosen": below, **steps}
    return hinges.triplet(image_emb, text_emb, margin, **steps)


def positives(rows: Tensor) -> Tensor:
    """The positives (2, B, 1) of both directions' rows (2, B, B)."""
    return rows.diagonal(dim1=1, dim2=2)[:, :, None]


def masked_with(value: float) -> dict[str, Formula]:
    """Steps that set all similarities but the semi-hard ones to a value, and take the maximum."""
    return {
        "others": lambda rows, _: rows.masked_fill(~(rows < positives(rows)), value),
        "counted": hinges.with_diagonal,
        "chosen": lambda p, n: True,
    }


def bounded(bound: Formula) -> dict[str, Formula]:
    """Steps that compare with another bound, which the positive itself may lie below."""
    return {"chosen": lambda p, n: n < bound(p), "counted": hinges.with_diagonal}


def fallen_back(replacement: Formula) -> Formula:
    """A `chosen` that takes what `replacement` says where a query has no semi-hard negative."""

    def chosen(p: Tensor, n: Tensor) -> Tensor:
        semi_hard = n < p
        result: Tensor = semi_hard | (~semi_hard.any(dim=2, keepdim=True) & replacement(n))
        return result

    return chosen


def highest(n: Tensor) -> Tensor:
    """True at each query's most similar negative."""
    others = n.masked_fill(hinges.eye(n), -math.inf)
    return others == others.amax(dim=2, keepdim=True)


def lowest(n: Tensor) -> Tensor:
    """True at each query's least similar negative."""
    others = n.masked_fill(hinges.eye(n), math.inf)
    return others == others.amin(dim=2, keepdim=True)


def asking(h: Tensor) -> Tensor:
    """The number of queries per direction that have a hinge above 0, at least 1."""
    return (h > 0).any(dim=2).sum().clamp(min=1) / 2


def both_ways(cost: Formula) -> Formula:
    """A loss from cost(rows (B, B), positives (B, 1), margin) -> (B,), for what no step says."""

    def loss(image_emb: Tensor, text_emb: Tensor, margin: float = 0.2) -> Tensor:
        s = pairs.cosines(image_emb, text_emb)
        total: Tensor = sum(cost(rows, s.diagonal()[:, None], margin) for rows in (s, s.T))
        return total.mean()

    return loss


def hinge_of_those(chosen: Formula) -> Formula:
    """A `both_ways` that takes the maximum over the negatives for which `chosen` is true."""
    return both_ways(
        lambda n, p, m: (
            (m - p + n).relu().masked_fill(~chosen(n, p, m) | hinges.eye(n), 0).amax(dim=1)
        )
    )


def within(h: Tensor, m: float) -> Tensor:
    """Hinges (B, B), with 0 in the place of those that are not below the margin."""
    return h.where(h < m, 0)


def closest(n: Tensor, p: Tensor, m: float) -> Tensor:
    """True at the negative nearest to the positive, above or below it."""
    gap = (n - p).abs().masked_fill(hinges.eye(n), math.inf)
    return gap == gap.amin(dim=1, keepdim=True)


def mean_of(asks: Formula) -> Formula:
    """A loss whose directions are means over the queries for which asks(n, p, cost) is true."""

    def cost(n: Tensor, p: Tensor, m: float) -> Tensor:
        each = (m - p + n).relu().masked_fill(n >= p, 0).amax(dim=1)
        mean: Tensor = each.sum()[None] / asks(n, p, each).sum().clamp(min=1)
        return mean

    return both_ways(cost)


CHOSEN = (
    "semi-hard negatives are those with s_bk < s_bb, each query's own positive s_bb as the bound"
)
COMBINE = "of a query's semi-hard negatives only the most similar one costs its hinge"
# These need more than one step, or explain more than the shared mistakes do.
WRONG_CHOICES = [
    Mistake(
        "the positive itself is among the candidates and costs the margin, so every query costs at "
        "least that: what is not strictly below the positive (>=, and not >) gets a hinge of 0",
        {"chosen": lambda p, n: n <= p, "counted": hinges.with_diagonal},
    ),
    Mistake(
        f"the margin takes part in the choice (s_bk < s_bb - m), and those left cost 0: {CHOSEN}",
        hinge_of_those(lambda n, p, m: n < p - m),
    ),
    Mistake(
        f"negatives up to the margin above the positive are candidates, too: {CHOSEN}",
        hinge_of_those(lambda n, p, m: n < p + m),
    ),
    Mistake(
        "the negative nearest to the positive is taken, be it above or below: leave those above "
        "out",
        hinge_of_those(closest),
    ),
    Mistake(
        "the choice is made by the hinge (below the margin), where rounding lets the positive in: "
        "compare the similarities, s_bk < s_bb",
        both_ways(lambda n, p, m: within((m - p + n).relu(), m).amax(dim=1)),
    ),
    *(
        Mistake(
            "each direction's mean is over some of its queries, not over all B: a query that "
            "costs 0 still counts",
            mean_of(asks),
        )
        for asks in (lambda n, p, cost: (n < p).any(dim=1), lambda n, p, cost: cost > 0)
    ),
    *mistakes(
        {"chosen": CHOSEN, "combine": COMBINE},
        chosen={
            "the hardest of all negatives is taken, as in max_triplet": lambda p, n: True,
            "the hardest is taken of the negatives above the positive": lambda p, n: n > p,
            "a negative that ties with the positive is counted": lambda p, n: n <= p,
            "the bound is from the wrong axis: s_bb has to be a column, diagonal()[:, None], "
            "where the negatives of a query are a row": lambda p, n: n < p.mT,
            "where the texts ask, the images' choice is used: each direction compares its own "
            "rows with the positives": lambda p, n: (n < p)[:1],
            "the choice of the images is transposed for the texts, but text k compares its column "
            "with s_kk: choose anew in similarity.T": (
                lambda p, n: torch.stack([(n < p)[0], (n < p)[0].T])
            ),
            f"queries without a semi-hard negative take the hardest of all: {NONE_LEFT}": (
                fallen_back(highest)
            ),
            f"queries without a semi-hard negative take the easiest of all: {NONE_LEFT}": (
                fallen_back(lowest)
            ),
        },
        several={
            "the hardest negative is found first, and the query costs 0 if that one is not "
            "semi-hard: leave the harder ones out first, then take the maximum of the rest": {
                "chosen": lambda p, n: (n < p) & highest(n)
            },
            "what is not semi-hard gets a similarity of 0, which is a similarity like any other: "
            "set its hinge to 0, or its similarity to -inf": masked_with(0),
            "what is not semi-hard gets a similarity of -1, which can still lie within the margin: "
            "set its hinge to 0, or its similarity to -inf": masked_with(-1),
            "the clamp is missing: a semi-hard negative beyond the margin costs 0, not less": {
                "hinge": lambda x: x,
                "left_out": -math.inf,
                "columns": lambda h: h.where(h.amax(2, keepdim=True) > -math.inf, 0),
            },
            f"the bound is a fixed 0, not the positive: {CHOSEN}": bounded(lambda p: 0),
            f"the bound is the mean of the positives: {CHOSEN}": bounded(lambda p: p.mean()),
            "all semi-hard negatives are added: only the most similar of them counts": {
                "combine": hinges.sum_of
            },
        },
        combine={
            "the least similar of the semi-hard negatives within the margin is taken": (
                lambda h: h.masked_fill(h <= 0, math.inf).amin(2).nan_to_num(posinf=0)
            ),
            "the mean over the semi-hard negatives within the margin is taken": (
                lambda h: h.sum(2) / (h > 0).sum(2).clamp(min=1)
            ),
            "the max goes over the wrong axis: where the positive was subtracted row by row, the "
            "negatives of a query are a row": lambda h: h.amax(dim=1),
        },
        divisor={
            "the mean is over the queries that push something, not over all B: a query that costs "
            "0 still counts": lambda h, negative, emb: asking(h)
        },
    ),
]
# The positive is no negative below itself, so a diagonal that is left in changes nothing here.
SHARED = [
    mistake
    for mistake in [*hinges.WRONG_HINGES, *hinges.WRONG_MAXIMA]
    if isinstance(mistake.wrong, dict)
    and not mistake.wrong.keys() & {"chosen", "others", "left_out"}
    and mistake.wrong.get("counted") is not hinges.with_diagonal
    and "direction has a diagonal of its own" not in mistake.says
    and "max goes over the wrong axis" not in mistake.says
    and not mistake.says.startswith(("the sum is taken", "clamped from above at 1"))
]


def tied() -> tuple[Tensor, Tensor]:
    """Four pairs with exact ties: cosines that are 0, 0.6, 0.8 or 1 in every precision."""
    rows = [[5.0, 0, 0], [3, 4, 0], [0, 3, 4], [0, 0, 2]]
    image_emb = torch.tensor(rows, dtype=torch.float64, device="cpu")
    text_emb = torch.tensor(
        [[2.0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 4]], dtype=torch.float64, device="cpu"
    )
    return image_emb, text_emb


def shuffled(size: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pairs of which a third has another's text, so that many negatives beat the positive."""
    image_emb, text_emb = pairs.batch(size, dim, seed)
    text_emb[: size // 3] = text_emb[: size // 3].roll(1, 0)
    return image_emb, text_emb


FAR = 3 * torch.eye(4, dtype=torch.float64, device="cpu")
BACK = FAR - 0.5
SEMI_HARD_TASK = Task(
    name="semi_hard_triplet",
    right=semi_hard_triplet,
    cases=[
        case(shuffled(6, 3, 185)),  # seeds without near ties, which float16 could not tell apart
        case(
            shuffled(6, 3, 350),
            "a batch in which two queries have no semi-hard negative",
            NONE_LEFT,
        ),
        case(shuffled(9, 4, 256), "", SIZE),
        case(shuffled(4, 7, 345), "", SIZE),
        case((*shuffled(5, 3, 288), 0.7), "a margin of 0.7", MARGIN),
        case(tied(), "negatives exactly as similar as the positive", TIE, smooth=False),
        case(opposites(5), OPPOSITE, NONE_LEFT),
        case(
            (FAR, BACK.roll(1, 0)),
            "a batch in which no query has a semi-hard negative (loss 0)",
            NONE_LEFT,
        ),
        case(
            (FAR, 2 * FAR),
            "a batch that has nothing left to learn (loss 0)",
            "where no semi-hard negative comes within the margin the loss should be 0",
        ),
        case((*pairs.by_hand(), 0.9), f"{HAND}, a margin of 0.9", SIZE, MARGIN),
    ],
    mistakes=[*WRONG_CHOICES, *SHARED, *WRONG_SIMILARITIES],
    gradient_mistakes=hinges.WRONG_GRADIENTS,
    remark=(
        "A false negative that beats the positive is never pushed, and neither is a true mistake: "
        "with all embeddings equal this loss is 0, so a low loss alone does not mean success."
    ),
)
