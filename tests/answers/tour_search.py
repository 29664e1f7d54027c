"""Answers to tasks 1 and 2 of exercise 00: a search, and recall at 1."""

import numpy as np
import torch
import torch.nn.functional as F

from answers.shared import cos, eye, own, unit


def scores(q, e):
    return unit(e) @ F.normalize(q, dim=0)


# ---------------------------------------------------------------------------------------------
# Task 1


def top_by_stable_sort(query_emb, emb, k):
    return torch.sort(scores(query_emb, emb), descending=True, stable=True).indices[:k]


def top_by_negation(query_emb, emb, k):
    return (-F.cosine_similarity(emb, query_emb[None], dim=1)).argsort(stable=True)[:k]


def top_by_python(query_emb, emb, k):
    s = scores(query_emb, emb).tolist()
    order = sorted(range(len(s)), key=lambda i: (-s[i], i))
    return torch.tensor(order[:k], device=emb.device)


def top_one_by_one(query_emb, emb, k):
    s, found = scores(query_emb, emb).clone(), []
    for _ in range(min(k, len(s))):
        best = int((s == s.max()).nonzero()[0])
        found.append(best)
        s[best] = -2
    return torch.tensor(found)


def top_by_numpy(query_emb, emb, k):
    s = scores(query_emb, emb).detach().cpu().numpy()
    return torch.from_numpy(np.argsort(-s, kind="stable")[:k].copy())


def top_divided_afterwards(query_emb, emb, k):
    lengths = (emb.norm(dim=1) * query_emb.norm()).clamp(min=1e-8)
    return (emb @ query_emb / lengths).sort(descending=True, stable=True)[1][:k]


RIGHT_TOP = [
    top_by_stable_sort,
    top_by_negation,
    top_by_python,
    top_one_by_one,
    top_divided_afterwards,
    lambda q, e, k: scores(q, e).argsort(descending=True, stable=True)[: min(k, len(e))],
]


def ranked(s, k):
    return s.argsort(descending=True, stable=True)[:k]


def top_in_place(query_emb, emb, k):
    emb /= emb.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return ranked(emb @ query_emb, k)


def top_skips_zero_rows(query_emb, emb, k):
    keep = emb.norm(dim=1) > 0
    s = torch.where(keep, scores(query_emb, emb), torch.full_like(emb[:, 0], -2))
    return ranked(s, k)


def top_only_positive(query_emb, emb, k):
    s = scores(query_emb, emb)
    return ranked(s, min(k, int((s > 0).sum())))


WRONG_TOP = {
    "dot product": ("not normalised", lambda q, e, k: ranked(e @ q, k)),
    "query normalised": ("not normalised", lambda q, e, k: ranked(e @ F.normalize(q, dim=0), k)),
    "columns": ("wrong axis", lambda q, e, k: ranked(F.normalize(e, dim=0) @ q, k)),
    "worst first": ("worst row comes first", lambda q, e, k: scores(q, e).argsort()[:k]),
    "worst first, the last k": (
        "reversed",
        lambda q, e, k: scores(q, e).argsort(stable=True)[-k:],
    ),
    "flipped": ("ties", lambda q, e, k: scores(q, e).argsort(stable=True).flip(0)[:k]),
    "topk": ("ties come in no order", lambda q, e, k: scores(q, e).topk(k).indices),
    "topk, clipped": (
        "ties come in no order",
        lambda q, e, k: scores(q, e).topk(min(k, len(e)))[1],
    ),
    "topk, unsorted": (
        "sorted=False",
        lambda q, e, k: scores(q, e).topk(min(k, len(e)), sorted=False).indices,
    ),
    "values": (
        "scores are returned",
        lambda q, e, k: scores(q, e).sort(descending=True, stable=True).values[:k],
    ),
    "both": ("tuple", lambda q, e, k: tuple(scores(q, e).topk(min(k, len(e))))),
    "a list": ("list", lambda q, e, k: ranked(scores(q, e), k).tolist()),
    "numpy": ("numpy", lambda q, e, k: ranked(scores(q, e), k).numpy()),
    "one more axis": ("shape", lambda q, e, k: ranked(scores(q, e), k)[None]),
    "NaN": (
        "row of zeros",
        lambda q, e, k: ranked(e / e.norm(dim=1, keepdim=True) @ (q / q.norm()), k),
    ),
    "zero rows last": ("row of zeros", top_skips_zero_rows),
    "only similar ones": ("shape", top_only_positive),
    "distance": (
        "distance",
        lambda q, e, k: torch.cdist(e, q[None])[:, 0].argsort(stable=True)[:k],
    ),
    "distance of unit rows": (
        "row of zeros",
        lambda q, e, k: (unit(e) - F.normalize(q, dim=0)).norm(dim=1).argsort(stable=True)[:k],
    ),
    "absolute": ("absolute", lambda q, e, k: ranked(scores(q, e).abs(), k)),
    "centred": ("mean", lambda q, e, k: ranked(scores(q, e - e.mean(0)), k)),
    "rounded": ("rounded", lambda q, e, k: ranked(scores(q, e).round(decimals=2), k)),
    "ranks": ("ranks", lambda q, e, k: ranked(scores(q, e), len(e)).argsort()[:k]),
    "without the best": ("best row is left out", lambda q, e, k: ranked(scores(q, e), k + 1)[1:]),
    "always five": ("k is fixed", lambda q, e, k: ranked(scores(q, e), 5)),
    "only the best": ("only the best", lambda q, e, k: scores(q, e).argmax()[None]),
    "argmax": ("shape", lambda q, e, k: scores(q, e).argmax()),
    "from 1": ("start at 0", lambda q, e, k: ranked(scores(q, e), k) + 1),
    "by index": ("sorted by their index", lambda q, e, k: ranked(scores(q, e), k).sort().values),
    "not sorted": ("not sorted", lambda q, e, k: torch.arange(min(k, len(e)))),
    "the longest": ("query is not used", lambda q, e, k: ranked(e.norm(dim=1), k)),
    "rows": ("shape", lambda q, e, k: e[ranked(scores(q, e), k)]),
    "floats": ("dtype", lambda q, e, k: ranked(scores(q, e), k).to(e.dtype)),
    "in place": ("in place", top_in_place),
    "no return": ("nothing is returned", lambda q, e, k: None),
    "by numpy": ("gpu", top_by_numpy),
    "on the GPU by name": ("device", lambda q, e, k: ranked(scores(q.cuda(), e.cuda()), k)),
    "softmax of rows": ("wrong", lambda q, e, k: ranked(e.softmax(dim=1) @ q, k)),
    "squared length": (
        "squared",
        lambda q, e, k: ranked(e @ q / e.square().sum(1).clamp(min=1e-9), k),
    ),
    "one more": ("one too many", lambda q, e, k: ranked(scores(q, e), k + 1)),
    "seeded": ("seed", lambda q, e, k: (torch.manual_seed(0), ranked(scores(q, e), k))[1]),
}

