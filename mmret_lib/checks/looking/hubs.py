"""How often each answer is among the first k, and how skewed these counts are: in steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.arguments import close
from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Case, Formula, Mistake, mistakes

TIES = (
    "answers that tie for the last places share them: each counts (places left after the better "
    "ones) / (how many tie)"
)
EVEN = "where all counts are equal there is no hub: the skewness is 0, and not 0 / 0"
K = "k is fixed in the code: take the argument"
SIZE = "a size is fixed in the code: take the numbers of queries and answers from similarity.shape"
WIDE = (
    "the queries are the rows and the answers the columns, and there need not be equally many: "
    "each row chooses k of its entries, and the counts are of the columns"
)


def places(s: Tensor, k: int) -> Tensor:
    """(Q, N): how much of a place among the first k each query gives to each answer."""
    least = s.topk(k, dim=1).values[:, -1:]
    above, tied = (s > least).to(s.dtype), (s == least).to(s.dtype)
    shares: Tensor = above + tied * (k - above.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)
    return shares


def moment(counts: Tensor, power: int) -> Tensor:
    """The mean of a power of the distance from the mean."""
    return (counts - counts.mean()).pow(power).mean()


def third(counts: Tensor) -> Tensor:
    """The skewness; 0 where all counts are equal."""
    return moment(counts, 3) / moment(counts, 2).sqrt().clamp(min=1e-6) ** 3


def hubness(
    similarity: Tensor,
    k: int,
    *,
    chosen: Formula = places,
    total: Formula = lambda shares: shares.sum(dim=0),
    skew: Formula = third,
    result: Formula = lambda counts, skewness: (counts, skewness),
) -> Any:
    """How often each answer is among the first k of a query, (N,), and the counts' skewness."""
    counts = total(chosen(similarity.detach(), k))
    return result(counts, float(skew(counts)))


def marked(order: Formula) -> Formula:
    """A wrong `chosen`: the first k of some order, whatever ties."""

    def wrong(s: Tensor, k: int) -> Tensor:
        return torch.zeros_like(s).scatter(1, order(s)[:, :k], 1)

    return wrong


def tied_count(worth: Formula) -> Formula:
    """A wrong `chosen`: what an answer gets that ties depends on how many tie, and on no more."""

    def wrong(s: Tensor, k: int) -> Tensor:
        least = s.topk(k, dim=1).values[:, -1:]
        tied = (s == least).to(s.dtype)
        shares: Tensor = (s > least) + tied * worth(tied.sum(1, keepdim=True))
        return shares

    return wrong


def per_place(s: Tensor, k: int) -> Tensor:
    """A wrong `chosen`: a first place counts 1, a second 1/2, a third 1/3."""
    order = s.argsort(dim=1, descending=True)[:, :k]
    worth = 1 / torch.arange(1, k + 1, dtype=s.dtype, device=s.device)
    shares: Tensor = torch.zeros_like(s).scatter(1, order, worth.expand_as(order))
    return shares


def by(power: float) -> Formula:
    """A wrong `skew`: the third moment divided by another power of the deviation."""
    return lambda c: moment(c, 3) / moment(c, 2).clamp(min=1e-12) ** (power / 2)


def unbiased(counts: Tensor) -> Tensor:
    """A wrong `skew`: the deviation is divided by N - 1."""
    return moment(counts, 3) / counts.std().clamp(min=1e-6) ** 3


def corrected(counts: Tensor) -> Tensor:
    """A wrong `skew`: the sample's, as statistics programs print it."""
    n = len(counts)
    return third(counts) * math.sqrt(n * (n - 1)) / (n - 2)


