"""The batches, masks and words on which the tasks of exercise 03 are tried."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Case


def numbers(*shape: int, scale: float = 1.0) -> Tensor:
    """Random numbers in float64, the same for the same shape."""
    generator = seeded(sum(7**at * n for at, n in enumerate(shape)))
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def real(*rows: str) -> Tensor:
    """A mask (B, L) from rows such as "111.": a 1 is a real piece."""
    return torch.tensor([[each == "1" for each in row] for row in rows], device="cpu")


def qkv(*lead: int, lq: int, lk: int, d: int, e: int, scale: float = 1.0) -> tuple[Tensor, ...]:
    """Queries, keys and values with the leading sizes `lead`."""
    return (
        numbers(*lead, lq, d, scale=scale),
        numbers(*lead, lk, d) + 0.1 * lk,
        numbers(*lead, lk, e) + 1,
    )


def cut(word: str, vocabulary: Any, *hints: str) -> Case:
    """A call of word_pieces."""
    kind = "a dict" if isinstance(vocabulary, dict) else "a set"
    return Case((word, vocabulary), f"{word!r} and {kind} of pieces {sorted(vocabulary)}", hints)


BY_HAND = (
    torch.tensor([[[2.0, 0], [0, 2]]], dtype=torch.float64),
    torch.tensor([[[1.0, 0], [0, 1]]], dtype=torch.float64),
    torch.tensor([[[10.0, 0], [0, 10]]], dtype=torch.float64),
    real("11"),
)
LOW_Q, LOW_K, LOW_V = qkv(2, lq=2, lk=4, d=4, e=2)
VERY_LOW = (LOW_Q.abs() + 100, -LOW_K.abs() - 100, LOW_V, real("1111", "11.."))
HUGE = numbers(3, 4, 2)
HUGE[1, 2:], HUGE[2, 1:] = 1e6, -3e5
ZEROS = numbers(2, 4, 3) + 1
ZEROS[0, 1], ZEROS[1, :2, 0] = 0, 0
SURE = torch.tensor([[1000.0, 0, -1000, 3], [-500, 900, 0, 0]], dtype=torch.float64)
SHY = torch.tensor([[0.0, 300, -200, 3], [10, -900, 20, 0]], dtype=torch.float64)
ANIMALS = {"[UNK]": 0, "snow": 1, "man": 2, "##man": 3, "##m": 4, "##an": 5, "s": 6, "##s": 7}
TRAP = {"ab", "a", "##b", "##bcd", "##c", "##d", "abx", "##x", "b", "c", "bc", "##cde", "##e"}
DEAD_END = {"ab", "a", "##bcd", "##c", "cd"}
LONG = {"x", "waterfall", "water", "##waterfall", "##fall", "##water", "##s", "wate", "w", "falls"}
LONG |= {"fall", "##s.", "s", "##f"}  # more pieces than the word has letters
