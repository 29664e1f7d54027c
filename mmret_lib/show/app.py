"""The explorer as a web page: `mmret app` has Voila serve app.ipynb, a notebook that calls `page`.

Whoever can reach the page can search with it, and each visit starts a Python process on this
machine. Visitors cannot run code of their own: Voila ignores code that a browser sends. By default
only this machine can reach the page.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ipywidgets import HTML, Dropdown, VBox

from mmret_lib.data import load_pairs
from mmret_lib.data.images import read_pixels
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.world.scenes import SLIDE_QUERIES
from mmret_lib.encoders.features import data_for
from mmret_lib.files.cache import use_until_exit
from mmret_lib.files.errors import DataError, visible
from mmret_lib.files.output import say
from mmret_lib.files.places import cache_folder, user_path
from mmret_lib.files.whole import put_back, put_back_all
from mmret_lib.search.index import SearchIndex
from mmret_lib.show.explorer import SearchExplorer
from mmret_lib.show.push import NegativeWeights
from mmret_lib.show.server import SETTING, import_voila, launch
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.recipes import build_loss, build_model
from mmret_lib.training.record import read_run
from mmret_lib.training.run import train_run
from mmret_lib.training.run_folder import load_run

BATCH = 24  # pairs in the map of the negatives; of more, single ones could not be seen

# The training of models to begin with, as in lesson 00: half a minute each on two cores.
QUICK = TrainConfig(epochs=4, batch_size=64, augment="none", validate=False)


class Indexes(Mapping[str, SearchIndex]):
    """Name of a loss -> the collection embedded by its model, when it is first looked up.

    Each visitor has a Python process of their own; embeddings are shared through the cache folder.

    Args:
        runs: name of a loss -> run folder.
        max_unreadable: share of pictures that may be left out because they cannot be read.
    """

    def __init__(self, runs: Mapping[str, str], pairs: Pairs, max_unreadable: float = 0.01) -> None:
        self.runs, self.pairs, self.max_unreadable = dict(runs), pairs, max_unreadable
        self.built = dict[str, SearchIndex]()

    def __getitem__(self, name: str) -> SearchIndex:
        if name not in self.built:
            model, _ = load_run(self.runs[name])
            self.built[name] = SearchIndex.build(
                model,
                self.pairs,
                cached=True,
                max_unreadable=self.max_unreadable,
                progress=False,
            )
        return self.built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)


def page() -> VBox:
    """Build the page for the settings that `serve` or `serve_photos` left in the environment."""
    settings = json.loads(os.environ[SETTING])
    if "photos" in settings:
        from mmret_lib.show.photos import photos_page

        return photos_page(settings["photos"])
    if settings.get("album"):
        from mmret_lib.show.photos import album_page

        return _choice({"Real photographs": album_page, "By runs": lambda: _runs_page(settings)})
    return _runs_page(settings)


def _choice(pages: Mapping[str, Callable[[], VBox]]) -> VBox:
    """A page with a field that chooses among several, each of which is built when it is chosen."""
    built: dict[str, VBox] = {}
    field = Dropdown(options=list(pages), description="Pictures")
    shown = VBox()

    def show(_: object = None) -> None:
        if field.value not in built:
            built[field.value] = pages[field.value]()
        shown.children = (built[field.value],)

    field.observe(show, "value")
    show()
    return VBox([field, shown])


def _runs_page(settings: dict[str, Any]) -> VBox:
    """The page of the runs: the explorer, and below it how a loss weighs its negatives."""
    name = settings["data"]
    options = {"progress": False} if name == "scenes" else settings.get("options", {})
    pairs = load_pairs(name, root=settings["root"] or None, split=settings["split"], **options)
    indexes = Indexes(settings["runs"], pairs, settings.get("max_unreadable", 0.01))
    drawn = pairs.name == "scenes"
    explorer = SearchExplorer(indexes, query=next(iter(SLIDE_QUERIES)) if drawn else "")
    index = indexes[next(iter(indexes))]
    if drawn:
        # Similar scenes: on unlike ones, the losses of a trained model are almost zero.
        batch = load_pairs("scenes", split="alike", size=BATCH, look_alikes=0.8, progress=False)
    else:  # the index has left out pictures that cannot be read
        batch = index.pairs.subset(range(min(BATCH, len(index.pairs))))
    captions = [batch.captions_of(place)[0] for place in range(len(batch))]
    side = index.model.image.image_size
    pixels = torch.stack([torch.as_tensor(read_pixels(image, side)) for image in batch.images])
    weights = NegativeWeights(
        index.model.encode_images(pixels),
        index.model.encode_texts(captions),
        captions,
        batch.images,
    )
    return VBox(
        [
            HTML(
                '<div class="mmret-head"><h1>Say it, and find the picture</h1><p>Type a '
                "sentence, or take a picture and see which sentences it finds. An answer that is "
                "known to be right is ticked and framed: in full where picture and caption belong "
                "together, in a double line where the caption is true of another picture as well. "
                "</p></div>"
            ),
            explorer,
            HTML(
                '<div class="mmret-head"><h2>How a loss weighs its negatives</h2><p>One batch of '
                f"{len(batch)} pairs. Every query pushes away the others: move a slider and see "
                "whom, and how hard, under each loss.</p></div>"
            ),
            weights,
        ]
    )


def find_runs(folder: str | Path = "runs") -> list[Path]:
    """Find the finished runs in a folder, and in `mmret demo` folders in it; SimCLR's first."""
    folder = user_path(folder)
    for parent in [folder, *folder.glob("*/runs")]:
        put_back_all(parent)
    records = [*folder.glob("*/run.json"), *folder.glob("*/runs/*/run.json")]
    runs = [record.parent for record in records]
    return sorted(runs, key=lambda run: ("simclr" not in run.name, run.name))


