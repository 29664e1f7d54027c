"""Losses, heads and embeddings on which the tasks of large batches are tried."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmret_lib.checks.engine.seeds import seeded


def info_nce(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """The cross-entropy of each image's and each text's own partner, by cosines over 0.2."""
    s = F.normalize(image_emb, dim=1) @ F.normalize(text_emb, dim=1).T / 0.2
    own = torch.arange(len(s), device=s.device)
    return F.cross_entropy(s, own) + F.cross_entropy(s.T, own)


def images_ask(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """A sum of hinges in which the images alone ask: the two sides are not alike."""
    s = image_emb @ text_emb.T
    hinges = (1 - s.diagonal()[:, None] + s).relu()
    return (hinges.sum() - len(s)) / len(s)


def others_less_own(image_emb: Tensor, text_emb: Tensor) -> Tensor:
    """The similarities of all others, less those of the own partners: for paper."""
    s = image_emb @ text_emb.T
    return s.sum() - 2 * s.diagonal().sum()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Draw normally distributed numbers in float64."""
    generator = seeded(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")


def head(*widths: int, seed: int = 0) -> nn.Module:
    """Make a small network from rows of widths[0] numbers to rows of widths[-1]."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for wide, narrow in itertools.pairwise(widths):
            layers += [nn.Linear(wide, narrow, device="cpu"), nn.Tanh()]
        return nn.Sequential(*layers[:-1]).double().eval()


def reader(vocabulary: int, dim: int, seed: int = 0) -> nn.Module:
    """Make a text branch that takes ids (B, L): the mean of their vectors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.EmbeddingBag(vocabulary, dim, mode="mean", device="cpu").double().eval()


def viewer(channels: int, dim: int, seed: int = 0) -> nn.Module:
    """Make an image branch that takes pictures (B, channels, H, W)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        conv = nn.Conv2d(channels, dim, 3, device="cpu")
    return nn.Sequential(conv, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()


def scaling(factor: float) -> nn.Module:
    """Make a head that multiplies rows of one number by `factor`."""
    linear = nn.Linear(1, 1, bias=False, device="cpu").double()
    nn.init.constant_(linear.weight, factor)
    return linear.eval()
