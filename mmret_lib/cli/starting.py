"""What `mmret train` starts from: the model of a run (--from), or backbones named by flags."""

import ast
from dataclasses import fields
from pathlib import Path
from typing import Any

from mmret_lib.cli.flags import DEFAULT_BACKBONES, BackboneFlags, ReadingFlags
from mmret_lib.cli.opening import where
from mmret_lib.files.errors import DataError

DIM = 128


def data_of(
    run: Path | None, data: str | None, root: Path | None, reading: ReadingFlags
) -> tuple[str, Path | None, dict[str, Any], dict[str, Any]]:
    """Decide what to train on, by default what a run was trained on, or else the drawn scenes.

    Returns:
        the name of the data set, its root, the other options of `load_pairs`, and what the record
        of the run says of its data.
    """
    if run is None:
        data = data or "scenes"
        return data, root, reading.options(data, root), {}
    from mmret_lib.training.record import read_run

    trained = read_run(run).data
    name, root, _, options = where(trained, data, root, "train", reading)
    return name, root, options, trained if name == trained["name"] else {}


def loss_of(run: Path | None, loss: str | None) -> str:
    """The loss to train with: by default that of the run, or else SimCLR's."""
    if loss is not None or run is None:
        return loss or "simclr"
    from mmret_lib.training.record import read_run

    return read_run(run).loss


def loss_settings_of(words: tuple[str, ...], flags: dict[str, Any]) -> dict[str, Any]:
    """Read --loss-settings: words such as k=4, and join them to the flags with names of their own.

    Raises:
        DataError: a word that is no NAME=VALUE, or a setting that is given twice.
    """
    settings = {name: value for name, value in flags.items() if value is not None}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise DataError(f"--loss-settings takes NAME=VALUE, such as k=4, not {word}")
        if name in settings:
            raise DataError(f"{name} is given twice, the second time by --loss-settings {word}")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value  # a word, such as the name of an inner loss
    return settings


def start_model(
    run: Path | None, loss: str, pairs: Any, backbones: BackboneFlags, dim: int | None, seed: int
) -> Any:
    """Build the model from the flags, or open that of a run.

    Raises:
        DataError: a flag says otherwise than the run.
    """
    from mmret_lib.training.recipes import STANDARDISED, build_model

    if run is None:
        dim = DIM if dim is None else dim
        if not 1 <= dim <= 2**16:
            raise DataError(f"--dim is {dim}; it must be from 1 to {2**16:,}")
        return build_model(loss, pairs, **backbones.settings(), dim=dim, seed=seed)
    from mmret_lib.training.run_folder import load_run

    model, _ = load_run(run)
    has = {
        "image_backbone": model.image.backbone_name,
        "image_size": model.image.image_size,
        "text_backbone": model.text.backbone_name,
        "pooling": getattr(model.text, "pooling", None),
        "max_length": getattr(model.text, "max_length", None),
        "dim": model.dim,
    }
    given = {
        f.name: value
        for f in fields(BackboneFlags)
        if (value := getattr(backbones, f.name)) != getattr(DEFAULT_BACKBONES, f.name)
    }
    if dim is not None:
        given["dim"] = dim
    for name, value in given.items():
        if name not in has or value != has[name]:
            flag = name.replace("_", "-")
            is_so = f", which has {has[name]}" if name in has else ""
            raise DataError(
                f"--{flag} {value} contradicts --from {run}{is_so}: backbones, their weights and "
                f"the dimensions are those of that run. Leave out --{flag}, or --from"
            )
    if loss in STANDARDISED and not model.standardise:
        raise DataError(
            f"{loss} needs branches that end in a standardisation, which the model of {run} has "
            "not. Choose another --loss, or leave out --from"
        )
    return model
