"""Read a file that exercise 07's `save_state` wrote, and say which of its parts is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmret_lib.checks.engine.symptoms import name_of
from mmret_lib.checks.loop.models import same_bits

KEYS = ("model", "optimizer", "step", "generator")


def read(path: Path) -> tuple[Any, str | None]:
    """What a file holds, or what is wrong with it."""
    if not path.is_file():
        return None, (
            "after the call there is no file at path: the name is to be used as it is, without "
            "another ending"
        )
    try:
        return torch.load(path, weights_only=True), None
    except Exception:
        return None, unreadable(path)


STATES = {
    "model": "model.state_dict()",
    "optimizer": "optimizer.state_dict()",
    "generator": "generator.get_state()",
}


def unreadable(path: Path) -> str:
    """Why a file cannot be read, as far as that can be told."""
    try:
        held = torch.load(path, weights_only=False)  # the student's own file
    except Exception:
        return (
            "the file cannot be read: it is cut off, or something else than torch.save has written "
            "it"
        )
    objects = nn.Module | torch.optim.Optimizer | torch.Generator
    says = [
        f"{key!r} is the {type(held[key]).__name__} itself, and its state is wanted, {state}"
        for key, state in STATES.items()
        if isinstance(held, dict) and isinstance(held.get(key), objects)
    ]
    return "torch.load(path, weights_only=True) cannot read the file: " + (
        "; ".join(says)
        or "it may hold tensors, numbers, text, lists and dicts, as state_dict() and get_state() "
        "give them, and no objects of other classes (numpy arrays, modules)"
    )


def wrong_parts(found: Any, wanted: dict[str, Any]) -> str | None:
    """Say which part of a snapshot is missing, or wrong."""
    if not isinstance(found, dict):
        return f"the file holds a {name_of(found)}: a dict with {', '.join(KEYS)} is wanted"
    for key in KEYS:
        if key not in found:
            return (
                f"the file's dict has no {key!r} (it has {', '.join(map(str, found)) or 'nothing'})"
                f": its keys are {', '.join(KEYS)}"
            )
    for wrong in (wrong_model, wrong_optimizer, wrong_step, wrong_generator):
        if says := wrong(found, wanted):
            return says
    return None


def wrong_model(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Say what is wrong with the weights."""
    model, right = found["model"], wanted["model"]
    if not isinstance(model, dict):
        return f"'model' is a {name_of(model)}: model.state_dict() is wanted"
    missing = [name for name in right if name not in model]
    if missing and all("running" in name or "batches" in name for name in missing):
        return (
            f"'model' lacks {missing[0]}: the running averages of a batch norm are no parameters. "
            "model.state_dict() has them, model.parameters() has not"
        )
    if missing:
        return f"'model' lacks {missing[0]}: model.state_dict() has everything"
    if not same_bits(dict(model), dict(right)):
        return (
            "the weights in the file are not those of the model to the last bit: save "
            "model.state_dict() as it is, without rounding and in its own type"
        )
    return None


def wrong_optimizer(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Say what is wrong with the optimiser's state."""
    optimizer, right = found["optimizer"], wanted["optimizer"]
    whole = "optimizer.state_dict() has both its averages and its rates"
    if not isinstance(optimizer, dict):
        return f"'optimizer' is a {name_of(optimizer)}: {whole}"
    if "state" not in optimizer or not optimizer["state"]:
        return f"'optimizer' lacks the averages of each weight: {whole}"
    if "param_groups" not in optimizer:
        return f"'optimizer' lacks the groups with the rates as they are now: {whole}"
    if not same_bits(optimizer, right):
        return f"'optimizer' is not what the optimiser's state was, to the last bit: {whole}"
    return None


def wrong_step(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Say what is wrong with the step."""
    step, right = found["step"], wanted["step"]
    if type(step) is int and step == right:
        return None
    if type(step) is int and step == right + 1:
        return "'step' is one too many: it says how many steps are done, the argument as it is"
    return f"'step' is {step!r}, and {right!r} was handed over"


def wrong_generator(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Say what is wrong with the generator's state."""
    state, right = found["generator"], wanted["generator"]
    if same_bits(state, right):
        return None
    needed = "generator.get_state() is what goes on with the same numbers"
    if isinstance(state, int):
        return f"'generator' is a number, such as its seed, and would begin again: {needed}"
    if same_bits(state, torch.get_rng_state()):
        return f"'generator' is the state that all code shares, not that of generator: {needed}"
    return f"'generator' is not the state of the generator: {needed}"
