"""Measuring the studies behind the lessons: each training once, each row kept at once.

    mmret experiments                  all studies, into data/results
    mmret experiments losses barlow    these two

The studies themselves are data, in studies.py. What several of them share is trained once. A row
is in its file, whole, as soon as it is measured, and the same command goes on from what is there.
data/results/README.md explains the columns.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mmret_lib.files.errors import DataError
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import write_text
from mmret_lib.studies.studies import BASE, STUDIES, WORLD, Study, Trial
from mmret_lib.training.config import TrainConfig

MEASURES = ["r1", "r5", "r10", "mean_rank", "median_rank"]
FIGURES = [f"{way}_{measure}" for way in ("i2t", "t2i") for measure in MEASURES]
LAST = ["seed", "seconds", "last_loss", *FIGURES, "images", "captions", "training"]


def measure(trial: Trial, seed: int) -> dict[str, Any]:
    """Train and test once.

    Returns:
        seconds, last_loss, the test split's figures, and epochs: a row for each.
    """
    from mmret_lib.data import load_pairs
    from mmret_lib.data.store import pack
    from mmret_lib.training.recipes import build_loss, build_model
    from mmret_lib.training.trainer import Trainer, validate

    settings = trial.settings()
    knobs = settings["data"]
    size, test_size = knobs.pop("size"), knobs.pop("test_size")
    train, test = (
        pack(load_pairs("scenes", progress=False, **options), 64, progress=False)
        for options in (
            {"split": "train", "size": size, **knobs},
            {"split": "test", "size": test_size},
        )
    )
    loss = build_loss(**{"name": settings["loss"].pop("loss"), **settings["loss"]})
    model = build_model(trial.loss, train.pairs, seed=seed, **settings["model"])
    config = TrainConfig(seed=seed, validate=False, **settings["config"])
    history = Trainer(model, loss, train, config, progress=False).fit()
    figures = validate(model, test).as_dict()
    return {
        "seconds": round(history.training_seconds, 1),
        "last_loss": round(history.rows[-1]["loss"], 4),
        **{name: round(value, 2) for name, value in figures.items()},
        "epochs": [{"epoch": r["epoch"], "loss": round(r["loss"], 4)} for r in history.rows],
    }


def run(
    names: Iterable[str] = (),
    out: str | Path = "data/results",
    *,
    jobs: int = 1,
    studies: dict[str, Study] = STUDIES,
    say: Callable[[str], object] = print,
) -> None:
    """Measure what is not measured yet, in the order of the studies, and write it into ``out``.

    Args:
        names: of studies; none means all.
        jobs: trainings at a time, each in a process of its own with its share of the cores.
        studies: what the names stand for.
        say: told how far it is.

    Raises:
        DataError: no such study; a file that holds rows of other settings than its study has
            now; a folder into which another process measures.
    """
    chosen = list(dict.fromkeys(names)) or list(studies)
    if unknown := [name for name in chosen if name not in studies]:
        raise DataError(f"there is no study {unknown[0]!r}; choose {', '.join(studies)}")
    if jobs < 1:
        raise DataError(f"jobs is {jobs}; it must be at least 1")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    lock = out / ".lock"
    try:
        with FileLock(lock, timeout=0):
            _run(chosen, out, jobs, studies, say)
    except Timeout:
        raise DataError(f"another process is measuring into {out}; let it end first") from None
    with suppress(OSError):
        lock.unlink()  # or it travels in the next wheel


def _run(
    chosen: list[str],
    out: Path,
    jobs: int,
    studies: dict[str, Study],
    say: Callable[[str], object],
) -> None:
    tables = {name: Table(out, name, study) for name, study in studies.items()}
    known = {row["training"]: row for table in tables.values() for row in table.rows}
    wanted: dict[str, tuple[Trial, int]] = {}
    for name in chosen:
        for seed in studies[name].seeds:
            for trial in studies[name].trials.values():
                wanted.setdefault(trial.training(seed), (trial, seed))
    for training in wanted.keys() & known.keys():  # perhaps by another study
        for name in chosen:
            tables[name].add(known[training], f"{jobs} at a time")
    for name in chosen:
        if tables[name].rows and not tables[name].path.with_suffix(".json").exists():
            tables[name].write_origin(f"{jobs} at a time")
    left = {training: what for training, what in wanted.items() if training not in known}
    say(f"{len(wanted)} trainings, {len(wanted) - len(left)} of them measured before")
    for number, (training, result) in enumerate(_measured(left, jobs), start=1):
        trial, seed = left[training]
        row = {**result, "training": training, "seed": seed}
        _add_epochs(out / "epochs.csv", training, row.pop("epochs"))
        for name in chosen:
            tables[name].add(row, f"{jobs} at a time")
        say(
            f"{number}/{len(left)} {trial.loss}, seed {seed}: {row['seconds']} s, R@1 "
            f"{row['i2t_r1']} image→text, {row['t2i_r1']} text→image"
        )


def _measured(
    left: dict[str, tuple[Trial, int]], jobs: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each training with what it gave, as soon as it did; here, or in so many processes."""
    if jobs == 1:
        for training, what in left.items():
            yield training, measure(*what)
        return
    import torch

    share = (max(1, torch.get_num_threads() // jobs),)
    # Spawned, not forked: torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=torch.set_num_threads, initargs=share
    )
    try:
        waiting = {pool.submit(measure, *what): training for training, what in left.items()}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # when stopped, wait for none that has not begun


class Table:
    """A study's file: read at once, and with every new row written again as a whole."""

    def __init__(self, folder: Path, name: str, study: Study) -> None:
        self.path, self.name, self.study = folder / f"{name}.csv", name, study
        self.places = {
            trial.training(seed): (label, trial)
            for seed in study.seeds
            for label, trial in study.trials.items()
        }
        self.rows = read_rows(self.path)
        odd = [row for row in self.rows if row.get("training") not in self.places]
        if odd:
            raise DataError(
                f"{self.path}: the row of trial {odd[0].get('trial')!r}, seed {odd[0].get('seed')},"
                " was measured with other settings than the study has now; move the file away"
            )

    def add(self, row: dict[str, Any], how: str) -> None:
        """Write the row, if it belongs here and is new, with what tells its trial apart."""
        training = row["training"]
        if training not in self.places or training in {r["training"] for r in self.rows}:
            return
        label, trial = self.places[training]
        columns, varying = trial.columns(), self.study.varying()
        new = {"study": self.name, "trial": label}
        new |= {name: columns.get(name, "") for name in varying}
        self.rows.append(new | {name: row[name] for name in LAST})
        order = list(self.places)
        self.rows.sort(key=lambda r: order.index(r["training"]))
        write_rows(self.path, self.rows, ["study", "trial", *varying, *LAST])
        self.write_origin(how)

    def write_origin(self, how: str) -> None:
        """Beside the table: question, command, versions, machine and date."""
        from mmret_lib.training.recipes import made_by

        origin = {
            "question": self.study.question,
            "command": f"mmret experiments {self.name}",
            "how": how,
            "common": {**WORLD, **BASE},
            "rows": f"{len(self.rows)} of {len(self.places)}",
            "date": date.today().isoformat(),
            "made_by": made_by(),
        }
        write_json(self.path.with_suffix(".json"), origin)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file, as text; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    """The file as a whole, or not at all."""
    with io.StringIO(newline="") as text:
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        write_text(path, text.getvalue())


def _add_epochs(path: Path, training: str, epochs: list[dict[str, Any]]) -> None:
    """The mean loss of each epoch, in one file for all trainings."""
    others = [row for row in read_rows(path) if row["training"] != training]
    rows = [*others, *({"training": training, **row} for row in epochs)]
    write_rows(path, rows, ["training", "epoch", "loss"])
