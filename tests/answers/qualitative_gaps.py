"""Answers to task 2 of exercise 09: the gap between images and texts."""

import numpy as np
import torch
import torch.nn.functional as F

from answers.shared import forgets_return, unit


def numbers(gap, share):
    return float(gap), float(share)


# ---------------------------------------------------------------------------------------------
# Right


def gap_by_all_pairs(image_emb, text_emb):
    i, t = unit(image_emb), unit(text_emb)
    gap = (i.mean(0) - t.mean(0)).norm()
    total = (i[:, None] - t[None]).square().sum(dim=2).mean()
    return gap.item(), (gap**2 / total).item() if total > 1e-9 else 0.0


def gap_by_spreads(image_emb, text_emb):
    i, t = unit(image_emb), unit(text_emb)
    squared = (i.mean(0) - t.mean(0)).square().sum()
    spread = sum(e.var(dim=0, correction=0).sum() for e in (i, t))
    return numbers(squared.sqrt(), squared / (squared + spread).clamp(min=1e-12))


def gap_by_cosines(image_emb, text_emb):
    i, t = unit(image_emb), unit(text_emb)
    lengths = i.square().sum(1).mean() + t.square().sum(1).mean()
    total = lengths - 2 * (i @ t.T).mean()
    gap = torch.dist(i.mean(0), t.mean(0))
    return numbers(gap, gap**2 / total if total > 1e-9 else 0)


def gap_in_loops(image_emb, text_emb):
    rows = [emb.tolist() for emb in (image_emb, text_emb)]
    means = []
    for branch in rows:
        for row in branch:
            length = sum(x * x for x in row) ** 0.5
            row[:] = [x / length if length else 0.0 for x in row]
        means.append([sum(column) / len(branch) for column in zip(*branch, strict=True)])
    squared = sum((a - b) ** 2 for a, b in zip(*means, strict=True))
    every = [
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
        for one in rows[0]
        for other in rows[1]
    ]
    total = sum(every) / len(every)
    return squared**0.5, squared / total if total else 0.0


def gap_as_tensors(image_emb, text_emb):
    with torch.no_grad():
        i, t = unit(image_emb), unit(text_emb)
        total = (i[:, None] - t).square().sum(dim=2).mean()
        gap = (i.mean(0) - t.mean(0)).norm()
        return gap, gap**2 / total.clamp(min=1e-12)


RIGHT = [gap_by_all_pairs, gap_by_spreads, gap_by_cosines, gap_in_loops, gap_as_tensors]

# ---------------------------------------------------------------------------------------------
# Wrong


def gap(
    image_emb,
    text_emb,
    rows=unit,
    centre=lambda e: e.mean(0),
    distance=torch.dist,
    whole=lambda i, t: (i[:, None] - t).square().sum(2).mean(),
    share=lambda g, total: g**2 / total.clamp(min=1e-12),
):
    i, t = rows(image_emb), rows(text_emb)
    g = distance(centre(i), centre(t))
    return numbers(g, share(g, whole(i, t)))


def but(**steps):
    return lambda i, t: gap(i, t, **steps)


def spreads(i, t, correction=0):
    return sum(e.var(dim=0, correction=correction).sum() for e in (i, t))


def squared(i, t):
    return (i.mean(0) - t.mean(0)).square().sum()


def of_pairs(image_emb, text_emb):
    i, t = unit(image_emb), unit(text_emb)
    return numbers((i - t).norm(dim=1).mean(), 0.0)


def in_place(image_emb, text_emb):
    image_emb /= image_emb.norm(dim=1, keepdim=True).clamp(min=1e-12)
    text_emb /= text_emb.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return gap(image_emb, text_emb, rows=lambda e: e)


def with_gradient(image_emb, text_emb):
    i, t = unit(image_emb), unit(text_emb)
    total = (i[:, None] - t).square().sum(2).mean().clamp(min=1e-12)
    return (i.mean(0) - t.mean(0)).norm(), squared(i, t) / total


def by_numpy(image_emb, text_emb):
    i, t = (emb.detach().numpy() for emb in (image_emb, text_emb))
    i, t = (e / np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-12) for e in (i, t))
    return float(np.linalg.norm(i.mean(0) - t.mean(0)))


def in_half(image_emb, text_emb):
    return gap_by_spreads(image_emb.bfloat16(), text_emb.bfloat16())


