"""The checks of exercise 04, one for each of its tasks.

    from mmret_lib import checks
    checks.triplet_losses.check_sum_triplet(sum_triplet)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.probe import check
from mmret_lib.checks.engine.task import Task
from mmret_lib.checks.triplet_batches import cosine_cases, duplicate_cases, loss_cases, weight_cases
from mmret_lib.checks.triplet_formulas import cosines, triplet
from mmret_lib.checks.triplet_slips import (
    COSINE_GRADIENTS,
    COSINES,
    DUPLICATES,
    HINGES,
    LOSS_GRADIENTS,
    MAX,
    MAX_FIRST,
    SIMILARITY,
    SUM,
    WEIGHTS,
)
from mmret_lib.checks.weight_formulas import weights

__all__ = [
    "check_cosine_similarity_matrix",
    "check_masked_max_triplet",
    "check_max_triplet",
    "check_negative_weights",
    "check_sum_triplet",
]


SIZE = "a size is fixed in the code: take B and D from the arguments (image_emb.shape)"

COSINE_TASK = Task(
    name="cosine_similarity_matrix",
    names=("image_emb", "text_emb"),
    right=cosines,
    cases=cosine_cases(),
    slips=COSINES,
    gradient_slips=COSINE_GRADIENTS,
    traits={
        "size": SIZE,
        "zeros": "a row of zeros should have similarity 0 to everything",
        "lengths": "short or long rows go wrong: the length of a row should not matter",
    },
    more=(
        "A cosine is blind to length, so nothing a branch gains by longer embeddings can lower "
        "the loss: only directions count."
    ),
)


LOSS_TRAITS = {
    "size": SIZE,
    "margin": "the margin is fixed in the code: take the argument",
    "ties": "a negative exactly as similar as the positive is left out: tell the positive by its "
    "place, the diagonal, and not by its value",
    "solved": "where no negative comes within the margin the loss should be 0",
}


def sum_of_hinges(*args: Any, combine: str = "sum", **options: Any) -> Tensor:
    return triplet(*args, combine=combine, **options)


def max_of_hinges(*args: Any, combine: str = "max", **options: Any) -> Tensor:
    return triplet(*args, combine=combine, **options)


def masked_max_of_hinges(
    image_emb: Tensor,
    text_emb: Tensor,
    image_ids: Tensor,
    caption_ids: Tensor,
    margin: float = 0.2,
    **options: str,
) -> Tensor:
    return max_of_hinges(image_emb, text_emb, margin, image_ids, caption_ids, **options)


SUM_TASK = Task(
    name="sum_triplet",
    names=("image_emb", "text_emb"),
    right=sum_of_hinges,
    cases=loss_cases(),
    slips=[*HINGES, *SUM, *SIMILARITY],
    gradient_slips=LOSS_GRADIENTS,
    traits=LOSS_TRAITS,
    more=(
        "Its gradient by s_bk is 1 / B for every negative within the margin, far or near: the sum "
        "weighs them all alike, so easy ones can outvote the hard one."
    ),
)
MAX_TASK = Task(
    name="max_triplet",
    names=("image_emb", "text_emb"),
    right=max_of_hinges,
    cases=loss_cases(),
    slips=[*MAX_FIRST, *HINGES, *MAX, *SIMILARITY],
    gradient_slips=LOSS_GRADIENTS,
    traits=LOSS_TRAITS,
    more=(
        "With all embeddings equal it is exactly 2 * margin, whatever B is: a training curve that "
        "lies flat at 0.4 has collapsed."
    ),
)


MASKED_TASK = Task(
    name="masked_max_triplet",
    names=("image_emb", "text_emb", "image_ids", "caption_ids"),
    right=masked_max_of_hinges,
    cases=duplicate_cases(),
    slips=[*DUPLICATES, *MAX_FIRST, *HINGES, *MAX, *SIMILARITY],
    gradient_slips=LOSS_GRADIENTS,
    traits={
        "size": SIZE,
        "margin": LOSS_TRAITS["margin"],
        "large": "ids are names, not positions or measures: they can be any whole numbers, so "
        "compare them as they are, and do not convert them, count or index by them",
        "unique": "without duplicates the loss should be the plain max_triplet",
        "lonely": "a query without any negative should cost 0 (a maximum over nothing is -inf "
        "or an error)",
    },
    more=(
        "A duplicate is as similar as the positive: unmasked, the maximum would pick just this "
        "false negative nearly every time. The sum would drown it among the others."
    ),
)


def weight_signs(answers: Sequence[Tensor]) -> str | None:
    """What is wrong with weights, by what can be seen in them."""
    smooth, of_sum, of_max = answers[:3]
    if all(torch.allclose(smooth, one, equal_nan=True) for one in (of_sum, of_max)):
        return f"the result is the same whatever the direction: {ANY}"
    if any(one.diagonal(dim1=1, dim2=2).abs().max() > 1e-9 for one in answers):
        return (
            "the diagonal is not left out, it is not 0 everywhere: it holds the positive's pull, "
            "not a negative's push. Take it out before you sum"
        )
    sums = smooth.sum(dim=2)
    off = sums[~((sums - 1).abs() < 1e-3)]
    if len(off):
        return (
            f"a row does not sum to 1 (but to {off[0]:.4g}): divide by the sum of that very row, "
            "and that after the diagonal was taken out"
        )
    if any(one.min() < -1e-9 for one in answers):
        return "a share is below 0: by what is it divided, and has it the gradient's sign?"
    return None


ANY = "take the gradient of the function you are given, whatever it is"

WEIGHT_TASK = Task(
    name="negative_weights",
    names=("direction", "similarity"),
    right=weights,
    cases=weight_cases(),
    slips=WEIGHTS,
    traits={
        "size": SIZE,
        "quiet": "a query that pushes nothing should have a row of zeros",
        "SumTriplet(0.5)": f"right for other directions, wrong for the sum: {ANY}",
        "SimCLR(0.2)": f"right for hinges, wrong for a smooth loss: {ANY}",
        "MaxTriplet(0.5)": f"right for the sum, wrong for the max: {ANY}",
    },
    more=(
        "For the smooth loss these shares are softmax(s_bk / t) over the negatives: its "
        "temperature says how near it comes to the max."
    ),
    has_gradient=False,
    signs=weight_signs,
)


def check_cosine_similarity_matrix(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Task 1: function(image_emb (B, D), text_emb (B, D)) -> cosines (B, B)."""
    check(COSINE_TASK, function)


def check_sum_triplet(function: Callable[..., Tensor]) -> None:
    """Task 2: function(image_emb (B, D), text_emb (B, D), margin=0.2) -> scalar."""
    check(SUM_TASK, function)


def check_max_triplet(function: Callable[..., Tensor]) -> None:
    """Task 3: function(image_emb (B, D), text_emb (B, D), margin=0.2) -> scalar."""
    check(MAX_TASK, function)


def check_masked_max_triplet(function: Callable[..., Tensor]) -> None:
    """Task 4: function(image_emb, text_emb, image_ids (B,), caption_ids (B,), margin=0.2)."""
    check(MASKED_TASK, function)


def check_negative_weights(function: Callable[..., Tensor]) -> None:
    """Task 5: function(direction, similarity (B, B)) -> weights (2, B, B)."""
    check(WEIGHT_TASK, function)
