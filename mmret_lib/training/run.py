"""A training run on disk: the model, what made it, and how it went.

    RUN/run.json      what was trained on what, with which settings, and the figures it reached
    RUN/history.csv   one row per epoch
    RUN/model/        the model itself (see `DualEncoder.save`), after the last epoch
    RUN/best/         the model of the epoch with the best validation figures

The folder has its name only once all of it is written, and nothing in it is ever unpickled.
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.load import load_model
from mmret_lib.encoders.weights import refuse_pickle
from mmret_lib.files.errors import MissingFile
from mmret_lib.files.places import user_path
from mmret_lib.files.records import read_json, write_json
from mmret_lib.files.whole import put_back, whole_folder
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.trainer import History

RUN_VERSION = 1
KEPT = ("best", "tensorboard")  # what training has put there itself
HOLDS = {"run.json", "history.csv", "model", "snapshots", *KEPT}
_ENTRIES = {
    "loss": str,
    "loss_settings": dict,
    "data": dict,
    "config": dict,
    "figures": dict,
    "made_by": dict,
}


@dataclass(frozen=True)
class Run:
    """What a run folder says.

    Attributes:
        loss: the loss's name on the command line, and its settings.
        data: name, root ("" for the built-in world), split and options of the training pairs.
        config: the training configuration, as a dict of `TrainConfig`'s fields.
        figures: training seconds and recalls by split, as far as they were measured.
        made_by: versions and machine.
        history: the rows of `History`.
    """

    loss: str
    loss_settings: dict[str, Any]
    data: dict[str, Any]
    config: dict[str, Any]
    figures: dict[str, Any]
    made_by: dict[str, str]
    history: list[dict[str, float]]


def save_run(
    folder: str | Path,
    model: DualEncoder,
    history: History,
    config: TrainConfig,
    *,
    loss: str,
    loss_settings: dict[str, Any],
    data: dict[str, Any],
    figures: dict[str, Any],
    made_by: dict[str, str],
) -> None:
    """Write a run folder; an older run of that name is replaced, snapshots are no longer needed.

    Raises:
        DataError: the folder holds other things, which replacing it would delete.
    """
    folder = user_path(folder)
    with whole_folder(folder, HOLDS) as draft:
        model.save(draft / "model")
        for name in KEPT:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, draft / name)
        pd.DataFrame(history.rows).to_csv(draft / "history.csv", index=False)
        record = {
            "format": "mmret run",
            "version": RUN_VERSION,
            "loss": loss,
            "loss_settings": loss_settings,
            "data": data,
            "config": asdict(config),
            "figures": figures,
            "made_by": made_by,
        }
        write_json(draft / "run.json", record)


def load_run(folder: str | Path) -> tuple[DualEncoder, Run]:
    """The trained model in eval mode on the CPU, and the record of its run.

    Raises:
        MissingFile: the folder or a part of it is not there (a run that did not end).
        DataError: of another version, damaged, or holding a pickle.
    """
    folder = user_path(folder)
    put_back(folder)
    if not folder.is_dir():
        raise MissingFile(f"There is no run folder {folder}. Train one: mmret train --out {folder}")
    for path in folder.rglob("*"):
        refuse_pickle(path)
    record = read_json(folder / "run.json", "mmret run", RUN_VERSION, _ENTRIES)
    parts = {name: record[name] for name in _ENTRIES}
    try:
        history = pd.read_csv(folder / "history.csv").to_dict("records")
    except (OSError, ValueError) as error:
        raise MissingFile(
            f"{folder / 'history.csv'} cannot be read ({error}). Train the run again."
        ) from None
    return load_model(folder / "model"), Run(**parts, history=history)
