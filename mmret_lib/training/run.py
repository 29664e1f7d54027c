"""Train a model and keep it in a run folder: the model, what made it, and how it went.

    RUN/run.json        what was trained on what, with which settings, and the figures it reached
    RUN/training.json   tells this training from others, so that no other one resumes it: `identity`
    RUN/history.csv     one row per epoch
    RUN/model/          the model itself (see `encoders.saved`), after the last epoch, or with
                        `TrainConfig.patience` that of the epoch with the best validation figures;
                        "model_epoch" among the figures of run.json says which
    RUN/best/           the model of the epoch with the best validation figures, in any case
    RUN/snapshots/      only during the training: the snapshots to resume it from

The folder gets its final content in one step, when all of it is written. No file in it is read as a
pickle.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from mmret_lib.data.features import Features
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.features import data_for, keep_features
from mmret_lib.encoders.load import load_model
from mmret_lib.encoders.weights import refuse_pickle
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.output import say
from mmret_lib.files.places import refuse_no_text, user_path
from mmret_lib.files.records import read_json, read_note, write_json
from mmret_lib.files.whole import link_or_copy, put_back, refuse_strangers, whole_folder
from mmret_lib.metrics.report import Report
from mmret_lib.training.checkpoints import refuse_another_training
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.distributed import Processes
from mmret_lib.training.history import History
from mmret_lib.training.identity import Identity
from mmret_lib.training.leak import find_leak, note_trained_on
from mmret_lib.training.recipes import made_by, name_of_loss, rates_line
from mmret_lib.training.trainer import Trainer
from mmret_lib.training.validation import validate

RUN_VERSION = 1
KEPT = ("best", "tensorboard")  # written by the trainer, and kept in the finished folder
HOLDS = {"run.json", "training.json", "history.csv", "model", "snapshots", *KEPT}
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
            recalls.
        made_by: versions and machine.
    """

    loss: str
    data: dict[str, Any]
    config: dict[str, Any]
    history: list[dict[str, float]]
    loss_settings: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    made_by: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedRun:
    """The result of `train_run`.

    Attributes:
        model: trained, in eval mode.
        record: as it is saved in the run folder.
        history: the figures of each epoch.
        reports: name -> report, of the splits in `evaluate_on`; empty if the run was finished.
        finished_before: the folder held the finished run already, and nothing was trained.
    """

    model: DualEncoder
    record: Run
    history: History
    reports: dict[str, Report]
    finished_before: bool = False


