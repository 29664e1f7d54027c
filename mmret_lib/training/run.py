"""Train a model and keep it in a run folder: the model, what made it, and how it went.

    RUN/run.json        what was trained on what, with which settings, and the figures it reached
    RUN/training.json   tells this training from others, so that no other one resumes it: `identity`
    RUN/history.csv     one row per epoch
    RUN/model/          the model itself (see `encoders.saved`), after the last epoch, or with
                        `TrainConfig.patience` that of the epoch with the best validation figures;
                        "model_epoch" among the figures of run.json says which
    RUN/best/           the model of the epoch with the best validation figures, in any case
    RUN/snapshots/      only during the training: the snapshots to resume it from
    RUN/begun.json      only during the training: what of run.json is known then (see `record`)

The folder gets its final content in one step, when all of it is written. No file in it is read as a
pickle.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from mmret_lib.data.features import Features
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.features import data_for, keep_features
from mmret_lib.files.errors import DataError
from mmret_lib.files.output import say
from mmret_lib.files.places import refuse_no_text, user_path
from mmret_lib.files.records import read_note
from mmret_lib.files.whole import put_back, refuse_strangers
from mmret_lib.metrics.report import Report
from mmret_lib.training.checkpoints import refuse_another_training
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.distributed import Processes
from mmret_lib.training.history import History
from mmret_lib.training.identity import differences
from mmret_lib.training.leak import find_leak, note_trained_on
from mmret_lib.training.recipes import made_by, name_of_loss, rates_line
from mmret_lib.training.record import Run, write_begun
from mmret_lib.training.run_folder import (
    HOLDS,
    load_run,
    make_way,
    refuse_other_epochs,
    refuse_to_replace,
    save_safely,
)
from mmret_lib.training.trainer import Trainer
from mmret_lib.training.validation import validate


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
    overwrite: bool = False,
    begun_from: str | Path | None = None,
    command: str = "",
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
        folder: run folder to write. None keeps nothing.
        model: trained in place; `build_model` makes one, and `load_run` opens that of a run, to be
            trained further.
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
        overwrite: replace what another training left in the folder, finished or not.
        begun_from: the run that `model` was loaded from, for the run's record.
        command: the command line, for messages that say how to go on.
        snapshots: save snapshots in the folder while training; without them nothing can be resumed.
        keep: a second folder, such as one of a mounted Drive, for a copy of the newest snapshot
            now and then, and of the finished run. With `resume`, a run folder that was lost with
            the session comes back from there.
        allow_leak: evaluate on pictures that the model is trained on, too.
        on_epoch: called with the history after each epoch.

    Returns:
        the trained model, its history and its figures.

    Raises:
        DataError: the folder holds other things than a run, or (without `overwrite`) a finished
            run or another training; the model cannot be saved; `evaluate_on` has pictures that are
            trained on; whatever `Trainer` raises.
        DiskError: the run cannot be written; the message says where the training is kept.
    """
    folder = user_path(folder) if folder is not None else None
    if folder is not None:
        _check_folder(folder, resume or overwrite)
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
    if folder and overwrite:
        resume = make_way(folder, trainer, resume)
    if finished := _finished_run(folder if resume else None, trainer):
        return finished
    ready = {id(validation): trainer.validation} if trainer.validation is not None else {}
    to_rank = {name: ready.get(id(s)) or data(s) for name, s in (evaluate_on or {}).items()}
    to_rank = to_rank if allow_leak else _without_leaks(trainer, to_rank)
    record = _record_at_start(trainer, root, data_options, max_unreadable, begun_from)
    _say_rates(trainer, shown)
    if folder and snapshots and processes.first:
        write_begun(folder, record, command)
    history = trainer.fit(resume=resume and snapshots)
    reports = {
        name: validate(model, split, processes=processes, allow_leak=True)
        for name, split in to_rank.items()
    }
    record = replace(
        record,
        history=history.rows,
        loss_settings={"repr": repr(loss)},
        figures={
            "training_seconds": round(history.training_seconds, 1),
            "model_epoch": history.model_epoch,
            **{name: report.as_dict() for name, report in reports.items()},
            **(figures or {}),
            **({"findings": history.findings} if history.findings else {}),
        },
    )
    save_safely(folder, model, record, trainer)
    return TrainedRun(model, record, history, reports)


