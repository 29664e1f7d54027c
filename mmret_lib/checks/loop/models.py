"""Small models whose parameters have telling names, and small trainings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmret_lib.checks.engine.seeds import seeded


class Branch(nn.Module):
    """A backbone and a projection, as each branch of the course's models has them."""

    def __init__(self, backbone: nn.Module, projection: nn.Module) -> None:
        """Keep the two."""
        super().__init__()
        self.backbone = backbone
        self.projection = projection

    def forward(self, x: Tensor) -> Tensor:
        """From features (B, D) to embeddings."""
        embeddings: Tensor = self.projection(self.backbone(x))
        return embeddings


class Whole(nn.Module):
    """One backbone, a projection, and a temperature that is learned: a parameter of shape ()."""

    def __init__(self) -> None:
        """Make the parts; their numbers do not matter."""
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.PReLU(4))
        self.projection = nn.Linear(4, 3)
        self.temperature = nn.Parameter(torch.tensor(0.07))


def two_branches() -> Any:
    """Two branches in which neither names nor kinds of modules alone tell what should decay."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, bias=False))
        text = nn.ModuleDict(
            {
                "words": nn.Embedding(9, 4),
                "unbiased": nn.Linear(4, 4, bias=False),
                "normaliser": nn.Linear(4, 4),
                "last": nn.LayerNorm(4),
            }
        )
        return nn.ModuleDict(
            {"image": Branch(image, nn.Linear(4, 3)), "text": Branch(text, nn.Linear(4, 3))}
        )


def one_backbone() -> nn.Module:
    """A model with its backbone at the top."""
    with torch.random.fork_rng(devices=[]):
        return Whole()


def partly_frozen() -> Any:
    """Two branches that share a projection; the image branch's backbone does not train."""
    model: Any = two_branches()
    model.image.backbone.requires_grad_(False)
    model.text.projection.weight = model.image.projection.weight
    return model


def heads_alone() -> nn.Module:
    """Two projections with a norm, and no backbone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.ModuleList([nn.Linear(6, 4), nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))])


Training = tuple[nn.ModuleDict, torch.optim.Optimizer, torch.Generator]


def begin(seed: int, hidden: int = 6, device: str = "cpu") -> Training:
    """A training before its first step: two branches, AdamW with two groups, a generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.ModuleDict(
            {
                name: Branch(
                    nn.Sequential(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.Tanh()),
                    nn.Linear(hidden, 4),
                )
                for name, width in (("image", 5), ("text", 3))
            }
        ).to(device)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "lr": 0.02}, {"params": rest, "lr": 0.05, "weight_decay": 0.0}]
    )
    return model, optimizer, seeded(seed)


def go_on(training: Training, steps: int) -> None:
    """Train on random batches; the rates fall from step to step."""
    model, optimizer, generator = training
    with torch.enable_grad():
        for _ in range(steps):
            draws = torch.randn(7, 8, generator=generator).to(next(model.parameters()).device)
            image_emb, text_emb = model["image"](draws[:, :5]), model["text"](draws[:, 5:])
            value = (image_emb - text_emb).square().mean() - image_emb.var() - text_emb.var()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] *= 0.9


def trained(seed: int, steps: int = 4, device: str = "cpu") -> Training:
    """A training in its middle."""
    training = begin(seed, device=device)
    go_on(training, steps)
    return training


def state_of(training: Training, step: int) -> dict[str, Any]:
    """What the file of a snapshot holds."""
    model, optimizer, generator = training
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "generator": generator.get_state(),
    }


def same_bits(one: Any, other: Any) -> bool:
    """Whether two nestings of tensors and plain values are equal to the last bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and torch.equal(one.cpu(), other.cpu())
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_bits(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_bits, one, other))
    return bool(type(one) is type(other) and one == other)
