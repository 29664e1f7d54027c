"""What exercise 07's `load_state` is held to: a training goes on with the same bits."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from mmret_lib.checks.engine.symptoms import name_of
from mmret_lib.checks.engine.task import CheckFailed
from mmret_lib.checks.loop.models import Training, begin, go_on, same_bits, state_of, trained
from mmret_lib.checks.loop.watching import LONG_AGO, sign_of

LoadState = Callable[..., Any]
AFTER = 4  # steps at which the snapshot is taken
RUN: list[str] = []  # what the code in a file has done


def ran() -> dict[str, Any]:
    """What a file's own code would do when it is unpickled without care."""
    RUN.append("ran")
    return {}


class Trap:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        """What pickle calls to read it back."""
        return ran, ()


def loaded(function: LoadState, path: Path | str, training: Training) -> Any:
    """Call the student's function."""
    return function(path, *training)


def parts_of(training: Training) -> dict[str, Any]:
    """The single things that a snapshot puts back, by what they are called; copies of them."""
    model, optimizer, generator = training
    state = optimizer.state_dict()
    averages = [name for name, _ in model.named_buffers()]
    weights = dict(model.state_dict())
    parts = {
        "weights": {name: each for name, each in weights.items() if name not in averages},
        "running averages": {name: weights[name] for name in averages},
        "averages": state["state"],
        "groups": state["param_groups"],
        "generator": generator.get_state(),
    }
    return deepcopy(parts)


FORGOTTEN = {
    "weights": "the model's weights are not those of the file: model.load_state_dict puts them "
    "into the model that was handed over, and a new name for another model does not",
    "running averages": "the running averages of the batch norms are not put back: they are no "
    "parameters, but model.load_state_dict puts them back with the weights",
    "averages": "the optimiser's averages of each weight are not put back: "
    "optimizer.load_state_dict",
    "groups": "the optimiser's own settings are not put back, so the next step has another "
    "learning rate: optimizer.load_state_dict puts them back with the averages",
    "generator": "the generator does not go on where it stood: generator.set_state",
}


# ---------------------------------------------------------------------------------------------
# The properties: each says what is wrong, or nothing


def puts_back_all(function: LoadState) -> str | None:
    """Everything is as it was, and the step is returned; for a path and for its name as text."""
    for seed, step in ((1, AFTER), (2, 777)):
        right = trained(seed, AFTER)
        wanted = parts_of(right)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.state"
            torch.save(state_of(right, step), path)
            os.utime(path, (LONG_AGO, LONG_AGO))
            before = sign_of(path)
            for given in (path, str(path)):
                for mode, training in ((False, begin(seed + 10)), (True, trained(seed + 20, 2))):
                    own = [(id(each), each.requires_grad) for each in training[0].parameters()]
                    training[0].train(mode)
                    value = loaded(function, given, training)
                    if sign_of(path) != before:
                        return (
                            "the file is deleted, or written anew: it may be needed once more, so "
                            "only read it"
                        )
                    try:
                        parts = parts_of(training)
                    except (KeyError, TypeError, AttributeError, ValueError) as error:
                        return (
                            f"the optimiser is broken after the call ({error!r}): fill it by "
                            "optimizer.load_state_dict"
                        )
                    if says := forgotten(parts, wanted):
                        return says
                    if says := wrong_result(value, step):
                        return says
                    if training[0].training != mode:
                        now = "evaluation" if mode else "training"
                        return f"the model is switched to {now}: leave its mode to the caller"
                    if says := not_the_same(training, own):
                        return says
    return None


def not_the_same(training: Training, own: list[tuple[int, bool]]) -> str | None:
    """Say if the parameters are other ones than before, or train no longer."""
    now = [(id(each), each.requires_grad) for each in training[0].parameters()]
    if [each for each, _ in now] != [each for each, _ in own]:
        return (
            "the model's parameters are replaced by new ones, and the optimiser would go on with "
            "the old: fill them, model.load_state_dict"
        )
    if now != own:
        return "requires_grad of the model's parameters is changed: leave it to the caller"
    return None


