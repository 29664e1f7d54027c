"""Each loss of the atlas against a plain loop over its published formula."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_batches import SHAPES, assert_equals_loop, cosines, negatives_of, pairs, quick, seeds

from mmret_lib.losses.atlas import (
    AdaptiveNCE,
    HardNegativeNCE,
    MarginSoftmax,
    MultiSimilarity,
    SigLIP,
    SmoothAP,
    TopKTriplet,
)

# One query's cost from its positive's similarity p and those of its negatives ------------------


def margin_softmax(p: float, negatives: list[float], m=0.2, t=0.05) -> float:
    return t * math.log(1 + sum(math.exp((s - p + m) / t) for s in negatives))


def top_k_triplet(p: float, negatives: list[float], k=8, m=0.2) -> float:
    return sum(sorted((max(0.0, m - p + s) for s in negatives), reverse=True)[:k])


def multi_similarity(p: float, negatives: list[float], alpha=2.0, beta=40.0, base=0.5) -> float:
    pull = math.log(1 + math.exp(-alpha * (p - base))) / alpha
    return pull + math.log(1 + sum(math.exp(beta * (s - base)) for s in negatives)) / beta


def siglip(p: float, negatives: list[float], scale: float, bias: float) -> float:
    def log_sigmoid(x: float) -> float:
        return math.log(1 / (1 + math.exp(-x)))

    return -log_sigmoid(scale * p + bias) - sum(log_sigmoid(-scale * s - bias) for s in negatives)


def smooth_ap(p: float, negatives: list[float], t=0.01) -> float:
    rank = 1 + sum(1 / (1 + math.exp(min(700.0, -(s - p) / t))) for s in negatives)
    return 1 - 1 / rank


def weighted_nce(p: float, negatives: list[float], weights: list[float], t: float) -> float:
    mean = sum(weights) / len(weights) if weights else 1
    below = sum(w / mean * math.exp(s / t) for s, w in zip(negatives, weights, strict=True))
    return -math.log(math.exp(p / t) / (math.exp(p / t) + below))


def hard_negative_nce(p: float, negatives: list[float], t=0.07, beta=1.0) -> float:
    return weighted_nce(p, negatives, [math.exp(beta * s) for s in negatives], t)


def adaptive_nce(p: float, negatives: list[float], t=0.07, mu=0.4, sigma=1.0) -> float:
    weights = [math.exp(-(((s - mu) / sigma) ** 2) / 2) for s in negatives]
    return weighted_nce(p, negatives, weights, t)


def loop(image_emb, text_emb, cost: Callable, **ids) -> float:
    """Both directions added, the mean over the pairs."""
    s = cosines(image_emb, text_emb)
    total = 0.0
    for b in range(len(s)):
        negatives = negatives_of(b, len(s), **ids)
        total += cost(s[b][b], [s[b][k] for k in negatives])
        total += cost(s[b][b], [s[k][b] for k in negatives])
    return total / len(s)


FORMULAS: dict[str, tuple[Callable, Callable]] = {
    "margin_softmax": (MarginSoftmax, margin_softmax),
    "margin_softmax, 0, 0.3": (partial(MarginSoftmax, 0, 0.3), partial(margin_softmax, m=0, t=0.3)),
    "top_k_triplet": (TopKTriplet, top_k_triplet),
    "top_k_triplet, 2, 0.9": (partial(TopKTriplet, 2, 0.9), partial(top_k_triplet, k=2, m=0.9)),
    "multi_similarity": (MultiSimilarity, multi_similarity),
    "multi_similarity, 5, 7, -0.1": (
        partial(MultiSimilarity, 5, 7, -0.1),
        partial(multi_similarity, alpha=5, beta=7, base=-0.1),
    ),
    "siglip, 10, -3": (
        partial(SigLIP, 10, -3, learnable=False),
        partial(siglip, scale=10, bias=-3),
    ),
    "siglip, 150, 0.5": (
        partial(SigLIP, 150, 0.5, learnable=False),
        partial(siglip, scale=150, bias=0.5),
    ),
    "smooth_ap": (SmoothAP, smooth_ap),
    "smooth_ap, 0.3": (partial(SmoothAP, 0.3), partial(smooth_ap, t=0.3)),
    "hard_negative_nce": (HardNegativeNCE, hard_negative_nce),
    "hard_negative_nce, 0.2, 6": (
        partial(HardNegativeNCE, 0.2, 6),
        partial(hard_negative_nce, t=0.2, beta=6),
    ),
    "adaptive_nce": (AdaptiveNCE, adaptive_nce),
    "adaptive_nce, 0.2, 0.6, 0.1": (
        partial(AdaptiveNCE, 0.2, 0.6, 0.1),
        partial(adaptive_nce, t=0.2, mu=0.6, sigma=0.1),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_loop(name: str, shape: tuple, device: str) -> None:
    make, cost = FORMULAS[name]
    assert_equals_loop(make, partial(loop, cost=cost), shape, device)


@quick
@given(seed=seeds, batch=st.integers(2, 8), dim=st.integers(1, 6), data=st.data())
@pytest.mark.parametrize("name", FORMULAS)
def test_equals_the_loop_on_random_batches(name: str, seed: int, batch: int, dim: int, data):
    make, cost = FORMULAS[name]
    few = st.lists(st.integers(0, 3), min_size=batch, max_size=batch)
    ids = {"image_ids": data.draw(few), "caption_ids": data.draw(few)}
    image_emb, text_emb = pairs(batch, dim, seed)
    value = make()(image_emb, text_emb, **ids).item()
    assert value == pytest.approx(loop(image_emb, text_emb, cost, **ids), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("batch", [2, 6, 33])
def test_collapsed_embeddings(batch: int, device: str) -> None:
    """What each costs where all embeddings are equal, written out by hand."""
    same = torch.linspace(-1, 2, 16, device=device).double().repeat(batch, 1)
    n = batch - 1
    expected = {
        MarginSoftmax(): 2 * 0.05 * math.log(1 + n * math.exp(4)),
        TopKTriplet(4): 2 * 0.2 * min(4, n),
        MultiSimilarity(): math.log(1 + math.exp(-1)) + math.log(1 + n * math.exp(20)) / 20,
        SmoothAP(): 2 * (1 - 1 / (1 + n / 2)),
        HardNegativeNCE(): 2 * math.log(batch),
        AdaptiveNCE(): 2 * math.log(batch),
    }
    for loss, value in expected.items():
        assert loss(same, same).item() == pytest.approx(value, rel=1e-9)
