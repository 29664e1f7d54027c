"""The tasks of an exercise: with the numbers of its checks, or with a student's own."""

from __future__ import annotations

import importlib
import sys

from mmret_lib.checks.engine import seeds
from mmret_lib.checks.engine.task import Task

CHECKS = "mmret_lib.checks"
SHARED = (f"{CHECKS}.engine", f"{CHECKS}.writing", f"{CHECKS}.my_retrieval")  # without numbers


def load_tasks(exercise: str, shift: int = 0) -> dict[str, Task]:
    """Import the checks of an exercise anew, and return its tasks by the functions' names.

    Args:
        exercise: such as 04_triplet_losses.
        shift: what is added to all seeds of the checks; with 0 they are those of the notebook.
    """
    for name in [name for name in sys.modules if name.startswith(f"{CHECKS}.")]:
        if not name.startswith(SHARED):
            del sys.modules[name]
    seeds.shift = shift
    module = importlib.import_module(f"{CHECKS}.{exercise[3:]}")
    return {value.name: value for value in vars(module).values() if isinstance(value, Task)}
