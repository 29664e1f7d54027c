"""The distance of the two branches' means, and its part in all distances: in steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.arguments import close
from mmret_lib.checks.engine.task import Case, Formula, mistakes

SIZE = (
    "a size is fixed in the code, or one is used for the other: there may be more texts than "
    "images, or fewer, so take each mean over its own rows"
)
ZERO = "a row of zeros stays a row of zeros, and counts in the means (F.normalize does this)"
EQUAL = "where all embeddings are equal the share is 0, and not 0 / 0"
CLOSE = (
    "where all embeddings lie close together the divisor is small, and is taken as it is: only "
    "keep it from 0, as with clamp(min=1e-12)"
)
LENGTHS = (
    "short or long rows go wrong: bring every row to length 1 first, as a cosine does not see "
    "lengths"
)


def unit(emb: Tensor) -> Tensor:
    """Rows of length 1; zeros stay zeros."""
    return F.normalize(emb, dim=1)


def all_pairs(i: Tensor, t: Tensor) -> Tensor:
    """The mean squared distance of an image and a text, over all pairs of both."""
    return (i[:, None] - t).square().sum(dim=2).mean()


def ratio(gap: Tensor, total: Tensor) -> Tensor:
    """gap² / total; 0 where total is 0."""
    return gap.square() / total.clamp(min=1e-12)


def modality_gap(
    image_emb: Tensor,
    text_emb: Tensor,
    *,
    normalise: Formula = lambda i, t: (unit(i), unit(t)),
    centre: Formula = lambda e: e.mean(dim=0),
    distance: Formula = lambda a, b: (a - b).norm(),
    whole: Formula = all_pairs,
    share: Formula = ratio,
    result: Formula = lambda gap, part: (gap, part),
) -> Any:
    """(gap, share): the distance of the means, and its part in the distances of all pairs."""
    i, t = normalise(image_emb.detach(), text_emb.detach())
    gap = distance(centre(i), centre(t))
    found = result(gap, share(gap, whole(i, t)))
    return tuple(one.tolist() for one in found)


def each(change: Formula) -> Formula:
    """A `normalise` that does the same to both branches."""
    return lambda i, t: (change(i), change(t))


def spread(e: Tensor, less: int = 0) -> Tensor:
    """The mean squared distance of rows from their mean; `less` is 1 for the unbiased one."""
    return (e - e.mean(dim=0)).square().sum() / (len(e) - less)


def own_pairs(i: Tensor, t: Tensor) -> Tensor:
    """A wrong `whole`: only the pairs that belong together."""
    few = min(len(i), len(t))
    return (i[:few] - t[:few]).square().sum(dim=1).mean()


def raw(e: Tensor) -> Tensor:
    """Rows divided by their lengths; a row of zeros becomes NaN."""
    divided: Tensor = e / e.norm(dim=1, keepdim=True)
    return divided


REMEDIES = {
    "normalise": "divide each row by its length (F.normalize(emb, dim=1)), before the means",
    "centre": "take the mean of each branch's rows, mean(dim=0), which is a vector (D,)",
    "distance": "the gap is the length of the difference of the two means, the root of the sum of "
    "its squares",
    "whole": "divide by the mean of the squared distances of every image to every text, N · M of "
    "them",
    "share": "the share is gap² / (the mean of the squared distances)",
    "result": "(gap, share) is wanted",
}
# i and t are the rows of images and texts, e those of either, a and b their means.
MISTAKES = mistakes(
    REMEDIES,
    normalise={
        "the rows are not normalised": lambda i, t: (i, t),
        "normalised over the wrong axis": each(lambda e: F.normalize(e, dim=0)),
        "only the image rows are normalised": lambda i, t: (unit(i), t),
        "only the text rows are normalised": lambda i, t: (i, unit(t)),
        "divided by the sum of the absolute values": each(lambda e: F.normalize(e, p=1)),
        "each branch is divided by one norm of its whole matrix": each(lambda e: e / e.norm()),
        f"a row of zeros is divided by its length 0 and becomes NaN: {ZERO}": each(raw),
        f"rows of zeros are left out: {ZERO}": each(
            lambda e: unit(e[e.norm(dim=1) > 0]) if (e.norm(dim=1) > 0).any() else e
        ),
        "the mean of all rows is subtracted before the rows are normalised: take them as "
        "they are": lambda i, t: (
            unit(i - torch.cat([i, t]).mean(0)),
            unit(t - torch.cat([i, t]).mean(0)),
        ),
        "each branch's own mean is subtracted, which closes the gap that is to be measured": (
            each(lambda e: unit(e - e.mean(0)))
        ),
    },
    centre={
        "the mean is normalised: its length says how narrow the branch's cone is, and counts": (
            lambda e: F.normalize(e.mean(dim=0), dim=0)
        ),
        "the rows are added up and not averaged": lambda e: e.sum(dim=0),
        "the mean is taken over the wrong axis": lambda e: e.mean(dim=1),
        "the medians are taken and not the means": lambda e: e.median(dim=0).values,
        "one mean is taken over rows and dimensions": lambda e: e.mean()[None],
    },
    distance={
        "the gap is not the root: the squared distance of the means is returned": (
            lambda a, b: (a - b).square().sum()
        ),
        "the mean of the squares is taken and not their sum": (
            lambda a, b: (a - b).square().mean().sqrt()
        ),
        "the absolute values are added up": lambda a, b: (a - b).abs().sum(),
        "the mean of the absolute values is taken": lambda a, b: (a - b).abs().mean(),
        "the largest difference of one dimension is taken": lambda a, b: (a - b).abs().max(),
        "this is the cosine of the means": lambda a, b: F.cosine_similarity(a, b, dim=0),
        "this is 1 - the cosine of the means": (lambda a, b: 1 - F.cosine_similarity(a, b, dim=0)),
        "this is the dot product of the means": lambda a, b: a @ b,
        "this is the difference of the means' lengths": lambda a, b: (a.norm() - b.norm()).abs(),
    },
    whole={
        "only the spread about the own means is in the divisor: the mean squared distance of "
        "all pairs is gap² + the spread of the images + that of the texts": (
            lambda i, t: spread(i) + spread(t)
        ),
        "the spreads divide by N - 1 and M - 1: over all pairs of rows they divide by N and M": (
            lambda i, t: (i.mean(0) - t.mean(0)).square().sum() + spread(i, 1) + spread(t, 1)
        ),
        "the spreads divide by N - 1 and M - 1, and the gap² is not added to them: over all "
        "pairs the mean squared distance is gap² + the spread of the images + that of the "
        "texts": lambda i, t: spread(i, 1) + spread(t, 1),
        "the spread of the texts is missing in the divisor": lambda i, t: (
            (i.mean(0) - t.mean(0)).square().sum() + spread(i)
        ),
        "the spread of the images is missing in the divisor": lambda i, t: (
            (i.mean(0) - t.mean(0)).square().sum() + spread(t)
        ),
        "the spread of all rows about their common mean is taken": lambda i, t: spread(
            torch.cat([i, t])
        ),
        "the distances are not squared": lambda i, t: (i[:, None] - t).norm(dim=2).mean(),
        "the square of the mean distance is taken: take the mean of the squares": lambda i, t: (
            (i[:, None] - t).norm(dim=2).mean().square()
        ),
        "the squares are averaged over the dimensions, too: a squared distance is their sum": (
            lambda i, t: (i[:, None] - t).square().mean()
        ),
        "the squared distances are added up and not averaged": (
            lambda i, t: all_pairs(i, t) * len(i) * len(t)
        ),
        "only images and texts of the same row are compared": own_pairs,
        "images are compared with images": lambda i, t: all_pairs(i, i),
        "texts are compared with texts": lambda i, t: all_pairs(t, t),
        "the divisor is the mean squared length of the rows": lambda i, t: (
            torch.cat([i, t]).square().sum(1).mean()
        ),
        "one spread is taken for the other": lambda i, t: (
            (i.mean(0) - t.mean(0)).square().sum() + 2 * spread(i)
        ),
    },
    share={
        "the gap is not squared in the share": lambda g, total: g / total.clamp(min=1e-12),
        "the share is the root of what is wanted": lambda g, total: ratio(g, total).sqrt(),
        "the share is in percent: it lies between 0 and 1": lambda g, total: 100 * ratio(g, total),
        "this is the share of the rest, 1 - share": lambda g, total: 1 - ratio(g, total),
        f"all embeddings equal give 0 / 0, which is NaN: {EQUAL}": (
            lambda g, total: g.square() / total
        ),
        f"a mean squared distance below 1 is taken for 1: {CLOSE}": (
            lambda g, total: g.square() / total.clamp(min=1)
        ),
        "the mean of the squared distances is returned, and the share is missing": (
            lambda g, total: total
        ),
    },
    several={
        "the difference of the means is returned, a vector (D,): its length is wanted": {
            "distance": lambda a, b: a - b,
            "share": lambda g, total: g @ g / total.clamp(min=1e-12),
        },
    },
    result={
        "gap and share are swapped": lambda gap, part: (part, gap),
        "the gap is returned squared: the share has its square, the gap is a distance": (
            lambda gap, part: (gap.square(), part)
        ),
    },
)


def apart(images: int, texts: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Embeddings of any length, the branches shifted against each other."""
    image_emb, text_emb = pairs.batch(max(images, texts), dim, seed)
    shift = torch.linspace(2, -1, dim, dtype=torch.float64, device="cpu")
    return image_emb[:images] + shift, (text_emb - shift)[:texts]


