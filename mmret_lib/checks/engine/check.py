"""Run a task's check on a student's function, without side effects for the notebook."""

from __future__ import annotations

import random
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmret_lib.checks.engine.limit import load_lazy_parts
from mmret_lib.checks.engine.probe import Probe
from mmret_lib.checks.engine.task import CheckFailed, Task
from mmret_lib.checks.my_retrieval import keep, portable

RandomStates = tuple[Tensor, Any, Any]  # of torch, random and numpy


def check(task: Task, function: Callable[..., Any]) -> None:
    """Print one line if a function solves a task, else raise what is probably wrong with it.

    Random states are left as they were, and warnings of the function are not shown. A function that
    a student wrote in a notebook is then written into `my_retrieval.py`.

    Raises:
        CheckFailed: The answer is wrong; the message names the probable mistake.
        NotImplementedError: The function, or one that it calls, is still the exercise's stub.
    """
    if not callable(function):
        raise CheckFailed(
            f"{task.name} should be a function, not {type(function).__name__}: hand over the "
            "function itself, without calling it."
        )
    load_lazy_parts()
    part = portable(task.name, function)
    before = random_states()
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Probe(task, function).run()
    except NotImplementedError as error:
        raise not_written(task.name, error) from None
    finally:
        drew = not same_states(before, random_states())
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])
    if drew:
        raise CheckFailed(
            f"{task.name} draws random numbers or sets a seed: nothing in it is random, and other "
            "code uses the same random state."
        )
    print(f"{task.name}: right. {task.remark}")
    keep(task.name, function, part)


def random_states() -> RandomStates:
    """Return the states of the random generators that a notebook may use."""
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def same_states(before: RandomStates, after: RandomStates) -> bool:
    """Whether no generator was used between two calls of `random_states`."""
    torch_same = torch.equal(before[0], after[0])
    return torch_same and before[1] == after[1] and repr(before[2]) == repr(after[2])


def not_written(name: str, raised: NotImplementedError) -> NotImplementedError:
    """Make an error that says which function to write: this one, or the one that it calls."""
    stub = traceback.extract_tb(raised.__traceback__)[-1].name
    says = (
        f"{name} is not written yet. Replace `raise NotImplementedError` in the cell above, run "
        "that cell, then this one."
    )
    if stub.isidentifier() and stub not in (name, "forward"):
        says = f"{name} calls {stub}, which is not written yet: write that one first."
    error = NotImplementedError(says)
    # A notebook shows the message without a traceback, as it does for CheckFailed.
    error._render_traceback_ = lambda: [f"NotImplementedError: {says}"]  # type: ignore[attr-defined]
    return error
