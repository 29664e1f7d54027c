"""Exercise 14's third loss in steps: a logistic regression on every pair, and its mistakes."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.engine.pairs import WRONG_COSINE_GRADIENTS
from mmret_lib.checks.engine.task import Formula, Mistake, mistakes
from mmret_lib.checks.weighting.batches import (
    SHARED_MISTAKES,
    both_ways,
    eye,
    others,
    positives,
)

Number = float | Tensor


def signs(x: Tensor) -> Tensor:
    """(B, B): 1 where image and text belong together, else -1."""
    return 2 * eye(x).to(x.dtype) - 1


def siglip(
    image_emb: Tensor,
    text_emb: Tensor,
    scale: Number,
    bias: Number,
    *,
    logits: Formula = lambda s, scale, bias: scale * s + bias,
    sign: Formula = signs,
    cost: Formula = lambda z: F.softplus(-z),
    weigh: Formula = lambda costs: costs,
    combine: Formula = lambda costs: costs.sum(dim=-1),
    **batch: Any,
) -> Tensor:
    """softplus(-x_bb) + sum softplus(x_bk), a scalar; x = scale s + bias.

    In the steps s are the rows and `costs` each pair's cost, (2, B, B).
    """

    def cost_of(rows: Tensor) -> Tensor:
        x = logits(rows, scale, bias)
        value: Tensor = combine(weigh(cost(sign(x) * x)))
        return value

    return both_ways(image_emb, text_emb, cost_of, **batch)


def labels(x: Tensor) -> Tensor:
    """1 where image and text belong together, else 0."""
    return eye(x).to(x.dtype)


def without(part: Formula) -> Formula:
    """A wrong `weigh` that leaves a part out."""
    return lambda costs: costs.masked_fill(part(costs), 0)


def with_wrong_positive(image_emb: Tensor, text_emb: Tensor, scale: Number, bias: Number) -> Tensor:
    """The positive stands among the wrong pairs, too."""

    def cost_of(rows: Tensor) -> Tensor:
        x = scale * rows + bias
        return F.softplus(-positives(x)[..., 0]) + F.softplus(x).sum(dim=-1)

    return both_ways(image_emb, text_emb, cost_of)


def multiclass(image_emb: Tensor, text_emb: Tensor, scale: Number, bias: Number) -> Tensor:
    """A softmax over the row in place of the sigmoids."""
    return both_ways(
        image_emb,
        text_emb,
        lambda rows: -(scale * rows + bias).log_softmax(dim=-1).diagonal(dim1=1, dim2=2),
    )


def bias_after_sign(sign_of_bias: int) -> Formula:
    """The sign is turned before the bias is added, so that the bias counts alike for all pairs."""

    def loss(image_emb: Tensor, text_emb: Tensor, scale: Number, bias: Number) -> Tensor:
        return both_ways(
            image_emb,
            text_emb,
            lambda rows: F.softplus(-signs(rows) * scale * rows + sign_of_bias * bias).sum(dim=-1),
        )

    return loss


LOGITS = "every pair's logit is scale * s + bias"
SIGN = (
    "a right pair costs softplus(-x), a wrong one softplus(x): the positives' sign is turned, and "
    "no other"
)
REMEDIES = {
    "logits": LOGITS,
    "sign": SIGN,
    "cost": "softplus(x) = log(1 + e^x) is the cost, F.softplus",
    "weigh": "every pair of the row counts once, the right one and each wrong one",
    "combine": "a query costs the sum over its row",
}
WRONG_SIGLIP = [
    Mistake(
        "each pair is counted in one direction only, as in the paper: here a query of images and "
        "one of texts both have it, so the loss is twice that",
        {"directions": lambda i, t: i},
    ),
    Mistake(f"the positive stands among the wrong pairs as well: {SIGN}", with_wrong_positive),
    Mistake(
        "a softmax is taken over the row: here every pair is a question of its own, right or "
        "wrong, with a sigmoid",
        multiclass,
    ),
    *(
        Mistake(
            "the sign is turned before the bias is added: it belongs to the whole logit, sign * "
            "(scale * s + bias)",
            bias_after_sign(sign_of_bias),
        )
        for sign_of_bias in (1, -1)
    ),
    *(
        Mistake(
            "a number is added within the logarithm, which changes every cost and cuts off that of "
            "a badly wrong pair: F.softplus and F.logsigmoid need none",
            {"cost": lambda z, eps=10**power: -(torch.sigmoid(z) + eps).log()},
        )
        for power in range(-7, -1)
    ),
    *mistakes(
        REMEDIES,
        sign={
            "the signs are turned round": lambda x: -signs(x),
            "all pairs are treated as wrong": lambda x: -torch.ones_like(x),
            "all pairs are treated as right": torch.ones_like,
            "labels of 0 and 1 multiply the logits, which makes every wrong pair cost log 2": (
                labels
            ),
        },
        logits={
            "the bias has the wrong sign": lambda s, scale, bias: scale * s - bias,
            "the bias is missing": lambda s, scale, bias: scale * s,
            "the scale is missing": lambda s, scale, bias: s + bias,
            "the scale divides": lambda s, scale, bias: s / scale + bias,
            "the bias is multiplied by the scale, too": lambda s, scale, bias: scale * (s + bias),
            "the bias is added to the negatives alone": (
                lambda s, scale, bias: scale * s + bias * others(s).to(s.dtype)
            ),
            "the bias is added to the positives alone": (
                lambda s, scale, bias: scale * s + bias * eye(s).to(s.dtype)
            ),
            "scale and bias are swapped": lambda s, scale, bias: bias * s + scale,
            "the exponential of the scale is taken": lambda s, scale, bias: (
                math.e**scale * s + bias
            ),
            "the scale is fixed at 10: take the argument": lambda s, scale, bias: 10 * s + bias,
            "the bias is fixed at -10: take the argument": lambda s, scale, bias: scale * s - 10,
            "the bias is taken as -log(B - 1): take the argument": (
                lambda s, scale, bias: scale * s - math.log(s.shape[-1] - 1)
            ),
        },
        cost={
            "the probability is taken and not its logarithm": lambda z: torch.sigmoid(-z),
            "minus the probability is taken and not its logarithm": lambda z: -torch.sigmoid(z),
            "a hinge is taken": lambda z: (-z).relu(),
            "a hinge of 1 - x is taken": lambda z: (1 - z).relu(),
            "the sign is wrong: the logarithm of a probability is below 0, a cost is minus that": (
                F.logsigmoid
            ),
            "the logits are taken as they are": lambda z: -z,
            "the exponential is taken, without log(1 + ...)": lambda z: torch.exp(-z),
            "log2 is taken": lambda z: F.softplus(-z) / math.log(2),
            "the cost is squared": lambda z: F.softplus(-z).square(),
            "the sigmoid is taken before the softplus, which takes one itself": (
                lambda z: F.softplus(-torch.sigmoid(z))
            ),
        },
        weigh={
            "the positives are left out": without(eye),
            "the negatives are left out": without(others),
            "the positives weigh as much as all negatives together": lambda costs: (
                costs * (1 + eye(costs) * (costs.shape[-1] - 2))
            ),
            "the negatives' mean is taken, not their sum": lambda costs: (
                costs / (1 + others(costs) * (costs.shape[-1] - 2))
            ),
            "the positive is counted half": lambda costs: costs * (1 - 0.5 * eye(costs)),
            "the positive is counted twice": lambda costs: costs * (1 + eye(costs)),
        },
        combine={
            "the mean over the row is taken, as binary_cross_entropy and .mean() do": (
                lambda costs: costs.mean(dim=-1)
            ),
            "the largest cost of the row is taken": lambda costs: costs.amax(dim=-1),
        },
    ),
    *(m for m in SHARED_MISTAKES if "counted twice" not in m.says),  # here that is right
]
WRONG_SIGLIP_GRADIENTS = [
    *mistakes(
        {},
        logits={
            "the negatives are detached: the loss pushes them away": (
                lambda s, scale, bias: scale * s.where(eye(s), s.detach()) + bias
            ),
            "the positives are detached: the loss pulls each pair together": (
                lambda s, scale, bias: scale * s.where(others(s), s.detach()) + bias
            ),
        },
        directions={
            "one of the two directions is detached": lambda i, t: i.detach() + t,
        },
    ),
    *WRONG_COSINE_GRADIENTS,
]
