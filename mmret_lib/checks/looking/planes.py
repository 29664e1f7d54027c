"""Principal component analysis onto two directions, in steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Case, Formula, mistakes

SIZE = "a size is fixed in the code: take N and D from emb.shape"
SIGN = (
    "each column's sign should be such that its entry with the largest absolute value is positive: "
    "look for it among the N coordinates of that column"
)
NARROW = (
    "with one dimension (D = 1) or one row there is no second direction: the second column is 0, "
    "and the shape is (N, 2) all the same"
)
FLAT = "where all rows are alike, or lie on one line, the coordinates without variance are 0"
OFFSET = (
    "far from zero it goes wrong: first subtract the mean of the rows, then compute with the rest"
)


def directions(x: Tensor) -> Tensor:
    """The directions (D, r) of rows (N, D) without their mean, by falling variance."""
    right: Tensor = torch.linalg.svd(x, full_matrices=False).Vh.mT
    return right


def first_two(v: Tensor) -> Tensor:
    """The first two of directions (D, r); one of zeros where there is one alone."""
    return F.pad(v, (0, max(0, 2 - v.shape[1])))[:, :2]


def largest_positive(plane: Tensor) -> Tensor:
    """Turn the columns so that the entry with the largest absolute value is positive."""
    largest = plane.gather(0, plane.abs().argmax(dim=0, keepdim=True))
    return plane * torch.where(largest < 0, -1, 1)


def principal_plane(
    emb: Tensor,
    *,
    rows: Formula = lambda e: e,
    centred: Formula = lambda e: e - e.mean(dim=0),
    found: Formula = directions,
    chosen: Formula = first_two,
    coordinates: Formula = lambda e, x, v: x @ v,
    turned: Formula = largest_positive,
) -> Tensor:
    """(N, 2), the coordinates along the two directions of the largest variance."""
    e = rows(emb.detach())
    x = centred(e)
    plane: Tensor = turned(coordinates(e, x, chosen(found(x))))
    return plane


def from_the_end(x: Tensor) -> Tensor:
    """A wrong `found`: the directions by rising variance, as eigh gives them."""
    right: Tensor = torch.linalg.svd(x, full_matrices=x.shape[0] < x.shape[1]).Vh.mT
    return right.flip(1)


def left(e: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """Wrong coordinates: the left singular vectors, all of the same variance."""
    return first_two(torch.linalg.svd(x, full_matrices=False).U)


def scaled(by: Callable[[Tensor, Tensor], Tensor | float]) -> Formula:
    """Wrong coordinates: divided by something."""
    return lambda e, x, v: x @ v / by(x, x @ v)


def deviation(x: Tensor, plane: Tensor) -> Tensor:
    """The standard deviation of each column, 1 where it has none."""
    size = plane.square().mean(dim=0).sqrt()
    return size.where(size > 1e-6, 1)


def by_direction(e: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """Wrong coordinates: the direction's own largest entry is made positive."""
    return x @ largest_positive(v)


def same_signs(choice: Formula) -> Formula:
    """A wrong `turned`: by another entry or number of each column."""

    def wrong(plane: Tensor) -> Tensor:
        turn: Tensor = plane * torch.where(choice(plane) < 0, -1, 1)
        return turn

    return wrong


