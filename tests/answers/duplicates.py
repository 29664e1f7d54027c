"""Answers to task 4, the maximum of hinges over what really is a negative."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from answers.shared import cos, eye, forgets_return, own, unit


def same(ids: Tensor) -> Tensor:
    return ids[:, None] == ids[None, :]


def either(image_ids: Tensor, caption_ids: Tensor) -> Tensor:
    return same(image_ids) | same(caption_ids)


def masked(mask: Callable, s: Callable = cos) -> Callable:
    """The loss that leaves out of both directions what mask(image_ids, caption_ids) says."""

    def loss(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
        matrix, left_out = s(image_emb, text_emb), mask(image_ids, caption_ids)
        ways = [(margin - own(w) + w).relu().masked_fill(left_out, 0) for w in (matrix, matrix.T)]
        return sum(way.amax(dim=1) for way in ways).mean()

    return loss


right = masked(either)


def each_way(cost: Callable) -> Callable:
    """The loss that makes a cost of what each pair lacks and what is left out, in both ways."""

    def loss(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
        matrix, left_out = cos(image_emb, text_emb), either(image_ids, caption_ids)
        return sum(cost(margin - own(w) + w, left_out).mean() for w in (matrix, matrix.T))

    return loss


def in_loops(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    s, total = cos(image_emb, text_emb), image_emb.new_zeros(())
    for way in (s, s.T):
        for b in range(len(s)):
            for_each = [0 * way[b, b]]
            for k in range(len(s)):
                if image_ids[b] != image_ids[k] and caption_ids[b] != caption_ids[k]:
                    for_each.append(margin - way[b, b] + way[b, k])
            total = total + torch.stack(for_each).max()
    return total / len(s)


def by_sets(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    names, size = list(zip(image_ids.tolist(), caption_ids.tolist(), strict=True)), len(image_ids)
    negative = torch.tensor(
        [[a != c and b != d for c, d in names] for a, b in names], device=image_emb.device
    )
    s = cos(image_emb, text_emb)
    nothing = s.new_zeros(size, 1)
    ways = [
        torch.cat([(margin - own(w) + w).where(negative, -math.inf), nothing], 1) for w in (s, s.T)
    ]
    return (ways[0].max(dim=1).values + ways[1].max(dim=1).values).sum() / size


def by_inverse(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    _, image_numbers = image_ids.unique(return_inverse=True)
    _, caption_numbers = caption_ids.unique(return_inverse=True)
    return right(image_emb, text_emb, image_numbers, caption_numbers, margin)


def multiplied(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    s = unit(image_emb) @ unit(text_emb).mT
    keep = torch.ne(image_ids.unsqueeze(0), image_ids.unsqueeze(1)).to(s.dtype)
    keep = keep * torch.ne(caption_ids.view(1, -1), caption_ids.view(-1, 1))
    d = torch.diag(s)
    rows = F.relu(margin + s - d.unsqueeze(1)) * keep
    columns = F.relu(margin + s - d.unsqueeze(0)) * keep
    return rows.max(1)[0].mean() + columns.max(0)[0].mean()


RIGHT_DUPLICATES = [
    right,
    in_loops,
    by_sets,
    by_inverse,
    multiplied,
    masked(lambda i, c: torch.logical_or(same(i), same(c))),
    masked(lambda i, c: ~((i[:, None] != i) & (c[:, None] != c))),
    masked(lambda i, c: same(i) + same(c)),
    masked(lambda i, c: torch.maximum(same(i).int(), same(c).int()).bool()),
    masked(lambda i, c: (i[:, None] - i == 0) | (c[:, None] - c == 0)),
    each_way(lambda lacks, out: lacks.masked_fill(out, -math.inf).relu().amax(1)),
    each_way(lambda lacks, out: lacks.masked_fill(out, -math.inf).amax(1).clamp(min=0)),
    each_way(lambda lacks, out: lacks.where(~out, -100).amax(1).relu()),
    each_way(lambda lacks, out: lacks.relu().masked_fill(out, -1).amax(1).clamp(min=0)),
]


# ---------------------------------------------------------------------------------------------
# Wrong answers, each beside a word of the message that refuses it


def one_way(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    s, out = cos(image_emb, text_emb), either(image_ids, caption_ids)
    rows = (margin - own(s) + s).relu().masked_fill(out, 0)
    columns = (margin - own(s) + s.T).relu().masked_fill(eye(s), 0)
    return (rows.amax(1) + columns.amax(1)).mean()


def zero_similarity(image_emb, text_emb, image_ids, caption_ids, margin=0.2, fill=0.0):
    s = cos(image_emb, text_emb)
    out = either(image_ids, caption_ids)
    ways = [margin - own(s) + w.masked_fill(out, fill) for w in (s, s.T)]
    ways = [way.relu().masked_fill(eye(s), 0) for way in ways]
    return (ways[0].amax(1) + ways[1].amax(1)).mean()


def minus_one_similarity(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    return zero_similarity(image_emb, text_emb, image_ids, caption_ids, margin, fill=-1.0)


def answerable_only(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    asks = (~either(image_ids, caption_ids)).any(dim=1)
    loss = right(image_emb, text_emb, image_ids, caption_ids, margin)
    return loss * len(asks) / asks.sum().clamp(min=1)


def over_unmasked(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    """The sum where the maximum should be, over the number of negatives."""
    s, out = cos(image_emb, text_emb), either(image_ids, caption_ids)
    total = sum((margin - own(s) + w).relu().masked_fill(out, 0).sum() for w in (s, s.T))
    return total / (~out).sum().clamp(min=1)


def empty_maximum(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    s, out = cos(image_emb, text_emb), either(image_ids, caption_ids)
    costs = [
        (margin - way[b, b] + way[b][~out[b]]).relu().max()
        for way in (s, s.T)
        for b in range(len(s))
    ]
    return torch.stack(costs).sum() / len(s)


def one_hot(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    def shared(ids):
        codes = F.one_hot(ids).double()
        return codes @ codes.T > 0

    return masked(lambda i, c: shared(i) | shared(c))(
        image_emb, text_emb, image_ids, caption_ids, margin
    )


def counted(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    seen = torch.bincount(image_ids)[image_ids] + torch.bincount(caption_ids)[caption_ids] > 2
    return masked(lambda i, c: either(i, c) | seen)(
        image_emb, text_emb, image_ids, caption_ids, margin
    )


def first_of_each(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    """Takes duplicates out of the batch before anything else."""
    repeated = either(image_ids, caption_ids).tril(-1).any(dim=1)
    one = cos(image_emb[~repeated], text_emb[~repeated])
    ways = [(margin - own(w) + w).relu().masked_fill(eye(one), 0) for w in (one, one.T)]
    return sum(way.amax(dim=1) for way in ways).mean()


def without_duplicates(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    """Lets only pairs ask that have no duplicate."""
    s, out = cos(image_emb, text_emb), either(image_ids, caption_ids)
    alone = out.sum(dim=1) == 1
    ways = [(margin - own(w) + w).relu().masked_fill(out, 0).amax(1) for w in (s, s.T)]
    return ((ways[0] + ways[1]) * alone).mean()


def own_ids_each_way(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    s = cos(image_emb, text_emb)
    rows = (margin - own(s) + s).relu().masked_fill(same(image_ids), 0)
    columns = (margin - own(s) + s.T).relu().masked_fill(same(caption_ids), 0)
    return (rows.amax(1) + columns.amax(1)).mean()


def ids_in_place(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    image_ids -= image_ids.min()
    return right(image_emb, text_emb, image_ids, caption_ids, margin)


def hinge_in_place(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    s, out = cos(image_emb, text_emb), either(image_ids, caption_ids)
    total = 0
    for way in (s, s.T):
        hinge = (margin - own(way) + way).relu()
        hinge[out] = 0
        total = total + hinge.amax(dim=1).mean()
    return total


def mask_on_the_cpu(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
    s = cos(image_emb, text_emb)
    out = either(image_ids, caption_ids) | torch.eye(len(s), dtype=torch.bool)
    ways = [(margin - own(w) + w).relu().masked_fill(out, 0) for w in (s, s.T)]
    return (ways[0].amax(1) + ways[1].amax(1)).mean()


def changed(**hinge: Callable) -> Callable:
    """The right loss with its embeddings or its result changed."""
    emb, out = hinge.get("emb", lambda e: e), hinge.get("out", lambda loss: loss)

    def loss(image_emb, text_emb, image_ids, caption_ids, margin=0.2):
        return out(right(emb(image_emb), emb(text_emb), image_ids, caption_ids, margin))

    return loss


WRONG_DUPLICATES = {
    "ids ignored": ("ids are ignored", masked(lambda i, c: torch.eye(len(i)).bool())),
    "images only": ("image_ids alone", masked(lambda i, c: same(i))),
    "captions only": ("caption_ids alone", masked(lambda i, c: same(c))),
    "and": ("or, not and", masked(lambda i, c: same(i) & same(c))),
    "not and": ("or, not and", masked(lambda i, c: ~((i[:, None] != i) | (c[:, None] != c)))),
    "exclusive or": ("exclusive or", masked(lambda i, c: same(i) ^ same(c))),
    "across": (
        "with caption ids",
        masked(lambda i, c: (i[:, None] == c) | (c[:, None] == i) | torch.eye(len(i)).bool()),
    ),
    "concatenated": ("both", masked(lambda i, c: same(1000 * i + c))),
    "added up": ("ids are added", masked(lambda i, c: same(i + c))),
    "inverted": ("inverted", masked(lambda i, c: ~either(i, c) | torch.eye(len(i)).bool())),
    "inverted with the diagonal": ("inverted", masked(lambda i, c: ~either(i, c))),
    "everything": ("with itself", masked(lambda i, c: (i == i.T) | (c == c.T))),
    "neighbours": (
        "neighbouring",
        masked(
            lambda i, c: (
                (either(i, c) & (torch.ones(len(i), len(i)).tril(1).triu(-1) > 0))
                | torch.eye(len(i)).bool()
            )
        ),
    ),
    "later only": ("symmetric", masked(lambda i, c: either(i, c).triu())),
    "earlier only": ("symmetric", masked(lambda i, c: either(i, c).tril())),
    "diagonal kept": (
        "diagonal is not left out",
        masked(lambda i, c: either(i, c) & ~torch.eye(len(i)).bool()),
    ),
    "columns dropped": (
        "left out for every query",
        masked(lambda i, c: (either(i, c).sum(0) > 1).expand(len(i), -1) | either(i, c)),
    ),
    "out of the batch": ("taken out of the batch", first_of_each),
    "asked by nobody": ("every pair still is one", without_duplicates),
    "one direction": ("one direction", one_way),
    "similarity 0": ("similarity is set to 0", zero_similarity),
    "similarity -1": ("set to -1", minus_one_similarity),
    "answerable queries": ("still is one of the b pairs", answerable_only),
    "mean over the negatives": ("mean", over_unmasked),
    "-inf": (
        "without any negative",
        each_way(lambda lacks, out: lacks.relu().masked_fill(out, -math.inf).amax(1)),
    ),
    "maximum of nothing": ("without any negative", empty_maximum),
    "no clamp": (
        "clamp is missing",
        each_way(lambda lacks, out: lacks.masked_fill(out, -10).amax(1)),
    ),
    "one-hot": ("names, not positions", one_hot),
    "bincount": ("left out for every query", counted),
    "ids as float": ("names", masked(lambda i, c: same(i.float()) | same(c.float()))),
    "ids as double": ("names", masked(lambda i, c: same(i.double()) | same(c.double()))),
    "own ids each way": ("one kind of id", own_ids_each_way),
    "passed on": (
        "duplicates of duplicates",
        masked(lambda i, c: (either(i, c).float() @ either(i, c).float()) > 0),
    ),
    "ids as int32": ("names", masked(lambda i, c: same(i.int()) | same(c.int()))),
    "the sum": (
        "the sum is taken: each query costs",
        each_way(lambda lacks, out: lacks.relu().masked_fill(out, 0).sum(1)),
    ),
    "the mean": (
        "mean over the negatives",
        each_way(lambda lacks, out: lacks.relu().masked_fill(out, 0).sum(1) / (len(out) - 1)),
    ),
    "wrong axis": (
        "wrong axis",
        each_way(lambda lacks, out: lacks.relu().masked_fill(out, 0).amax(0)),
    ),
    "whole matrix": (
        "whole matrix",
        each_way(lambda lacks, out: lacks.relu().masked_fill(out, 0).amax()),
    ),
    "margin twice": ("twice", lambda i, t, ii, ci, m=0.2: right(i, t, ii, ci, 2 * m)),
    "margin fixed": ("fixed", lambda i, t, ii, ci, m=0.2: right(i, t, ii, ci)),
    "halved": ("half of it", changed(out=lambda loss: loss / 2)),
    "not normalised": ("not normalised", masked(either, lambda i, t: i @ t.T)),
    "wrong axis of the norm": (
        "wrong axis",
        masked(either, lambda i, t: F.normalize(i, dim=0) @ F.normalize(t, dim=0).T),
    ),
    "summed over the batch": (
        "summed over the batch",
        lambda i, t, ii, ci, m=0.2: right(i, t, ii, ci, m) * len(i),
    ),
    "two mistakes": (
        "two things",
        lambda i, t, ii, ci, m=0.2: masked(lambda i, c: same(i))(i, t, ii, ci, m) * len(i),
    ),
    "no return": ("nothing is returned", forgets_return),
    "detached": ("detached", changed(out=lambda loss: loss.detach())),
    "a number": ("python number", changed(out=lambda loss: loss.item())),
    "detached positives": (
        "positives are detached",
        masked(
            either,
            lambda i, t: (
                cos(i, t)
                - torch.diag(cos(i, t).diagonal() * 1)
                + torch.diag(cos(i, t).diagonal().detach())
            ),
        ),
    ),
    "float64": ("dtype", changed(emb=lambda e: e.double())),
    "float32": ("dtype", changed(emb=lambda e: e.float())),
    "ids changed in place": ("image_ids is changed in place", ids_in_place),
    "hinge in place": ("in place", hinge_in_place),
    "mask on the CPU": ("gpu", mask_on_the_cpu),
    "no ids": ("arguments", lambda i, t, m=0.2: cos(i, t).mean()),
}
