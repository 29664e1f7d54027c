"""Train the pocket model's two projections on the album's features (`mmret pretrain pocket-heads`).

The number of epochs is chosen on the split "val"; the album's photos, "test", are only measured at
the end, and nothing depends on the result.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmret_lib.data import load_pairs
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.features import keep_features
from mmret_lib.encoders.pocket import PROJECTIONS, projections
from mmret_lib.encoders.saved import TRAINED_ON, write_trained_on
from mmret_lib.encoders.weights import write_tensors
from mmret_lib.files.whole import whole_folder
from mmret_lib.losses import SimCLR
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.trainer import Trainer
from mmret_lib.training.validation import validate

EPOCHS = (4, 6, 8, 10, 14, 20)
SEEDS = (0, 1, 2)


def train_heads(
    out: Path,
    model: DualEncoder | None = None,
    *,
    epochs: Sequence[int] = EPOCHS,
    seeds: Sequence[int] = SEEDS,
    batch_size: int = 256,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train with SimCLR for each number of epochs, and write the projections of the best one.

    The best one has the highest mean sum of recalls on "val", over the seeds; what is written is
    the model of the first seed.

    Args:
        out: folder for `projections.safetensors`, and the hashes of the photos trained on.
        model: by default the two pocket backbones.
        epochs: numbers of epochs to choose from.
        seeds: of the projections' first values and of the order of the pairs.

    Returns:
        `epochs`, the chosen number; `val_rsum`, number of epochs -> mean sum of recalls; `val` and
        `test`, the recalls of the model that is written.
    """
    base = model or DualEncoder.from_names("pocket", "pocket", "pocket", "pocket")
    train, val, test = (
        keep_features(base, load_pairs("album", split=split)) for split in ("train", "val", "test")
    )
    sums: dict[int, float] = {}
    first: dict[int, DualEncoder] = {}
    for count in epochs:
        rsums = []
        for seed in seeds:
            torch.manual_seed(seed)
            trained = copy.deepcopy(base)
            for branch in (trained.image, trained.text):
                branch.projection.reset_parameters()
            config = TrainConfig(
                epochs=count,
                batch_size=batch_size,
                train="projections",
                validate=False,
                augment="none",
                seed=seed,
                device=device,
            )
            Trainer(trained, SimCLR(), train, config, progress=False).fit()
            rsums.append(validate(trained, val).rsum)
            first.setdefault(count, trained)
        sums[count] = round(sum(rsums) / len(rsums), 1)
    best = max(sums, key=lambda count: sums[count])
    chosen = first[best]
    # As it will be read: in half precision.
    for branch in (chosen.image, chosen.text):
        for value in branch.projection.parameters():
            value.data = value.data.half().float()
    with whole_folder(out, {Path(PROJECTIONS).name, TRAINED_ON, "recipe.json"}) as draft:
        write_tensors(draft / Path(PROJECTIONS).name, projections(chosen))
        write_trained_on(draft, chosen.trained_on)
    reports = {"val": validate(chosen, val), "test": validate(chosen, test)}
    return {
        "epochs": best,
        "val_rsum": {str(count): value for count, value in sums.items()},
        **{
            split: {name: round(value, 1) for name, value in report.as_dict().items()}
            for split, report in reports.items()
        },
    }