REMEDIES = {
    "rows": "take the rows as they are",
    "centred": "subtract the mean of the rows, emb.mean(dim=0), from each row",
    "found": "the directions are the eigenvectors of the covariance matrix (D, D), or the right "
    "singular vectors of the rows without their mean",
    "chosen": "take the two directions of the largest variance, that of the very largest first",
    "coordinates": "the coordinates are the dot products of (row - mean) with the two directions, "
    "which have length 1",
    "turned": SIGN,
}
# e are the rows (N, D), x the rows less their mean, v directions (D, 2), p coordinates (N, 2).
MISTAKES = mistakes(
    REMEDIES,
    turned={
        "the signs are left as the decomposition gives them": lambda p: p,
        "the largest absolute value is made negative": lambda p: -largest_positive(p),
        "the first row's coordinates are made positive": same_signs(lambda p: p[:1]),
        "the last row's coordinates are made positive": same_signs(lambda p: p[-1:]),
        "the sign of the sum of the coordinates decides, which is 0 but for rounding": same_signs(
            lambda p: p.sum(dim=0, keepdim=True)
        ),
        "the median decides": same_signs(lambda p: p.median(dim=0, keepdim=True).values),
        "one sign is taken for both columns, each has its own: by the largest of all entries": (
            lambda p: p * p.flatten()[p.abs().argmax()].sign()
        ),
        "both columns are turned by the first one's sign, each has its own": lambda p: (
            p * (largest_positive(p)[:, :1] * p[:, :1]).sum().sign()
        ),
        "absolute values are returned, which folds the drawing: turn the whole column": torch.abs,
        "the two columns are swapped: the direction of the largest variance comes first": (
            lambda p: largest_positive(p).flip(1)
        ),
        "only the first column is turned": lambda p: torch.cat(
            [largest_positive(p)[:, :1], p[:, 1:]], 1
        ),
    },
    centred={
        "the mean is not subtracted": lambda e: e,
        "each row's own mean is subtracted": lambda e: e - e.mean(dim=1, keepdim=True),
        "one mean over all entries is subtracted": lambda e: e - e.mean(),
        "the median is subtracted and not the mean": lambda e: e - e.median(dim=0).values,
        "the rows are normalised after the mean is subtracted: take them as they are": lambda e: (
            F.normalize(e - e.mean(dim=0), dim=1)
        ),
        "the first row is subtracted": lambda e: e - e[:1],
        "the dimensions are divided by their standard deviations, which makes each as important "
        "as another: only subtract the mean": lambda e: (
            (e - e.mean(0)) / e.std(0).nan_to_num(1).where(e.std(0) > 1e-9, 1)
        ),
    },
    rows={
        "the rows are normalised": lambda e: F.normalize(e, dim=1),
        "the columns are normalised": lambda e: F.normalize(e, dim=0),
    },
    chosen={
        "the two directions of the smallest variance are taken (eigh sorts its eigenvalues from "
        "the smallest to the largest)": lambda v: v.flip(1)[:, :2],
        "the two directions are swapped (eigh sorts its eigenvalues from the smallest to the "
        "largest, so [:, -2:] has the very largest last)": lambda v: first_two(v[:, :2].flip(1)),
        "the second and third directions are taken": lambda v: F.pad(v, (0, 2))[:, 1:3],
        "the first direction is taken twice": lambda v: v[:, :1].expand(-1, 2),
    },
    found={
        "torch.linalg.eig promises no order of its eigenvalues: eigh sorts them, from the smallest "
        "to the largest": lambda x: torch.linalg.eig(x.mT @ x).eigenvectors.real,
        "rows and columns of the directions are mixed up (torch.linalg.svd returns Vh, whose rows "
        "are the directions; eigh returns eigenvectors as columns)": lambda x: (
            torch.linalg.svd(x).Vh
        ),
        "the dimensions are taken as they are, without a decomposition": lambda x: torch.eye(
            x.shape[1], dtype=x.dtype, device=x.device
        ),
        "the dimensions with the largest variances are taken, without a decomposition": lambda x: (
            torch.eye(x.shape[1], dtype=x.dtype)[:, x.square().sum(0).argsort(descending=True)]
        ),
        "the covariance of the rows is decomposed, (N, N), and not that of the dimensions": (
            lambda x: torch.linalg.eigh(x @ x.T)[1].flip(1)
        ),
        "the directions of the smallest variance come first (eigh sorts its eigenvalues from the "
        "smallest to the largest): the largest are wanted": from_the_end,
    },
    coordinates={
        "the mean is subtracted for the directions alone: project row - mean onto them": (
            lambda e, x, v: e @ v
        ),
        "these are the left singular vectors, of length 1 in each column: multiply them by the "
        "singular values, or project the rows": left,
        "the coordinates are divided by their standard deviations (whitened)": scaled(deviation),
        "the coordinates are divided by the largest of them": scaled(
            lambda x, p: p.abs().amax().clamp(min=1e-9)
        ),
        "the coordinates are divided by the root of N": scaled(lambda x, p: len(x) ** 0.5),
        "the coordinates are divided by the root of N - 1": scaled(
            lambda x, p: max(len(x) - 1, 1) ** 0.5
        ),
        "the coordinates are multiplied by the singular values once more": lambda e, x, v: (
            x @ v * (x @ v).norm(dim=0)
        ),
        "the coordinates are multiplied by the variances": lambda e, x, v: (
            x @ v * (x @ v).square().mean(dim=0)
        ),
        "the result is transposed: (N, 2), a row for each embedding": lambda e, x, v: (x @ v).T,
        "the directions are returned and not the coordinates": lambda e, x, v: v,
        "the rows are drawn back into D dimensions": lambda e, x, v: x @ v @ v.T,
    },
    several={
        "the sign is chosen by the direction's own entries: choose it by the coordinates, the "
        "entries of the column": {"coordinates": by_direction, "turned": lambda p: p},
        "nothing is subtracted, neither before the decomposition nor after, and the signs are "
        "left: subtract the mean of the rows first": {
            "centred": lambda e: e,
            "turned": lambda p: p,
        },
    },
)


