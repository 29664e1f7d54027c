"""The record of a run: what was trained on what, with which settings, and what came out.

    RUN/run.json, RUN/history.csv    of a finished run
    RUN/begun.json                   while the training runs: what is known at its start, and the
                                     command that started it

From begun.json, the best model of a training that did not end can be used, and its messages say how
far it came and how to go on.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mmret_lib.files.errors import MissingFile, visible
from mmret_lib.files.places import user_path
from mmret_lib.files.records import read_json, read_note, write_json
from mmret_lib.files.whole import put_back
from mmret_lib.training.snapshots import Snapshots

VERSION = 1
BEGUN = "begun.json"
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
    """The record of a training, without its model.

    Attributes:
        loss: the loss's name on the command line.
        data: name, root ("" where there is none) and split of the training pairs, and what else
            `load_pairs` needs to find them (the captions file of "folder", and its columns);
            `max_unreadable`, where another share of photos may be unreadable than usual.
        config: `TrainConfig` as a dict, with the epochs, learning rates, device and precision that
            were used.
        history: the rows of `History`.
        loss_settings: "repr" -> the loss with its settings.
        figures: training seconds, the epoch that the model is of, and by the name of a split its
            recalls; "findings", where something was wrong at the end.
        made_by: versions and machine; and "from", the run whose weights the training began with.
    """

    loss: str
    data: dict[str, Any]
    config: dict[str, Any]
    history: list[dict[str, float]]
    loss_settings: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    made_by: dict[str, str] = field(default_factory=dict)

    @property
    def findings(self) -> dict[str, str]:
        """What was wrong at the end of the training, as in `History.findings`."""
        findings = self.figures.get("findings", {})
        return {str(n): visible(str(line)) for n, line in findings.items()}


def write_record(folder: Path, record: Run) -> None:
    """Write run.json and history.csv."""
    # Without a column, a history of no epochs (a CLIP as published) could not be read again.
    columns = None if record.history else ["epoch"]
    history = pd.DataFrame(record.history, columns=columns)
    history.to_csv(folder / "history.csv", index=False)
    write_json(folder / "run.json", {"format": "mmret run", "version": VERSION, **_plain(record)})


def write_begun(folder: Path, record: Run, command: str) -> None:
    """Write begun.json, when a training begins.

    Args:
        record: what is known of it.
        command: that started the training; "" where no command line did.
    """
    content = {"format": "mmret begun run", "version": VERSION, "command": command}
    write_json(folder / BEGUN, {**content, **_plain(record)})


def _plain(record: Run) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _ENTRIES}


def read_run(folder: str | Path) -> Run:
    """Read the record of a run folder, without its model.

    Args:
        folder: a finished run; or a model in a run, such as RUN/best, which need not be finished.

    Raises:
        MissingFile: the folder or its record is not there, or the run is not finished; then the
            message says how to go on.
        DataError: of another version, or damaged.
    """
    folder = user_path(folder)
    put_back(folder)
    if not folder.is_dir():
        raise MissingFile(f"There is no run folder {folder}. Train one: mmret train --out {folder}")
    if is_model(folder):
        return _record_of_model(folder)
    if not (folder / "run.json").exists() and _has_begun(folder):
        best = folder / "best"
        use = f". Or use its best model so far: give {best} instead" if is_model(best) else ""
        raise MissingFile(
            f"the training in {folder} is not finished; kept is {how_far(folder)}. "
            f"{how_to_go_on(folder)}{use}"
        )
    content = read_json(folder / "run.json", "mmret run", VERSION, _ENTRIES)
    try:
        history = pd.read_csv(folder / "history.csv").to_dict("records")
    except (OSError, ValueError) as error:
        raise MissingFile(
            f"{folder / 'history.csv'} cannot be read ({error}). Train the run again."
        ) from None
    return Run(**{name: content[name] for name in _ENTRIES}, history=history)


def is_model(folder: Path) -> bool:
    """Whether a folder is that of a model, such as RUN/best, and not of a run."""
    return (folder / "model.json").is_file() or (folder / "config.json").is_file()


def _record_of_model(folder: Path) -> Run:
    """The record of the run that a model lies in, without the figures of its last model."""
    run = folder.absolute().parent
    begun = read_begun(run)  # of a training that is newer than a finished run beside it
    if begun:
        return Run(**{name: begun[name] for name in _ENTRIES}, history=[])
    if (run / "run.json").exists():
        record = read_run(run)
        return record if folder.name == "model" else replace(record, figures={})
    raise MissingFile(
        f"{folder} is a model without the record of its run, which says what it was trained on. "
        "Give the folder of a run, or in Python: load_model(...) of mmret_lib.encoders"
    )


def read_begun(run: Path) -> dict[str, Any]:
    """Read what `write_begun` wrote; {} if there is no training that began and did not end."""
    begun = read_note(run / BEGUN)
    right = all(isinstance(begun.get(name), kind) for name, kind in _ENTRIES.items())
    return begun if right and begun.get("version") == VERSION else {}


def _has_begun(run: Path) -> bool:
    return (run / BEGUN).exists() or (run / "snapshots").exists() or (run / "best").exists()


def how_far(run: Path) -> str:
    """Say what is kept of a training that did not end: its newest snapshot and its best model."""
    newest = Snapshots(run / "snapshots").newest_place()
    planned = read_begun(run).get("config", {}).get("epochs")
    parts = []
    if newest is not None:
        of = f" of {planned}" if planned else ""
        parts.append(f"a snapshot after step {newest['step']:,} ({newest['epoch']}{of} epochs)")
    if (run / "best").is_dir():
        parts.append(f"the best model so far ({run / 'best'})")
    return " and ".join(parts) or "nothing of it, because no snapshot had been taken"


def how_to_go_on(run: Path, command: str = "") -> str:
    """Say how to go on with a training that did not end: the command, where it is known."""
    command = command or read_begun(run).get("command", "")
    if not command:
        return "Go on with the same call and resume=True (on the command line --resume)"
    return f"Go on: {command}" + ("" if "--resume" in command.split() else " --resume")
