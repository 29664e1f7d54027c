"""Write and read run folders: never over another run by accident, and never lost for lack of room.

`run` says what such a folder holds.
"""

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.load import load_model
from mmret_lib.encoders.weights import refuse_pickle
from mmret_lib.files.errors import DataError, DiskError
from mmret_lib.files.places import user_path
from mmret_lib.files.records import read_note, write_json
from mmret_lib.files.whole import link_or_copy, put_back, whole_folder
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.identity import Identity, differences
from mmret_lib.training.record import (
    BEGUN,
    Run,
    how_far,
    how_to_go_on,
    is_model,
    read_run,
    write_record,
)

if TYPE_CHECKING:
    from mmret_lib.training.trainer import Trainer

KEPT = ("best", "tensorboard")  # written by the trainer, and kept in the finished folder
HOLDS = {"run.json", "training.json", "history.csv", "model", "snapshots", BEGUN, *KEPT}


def save_run(
    folder: str | Path, model: DualEncoder, record: Run, identity: Identity | None = None
) -> None:
    """Save a trained model and its record in a run folder; `train_run` calls this.

    An older run of that name is replaced, and the snapshots are deleted.

    Args:
        record: written as run.json and history.csv.
        identity: `Trainer.identity`, so that resuming can tell this training from others.

    Raises:
        DataError: the folder holds other things, which replacing it would delete.
    """
    folder = user_path(folder)
    with whole_folder(folder, HOLDS) as draft:
        for name in KEPT:
            put_back(folder / name)
        model.save(draft / "model", share=folder / "best")
        for name in KEPT:
            if (folder / name).is_dir():
                # TensorBoard's files are written into, a model's never are.
                copy = link_or_copy if name == "best" else shutil.copy2
                shutil.copytree(folder / name, draft / name, copy_function=copy)
        write_record(draft, record)
        if identity is not None:
            write_json(draft / "training.json", identity)


def load_run(folder: str | Path) -> tuple[DualEncoder, Run]:
    """Load a run folder: the trained model, in eval mode on the CPU, and the record of its run.

    Args:
        folder: a finished run; or RUN/best, the best model of a run that need not be finished.

    Raises:
        MissingFile: the folder or a part of it is not there, or the run is not finished.
        DataError: of another version, damaged, or holding a pickle.
    """
    record = read_run(folder)
    folder = user_path(folder)
    for path in folder.rglob("*"):
        refuse_pickle(path)
    return load_model(folder if is_model(folder) else folder / "model"), record


def save_safely(folder: Path | None, model: DualEncoder, record: Run, trainer: "Trainer") -> None:
    """Save the run; where the disk is full, see to it that the training is not lost."""
    if folder is None or not trainer.processes.first:
        return
    try:
        save_run(folder, model, record, trainer.identity)
        if trainer.checkpoints.keeper:
            trainer.checkpoints.keeper.finish(trainer.identity)
        return
    except DiskError as error:
        fault = f"the model is trained, but {folder} cannot be written ({error.strerror})"
    newest = trainer.checkpoints.snapshots and trainer.checkpoints.snapshots.newest_place()
    if newest and newest["epoch"] == len(record.history):
        raise DiskError(
            f"{fault}. Nothing is lost: its last snapshot is kept. Make room on that disk; then "
            f"only the model is written, without training again. {how_to_go_on(folder)}"
        )
    for place in (Path(tempfile.gettempdir()), Path.home()):
        spare = place / f"{folder.name}-{int(time.time())}"
        with suppress(DiskError):
            save_run(spare, model, record, trainer.identity)
            raise DataError(f"{fault}. It is in {spare} instead; move it when there is room")
    raise DiskError(
        f"{fault}, nor can {tempfile.gettempdir()}. Kept is {how_far(folder)}. Make room. "
        f"{how_to_go_on(folder)}"
    )


def refuse_to_replace(folder: Path) -> None:
    """Raise DataError where a new training would replace a finished run."""
    if (folder / "run.json").exists():
        raise DataError(
            f"{folder} holds a finished run, which a new training would replace. Choose another "
            "folder (--out), or replace it (--overwrite, in Python overwrite=True); with --resume "
            "(resume=True) the same training is not repeated, and its run only loaded"
        )


def refuse_other_epochs(folder: Path, record: Run, config: TrainConfig) -> None:
    """Raise DataError, which says what to do instead, where a finished run is to be lengthened."""
    done, wanted = record.config.get("epochs"), config.epochs
    if done != wanted:
        raise DataError(
            f"{folder} is finished: its training was planned for {done} epochs, {wanted} are asked "
            "for. It cannot be lengthened, because the learning rate followed a plan over "
            f"{done} epochs ({record.config.get('schedule')}); more of them would not be what "
            f"{wanted} from the beginning are. To train on from its weights: mmret train --from "
            f"{folder} --out NEW --epochs N (in Python: train_run with the model of load_run); to "
            "train anew, choose another folder (--out), or replace this run (--overwrite)"
        )


def make_way(folder: Path, trainer: "Trainer", resume: bool) -> bool:
    """Delete what another training left, except a finished model; return whether to resume."""
    newest = trainer.checkpoints.snapshots and trainer.checkpoints.snapshots.newest_place()
    theirs = newest["training"] if newest else read_note(folder / "training.json")
    resume = resume and not (theirs and differences(theirs, trainer.identity))
    if trainer.checkpoints.keeper:
        trainer.checkpoints.keeper.overwrite = True
    if not resume and trainer.processes.first:
        for name in ("snapshots", *KEPT):
            shutil.rmtree(folder / name, ignore_errors=True)
    trainer.processes.broadcast(None)  # the other processes wait for it
    return resume