# ---------------------------------------------------------------------------------------------
# Task 2


def counted(s):
    """What each row's query counts."""
    return ((s > own(s)).sum(1) == 0).double() / (s >= own(s)).sum(1)


def both_ways(i, t, one=counted, s=cos):
    return tuple(100 * float(one(way).double().mean()) for way in (s(i, t), s(i, t).T))


def recall_in_loops(image_emb, text_emb):
    s, found = cos(image_emb, text_emb), []
    for way in (s.tolist(), s.T.tolist()):
        total = 0.0
        for b, row in enumerate(way):
            if max(row) == row[b]:
                total += 1 / row.count(row[b])
        found.append(100 * total / len(way))
    return found[0], found[1]


def recall_by_maximum(image_emb, text_emb):
    s = F.cosine_similarity(image_emb[:, None], text_emb[None], dim=2)
    best = [s == s.amax(dim=dim, keepdim=True) for dim in (1, 0)]
    rows = best[0].diagonal() / best[0].sum(1)
    columns = best[1].diagonal() / best[1].sum(0)
    return 100 * rows.mean().item(), 100 * columns.mean().item()


def recall_as_tensors(image_emb, text_emb):
    s = cos(image_emb, text_emb)
    rows, columns = (counted(way).to(s.dtype) for way in (s, s.T))
    return 100 * rows.mean(), 100 * columns.mean()


def recall_as_a_list(image_emb, text_emb):
    return list(both_ways(image_emb, text_emb))


def recall_by_numpy(image_emb, text_emb):
    s = cos(image_emb.detach(), text_emb.detach()).cpu().numpy()
    found = []
    for way in (s, s.T):
        at_best = way == way.max(axis=1, keepdims=True)
        found.append(100 * float((np.diag(at_best) / at_best.sum(axis=1)).mean()))
    return tuple(found)


RIGHT_RECALL = [
    both_ways,
    recall_in_loops,
    recall_by_maximum,
    recall_as_tensors,
    recall_as_a_list,
]


def by_argmax(s):
    return s.argmax(dim=1) == torch.arange(len(s))


def found_in_five(s):
    return (s.topk(min(5, len(s)), dim=1).indices == torch.arange(len(s))[:, None]).any(1)


def scaled(change):
    return lambda i, t: tuple(change(each) for each in both_ways(i, t))


def with_rows(change):
    return lambda i, t: both_ways(change(i), change(t), s=lambda a, b: a @ b.T)


def recall_in_place(image_emb, text_emb):
    image_emb.div_(image_emb.norm(dim=1, keepdim=True).clamp(min=1e-12))
    text_emb.div_(text_emb.norm(dim=1, keepdim=True).clamp(min=1e-12))
    return both_ways(image_emb, text_emb, s=lambda a, b: a @ b.T)


