"""Describe a training, so that it is only resumed with the same settings, model and data."""

import hashlib
import json
import math
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from mmret_lib.data.feature_files import Side
from mmret_lib.data.features import Features
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.losses.base import PairLoss
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.second_views import SecondViews

Identity = dict[str, dict[str, Any]]

# Settings that may change when a training is resumed: they do not change its result.
FREE = ("device", "snapshot_minutes", "tensorboard", "compile")
BOTH = "backbone_lr"  # what counts is the rate of each branch, image_lr and text_lr

# Attributes of a module that are not settings: its mode, and what `train_only` set.
NO_SETTINGS = {"training", "trains", "number", "trained_part"}


def training_identity(
    model: DualEncoder,
    loss: nn.Module,
    store: Store | Features,
    config: TrainConfig,
    validation: Store | Features | None = None,
) -> Identity:
    """Describe everything that the result of a training depends on, in values that JSON can hold.

    Args:
        model: before its first step, with the weights that the training starts from.
        config: with epochs and patience filled in. A precision of "auto" stays "auto", so that
            a training may go on where the GPU is another one.
        validation: the packed validation pairs, or their features: they decide which epoch's
            model is the best, and with `patience` when training stops.

    Returns:
        the sections "config", "loss", "model", "starting weights" and "data".
    """
    pairs = store.pairs
    content = json.dumps([pairs.captions, pairs.owner.tolist(), [p.name for p in pairs.images]])
    identity = {
        "config": {n: value for n, value in asdict(config).items() if n not in (*FREE, BOTH)},
        "loss": {"loss": type(loss).__name__, **_settings(loss)},
        "model": {"model": type(model).__name__, **_settings(model)},
        "starting weights": {**_summaries(model, ""), **_summaries(loss, "loss.")},
        "data": {
            "data": f"{pairs.name} {pairs.split}".strip(),
            "images": len(pairs),
            "captions and file names": hashlib.sha256(content.encode()).hexdigest()[:16],
            **_inputs(store),
            "validation": _title(validation) if validation and config.validate else "none",
        },
    }
    as_in_a_file: Identity = json.loads(json.dumps(identity))
    return as_in_a_file


def differences(old: Identity, new: Identity) -> list[str]:
    """Name each entry in which two trainings differ, with its old and its new value."""
    lines = []
    for section in ("config", "loss", "model", "data"):
        now = new.get(section, {})
        before = _completed(section, old.get(section, {}), now)
        changed = [n for n in {**before, **now} if before.get(n, "") != now.get(n, "")]
        if section in changed:  # another kind of loss, model or data: its settings say no more
            changed = [section]
        lines += [f"{n}: was {before.get(n, '')}, is now {now.get(n, '')}" for n in changed]
    before, now = old.get("starting weights", {}), new["starting weights"]
    lines += [
        f"starting weights of {part}: their size was {before[part][-1]:g}, is now {now[part][-1]:g}"
        for part in sorted(before.keys() & now.keys())
        if not all(
            math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-9)
            for a, b in zip(before[part], now[part], strict=True)
        )
    ]
    return lines


def _completed(section: str, before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Add to a section of an older record the entries that did not exist when it was written."""
    if section == "config":  # before a setting existed, training went as its default says now
        defaults = json.loads(json.dumps(asdict(TrainConfig(patience=0))))
        before = {**{name: value for name, value in defaults.items() if name in now}, **before}
        both = before.pop(BOTH, None)
        for name in ("image_lr", "text_lr"):  # not filled in before; None where nothing trains
            if before[name] is None or now[name] is None:
                before[name] = both if now[name] is not None else None
        return before
    if section == "model":  # such as a crop that no backbone had then
        kept = {n: v for n, v in before.items() if n.rpartition(".")[2] not in NO_SETTINGS}
        return {**now, **kept}
    if section == "data":  # on which pairs it was validated is not known
        return {"validation": now.get("validation", ""), **before}
    return before


def _inputs(store: Store | Features) -> dict[str, Any]:
    """Describe what the branches get: pixels of a size, or features of a backbone.

    Without where and when the photos were written, because they may be moved.
    """
    if isinstance(store, Store):
        return {"pixels": store.size, "packed format": store.manifest["version"]}
    inputs = _inputs(store.image) if isinstance(store.image, Store) else {}
    for name, side in (("image features", store.image), ("text features", store.text)):
        if isinstance(side, Side):
            origin = side.manifest["origin"]
            views = f", {origin['views']} views ({origin['augment']})" if origin["views"] else ""
            inputs[name] = f"backbone {origin['backbone'][:16]}, {origin['dtype']}{views}"
    return inputs


def _title(store: Store | Features) -> str:
    pairs = store.pairs
    name = f"{pairs.name} {pairs.split}".strip()
    return f"{name} ({len(pairs)} images, {len(pairs.captions)} captions)".strip()


def _settings(module: nn.Module) -> dict[str, Any]:
    """The plain attributes (numbers, texts, switches) of a module and of its direct parts."""
    settings = {}
    parts: dict[str, Any] = {f"{name}.": child for name, child in module.named_children()}
    parts |= {f"{n}.": value for n, value in vars(module).items() if isinstance(value, SecondViews)}
    for prefix, part in {"": module, **parts}.items():
        for name, value in vars(part).items():
            plain = value is None or isinstance(value, bool | int | float | str)
            if plain and not name.startswith("_") and name not in NO_SETTINGS:
                if name == "fixed" and isinstance(part, PairLoss):
                    name = part.number  # under the name that its constructor gives it
                settings[prefix + name] = value
    return settings


def _summaries(module: nn.Module, prefix: str) -> dict[str, list[float]]:
    """Count, mean and root mean square of the weights of each part, such as "image.backbone".

    No digest of the bytes: random weights from one seed differ in their last bits between
    processors, and a training must be able to go on when Colab gives another machine.
    """
    sums: dict[str, list[float]] = {}
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            part = sums.setdefault(prefix + ".".join(name.split(".")[:2]), [0, 0.0, 0.0])
            part[0] += value.numel()
            part[1] += value.sum(dtype=torch.float64).item()
            part[2] += value.square().sum(dtype=torch.float64).item()
    return {
        part: [count, total / count, math.sqrt(squares / count)]
        for part, (count, total, squares) in sums.items()
        if count
    }
