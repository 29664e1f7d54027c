"""The checks of exercise 00, one for each of its tasks.

    from mmret_lib import checks
    checks.tour.check_top_k(top_k)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. What `train_heads`
is held to is in `mmret_lib.checks.heads`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks import heads
from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.task import Case, Formula, Mistake, Task, mistakes

__all__ = ["check_recall_at_1", "check_top_k", "check_train_heads"]

SIZE = "a size is fixed in the code: take N and D from the arguments (emb.shape)"
ZERO = "a row of zeros should have similarity 0 to everything"


def signs(size: int, seed: int) -> Tensor:
    """Make rows of four entries, 1 or -1 times a power of 2: cosines that tie to the last bit."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(0, 2, (size, 4), generator=generator, device="cpu") * 2.0 - 1
    return (draws * 2.0 ** torch.randint(-2, 4, (size, 1), generator=generator)).double()


def lengths(size: int) -> Tensor:
    """Make factors (size, 1) from 0.05 to 1000, in no order."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(3), device="cpu")
    return torch.logspace(-1.3, 3, size, dtype=torch.float64, device="cpu")[order, None]


# ---------------------------------------------------------------------------------------------
# Task 1: the k best

K = "k is fixed in the code: take the argument"
MORE = "where k is larger than N, all N are wanted, best first"
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


def search(rows: int, dim: int, k: int, seed: int, *hints: str) -> Case:
    """A query among `rows` embeddings of any length."""
    emb, queries = pairs.batch(rows, dim, seed)
    return Case((queries[seed % rows], emb, k), f"N = {rows}, D = {dim}, k = {k}", hints)


def with_zeros() -> Case:
    """A search in which two rows have no direction, and others a cosine below 0."""
    emb, queries = pairs.batch(8, 5, 11)
    emb[2], emb[5] = 0, 0
    return Case((queries[1], emb, 8), "an emb with two rows of zeros", (ZERO,))


def with_lengths(rows: int, dim: int, k: int, seed: int) -> Case:
    """A search among rows of very different lengths."""
    emb, queries = pairs.batch(rows, dim, seed)
    hint = "short or long rows go wrong: the length of a row should not matter"
    about = f"rows of lengths 0.05 to 1000 (N = {rows}, D = {dim}, k = {k})"
    return Case((queries[2], unit(emb) * lengths(rows), k), about, (hint,))


def near_ties() -> Case:
    """A search among 300 directions, many of them nearly alike."""
    order = torch.randperm(300, generator=torch.Generator().manual_seed(8), device="cpu")
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
        ("a query of zeros has similarity 0 to every row, so all rows tie", TIES),
    ),
    Case((signs(6, 1)[0], signs(7, 2), 7), "seven rows with cosines that tie", (TIES,)),
    Case((signs(6, 3)[0], signs(80, 4), 50), "80 rows with cosines that tie", (TIES,)),
    search(4, 6, 10, 6, MORE),
    Case(
        (HAND_QUERY, HAND_ROWS, 3),
        "query_emb = [2, 0] and emb = [[9, 12], [0, 1], [4, 3], [8, 6]] (cosines 0.6, 0, 0.8, 0.8)",
        (TIES, SIZE),
    ),
]
TOP_TASK = Task(
    name="top_k",
    right=top_k,
    cases=TOP_CASES,
    mistakes=[
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
    ],
    has_gradient=False,
    half=False,
    remark=(
        "This is exact search: every row is compared. With a million rows it still answers many "
        "queries a second (lesson 11)."
    ),
)


# ---------------------------------------------------------------------------------------------
# Task 2: recall at 1

CONSTANT = (
    "a model that gives everything the same embedding should get 100 / N, as chance does: a query "
    "whose own answer ties with others for the first place counts 1 / (how many tie, its own "
    "included)"
)
TIED = (
    "a query whose own answer ties for the first place counts 1 / (how many tie, its own included)"
)


def shared(s: Tensor) -> Tensor:
    """What each row's query counts: 1 if its own is above all, less where others tie with it."""
    own = s.diagonal()[:, None]
    return ((s > own).sum(1) == 0) / (s >= own).sum(1)


def recall_at_1(
    image_emb: Tensor,
    text_emb: Tensor,
    *,
    normalise: Formula = lambda i, t: (unit(i), unit(t)),
    product: Formula = lambda i, t: i @ t.T,
    turned: Formula = lambda s: (s, s.T),
    counts: Formula = shared,
    share: Formula = lambda hits: 100 * hits.double().mean(),
    result: Formula = lambda i2t, t2i: (i2t, t2i),
) -> Any:
    """(i2t, t2i), in percent: the share of images, and of texts, whose own partner comes first."""
    ways = turned(product(*normalise(image_emb, text_emb)))
    found = result(*(share(counts(way).to(image_emb.dtype)) for way in ways))
    return tuple(map(float, found)) if isinstance(found, tuple) else float(found)