def recall_of_the_columns(image_emb, text_emb):
    s = cos(image_emb, text_emb)
    rows = 100 * float(by_argmax(s).double().mean())
    columns = 100 * float((s.argmax(dim=0) == torch.arange(len(s))).double().mean())
    return rows, columns


WRONG_RECALL = {
    "a share": ("percent", scaled(lambda x: x / 100)),
    "a count": (
        "the hits are counted",
        lambda i, t: both_ways(i, t, lambda s: counted(s) * len(s) / 100),
    ),
    "rounded": ("rounded", scaled(round)),
    "whole numbers": ("whole numbers", scaled(int)),
    "misses": ("misses", scaled(lambda x: 100 - x)),
    "swapped": ("swapped", lambda i, t: both_ways(i, t)[::-1]),
    "texts first": ("swapped", lambda i, t: both_ways(t, i)),
    "rows twice": ("images' recall is returned twice", lambda i, t: (both_ways(i, t)[0],) * 2),
    "columns twice": ("texts' recall is returned twice", lambda i, t: (both_ways(i, t)[1],) * 2),
    "one number": ("2 results", lambda i, t: both_ways(i, t)[0]),
    "their mean": ("2 results", lambda i, t: sum(both_ways(i, t)) / 2),
    "three numbers": ("3", lambda i, t: (*both_ways(i, t), sum(both_ways(i, t)) / 2)),
    "ties are found": (
        "a tie counts as found",
        lambda i, t: both_ways(i, t, lambda s: (s > own(s)).sum(1) == 0),
    ),
    "ties are found, by the maximum": (
        "a tie counts as found",
        lambda i, t: both_ways(i, t, lambda s: s.diagonal() == s.amax(1)),
    ),
    "ties are lost": (
        "a tie counts as a miss",
        lambda i, t: both_ways(i, t, lambda s: (s >= own(s)).sum(1) == 1),
    ),
    "argmax": ("argmax", recall_of_the_columns),
    "of five": ("recall at 5", lambda i, t: both_ways(i, t, found_in_five)),
    "of two": ("second place", lambda i, t: both_ways(i, t, lambda s: (s > own(s)).sum(1) < 2)),
    "wrong axis": (
        "wrong axis",
        lambda i, t: both_ways(
            i,
            t,
            lambda s: ((s > s.diagonal()).sum(1) == 0).double() / (s >= s.diagonal()).sum(1),
        ),
    ),
    "dot products": ("not normalised", with_rows(lambda e: e)),
    "columns normalised": ("wrong axis", with_rows(lambda e: F.normalize(e, dim=0))),
    "images only": (
        "only the image rows",
        lambda i, t: both_ways(i, t, s=lambda a, b: unit(a) @ b.T),
    ),
    "texts only": (
        "only the text rows",
        lambda i, t: both_ways(i, t, s=lambda a, b: a @ unit(b).T),
    ),
    "NaN": ("row of zeros", with_rows(lambda e: e / e.norm(dim=1, keepdim=True))),
    "images among images": ("images are compared with images", lambda i, t: both_ways(i, i)),
    "texts among texts": ("texts with texts", lambda i, t: both_ways(t, t)),
    "distances": (
        "distance",
        lambda i, t: both_ways(i, t, s=lambda a, b: torch.cdist(unit(a), unit(b))),
    ),
    "without the diagonal": (
        "a tie counts as a miss",
        lambda i, t: both_ways(i, t, lambda s: own(s)[:, 0] > s.masked_fill(eye(s), 0).amax(1)),
    ),
    "reciprocal ranks": (
        "reciprocal",
        lambda i, t: both_ways(i, t, lambda s: 1 / (s >= own(s)).sum(1)),
    ),
    "above the mean": ("wrong", lambda i, t: both_ways(i, t, lambda s: s.diagonal() > s.mean(1))),
    "in place": ("in place", recall_in_place),
    "no return": ("nothing is returned", lambda i, t: None),
    "a tensor": ("tensor", lambda i, t: torch.tensor(both_ways(i, t))),
    "by numpy": ("gpu", recall_by_numpy),
    "a dict": ("dict", lambda i, t: dict(zip(("i2t", "t2i"), both_ways(i, t), strict=True))),
    "first 30": ("size is fixed", lambda i, t: both_ways(i[:30], t[:30])),
    "strings": ("100.0 %", lambda i, t: tuple(f"{x:.1f} %" for x in both_ways(i, t))),
    "random": ("random", lambda i, t: both_ways(i + 0 * torch.rand_like(i), t)),
    "absolute": ("absolute", lambda i, t: both_ways(i, t, s=lambda a, b: cos(a, b).abs())),
}
