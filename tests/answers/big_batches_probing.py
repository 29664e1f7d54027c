"""Answers to task 5 of exercise 12: a search in the nearest cells."""

import torch
import torch.nn.functional as F


def distance(rows, query):
    return (rows - query).norm(dim=1)


def members_of(query, centres, assigned, probes, near=distance):
    cells = near(centres, query).argsort()[:probes]
    return torch.isin(assigned, cells).nonzero()[:, 0]


def search(query, vectors, centres, assigned, probes, k, near=distance, far=distance):
    members = members_of(query, centres, assigned, probes, near)
    return members[far(vectors[members], query).argsort(stable=True)[:k]]


# ---------------------------------------------------------------------------------------------
# Right


def by_any(query, vectors, centres, assigned, probes, k):
    open_cells = torch.cdist(query[None], centres)[0].topk(probes, largest=False).indices
    inside = (assigned[:, None] == open_cells).any(dim=1)
    members = torch.where(inside)[0]
    d = (vectors[inside] - query).square().sum(dim=1)
    return members[torch.sort(d, stable=True).indices][:k]


def by_table(query, vectors, centres, assigned, probes, k):
    is_open = torch.zeros(len(centres), dtype=torch.bool, device=query.device)
    is_open[distance(centres, query).argsort()[:probes]] = True
    members = is_open[assigned].nonzero().flatten()
    return members[distance(vectors[members], query).argsort(stable=True)][:k]


def by_sorted_lists(query, vectors, centres, assigned, probes, k):
    cells = sorted(range(len(centres)), key=lambda c: float((centres[c] - query).norm()))[:probes]
    lists = [(assigned == c).nonzero()[:, 0] for c in cells]
    members = torch.cat(lists).sort().values
    d = (vectors[members] - query).square().sum(dim=1)
    order = sorted(range(len(members)), key=lambda n: (float(d[n]), int(members[n])))
    return members[torch.tensor(order[:k], dtype=torch.int64, device=members.device)]


RIGHT = [search, by_any, by_table, by_sorted_lists]


# ---------------------------------------------------------------------------------------------
# Wrong


def positions(query, vectors, centres, assigned, probes, k):
    members = members_of(query, centres, assigned, probes)
    return distance(vectors[members], query).argsort(stable=True)[:k]


def distances(query, vectors, centres, assigned, probes, k):
    members = members_of(query, centres, assigned, probes)
    return distance(vectors[members], query).sort().values[:k]


def the_vectors(*args):
    return args[1][search(*args)]


def cell_by_cell(query, vectors, centres, assigned, probes, k):
    found = []
    for cell in distance(centres, query).argsort()[:probes]:
        members = (assigned == cell).nonzero()[:, 0]
        found.append(members[distance(vectors[members], query).argsort(stable=True)])
    return torch.cat(found)[:k]


def joined_by_cells(query, vectors, centres, assigned, probes, k):
    cells = distance(centres, query).argsort()[:probes]
    members = torch.cat([(assigned == cell).nonzero()[:, 0] for cell in cells])
    return members[distance(vectors[members], query).argsort(stable=True)[:k]]