def forgotten(parts: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Say which parts are not as they were."""
    off = [name for name in wanted if not same_bits(parts[name], wanted[name])]
    if len(off) == len(wanted):
        return (
            "nothing is put back: the states of the file go into the model, the optimiser and the "
            "generator that were handed over (load_state_dict, set_state)"
        )
    if "weights" in off and "running averages" in off:
        off.remove("running averages")
    if "averages" in off and "groups" in off:
        off.remove("groups")
    return "; and ".join(FORGOTTEN[name] for name in off) or None


def wrong_result(value: Any, step: int) -> str | None:
    """Say what is wrong with what is returned."""
    if value is None:
        return "nothing is returned: the number of steps that were done is wanted"
    if type(value) is not int:
        return f"a {name_of(value)} is returned: the step is wanted, a whole number"
    if value == step + 1:
        return "one step too many is returned: `step` says how many are done, as it is in the file"
    if value != step:
        return f"the returned step is {value}, and {step} is in the file"
    return None


def goes_on_with_the_same_bits(function: LoadState) -> str | None:
    """After three more steps the weights are those of the training that was never stopped."""
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        right = trained(3, AFTER, device)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.state"
            torch.save(state_of(right, AFTER), path)
            again = begin(30, device=device)
            loaded(function, path, again)
        go_on(right, 3)
        go_on(again, 3)
        if device == "cpu" and not same_bits(parts_of(right), parts_of(again)):
            return (
                "the next three steps do not lead to the same bits: put back everything that the "
                "file holds by load_state_dict and set_state, not by hand, and draw nothing"
            )
    return None


def reads_what_a_gpu_wrote(function: LoadState) -> str | None:
    """A file whose tensors were on a GPU is read where there is none."""
    if torch.cuda.is_available():
        return None
    right = trained(7, AFTER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.state"
        with mock.patch.object(torch.serialization, "location_tag", return_value="cuda:0"):
            torch.save(state_of(right, AFTER), path)
        if raises(function, path, begin(70)):
            return (
                "a state that was saved on a GPU cannot be read on a machine without one: "
                'torch.load(path, map_location="cpu", ...), and load_state_dict copies from there '
                "to where the model is"
            )
    return None


def refuses_what_does_not_fit(function: LoadState) -> str | None:
    """No file, half a file, and another model's: an error each; nothing is put back by halves."""
    right = trained(4, AFTER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.state"
        training = begin(40)
        before = parts_of(training)
        if not raises(function, path, training):
            return (
                "where there is no file, nobody hears of it: let the FileNotFoundError reach the "
                "caller, who knows whether a training may begin anew"
            )
        torch.save(state_of(right, AFTER), path)
        whole = path.read_bytes()
        for size in (len(whole) // 2, 10):
            path.write_bytes(whole[:size])
            quiet = not raises(function, path, training)
            if not path.is_file() or path.read_bytes() != whole[:size]:
                return (
                    "a file that cannot be read is deleted, or written anew: leave it to the "
                    "caller, for whom a part may still be worth something"
                )
            if quiet or not same_bits(parts_of(training), before):
                return (
                    "a file that is cut off is read without an error: let the error of torch.load "
                    "reach the caller"
                    if quiet
                    else "a file that is cut off changes the training: read it before you change "
                    "anything"
                )
        return refuses_others(function, path, right)


def refuses_others(function: LoadState, path: Path, right: Training) -> str | None:
    """A state with a missing weight, and one of a model of another width."""
    state = state_of(right, AFTER)
    less = dict(state["model"])
    name = next(iter(less))
    del less[name]
    torch.save({**state, "model": less}, path)
    if not raises(function, path, begin(41)):
        return (
            f"a state that lacks a weight ({name}) is loaded without an error, and that weight "
            "stays random: without strict=False"
        )
    torch.save(state_of(begin(5, hidden=9), AFTER), path)
    if not raises(function, path, begin(42)):
        return "the state of a model of another width is loaded without an error"
    return None


def raises(function: LoadState, path: Path, training: Training) -> bool:
    """Whether a call raises an error."""
    try:
        loaded(function, path, training)
    except (CheckFailed, NotImplementedError):
        raise
    except Exception:
        return True
    return False


def runs_no_code(function: LoadState) -> str | None:
    """A file that holds code is not obeyed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.state"
        torch.save({**state_of(trained(6), AFTER), "note": Trap()}, path)
        RUN.clear()
        raises(function, path, begin(60))
    if RUN:
        return (
            "code that stands in the file is run: a pickle from somebody else may do anything. "
            "Read it with torch.load(path, weights_only=True)"
        )
    return None


PROPERTIES = [
    puts_back_all,
    goes_on_with_the_same_bits,
    reads_what_a_gpu_wrote,
    refuses_what_does_not_fit,
    runs_no_code,
]
