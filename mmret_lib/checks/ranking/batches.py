"""What a bootstrap interval is asked for: values of images, some with several captions."""

from __future__ import annotations

import torch
from torch import Tensor

from mmret_lib.checks.engine.seeds import seeded


def skewed(count: int, seed: int) -> Tensor:
    """(count,) values of which few, the first and the last too, are far above the others."""
    generator = seeded(seed)
    values = torch.randn(count, generator=generator, dtype=torch.float64).exp().pow(1.3) - 3
    ordered = values.sort().values
    return torch.cat(
        [ordered[-2:-1], ordered[:-2][torch.randperm(count - 2, generator=generator)], ordered[-1:]]
    )


def table(images: int, captions: int, seed: int) -> Tensor:
    """(images, captions) values of which those of one image resemble each other.

    Most are small and some are large, and later captions have larger ones.
    """
    generator = seeded(seed)
    easy = torch.rand(images, 1, generator=generator, dtype=torch.float64)
    own = torch.rand(images, captions, generator=generator, dtype=torch.float64)
    later = torch.linspace(0, 0.3, captions, dtype=torch.float64, device="cpu")
    return 0.7 * easy.round() + 0.3 * own**4 + later


BATCHES = (  # values, level, what they are
    (skewed(30, 1), 0.95, "30 values, level 0.95"),
    (table(37, 5, 2), 0.9, "37 images with five captions each, level 0.9"),
    (skewed(61, 3), 0.3, "61 values, level 0.3"),
    (10 + 0.01 * table(24, 3, 4), 0.8, "24 images with three values of about 10, level 0.8"),
)
