"""Answers to task 6, the hardest negative among those less similar than the positive."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from answers.hinges import skeleton
from answers.shared import cos, eye, forgets_return, own, unit


def each_way(cost: Callable, s: Callable = cos) -> Callable:
    """loss(i, t, m): both directions' cost(similarities, positives, margin) (B,), the mean."""

    def loss(image_emb, text_emb, margin=0.2):
        matrix = s(image_emb, text_emb)
        return sum(cost(way, own(way), margin).mean() for way in (matrix, matrix.T))

    return loss


def plain(s, p, m):
    return (m - p + s).relu().masked_fill(s >= p, 0)


right = skeleton(plain, "max")


def minus_infinity(s, p, m):
    hardest = s.masked_fill(~(s < p), -math.inf).amax(dim=1, keepdim=True)  # (B, 1), or -inf
    return (m - p + hardest).clamp(min=0)[:, 0]


def in_loops(image_emb, text_emb, margin=0.2):
    s = cos(image_emb, text_emb)
    total = 0 * s.sum()
    for way in (s, s.T):
        for b in range(len(s)):
            semi = [way[b, k] for k in range(len(s)) if k != b and way[b, k] < way[b, b]]
            if semi:
                total = total + (margin - way[b, b] + torch.stack(semi).max()).relu()
    return total / len(s)


def by_sorting(s, p, m):
    ordered = s.sort(dim=1, descending=True).values
    hinge = (m - p + ordered).relu() * (ordered < p)
    return hinge.max(dim=1).values


def facenets_band(s, p, m):  # within the margin, too: what is beyond it costs 0 anyway
    band = (s < p) & (s > p - m)
    return torch.where(band, m - p + s, torch.zeros_like(s)).amax(dim=1)


def by_the_hinge(s, p, m):  # a hinge below the margin is one of a negative below the positive
    gap = s - p
    return torch.where(gap < 0, (gap + m).clamp(min=0), 0 * gap).amax(1)


def without_diagonal(s, p, m):
    others = s[~eye(s)].view(len(s), -1)
    return ((m - p + others).relu() * (others < p)).amax(1)


RIGHT_SEMI_HARD = [
    right,
    each_way(minus_infinity),
    in_loops,
    each_way(by_sorting),
    each_way(facenets_band),
    each_way(by_the_hinge),
    each_way(without_diagonal),
]


def change(choose: Callable) -> Callable:
    """The maximum of the hinges that choose(s, p) says."""
    return each_way(lambda s, p, m: (m - p + s).relu().masked_fill(~choose(s, p), 0).amax(1))


def hardest_first(s, p, m):
    others = s.masked_fill(eye(s), -2)
    hardest = others.amax(1, keepdim=True)
    return torch.where(hardest < p, (m - p + hardest).relu(), 0 * p)[:, 0]


def falls_back(s, p, m):
    semi = (s < p) & ~eye(s)
    hinge = (m - p + s).relu().masked_fill(eye(s), 0)
    return torch.where(semi.any(1), hinge.masked_fill(~semi, 0).amax(1), hinge.amax(1))


def falls_back_on_the_easiest(s, p, m):
    semi = (s < p) & ~eye(s)
    hinge = (m - p + s).relu()
    easiest = hinge.masked_fill(eye(s), math.inf).amin(1)
    return torch.where(semi.any(1), hinge.masked_fill(~semi, 0).amax(1), easiest)


def mean_of_the_active(i, t, m=0.2):
    s = cos(i, t)
    costs = [plain(way, own(way), m).amax(1) for way in (s, s.T)]
    active = sum((cost > 0).sum() for cost in costs).clamp(min=1) / 2
    return sum(cost.sum() for cost in costs) / active


def mean_of_the_active_each_way(s, p, m):
    cost = plain(s, p, m).amax(1)
    return cost.sum() / (cost > 0).sum().clamp(min=1)


def chosen_once(i, t, m=0.2):
    s = cos(i, t)
    semi = s < own(s)
    ways = [(m - own(w) + w).relu().masked_fill(~semi, 0).amax(1) for w in (s, s.T)]
    return sum(ways).mean()


def chosen_and_transposed(i, t, m=0.2):
    s = cos(i, t)
    semi = s < own(s)
    rows = (m - own(s) + s).relu().masked_fill(~semi, 0)
    columns = (m - own(s) + s.T).relu().masked_fill(~semi.T, 0)
    return (rows.amax(1) + columns.amax(1)).mean()


def columns_of_the_rows_hinges(i, t, m=0.2):
    h = plain(cos(i, t), own(cos(i, t)), m)
    return (h.amax(1) + h.amax(0)).mean()


def no_clamp(s, p, m):
    gap = (m - p + s).masked_fill(s >= p, -math.inf).amax(1)
    return gap.where(gap > -math.inf, torch.zeros_like(gap))


def crashes_without_one(image_emb, text_emb, margin=0.2):
    s = cos(image_emb, text_emb)
    total = 0
    for way in (s, s.T):
        for b in range(len(s)):
            total = total + (margin - way[b, b] + way[b][way[b] < way[b, b]].max()).relu()
    return total / len(s)


def gradient_through_a_mask(s, p, m):  # the choice alone has no gradient
    return plain(s.detach(), p, m).amax(1)


def in_place(i, t, m=0.2):
    i.data.div_(i.data.norm(dim=1, keepdim=True))
    return right(i, t, m)


def no_grad(i, t, m=0.2):
    with torch.no_grad():
        return right(i, t, m)


