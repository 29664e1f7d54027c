"""What exercise 07's `save_state` is held to: all that a training needs, whole or not there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmret_lib.checks.engine.task import CheckFailed
from mmret_lib.checks.loop.models import Training, same_bits, state_of, trained
from mmret_lib.checks.loop.parts import read, wrong_parts
from mmret_lib.checks.loop.watching import Watch

SaveState = Callable[..., Any]


def saved(function: SaveState, path: Path | str, training: Training, step: int) -> None:
    """Call the student's function."""
    model, optimizer, generator = training
    function(path, model, optimizer, step, generator)


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
                "the training is changed by saving it (weights, gradients, averages, the "
                "generator's state, requires_grad, or train() and eval()): it goes on after a save "
                "as if there had been none"
            )
    return None


def state_tensors(training: Training) -> list[Tensor]:
    """All tensors of a training in order, and which of its parameters train."""
    model, optimizer, generator = training
    averages = [
        each
        for state in optimizer.state.values()
        for each in state.values()
        if isinstance(each, Tensor)
    ]
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    trains = torch.tensor([each.requires_grad for each in model.parameters()])
    return [*model.state_dict().values(), *averages, *gradients, trains, generator.get_state()]


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
    for name in ("run.state", "run.part", "run.tmp"):
        with tempfile.TemporaryDirectory() as folder:
            if says := is_whole_at(function, Path(folder) / name):
                if name == "run.state":
                    return says
                return (
                    f"for the name {name!r} {says}. Does with_suffix replace its ending by the "
                    "same one? path.with_name(path.name + '.part') adds an ending to any name"
                )
    return None


def is_whole_at(function: SaveState, path: Path) -> str | None:
    """Save twice under one name, and watch what stands there."""
    for step, each in ((4, trained(4)), (8, trained(5))):
        with Watch(path) as watch:
            saved(function, path, each, step)
        if says := not_whole(watch):
            return says
        found, says = read(path)
        if says or (says := wrong_parts(found, state_of(each, step))):
            return f"where a file of an earlier step is there, {says}"
        others = sorted(each.name for each in path.parent.iterdir() if each != path)
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
            "leaves neither the old state nor the new one. Do not delete or move the old file: "
            f"{WHOLE}"
        )
    if between:
        return (
            "there is a moment at which an incomplete file stands under the name: a process that "
            "is killed then leaves a state that cannot be read, and the one before is lost: "
            f"{WHOLE}"
        )
    return (
        "the new file comes from another folder, or another thread or process writes it. On "
        "another disk (a mounted Drive) that is a copy, which can be cut short: "
        f"{WHOLE}"
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
