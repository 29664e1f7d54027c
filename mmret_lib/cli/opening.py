"""Open what a command names: a data set, a run's model, an index."""

import os
import sys
from pathlib import Path
from typing import Any

from mmret_lib.cli.flags import NOT_GIVEN, TAKEN_BY, ReadingFlags
from mmret_lib.files.errors import DataError, MissingFile, MissingPhotos, visible


def load(data: str, root: Path | None, split: str | None, **options: Any) -> Any:
    """Read a split, and say what was left out of it, and what else to know about it."""
    from mmret_lib.data import load_pairs

    pairs = load_pairs(data, root=root, split=split, **options)
    for line in pairs.skipped[:10]:
        print(f"left out: {visible(line)}", file=sys.stderr)
    if len(pairs.skipped) > 10:
        print(f"left out: {len(pairs.skipped) - 10} more", file=sys.stderr)
    for line in pairs.notes:
        print(f"{data} {pairs.split}: {visible(line)}", file=sys.stderr)
    return pairs


def load_if_there(data: str, root: Path | None, split: str, **options: Any) -> Any:
    """Read a split as `load` does, or return None if it is not under root."""
    try:
        return load(data, root, split, **options)
    except MissingPhotos as error:  # some are there: say why they are not used
        print(f"{data} {split}: {visible(str(error))}", file=sys.stderr)
    except MissingFile:
        pass
    return None


def open_model(run: Path | None) -> tuple[Any, dict[str, Any], str]:
    """The model of a run, or without one the pocket model; what it was trained on; its name."""
    if run is None:
        from mmret_lib.encoders.pocket import pocket_model

        return pocket_model(), {"name": "", "root": ""}, "pocket model"
    from mmret_lib.training.run_folder import load_run

    model, record = load_run(run)
    return model, record.data, name_of_run(run)


def name_of_run(run: Path) -> str:
    """The name of a run folder, or of a model in one, such as RUN/best, for titles."""
    run = run.absolute()
    return f"{run.parent.name}/{run.name}" if run.name in ("best", "model") else run.name


def open_run(
    run: Path | None,
    data: str | None,
    root: Path | None,
    split: str | None,
    reading: ReadingFlags,
    caption_ids: bool = False,
) -> tuple[Any, Any, str, float]:
    """The model, the pairs to use it on (by default its own test split), a title, and the share.

    The share is that of photos that may be unreadable.
    """
    model, trained, title = open_model(run)
    name, root, split, options = where(trained, data, root, split, reading)
    if caption_ids and name != "coco":
        raise DataError(f"judgements are of COCO; {name} has none (the built-in world needs none)")
    pairs = load(name, root, split, **options, **({"keep_info": True} if caption_ids else {}))
    return model, pairs, f"{title} on {name} {split}", unreadable(trained, reading)


def unreadable(trained: dict[str, Any], reading: ReadingFlags) -> float:
    """The share of photos that may be unreadable: the flag's, or else that of the run."""
    kept: float = trained.get("max_unreadable", 0.01)
    return kept if reading.max_unreadable is None else reading.max_unreadable


def open_index(run: Path | None, folder: Path, backend: str | None, other: bool) -> tuple[Any, str]:
    """Open an index, and say whose it is; `other`: the command names other data as well."""
    from mmret_lib.search.index import SearchIndex

    again = f"mmret index {run or '--photos FOLDER'} {folder}"
    if other:
        raise DataError(
            f"{folder} holds its own collection; leave out --data, --root, --split, --captions, "
            f"--milvus and the other flags of a data set, or build it anew: {again}"
        )
    model, _, name = open_model(run)
    opened = SearchIndex.open(folder, model, token=os.environ.get("MILVUS_TOKEN"))
    if backend not in (None, opened.backend):
        raise DataError(
            f"{folder} is searched by {opened.backend}; build it anew for another: "
            f"{again} --backend {backend}"
        )
    return opened, f"{name} on {visible(opened.pairs.name)} {visible(opened.pairs.split)}"


def warn_of(index: Any, run: Path | None) -> None:
    """Say what is wrong with an index's embeddings, or was with the training of its run."""
    found = {}
    if run is not None:
        from mmret_lib.training.record import read_run

        found = {n: f"in training, {line}" for n, line in read_run(run).findings.items()}
    for line in {**found, **index.findings()}.values():
        print(f"warning: {line}", file=sys.stderr)


def where(
    trained: dict[str, Any],
    data: str | None,
    root: Path | None,
    split: str | None,
    reading: ReadingFlags = NOT_GIVEN,
) -> tuple[str, Path | None, str, dict[str, Any]]:
    """What to use a run on: name, root, split, and the other options of `load_pairs`."""
    from mmret_lib.data import splits_beside, usual_splits

    name = data or trained["name"]
    own_root = root is not None
    if name == trained["name"] and root is None and reading.captions is None and trained["root"]:
        root = Path(trained["root"])
    options = reading.options(name, root)
    if name == trained["name"] and "captions" not in options:
        kept = {name: trained[name] for name in TAKEN_BY if name in trained}
        if own_root:  # its photos are not in the folder that the run's were in
            kept.pop("images", None)
        options = {**kept, **options}
    if split is None and name == trained["name"] and trained.get("split"):
        split = splits_beside(name, root, trained["split"], **options)[1]
    return name, root, split or usual_splits(name, root, **options)[2], options
