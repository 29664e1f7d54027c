"""Let saves fail during a training: a full disk, a disk mounted read-only, no permission.

    sudo python benchmarks/failed_saves.py        Linux, a minute

A real disk of its own (a tmpfs, which takes root to mount) holds the run folder. Twelve steps each
take a snapshot; saving fails from the fourth to the tenth. Then the same again, but the session is
lost while saving fails, and the training is resumed from what is on the disk. Both times the
weights must equal those of the undisturbed training bit for bit.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from mmret_lib.data import load_pairs
from mmret_lib.data.store import pack
from mmret_lib.training import TrainConfig, Trainer, build_loss, build_model
from mmret_lib.training.snapshots import Snapshots

FIRST, LAST = 3, 10  # steps between which saving fails
CONFIG = TrainConfig(epochs=3, batch_size=16, device="cpu", validate=False, snapshot_minutes=0)


class Lost(Exception):
    """Raised where the session is lost."""


def full(disk: Path) -> Callable[[], object]:
    filler = disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            pass
    return filler.unlink


def read_only(disk: Path) -> Callable[[], object]:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    return lambda: subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def no_permission(disk: Path) -> Callable[[], object]:
    os.seteuid(65534)  # "nobody": root itself may write anywhere
    return lambda: os.seteuid(0)


def train(
    store,
    folder: Path | None,
    trouble: Callable | None = None,
    lose: bool = False,
    resume: bool = False,
) -> tuple[dict, int, int]:
    """Train; return the weights, the number of failed saves, and the number of their warnings."""
    model = build_model("simclr", store.pairs, image_weights=None, text_weights=None)
    trainer = Trainer(model, build_loss("simclr"), store, CONFIG, folder=folder, progress=False)
    step, steps, mend = trainer.train_step, [], []

    def troubled(batch):
        if trouble and len(steps) == FIRST:
            mend.append(trouble(folder))
        if mend and len(steps) == LAST:
            mend.pop()()
            if lose:
                raise Lost
        steps.append(1)
        return step(batch)

    trainer.train_step = troubled
    failures = []
    if trainer.checkpoints.snapshots:
        save = trainer.checkpoints.snapshots.save

        def watched(*args):
            try:
                save(*args)
            except OSError as error:
                failures.append(error)
                raise

        trainer.checkpoints.snapshots.save = watched
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.suppress(Lost):
            trainer.fit(resume=resume)
    said = [str(w.message) for w in caught if "a snapshot could not be saved" in str(w.message)]
    return model.state_dict(), len(failures), len(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for failed-saves.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "| trouble | saves that failed | said so each time | weights the same | "
        "last good snapshot loads | resumed, weights the same |",
        "|---|---|---|---|---|---|",
    ]
    sound = True
    with tempfile.TemporaryDirectory() as root:
        world = load_pairs("scenes", root=Path(root), split="train", size=64, progress=False)
        store = pack(world, 64, progress=False)
        expected, *_ = train(store, None)
        for trouble in (full, read_only, no_permission):
            disk = Path(root) / "disk"
            disk.mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "run", disk], check=True)
            try:
                found, failures, said = train(store, disk, trouble)
                same = all(torch.equal(found[name], value) for name, value in expected.items())
                for path in disk.iterdir():
                    subprocess.run(["rm", "-r", path], check=True)
                train(store, disk, trouble, lose=True)
                kept = Snapshots(disk / "snapshots").newest()
                loads = kept is not None and kept[1]["step"] == FIRST
                again, *_ = train(store, disk, resume=True)
                resumed = all(torch.equal(again[name], value) for name, value in expected.items())
            finally:
                # Lazily: loaded snapshots are mapped, and hold the disk while they are used.
                subprocess.run(["umount", "--lazy", disk], check=True)
            all_said = said == failures >= LAST - FIRST
            sound &= all_said and same and loads and resumed
            row = [trouble.__name__.replace("_", " "), str(failures), all_said]
            row += [same, loads, resumed]
            shown = [x if isinstance(x, str) else "yes" if x else "no" for x in row]
            lines.append(f"| {' | '.join(shown)} |")
            print(lines[-1], flush=True)
    text = "# Saves that fail\n\n`python benchmarks/failed_saves.py`\n\n" + "\n".join(lines) + "\n"
    print(text)
    if args.out:
        (args.out / "failed-saves.md").write_text(text, encoding="utf-8")
    sys.exit(not sound)


if __name__ == "__main__":
    main()