REMEDIES = {
    "chosen": "each query, a row, gives k places in all, to the k answers most similar to it",
    "total": "add up, for each answer (a column), what all queries give it: sum(dim=0)",
    "skew": "the mean of (count - mean)³, divided by the cube of the standard deviation, which is "
    "the root of the mean of (count - mean)²",
    "result": "(counts, skewness) is wanted",
}
# s is the similarity (Q, N), c the counts (N,).
MISTAKES = [
    *mistakes(
        REMEDIES,
        chosen={
            "the places are given by the columns: each query is a row, and chooses k answers": (
                lambda s, k: places(s.T, min(k, len(s))).T
            ),
            "the k least similar answers are chosen": lambda s, k: places(-s, k),
            f"answers that tie for the last places all count in full: {TIES}": (
                lambda s, k: (s >= s.topk(k, dim=1).values[:, -1:]).to(s.dtype)
            ),
            f"answers that tie for the last places are not counted: {TIES}": (
                lambda s, k: (s > s.topk(k, dim=1).values[:, -1:]).to(s.dtype)
            ),
            f"of answers that tie, the ones with the lower index are taken: {TIES}": marked(
                lambda s: s.argsort(dim=1, descending=True, stable=True)
            ),
            f"of answers that tie, the ones with the higher index are taken: {TIES}": marked(
                lambda s: s.argsort(dim=1, stable=True).flip(1)
            ),
            f"each answer that ties for the last places counts 1 / (how many tie), although more "
            f"than one place may be left: {TIES}": tied_count(lambda many: 1 / many),
            f"each answer that ties for the last places counts a half: {TIES}": tied_count(
                lambda many: (many == 1) + 0.5 * (many > 1)
            ),
            "only the first answer counts, whatever k is: take the k best of each row": (
                lambda s, k: places(s, 1)
            ),
            "one answer too many is counted": lambda s, k: places(s, min(k + 1, s.shape[1])),
            "one answer too few is counted": lambda s, k: places(s, max(k - 1, 1)),
            "the k-th answer alone is counted, and not those before it": lambda s, k: (
                places(s, k) - (places(s, k - 1) if k > 1 else 0)
            ),
            "the similarities are added up, not the places: count how often an answer is chosen": (
                lambda s, k: places(s, k) * s
            ),
            "an answer counts 1 / its place: among the first k, all places count the same, 1": (
                per_place
            ),
            "the diagonal is left out: a right answer counts as any other": lambda s, k: (
                places(s, k) * (1 - torch.eye(*s.shape, dtype=s.dtype))
            ),
        },
        total={
            "the places are added up for each query, which is k for all of them": (
                lambda shares: shares.sum(dim=1)
            ),
            "the counts are divided by the number of queries: they are numbers of queries": (
                lambda shares: shares.mean(dim=0)
            ),
            "the counts are in percent of the queries: they are numbers of queries": (
                lambda shares: 100 * shares.mean(dim=0)
            ),
            "the counts are divided by their sum, Q · k: they are numbers of queries": (
                lambda shares: shares.sum(dim=0) / shares.sum()
            ),
            "the counts are divided by k: they are numbers of queries": (
                lambda shares: shares.sum(dim=0) / shares.sum(dim=1)[0]
            ),
            "the counts are divided by their mean, what each would get by chance: they are "
            "numbers of queries": lambda shares: shares.sum(dim=0) / shares.sum(dim=0).mean(),
            "the mean is subtracted from the counts, too: only the skewness takes it away": (
                lambda shares: shares.sum(dim=0) - shares.sum(dim=0).mean()
            ),
            "the counts are sorted: they stand in the order of the answers": (
                lambda shares: shares.sum(dim=0).sort(descending=True).values
            ),
            "the fractions of a place are rounded": lambda shares: shares.sum(dim=0).round(),
            "the fractions of a place are cut off": lambda shares: shares.sum(dim=0).floor(),
        },
        skew={
            f"all counts equal give 0 / 0, which is NaN: {EVEN}": (
                lambda c: moment(c, 3) / moment(c, 2) ** 1.5
            ),
            "the standard deviation divides by N - 1": unbiased,
            f"the standard deviation divides by N - 1, and all counts equal give NaN: {EVEN}; and "
            "the mean of the squares divides by N": lambda c: moment(c, 3) / c.std() ** 3,
            "the skewness is corrected for a sample: the plain one is wanted": corrected,
            "the third moment is not divided": lambda c: moment(c, 3),
            "the third moment is divided by the deviation, not by its cube": by(1),
            "the third moment is divided by the variance, not by the deviation's cube": by(2),
            "the third moment is divided by the variance's cube, not by the deviation's": by(6),
            "the fourth power is taken, which is the kurtosis": (
                lambda c: moment(c, 4) / moment(c, 2).clamp(min=1e-12) ** 2
            ),
            "the fourth power is taken, which is the kurtosis, with 3 subtracted": (
                lambda c: moment(c, 4) / moment(c, 2).clamp(min=1e-12) ** 2 - 3
            ),
            "the distances are taken as absolute values, which hides their sign": lambda c: (
                (c - c.mean()).abs().pow(3).mean() / moment(c, 2).sqrt().clamp(min=1e-6) ** 3
            ),
            "the mean is not subtracted": lambda c: (
                c.pow(3).mean() / moment(c, 2).sqrt().clamp(min=1e-6) ** 3
            ),
            "the median is subtracted and not the mean": lambda c: (
                (c - c.median()).pow(3).mean() / moment(c, 2).sqrt().clamp(min=1e-6) ** 3
            ),
            "the cubes are added up and not averaged": lambda c: len(c) * third(c),
            "the sign is turned round: count - mean, and not mean - count": lambda c: -third(c),
            "this is mean less median in deviations (Pearson's skewness)": lambda c: (
                3 * (c.mean() - c.median()) / moment(c, 2).sqrt().clamp(min=1e-6)
            ),
            "this is the standard deviation": lambda c: moment(c, 2).sqrt(),
            "this is the variance": lambda c: moment(c, 2),
            "this is the largest count": lambda c: c.max(),
            "this is the largest count divided by the mean": lambda c: c.max() / c.mean(),
        },
        result={
            "counts and skewness are swapped": lambda counts, skewness: (skewness, counts),
        },
    ),
    Mistake(
        "the skewness is that of the similarities: that of the counts is wanted",
        lambda similarity, k: (
            places(similarity, k).sum(dim=0),
            float(third(similarity.flatten())),
        ),
    ),
]