def best_of_each(query, vectors, centres, assigned, probes, k):
    found = []
    for cell in distance(centres, query).argsort()[:probes]:
        members = (assigned == cell).nonzero()[:, 0]
        found.append(members[distance(vectors[members], query).argsort(stable=True)[: k // probes]])
    members = torch.cat(found).sort().values
    return members[distance(vectors[members], query).argsort(stable=True)[:k]]


def k_of_each(query, vectors, centres, assigned, probes, k):
    found = []
    for cell in distance(centres, query).argsort()[:probes]:
        members = (assigned == cell).nonzero()[:, 0]
        found.append(members[distance(vectors[members], query).argsort(stable=True)[:k]])
    return torch.cat(found)


def passes_over_empty_cells(query, vectors, centres, assigned, probes, k):
    cells = distance(centres, query).argsort()
    cells = torch.stack([cell for cell in cells if (assigned == cell).any()])[:probes]
    members = torch.isin(assigned, cells).nonzero()[:, 0]
    return members[distance(vectors[members], query).argsort(stable=True)[:k]]


def opens_until_enough(query, vectors, centres, assigned, probes, k):
    found = search(query, vectors, centres, assigned, probes, k)
    while len(found) < k and probes < len(centres):
        probes += 1
        found = search(query, vectors, centres, assigned, probes, k)
    return found


def exact(query, vectors, centres, assigned, probes, k):
    return distance(vectors, query).argsort(stable=True)[:k]


def masked(query, vectors, centres, assigned, probes, k):
    cells = distance(centres, query).argsort()[:probes]
    inside = torch.isin(assigned, cells)
    d = distance(vectors, query).masked_fill(~inside, torch.inf)
    return d.argsort(stable=True)[: min(k, int(inside.sum()))]


def masked_and_filled(query, vectors, centres, assigned, probes, k):
    cells = distance(centres, query).argsort()[:probes]
    d = distance(vectors, query).masked_fill(~torch.isin(assigned, cells), torch.inf)
    return d.argsort(stable=True)[:k]


def by_topk(query, vectors, centres, assigned, probes, k):
    members = members_of(query, centres, assigned, probes)
    return members[distance(vectors[members], query).topk(k, largest=False).indices]


def by_clipped_topk(query, vectors, centres, assigned, probes, k):
    members = members_of(query, centres, assigned, probes)
    d = distance(vectors[members], query)
    return members[d.topk(min(k, len(d)), largest=False).indices]


def filled_with_minus_one(query, vectors, centres, assigned, probes, k):
    found = search(query, vectors, centres, assigned, probes, k)
    return F.pad(found, (0, k - len(found)), value=-1)


def one_cell(query, vectors, centres, assigned, probes, k):
    cell = distance(centres, query).argmin()
    members = (assigned == cell).nonzero()[:, 0]
    return members[distance(vectors[members], query).argsort(stable=True)[:k]]


def probes_as_cells(query, vectors, centres, assigned, probes, k):
    members = (assigned < probes).nonzero()[:, 0]
    return members[distance(vectors[members], query).argsort(stable=True)[:k]]


def positions_as_cells(query, vectors, centres, assigned, probes, k):
    """The ranks of the cells are taken for their numbers."""
    ranks = distance(centres, query).argsort().argsort()[:probes]
    members = torch.isin(assigned, ranks).nonzero()[:, 0]
    return members[distance(vectors[members], query).argsort(stable=True)[:k]]


def own_cells(query, vectors, centres, assigned, probes, k):
    return search(query, vectors, centres, torch.cdist(vectors, centres).argmin(1), probes, k)


def squeezed(query, vectors, centres, assigned, probes, k):
    members = members_of(query, centres, assigned, probes)[:, None]
    return members[distance(vectors[members[:, 0]], query).argsort(stable=True)[:k]]


def in_place(query, vectors, centres, assigned, probes, k):
    assigned[~torch.isin(assigned, distance(centres, query).argsort()[:probes])] = -1
    members = (assigned >= 0).nonzero()[:, 0]
    return members[distance(vectors[members], query).argsort(stable=True)[:k]]


def rounded(query, vectors, centres, assigned, probes, k):
    return search(
        query, vectors, centres, assigned, probes, k, far=lambda v, q: (v - q).norm(dim=1).round()
    )


def dot(rows, query):
    return -(rows @ query)


def cosine(rows, query):
    return -F.cosine_similarity(rows, query[None])


WRONG = {
    "positions": ("members[places]", positions),
    "distances": ("dtype", distances),
    "vectors": ("shape", the_vectors),
    "cell by cell": ("one after the other", cell_by_cell),
    "joined by cells": ("order of their cells", joined_by_cells),
    "best of each cell": ("shape", best_of_each),
    "k of each cell": ("k vectors of each cell", k_of_each),
    "empty cells passed over": ("without any vector", passes_over_empty_cells),
    "until enough": ("until they hold k", opens_until_enough),
    "probes and k swapped": (
        "are swapped",
        lambda q, v, c, a, p, k: search(q, v, c, a, k, p),
    ),
    "a mask": (
        "mask of True and False",
        lambda q, v, c, a, p, k: torch.isin(a, distance(c, q).argsort()[:p]),
    ),
    "numpy": ("compute with torch", lambda *args: search(*args).numpy()),
    "exact": ("all cells are opened", exact),
    "masked": ("compared with all", masked),
    "masked, filled up": ("fill up the answer", masked_and_filled),
    "topk": ("fewer than k", by_topk),
    "topk, clipped": ("same distance", by_clipped_topk),
    "filled with -1": ("shape", filled_with_minus_one),
    "one cell": ("only one cell", one_cell),
    "first cells": ("first cells are opened", probes_as_cells),
    "ranks as cells": ("wrong", positions_as_cells),
    "cells computed anew": ("`assigned`", own_cells),
    "farthest cells": (
        "farthest cells",
        lambda q, v, c, a, p, k: search(q, v, c, a, p, k, near=lambda r, q: -distance(r, q)),
    ),
    "cells by dot product": (
        "centres' dot products",
        lambda q, v, c, a, p, k: search(q, v, c, a, p, k, near=dot),
    ),
    "cells by cosine": (
        "centres' cosines",
        lambda q, v, c, a, p, k: search(q, v, c, a, p, k, near=cosine),
    ),
    "dot product": ("dot product", lambda q, v, c, a, p, k: search(q, v, c, a, p, k, far=dot)),
    "cosine": ("cosine", lambda q, v, c, a, p, k: search(q, v, c, a, p, k, far=cosine)),
    "all by dot product": (
        "dot product",
        lambda q, v, c, a, p, k: search(q, v, c, a, p, k, near=dot, far=dot),
    ),
    "farthest first": (
        "farthest comes first",
        lambda q, v, c, a, p, k: search(q, v, c, a, p, k, far=lambda r, q: -distance(r, q)),
    ),
    "sorted": ("sorted by their index", lambda *args: search(*args).sort().values),
    "rounded": ("wrong", rounded),
    "one cell too many": (
        "one cell too many",
        lambda q, v, c, a, p, k: search(q, v, c, a, p + 1, k),
    ),
    "ten": ("k is fixed", lambda q, v, c, a, p, k: search(q, v, c, a, p, 10)),
    "one more": ("one too many", lambda q, v, c, a, p, k: search(q, v, c, a, p, k + 1)),
    "a column": ("shape", squeezed),
    "a list": ("list", lambda *args: search(*args).tolist()),
    "from 1": ("start at 0", lambda *args: search(*args) + 1),
    "in place": ("in place", in_place),
    "nothing": ("nothing is returned", lambda *args: None),
}
