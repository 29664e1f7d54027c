"""Answers to tasks 2 and 3: one skeleton, closed by a sum or by a maximum."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from answers.shared import cos, eye, own


def closed(hinge: Tensor, by: str) -> Tensor:
    return hinge.sum(dim=1) if by == "sum" else hinge.amax(dim=1)


def skeleton(hinge: Callable, by: str, s: Callable = cos) -> Callable:
    """loss(i, t, m): both directions' hinge(similarity, positive, margin), its mean over pairs."""

    def loss(image_emb, text_emb, margin=0.2):
        matrix = s(image_emb, text_emb)
        ways = (matrix, matrix.T)
        return sum(closed(hinge(way, own(way), margin), by) for way in ways).mean()

    return loss


def off(hinge: Tensor) -> Tensor:
    return hinge.masked_fill(eye(hinge), 0)


def plain(s: Tensor, p: Tensor, m: float) -> Tensor:
    return off((m - p + s).relu())


def rights(by: str) -> list[Callable]:
    """Right answers of many kinds to task 2 (by="sum") or 3 ("max")."""

    def in_loops(image_emb, text_emb, margin=0.2):
        s, costs = cos(image_emb, text_emb), []
        for b in range(len(s)):
            for row in (s[b], s[:, b]):
                hinges = [torch.relu(margin - s[b, b] + row[k]) for k in range(len(s)) if k != b]
                costs.append(sum(hinges) if by == "sum" else torch.stack(hinges).max())
        return sum(costs) / len(s)

    def minus_infinity(image_emb, text_emb, margin=0.2):
        s = cos(image_emb, text_emb)
        masked = s.masked_fill(eye(s), -math.inf)
        rows = closed((margin - own(s) + masked).clamp(min=0), by)
        columns = closed((margin - own(s) + masked.T).clamp(min=0), by)
        return rows.mean() + columns.mean()

    def as_vse(image_emb, text_emb, margin=0.2):
        s = cos(image_emb, text_emb)
        d = s.diag().view(-1, 1)
        cost_t = (margin + s - d.expand_as(s)).clamp(min=0).masked_fill(eye(s), 0)
        cost_i = (margin + s - d.t().expand_as(s)).clamp(min=0).masked_fill(eye(s), 0)
        if by == "sum":
            return (cost_t.sum() + cost_i.sum()) / len(s)
        return (cost_t.max(1)[0].sum() + cost_i.max(0)[0].sum()) / s.shape[0]

    def index_form(image_emb, text_emb, margin=0.2):
        s = cos(image_emb, text_emb)
        rows = s[~eye(s)].view(len(s), -1)
        columns = s.T[~eye(s)].view(len(s), -1)
        hinge = torch.cat([rows, columns]) - s.diag().repeat(2)[:, None] + margin
        return closed(F.relu(hinge), by).sum() / len(s)

    def multiplied_mask(image_emb, text_emb, margin=0.2):
        s = F.cosine_similarity(image_emb[:, None], text_emb[None], dim=-1)
        others = 1 - torch.eye(len(s), device=s.device, dtype=s.dtype)
        hinge = torch.clamp(margin + torch.stack([s, s.t()]) - s.diagonal()[None, :, None], min=0)
        hinge = hinge * others
        return (hinge.sum(2) if by == "sum" else hinge.max(2).values).sum(0).mean()

    def zero_dim_constant(image_emb, text_emb, margin=0.2):
        s, zero = cos(image_emb, text_emb), torch.tensor(0.0)
        way = torch.where(eye(s), zero, torch.maximum(margin - own(s) + s, zero.to(s)))
        back = torch.where(eye(s), zero, torch.maximum(margin - own(s) + s.T, zero.to(s)))
        return (closed(way, by) + closed(back, by)).mean()

    every = [
        skeleton(plain, by),
        in_loops,
        minus_infinity,
        as_vse,
        index_form,
        multiplied_mask,
        zero_dim_constant,
        skeleton(lambda s, p, m: off((m + (1 - p) - (1 - s)).relu()), by),  # distances
        skeleton(lambda s, p, m: (m - p + s).relu().diagonal_scatter(s.new_zeros(len(s))), by),
        skeleton(lambda s, p, m: F.relu(s - (p - m)).where(~eye(s), 0), by),
        skeleton(lambda s, p, m: (m - p + s - 1e4 * eye(s)).relu(), by),
    ]
    if by == "sum":
        # The diagonal costs exactly the margin, and one formula per matrix serves both directions.
        every.append(
            lambda i, t, m=0.2: skeleton(lambda s, p, n: (n - p + s).relu(), by)(i, t, m) - 2 * m
        )
        every.append(
            lambda i, t, m=0.2: (
                sum(
                    off((m - d + cos(i, t)).relu()).sum()
                    for d in (own(cos(i, t)), own(cos(i, t)).T)
                )
                / len(i)
            )
        )
    else:
        # The 0 on the diagonal is as good as a clamp, and -1 can never be the highest.
        every.append(skeleton(lambda s, p, m: off(m - p + s), by))
        every.append(skeleton(lambda s, p, m: (m - p + s.masked_fill(eye(s), -1)).relu(), by))
        every.append(
            skeleton(
                lambda s, p, m: off((m - p + s).topk(len(s)).values.relu() * 0 + plain(s, p, m)), by
            )
        )
        every.append(
            skeleton(lambda s, p, m: plain(s, p, m).sort(dim=1, descending=True).values[:, :1], by)
        )
    return every
