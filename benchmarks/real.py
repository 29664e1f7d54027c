"""Compare the losses on real photographs: frozen pretrained backbones, two linear heads.

    python benchmarks/real.py --root ../shared/real

Photos and captions are Flickr8k's, as far as they lie under --root: 1,137 photos with 5 captions
each. Five folds, so that each photo is tested once. In each fold 120 of the other photos are held
out, and all choices are made on these alone: the learning rate and the one knob of each loss (first
RATES with the knob at its usual value, then the other values at the best rate: eight trainings for
every loss), and the epoch. The official split of Flickr8k is not used for that, because its dev
photos are test photos of the folds. Then:

- *final*: every loss at its own settings for 72 epochs; it is tested along the way, so that one
  training shows its best epoch (chosen on held-out photos), every fixed budget and the curve. Once
  more at the settings that are best after exactly 72 epochs, where these are others.
- *negatives*: only n of the 127 negatives of a query count, n random ones or the n hardest.
- *wrong*: 20 and 40 % of the training captions belong to another photo.
- *pocket*: the backbones that the course ships, at the settings chosen for the full-size ones.

Every training is kept in the work folder as soon as it is done; run again, the script goes on where
it stopped. `real_report` turns the work folder into data/results/real_*.csv and results/real.md.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from real_report import write_report
from real_tables import Results
from real_training import ATLAS, COURSE, EPOCHS, FOLDS, FORMS, Photos, Task, train

from mmret_lib.files.whole import whole_file

RATES = (2e-3, 5e-4, 1e-3, 4e-3, 8e-3)
SEARCH_SEED = 100  # none of those that are reported
SEEDS = {
    "final": range(5),
    "final, atlas": range(2),
    "negatives": range(2),
    "wrong": range(3),
    "wrong, atlas": range(1),
    "pocket": range(2),
    "long": range(1),
}
COUNTS = (1, 2, 4, 8, 16, 32, 64)  # of the 127 negatives of a query
WRONG = (0.2, 0.4)


class Bench:
    """Does the trainings that are asked for, unless the work folder has them."""

    def __init__(self, root: Path, work: Path) -> None:
        self.root, self.work = root, work
        work.mkdir(parents=True, exist_ok=True)
        self.photos = cache(lambda pair: Photos(pair, root))
        self.curves: dict[Task, dict[int, float]] = {}

    def held_out(self, task: Task) -> dict[int, float]:
        """Train unless that is done; return epoch -> sum of recalls on the held-out photos."""
        path = task.file(self.work)
        if task in self.curves:
            return self.curves[task]
        if not path.exists():
            records, found = train(self.photos(task.pair), task)
            rows = self.photos(task.pair).fold(task.fold)["rows"]
            record = json.dumps({**asdict(task), "records": records})
            with whole_file(path) as file:
                np.savez_compressed(file, record=record, rows=rows, hits=found.astype(np.float32))
        records = self.kept(task)["records"]
        self.curves[task] = {record["epoch"]: sum(record["held"]) for record in records}
        return self.curves[task]

    def kept(self, task: Task) -> dict[str, Any]:
        """What the work folder keeps of a training: the task, its records, and arrays.

        Returns:
            the fields of the task; "records"; "rows", of the test photos; "hits", on them.
        """
        with np.load(task.file(self.work)) as content:
            record = json.loads(str(content["record"]))
            return {**record, "rows": content["rows"], "hits": content["hits"]}

    def search(self, form: str, fold: int, epoch: int | None = None) -> tuple[float, float]:
        """Return the learning rate and the knob's value that are best on the held-out photos.

        Args:
            epoch: best after exactly so many epochs; None: each at its own best epoch.
        """
        curves: dict[tuple[float, float], dict[int, float]] = {}

        def best(epoch: int | None) -> tuple[float, float]:
            return max(curves, key=lambda s: curves[s][epoch] if epoch else max(curves[s].values()))

        usual, *others = FORMS[form].values
        for rate in RATES:
            task = Task("full", fold, form, rate, usual, SEARCH_SEED, tested=False)
            curves[rate, usual] = self.held_out(task)
        rate = best(None)[0]
        for value in others:
            task = Task("full", fold, form, rate, value, SEARCH_SEED, tested=False)
            curves[rate, value] = self.held_out(task)
        return best(epoch)

    def searched(self) -> pd.DataFrame:
        """Every training of the searches, and whether its settings were chosen."""
        rows = []
        for task, curve in self.curves.items():
            if task.tested:
                continue
            epoch = max(curve, key=lambda epoch: curve[epoch])
            settings = (task.rate, task.value)
            row = {"form": task.form, "fold": task.fold, "seed": task.seed, "rate": task.rate}
            row |= {"knob": FORMS[task.form].knob, "value": task.value}
            row |= {"usual": task.value == FORMS[task.form].values[0], "epoch": epoch}
            row |= {"held": round(curve[epoch], 2)}
            row |= {f"held_{n}": round(curve[n], 2) for n in (10, 20, 72)}
            row["chosen"] = settings == self.search(task.form, task.fold)
            row["chosen_for_72"] = settings == self.search(task.form, task.fold, 72)
            rows.append(row)
        order = {form: number for number, form in enumerate(FORMS)}
        table = pd.DataFrame(rows)
        return table.sort_values(["form", "fold", "value", "rate"], key=lambda c: c.replace(order))

    def tasks(self, part: str) -> Iterator[Task]:
        """The trainings of a part, those of a seed together."""
        forms = ATLAS if "atlas" in part else COURSE
        for seed in SEEDS[part]:
            for form in forms:
                for fold in range(FOLDS):
                    task = Task("full", fold, form, *self.search(form, fold), seed)
                    if part.startswith("final"):
                        yield task
                    elif part == "long":
                        rate, value = self.search(form, fold, EPOCHS[-1])
                        yield replace(task, rate=rate, value=value)
                    elif part == "pocket":
                        yield replace(task, pair="pocket", epochs=35)
                    elif part.startswith("wrong"):
                        for share in WRONG if forms is COURSE else WRONG[:1]:
                            yield replace(task, epochs=35, wrong=share)
                    elif part == "negatives" and "plain" not in form:
                        for count in COUNTS:
                            yield replace(task, epochs=20, count=count)
                            if form in ("sum_triplet", "simclr"):
                                yield replace(task, epochs=20, count=count, pick="hardest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("../shared/real"))
    parser.add_argument("--parts", nargs="*", choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--work", type=Path, default=Path("runs/real"), help="a file per training")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1])
    args = parser.parse_args()
    torch.set_num_threads(1)  # heads on kept features are faster on one thread
    bench = Bench(args.root.resolve(), args.work)
    parts: dict[str, list[dict[str, Any]]] = {part: [] for part in SEEDS}
    for part in args.parts:
        for task in bench.tasks(part):
            bench.held_out(task)
            parts[part].append(bench.kept(task))
        print(f"{part} done", flush=True)
    if all(parts.values()):
        write_report(Results(parts, bench.searched(), COURSE), args.out)


if __name__ == "__main__":
    main()
