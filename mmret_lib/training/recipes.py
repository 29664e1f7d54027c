"""Build a loss, and a model that fits it, by their names.

The command line, the demo and the benchmarks build their models and losses here, so that
"--loss barlow_twins" means the same everywhere.
"""

import inspect
import platform
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from mmret_lib import __version__
from mmret_lib.data.feature_files import Side
from mmret_lib.data.pairs import Pairs
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.image import ImageEncoder
from mmret_lib.encoders.text import TextEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.losses import EVERY_LOSS
from mmret_lib.losses.base import PairLoss
from mmret_lib.training.config import TrainConfig

# What the searches chose for each size of the drawn world stands in `studies.searches`; these serve
# any data. Barlow Twins' own lambda, 0.0051, was tuned for 8,192 dimensions. With 128, 0.02 is the
# best of three on the validation scenes (data/results/small_knobs.csv, one seed).
DEFAULTS: dict[str, dict[str, Any]] = {
    "sum_triplet": {"margin": 0.2},
    # Alone from the first step it hardly ranks ("max_triplet, plain" in data/results/losses.csv:
    # R@1 near chance). 100 first steps are the best of three on the validation scenes
    # (small_knobs.csv and full_knobs.csv, one seed each).
    "max_triplet": {"margin": 0.2, "all_negatives_steps": 100},
    "simclr": {"temperature": 0.07},
    "barlow_twins": {"lambda_": 0.02},
}

# The loss ignores the offset and scale of each dimension; the cosine similarity does not.
STANDARDISED = {"barlow_twins"}


def build_loss(name: str, **settings: Any) -> PairLoss:
    """Build a loss by its name, with the course's defaults.

    Args:
        name: one of `EVERY_LOSS`.
        settings: its arguments, where they differ from the defaults; None means the default.
            "false_negative_filter" takes its inner loss as `loss`, or its name as `inner`, by
            default "simclr", and its settings as `inner_settings`, a dict; what the filter has no
            setting for goes to the inner loss too.

    Raises:
        DataError: no such loss, or a setting that it does not have.
    """
    if name not in EVERY_LOSS:
        raise DataError(f"there is no loss {name!r}; choose {', '.join(EVERY_LOSS)}")
    given = {key: value for key, value in settings.items() if value is not None}
    if name == "false_negative_filter":
        given = _with_inner_loss(given)
    known = settings_of(name)
    if unknown := [key for key in given if key not in known]:
        raise DataError(f"{name} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    try:
        return EVERY_LOSS[name](**{**DEFAULTS.get(name, {}), **given})
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: {error}") from None


def settings_of(name: str) -> list[str]:
    """Return the names of the settings that a loss of `EVERY_LOSS` takes."""
    return list(inspect.signature(EVERY_LOSS[name]).parameters)


def _with_inner_loss(settings: dict[str, Any]) -> dict[str, Any]:
    """Replace the name and the settings of a filter's inner loss by the loss itself."""
    if "loss" in settings:
        return settings
    names = ("margin", "mask_duplicates")
    own = {key: value for key, value in settings.items() if key in names}
    of_inner = {key: value for key, value in settings.items() if key not in names}
    inner, more = of_inner.pop("inner", "simclr"), of_inner.pop("inner_settings", {})
    return {**own, "loss": build_loss(inner, **{**of_inner, **more})}


def name_of_loss(loss: nn.Module) -> str:
    """Return the loss's name in `EVERY_LOSS`, or the name of its class if it is not among them."""
    for name, kind in EVERY_LOSS.items():
        if type(loss) is kind:
            return name
    return type(loss).__name__


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
    """Build the model to train with a loss on some pairs.

    Weights "auto" are pretrained where that helps: ImageNet's and the language model's own for the
    large backbones; for the mini ones those of the course if the pairs are scenes of the built-in
    world. For photos the mini backbones get random weights, and a vocabulary of the pairs' own
    captions: the course's weights know only drawings.

    Args:
        loss: its name; Barlow Twins needs branches that end in a standardisation.
        image_backbone: what `ImageEncoder` takes: "mini", "resnet18", "resnet34", "resnet50",
            "pocket" or "timm/NAME". Pairs of VSE++'s layout get a branch without a backbone.
        image_weights: "auto", None for random ones, or what `ImageEncoder` takes.
        text_backbone: "mini", "pocket", or a BERT-family model by hub name or folder.
        text_weights: "auto", None for random ones, or what `TextEncoder` takes.
        settings: further arguments of `DualEncoder.from_names`, such as ``dim=64``.
    """
    drawn = pairs.name == "scenes"
    if image_backbone == "mini" and pairs.name == "vsepp" and pairs.features is not None:
        origin = Side.open(pairs.features / "image").manifest["origin"]
        image_backbone, image_weights = str(origin["backbone"]), None
    if image_weights == "auto":
        if image_backbone == "mini":
            image_weights = "mini" if drawn else None
        elif image_backbone.startswith("timm/"):
            image_weights = "pretrained"
        else:
            image_weights = "pocket" if image_backbone == "pocket" else "imagenet"
    if text_weights == "auto":
        own = {"mini": "mini" if drawn else None, "pocket": "pocket"}
        text_weights = own.get(text_backbone, "pretrained")
    torch.manual_seed(seed)
    return DualEncoder.from_names(
        image_backbone=image_backbone,
        image_weights=image_weights,
        text_backbone=text_backbone,
        text_weights=text_weights,
        captions=pairs.captions,
        **{"standardise": loss in STANDARDISED, **settings},
    )


def with_rates(config: TrainConfig, model: DualEncoder) -> TrainConfig:
    """Fill in the peak learning rates of the backbones that train, as their weights want them."""
    rates = model.backbone_rates(config.backbone_lr, config.image_lr, config.text_lr)
    filled: dict[str, Any] = {f"{name}_lr": rates[name] for name in _trained_backbones(model)}
    return replace(config, **filled)


def rates_line(config: TrainConfig, model: DualEncoder) -> str:
    """Say in one line at which peak learning rates a model trains.

    Args:
        config: with the rates filled in, as `Trainer.config`.
    """
    random, rates = model.random_backbones(), {"image": config.image_lr, "text": config.text_lr}
    parts = []
    for name, branch in _trained_backbones(model).items():
        course = "the course's" if branch.backbone_name == "mini" else "pretrained"
        weights = "random" if name in random else course
        parts.append(f"{name} backbone {rates[name]:g} ({weights} weights)")
    return f"learning rates: {', '.join([*parts, f'projections {config.projection_lr:g}'])}"


def _trained_backbones(model: DualEncoder) -> dict[str, ImageEncoder | TextEncoder]:
    """The branches, "image" or "text", of which the backbone has weights that train."""
    branches: dict[str, ImageEncoder | TextEncoder] = {"image": model.image, "text": model.text}
    return {
        name: branch
        for name, branch in branches.items()
        if any(parameter.requires_grad for parameter in branch.backbone.parameters())
    }


def made_by() -> dict[str, str]:
    """Return the versions and the machine, which are saved with every figure."""
    return {
        "mmret": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "transformers")},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads"
        + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""),
    }