def train_run(
    folder: str | Path | None,
    model: DualEncoder,
    loss: nn.Module,
    pairs: Pairs | Store | Features,
    config: TrainConfig | None = None,
    *,
    validation: Pairs | Store | Features | None = None,
    evaluate_on: Mapping[str, Pairs | Store | Features] | None = None,
    root: str | Path | None = None,
    data_options: Mapping[str, Any] | None = None,
    figures: Mapping[str, Any] | None = None,
    features: str | Path | None = None,
    max_unreadable: float = 0.01,
    resume: bool = False,
    snapshots: bool = True,
    keep: str | Path | None = None,
    allow_leak: bool = False,
    on_epoch: Callable[[History], object] | None = None,
    progress: bool = True,
) -> TrainedRun:
    """Train a model, evaluate it on some splits, and save it in a run folder.

    Where neither backbone trains, their features are computed first and kept in the cache folder
    (`TrainConfig.kept_features`), and the projections train on these.

    >>> model = build_model("simclr", pairs)
    >>> run = train_run("runs/mine", model, SimCLR(), pairs, TrainConfig(epochs=4), resume=True)
    >>> run.history.column("loss")

    Args:
        folder: run folder to write; an older run there is replaced. None keeps nothing.
        model: trained in place; `build_model` makes one.
        loss: called as ``loss(image_emb, text_emb, image_ids=…, caption_ids=…)``.
        validation: pairs to measure recall on after each epoch.
        evaluate_on: name -> pairs to rank at the end, for the reports and the run's figures. If the
            pairs of `validation` are among them and overlap the training pairs, they are left out.
        root: folder of the data set, for the run's record; the built-in world has none.
        data_options: what else `load_pairs` needs to find the data again, for the run's record.
        figures: more figures for the run's record.
        features: folder of the training pairs' kept features, where they are not to lie in the
            cache folder.
        max_unreadable: share of photos that may be left out because they cannot be read.
        resume: continue the training in the folder, or start one if there is none. A run that is
            finished is only loaded.
        snapshots: save snapshots in the folder while training; without them nothing can be resumed.
        keep: a second folder, such as one of a mounted Drive, for a copy of the newest snapshot
            now and then, and of the finished run. With `resume`, a run folder that was lost with
            the session comes back from there.
        allow_leak: evaluate on pictures that the model is trained on, too.
        on_epoch: called with the history after each epoch.

    Returns:
        the trained model, its history and its figures.

    Raises:
        DataError: the folder holds other things than a run, or (with `resume`) another training;
            the model cannot be saved; `evaluate_on` has pictures that are trained on; whatever
            `Trainer` raises.
    """
    folder = user_path(folder) if folder is not None else None
    if folder is not None:
        put_back(folder)
        refuse_no_text(folder)
        refuse_strangers(folder, HOLDS)
        model.check_can_be_saved()  # better now than after the training
    config = config or TrainConfig()
    processes = Processes.join(config.device)
    shown = progress and processes.first
    model.train_only(config.train, config.train_image, config.train_text)
    heads = config.kept_features and not model.trains_backbones
    if features is not None and not heads:
        raise DataError(
            f"{features} is for features of frozen backbones: train only the projections (--train "
            "projections), or leave it out (--features)"
        )
    if heads and shown and not isinstance(pairs, Features):
        say(f"neither backbone trains: their features are kept, {_augmented(config)}")

    def data(split: Pairs | Store | Features, **options: Any) -> Store | Features:
        if not heads:
            return data_for(model, split, max_unreadable=max_unreadable, progress=shown)
        model.to(processes.device)
        options |= {"max_unreadable": max_unreadable, "progress": shown}
        return keep_features(model, split, **options)

    views = {"views": config.views, "augment": config.augment} if config.views else {}
    trainer = Trainer(
        model,
        loss,
        data(pairs, folder=features, **views),
        config,
        validation=None if validation is None else data(validation),
        folder=folder if snapshots else None,
        keep=keep if snapshots else None,
        on_epoch=on_epoch,
        progress=progress,
    )
    if resume and folder and (finished := _finished_run(folder, trainer)):
        return finished
    note_trained_on(model, trainer.loader.store)
    ranked = {
        name: trainer.validation if split is validation and trainer.validation else data(split)
        for name, split in (evaluate_on or {}).items()
    }
    if not allow_leak:
        ranked = _without_leaks(model, ranked, trainer.validation)
    _say_rates(trainer, shown)
    history = trainer.fit(resume=resume and snapshots)
    reports = {
        name: validate(model, split, processes=processes, allow_leak=True)
        for name, split in ranked.items()
    }
    trained_on = trainer.loader.store.pairs
    record = Run(
        loss=name_of_loss(loss),
        data={
            "name": trained_on.name,
            "root": str(user_path(root).resolve()) if root else "",
            "split": trained_on.split,
            **(data_options or {}),
            **({"max_unreadable": max_unreadable} if max_unreadable != 0.01 else {}),
        },
        config=asdict(trainer.config),
        history=history.rows,
        loss_settings={"repr": repr(loss)},
        figures={
            "training_seconds": round(history.training_seconds, 1),
            "model_epoch": history.model_epoch,
            **{name: report.as_dict() for name, report in reports.items()},
            **(figures or {}),
        },
        made_by=made_by(),
    )
    if folder is not None and processes.first:
        save_run(folder, model, record, trainer.identity)
        if trainer.checkpoints.keeper:
            trainer.checkpoints.keeper.finish(trainer.identity)
    return TrainedRun(model, record, history, reports)


