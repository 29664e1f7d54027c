"""Answers to task 3 of exercise 09: the two principal directions."""

import numpy as np
import torch
import torch.nn.functional as F

from answers.shared import forgets_return

# ---------------------------------------------------------------------------------------------
# Right


def turned(plane):
    if plane.shape[1] < 2:
        plane = torch.cat([plane, torch.zeros_like(plane)], dim=1)[:, :2]
    largest = plane.gather(0, plane.abs().argmax(dim=0)[None])
    return torch.where(largest < 0, -plane, plane)


def by_svd(emb):
    x = (emb - emb.mean(0)).detach()
    _, _, directions = torch.linalg.svd(x, full_matrices=False)
    return turned(x @ directions[:2].T)


def by_left_vectors(emb):
    emb = emb.detach()
    u, widths, _ = torch.linalg.svd(emb - emb.mean(dim=0, keepdim=True), full_matrices=False)
    return turned((u * widths)[:, :2])


def by_gram_matrix(emb):
    with torch.no_grad():
        x = emb - emb.mean(0)
        values, vectors = torch.linalg.eigh(x @ x.T)
        two = (vectors * values.clamp(min=0).sqrt()).flip(1)[:, :2]
        return turned(two)


def by_covariance(emb):
    emb = emb.detach()
    x = emb - emb.mean(0)
    covariance = x.T @ x / max(len(x) - 1, 1)
    values, vectors = torch.linalg.eigh(covariance)
    order = values.argsort(descending=True)[:2]
    plane = emb.new_zeros(len(emb), 2)
    for column, direction in enumerate(order.tolist()):
        along = x @ vectors[:, direction]
        sign = 1 if along[along.abs().argmax()] >= 0 else -1
        plane[:, column] = sign * along
    return plane


def by_numpy_signs(emb):
    x = (emb - emb.mean(0)).detach()
    plane = x @ torch.linalg.svd(x, full_matrices=False)[2].mT[:, :2]
    plane = F.pad(plane, (0, 2 - plane.shape[1]))
    return plane * torch.where(plane.amax(0) >= -plane.amin(0), 1, -1)


RIGHT = [by_svd, by_left_vectors, by_gram_matrix, by_covariance, by_numpy_signs]

# ---------------------------------------------------------------------------------------------
# Wrong


def pca(
    emb,
    centre=lambda e: e - e.mean(0),
    project=lambda e, x, v: x @ v,
    signs=turned,
    first=lambda v: v[:, :2],
):
    emb = emb.detach()
    x = centre(emb)
    v = torch.linalg.svd(x, full_matrices=False)[2].T
    return signs(project(emb, x, first(v)))


def but(**steps):
    return lambda emb: pca(emb, **steps)


def padded(plane):
    return F.pad(plane, (0, 2 - plane.shape[1]))


def signs_by(choice):
    def signs(plane):
        plane = padded(plane)
        return torch.where(choice(plane) < 0, -plane, plane)

    return signs


def by_the_directions(emb):
    x = emb.detach() - emb.detach().mean(0)
    v = torch.linalg.svd(x, full_matrices=False)[2].T[:, :2]
    largest = v.gather(0, v.abs().argmax(dim=0)[None])
    return padded(x @ torch.where(largest < 0, -v, v))


def by_rising_variance(emb):
    x = emb.detach() - emb.detach().mean(0)
    return turned(x @ torch.linalg.eigh(x.T @ x)[1][:, :2])


def by_the_last_two(emb):
    x = emb.detach() - emb.detach().mean(0)
    return turned(x @ torch.linalg.eigh(x.T @ x)[1][:, -2:])


def by_torch_pca(emb):
    x = emb.detach() - emb.detach().mean(0)
    v = torch.pca_lowrank(emb.detach(), q=min(2, *emb.shape))[2]
    return turned(x @ v)


def without_padding(emb):
    x = emb.detach() - emb.detach().mean(0)
    plane = x @ torch.linalg.eigh(x.T @ x)[1].flip(1)[:, :2]
    largest = plane.gather(0, plane.abs().argmax(dim=0)[None])
    return torch.where(largest < 0, -plane, plane)


def rows_and_columns(emb):
    x = emb.detach() - emb.detach().mean(0)
    v = torch.linalg.svd(x)[2]
    return turned(x @ v[:, :2])


def in_place(emb):
    emb -= emb.mean(0)
    return by_svd(emb)


def with_gradient(emb):
    x = emb - emb.mean(0)
    return turned(x @ torch.linalg.eigh(x.T @ x)[1].flip(1)[:, :2])