def choose_runs(
    runs: Sequence[Path] = (), data: str | None = None
) -> tuple[list[Path], dict[str, Any]]:
    """Choose the runs that the page offers.

    Args:
        runs: run folders; none means all under runs/ that were trained on the same data as the
            first, or, where there is none, two small models, trained now (`quick_runs`).
        data: the data set to search.

    Returns:
        The run folders, and what the first was trained on: name, root, split.

    Raises:
        DataError: Voila is missing, or there is no run for a data set that is not built in.
        MissingFile, DataError: a run that cannot be read.
    """
    import_voila()  # where it is missing, say so before anything is trained
    chosen = list(runs) or find_runs()
    if not chosen and data not in (None, "scenes"):
        raise DataError(f"no run under runs/ to show {data} with; train one: mmret train")
    if not chosen:
        say(
            "there is no finished run under runs/ (mmret demo trains the four losses); two small "
            "models are shown instead, trained in about a minute the first time"
        )
        chosen = quick_runs()
    trained = {run: read_run(run).data for run in chosen}
    first = trained[chosen[0]]
    if not runs:
        chosen = [run for run in chosen if trained[run]["name"] == first["name"]]
    return chosen, first


def quick_runs(
    folder: str | Path | None = None, *, size: int = 4000, config: TrainConfig = QUICK
) -> list[Path]:
    """Train two small models on the built-in world, or find those trained before.

    Args:
        folder: where to keep them; None takes the cache.
        size: scenes to train on.

    Returns:
        the run folders, of SimCLR and of Max Triplet.
    """
    folder = user_path(folder) if folder else cache_folder() / "quick"
    runs = {name: folder / name for name in ("simclr", "max_triplet")}
    for name, run in runs.items():
        put_back(run)
        if not (run / "run.json").exists():
            pairs = load_pairs("scenes", split="train", size=size)
            model, loss = build_model(name, pairs, seed=config.seed), build_loss(name)
            train_run(run, model, loss, pairs, config, snapshots=False)
        use_until_exit(run)
    return list(runs.values())


def serve(
    runs: Sequence[Path],
    *,
    data: str,
    root: Path | None,
    split: str,
    options: Mapping[str, Any] | None = None,
    max_unreadable: float = 0.01,
    album: bool = False,
    host: str = "127.0.0.1",
    port: int = 8866,
    browser: bool = True,
) -> None:
    """Serve the page until it is stopped (Ctrl-C).

    Args:
        runs: run folders of models to choose from.
        data, root, split, options: the collection, as `load_pairs` takes them.
        max_unreadable: share of pictures that may be left out because they cannot be read.
        album: offer the photos of the album too, searched by the pocket model, and first.
        host: address to listen at; 127.0.0.1 is this machine alone, 0.0.0.0 everyone.
        port: the next free one is taken where it is in use.
        browser: whether to open the page.

    Raises:
        DataError: Voila or ipywidgets 8 is not installed, or no port can be listened at.
        MissingFile, DataError: runs or data that cannot be read.
    """
    import_voila()
    # Load and pack before the page opens: an error is then one line, and no visitor has to wait.
    named: dict[str, str] = {}
    options = dict(options or {})
    pairs = load_pairs(data, root=root, split=split, **options)
    for run in runs:
        model, record = load_run(run)
        name = record.loss if record.loss not in named else str(run)
        named[name] = str(run.resolve())
        data_for(model, pairs, max_unreadable=max_unreadable)
    say(f"{len(pairs):,} pictures of {data} {split}, models: {visible(', '.join(named))}")
    first = Indexes(named, pairs, max_unreadable)[
        next(iter(named))
    ]  # what every visitor sees first
    say(f"embedded {len(first.image_emb):,} pictures, {len(first.text_emb):,} captions")
    folder = str(root.resolve()) if root else ""
    shows: dict[str, Any] = {
        "data": data,
        "root": folder,
        "split": split,
        "options": options,
        "max_unreadable": max_unreadable,
        "runs": named,
    }
    if album:
        from mmret_lib.show.photos import album_index

        say(f"the album: {len(album_index()):,} photos")
        shows["album"] = True
    launch(shows, host=host, port=port, browser=browser)
