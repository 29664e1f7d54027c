"""The checks of exercise 14, one for each of its tasks.

    from mmret_lib import checks
    checks.atlas.check_siglip(siglip)

Each prints one line for a right answer. Otherwise it raises CheckFailed, whose message names what
is probably wrong, or NotImplementedError while the function is still its stub. The formulas and
the ways to get them wrong are in `mmret_lib.checks.weighting`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmret_lib.checks.contrastive.properties import one_pair_costs_nothing
from mmret_lib.checks.engine import pairs
from mmret_lib.checks.engine.check import check
from mmret_lib.checks.engine.pairs import HAND, SIZE, case
from mmret_lib.checks.engine.task import Task
from mmret_lib.checks.triplet import hinges
from mmret_lib.checks.triplet.cases import EQUAL_TEXTS, MARGIN, OPPOSITE, UNIT, opposites
from mmret_lib.checks.weighting import (
    margin_softmax,
    shares,
    siglip,
    smooth_ap,
    top_k,
)

__all__ = [
    "check_margin_softmax",
    "check_shares",
    "check_siglip",
    "check_smooth_ap",
    "check_top_k_triplet",
]

TEMPERATURE = "the temperature is fixed in the code: take the argument"
BY_PLACE = (
    "a negative exactly as similar as the positive is taken for it: tell the positive by its "
    "place, the diagonal, and not by its value"
)

# ---------------------------------------------------------------------------------------------
# Task 1: a soft maximum of hinges

STEEP = (
    "a low temperature goes wrong, where exp overflows to inf: use logsumexp, which takes the "
    "largest exponent out first"
)
SOFTMAX_TASK = Task(
    name="margin_softmax",
    right=margin_softmax.margin_softmax,
    cases=[
        case(pairs.batch(5, 3, 7)),
        case(pairs.batch(9, 4, 1), "", SIZE),
        case(pairs.batch(3, 7, 2), "", SIZE),
        case(pairs.batch(2, 5, 9), "", SIZE),
        case((*pairs.batch(5, 3, 3), 0.6), "a margin of 0.6", MARGIN),
        case((*pairs.batch(6, 4, 4), 0.1, 0.5), "a margin of 0.1 and a temperature of 0.5", SIZE),
        case((*pairs.batch(5, 3, 3), 0.2, 0.3), "a temperature of 0.3", TEMPERATURE),
        case((*pairs.batch(6, 4, 4), 0.0, 0.1), "no margin", SIZE),
        case((*pairs.batch(5, 3, 0), 0.2, 0.001), "a temperature of 0.001", STEEP),
        case((*opposites(5), 0.3, 0.001), f"a temperature of 0.001, {OPPOSITE}", STEEP),
        case(EQUAL_TEXTS, "two equal texts", BY_PLACE),
        case(
            (3 * UNIT, 6 * UNIT),
            "pairs at 1 and negatives at 0",
            "where the negatives are far away the loss should be near 0, and stay above it",
        ),
        case(
            (*pairs.by_hand(), 0.2, 1.0),
            f"{HAND}, a margin of 0.2 and a temperature of 1",
            SIZE,
        ),
    ],
    mistakes=margin_softmax.WRONG_SOFTMAX,
    gradient_mistakes=margin_softmax.WRONG_SOFTMAX_GRADIENTS,
    properties=(one_pair_costs_nothing,),
    remark=(
        "Its shares are softmax(s / t), as in exercise 05: the margin moves the point from which "
        "on a query pushes at all, and no share. As t goes to 0 it becomes the max of hinges."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 2: the k largest hinges

MANY = (
    "a k that is larger than the number of negatives goes wrong: then all hinges count, "
    "min(k, ...) of them"
)
K = "k is fixed in the code: take the argument"
TOP_K_TASK = Task(
    name="top_k_triplet",
    right=top_k.top_k_triplet,
    cases=[
        case((*pairs.batch(5, 3, 0), 2), "5 pairs and k = 2"),
        case((*pairs.batch(9, 4, 1), 3), "9 pairs and k = 3", SIZE, K),
        case((*pairs.batch(3, 7, 2), 1), "3 pairs and k = 1", SIZE, K),
        case(pairs.batch(12, 3, 4), "12 pairs, k and the margin left out", SIZE),
        case((*pairs.batch(6, 3, 3), 3, 0.7), "k = 3 and a margin of 0.7", MARGIN, SIZE),
        case((*pairs.batch(5, 3, 3), 4, 0.7), "5 pairs and k = 4, all negatives"),
        case((*pairs.batch(5, 3, 3), 5, 0.7), "5 pairs and k = 5", MANY),
        case((*pairs.batch(5, 3, 5), 40, 0.9), "5 pairs and k = 40", MANY),
        case(pairs.batch(4, 3, 6), "4 pairs, k and the margin left out", MANY),
        case((*top_k.tied(), 2), "negatives that tie", BY_PLACE, SIZE, smooth=False),
        case((*EQUAL_TEXTS, 2), "two equal texts", BY_PLACE, smooth=False),
        case((*opposites(5), 3), OPPOSITE),
        case(
            (3 * UNIT, 6 * UNIT, 2),
            "a batch that has nothing left to learn (loss 0)",
            "where no negative comes within the margin the loss should be 0",
        ),
        case((*pairs.by_hand(), 1), f"{HAND}, k = 1", SIZE),
    ],
    mistakes=top_k.WRONG_TOP_K,
    gradient_mistakes=hinges.WRONG_GRADIENTS,
    properties=(one_pair_costs_nothing,),
    remark=(
        "k = 1 is the max of hinges, k = B - 1 the sum: one number leads from one end of the map "
        "to the other. Among the k chosen there is no order, all get the same push."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 3: every pair by itself

LARGE = (
    "large logits go wrong, where exp overflows to inf or a sigmoid rounds to 0 before the log: "
    "F.softplus and F.logsigmoid stay right"
)
SETTINGS = "scale and bias are fixed in the code: take the arguments"


def number(value: float) -> Tensor:
    """A number that is learned: a tensor of shape ()."""
    return torch.tensor(value, dtype=torch.float64, device="cpu")


SIGLIP_TASK = Task(
    name="siglip",
    right=siglip.siglip,
    cases=[
        case((*pairs.batch(5, 3, 7), 10.0, -2.0), "5 pairs, a scale of 10 and a bias of -2"),
        case((*pairs.batch(9, 4, 1), 10.0, -2.0), "9 pairs", SIZE),
        case((*pairs.batch(3, 7, 2), 10.0, -2.0), "3 pairs of 7 numbers", SIZE),
        case((*pairs.batch(5, 3, 3), 3.0, -2.0), "a scale of 3", SETTINGS),
        case((*pairs.batch(5, 3, 3), 10.0, 0.0), "a bias of 0", SETTINGS),
        case((*pairs.batch(6, 4, 4), 7.0, 1.5), "a scale of 7 and a bias of 1.5", SETTINGS, SIZE),
        case((*pairs.batch(1, 4, 5), 2.0, -1.0), "a batch of one pair", SIZE),
        case((*pairs.batch(5, 3, 0), 700.0, 100.0), "a scale of 700, a bias of 100", LARGE),
        case((*opposites(5), 700.0, -100.0), f"a scale of 700, {OPPOSITE}", LARGE),
        case(
            (*pairs.batch(5, 3, 2), number(10.0), number(-3.0)),
            "a scale and a bias that are tensors of shape (), to be learned",
            "scale and bias may be tensors that are learned: compute with them as they are, "
            "without float(), .item() or torch.tensor",
        ),
        case((*EQUAL_TEXTS, 10.0, -2.0), "two equal texts", BY_PLACE),
        case(
            (*pairs.by_hand(), 1.0, 0.0),
            f"{HAND}, a scale of 1 and a bias of 0",
            SIZE,
            smooth=False,
        ),
    ],
    mistakes=siglip.WRONG_SIGLIP,
    gradient_mistakes=siglip.WRONG_SIGLIP_GRADIENTS,
    remark=(
        "It is twice the paper's loss, because both directions have the same terms. A negative's "
        "push is sigmoid(scale s + bias) and depends on no other pair: the negatives do not "
        "compete, and the gate stands at one similarity for all queries, -bias / scale."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 4: the rank itself, made smooth

LOW = (
    "a low temperature goes wrong, where exp overflows to inf: use torch.sigmoid, which stays "
    "right for numbers of any size"
)
AP_TASK = Task(
    name="smooth_ap",
    right=smooth_ap.smooth_ap,
    cases=[
        case((*pairs.batch(5, 3, 7), 0.1), "5 pairs and a temperature of 0.1"),
        case((*pairs.batch(9, 4, 1), 0.1), "9 pairs", SIZE),
        case((*pairs.batch(3, 7, 2), 0.1), "3 pairs of 7 numbers", SIZE),
        case((*pairs.batch(2, 5, 9), 0.1), "2 pairs", SIZE),
        case(pairs.batch(6, 3, 4), "the temperature left out", SIZE),
        case((*pairs.batch(5, 3, 3), 0.5), "a temperature of 0.5", TEMPERATURE),
        case((*pairs.batch(6, 4, 4), 2.0), "a temperature of 2", TEMPERATURE, SIZE),
        case((*pairs.batch(5, 3, 0), 0.001), "a temperature of 0.001", LOW),
        case((*pairs.batch(5, 3, 3), 0.0005), "a temperature of 0.0005", LOW),
        case((*EQUAL_TEXTS, 0.1), "two equal texts", BY_PLACE),
        case((*opposites(5), 0.1), OPPOSITE),
        case(
            (3 * UNIT, 6 * UNIT, 0.01),
            "a batch in which every positive is first (loss 0)",
            "where every positive stands first, its rank is 1 and its cost 0",
        ),
        case((*pairs.by_hand(), 0.1), f"{HAND}, a temperature of 0.1", SIZE),
    ],
    mistakes=smooth_ap.WRONG_AP,
    gradient_mistakes=smooth_ap.WRONG_AP_GRADIENTS,
    properties=(one_pair_costs_nothing,),
    remark=(
        "Its push is largest beside the positive and falls again above it: a false negative far "
        "above pushes nobody. The price: a query whose right answer stands at rank r pushes with "
        "1 / r^2, so one that is badly wrong hardly learns."
    ),
)

# ---------------------------------------------------------------------------------------------
# Task 5: the shares of any loss

SHARES_TASK = Task(
    name="shares",
    right=shares.shares,
    cases=shares.CASES,
    mistakes=shares.WRONG_SHARES,
    symptom=shares.symptom,
    has_gradient=False,
    properties=(shares.works_without_gradients,),
    remark=(
        "Two losses with the same shares differ only in how hard each query pushes in all: that "
        "is what this map does not show."
    ),
)

# ---------------------------------------------------------------------------------------------
# The checks


def check_margin_softmax(function: Callable[..., Tensor]) -> None:
    """Task 1: function(image_emb (B, D), text_emb, margin=0.2, temperature=0.05) -> scalar."""
    check(SOFTMAX_TASK, function)


def check_top_k_triplet(function: Callable[..., Tensor]) -> None:
    """Task 2: function(image_emb (B, D), text_emb (B, D), k=8, margin=0.2) -> scalar."""
    check(TOP_K_TASK, function)


def check_siglip(function: Callable[..., Tensor]) -> None:
    """Task 3: function(image_emb (B, D), text_emb (B, D), scale, bias) -> scalar."""
    check(SIGLIP_TASK, function)


def check_smooth_ap(function: Callable[..., Tensor]) -> None:
    """Task 4: function(image_emb (B, D), text_emb (B, D), temperature=0.01) -> scalar."""
    check(AP_TASK, function)


def check_shares(function: Callable[..., Tensor]) -> None:
    """Task 5: function(loss, similarity (B, B)) -> shares (2, B, B)."""
    check(SHARES_TASK, function)