def nearest_to_the_positive(s, p, m):
    nearest = (s - p).abs().masked_fill(eye(s), 9).argmin(1)
    return (m - p[:, 0] + s.gather(1, nearest[:, None])[:, 0]).relu()


WRONG_SEMI_HARD = {
    "the positive stays in": (
        "positive itself is among",
        each_way(lambda s, p, m: (m - p + s).relu().masked_fill(s > p, 0).amax(1)),
    ),
    "margin where none": (
        "positive itself is among",
        each_way(lambda s, p, m: torch.where(s < p, m - p + s, m).relu().amax(1)),
    ),
    "margin of the call in the choice": (
        "margin takes part",
        each_way(lambda s, p, m: (m - p + s).relu().masked_fill(~(s < p - m), 0).amax(1)),
    ),
    "margin above": (
        "up to the margin above",
        each_way(lambda s, p, m: (m - p + s).relu().masked_fill((s >= p + m) | eye(s), 0).amax(1)),
    ),
    "nearest to the positive": ("nearest to the positive", each_way(nearest_to_the_positive)),
    "the hardest of all": ("as in max_triplet", change(lambda s, p: ~eye(s))),
    "above the positive": ("above the positive", change(lambda s, p: s > p)),
    "ties counted": ("ties with the positive", change(lambda s, p: (s <= p) & ~eye(s))),
    "wrong bound": ("wrong axis", change(lambda s, p: s < p.T)),
    "below zero": ("fixed 0", change(lambda s, p: s < 0)),
    "below the mean": ("mean of the positives", change(lambda s, p: s < p.mean())),
    "the hardest first": ("found first", each_way(hardest_first)),
    "falls back": ("take the hardest of all", each_way(falls_back)),
    "falls back on the easiest": ("easiest of all", each_way(falls_back_on_the_easiest)),
    "chosen once": ("images' choice", chosen_once),
    "chosen and transposed": ("transposed", chosen_and_transposed),
    "columns of the rows": ("row direction's hinges", columns_of_the_rows_hinges),
    "all semi-hard": ("all semi-hard negatives are added", skeleton(plain, "sum")),
    "easiest semi-hard": (
        "least similar",
        each_way(
            lambda s, p, m: (
                plain(s, p, m)
                .masked_fill(plain(s, p, m) <= 0, math.inf)
                .amin(1)
                .nan_to_num(posinf=0)
            )
        ),
    ),
    "mean of the semi-hard": (
        "mean over the semi-hard",
        each_way(lambda s, p, m: plain(s, p, m).sum(1) / (plain(s, p, m) > 0).sum(1).clamp(min=1)),
    ),
    "mean of the active": ("over the queries that push", mean_of_the_active),
    "mean of the active, each way": (
        "over some of its queries",
        each_way(mean_of_the_active_each_way),
    ),
    "mean of those that have one": (
        "over some of its queries",
        each_way(lambda s, p, m: plain(s, p, m).amax(1).sum() / (s < p).any(1).sum().clamp(min=1)),
    ),
    "hinge below the margin": (
        "made by the hinge",
        each_way(lambda s, p, m: (lambda h: h.masked_fill(h >= m, 0).amax(1))((m - p + s).relu())),
    ),
    "similarity 0": (
        "similarity of 0",
        each_way(lambda s, p, m: (m - p + s.masked_fill(s >= p, 0)).relu().amax(1)),
    ),
    "similarity -1": (
        "similarity of -1",
        each_way(lambda s, p, m: (m - p + s.masked_fill(s >= p, -1)).relu().amax(1)),
    ),
    "no clamp": ("clamp is missing", each_way(no_clamp)),
    "crashes": ("should cost 0", crashes_without_one),
    "max over the columns": ("wrong axis", each_way(lambda s, p, m: plain(s, p, m).amax(0))),
    "over the whole matrix": ("whole matrix", each_way(lambda s, p, m: plain(s, p, m).max())),
    "one direction": (
        "one direction",
        lambda i, t, m=0.2: plain(cos(i, t), own(cos(i, t)), m).amax(1).mean(),
    ),
    "half": ("half of it", lambda i, t, m=0.2: right(i, t, m) / 2),
    "summed": ("summed over the batch", lambda i, t, m=0.2: right(i, t, m) * len(i)),
    "margin fixed": ("fixed at 0.2", lambda i, t, m=0.2: right(i, t, 0.2)),
    "squared": ("squared", each_way(lambda s, p, m: plain(s, p, m).square().amax(1))),
    "softplus": (
        "softplus",
        each_way(lambda s, p, m: F.softplus(m - p + s).masked_fill(s >= p, 0).amax(1)),
    ),
    "not normalised": (
        "not normalised",
        each_way(lambda s, p, m: plain(s, p, m).amax(1), lambda i, t: i @ t.T),
    ),
    "only images": (
        "only the image rows",
        each_way(lambda s, p, m: plain(s, p, m).amax(1), lambda i, t: unit(i) @ t.T),
    ),
    "detached": ("detached", lambda i, t, m=0.2: right(i, t, m).detach()),
    "negatives detached": ("negatives are detached", each_way(gradient_through_a_mask)),
    "no_grad": ("no_grad", no_grad),
    "a number": (".item()", lambda i, t, m=0.2: right(i, t, m).item()),
    "no return": ("nothing is returned", forgets_return),
    "in place": ("in place", in_place),
    "float64": ("dtype", lambda i, t, m=0.2: right(i.double(), t.double(), m)),
    "per pair": (
        "one number per pair",
        lambda i, t, m=0.2: plain(cos(i, t), own(cos(i, t)), m).amax(1),
    ),
}
