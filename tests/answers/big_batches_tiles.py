"""Answers to task 2 of exercise 12: the log-sum-exp of a matrix in tiles."""

import math

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint


def tile_of(rows, columns, temperature):
    return (rows @ columns.T / temperature).logsumexp(dim=1)


def part_of(rows, columns, temperature):
    return checkpoint(tile_of, rows, columns, temperature, use_reentrant=False)


# ---------------------------------------------------------------------------------------------
# Right


def by_stacking(a, b, temperature, tile):
    found = []
    for rows in a.split(tile):
        parts = [part_of(rows, columns, temperature) for columns in b.split(tile)]
        found.append(torch.stack(parts).logsumexp(dim=0))
    return torch.cat(found)


def by_index(a, b, temperature, tile):
    found = []
    for i in range(0, a.shape[0], tile):
        total = None
        for j in range(0, b.shape[0], tile):
            part = part_of(a[i : i + tile], b[j : j + tile], temperature)
            total = part if total is None else torch.logaddexp(total, part)
        found.append(total)
    return torch.cat(found)


def sum_and_largest(rows, columns, temperature, top, total):
    s = rows @ columns.T / temperature
    new = torch.maximum(top, s.detach().amax(dim=1))
    total = total * (top - new).exp() + (s - new[:, None]).exp().sum(dim=1)
    return new, total


def by_running_maximum(a, b, temperature, tile):
    found = []
    for rows in a.split(tile):
        top = torch.full_like(rows[:, 0], -math.inf).detach()
        total = torch.zeros_like(rows[:, 0])
        for columns in b.split(tile):
            args = (rows, columns, temperature, top, total)
            top, total = checkpoint(sum_and_largest, *args, use_reentrant=False)
        found.append(total.log() + top)
    return torch.cat(found)


class InTiles(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b, temperature, tile):
        found = []
        for rows in a.split(tile):
            total = torch.full_like(rows[:, 0], -math.inf)
            for columns in b.split(tile):
                total = torch.logaddexp(total, tile_of(rows, columns, temperature))
            found.append(total)
        result = torch.cat(found)
        ctx.save_for_backward(a, b, result)
        ctx.temperature, ctx.tile = temperature, tile
        return result

    @staticmethod
    def backward(ctx, grad):
        a, b, result = ctx.saved_tensors
        to_a, to_b = torch.zeros_like(a), torch.zeros_like(b)
        for i in range(0, len(a), ctx.tile):
            for j in range(0, len(b), ctx.tile):
                rows, columns = slice(i, i + ctx.tile), slice(j, j + ctx.tile)
                s = a[rows] @ b[columns].T / ctx.temperature
                w = (s - result[rows, None]).exp() * grad[rows, None] / ctx.temperature
                to_a[rows] += w @ b[columns]
                to_b[columns] += w.T @ a[rows]
        return to_a, to_b, None, None


RIGHT = [
    by_stacking,
    by_index,
    by_running_maximum,
    lambda a, b, temperature, tile: InTiles.apply(a, b, temperature, tile),
]


# ---------------------------------------------------------------------------------------------
# Wrong


def tiled(a, b, temperature, tile, score=lambda r, c, t: r @ c.T / t, start=-math.inf):
    """Right but for what is changed."""

    def part(rows, columns):
        return score(rows, columns, temperature).logsumexp(dim=1)

    found = []
    for rows in a.split(tile):
        total = torch.full_like(rows[:, 0], start)
        for columns in b.split(tile):
            total = torch.logaddexp(total, checkpoint(part, rows, columns, use_reentrant=False))
        found.append(total)
    return torch.cat(found)


def whole_matrix(a, b, temperature, tile):
    return (a @ b.T / temperature).logsumexp(dim=1)


def strips(a, b, temperature, tile):
    total = torch.full_like(a[:, 0], -math.inf)
    for columns in b.split(tile):
        total = torch.logaddexp(total, part_of(a, columns, temperature))
    return total


def matrix_cut_up(a, b, temperature, tile):
    s = a @ b.T / temperature
    parts = [strip.logsumexp(dim=1) for strip in s.split(tile, dim=1)]
    return torch.stack(parts).logsumexp(dim=0)


def tiles_kept(a, b, temperature, tile):
    found = []
    for rows in a.split(tile):
        total = torch.full_like(rows[:, 0], -math.inf)
        for columns in b.split(tile):
            total = torch.logaddexp(total, tile_of(rows, columns, temperature))
        found.append(total)
    return torch.cat(found)


def plain_sums(a, b, temperature, tile):
    """The lesson's, by columns."""
    total = torch.zeros(len(a), dtype=a.dtype, device=a.device)
    for first in range(0, len(b), tile):
        total = total + (a @ b[first : first + tile].T / temperature).exp().sum(dim=1)
    return total.log()


def lessons_own(a, b, temperature, tile):
    total = torch.zeros(len(a), dtype=a.dtype)
    for first in range(0, len(b), tile):
        s = a @ b[first : first + tile].T / temperature
        s[first : first + tile].fill_diagonal_(-torch.inf)
        total = total + s.exp().sum(dim=1)
    return total.log()


def not_rescaled(a, b, temperature, tile):
    top, total = torch.full_like(a[:, 0], -math.inf), torch.zeros_like(a[:, 0])
    for columns in b.split(tile):
        s = a @ columns.T / temperature
        top = torch.maximum(top, s.amax(dim=1))
        total = total + (s - s.amax(dim=1, keepdim=True)).exp().sum(dim=1)
    return total.log() + top


