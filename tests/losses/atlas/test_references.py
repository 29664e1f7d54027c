"""The atlas against published implementations and against formulas of published code."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from loss_batches import pairs
from torch import Tensor

from mmret_lib.losses.atlas import (
    AdaptiveNCE,
    HardNegativeNCE,
    MarginSoftmax,
    MultiSimilarity,
    SigLIP,
)


@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (25.0, -2.0), (1.0, 0.0)])
def test_siglip_is_twice_open_clips(scale: float, bias: float) -> None:
    published = pytest.importorskip("open_clip.loss").SigLipLoss()
    emb = [part.requires_grad_() for part in pairs(7, 5)]
    unit = [F.normalize(part, dim=1) for part in emb]
    expected = 2 * published(*unit, torch.tensor(scale), torch.tensor(bias))
    value = SigLIP(scale, bias, learnable=False)(*emb)
    torch.testing.assert_close(value, expected)
    for ours, theirs in zip(
        torch.autograd.grad(value, emb), torch.autograd.grad(expected, emb), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def metric_learning() -> Any:
    missing = "pytorch-metric-learning is not installed (the test extra has it)"
    return pytest.importorskip("pytorch_metric_learning.losses", reason=missing)


def of_metric_learning(loss: torch.nn.Module, image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """A loss of pytorch-metric-learning in both directions: a label of its own for each pair."""
    labels = torch.arange(len(image_emb))
    others = labels.clone()  # given the same tensor, it would leave out the diagonal
    images_ask = loss(image_emb, labels, ref_emb=text_emb, ref_labels=others)
    texts_ask = loss(text_emb, labels, ref_emb=image_emb, ref_labels=others)
    value: Tensor = images_ask + texts_ask
    return value


@pytest.mark.parametrize(("alpha", "beta", "base"), [(2.0, 50.0, 0.5), (1.0, 10.0, 0.1)])
def test_multi_similarity_is_pytorch_metric_learnings(alpha, beta, base) -> None:
    """Without its miner, which is another class there."""
    published = metric_learning()
    emb = [part.requires_grad_() for part in pairs(7, 5)]
    expected = of_metric_learning(published.MultiSimilarityLoss(alpha, beta, base), *emb)
    value = MultiSimilarity(alpha, beta, base)(*emb)
    torch.testing.assert_close(value, expected)
    for ours, theirs in zip(
        torch.autograd.grad(value, emb), torch.autograd.grad(expected, emb), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_circle_loss_is_margin_softmax_where_its_factors_are_frozen() -> None:
    """Circle Loss is log(1 + sum exp(g a_k (s_k - m) - g a_p (p - (1 - m)))), with factors
    a_k = max(0, s_k + m) and a_p = max(0, 1 + m - p) that make each similarity its own pace. With
    both factors 1 it is log(1 + sum exp(g (s_k - p + 1 - 2 m))): a MarginSoftmax of margin 1 - 2 m
    over its temperature 1 / g. So the two agree in value only where all factors are 1, which two
    pairs reach: positives at m, negatives at 1 - m.
    """
    published = metric_learning()
    m, g = 0.3, 4.0
    angle = torch.tensor([m, 1 - m]).double().acos()  # of a text to its own image, and the other
    apart = angle.sum()
    image_emb = torch.stack(
        [torch.tensor([1.0, 0.0]).double(), torch.stack([apart.cos(), apart.sin()])]
    )
    text_emb = torch.stack(
        [
            torch.stack([angle[0].cos(), angle[0].sin()]),
            torch.stack([angle[1].cos(), angle[1].sin()]),
        ]
    )
    similarity = image_emb @ text_emb.T
    torch.testing.assert_close(similarity.diagonal(), torch.full((2,), m).double())
    torch.testing.assert_close(similarity.flip(1).diagonal(), torch.full((2,), 1 - m).double())
    expected = of_metric_learning(published.CircleLoss(m=m, gamma=g), image_emb, text_emb)
    value = MarginSoftmax(1 - 2 * m, 1 / g)(image_emb, text_emb) * g
    torch.testing.assert_close(value, expected)


# The published code of two papers, retyped from their formulas ------------------------------


def one_query(positive: float, similarity: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix of which row 0 is the query, and its negatives' mask."""
    size = len(similarity) + 1
    rows = torch.full((size, size), -1.0).double()
    rows[0] = torch.cat([torch.tensor([positive]).double(), similarity])
    return rows, ~torch.eye(size, dtype=torch.bool)


def published_hard_negatives(p: float, s: Tensor, beta: float, t: float, detach: bool) -> Tensor:
    exponentials = (s / t).exp()
    weights = exponentials**beta
    weights = weights / weights.mean()
    below = (exponentials * (weights.detach() if detach else weights)).sum()
    positive = torch.tensor(p / t).double().exp()
    return -(positive / (positive + below)).log()


def test_hard_negatives_of_the_published_code_are_pulled_where_they_are_easy() -> None:
    t, beta, p = 0.5, 1.0, 0.4
    s = torch.tensor([0.8, 0.3, -0.2, -0.7]).double().requires_grad_()
    (detached,) = torch.autograd.grad(published_hard_negatives(p, s, beta, t, detach=True), s)
    (published,) = torch.autograd.grad(published_hard_negatives(p, s, beta, t, detach=False), s)
    assert (detached > 0).all(), "as constants the weights pull nobody"
    assert published[0] > 0 and (published[2:] < 0).all(), "the easy negatives are pulled"
    exponentials = (s / t).exp().detach()
    weighted = (exponentials ** (1 + beta)).mean() / (exponentials**beta).mean()
    assert torch.equal(published < 0, exponentials < beta / (1 + beta) * weighted)

    loss = HardNegativeNCE(t, beta / t)  # its beta multiplies s, theirs s / t
    push = loss.push(*one_query(p, s.detach()))[0, 1:]
    torch.testing.assert_close(push, detached / detached.sum())


def published_adaptive(p: float, s: Tensor, mu: float, sigma: float, t: float) -> Tensor:
    exponentials = (s / t).exp()
    weights = (-((exponentials.log() * t - mu) ** 2) / (2 * sigma**2)).exp()
    weights = weights / (sigma * (2 * torch.pi) ** 0.5)
    weights = weights / weights.mean()
    positive = torch.tensor(p / t).double().exp()
    return -(positive / (positive + (exponentials * weights.detach()).sum())).log()


@pytest.mark.parametrize(("mu", "sigma", "t"), [(0.4, 1.0, 0.07), (0.7, 0.5, 0.4), (0.1, 0.1, 0.2)])
def test_adaptive_nce_is_its_published_code(mu: float, sigma: float, t: float) -> None:
    s = torch.tensor([0.8, 0.3, -0.2, -0.7]).double().requires_grad_()
    value = published_adaptive(0.4, s, mu, sigma, t)
    (expected,) = torch.autograd.grad(value, s)
    loss, (rows, negatives) = AdaptiveNCE(t, mu, sigma), one_query(0.4, s.detach())
    others = one_query(-1.0, torch.full((4,), -1.0).double())[0]  # what the other rows add
    alone = loss.direction(rows, negatives) * 5 - 4 * loss.direction(others, negatives)
    torch.testing.assert_close(alone, value.detach())
    torch.testing.assert_close(loss.push(rows, negatives)[0, 1:], expected / expected.sum())