WRONG = {
    "not normalised": ("not normalised", but(rows=lambda e: e)),
    "columns": ("wrong axis", but(rows=lambda e: F.normalize(e, dim=0))),
    "one norm": ("one norm", but(rows=lambda e: e / e.norm())),
    "NaN rows": ("row of zeros", but(rows=lambda e: e / e.norm(dim=1, keepdim=True))),
    "zeros left out": ("rows of zeros are left out", but(rows=lambda e: unit(e[e.any(1)]))),
    "centred": ("closes the gap", but(rows=lambda e: unit(e - e.mean(0)))),
    "only images": (
        "only the image rows",
        lambda i, t: gap(unit(i), t, rows=lambda e: e),
    ),
    "unit means": (
        "mean is normalised",
        but(centre=lambda e: F.normalize(e.mean(0), dim=0)),
    ),
    "sums": ("added up and not averaged", but(centre=lambda e: e.sum(0))),
    "mean of rows": ("over the wrong axis", but(centre=lambda e: e.mean(1))),
    "medians": ("median", but(centre=lambda e: e.median(0).values)),
    "one number": ("rows and dimensions", but(centre=lambda e: e.mean())),
    "squared gap": (
        "squared",
        but(distance=lambda a, b: (a - b).square().sum(), share=lambda g, total: g / total),
    ),
    "squared gap, share of it": ("not the root", but(distance=lambda a, b: (a - b) @ (a - b))),
    "root mean square": (
        "mean of the squares",
        but(distance=lambda a, b: (a - b).square().mean().sqrt()),
    ),
    "absolute": ("absolute", but(distance=lambda a, b: (a - b).abs().sum())),
    "cosine": ("cosine of the means", but(distance=lambda a, b: F.cosine_similarity(a, b, dim=0))),
    "1 - cosine": ("1 - the cosine", but(distance=lambda a, b: 1 - F.cosine_similarity(a, b, 0))),
    "spread alone": ("only the spread", but(whole=lambda i, t: spreads(i, t).clamp(min=1e-12))),
    "unbiased": ("N - 1", but(whole=lambda i, t: squared(i, t) + spreads(i, t, 1))),
    "images' spread": (
        "spread of the texts is missing",
        but(whole=lambda i, t: squared(i, t) + i.var(0, correction=0).sum()),
    ),
    "common mean": (
        "common mean",
        but(whole=lambda i, t: torch.cat([i, t]).var(0, correction=0).sum()),
    ),
    "distances": ("not squared", but(whole=lambda i, t: torch.cdist(i, t).mean())),
    "mean distance squared": (
        "square of the mean distance",
        but(whole=lambda i, t: torch.cdist(i, t).mean() ** 2),
    ),
    "mean over dimensions": (
        "averaged over the dimensions",
        but(whole=lambda i, t: (i[:, None] - t).square().mean()),
    ),
    "own pairs": (
        "of the same row are compared",
        but(whole=lambda i, t: (i - t).square().sum(1).mean()),
    ),
    "pairs of the shorter": (
        "same row",
        but(
            whole=lambda i, t: (
                (i[: min(len(i), len(t))] - t[: min(len(i), len(t))]).square().sum(1).mean()
            )
        ),
    ),
    "gap of pairs": ("it raised", of_pairs),
    "images among images": (
        "compared with images",
        but(whole=lambda i, t: (i[:, None] - i).square().sum(2).mean()),
    ),
    "not squared": ("gap is not squared", but(share=lambda g, total: g / total.clamp(min=1e-9))),
    "root": ("root", but(share=lambda g, total: g / total.clamp(min=1e-9) ** 0.5)),
    "percent": ("percent", but(share=lambda g, total: 100 * g**2 / total.clamp(min=1e-9))),
    "the rest": ("the rest", but(share=lambda g, total: 1 - g**2 / total.clamp(min=1e-9))),
    "at least 1": ("below 1", but(share=lambda g, total: g**2 / total.clamp(min=1))),
    "NaN": ("0 / 0", but(share=lambda g, total: g**2 / total)),
    "the divisor": ("share is missing", but(share=lambda g, total: total)),
    "swapped": ("swapped", lambda i, t: gap(i, t)[::-1]),
    "gap alone": ("2 results", lambda i, t: gap(i, t)[0]),
    "the vector": ("vector", lambda i, t: (unit(i).mean(0) - unit(t).mean(0), gap(i, t)[1])),
    "with a gradient": ("gradient", with_gradient),
    "in place": ("in place", in_place),
    "by numpy": ("2 results", by_numpy),
    "half": ("rounded", in_half),
    "rounded": ("rounded", lambda i, t: tuple(round(x, 2) for x in gap(i, t))),
    "no return": ("nothing is returned", forgets_return),
}
