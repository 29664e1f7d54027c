"""What tasks on a batch of pairs share: batches, the cosine similarity, and common mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Case, Formula, mistakes

SIZE = "a size is fixed in the code: take B and D from the arguments (image_emb.shape)"
HAND = (
    "image_emb = [[1, 0], [3, 4]] and text_emb = [[4, 3], [0, 2]] (cosines [[0.8, 0], [0.96, 0.8]])"
)


def batch(size: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Make embeddings (B, D) of any length, in float64, whose positives are similar."""
    generator = seeded(seed)
    shared, image_own, text_own = torch.randn(
        3, size, dim, generator=generator, dtype=torch.float64, device="cpu"
    )
    return 2 * (shared + image_own) + 0.3, shared + text_own


def by_hand() -> tuple[Tensor, Tensor]:
    """Make two pairs to be computed on paper, described by `HAND`."""
    image_emb = torch.tensor([[1.0, 0.0], [3.0, 4.0]], dtype=torch.float64, device="cpu")
    text_emb = torch.tensor([[4.0, 3.0], [0.0, 2.0]], dtype=torch.float64, device="cpu")
    return image_emb, text_emb


def case(args: Sequence[Any], about: str = "", *hints: str, smooth: bool = True) -> Case:
    """Make a case, described by its sizes if `about` is empty."""
    size, dim = args[0].shape
    return Case(tuple(args), about or f"{size} pairs of {dim} numbers each", hints, smooth)


def each(scale: Formula) -> Formula:
    """A `normalise` that does the same to both branches."""
    return lambda i, t: (scale(i), scale(t))


def cosines(
    image_emb: Tensor,
    text_emb: Tensor,
    *,
    rows: Formula = lambda e: e,
    normalise: Formula = lambda i, t: (F.normalize(i), F.normalize(t)),
    product: Formula = lambda i, t: i @ t.T,
) -> Tensor:
    """Compute the cosine of every image with every text, (B, B); 0 for a row of zeros."""
    similarity: Tensor = product(*normalise(rows(image_emb), rows(text_emb)))
    return similarity


def divided(length: Formula) -> Formula:
    """A `normalise` that divides each row by `length` of it."""
    return each(lambda e: e / length(e).where(length(e) != 0, 1))


def norm(e: Tensor) -> Tensor:
    """Compute the lengths of the rows, (B, 1)."""
    lengths: Tensor = e.norm(dim=1, keepdim=True)
    return lengths


REMEDIES = {
    "normalise": "divide each row, of images and of texts, by its length (the root of the sum of "
    "its squares; dim=1, keepdim=True) before the product",
    "product": "take the dot products of image rows and text rows as they are, from -1 to 1, where "
    "larger means more similar",
    "directions": "the two directions, rows and columns as queries, should be added",
}
# i and t are the embeddings of images and texts, e those of either.
WRONG_COSINES = mistakes(
    REMEDIES,
    normalise={
        "the rows are not normalised": each(lambda e: e),
        "normalised over the wrong axis": each(lambda e: F.normalize(e, dim=0)),
        "only the image rows are normalised": lambda i, t: (F.normalize(i), t),
        "only the text rows are normalised": lambda i, t: (i, F.normalize(t)),
        "divided by the squared length, a square root is missing": divided(lambda e: norm(e) ** 2),
        "divided by the square root of the length": divided(lambda e: norm(e).sqrt()),
        "divided by the sum of the absolute values": each(lambda e: F.normalize(e, p=1)),
        "divided by one norm of the whole matrix": each(lambda e: e / e.norm()),
        "divided by each row's largest entry": each(lambda e: e / e.abs().amax(1, keepdim=True)),
        "standardised (minus mean, by standard deviation)": (
            each(lambda e: (e - e.mean(1, keepdim=True)) / e.std(1, keepdim=True))
        ),
        "a softmax is taken of the rows": each(lambda e: e.softmax(dim=1)),
    },
    rows={
        "the batch mean is subtracted, which makes it a correlation: take the rows as they are": (
            lambda e: e - e.mean(dim=0)
        )
    },
    product={
        "images are compared with images": lambda i, t: i @ i.T,
        "texts are compared with texts": lambda i, t: t @ t.T,
        "1 - cosine is a distance": lambda i, t: 1 - i @ t.T,
        "a Euclidean distance is taken": lambda i, t: -torch.cdist(i, t),
        "the absolute value hides which way a cosine points": lambda i, t: (i @ t.T).abs(),
        "negative cosines are cut off": lambda i, t: (i @ t.T).relu(),
        "(1 + cosine) / 2 goes from 0 to 1": lambda i, t: (i @ t.T + 1) / 2,
        "a softmax is taken over the texts": lambda i, t: (i @ t.T).softmax(dim=1),
    },
)
WRONG_COSINE_GRADIENTS = mistakes(
    {},
    normalise={
        "the lengths are detached: a row's length depends on the row, so normalise outside "
        "torch.no_grad and without .detach()": divided(lambda e: norm(e.detach()))
    },
    product={
        "the images are detached": lambda i, t: i.detach() @ t.T,
        "the texts are detached": lambda i, t: i @ t.detach().T,
    },
)

# i and t are the costs of images and of texts as queries, each (B,).
WRONG_DIRECTIONS = mistakes(
    REMEDIES,
    directions={
        "one direction only: the texts as queries (similarity.T) are missing": lambda i, t: i,
        "one direction only: the images as queries (rows) are missing": lambda i, t: t,
        "the mean of the two directions is taken, so half of it": lambda i, t: (i + t) / 2,
        "the direction image -> texts is counted twice: the other should take the columns of the "
        "matrix, similarity.T": lambda i, t: 2 * i,
        "the direction texts -> images is counted twice: where the images are the queries, a row's "
        "positive is diagonal()[:, None] and not diagonal()": lambda i, t: 2 * t,
        "of the two directions the larger is taken": torch.maximum,
        "of the two directions the smaller is taken": torch.minimum,
        "the second direction is subtracted": torch.sub,
    },
)
WRONG_DIRECTION_GRADIENTS = mistakes(
    {},
    directions={
        "the direction image -> texts is detached": lambda i, t: i.detach() + t,
        "the direction text -> images is detached": lambda i, t: i + t.detach(),
    },
)
