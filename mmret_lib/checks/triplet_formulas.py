"""The formulas of exercise 04, each with the ways to get it wrong as options.

Without options these equal `mmret_lib.losses`; the tests hold the two together. An option's value
names what is done instead, and `triplet_slips` says in words what that means.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.losses.base import unit_length


def cosines(
    image_emb: Tensor, text_emb: Tensor, *, norm: str = "rows", form: str = "", detach: str = ""
) -> Tensor:
    """(B, B): the cosine of image b and text k, rows of embeddings (B, D); zero rows give 0."""
    images, texts = image_emb, text_emb
    if detach in ("images", "texts"):
        images, texts = (
            emb.detach() if detach == name else emb
            for emb, name in ((images, "images"), (texts, "texts"))
        )
    if form == "centred":
        images, texts = (emb - emb.mean(dim=0) for emb in (images, texts))
    if form == "images twice":
        texts = images
    if form == "texts twice":
        images = texts
    images = normalised(images, "none" if norm == "texts only" else norm, detach)
    texts = normalised(texts, "none" if norm == "images only" else norm, detach)
    if form == "euclidean":
        return -torch.cdist(images, texts)
    similarity = images @ texts.T
    if form == "transposed":
        return similarity.T
    if form == "distance":
        return 1 - similarity
    if form == "absolute":
        return similarity.abs()
    if form == "clamped":
        return similarity.clamp(min=0)
    if form == "shifted":
        return (similarity + 1) / 2
    if form == "softmax":
        return similarity.softmax(dim=1)
    return similarity


def normalised(emb: Tensor, norm: str, detach: str) -> Tensor:
    """Rows (B, D) divided by what `norm` says."""
    if norm == "none":
        return emb
    if norm in ("rows", "texts only", "images only"):
        if detach == "norms":
            length = emb.detach().norm(dim=1, keepdim=True)
            return emb / length.where(length > 0, 1)
        return unit_length(emb)
    if norm == "columns":
        return F.normalize(emb, dim=0)
    if norm == "whole":
        return emb / emb.norm()
    if norm == "largest":
        return emb / emb.abs().amax(dim=1, keepdim=True)
    if norm == "standardised":
        return (emb - emb.mean(dim=1, keepdim=True)) / emb.std(dim=1, keepdim=True)
    length = emb.norm(dim=1, keepdim=True)
    if norm == "unguarded":
        return emb / length
    if norm == "squared":
        return emb / length.square().where(length > 0, 1)
    if norm == "root":
        return emb / length.sqrt().where(length > 0, 1)
    if norm == "sums":
        return emb / emb.abs().sum(dim=1, keepdim=True).where(length > 0, 1)
    if norm == "softmax":
        return emb.softmax(dim=1)
    return emb / (length + float(norm))  # an epsilon that is too large


def allowed(image_ids: Tensor | None, caption_ids: Tensor | None, size: int, ids: str) -> Tensor:
    """(B, B), True where pair k is a negative of query b as far as the ids go."""
    if image_ids is None or caption_ids is None or ids == "ignored":
        return torch.ones(size, size, dtype=torch.bool)
    same_image = image_ids[:, None] == image_ids
    same_caption = caption_ids[:, None] == caption_ids
    if ids == "images only":
        return ~same_image
    if ids == "captions only":
        return ~same_caption
    if ids == "both needed":
        return ~(same_image & same_caption)
    if ids == "exactly one":
        return ~(same_image ^ same_caption)
    if ids == "across":
        return ~((image_ids[:, None] == caption_ids) | (caption_ids[:, None] == image_ids))
    if ids == "inverted":
        return same_image | same_caption
    if ids == "neighbours":
        near = (torch.arange(size)[:, None] - torch.arange(size)).abs() == 1
        return ~((same_image | same_caption) & near)
    if ids == "later":
        return ~((same_image | same_caption).triu(1))
    if ids == "earlier":
        return ~((same_image | same_caption).tril(-1))
    if ids == "everything":
        return torch.zeros(size, size, dtype=torch.bool)
    if ids == "added":
        return (image_ids + caption_ids)[:, None] != image_ids + caption_ids
    if ids == "columns dropped":
        return ~(same_image | same_caption).fill_diagonal_(False).any(dim=0).expand(size, size)
    return ~(same_image | same_caption)


def triplet(
    image_emb: Tensor,
    text_emb: Tensor,
    margin: float = 0.2,
    image_ids: Tensor | None = None,
    caption_ids: Tensor | None = None,
    *,
    combine: str,
    norm: str = "rows",
    form: str = "",
    diagonal: str = "",
    directions: str = "both",
    average: str = "pairs",
    ids: str = "either",
    detach: str = "",
    **slips: str,
) -> Tensor:
    """The sum (combine="sum") or the maximum ("max") of hinges: a scalar."""
    if ids == "taken out" and image_ids is not None and caption_ids is not None:
        repeated = ~allowed(image_ids, caption_ids, len(image_emb), "either")
        once = ~repeated.tril(-1).any(dim=1)
        image_emb, text_emb = image_emb[once], text_emb[once]
        image_ids, caption_ids = image_ids[once], caption_ids[once]
    similarity = cosines(image_emb, text_emb, norm=norm, form=form, detach=detach)
    size = len(similarity)
    fits = allowed(image_ids, caption_ids, size, ids)
    ways = [(similarity, fits), (similarity.T, torch.ones_like(fits) if ids == "one way" else fits)]
    if directions == "same column":  # the hinges of image -> text once more, along the columns
        ways[1] = ways[0]
    kept_once = {"kept for images": ("kept", ""), "kept for texts": ("", "kept")}
    hinge = [
        hinges(way, mask, margin, diagonal=how, detach=detach, **slips)
        for (way, mask), how in zip(ways, kept_once.get(diagonal, 2 * (diagonal,)), strict=True)
    ]
    if directions == "same column":
        hinge[1] = hinge[1].T
    costs = [combined(one, combine) for one in hinge]
    if detach in ("image direction", "text direction"):
        place = ("image direction", "text direction").index(detach)
        costs[place] = costs[place].detach()
    total = {
        "both": lambda: costs[0] + costs[1],
        "same column": lambda: costs[0] + costs[1],
        "images": lambda: costs[0],
        "texts": lambda: costs[1],
        "halved": lambda: (costs[0] + costs[1]) / 2,
        "images twice": lambda: 2 * costs[0],
        "texts twice": lambda: 2 * costs[1],
        "difference": lambda: costs[0] - costs[1],
        "larger": lambda: torch.maximum(costs[0], costs[1]),
        "smaller": lambda: torch.minimum(costs[0], costs[1]),
    }[directions]()
    if ids == "asked by nobody":
        total = total * (fits.sum(dim=1) == size - 1)
    active = torch.stack([(one > 0).sum() for one in hinge]).sum()
    of_each = fits.sum(dim=1) - fits.diagonal().long()  # (B,)
    negatives, with_negatives = of_each.sum(), (of_each > 0).sum()
    divisors: dict[str, int | Tensor] = {
        "pairs": size,
        "none": 1,
        "squared": size * size,
        "negatives": negatives.clamp(min=1),
        "less one": size - 1,
        "active": active.clamp(min=1),
        "answerable": with_negatives.clamp(min=1),
        "width": image_emb.shape[1],
    }
    return total.sum() / divisors[average]


def hinges(
    similarity: Tensor,
    fits: Tensor,
    margin: float,
    *,
    gap: str = "",
    diagonal: str = "",
    hinge: str = "relu",
    positive: str = "row",
    kept: str = "",
    masked: str = "",
    detach: str = "",
) -> Tensor:
    """(B, B): what query b (a row) loses to pair k; 0 where k is not a negative of it."""
    size = len(similarity)
    own = similarity.diagonal()
    if detach == "positives":
        own = own.detach()
    if positive == "next":
        own = own.roll(1)
    own = own[None, :] if positive == "column" else own[:, None]
    others = similarity.detach() if detach == "negatives" else similarity
    eye = torch.eye(size, dtype=torch.bool)
    if diagonal in ("zeroed early", "minus one"):
        others = others.masked_fill(eye, 0 if diagonal == "zeroed early" else -1)
    if masked:
        others = others.masked_fill(~(fits | eye), {"zero": 0, "minus one": -1}[masked])
    lacking = {
        "": lambda: margin - own + others,
        "margin's sign": lambda: -margin - own + others,
        "no margin": lambda: others - own,
        "margin twice": lambda: 2 * margin - own + others,
        "margin 0.2": lambda: 0.2 - own + others,
        "margin 1": lambda: 1.0 - own + others,
        "swapped": lambda: margin + own - others,
        "both added": lambda: margin + own + others,
        "both taken": lambda: margin - own - others,
        "no positive": lambda: margin + others,
        "scaled": lambda: margin * (others - own),
        "doubled": lambda: margin + 2 * (others - own),
        "distances": lambda: margin + apart(own) - apart(others),
        "ratio": lambda: margin - own * others,
    }[gap]()
    cost = {
        "relu": lambda: lacking.relu(),
        "none": lambda: lacking,
        "unclamped": lambda: lacking,
        "abs": lambda: lacking.abs(),
        "squared": lambda: lacking.relu().square(),
        "softplus": lambda: F.softplus(lacking),
        "from above": lambda: lacking.clamp(max=0),
        "at margin": lambda: lacking.clamp(min=margin),
        "below one": lambda: lacking.clamp(0, 1),
        "step": lambda: (lacking > 0).to(lacking.dtype) + 0 * lacking,
        "leaky": lambda: F.leaky_relu(lacking),
    }[hinge]()
    counted = fits & ~eye
    if diagonal in ("kept", "zeroed early", "minus one"):
        counted = fits | eye
    if diagonal == "upper":
        counted = fits.triu(1)
    if diagonal == "only":
        counted = eye
    if diagonal == "neighbour":
        counted = fits & eye.roll(1, dims=1)
    if masked:
        counted = ~eye
    if kept == "easier":
        counted = counted & (similarity < own)
    if kept == "harder":
        counted = counted & (similarity > own)
    if kept == "positive similarity":
        counted = counted & (similarity > 0)
    return cost.masked_fill(~counted, -math.inf if hinge == "unclamped" else 0)


def apart(similarity: Tensor) -> Tensor:
    """The Euclidean distance of two rows of length 1."""
    return (2 - 2 * similarity).clamp(min=0).sqrt()


def combined(hinge: Tensor, combine: str) -> Tensor:
    """(B,): the hinges (B, B) of each query made one number."""
    size = len(hinge)
    off_diagonal = ~torch.eye(size, dtype=torch.bool)
    return {
        "sum": lambda: hinge.sum(dim=1),
        "max": lambda: hinge.amax(dim=1),
        "sum of squares": lambda: hinge.square().sum(dim=1),
        "column max": lambda: hinge.amax(dim=0),
        "min": lambda: hinge.where(off_diagonal, math.inf).amin(dim=1),
        "mean": lambda: hinge.sum(dim=1) / (size - 1),
        "whole max": lambda: hinge.amax() * torch.ones_like(hinge[0]),
        "one max": lambda: hinge.amax() * torch.ones_like(hinge[0]) / size,
        "log-sum-exp": lambda: hinge.masked_fill(~off_diagonal, -math.inf).logsumexp(dim=1),
        "two hardest": lambda: hinge.topk(min(2, size - 1), dim=1).values.sum(dim=1),
        "first": lambda: hinge.where(off_diagonal, 0)[:, 0],
        "clamped sum": lambda: hinge.sum(dim=1).relu(),
        "place": lambda: hinge.argmax(dim=1).to(hinge.dtype),
        "norm": lambda: hinge.norm(dim=1),
    }[combine]()