def _without_leaks(
    trainer: Trainer, splits: dict[str, Store | Features]
) -> dict[str, Store | Features]:
    """Refuse splits with pictures that are trained on, but only leave out the validation split.

    That one is measured during the training, where `Trainer.fit` warns of it.
    """
    note_trained_on(trainer.model, trainer.loader.store)
    kept = {}
    for name, split in splits.items():
        leak = find_leak(trainer.model, split)
        if split is not trainer.validation:
            leak.refuse()  # better now than after the training
        if not leak.count:
            kept[name] = split
    return kept


def _check_folder(folder: Path, may_be_finished: bool) -> None:
    """Check, before minutes of preparation, that a run may be written to a folder."""
    put_back(folder)
    refuse_no_text(folder)
    refuse_strangers(folder, HOLDS)
    if not may_be_finished:
        refuse_to_replace(folder)


def _record_at_start(
    trainer: Trainer,
    root: str | Path | None,
    data_options: Mapping[str, Any] | None,
    max_unreadable: float,
    begun_from: str | Path | None,
) -> Run:
    """What of the run's record is known before the training: all but figures and history."""
    trained_on = trainer.loader.store.pairs
    return Run(
        loss=name_of_loss(trainer.loss),
        data={
            "name": trained_on.name,
            "root": str(user_path(root).resolve()) if root else "",
            "split": trained_on.split,
            **(data_options or {}),
            **({"max_unreadable": max_unreadable} if max_unreadable != 0.01 else {}),
        },
        config=asdict(trainer.config),
        history=[],
        loss_settings={"repr": repr(trainer.loss)},
        made_by={**made_by(), **({"from": str(begun_from)} if begun_from else {})},
    )


def _say_rates(trainer: Trainer, shown: bool) -> None:
    if shown and trainer.folder:  # without snapshots: the demo, which prints a table of its own
        say(rates_line(trainer.config, trainer.model))


def _augmented(config: TrainConfig) -> str:
    if config.views:
        return f"of the photos in {config.views} augmented views ({config.augment}) each"
    return (
        "of the photos as they are, not augmented (--views 4, in Python views=4, keeps four "
        "augmented views of each)"
    )


def _finished_run(folder: Path | None, trainer: Trainer) -> TrainedRun | None:
    """Load the run if it is finished, in its folder or where it is kept.

    Raises:
        DataError: another training made it.
    """
    if folder is None:
        return None
    identity, keeper = trainer.identity, trainer.checkpoints.keeper
    if keeper:
        if trainer.processes.first and not (folder / "run.json").exists():
            keeper.take_back("run", folder, HOLDS, identity)
        trainer.processes.broadcast(None)  # the other processes wait for it
    # Snapshots beside a finished run are those of a later training that is not finished.
    if not (folder / "run.json").exists() or (folder / "snapshots").exists():
        return None
    model, record = load_run(folder)
    theirs = read_note(folder / "training.json")  # runs of an older mmret have none
    if not theirs or all(line.startswith("epochs:") for line in differences(theirs, identity)):
        refuse_other_epochs(folder, record, trainer.config)
    else:
        refuse_another_training(folder, theirs, identity)
    if keeper and trainer.processes.first and keeper.newest().get("kind") != "run":
        keeper.finish(identity)  # that failed when the training was finished
    history = History(
        record.history,
        record.figures.get("training_seconds", 0.0),
        model_epoch=record.figures.get("model_epoch", len(record.history)),
        findings=record.findings,
    )
    return TrainedRun(model, record, history, {}, finished_before=True)