def axis(size: int, length: float) -> Tensor:
    """Equal rows along the first of three axes, of different lengths."""
    rows = torch.zeros(size, 3, dtype=torch.float64, device="cpu")
    rows[:, 0] = length * 2.0 ** torch.arange(size)
    return rows


SCALED = apart(6, 6, 4, 3)
SCALED = (
    SCALED[0] * torch.logspace(-2, 3, 6, dtype=torch.float64)[:, None],
    SCALED[1] * torch.logspace(2, -1, 6, dtype=torch.float64)[:, None],
)
WITH_ZEROS = apart(5, 7, 3, 4)
WITH_ZEROS[0][1], WITH_ZEROS[1][2], WITH_ZEROS[1][6] = 0, 0, 0
CONE = tuple(emb + 5 for emb in apart(5, 7, 4, 7))
HAND = (
    torch.tensor([[3.0, 4], [0, 2]], dtype=torch.float64, device="cpu"),
    torch.tensor([[5.0, 0]], dtype=torch.float64, device="cpu"),
)
CASES = [
    Case(apart(6, 6, 4, 1), "6 images and 6 texts of 4 numbers each"),
    Case(apart(4, 9, 5, 2), "4 images and 9 texts of 5 numbers each", (SIZE,)),
    Case(apart(8, 3, 6, 6), "8 images and 3 texts of 6 numbers each", (SIZE,)),
    Case(apart(40, 30, 3, 5), "40 images and 30 texts of 3 numbers each", (SIZE,)),
    Case(SCALED, "rows of lengths from 0.01 to 1000", (LENGTHS,)),
    Case(WITH_ZEROS, "rows of zeros in both branches", (ZERO, SIZE)),
    Case(CONE, "embeddings that all lie close together", (CLOSE,)),
    Case(
        (axis(4, 1), -axis(6, 0.5)),
        "images that all point one way, and texts that all point the other (share 1)",
    ),
    Case(
        (axis(4, 2)[:1].expand(4, 3), axis(2, 2)[:1].expand(2, 3)),
        "a model whose embeddings are all alike",
        (EQUAL,),
    ),
    Case(HAND, "image_emb = [[3, 4], [0, 2]] and text_emb = [[5, 0]]", (SIZE,)),
]


def symptom(answers: Sequence[Any]) -> str | None:
    """Numbers that are nearly right in all of `CASES`."""
    if all(
        close(one, modality_gap(*case.args), 2e-2) for one, case in zip(answers, CASES, strict=True)
    ):
        return (
            "the numbers are nearly right: is something rounded, or computed in a lower precision "
            "(half, bfloat16), or is a constant such as an epsilon too large?"
        )
    return None
