"""Padding token ids, exercise 01's third task: the right formula and its mistakes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Mistake, mistakes

Lists = list[list[int]]


def filled_up(row: list[int], length: int, filling: int) -> list[int]:
    """The tokens, then the filling."""
    return row + [filling] * (length - len(row))


def length_of(lists: Lists) -> int:
    """How long every row becomes."""
    return max(len(row) for row in lists)


def from_lengths(lists: Lists, ids: Tensor, pad_id: int) -> Tensor:
    """True where a token stands, told by the lists' lengths."""
    lengths = torch.tensor([len(row) for row in lists])
    return torch.arange(ids.shape[1]) < lengths[:, None]  # (B, L)


def pad(
    token_lists: Lists,
    pad_id: int,
    *,
    fill: Callable[[list[int], int, int], list[int]] = filled_up,
    length: Callable[[Lists], int] = length_of,
    filling: Callable[[int], int] = lambda pad_id: pad_id,
    mask: Callable[[Lists, Tensor, int], Tensor] = from_lengths,
) -> tuple[Tensor, Tensor]:
    """Task 3: ids (B, L) int64 and mask (B, L) bool, L the longest list's length."""
    longest = length(token_lists)
    rows = [fill(row, longest, filling(pad_id))[:longest] for row in token_lists]
    ids = torch.tensor(rows, dtype=torch.int64).reshape(len(rows), longest)
    return ids, mask(token_lists, ids, pad_id)


def filled_before(row: list[int], length: int, filling: int) -> list[int]:
    """The filling, then the tokens."""
    return [filling] * (length - len(row)) + row


def repeated(row: list[int], length: int, filling: int) -> list[int]:
    """The last token again and again."""
    return filled_up(row, length, row[-1] if row else filling)


FROM_LENGTHS = (
    "the mask should be True where a token stands and False in the filling, told by the lengths of "
    "the lists, as in `torch.arange(longest) < lengths[:, None]`"
)
WRONG_PADS: list[Mistake] = [
    *mistakes(
        {"mask": FROM_LENGTHS},
        mask={
            "the mask is told by the value, `ids != pad_id`: that number can be a token, too. Tell "
            "it by the lengths of the lists": lambda lists, ids, pad_id: ids != pad_id,
            "the mask is told by the value, `ids != 0`: 0 can be a token, and pad_id another "
            "number. Tell it by the lengths of the lists": lambda lists, ids, pad_id: ids != 0,
            "the mask is told by the value, `ids > 0`: 0 can be a token, and pad_id above 0. Tell "
            "it by the lengths of the lists": lambda lists, ids, pad_id: ids > 0,
            "the mask is the wrong way round": lambda lists, ids, pad_id: (
                ~from_lengths(lists, ids, pad_id)
            ),
            "the mask is True everywhere": lambda lists, ids, pad_id: torch.ones_like(ids).bool(),
            "the mask is one token too long": lambda lists, ids, pad_id: (
                torch.arange(ids.shape[1]) <= torch.tensor([len(row) for row in lists])[:, None]
            ),
            "the mask is one token too short": lambda lists, ids, pad_id: (
                torch.arange(1, ids.shape[1] + 1) < torch.tensor([len(r) for r in lists])[:, None]
            ),
            "the mask has its True at the end of the row": lambda lists, ids, pad_id: from_lengths(
                lists, ids, pad_id
            ).flip(1),
        },
        filling={
            "the filling is 0: take the argument pad_id": lambda pad_id: 0,
            "the filling is -1: take the argument pad_id": lambda pad_id: -1,
        },
        fill={
            "the filling stands before the tokens: it should stand behind them": filled_before,
            "a row is filled with its last token: fill it with pad_id": repeated,
        },
        several={
            "the filling stands before the tokens: it should stand behind them, and the mask "
            "with it": {
                "fill": filled_before,
                "mask": lambda lists, ids, pad_id: from_lengths(lists, ids, pad_id).flip(1),
            },
        },
        length={
            "the rows are cut to the shortest list: fill them up to the longest": lambda lists: min(
                map(len, lists)
            ),
            "the rows are cut to the first list's length: fill them up to the longest": (
                lambda lists: len(lists[0])
            ),
            "the rows are one too long: the longest list needs no filling": lambda lists: (
                length_of(lists) + 1
            ),
            **{
                f"all rows are filled up to {fixed}: fill them up to the longest of the batch, "
                "or a batch of short captions costs as much as one of long ones": (
                    lambda lists, fixed=fixed: fixed
                )
                for fixed in (16, 20, 32, 50, 64, 77, 100, 128, 256, 512)
            },
        },
    ),
    Mistake(
        "the lists are sorted by length: keep their order, row b belongs to picture b",
        lambda lists, pad_id: pad(sorted(lists, key=len, reverse=True), pad_id),
    ),
    Mistake(
        "the lists are sorted by length: keep their order, row b belongs to picture b",
        lambda lists, pad_id: pad(sorted(lists, key=len), pad_id),
    ),
    Mistake(
        "the result is transposed, (L, B), as pad_sequence gives it: (B, L) is wanted, "
        "batch_first=True",
        lambda lists, pad_id: tuple(part.T for part in pad(lists, pad_id)),
    ),
    Mistake(
        "ids and mask are exchanged: return the ids first",
        lambda lists, pad_id: pad(lists, pad_id)[::-1],
    ),
]