def by_raw_moments(emb):
    emb = emb.detach()
    mean = emb.mean(0)
    covariance = emb.T @ emb / len(emb) - mean[:, None] * mean
    return turned((emb - mean) @ torch.linalg.eigh(covariance)[1].flip(1)[:, :2])


def by_numpy(emb):
    x = emb.detach().numpy()
    x = x - x.mean(axis=0)
    u, widths, _ = np.linalg.svd(x, full_matrices=False)
    return (u * widths)[:, :2]


def seeded(emb):
    torch.manual_seed(0)
    return by_svd(emb)


WRONG = {
    "signs as they come": ("sign", but(signs=padded)),
    "largest negative": ("made negative", but(signs=lambda p: -turned(p))),
    "the last": ("last row", but(signs=signs_by(lambda p: p[-1]))),
    "the first": ("first row", but(signs=signs_by(lambda p: p[0]))),
    "the sum": ("sum of the coordinates", but(signs=signs_by(lambda p: p.sum(0)))),
    "by the directions": ("direction's own entries", by_the_directions),
    "absolute": ("folds the drawing", but(signs=lambda p: padded(p).abs())),
    "one column": (
        "only the first column",
        but(signs=lambda p: torch.cat([turned(p)[:, :1], padded(p)[:, 1:]], 1)),
    ),
    "not centred": ("mean is not subtracted", but(centre=lambda e: e)),
    "row means": ("each row's own mean", but(centre=lambda e: e - e.mean(1, keepdim=True))),
    "one mean": ("one mean over all", but(centre=lambda e: e - e.mean())),
    "medians": ("median", but(centre=lambda e: e - e.median(0).values)),
    "standardised": (
        "standard deviations",
        but(centre=lambda e: (e - e.mean(0)) / e.std(0, correction=min(1, len(e) - 1)).clamp(1e-9)),
    ),
    "normalised": ("rows are normalised", lambda e: pca(F.normalize(e, dim=1))),
    "normalised afterwards": (
        "after the mean is subtracted",
        but(centre=lambda e: F.normalize(e - e.mean(0), dim=1)),
    ),
    "smallest two": ("smallest variance", by_rising_variance),
    "swapped": ("swapped", by_the_last_two),
    "swapped at the end": ("swapped", lambda e: by_svd(e).flip(1)),
    "unsorted eigenvalues": (
        "promises no order",
        lambda e: turned(
            (x := e.detach() - e.detach().mean(0)) @ torch.linalg.eig(x.T @ x)[1].real[:, :2]
        ),
    ),
    "second and third": (
        "second and third",
        but(first=lambda v: F.pad(v, (0, 2))[:, 1:3]),
    ),
    "rows of Vh as columns": ("mixed up", rows_and_columns),
    "first two dimensions": (
        "without a decomposition",
        lambda e: turned((e - e.mean(0)).detach()[:, :2]),
    ),
    "mean left in the coordinates": (
        "project row - mean",
        but(project=lambda e, x, v: e @ v),
    ),
    "left singular vectors": (
        "left singular vectors",
        lambda e: turned(
            torch.linalg.svd(e.detach() - e.detach().mean(0), full_matrices=False)[0][:, :2]
        ),
    ),
    "whitened": (
        "whitened",
        but(project=lambda e, x, v: (p := x @ v) / p.std(0, correction=0).clamp(min=1e-6)),
    ),
    "by the root of N": (
        "root of N",
        but(project=lambda e, x, v: x @ v / len(x) ** 0.5),
    ),
    "to one": (
        "divided by the largest",
        but(project=lambda e, x, v: (p := x @ v) / p.abs().max().clamp(min=1e-9)),
    ),
    "transposed": ("shape", lambda e: pca(e).T),
    "directions": ("shape", lambda e: torch.linalg.svd((e - e.mean(0)).detach())[2][:2].T),
    "back again": ("shape", but(project=lambda e, x, v: x @ v @ v.T, signs=lambda p: p)),
    "three": ("shape", lambda e: F.pad(pca(e), (0, 1))),
    "without padding": ("shape", without_padding),
    "in place": ("in place", in_place),
    "with a gradient": ("gradient", with_gradient),
    "by raw moments": ("float32", by_raw_moments),
    "pca_lowrank": ("numbers are wrong", by_torch_pca),
    "numpy": ("numpy", by_numpy),
    "a tuple": ("tuple", lambda e: tuple(pca(e).T)),
    "seeded": ("seed", seeded),
    "float32": ("dtype", lambda e: by_svd(e.float())),
    "no return": ("nothing is returned", forgets_return),
    "half of the mean": ("numbers are wrong", but(centre=lambda e: e - e.mean(0) / 2)),
}
