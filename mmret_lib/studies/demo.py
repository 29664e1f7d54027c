"""Train the four losses on the built-in world and show the results (`mmret demo`)."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from mmret_lib.data import load_pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.data.world.captions import Claim
from mmret_lib.data.world.scenes import SLIDE_QUERIES, images_that_fit
from mmret_lib.files.places import user_path
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import whole_file, write_text
from mmret_lib.losses import LOSSES, negative_weights
from mmret_lib.metrics.ceiling import best_possible
from mmret_lib.metrics.report import Report
from mmret_lib.search.index import SearchIndex
from mmret_lib.show.negatives import weight_maps
from mmret_lib.show.retrieval import image_to_text, text_to_image
from mmret_lib.show.tables import display_name, results_frame, results_text
from mmret_lib.show.training import training_curves
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.recipes import build_loss, build_model, made_by
from mmret_lib.training.run import TrainedRun, train_run

BATCH = 24  # pairs in the figure of the negatives' weights


def run_demo(
    out: str | Path, config: TrainConfig | None = None, *, size: int | None = None
) -> dict[str, Report]:
    """Train every loss on the built-in world, print and save the results, draw the figures.

    Args:
        out: folder for ``results.csv``, ``results.json``, four figures as PNG, and one run folder
            per loss for `mmret search` and `mmret evaluate`.
        config: the same for every loss, so that only the loss differs.
        size: training scenes; None takes the built-in world's 8,000 (with 1,000 for val and
            test), any other number makes both other splits an eighth of it.

    Returns:
        The report of each loss on the test split.
    """
    config = config or TrainConfig()
    out = user_path(out)
    out.mkdir(parents=True, exist_ok=True)
    sizes = {"train": size, "val": size and max(8, size // 8), "test": size and max(8, size // 8)}
    train, val, test = (
        pack(load_pairs("scenes", split=split, size=count), 64) for split, count in sizes.items()
    )
    ceiling = best_possible(test.pairs)
    runs: dict[str, TrainedRun] = {}
    for number, name in enumerate(LOSSES, start=1):
        print(f"\n[{number}/{len(LOSSES)}] {display_name(name)}")
        model = build_model(name, train.pairs, seed=config.seed)
        run = runs[name] = train_run(
            out / "runs" / name,
            model,
            build_loss(name),
            train,
            config,
            validation=val,
            evaluate_on={"test": test},
            figures={"ceiling": ceiling.as_dict()},
            snapshots=False,
        )
        model.cpu()  # leaves the GPU to the next
        print(f"{run.history.training_seconds:.0f} s of training\n{run.reports['test']}")
    reports = {name: run.reports["test"] for name, run in runs.items()}
    frame = results_frame(reports, ceiling)
    seconds = {name: run.history.training_seconds for name, run in runs.items()}
    frame.insert(0, "training_seconds", pd.Series(seconds))  # the ceiling has none
    rounded = frame.round(3)
    write_text(out / "results.csv", rounded.to_csv())
    results = json.loads(rounded.to_json(orient="index"))
    write_json(out / "results.json", {"made_by": made_by(), "results": results})
    print(f"\n{results_text(frame)}\n")
    for name, figure in _draw_figures(runs, val, test).items():
        with whole_file(out / f"{name}.png") as file:
            figure.savefig(file, format="png", dpi=110)
        print(f"wrote {out / f'{name}.png'}")
    here = sys.argv[0] if Path(sys.argv[0]).name == "mmret" else "mmret"
    print(f'\nSearch it: {here} search {out / "runs" / "simclr"} "{next(iter(SLIDE_QUERIES))}"')
    return reports


def _draw_figures(runs: dict[str, TrainedRun], val: Store, test: Store) -> dict[str, Figure]:
    """The figures by file name."""
    model = runs["simclr"].model
    index = SearchIndex.build(model, test)
    rng = np.random.default_rng(0)
    queries = [(query, images_that_fit(test.pairs, c)) for query, c in SLIDE_QUERIES.items()]
    for j in rng.choice(len(test.pairs.captions), 3, replace=False):
        claim = Claim.from_dict((test.pairs.caption_info or [])[j]["claim"])
        queries.append((test.pairs.captions[j], images_that_fit(test.pairs, claim)))
    # All losses get the embeddings of one model, so that only their weights differ. The scenes are
    # similar: on unlike ones, the losses of a trained model are almost zero.
    alike = load_pairs("scenes", split="alike", size=BATCH, look_alikes=0.8, progress=False)
    images = torch.as_tensor(pack(alike, 64, progress=False)[:])
    captions = [alike.captions_of(i)[0] for i in range(len(alike))]
    embeddings = model.encode_images(images), model.encode_texts(captions)
    weights = {
        name: negative_weights(build_loss(name).eval(), *embeddings, caption_ids=captions)
        for name in runs
    }
    violators = (weights["sum_triplet"][0] > 0).sum(dim=1)  # (B,): within the margin of each image
    histories = {name: run.history for name, run in runs.items()}
    return {
        "training_curves": training_curves(histories, best_possible(val.pairs)),
        "text_to_image": text_to_image(index, queries),
        "image_to_text": image_to_text(index, [0, 1, 3, *rng.choice(len(test.pairs), 3)]),
        "negative_weights": weight_maps(weights, captions, images, query=int(violators.argmax())),
    }