def _without_leaks(
    model: DualEncoder,
    splits: dict[str, Store | Features],
    validation: Store | Features | None,
) -> dict[str, Store | Features]:
    """Refuse splits with pictures that are trained on, but only leave out the validation split.

    That one is measured during the training, where `Trainer.fit` warns of it.
    """
    kept = {}
    for name, split in splits.items():
        leak = find_leak(model, split)
        if split is not validation:
            leak.refuse()  # better now than after the training
        if not leak.count:
            kept[name] = split
    return kept


def _say_rates(trainer: Trainer, shown: bool) -> None:
    if shown and trainer.folder:  # without snapshots: the demo, which prints a table of its own
        say(rates_line(trainer.config, trainer.model))


def _augmented(config: TrainConfig) -> str:
    if config.views:
        return f"of the photos in {config.views} augmented views ({config.augment}) each"
    return "of the photos as they are, not augmented (views=4 keeps four augmented views of each)"


def _finished_run(folder: Path, trainer: Trainer) -> TrainedRun | None:
    """Load the run if it is finished, in its folder or where it is kept.

    Raises:
        DataError: another training made it.
    """
    identity, keeper = trainer.identity, trainer.checkpoints.keeper
    if keeper:
        if trainer.processes.first and not (folder / "run.json").exists():
            keeper.take_back("run", folder, HOLDS, identity)
        trainer.processes.broadcast(None)  # the other processes wait for it
    # Snapshots beside a finished run are those of a later training that is not finished.
    if not (folder / "run.json").exists() or (folder / "snapshots").exists():
        return None
    model, record = load_run(folder)
    if theirs := read_note(folder / "training.json"):  # runs of an older mmret have none
        refuse_another_training(folder, theirs, identity)
    if keeper and trainer.processes.first and keeper.newest().get("kind") != "run":
        keeper.finish(identity)  # that failed when the training was finished
    history = History(
        record.history,
        record.figures.get("training_seconds", 0.0),
        model_epoch=record.figures.get("model_epoch", len(record.history)),
    )
    return TrainedRun(model, record, history, {}, finished_before=True)


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
        # Without a column, a history of no epochs (a CLIP as published) could not be read again.
        columns = None if record.history else ["epoch"]
        history = pd.DataFrame(record.history, columns=columns)
        history.to_csv(draft / "history.csv", index=False)
        entries = {name: getattr(record, name) for name in _ENTRIES}
        write_json(draft / "run.json", {"format": "mmret run", "version": RUN_VERSION, **entries})
        if identity is not None:
            write_json(draft / "training.json", identity)


def load_run(folder: str | Path) -> tuple[DualEncoder, Run]:
    """Load a run folder: the trained model, in eval mode on the CPU, and the record of its run.

    Raises:
        MissingFile: the folder or a part of it is not there (a run that did not end).
        DataError: of another version, damaged, or holding a pickle.
    """
    record = read_run(folder)
    folder = user_path(folder)
    for path in folder.rglob("*"):
        refuse_pickle(path)
    return load_model(folder / "model"), record


def read_run(folder: str | Path) -> Run:
    """Read the record of a run folder, without its model.

    Raises:
        MissingFile: the folder or its record is not there (a run that did not end).
        DataError: of another version, or damaged.
    """
    folder = user_path(folder)
    put_back(folder)
    if not folder.is_dir():
        raise MissingFile(f"There is no run folder {folder}. Train one: mmret train --out {folder}")
    content = read_json(folder / "run.json", "mmret run", RUN_VERSION, _ENTRIES)
    try:
        history = pd.read_csv(folder / "history.csv").to_dict("records")
    except (OSError, ValueError) as error:
        raise MissingFile(
            f"{folder / 'history.csv'} cannot be read ({error}). Train the run again."
        ) from None
    return Run(**{name: content[name] for name in _ENTRIES}, history=history)
