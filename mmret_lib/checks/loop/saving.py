"""What exercise 07's `save_state` is held to: all that a training needs, whole or not there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmret_lib.checks.engine.symptoms import name_of
from mmret_lib.checks.engine.task import CheckFailed
from mmret_lib.checks.loop.models import Training, same_bits, state_of, trained
from mmret_lib.checks.loop.watching import Watch

SaveState = Callable[..., Any]
KEYS = ("model", "optimizer", "step", "generator")


def saved(function: SaveState, path: Path | str, training: Training, step: int) -> None:
    """Call the student's function."""
    model, optimizer, generator = training
    function(path, model, optimizer, step, generator)


def read(path: Path) -> tuple[Any, str | None]:
    """What a file holds, or what is wrong with it."""
    if not path.is_file():
        return None, (
            "after the call there is no file at path: the name is to be used as it is, without "
            "another ending"
        )
    try:
        return torch.load(path, weights_only=True), None
    except Exception as error:
        short = str(error).split("\n")[0][:120]
        return None, (
            "torch.load(path, weights_only=True) cannot read the file: write plain parts with "
            "torch.save, the state_dict() of model and optimiser, the step and "
            f"generator.get_state(), and no objects of classes of your own ({short})"
        )


# ---------------------------------------------------------------------------------------------
# The properties: each says what is wrong, or nothing


def holds_all(function: SaveState) -> str | None:
    """The four parts, to the last bit, for a path and for its name as text."""
    for seed, step, dtype in ((1, 4, torch.float32), (2, 1234, torch.float64)):
        training = trained(seed)
        training[0].to(dtype)
        before = [each.clone() for each in state_tensors(training)]
        wanted = state_of(training, step)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.state"
            saved(function, path, training, step)
            found, says = read(path)
        if says or (says := wrong_parts(found, wanted)):
            return says
        if not same_bits(before, state_tensors(training)) or not training[0].training:
            return (
                "the training is changed by saving it (weights, averages, the generator's state, "
                "or train() and eval()): it goes on after a save as if there had been none"
            )
    return None


def state_tensors(training: Training) -> list[Tensor]:
    """All tensors of a training, in order."""
    model, optimizer, generator = training
    averages = [
        each
        for state in optimizer.state.values()
        for each in state.values()
        if isinstance(each, Tensor)
    ]
    return [*model.state_dict().values(), *averages, generator.get_state()]


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


def takes_text(function: SaveState) -> str | None:
    """A path may be text, and the name need not have an ending."""
    training = trained(3)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("run.state", "run", "run.1.part"):
            path = Path(folder) / name
            for given in (path, str(path)):
                kind = f"the {'text' if isinstance(given, str) else 'path'} {name!r}"
                try:
                    saved(function, given, training, 5)
                except (TypeError, AttributeError) as error:
                    return (
                        f"for {kind} it raised {type(error).__name__}: {error}. A path may be a "
                        "Path or a text, so begin with path = Path(path)"
                    )
                found, says = read(path)
                if says or wrong_parts(found, state_of(training, 5)):
                    return f"for {kind}, {says or 'the file is not as it should be'}"
                path.unlink()
    return None


def is_whole_or_not_there(function: SaveState) -> str | None:
    """Whenever the process ends, a reader finds the old file or the new one."""
    training, later = trained(4), trained(5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.state"
        for step, each in ((4, training), (8, later)):
            with Watch(path) as watch:
                saved(function, path, each, step)
            if says := not_whole(watch):
                return says
            found, says = read(path)
            if says or (says := wrong_parts(found, state_of(each, step))):
                return f"where a file of an earlier step is there, {says}"
            others = sorted(each.name for each in Path(folder).iterdir() if each != path)
            if others:
                return (
                    f"beside the file another one is left over ({others[0]}): rename the finished "
                    "file, os.replace, instead of copying it"
                )
    return None


WHOLE = (
    "write the new file under another name in the same folder, and when it is complete give it "
    "the name, os.replace(other, path)"
)


def not_whole(watch: Watch) -> str | None:
    """Say what a reader would have found in between."""
    before, between = watch.stood[0], watch.stood[1:-1]
    if len(watch.stood) == 2 and watch.renamed:
        return None
    if len(watch.stood) == 1:
        return "where a file is there already, nothing is written: the new one takes its place"
    if before is not None and None in between:
        return (
            "there is a moment at which no file stands under the name: killed then, a process "
            "leaves neither the old state nor the new one. Do not delete or move the old file; "
            f"{WHOLE}"
        )
    if between:
        return (
            "there is a moment at which an incomplete file stands under the name: a process that "
            "is killed then leaves a state that cannot be read, and the one before is lost. "
            f"{WHOLE}"
        )
    return (
        "the new file comes from another folder. On another disk (a mounted Drive) that is a copy, "
        f"which can be cut short: {WHOLE}"
    )


class Broken(nn.Linear):
    """A layer that cannot be written."""

    def get_extra_state(self) -> Any:
        """What no file can hold."""
        return lambda: None

    def set_extra_state(self, state: Any) -> None:
        """Nothing to do."""


def fails_aloud(function: SaveState) -> str | None:
    """Where writing fails the caller hears of it, and the file before is as it was."""
    training = trained(6)
    with torch.random.fork_rng(devices=[]):
        model = nn.ModuleDict({"head": Broken(3, 2)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.state"
        torch.save(state_of(training, 3), path)
        content = path.read_bytes()
        try:
            saved(function, path, (model, optimizer, training[2]), 4)
        except CheckFailed:
            raise
        except Exception:
            failed = True
        else:
            failed = False
        if not path.is_file() or path.read_bytes() != content:
            return (
                "where writing fails half-way (here at a part that cannot be written), the state "
                f"before it is lost: {WHOLE}"
            )
    if not failed:
        return (
            "where writing fails, nobody hears of it: let the error reach the caller, without "
            "`except: pass`"
        )
    return None


PROPERTIES = [holds_all, takes_text, is_whole_or_not_there, fails_aloud]
