"""Save snapshots and the best model during a training, and resume a training from them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torch import Tensor

from mmret_lib.encoders.load import load_model
from mmret_lib.encoders.weights import read_safetensors
from mmret_lib.files.disk import disk_errors
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.training.history import write_tensorboard
from mmret_lib.training.identity import Identity, differences
from mmret_lib.training.keep import BEST, RunKeeper
from mmret_lib.training.snapshots import HOLDS, Snapshots
from mmret_lib.training.state import Progress, TrainingState


class Checkpoints:
    """Saves a training's snapshots and its best model, and starts or resumes the training.

    Args:
        folder: the run folder; None saves nothing.
        state: what a snapshot holds.
        identity: of this training; a snapshot of another one is not resumed.
        keep: a second folder, which outlives the session, for the newest snapshot now and then.

    Raises:
        DataError: `keep` without a folder, or one that is not there.
    """

    def __init__(
        self,
        folder: Path | None,
        state: TrainingState,
        identity: Identity,
        keep: str | Path | None = None,
    ) -> None:
        self.folder, self.state, self.identity = folder, state, identity
        if keep is not None and folder is None:
            raise DataError("what is kept (keep) is a copy of the run folder; give one (folder)")
        self.keeper = RunKeeper(keep, folder) if keep is not None and folder else None
        self.snapshots = Snapshots(folder / "snapshots") if folder else None
        self.started = False
        self._best: dict[str, Tensor] | None = None  # the best weights, if no folder holds them

    def begin(self, resume: bool) -> Progress:
        """Restore the newest snapshot when resuming; otherwise, or without one, start at step 0.

        Raises:
            DataError: the trainer has trained already; the folder, or the one that outlives the
                session, holds an unfinished training (without `resume`) or another training (with
                it); or no snapshot can be read.
        """
        processes = self.state.processes
        snapshot = None
        if self.snapshots is None:
            if resume:
                raise DataError("there is nothing to resume without a folder; give Trainer one")
        elif resume:
            self._take_back()
            snapshot = self.snapshots.newest()
            steps = processes.all_gather_objects(snapshot and snapshot[1]["step"])
            if len(set(steps)) > 1:
                raise DataError(
                    f"the processes see different snapshots in {self.snapshots.folder} (after "
                    f"steps {steps}); it must be a folder that all of them share"
                )
        elif not self.started and self.snapshots.steps():
            raise DataError(
                f"{self.snapshots.folder} holds a training that was not finished: go on with "
                "it (--resume, in Python resume=True), or replace it (--overwrite, overwrite=True)"
            )
        elif not self.started and processes.first and self._keeps_something():
            raise DataError(
                f"{self.keeper and self.keeper.kept.folder} keeps a training of this name: go on "
                "with it (resume), give the run another name (--out), or replace it (--overwrite)"
            )
        if self.snapshots is None or snapshot is None:
            if self.started:
                raise DataError(
                    "this trainer has trained already: its model has left its starting weights "
                    "and its learning rate has come down. To repeat the training, build the model "
                    "and the Trainer anew; to train the model further, give it to a new Trainer"
                )
            self.started = True
            return Progress()
        tensors, values = snapshot
        refuse_another_training(self.snapshots.folder, values["training"], self.identity)
        if values.get("frozen", self.state.frozen) != self.state.frozen:
            raise DataError(
                f"{self.snapshots.folder} is of a training with other frozen weights, of the same "
                "size. To go on with it, build the model from the weights it had; to train anew, "
                "choose another folder (--out), or replace this one (--overwrite)"
            )
        self.started = True
        self._rebuild_best(self.snapshots.folder_of(values["step"]))
        return self.state.restore(tensors, values)

    def _keeps_something(self) -> bool:
        """Whether a training is kept that must not be replaced."""
        keeper = self.keeper
        return keeper is not None and not keeper.overwrite and bool(keeper.newest())

    def _take_back(self) -> None:
        """Copy the kept snapshot back if the run folder has none, or only older ones."""
        if self.keeper and self.snapshots and self.state.processes.first:
            step = self.keeper.newest().get("step", -1)
            if step > max(self.snapshots.steps(), default=-1):
                target = self.snapshots.folder_of(step)
                self.keeper.take_back("snapshot", target, {*HOLDS, BEST}, self.identity)
        self.state.processes.broadcast(None)  # the other processes wait for it

    def _rebuild_best(self, snapshot: Path) -> None:
        """Save the best model anew from the weights that lie beside a snapshot that was kept."""
        weights = snapshot / BEST
        if self.folder and weights.is_file() and self.state.processes.first:
            self.state.put_weights({**self.state.weights(), **read_safetensors(weights)})
            with self._warn_if_not_saved("the best model"):
                self.state.model.save(self.folder / "best")
                weights.unlink()

    def save(self, progress: Progress, steps: int) -> None:
        """Save a snapshot, taken after `steps` steps; all processes must call this together."""
        if self.snapshots is None:
            return
        tensors, values = self.state.capture(progress)
        if self.state.processes.first:
            with self._warn_if_not_saved("a snapshot"):
                self.snapshots.save(steps, tensors, {"training": self.identity, **values})
                if self.keeper:
                    self.keeper.offer(self.snapshots.folder_of(steps), steps, self.identity)

    def save_best(self, progress: Progress, *, restored: bool) -> None:
        """Save the present model as the best one, replacing the best one so far.

        Args:
            progress: notes which epoch's model the folder holds.
            restored: whether `restore_best` will be called: without a folder, or where the disk
                fails, the weights are then kept in memory.
        """
        if not self.state.processes.first:
            return
        if self.folder:
            with self._warn_if_not_saved("the best model"):
                self.state.model.save(self.folder / "best")
                progress.saved_epoch = progress.best_epoch
        in_folder = self.folder and progress.saved_epoch == progress.best_epoch
        self._best = None
        if restored and not in_folder:
            self._best = {
                n: t.detach().to("cpu", copy=True) for n, t in self.state.weights().items()
            }

    def restore_best(self, progress: Progress) -> None:
        """Give the model the weights of the best epoch; all processes must call this together."""
        if progress.best_epoch in (0, progress.epoch):
            return
        weights = self._best
        if self.state.processes.first and weights is None:
            with suppress(DataError, MissingFile):
                if self.folder and progress.saved_epoch == progress.best_epoch:
                    weights = load_model(self.folder / "best").state_dict()
        weights = self.state.processes.broadcast(weights)
        if weights is None:
            warnings.warn(
                f"the model of the best epoch, {progress.best_epoch}, is not in {self.folder}; the "
                f"model is that of the last one, {progress.epoch}",
                stacklevel=2,
            )
            return
        self.state.put_weights(weights)
        progress.history.model_epoch = progress.best_epoch

    def write_tensorboard(self, row: dict[str, float]) -> None:
        """Add the figures of one epoch, a row of the history, to TensorBoard's files."""
        if self.folder and self.state.processes.first:
            folder = self.folder / "tensorboard"
            with self._warn_if_not_saved("TensorBoard's figures"), disk_errors(folder, "writing"):
                write_tensorboard(folder, row)

    @contextmanager
    def _warn_if_not_saved(self, what: str) -> Iterator[None]:
        """Turn an error of the disk into a warning, so that the training goes on."""
        try:
            yield
        except OSError as error:
            warnings.warn(
                f"{what} could not be saved in {self.folder} ({error.strerror or error}); training "
                "goes on, and what was saved before stays. Make room or mend the disk",
                stacklevel=2,
            )


def refuse_another_training(folder: Path, theirs: Identity, ours: Identity) -> None:
    """Check that the training in a folder is the one that is to be resumed.

    Raises:
        DataError: it is another training; the message names every difference.
    """
    if changes := differences(theirs, ours):
        raise DataError(
            f"{folder} is of another training ({'; '.join(changes)}). To go on with that one, give "
            "the old values; to train anew, choose another folder (--out), or replace this one "
            "(--overwrite, in Python overwrite=True)"
        )
