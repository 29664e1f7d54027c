"""Train several losses on the drawn world and show the results, the second part of the demo."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from mmret_lib.data import load_pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.data.world.captions import Claim
from mmret_lib.data.world.scenes import SLIDE_QUERIES, images_that_fit
from mmret_lib.files.output import say
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import whole_file, write_text
from mmret_lib.losses import SumTriplet, negative_weights
from mmret_lib.metrics.ceiling import CEILING_NOTE, best_possible
from mmret_lib.metrics.report import Report
from mmret_lib.search.index import SearchIndex
from mmret_lib.show.negatives import weight_maps
from mmret_lib.show.retrieval import image_to_text, text_to_image
from mmret_lib.show.tables import results_frame, results_head, results_line, results_text
from mmret_lib.show.training import training_curves
from mmret_lib.studies.searches import for_the_demo
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.recipes import build_loss, build_model, made_by
from mmret_lib.training.run import TrainedRun, train_run

BATCH = 24  # pairs in the figure of the negatives' weights


def demo_world(
    out: Path,
    config: TrainConfig | None = None,
    *,
    losses: Sequence[str],
    size: int | None = None,
) -> dict[str, Report]:
    """Train losses on the drawn world, print and save the results, draw the figures.

    The first one's answers to the course's queries are shown as soon as it is trained.

    Args:
        out: folder for ``results.csv``, ``results.json``, four figures as PNG, and one run folder
            per loss for `mmret search` and `mmret evaluate`.
        config: the same for every loss, except that each gets the learning rates which the search
            chose for it (`searches.FULL`), unless a rate is given here.
        losses: their names.
        size: training scenes; None takes the built-in world's 8,000 (with 1,000 for val and
            test), any other number makes both other splits an eighth of it.

    Returns:
        The report of each loss on the test split.
    """
    config = config or TrainConfig()
    out.mkdir(parents=True, exist_ok=True)
    sizes = {"train": size, "val": size and max(8, size // 8), "test": size and max(8, size // 8)}
    train, val, test = (
        pack(load_pairs("scenes", split=split, size=count), 64) for split, count in sizes.items()
    )
    ceiling = best_possible(test.pairs)
    say(
        f"\nThe drawn world: both branches are trained on {len(train):,} pictures with "
        f"{len(train.pairs.captions):,} captions, and {len(test):,} others are searched"
    )
    runs: dict[str, TrainedRun] = {}
    for name in losses:
        model = build_model(name, train.pairs, seed=config.seed)
        settings, rates = for_the_demo(name)
        run = runs[name] = train_run(
            out / "runs" / name,
            model,
            build_loss(name, **settings),
            train,
            config if _has_rates(config) else replace(config, **rates),
            validation=val,
            evaluate_on={"test": test},
            figures={"ceiling": ceiling.as_dict()},
            overwrite=True,
            snapshots=False,
        )
        model.cpu()  # leaves the GPU to the next
        if name == losses[0]:
            index = SearchIndex.build(model, test)
            _show_answers(index, out)
            say(f"\nRecalls. Best possible: {CEILING_NOTE}.")
            say(f"\n{results_head('drawn world')}\n{results_line('ceiling', ceiling.as_dict())}")
        say(results_line(name, run.reports["test"].as_dict()), flush=True)
    reports = {name: run.reports["test"] for name, run in runs.items()}
    frame = results_frame(reports, ceiling)
    seconds = {name: run.history.training_seconds for name, run in runs.items()}
    frame.insert(0, "training_seconds", pd.Series(seconds))  # the ceiling has none
    rounded = frame.round(3)
    write_text(out / "results.csv", rounded.to_csv())
    results = json.loads(rounded.to_json(orient="index"))
    write_json(out / "results.json", {"made_by": made_by(), "results": results})
    say(f"\n{results_text(frame)}\n")
    for name, figure in _draw_figures(runs, index, val).items():
        _save(figure, out / f"{name}.png")
    return reports


def _has_rates(config: TrainConfig) -> bool:
    usual = TrainConfig()
    names = ("backbone_lr", "image_lr", "text_lr", "projection_lr")
    return any(getattr(config, name) != getattr(usual, name) for name in names)


def _show_answers(index: SearchIndex, out: Path) -> None:
    """Print the first answer to each of the five queries, marked, and draw the five best."""
    say("\nThe first answer to each sentence (+ right, - wrong):")
    queries = _slide_queries(index)
    for query, right in queries:
        hit = index.by_text(query, k=1)[0]
        mark = "+" if hit.image_index in right else "-"
        say(f"  {mark} {query:<34} -> {hit.captions[0]}")
    rng = np.random.default_rng(0)
    pairs = index.pairs
    for j in rng.choice(len(pairs.captions), 3, replace=False):
        claim = Claim.from_dict((pairs.caption_info or [])[j]["claim"])
        queries.append((pairs.captions[j], images_that_fit(pairs, claim)))
    _save(text_to_image(index, queries), out / "text_to_image.png")


def _slide_queries(index: SearchIndex) -> list[tuple[str, set[int]]]:
    return [(query, images_that_fit(index.pairs, c)) for query, c in SLIDE_QUERIES.items()]


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=110)
    say(f"wrote {path}")


def _draw_figures(runs: dict[str, TrainedRun], index: SearchIndex, val: Store) -> dict[str, Figure]:
    """The figures by file name; `index` is that of the loss trained first."""
    model = next(iter(runs.values())).model
    rng = np.random.default_rng(0)
    # All losses get the embeddings of one model, so that only their weights differ. The scenes are
    # similar: on unlike ones, the losses of a trained model are almost zero.
    alike = load_pairs("scenes", split="alike", size=BATCH, look_alikes=0.8, progress=False)
    images = torch.as_tensor(pack(alike, 64, progress=False)[:])
    captions = [alike.captions_of(i)[0] for i in range(len(alike))]
    embeddings = model.encode_images(images), model.encode_texts(captions)
    weights = {
        name: negative_weights(
            build_loss(name, **for_the_demo(name)[0]).eval(), *embeddings, caption_ids=captions
        )
        for name in runs
    }
    within = negative_weights(SumTriplet(), *embeddings, caption_ids=captions)[0] > 0  # (B, B)
    violators = within.sum(dim=1)  # (B,): within the margin of each image
    histories = {name: run.history for name, run in runs.items()}
    return {
        "training_curves": training_curves(histories, best_possible(val.pairs)),
        "image_to_text": image_to_text(index, [0, 1, 3, *rng.choice(len(index), 3)]),
        "negative_weights": weight_maps(weights, captions, images, query=int(violators.argmax())),
    }
