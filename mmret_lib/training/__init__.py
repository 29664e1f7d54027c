"""Training: the loop, its settings, snapshots to resume from, and the run that comes out.

`trainer` is the loop, `config` its settings, `schedule` the learning rate, `history` and
`validation` what is measured on the way. `run` trains a model and saves it in a `run_folder` with
its `record`; `checkpoints` resumes an interrupted training from its `snapshots`, which hold its
`state`, after comparing its `identity`; `keep` copies them to a folder that outlives the session.
`recipes` builds a loss and its model by name, `devices` picks the hardware, `distributed` joins
several processes, `grad_cache` sends a large batch through in pieces, and `second_views` embeds
what the terms within a branch compare. `leak` finds pictures that a model is measured on and was
trained on. `pocket_heads` trains the projections of the pocket model. `diagnosis`
says when a training has collapsed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmret_lib.training.config import TrainConfig
    from mmret_lib.training.history import History
    from mmret_lib.training.recipes import build_loss, build_model, made_by
    from mmret_lib.training.record import Run, read_run
    from mmret_lib.training.run import TrainedRun, train_run
    from mmret_lib.training.run_folder import load_run, save_run
    from mmret_lib.training.trainer import Trainer
    from mmret_lib.training.validation import validate

# Imported when first asked for: `mmret --help` needs TrainConfig and should not wait for torch.
_HOMES = {
    "config": ("TrainConfig",),
    "history": ("History",),
    "recipes": ("build_loss", "build_model", "made_by"),
    "record": ("Run", "read_run"),
    "run": ("TrainedRun", "train_run"),
    "run_folder": ("load_run", "save_run"),
    "trainer": ("Trainer",),
    "validation": ("validate",),
}

__all__ = [
    "History",
    "Run",
    "TrainConfig",
    "TrainedRun",
    "Trainer",
    "build_loss",
    "build_model",
    "load_run",
    "made_by",
    "read_run",
    "save_run",
    "train_run",
    "validate",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
