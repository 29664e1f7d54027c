"""Save snapshots of a training and load the newest that is complete.

    FOLDER/step-00001234/tensors.safetensors    weights, optimiser, random states
    FOLDER/step-00001234/snapshot.json          where training stood; the checksum of the tensors

A session may end at any moment, a disk may be full, a Drive folder may lose its connection. So a
snapshot is written under another name and renamed when it is whole, an older one is deleted only
after that, and one that cannot be read is passed over for the one before it.
"""

import re
import shutil
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmret_lib.files.disk import checksum_of
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import user_path
from mmret_lib.files.records import read_manifest, write_manifest
from mmret_lib.files.whole import put_back_all, whole_folder

VERSION = 2  # snapshots of version 1 held too little to tell all trainings apart
KEPT = 2  # the newest, and one to fall back on
HOLDS = {"tensors.safetensors", "snapshot.json"}


class Snapshots:
    """The snapshots of one run in a folder of their own."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = user_path(folder)

    def save(self, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Keep a snapshot, taken after ``step`` steps, and delete all but the newest few.

        Args:
            tensors: whatever the training holds in tensors, on any device.
            facts: the rest; must be what json can hold.

        Raises:
            DiskError: the disk is full or may not be written to. The snapshots before stay.
        """
        record = {"format": "mmret snapshot", "version": VERSION, "step": step, **facts}
        with whole_folder(self.folder_of(step), HOLDS) as draft:
            path = draft / "tensors.safetensors"
            # Copies: safetensors takes no two names for one memory, and rows only as they lie.
            plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
            save_file(plain, path)
            record["sha256"] = checksum_of(path, "sha256", progress=False)
            write_manifest(draft / "snapshot.json", record, "checksum")
        kept = {path.name for path in self._all()[:KEPT]}
        for path in self.folder.iterdir():  # older ones, and what killed processes left
            if "step-" in path.name and path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def newest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Load the newest complete snapshot as (tensors, facts); None where there is none.

        One that is damaged is passed over with a warning that names it.

        Raises:
            DataError: there are snapshots, but none can be read.
        """
        faults = []
        for folder in self._all():
            try:
                snapshot = _read(folder)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                faults.append(f"{folder} cannot be used ({error})")
                continue
            for fault in faults:
                warnings.warn(f"{fault}; going on from the snapshot before it", stacklevel=3)
            return snapshot
        if faults:
            raise DataError(
                f"{'; '.join(faults)}. To train anew from the beginning, delete {self.folder}."
            )
        return None

    def folder_of(self, step: int) -> Path:
        """Return the folder of the snapshot taken after `step` steps, which need not be there."""
        return self.folder / f"step-{step:08d}"

    def _all(self) -> list[Path]:
        """The snapshots' folders, the newest first."""
        if not self.folder.is_dir():
            return []
        put_back_all(self.folder)
        folders = [p for p in self.folder.iterdir() if re.fullmatch(r"step-\d{8,}", p.name)]
        return sorted(folders, key=lambda path: int(path.name[5:]), reverse=True)

    def newest_place(self) -> dict[str, Any] | None:
        """Where the newest readable snapshot was taken: its "step", "epoch" and the like.

        The tensors are not read: this is for messages.
        """
        for folder in self._all():
            with suppress(OSError, ValueError):
                return _record(folder)
        return None

    def steps(self) -> list[int]:
        """List the numbers of steps after which the snapshots were taken, the newest first."""
        return [int(path.name[5:]) for path in self._all()]


def _record(folder: Path) -> dict[str, Any]:
    return read_manifest(folder / "snapshot.json", "mmret snapshot", VERSION, "checksum")


def _read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    record = _record(folder)
    path = folder / "tensors.safetensors"
    if checksum_of(path, "sha256", progress=False) != record["sha256"]:
        raise ValueError("tensors.safetensors is not as it was written")
    return load_file(path), record
