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

from mmret_lib.checks.probe import check
from mmret_lib.checks.task import Case, Task
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
from mmret_lib.losses import MaxTriplet, SimCLR, SumTriplet
from mmret_lib.negatives import PairLoss, similarities

__all__ = [
    "check_cosine_similarity_matrix",
    "check_masked_max_triplet",
    "check_max_triplet",
    "check_negative_weights",
    "check_sum_triplet",
]


def pairs(batch: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Embeddings (B, D) whose positives resemble each other, of any length."""
    generator = torch.Generator().manual_seed(seed)
    shared, image_own, text_own = torch.randn(
        3, batch, dim, generator=generator, dtype=torch.float64, device="cpu"
    )
    return 2 * (shared + image_own) + 0.3, shared + text_own


def by_hand() -> tuple[Tensor, Tensor]:
    """Two pairs with the cosines 0.80 0.00 / 0.96 0.80."""
    image_emb = torch.tensor([[1.0, 0.0], [3.0, 4.0]], dtype=torch.float64, device="cpu")
    text_emb = torch.tensor([[4.0, 3.0], [0.0, 2.0]], dtype=torch.float64, device="cpu")
    return image_emb, text_emb


HAND = (
    "image_emb = [[1, 0], [3, 4]] and text_emb = [[4, 3], [0, 2]] (cosines [[0.8, 0], [0.96, 0.8]])"
)
SIZE = "a size is fixed in the code: take B and D from the arguments (image_emb.shape)"


def case(args: tuple, about: str = "", *traits: str, **more: Any) -> Case:
    batch, dim = args[0].shape
    return Case(args, about or f"{batch} pairs of {dim} numbers each", frozenset(traits), **more)


def with_zeros() -> tuple[Tensor, Tensor]:
    image_emb, text_emb = pairs(5, 3, 4)
    image_emb[1], text_emb[3] = 0, 0
    return image_emb, text_emb


def with_lengths() -> tuple[Tensor, Tensor]:
    image_emb, text_emb = (similarity_rows(emb) for emb in pairs(5, 3, 5))
    lengths = torch.tensor([[0.05], [1], [30], [2], [1000]], dtype=torch.float64, device="cpu")
    return image_emb * lengths, text_emb * lengths.flip(0)


def similarity_rows(emb: Tensor) -> Tensor:
    return emb / emb.norm(dim=1, keepdim=True)


COSINE_TASK = Task(
    name="cosine_similarity_matrix",
    names=("image_emb", "text_emb"),
    right=cosines,
    cases=[
        case(pairs(5, 3, 0)),
        case(pairs(9, 4, 1), "", "size"),
        case(pairs(3, 7, 2), "", "size"),
        case(with_lengths(), "rows of lengths from 0.05 to 1000", "lengths"),
        case(with_zeros(), "a batch with a row of zeros in each branch", "zeros"),
        case(by_hand(), HAND, "size"),
    ],
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


def with_opposites(batch: int = 5) -> tuple[Tensor, Tensor]:
    image_emb, text_emb = pairs(batch, 3, 1)
    text_emb[2] = -2 * image_emb[2]
    return image_emb, text_emb


OPPOSITE = "a positive pair that points in opposite directions"


def loss_cases() -> list[Case]:
    image_emb, text_emb = pairs(5, 3, 6)
    text_emb[3] = text_emb[0]
    solved = 3 * torch.eye(4, dtype=torch.float64, device="cpu")
    return [
        case(pairs(5, 3, 0)),
        case(pairs(9, 4, 1), "", "size"),
        case(pairs(3, 7, 2), "", "size"),
        case((*pairs(5, 3, 3), 0.7), "a margin of 0.7", "margin"),
        case((image_emb, text_emb), "two equal texts", "ties", smooth=False),
        case(with_opposites(), OPPOSITE),
        case((solved, 2 * solved), "a batch that has nothing left to learn (loss 0)", "solved"),
        case(by_hand(), HAND, "size"),
    ]


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


def ids(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64, device="cpu")


def duplicate_cases() -> list[Case]:
    """Image ids and caption ids with each kind of coincidence."""
    far = 10**12
    return [
        case((*pairs(5, 3, 0), ids(7, 7, 8, 9, 5), ids(3, 1, 3, 2, 1))),
        case(
            (*pairs(9, 4, 1), ids(1, 2, 3, 1, 5, 6, 2, 8, 1), ids(9, 8, 8, 9, 5, 4, 3, 2, 1)),
            "",
            "size",
        ),
        case(
            (*pairs(5, 3, 3), ids(4, 4, 8, 9, 5), ids(3, 1, 3, 2, 1), 0.7),
            "a margin of 0.7",
            "margin",
        ),
        case(
            (*pairs(5, 3, 2), ids(far, far + 1, far, far + 2**32, -1), ids(0, 1, 2, 1, far)),
            "ids as large as 10**12",
            "large",
        ),
        case(
            (*pairs(5, 3, 5), ids(1, 2, 3, 4, 5), ids(5, 1, 2, 3, 4)),
            "a batch without duplicates (image and caption ids share numbers, which means nothing)",
            "unique",
        ),
        case(
            (*pairs(3, 4, 8), ids(7, 7, 8), ids(2, 1, 2)),
            "a query that has no negative left",
            "lonely",
        ),
        case(
            (*with_opposites(3), ids(6, 6, 6), ids(1, 2, 3)), "three pairs of one image", "lonely"
        ),
        case(
            (*by_hand(), ids(1, 2), ids(4, 5)),
            f"{HAND}, image_ids [1, 2], caption_ids [4, 5]",
            "size",
            "unique",
        ),
    ]


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


class Direction:
    """What the queries in the rows of a (B, B) matrix of similarities cost by a loss: a scalar."""

    def __init__(self, loss: PairLoss) -> None:
        self.loss = loss

    def __call__(self, similarity: Tensor) -> Tensor:
        negatives = ~torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
        return self.loss.direction(similarity, negatives)


def weight_cases() -> list[Case]:
    loss_of = {
        "SumTriplet(0.5)": SumTriplet(0.5),
        "MaxTriplet(0.5)": MaxTriplet(0.5),
        "SimCLR(0.2)": SimCLR(0.2),
    }
    cases = [
        Case(
            (Direction(loss), similarities(*pairs(5, 3, 3))),  # the same for all
            f"the direction of {name}",
            frozenset({name}),
        )
        for name, loss in loss_of.items()
    ]
    easy = similarities(*pairs(6, 8, 3))
    easy[2], easy[:, 4] = -0.5, -0.6
    easy.diagonal().fill_(0.4)
    quiet = "a query that pushes nothing, whose row is all zeros"
    return [
        cases[2],
        cases[0],
        cases[1],
        Case((Direction(SumTriplet(0.2)), easy), quiet, frozenset({"quiet", "size"})),
        Case(
            (Direction(SumTriplet(0.5)), similarities(*by_hand())),
            "SumTriplet(0.5) and the similarities [[0.8, 0], [0.96, 0.8]]",
            frozenset({"size"}),
        ),
    ]


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
    if not torch.allclose(sums, torch.ones_like(sums), rtol=1e-3):
        return (
            f"a row does not sum to 1 (the first one to {sums[0, 0]:.4g}): divide by the sum of "
            "that very row, and that after the diagonal was taken out"
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
