"""Losses of one direction for exercise 14's last task to question: (B, B) -> the mean cost."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmret_lib.checks.triplet.weights import hinge_direction, smooth_direction, thresholds
from mmret_lib.checks.weighting.batches import eye
from mmret_lib.checks.weighting.top_k import largest

__all__ = [
    "hinge_direction",
    "positives_too",
    "siglip",
    "small",
    "smooth_ap",
    "smooth_direction",
    "thresholds",
    "top_two",
    "towards_a_tenth",
]


def top_two(similarity: Tensor) -> Tensor:
    """One direction of TopKTriplet(2, 0.5)."""
    return hinge_direction(0.5, lambda h: largest(h, 2).sum(dim=-1))(similarity)


def siglip(similarity: Tensor) -> Tensor:
    """One direction of SigLIP(6, -1)."""
    x = 6 * similarity - 1
    wrong = F.softplus(x).masked_fill(eye(x), 0).sum(dim=1)
    return (F.softplus(-x.diagonal()) + wrong).mean()


def smooth_ap(similarity: Tensor) -> Tensor:
    """One direction of SmoothAP(0.1)."""
    above = ((similarity - similarity.diagonal()[:, None]) / 0.1).sigmoid()
    return (1 - 1 / (1 + above.masked_fill(eye(above), 0).sum(dim=1))).mean()


def towards_a_tenth(similarity: Tensor) -> Tensor:
    """A loss that draws every negative to 0.1: it pulls those below, and pushes those above."""
    away = (similarity - 0.1).square().masked_fill(eye(similarity), 0).sum(dim=1)
    return (away - similarity.diagonal()).mean()


def positives_too(similarity: Tensor) -> Tensor:
    """A loss that draws the positives to 0.3, and pushes those above."""
    return smooth_direction(0.2)(similarity) + 40 * (similarity.diagonal() - 0.3).square().mean()


def small(similarity: Tensor) -> Tensor:
    """A loss whose derivatives are small."""
    return 0.004 * smooth_direction(0.2)(similarity)
