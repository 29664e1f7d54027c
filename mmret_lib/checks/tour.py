"""The checks of exercise 00, one for each of its tasks.

    from mmret_lib import checks
    checks.tour.check_top_k(top_k)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.search`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Case, Task
from mmret_lib.checks.search import best, heads, loops, recall

__all__ = ["check_recall_at_1", "check_top_k", "check_train_heads"]

SIZE = "a size is fixed in the code: take N and D from the arguments (emb.shape)"


def signs(size: int, seed: int) -> Tensor:
    """Make rows of four entries, 1 or -1 times a power of 2: cosines that tie to the last bit."""
    generator = seeded(seed)
    draws = torch.randint(0, 2, (size, 4), generator=generator, device="cpu") * 2.0 - 1
    return (draws * 2.0 ** torch.randint(-2, 4, (size, 1), generator=generator)).double()


def lengths(size: int) -> Tensor:
    """Make factors (size, 1) from 0.05 to 1000, in no order."""
    order = torch.randperm(size, generator=seeded(3), device="cpu")
    return torch.logspace(-1.3, 3, size, dtype=torch.float64, device="cpu")[order, None]


# ---------------------------------------------------------------------------------------------
# Task 1: the k best

K = "k is fixed in the code: take the argument"
MORE = "where k is larger than N, all N are wanted, best first"


def search(rows: int, dim: int, k: int, seed: int, *hints: str) -> Case:
    """A query among `rows` embeddings of any length."""
    emb, queries = pairs.batch(rows, dim, seed)
    return Case((queries[seed % rows], emb, k), f"N = {rows}, D = {dim}, k = {k}", hints)


def with_zeros() -> Case:
    """A search in which two rows have no direction, and others a cosine below 0."""
    emb, queries = pairs.batch(8, 5, 11)
    emb[2], emb[5] = 0, 0
    return Case((queries[1], emb, 8), "an emb with two rows of zeros", (best.ZERO,))


def with_lengths(rows: int, dim: int, k: int, seed: int) -> Case:
    """A search among rows of very different lengths."""
    emb, queries = pairs.batch(rows, dim, seed)
    hint = "short or long rows go wrong: the length of a row should not matter"
    about = f"rows of lengths 0.05 to 1000 (N = {rows}, D = {dim}, k = {k})"
    return Case((queries[2], best.unit(emb) * lengths(rows), k), about, (hint,))


def near_ties() -> Case:
    """A search among 300 directions, many of them nearly alike."""
    order = torch.randperm(300, generator=seeded(8), device="cpu")
    angles = torch.linspace(0.3, 2.9, 300, dtype=torch.float64, device="cpu")[order]
    emb = torch.stack([angles.cos(), angles.sin()], dim=1)
    hint = "cosines that are nearly equal come in a wrong order: are they rounded?"
    query = torch.tensor([2.0, -0.1], dtype=torch.float64, device="cpu")
    return Case((query, emb, 120), "300 rows, many with nearly equal cosines", (hint,))


HAND_QUERY = torch.tensor([2.0, 0], dtype=torch.float64, device="cpu")
HAND_ROWS = torch.tensor([[9.0, 12], [0, 1], [4, 3], [8, 6]], dtype=torch.float64, device="cpu")
TOP_CASES = [
    with_lengths(9, 6, 3, 1),
    with_lengths(12, 6, 7, 5),
    search(5, 8, 5, 1, SIZE, K),
    search(30, 3, 1, 2, K, SIZE),
    search(16, 5, 11, 3, K, SIZE),
    near_ties(),
    with_zeros(),
    Case(
        (torch.zeros(5, dtype=torch.float64, device="cpu"), pairs.batch(7, 5, 4)[0], 4),
        "a query of zeros",
        ("a query of zeros has similarity 0 to every row, so all rows tie", best.TIES),
    ),
    Case((signs(6, 1)[0], signs(7, 2), 7), "seven rows with cosines that tie", (best.TIES,)),
    Case((signs(6, 3)[0], signs(80, 4), 50), "80 rows with cosines that tie", (best.TIES,)),
    search(4, 6, 10, 6, MORE),
    Case(
        (HAND_QUERY, HAND_ROWS, 3),
        "query_emb = [2, 0] and emb = [[9, 12], [0, 1], [4, 3], [8, 6]] (cosines 0.6, 0, 0.8, 0.8)",
        (best.TIES, SIZE),
    ),
]
TOP_TASK = Task(
    name="top_k",
    right=best.top_k,
    cases=TOP_CASES,
    mistakes=best.MISTAKES,
    has_gradient=False,
    half=False,
    remark=(
        "This is exact search: every row is compared. With a million rows it still answers many "
        "queries a second (lesson 12)."
    ),
)


# ---------------------------------------------------------------------------------------------
# Task 2: recall at 1

PERMUTED = pairs.batch(7, 5, 9)
RECALL_ZEROS = pairs.batch(9, 4, 12)
RECALL_ZEROS[0][1], RECALL_ZEROS[1][6] = 0, 0
RECALL_LENGTHS = pairs.batch(11, 4, 8)
RECALL_CASES = [
    pairs.case(pairs.batch(7, 4, 0)),
    pairs.case(pairs.batch(12, 3, 1), "", pairs.SIZE),
    pairs.case(pairs.batch(3, 9, 2), "", pairs.SIZE),
    pairs.case(pairs.batch(40, 4, 3), "", pairs.SIZE),
    pairs.case(
        (
            best.unit(RECALL_LENGTHS[0]) * lengths(11),
            best.unit(RECALL_LENGTHS[1]) * lengths(11).flip(0),
        ),
        "rows of lengths from 0.05 to 1000",
        "short or long rows go wrong: the length of a row should not matter",
    ),
    pairs.case(RECALL_ZEROS, "a row of zeros in each branch", best.ZERO),
    pairs.case((PERMUTED[0], PERMUTED[0].roll(1, 0)), "texts in a wrong order (recall 0)"),
    pairs.case((PERMUTED[0], 3 * PERMUTED[0]), "equal embeddings of image and text (recall 100)"),
    pairs.case((signs(10, 5), signs(10, 5).roll(2, 1)), "cosines that tie", recall.TIED),
    pairs.case((signs(24, 6), signs(24, 6)), "a positive of 1 that others tie with", recall.TIED),
    pairs.case(
        (torch.ones(8, 4, dtype=torch.float64), torch.ones(8, 4, dtype=torch.float64)),
        "a model that gives everything the same embedding",
        recall.CONSTANT,
        recall.TIED,
    ),
    pairs.case(
        (
            torch.tensor([[5.0, -12], [3, 4]], dtype=torch.float64, device="cpu"),
            torch.tensor([[1.0, 0], [0, 2]], dtype=torch.float64, device="cpu"),
        ),
        "image_emb = [[5, -12], [3, 4]] and text_emb = [[1, 0], [0, 2]] "
        "(cosines [[0.38, -0.92], [0.6, 0.8]])",
        pairs.SIZE,
    ),
]
RECALL_TASK = Task(
    name="recall_at_1",
    right=recall.recall_at_1,
    cases=RECALL_CASES,
    mistakes=recall.MISTAKES,
    has_gradient=False,
    half=False,
    remark=(
        "A model that gives everything the same embedding gets 100 / N, as chance does. Counting "
        "ties as found would give it 100."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 3: training two heads

HEADS_TASK = Task(
    name="train_heads",
    right=loops.train_heads,
    cases=[],
    mistakes=[],
    properties=heads.PROPERTIES,
    has_gradient=False,
    half=False,
    remark=(
        "The loss is an argument: the same ten lines train with every loss of lessons 04 to 06."
    ),
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_top_k(function: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Task 1: function(query_emb (D,), emb (N, D), k) -> indices (k,), best first."""
    check(TOP_TASK, function)


def check_recall_at_1(function: Callable[[Tensor, Tensor], tuple[float, float]]) -> None:
    """Task 2: function(image_emb (N, D), text_emb (N, D)) -> (i2t, t2i), in percent."""
    check(RECALL_TASK, function)


def check_train_heads(function: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Task 3: function(image_features, text_features, loss, steps, lr, seed) -> two (D, 128)."""
    check(HEADS_TASK, function)
