"""The batches on which the triplet losses are tried, shared by their tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.pairs import HAND, SIZE, case
from mmret_lib.checks.engine.task import Mistake

# In the losses a wrong similarity is one mistake among many.
WRONG_SIMILARITIES = [
    Mistake(f"in the similarities (task 1), {mistake.says}", mistake.wrong)
    for mistake in pairs.WRONG_COSINES
]

MARGIN = "the margin is fixed in the code: take the argument"
OPPOSITE = "branches that point away from each other (all similarities below 0)"


def opposites(size: int) -> tuple[Tensor, Tensor]:
    """A batch described by `OPPOSITE`, whose third positive has similarity -1."""
    image_emb, text_emb = (emb.abs() for emb in pairs.batch(size, 3, 1))
    text_emb[2] = 2 * image_emb[2]
    return image_emb, -text_emb


EQUAL_TEXTS = pairs.batch(5, 3, 6)
EQUAL_TEXTS[1][3] = EQUAL_TEXTS[1][0]
UNIT = torch.eye(4, dtype=torch.float64, device="cpu")
LOSS_CASES = [
    case(pairs.batch(5, 3, 0)),
    case(pairs.batch(9, 4, 1), "", SIZE),
    case(pairs.batch(3, 7, 2), "", SIZE),
    case((*pairs.batch(5, 3, 3), 0.7), "a margin of 0.7", MARGIN),
    case(
        EQUAL_TEXTS,
        "two equal texts",
        "a negative exactly as similar as the positive is left out: tell the positive by its "
        "place, the diagonal, and not by its value",
        smooth=False,
    ),
    case(opposites(5), OPPOSITE),
    case(
        (3 * UNIT, 6 * UNIT),
        "a batch that has nothing left to learn (loss 0)",
        "where no negative comes within the margin the loss should be 0",
    ),
    case(pairs.by_hand(), HAND, SIZE),
]
