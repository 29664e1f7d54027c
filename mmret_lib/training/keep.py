"""Keep a training's newest snapshot, and at the end its run, where they outlive the session.

Snapshots are written to the local disk, every few minutes and after every epoch. Of a whole model
each has about 1 GB, too much to send to a Drive so often. So a second folder gets the newest one at
intervals that follow from its size, copied while the training goes on (see `files.keep`).
"""

import shutil
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from mmret_lib.files.errors import DataError
from mmret_lib.files.keep import Kept
from mmret_lib.files.whole import link_or_copy
from mmret_lib.training.identity import Identity, differences

BYTES_PER_HOUR = 2e9  # written to the second folder: 1 GB every half hour
LEAST_SECONDS = 60.0  # between two copies, however small they are
SHARE_OF_TIME = 0.1  # that may go into copying, where the folder is slow
BEST = "best.safetensors"  # beside a snapshot: the weights of the best model that are trained
STAGE = "being-kept"  # in the folder of the snapshots: what is being copied


class RunKeeper:
    """Copies the snapshots of one run, and at the end the run, to a second folder.

    Args:
        keep: the folder that outlives the session.
        run: the run folder; its name is the name in `keep`.

    Attributes:
        overwrite: whether another training that is kept may be replaced. It stays until the first
            copy of this one is whole.

    Raises:
        DataError: neither `keep` nor the folder above it is there.
    """

    def __init__(self, keep: str | Path, run: Path) -> None:
        self.run, self.overwrite = run, False
        self.kept = Kept(keep, run.name)
        self._thread: threading.Thread | None = None
        self._due = 0.0  # when the next copy may begin, as time.monotonic() counts
        self._error: Exception | None = None
        self._warned = False

    def newest(self) -> dict[str, Any]:
        """Say what is kept: "kind" ("snapshot" or "run"), "step" and "training"; {} if nothing.

        Raises:
            DataError: the folder cannot be read.
        """
        try:
            kept = self.kept.newest()
        except OSError as error:
            raise DataError(
                f"{self.kept.folder} cannot be read ({error}). Mount the Drive again, or leave "
                "out the folder to keep things in (keep)"
            ) from None
        return kept[1] if kept else {}

    def offer(self, snapshot: Path, step: int, training: Identity) -> None:
        """Begin to copy a snapshot, in the background, if the last copy is long enough ago.

        Never raises because of the second folder: it warns, once until a copy succeeds again.

        Args:
            snapshot: its folder. It may be deleted as soon as this returns.
            step: after which it was taken.
            training: the identity of the training.
        """
        self._report()
        if time.monotonic() < self._due or (self._thread and self._thread.is_alive()):
            return
        stage = snapshot.parent / STAGE
        try:
            shutil.rmtree(stage, ignore_errors=True)
            stage.mkdir()
            for path in snapshot.iterdir():  # hard links: nothing is written, nothing can vanish
                link_or_copy(path, stage / path.name)
            best = self.run / "best" / "model.safetensors"
            if best.is_file():
                link_or_copy(best, stage / BEST)
        except OSError as error:
            self._error = error
            return
        about = {"kind": "snapshot", "step": step, "training": training}
        self._thread = threading.Thread(target=self._copy, args=(stage, about), daemon=True)
        self._thread.start()

    def finish(self, training: Identity) -> None:
        """Copy the finished run, which replaces the snapshots that are kept."""
        self.wait()
        about = {"kind": "run", "step": -1, "training": training}
        self._copy(self.run, about, skip=("snapshots", "tensorboard"))
        self._report()

    def wait(self) -> None:
        """Wait until the copy that was begun is done, or has failed."""
        if self._thread:
            self._thread.join()
        self._report()

    def take_back(self, kind: str, target: Path, holds: set[str], training: Identity) -> bool:
        """Copy back what is kept, if it is of that kind and of this training.

        Args:
            kind: "snapshot" or "run".
            target: the folder to write; one that is there is replaced.
            holds: the names that it may hold.

        Returns:
            whether it was copied.

        Raises:
            DataError: it is of another training, or cannot be read.
        """
        found = self.newest()
        if found.get("kind") != kind:
            return False
        if changes := differences(found["training"], training):
            if self.overwrite:
                return False
            raise DataError(
                f"{self.kept.folder} keeps another training ({'; '.join(changes)}). To go on with "
                "that one, give the old values; to train anew, give the run another name (--out), "
                "or delete that folder, or --overwrite"
            )
        return self.kept.take(target, holds) is not None

    def _copy(self, source: Path, about: dict[str, Any], skip: tuple[str, ...] = ()) -> None:
        begun = time.monotonic()
        size = 0
        try:
            size = self.kept.put(source, about, skip)
            self._warned = False
        except (OSError, DataError) as error:
            self._error = error
        finally:
            if source != self.run:
                shutil.rmtree(source, ignore_errors=True)
            now = time.monotonic()
            pause = max(3600 * size / BYTES_PER_HOUR, (now - begun) / SHARE_OF_TIME)
            self._due = now + max(LEAST_SECONDS, pause)

    def _report(self) -> None:
        """Warn of an error, here and not in the thread, where nobody would see it."""
        error, self._error = self._error, None
        if error is not None and not self._warned:
            self._warned = True
            warnings.warn(
                f"nothing new is kept in {self.kept.folder} ({error}); training goes on, what was "
                "kept before stays, and it is tried again. Mend or mount the folder meanwhile",
                stacklevel=4,
            )
