"""The mistakes of exercise 04's task 4: which pairs are duplicates, and what is done about them."""

from __future__ import annotations

import torch
from torch import Tensor

from mmret_lib.checks.engine.task import Formula, mistakes
from mmret_lib.checks.triplet.hinges import eye, same, share_an_id


def duplicates_set_to(value: float) -> dict[str, Formula]:
    """Steps that set the duplicates' similarities, not their hinges."""

    def others(rows: Tensor, negative: Tensor) -> Tensor:
        return rows.masked_fill(~negative & ~eye(rows), value)

    return {"others": others, "counted": lambda negative: ~eye(negative)}


def not_the_first(image_ids: Tensor, caption_ids: Tensor) -> Tensor:
    """(B, B), True where one of two pairs shares an id with a pair before it."""
    repeated = share_an_id(image_ids, caption_ids).tril(-1).any(dim=1)
    return repeated[:, None] | repeated


def with_their_duplicates(image_ids: Tensor, caption_ids: Tensor) -> Tensor:
    """(B, B), True where two pairs share an id, or each of them one with a third pair."""
    shared = share_an_id(image_ids, caption_ids)
    return (shared[:, :, None] & shared[:, None]).any(dim=0)


def with_negatives(h: Tensor, negative: Tensor, emb: Tensor) -> Tensor:
    """The number of queries that have a negative."""
    return negative.any(dim=-1).sum().clamp(min=1)


# i and c are the ids of images and captions, (B,).
WRONG_DUPLICATES = mistakes(
    {
        "duplicates": "two pairs that share the image id or the caption id, or both, are not "
        "negatives of each other",
    },
    duplicates={
        "the ids are ignored": lambda i, c: torch.zeros_like(same(i)),
        "image_ids alone are used": lambda i, c: same(i),
        "caption_ids alone are used": lambda i, c: same(c),
        "only pairs that share both ids are left out (or, not and)": lambda i, c: same(i) & same(c),
        "pairs that share both ids count again (exclusive or)": lambda i, c: same(i) ^ same(c),
        "image ids are compared with caption ids: compare each kind with itself": (
            lambda i, c: (i[:, None] == c) | (c[:, None] == i)
        ),
        "the mask is inverted": lambda i, c: ~share_an_id(i, c),
        "only neighbouring duplicates are masked: any two pairs of a batch can share an id": (
            lambda i, c: share_an_id(i, c).triu(-1).tril(1)
        ),
        "duplicates are masked above the diagonal only: the mask is symmetric": (
            lambda i, c: share_an_id(i, c).triu()
        ),
        "duplicates are masked below the diagonal only: the mask is symmetric": (
            lambda i, c: share_an_id(i, c).tril()
        ),
        "everything is masked: image_ids == image_ids compares each id with itself, and "
        "image_ids[:, None] == image_ids each with each": lambda i, c: torch.ones_like(same(i)),
        "the two ids are added up before they are compared": lambda i, c: same(i + c),
        "a pair that has a duplicate is left out for every query: leave it out for its duplicates "
        "only": lambda i, c: (share_an_id(i, c).sum(dim=0) > 1).expand(len(i), -1),
        "a pair that has a duplicate is not used as a query: every pair still is one, and only its "
        "duplicates are not negatives of it": lambda i, c: share_an_id(i, c).sum(1)[:, None] > 1,
        "each direction uses one kind of id only: in both, pairs that share either are no "
        "negatives": (lambda i, c: torch.stack([same(i), same(c)])),
        "each direction uses one kind of id only: in both, either kind rules a pair out": (
            lambda i, c: torch.stack([same(c), same(i)])
        ),
        "duplicates of duplicates are left out, too: only pairs that share an id themselves are no "
        "negatives": with_their_duplicates,
        "the ids are used in one direction only: mask the texts' negatives too": (
            lambda i, c: torch.stack([share_an_id(i, c), torch.zeros_like(same(i))])
        ),
    },
    divisor={
        "divided by the queries that have a negative: a query without any costs 0, but still is "
        "one of the B pairs": with_negatives
    },
    several={
        "duplicates are taken out of the batch: every pair stays in it as a query, and only its "
        "duplicates are not negatives of it": {
            "duplicates": not_the_first,
            "divisor": with_negatives,
        },
        "a duplicate's similarity is set to 0, which is a similarity like any other and still "
        "costs something: set its hinge to 0 instead": duplicates_set_to(0),
        "a duplicate's similarity is set to -1, and where the positive is very dissimilar it still "
        "costs something: set its hinge to 0 instead": duplicates_set_to(-1),
    },
)