def drawn(queries: int, answers: int, k: int, seed: int, *hints: str, pull: float = 1) -> Case:
    """Queries among answers some of which are liked by all."""
    generator = seeded(seed)
    size = {"generator": generator, "dtype": torch.float64, "device": "cpu"}
    liked = pull * torch.randn(answers, **size)  # type: ignore[call-overload]
    own = torch.randn(queries, answers, **size)  # type: ignore[call-overload]
    about = f"{queries} queries, {answers} answers and k = {k}"
    return Case(((liked + own) / 4, k), about, hints)


def coarse(queries: int, answers: int, k: int, seed: int) -> Case:
    """Similarities that are multiples of a quarter, so that many of a row tie."""
    (similarity, _) = drawn(queries, answers, k, seed).args
    rounded = (4 * similarity).round() / 4
    return Case((rounded, k), f"similarities that tie ({queries} queries, k = {k})", (TIES,))


HAND = torch.tensor(
    [[0.9, 0.5, 0.5, 0.1], [0.2, 0.8, 0.1, 0.3], [0.7, 0.6, 0.2, 0.6]],
    dtype=torch.float64,
    device="cpu",
)
CASES = [
    drawn(6, 6, 2, 1),
    drawn(5, 9, 3, 2, WIDE, SIZE, K),
    drawn(12, 4, 1, 3, K, WIDE, SIZE),
    drawn(40, 30, 7, 4, K, WIDE, SIZE),
    drawn(30, 8, 3, 7, "the skewness may be below 0", K, WIDE, SIZE, pull=0.2),
    coarse(8, 6, 2, 5),
    coarse(20, 16, 5, 6),
    Case(
        (torch.full((6, 8), 0.25, dtype=torch.float64, device="cpu"), 2),
        "a model that finds everything equally similar",
        (TIES, EVEN),
    ),
    Case((drawn(5, 4, 4, 8).args[0], 4), "k as large as the number of answers", (EVEN, K)),
    Case(
        (HAND, 2),
        "the rows (0.9, 0.5, 0.5, 0.1), (0.2, 0.8, 0.1, 0.3), (0.7, 0.6, 0.2, 0.6) and k = 2",
        (TIES, SIZE),
    ),
]


def symptom(answers: Sequence[Any]) -> str | None:
    """The answers to `CASES` have the right counts, and a skewness that no mistake explains."""
    right = [hubness(*case.args)[0] for case in CASES]
    if all(close(one[0], counts) for one, counts in zip(answers, right, strict=True)):
        return (
            f"the counts are right, their skewness is not: {REMEDIES['skew']}. Is it rounded, or a "
            "constant such as an epsilon too large?"
        )
    return None
