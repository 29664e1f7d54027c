"""Save snapshots and the best model during a training, and resume a training from them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmret_lib.files.errors import DataError
from mmret_lib.training.identity import Identity, differences
from mmret_lib.training.snapshots import Snapshots
from mmret_lib.training.state import Progress, TrainingState


class Checkpoints:
    """Saves a training's snapshots and its best model, and starts or resumes the training.

    Args:
        folder: the run folder; None saves nothing.
        state: what a snapshot holds.
        identity: of this training; a snapshot of another one is not resumed.
    """

    def __init__(self, folder: Path | None, state: TrainingState, identity: Identity) -> None:
        self.folder, self.state, self.identity = folder, state, identity
        self.snapshots = Snapshots(folder / "snapshots") if folder else None
        self.started = False

    def begin(self, resume: bool) -> Progress:
        """Restore the newest snapshot when resuming; otherwise, or without one, start at step 0.

        Raises:
            DataError: the trainer has trained already; the folder holds an unfinished training
                (without `resume`) or another training (with it); or no snapshot can be read.
        """
        processes = self.state.processes
        snapshot = None
        if self.snapshots is None:
            if resume:
                raise DataError("there is nothing to resume without a folder; give Trainer one")
        elif resume:
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
                "it (resume), or delete that folder"
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
        self.started = True
        return self.state.restore(tensors, values)

    def save(self, progress: Progress, steps: int) -> None:
        """Save a snapshot, taken after `steps` steps; all processes must call this together."""
        if self.snapshots is None:
            return
        tensors, values = self.state.capture(progress)
        if self.state.processes.first:
            with self._warn_if_not_saved("a snapshot"):
                self.snapshots.save(steps, tensors, {"training": self.identity, **values})

    def save_best(self) -> None:
        """Save the present model as the best one, replacing the best one so far."""
        if self.folder and self.state.processes.first:
            with self._warn_if_not_saved("the best model"):
                self.state.model.save(self.folder / "best")

    @contextmanager
    def _warn_if_not_saved(self, what: str) -> Iterator[None]:
        """Turn an error of the disk into a warning, so that the training goes on."""
        try:
            yield
        except OSError as error:
            warnings.warn(
                f"{what} could not be saved in {self.folder} ({error}); training goes on, and what "
                "was saved before stays. Make room or mend the disk",
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
            "the old values; to train anew, choose another folder (--out) or delete this one"
        )