def in_five(s: Tensor) -> Tensor:
    """A wrong `counts`: whether the own answer is among the first five."""
    own = torch.arange(len(s), device=s.device)[:, None]
    return (s.topk(min(5, len(s)), dim=1).indices == own).any(dim=1)


def at_argmax(s: Tensor) -> Tensor:
    """A wrong `counts`: the first of several equal maxima is taken."""
    return s.argmax(dim=1) == torch.arange(len(s), device=s.device)


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
        (unit(RECALL_LENGTHS[0]) * lengths(11), unit(RECALL_LENGTHS[1]) * lengths(11).flip(0)),
        "rows of lengths from 0.05 to 1000",
        "short or long rows go wrong: the length of a row should not matter",
    ),
    pairs.case(RECALL_ZEROS, "a row of zeros in each branch", ZERO),
    pairs.case((PERMUTED[0], PERMUTED[0].roll(1, 0)), "texts in a wrong order (recall 0)"),
    pairs.case((PERMUTED[0], 3 * PERMUTED[0]), "equal embeddings of image and text (recall 100)"),
    pairs.case((signs(10, 5), signs(10, 5).roll(2, 1)), "cosines that tie", TIED),
    pairs.case((signs(24, 6), signs(24, 6)), "a positive of 1 that others tie with", TIED),
    pairs.case(
        (torch.ones(8, 4, dtype=torch.float64), torch.ones(8, 4, dtype=torch.float64)),
        "a model that gives everything the same embedding",
        CONSTANT,
        TIED,
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
    right=recall_at_1,
    cases=RECALL_CASES,
    mistakes=[
        *mistakes(
            {},
            share={
                "a share from 0 to 1 is returned: percent are wanted, 100 times that": (
                    lambda hits: hits.mean()
                ),
                "the hits are counted: divide by the number of queries, N, and multiply by 100": (
                    lambda hits: hits.sum()
                ),
                "the hits are added up and not divided by their number, N": (
                    lambda hits: 100 * hits.sum()
                ),
                "the percentages are rounded: return them as they are": (
                    lambda hits: (100 * hits.mean()).round()
                ),
                "the percentages are cut to whole numbers: return them as they are": (
                    lambda hits: (100 * hits.mean()).floor()
                ),
                "these are misses, the share of wrong answers: 100 - recall": (
                    lambda hits: 100 * (1 - hits.mean())
                ),
            },
            result={
                "the two directions are swapped: the images' recall (rows of the similarities as "
                "queries) comes first": lambda a, b: (b, a),
                "the images' recall is returned twice: the texts ask in similarity.T, along a "
                "column": lambda a, b: (a, a),
                "the texts' recall is returned twice: the images ask along a row": (
                    lambda a, b: (b, b)
                ),
            },
            turned={
                "images are compared with images where the images ask: each asks for a text": (
                    lambda s: (s, s)
                ),
            },
            counts={
                "a tie counts as found, so that a model that gives everything the same embedding "
                f"would get 100: {TIED}": lambda s: (s > s.diagonal()[:, None]).sum(1) == 0,
                f"a tie counts as a miss: {TIED}": (
                    lambda s: (s >= s.diagonal()[:, None]).sum(1) == 1
                ),
                "of several equal scores argmax takes the first, so a tie is decided by the order "
                f"of the rows: {TIED}": at_argmax,
                "one of the first five is enough: this is recall at 5": (
                    lambda s: (s > s.diagonal()[:, None]).sum(1) < 5
                ),
                "the first five are looked at: this is recall at 5": in_five,
                "the second place counts as found, too: the own answer may have none above it": (
                    lambda s: (s > s.diagonal()[:, None]).sum(1) < 2
                ),
                "the wrong axis: the positive of a row is diagonal()[:, None], and what is above "
                "it is counted along that row, dim=1": (
                    lambda s: ((s > s.diagonal()).sum(1) == 0) / (s >= s.diagonal()).sum(1)
                ),
                "the lowest score is taken for the best: a high cosine means alike": (
                    lambda s: shared(-s)
                ),
                "the reciprocal of the rank is averaged (MRR): only the first place counts": (
                    lambda s: 1 / (s >= s.diagonal()[:, None]).sum(1)
                ),
            },
        ),
        *mistakes(
            {},
            product={
                "images are compared with images, or texts with texts: each asks for the other": (
                    lambda i, t: i @ i.T
                ),
            },
        ),
        *(one for one in pairs.WRONG_COSINES if "(1 + cosine) / 2" not in one.says),  # same order
        Mistake(
            f"a row of zeros is divided by its length 0 and becomes NaN: {ZERO}",
            {"normalise": lambda i, t: (raw(i), raw(t))},
        ),
    ],
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
    right=heads.train_heads,
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
