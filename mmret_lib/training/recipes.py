"""What trains together: each loss with the settings and the model it needs.

The command line, the demo and the benchmarks build their models and losses here, so that
"--loss barlow_twins" means the same everywhere.
"""

import platform
from importlib.metadata import version
from typing import Any

import torch

from mmret_lib import __version__
from mmret_lib.data.pairs import Pairs
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.losses import LOSSES
from mmret_lib.losses.base import PairLoss

# Barlow Twins' own lambda, 0.0051, was tuned for 8,192 dimensions. With 128 there are 4,000 times
# fewer off-diagonal entries beside 64 times fewer diagonal ones, and redundancy goes unpunished.
DEFAULTS: dict[str, dict[str, Any]] = {
    "sum_triplet": {"margin": 0.2},
    # Alone from the first step it collapses here (all embeddings equal, loss 2 x margin).
    "max_triplet": {"margin": 0.2, "all_negatives_steps": 100},
    "simclr": {"temperature": 0.07},
    "barlow_twins": {"lambda_": 0.02},
}

# Its loss is blind to the offset and scale of each dimension, the cosine that ranks is not.
STANDARDISED = {"barlow_twins"}


def build_loss(name: str, **settings: Any) -> PairLoss:
    """The loss called ``name`` with its defaults, but for the ``settings`` that are not None.

    Raises:
        DataError: no such loss, or a setting that it does not have.
    """
    if name not in LOSSES:
        raise DataError(f"there is no loss {name!r}; choose {', '.join(LOSSES)}")
    given = {key: value for key, value in settings.items() if value is not None}
    try:
        return LOSSES[name](**{**DEFAULTS[name], **given})
    except TypeError:
        raise DataError(f"{name} takes other settings than {', '.join(given)}") from None
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None


def build_model(
    loss: str,
    pairs: Pairs,
    *,
    image_backbone: str = "mini",
    image_weights: str | None = "auto",
    text_backbone: str = "mini",
    text_weights: str | None = "auto",
    seed: int = 0,
    **settings: Any,
) -> DualEncoder:
    """The two branches for training ``loss`` on ``pairs``; ``settings`` go to `from_names`.

    Weights "auto" are the ones that help: ImageNet's and the language model's own for the big
    backbones; for the mini ones what the course ships if the pairs are drawn scenes, and random
    weights with a vocabulary of the pairs' own captions for everything else (backbones that know
    only drawings, and words for drawings, are no start for photos).
    """
    drawn = pairs.name == "scenes"
    if image_weights == "auto":
        image_weights = "imagenet" if image_backbone != "mini" else "mini" if drawn else None
    if text_weights == "auto":
        text_weights = "pretrained" if text_backbone != "mini" else "mini" if drawn else None
    torch.manual_seed(seed)
    return DualEncoder.from_names(
        image_backbone=image_backbone,
        image_weights=image_weights,
        text_backbone=text_backbone,
        text_weights=text_weights,
        captions=pairs.captions,
        **{"standardise": loss in STANDARDISED, **settings},
    )


def made_by() -> dict[str, str]:
    """Versions and machine, to be kept beside every figure."""
    return {
        "mmret": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "transformers")},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads"
        + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""),
    }
