"""The batches on which exercise 04 is checked, each with what sets it apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Case
from mmret_lib.losses import MaxTriplet, SimCLR, SumTriplet
from mmret_lib.losses.base import PairLoss, similarities


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


def cosine_cases() -> list[Case]:
    return [
        case(pairs(5, 3, 0)),
        case(pairs(9, 4, 1), "", "size"),
        case(pairs(3, 7, 2), "", "size"),
        case(with_lengths(), "rows of lengths from 0.05 to 1000", "lengths"),
        case(with_zeros(), "a batch with a row of zeros in each branch", "zeros"),
        case(by_hand(), HAND, "size"),
    ]


def with_opposites(batch: int = 5) -> tuple[Tensor, Tensor]:
    image_emb, text_emb = (emb.abs() for emb in pairs(batch, 3, 1))
    text_emb[2] = 2 * image_emb[2]
    return image_emb, -text_emb


OPPOSITE = "branches that point away from each other (all similarities below 0)"


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
        case((*with_opposites(), ids(1, 2, 3, 4, 1), ids(7, 6, 5, 4, 3)), OPPOSITE),
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