def rescaled_upside_down(a, b, temperature, tile):
    top = (a @ b[:tile].T / temperature).amax(dim=1)
    total = torch.zeros_like(top)
    for columns in b.split(tile):
        s = a @ columns.T / temperature
        new = torch.maximum(top, s.amax(dim=1))
        total = total * (new - top).exp() + (s - new[:, None]).exp().sum(dim=1)
        top = new
    return total.log() + top


def first_maximum(a, b, temperature, tile):
    top = (a @ b[:tile].T / temperature).amax(dim=1)
    total = torch.zeros_like(top)
    for columns in b.split(tile):
        total = total + (a @ columns.T / temperature - top[:, None]).exp().sum(dim=1)
    return total.log() + top


def maximum_forgotten(a, b, temperature, tile):
    return whole_matrix(a, b, temperature, tile) - (a @ b.T / temperature).amax(dim=1)


def added_logs(a, b, temperature, tile):
    return sum(tile_of(a, columns, temperature) for columns in b.split(tile))


def largest_of_tiles(a, b, temperature, tile):
    return torch.stack([tile_of(a, columns, temperature) for columns in b.split(tile)]).amax(dim=0)


def last_tile(a, b, temperature, tile):
    for columns in b.split(tile):
        total = tile_of(a, columns, temperature)
    return total


def on_the_diagonal(a, b, temperature, tile):
    pairs = zip(a.split(tile), b.split(tile), strict=False)
    return torch.cat([tile_of(rows, columns, temperature) for rows, columns in pairs])


def rest_dropped(a, b, temperature, tile):
    total = torch.full_like(a[:, 0], -math.inf)
    for n in range(len(b) // tile):
        total = torch.logaddexp(total, tile_of(a, b[n * tile : (n + 1) * tile], temperature))
    return total


def inner_total_shared(a, b, temperature, tile):
    """The total goes on from one tile of rows to the next."""
    found, total = [], None
    for rows in a.split(tile):
        for columns in b.split(tile):
            part = tile_of(rows, columns, temperature)
            total = part if total is None else torch.logaddexp(total[: len(part)], part)
        found.append(total)
    return torch.cat(found)


def detached_total(a, b, temperature, tile):
    found = []
    for rows in a.split(tile):
        total = torch.full_like(rows[:, 0], -math.inf)
        for columns in b.split(tile):
            total = torch.logaddexp(total.detach(), part_of(rows, columns, temperature))
        found.append(total)
    return torch.cat(found)


def under_no_grad(a, b, temperature, tile):
    with torch.no_grad():
        return tiles_kept(a, b, temperature, tile)


def into_zeros(a, b, temperature, tile):
    result = torch.zeros(len(a))
    for i in range(0, len(a), tile):
        result[i : i + tile] = by_stacking(a[i : i + tile], b, temperature, tile)
    return result


def by_hand_in_double(a, b, temperature, tile):
    return by_stacking(a.double(), b.double(), temperature, tile)


def checkpoint_over_all(a, b, temperature, tile):
    return checkpoint(whole_matrix, a, b, temperature, tile, use_reentrant=False)


WRONG = {
    "whole matrix": ("whole matrix", whole_matrix),
    "strips": ("larger than a tile", strips),
    "matrix cut up": ("whole matrix", matrix_cut_up),
    "checkpoint over the whole": ("whole matrix", checkpoint_over_all),
    "tiles kept": ("made again", tiles_kept),
    "plain sums": ("overflow", plain_sums),
    "the lesson's": ("diagonal", lessons_own),
    "not rescaled": ("brought", not_rescaled),
    "rescaled the wrong way": ("wrong way round", rescaled_upside_down),
    "first maximum": ("later tile", first_maximum),
    "maximum not added again": ("not added again", maximum_forgotten),
    "logarithms added": ("log-sum-exps are added", added_logs),
    "largest of tiles": ("largest of the tiles'", largest_of_tiles),
    "last tile": ("last column tile", last_tile),
    "on the diagonal": ("shape", on_the_diagonal),
    "rest dropped": ("left out at the end", rest_dropped),
    "total goes on": ("wrong", inner_total_shared),
    "begins at 0": ("begins at 0", lambda a, b, t, tile: tiled(a, b, t, tile, start=0.0)),
    "begins at -10,000": ("underflow", lambda a, b, t, n: tiled(a, b, t, n, start=-1e4)),
    "no temperature": (
        "temperature",
        lambda a, b, t, n: tiled(a, b, t, n, lambda r, c, t: r @ c.T),
    ),
    "times temperature": (
        "multiplied by the temperature",
        lambda a, b, t, n: tiled(a, b, t, n, lambda r, c, t: r @ c.T * t),
    ),
    "cosines": (
        "normalised",
        lambda a, b, t, n: tiled(a, b, t, n, lambda r, c, t: F.normalize(r) @ F.normalize(c).T / t),
    ),
    "axis": ("shape", lambda a, b, t, n: by_stacking(b, a, t, n)),
    "mean": ("shape", lambda a, b, t, n: tiled(a, b, t, n).mean()),
    "no logarithm": ("logarithm is missing", lambda a, b, t, n: tiled(a, b, t, n).exp()),
    "mean of exponentials": (
        "mean of the exponentials",
        lambda a, b, t, n: tiled(a, b, t, n) - math.log(len(b)),
    ),
    "maximum": ("largest score", lambda a, b, t, n: (a @ b.T / t).amax(dim=1)),
    "detached total": ("detached", detached_total),
    "no_grad": ("detached", under_no_grad),
    "zeros of float32": ("dtype", into_zeros),
    "in double": ("dtype", by_hand_in_double),
    "a list": ("list", lambda a, b, t, n: list(tiled(a, b, t, n))),
    "nothing": ("nothing is returned", lambda a, b, t, n: None),
    "on the GPU by name": ("device", lambda a, b, t, n: tiled(a.cuda(), b.cuda(), t, n)),
}
