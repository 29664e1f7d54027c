"""Measure the studies behind the lessons, and save each row as soon as it is measured.

    mmret experiments                  all studies, into data/results
    mmret experiments losses barlow    these two

A training that several studies share is run once. Run again, the same command skips what has been
measured. data/results/README.md explains the columns.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout

from mmret_lib.data import load_pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.files.errors import DataError
from mmret_lib.files.output import say
from mmret_lib.files.places import user_path
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import write_text
from mmret_lib.show.tables import DIRECTIONS, MEASURES
from mmret_lib.studies.fewer_negatives import FewerNegatives
from mmret_lib.studies.studies import STUDIES
from mmret_lib.studies.trials import BASE, WORLD, Study, Trial
from mmret_lib.studies.watch import Curve, WatchedLoss, truth_of, without_offset_and_scale
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.recipes import build_loss, build_model, made_by
from mmret_lib.training.run import train_run

FIGURES = [f"{direction}_{measure}" for direction in DIRECTIONS for measure in MEASURES]
LAST = ["seed", "seconds", "last_loss", *FIGURES, "images", "captions", "training"]


def measure(trial: Trial, seed: int) -> dict[str, Any]:
    """Train and test one trial from one seed.

    Returns:
        seconds, last_loss, the figures of the trial's split, and tables: name -> rows, of which
        "epochs" has one for each epoch.
    """
    settings = trial.settings()
    world, loss_settings = settings["data"], settings["loss"]
    test_size = world.pop("test_size")
    ranked = _scenes(trial.split, size=test_size)
    train = _scenes("train", **world)
    loss: Any = build_loss(loss_settings.pop("loss"), **loss_settings)
    if "count" in trial.negatives:
        loss = FewerNegatives(loss, seed=seed, **trial.negatives)
    guided = trial.negatives.get("guide") == "truth"
    watched = WatchedLoss(loss, truth_of(train) if guided else None)
    model = build_model(trial.loss, train.pairs, seed=seed, **settings["model"])
    # Without kept features: projections are trained on augmented photos, as everything else is.
    config = TrainConfig(seed=seed, validate=False, kept_features=False, **settings["config"])
    curve = None
    if trial.curve:
        val, test = (_scenes(split, size=test_size) for split in ("val", "test"))
        curve = Curve(model, val, test, trial.curve)
    run = train_run(
        None,
        model,
        watched,
        train,
        config,
        evaluate_on={"ranked": ranked},
        on_epoch=curve,
        progress=False,
    )
    rows = run.history.rows
    counts = watched.epochs(watched.calls // len(rows))
    tables = {
        "epochs": [
            {"epoch": row["epoch"], "loss": round(row["loss"], 4), **count}
            for row, count in zip(rows, counts, strict=True)
        ]
    }
    if curve:
        tables["curves"] = curve.rows
    if trial.branches:
        tables["offsets"] = without_offset_and_scale(run.model, ranked)
    return {
        "seconds": run.record.figures["training_seconds"],
        "last_loss": round(rows[-1]["loss"], 4),
        **{name: round(value, 2) for name, value in run.record.figures["ranked"].items()},
        "tables": tables,
    }


def _scenes(split: str, **options: Any) -> Store:
    pairs = load_pairs("scenes", split=split, progress=False, **options)
    return pack(pairs, 64, progress=False)


def measure_studies(
    names: Iterable[str] = (),
    out: str | Path = "data/results",
    *,
    jobs: int = 1,
    studies: dict[str, Study] = STUDIES,
) -> None:
    """Measure what is not measured yet, in the order of the studies, and write it into a folder.

    Args:
        names: of studies; none means all.
        jobs: trainings at a time, each in a process of its own with its share of the cores.

    Raises:
        DataError: no such study; a file with rows of other settings than its study has now; a
            folder into which another process is measuring.
    """
    chosen = list(dict.fromkeys(names)) or list(studies)
    if unknown := [name for name in chosen if name not in studies]:
        raise DataError(f"there is no study {unknown[0]!r}; choose {', '.join(studies)}")
    if jobs < 1:
        raise DataError(f"jobs is {jobs}; it must be at least 1")
    out = user_path(out)
    out.mkdir(parents=True, exist_ok=True)
    lock = out / ".lock"
    try:
        with FileLock(lock, timeout=0):
            tables = {name: StudyTable(out, name, study, jobs) for name, study in studies.items()}
            known = {row["training"]: row for table in tables.values() for row in table.rows}
            _measure_missing([tables[name] for name in chosen], known, out, jobs)
    except Timeout:
        raise DataError(f"another process is measuring into {out}; let it end first") from None
    with suppress(OSError):
        lock.unlink()  # else the next wheel would contain it


def _measure_missing(
    tables: list["StudyTable"], known: dict[str, dict[str, Any]], out: Path, jobs: int
) -> None:
    wanted = {
        training: (trial, seed)
        for table in tables
        for training, (_, trial, seed) in table.trainings.items()
    }
    for table in tables:
        for training in wanted.keys() & known.keys():  # perhaps measured for another study
            table.add(known[training])
        if table.rows and not table.path.with_suffix(".json").exists():
            table.write_origin()
    missing = {training: what for training, what in wanted.items() if training not in known}
    say(f"{len(wanted)} trainings, {len(wanted) - len(missing)} of them measured before")
    for number, (training, result) in enumerate(_measured(missing, jobs), start=1):
        trial, seed = missing[training]
        row = {**result, "training": training, "seed": seed}
        for name, more in row.pop("tables").items():
            _add_rows(out / f"{name}.csv", training, more)
        for table in tables:
            table.add(row)
        say(
            f"{number}/{len(missing)} {trial.loss}, seed {seed}: {row['seconds']} s, R@1 "
            f"{row['i2t_r1']} image→text, {row['t2i_r1']} text→image"
        )


def _measured(
    missing: dict[str, tuple[Trial, int]], jobs: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each training with its result as soon as it is ready, from `jobs` processes."""
    if jobs == 1:
        for training, what in missing.items():
            yield training, measure(*what)
        return
    share = (max(1, torch.get_num_threads() // jobs),)
    # Spawned, not forked: torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=torch.set_num_threads, initargs=share
    )
    try:
        waiting = {pool.submit(measure, *what): training for training, what in missing.items()}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, start no other training


class StudyTable:
    """The CSV file of a study, rewritten with every new row.

    Raises:
        DataError: the file holds rows of other settings than the study has now.
    """

    def __init__(self, folder: Path, name: str, study: Study, jobs: int) -> None:
        self.path, self.name, self.study, self.jobs = folder / f"{name}.csv", name, study, jobs
        self.trainings = {
            trial.training(seed): (label, trial, seed)
            for seed in study.seeds
            for label, trial in study.trials.items()
        }
        self.rows = _read_rows(self.path)
        odd = [row for row in self.rows if row.get("training") not in self.trainings]
        if odd:
            raise DataError(
                f"{self.path}: the row of trial {odd[0].get('trial')!r}, seed {odd[0].get('seed')},"
                " was measured with other settings than the study has now; move the file away"
            )

    def add(self, row: dict[str, Any]) -> None:
        """Write a measured row, if it belongs here and is new, with its trial's settings."""
        training = row["training"]
        if training not in self.trainings or training in {r["training"] for r in self.rows}:
            return
        label, trial, _ = self.trainings[training]
        columns, varying = trial.columns(), self.study.varying()
        settings = {name: columns.get(name, "") for name in varying}
        figures = {name: row[name] for name in LAST}
        self.rows.append({"study": self.name, "trial": label, **settings, **figures})
        order = list(self.trainings)
        self.rows.sort(key=lambda r: order.index(r["training"]))
        _write_rows(self.path, self.rows, ["study", "trial", *varying, *LAST])
        self.write_origin()

    def write_origin(self) -> None:
        """Write beside the table how it was measured: question, command, versions, date."""
        origin = {
            "question": self.study.question,
            "command": f"mmret experiments {self.name}",
            "how": f"{self.jobs} at a time",
            "common": {**WORLD, **BASE},
            "rows": f"{len(self.rows)} of {len(self.trainings)}",
            "date": date.today().isoformat(),
            "made_by": made_by(),
        }
        write_json(self.path.with_suffix(".json"), origin)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file, as text; none where there is no file."""
    if not path.exists():
        return []
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return list(table.to_dict("records"))


def _write_rows(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    table = pd.DataFrame(rows, columns=columns, dtype=object)  # as text, numbers stay as they were
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _add_rows(path: Path, training: str, rows: list[dict[str, Any]]) -> None:
    """Write a training's rows, such as one for each epoch, to a file for all trainings."""
    others = [row for row in _read_rows(path) if row["training"] != training]
    every = [*others, *({"training": training, **row} for row in rows)]
    _write_rows(path, every, list(dict.fromkeys(name for row in every for name in row)))
