"""Which parts of a model train, and at which rates; `DualEncoder.train_only` freezes the rest."""

from typing import Any

import torch
from torch import Tensor, nn

from mmret_lib.files.errors import DataError

# What trains of a branch; and what `train_only` says of both at once: (image branch, text branch).
PARTS = ("whole", "projection", "nothing")
TRAINABLE_PARTS = {
    "all": ("whole", "whole"),
    "projections": ("projection", "projection"),
    "image": ("whole", "nothing"),
    "text": ("nothing", "whole"),
}


def chosen_parts(part: str, image: str | None, text: str | None) -> dict[str, str]:
    """Say what trains of the "image" and of the "text" branch; see `DualEncoder.train_only`.

    Raises:
        DataError: no such part, or nothing at all would train.
    """
    if part not in TRAINABLE_PARTS:
        raise DataError(f"Cannot train only {part!r}: choose {', '.join(TRAINABLE_PARTS)}.")
    parts = {}
    branches = zip(("image", "text"), (image, text), TRAINABLE_PARTS[part], strict=True)
    for name, given, usual in branches:
        if given is not None and given not in PARTS:
            raise DataError(
                f"Cannot train {given!r} of the {name} branch: choose {', '.join(PARTS)}."
            )
        parts[name] = usual if given is None else given
    if set(parts.values()) == {"nothing"}:
        raise DataError(
            "Nothing of either branch would train: choose whole or projection for one of them "
            "(--train-image, --train-text)."
        )
    return parts


# Peak learning rates of a backbone. Pretrained weights are near a good place already, and at the
# rate that random ones need they are lost within a few steps. Published recipes train them at 2e-5
# (BERT) to 2e-4 (VSE++). The course's mini backbones are pretrained as well, but on the world that
# they are trained on: a search on validation scenes chose half to twice 1e-3, depending on the loss
# (data/results/small_rates.csv, full_rates.csv, atlas_rates.csv).
PRETRAINED_LR, OTHER_LR = 5e-5, 1e-3


def usual_lr(backbone_name: str, random: bool) -> float:
    """Return the peak learning rate of a backbone by the weights that it begins with."""
    return OTHER_LR if random or backbone_name == "mini" else PRETRAINED_LR


def parameter_groups(
    model: nn.Module, image_lr: float, text_lr: float, projection_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Group what trains of a `DualEncoder`; see its method of this name."""
    image, text = "image.backbone.", "text.backbone."
    parts: list[tuple[str, tuple[str, ...], float]]
    parts = [("image backbone", (image,), image_lr), ("text backbone", (text,), text_lr)]
    if image_lr == text_lr:  # one group, as in the snapshots of older versions
        parts = [("backbone", (image, text), image_lr)]
    parts.append(("projection", ("image.projection.", "text.projection."), projection_lr))
    groups = []
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    for part, names, lr in parts:
        trained = [p for name, p in named if name.startswith(names)]
        for decay, params in (
            (weight_decay, [p for p in trained if p.ndim > 1]),
            (0.0, [p for p in trained if p.ndim <= 1]),
        ):
            if params:
                group = {"params": params, "lr": lr, "weight_decay": decay}
                groups.append({"name": f"{part}, decay {decay:g}", **group})
    return groups


def few_weights(backbone: nn.Module) -> Tensor:
    """Copy a few of a backbone's last matrix: they change with any training and any loading."""
    matrices = [parameter for parameter in backbone.parameters() if parameter.ndim > 1]
    return matrices[-1].detach().flatten()[:8].cpu().clone() if matrices else torch.empty(0)