def cloud(rows: int, dim: int, seed: int, offset: float = 3) -> Tensor:
    """Rows (N, D) with a variance of their own along each of D slanting directions."""
    generator = seeded(seed)
    draw, mix = (
        torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu")
        for shape in ((rows, dim), (dim, dim))
    )
    widths = 2 * 0.6 ** torch.arange(dim, dtype=torch.float64, device="cpu")
    skewed = draw + 0.3 * draw.square()
    embeddings: Tensor = skewed * widths @ torch.linalg.qr(mix)[0] + offset * mix[0]
    return embeddings


def line(rows: int, dim: int) -> Tensor:
    """Rows on one line."""
    along = torch.arange(rows, dtype=torch.float64, device="cpu").square()
    return 0.1 * along[:, None] * torch.linspace(0.5, -0.2, dim, dtype=torch.float64) + 1


HAND = torch.tensor([[4.0, 0], [4, 5], [6, 5], [3, 7], [3, 3]], dtype=torch.float64, device="cpu")
CASES = [
    Case((cloud(9, 4, 1),), "9 rows of 4 numbers each"),
    Case((cloud(7, 4, 3),), "7 rows of 4 numbers each", (SIGN,)),
    Case((cloud(12, 4, 5),), "12 rows of 4 numbers each", (SIGN, SIZE)),
    Case((cloud(30, 6, 2),), "30 rows of 6 numbers each", (SIZE, SIGN)),
    Case((cloud(4, 9, 3),), "4 rows of 9 numbers each", (SIZE, SIGN)),
    Case((cloud(20, 3, 8, 60),), "rows far from zero", (OFFSET,)),
    Case((cloud(6, 2, 4),), "6 rows of 2 numbers each", (SIZE, SIGN)),
    Case((line(5, 3),), "five rows on one line", (FLAT, NARROW)),
    Case((cloud(5, 1, 6) / 10,), "5 rows of 1 number each", (NARROW,)),
    Case((cloud(1, 3, 7),), "a single row", (NARROW, FLAT)),
    Case((torch.full((4, 3), 0.5, dtype=torch.float64),), "four rows that are all alike", (FLAT,)),
    Case((HAND,), "emb = [[4, 0], [4, 5], [6, 5], [3, 7], [3, 3]]", (SIZE, SIGN)),
]
