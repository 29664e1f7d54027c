"""An evening with COCO: some of its photos, frozen backbones, two trained projections.

    evening(20_000, "/content/coco", "/content/evening", keep="/content/drive/MyDrive/mmret")

Photos are fetched in pieces. As soon as a piece is there, frozen backbones turn it into features,
and these are kept. The two projections train on features alone. So when a session is lost, with
the photos, the same call goes on from what is kept, and fetches no photo twice.

    OUT/choice/photos.json       which photos, of which split, with their captions
    OUT/features/0001-KEY/       the features of one piece; then all/: joined, as `train_run` reads
    OUT/run/                     the run folder
    KEEP/OUT's name/…            copies of these, but for features/all
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mmret_lib.data import load_pairs
from mmret_lib.data.assembling import Photo, clean_captions
from mmret_lib.data.coco_photos import choose_photos, fetch_photos
from mmret_lib.data.feature_files import SPAN, Computed, Side, make_side
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.pixel_hash import Hashes
from mmret_lib.data.store_files import key_of
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.feature_sides import image_backbone, text_backbone
from mmret_lib.encoders.features import keep_features
from mmret_lib.files.disk import disk_errors
from mmret_lib.files.errors import DataError
from mmret_lib.files.keep import Kept, place_to_keep
from mmret_lib.files.places import user_path
from mmret_lib.files.records import read_note, write_json
from mmret_lib.studies.evaluate_run import evaluate_run
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.devices import pick_device
from mmret_lib.training.recipes import build_loss, build_model
from mmret_lib.training.run import TrainedRun, train_run

PIECE = 500  # photos that are fetched, turned into features and kept together
PRETRAINED = {"image_backbone": "resnet34", "text_backbone": "distilbert-base-uncased"}
BATCH = 256  # pairs; fewer where there are few photos

Choose = Callable[[Path, int], list[Photo]]
Fetch = Callable[[Sequence[Photo], Path], Pairs]


def evening(
    count: int,
    root: str | Path,
    out: str | Path,
    *,
    keep: str | Path | None = None,
    loss: str = "simclr",
    backbones: dict[str, Any] | None = None,
    config: TrainConfig | None = None,
    piece: int = PIECE,
    choose: Choose | None = None,
    fetch: Fetch | None = None,
    name: str = "coco",
    progress: bool = True,
) -> tuple[TrainedRun, dict[str, Any]]:
    """Fetch photos of COCO, compute and keep their features, train projections, and measure them.

    Called again after an interruption of any kind, it goes on where it stopped. With `keep` it does
    so even where `root` and `out` are gone.

    Args:
        count: photos of all splits together; of 20 about 14 to train on, 1 to validate on, 5 to
            test on. The features of a smaller count are used by a larger one.
        root: folder for the photos, of about 165 KB each; those that are there are not fetched.
        out: folder for the features (2.5 KB a photo, 7.5 KB its captions, with `PRETRAINED`) and
            the run.
        keep: a second folder that outlives the session, such as one of a mounted Drive.
        loss: its name.
        backbones: as `build_model` takes them, by default `PRETRAINED`; they stay frozen.
        config: how to train; by default batches of 256 and the usual budget for projections.
        piece: photos that are fetched, turned into features and kept together.
        choose: given `root` and `count`, the photos; by default `choose_photos`. The entry "split"
            of their `image_info` says what they are for: train, restval, val or test.
        fetch: given some of them and `root`, those that could be fetched, as pairs in that order;
            by default `fetch_photos`.
        name: of the data set, for titles and the run's record.

    Returns:
        the run, and the figures on the photos to test on, as `evaluate_run` returns them.

    Raises:
        DataError: the folder to keep things in is not there, or keeps another training; too few
            photos; whatever `choose`, `fetch`, `keep_features` and `train_run` raise.
    """
    root, out = user_path(root).absolute(), user_path(out).absolute()
    place = None
    if keep is not None:
        place = place_to_keep(keep).absolute() / out.name
        with disk_errors(place, "making the folder to keep things in"):
            for folder in (place.parent, place, place / "features"):
                folder.mkdir(exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    chosen = _choice(count, root, out, place, choose or choose_photos)
    everything = _pairs(chosen, root, name)
    model = build_model(loss, everything, **(backbones or PRETRAINED))
    model.train_only("projections")
    model.to(pick_device(config.device if config else "auto"))
    pieces = [chosen[start : start + piece] for start in range(0, len(chosen), piece)]
    work = _Pieces(model, root, out / "features", place, fetch or _fetch_quietly)
    folders = work.run(pieces, progress)
    features = _joined(folders, out / "features" / "all")
    train, val, test = (
        _with_features(_pairs(chosen, root, name, split), features)
        for split in ("train", "val", "test")
    )
    if len(train) < 2 or not len(test):
        raise DataError(
            f"of {len(chosen)} photos {len(train)} are to train on and {len(test)} to test on; "
            "ask for more (count)"
        )
    if config is None:
        batch = min(BATCH, max(2, len(train) // 4))
        config = TrainConfig(train="projections", augment="none", batch_size=batch)
    run = train_run(
        out / "run",
        model,
        build_loss(loss),
        train,
        config,
        validation=val if len(val) else None,
        root=root,
        resume=True,
        keep=place,
        progress=progress,
    )
    trained = run.model.to(model.device)
    trained.train_only("projections")  # so that captions are ranked by their features, too
    # The splits are Karpathy's: pictures in both are copies that COCO itself has, a few at most.
    return run, evaluate_run(trained, test, name=out.name, allow_leak=True)


def _fetch_quietly(chosen: Sequence[Photo], root: Path) -> Pairs:
    return fetch_photos(chosen, root, progress=False)  # one bar shows all pieces


def _choice(count: int, root: Path, out: Path, place: Path | None, choose: Choose) -> list[Photo]:
    """Choose the photos, or read which were chosen: without Karpathy's large file."""
    folder = out / "choice"
    kept = Kept(place, f"choice-{count}") if place else None
    if read_note(folder / "photos.json").get("count") != count and kept:
        _take(kept, folder)
    note = read_note(folder / "photos.json")
    if note.get("count") != count:
        photos, _ = clean_captions(choose(root, count), root, 0.01)
        rows = [
            [p.record, p.image_id, p.file_name, (p.image_info or {})["split"], p.captions]
            for p in photos
            if p.captions
        ]
        note = {"count": count, "photos": rows}
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "photos.json", note)
    if kept:
        _keep(kept, folder)
    return [
        Photo(record, image_id, name, captions, [record] * len(captions), {"split": split})
        for record, image_id, name, split, captions in note["photos"]
    ]


def _pairs(chosen: Sequence[Photo], root: Path, name: str, split: str = "") -> Pairs:
    """The photos of a split ("" for all), in the order of the data set; no file is looked for."""
    names = {"train": ("train", "restval"), "": ("train", "restval", "val", "test")}
    photos = [p for p in chosen if (p.image_info or {})["split"] in names.get(split, (split,))]
    # As in Karpathy's file: the folds of the "1k" protocol depend on it.
    photos.sort(key=lambda photo: int(re.sub(r"\D", "", photo.record) or 0))
    return Pairs(
        images=[root / str(photo.file_name) for photo in photos],
        captions=[caption for photo in photos for caption in photo.captions],
        owner=np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in photos]),
        image_ids=[photo.image_id for photo in photos],
        name=name,
        split=split,
    )


def choose_scenes(root: Path, count: int) -> list[Photo]:
    """Choose drawn scenes in the place of COCO's photos, divided alike; no network is needed."""
    photos: list[Photo] = []
    for split, share in (("train", 0.7), ("val", 0.05), ("test", 0.25)):
        pairs = load_pairs("scenes", split=split, size=max(1, round(share * count)), progress=False)
        for image, path in enumerate(pairs.images):
            record, captions = f"images[{len(photos)}]", pairs.captions_of(image)
            records = [record] * len(captions)
            info = {"split": split}
            photos.append(Photo(record, len(photos), str(path), captions, records, info))
    return sorted(photos, key=lambda photo: str(photo.image_id)[::-1])  # each piece has all splits


def fetch_scenes(chosen: Sequence[Photo], root: Path) -> Pairs:
    """Return drawn scenes, which lie in the cache folder, as if they had been fetched."""
    return _pairs(chosen, root, "drawn scenes")


# What `evening` takes to run on drawn scenes, in the lesson and wherever there is no network.
STAND_IN: dict[str, Any] = {
    "choose": choose_scenes,
    "fetch": fetch_scenes,
    "name": "drawn scenes",
    "backbones": {
        "image_backbone": "mini",
        "image_weights": "mini",
        "text_backbone": "mini",
        "text_weights": "mini",
    },
}


@dataclass
class _Pieces:
    """Turns photos into features, piece by piece, and keeps each piece."""

    model: DualEncoder
    root: Path
    home: Path
    place: Path | None
    fetch: Fetch

    def run(self, pieces: list[list[Photo]], progress: bool) -> list[Path]:
        """Return the folder of each piece, complete."""
        backbones = image_backbone(self.model.image), text_backbone(self.model.text)
        names = []
        for number, piece in enumerate(pieces):
            ids = [f"{p.image_id}\0" + "\0".join(p.captions) for p in piece]
            names.append(f"{number:04d}-{key_of('piece', *backbones, *ids)[:12]}")
        kept = [Kept(self.place / "features", name) if self.place else None for name in names]
        total = sum(map(len, pieces))
        with tqdm(total=total, unit="photo", desc="features", disable=not progress) as bar:
            for name, piece, copies in zip(names, pieces, kept, strict=True):
                self.one(self.home / name, piece, copies)
                bar.update(len(piece))
        return [self.home / name for name in names]

    def one(self, folder: Path, piece: list[Photo], kept: Kept | None) -> None:
        """Open the features of a piece, copy them back, or compute them; then keep them."""
        if not _is_whole(folder) and kept:
            _take(kept, folder)
        if not _is_whole(folder):
            pairs = self.fetch(piece, self.root)
            keep_features(self.model, pairs, folder=folder, dtype="float16", progress=False)
        if kept:
            _keep(kept, folder)


def _take(kept: Kept, folder: Path) -> None:
    """Copy a folder back, if it is kept; where that fails, its content is made anew."""
    try:
        kept.take(folder, None)
    except OSError as error:
        warnings.warn(f"{kept.folder} cannot be copied back ({error})", stacklevel=2)


def _keep(kept: Kept, folder: Path) -> None:
    """Copy a folder to where things are kept, once; warn where that fails, and go on."""
    try:
        if kept.newest() is None:
            kept.put(folder, skip={".lock"})
    except (OSError, DataError) as error:
        warnings.warn(
            f"{folder.name} is not kept in {kept.folder} ({error}); work goes on, and the next "
            "call tries again",
            stacklevel=2,
        )


def _is_whole(folder: Path) -> bool:
    """Whether both sides of a piece are there, undamaged."""
    try:
        for side in ("image", "text"):
            Side.open(folder / side)
        return True
    except DataError:
        return False


def _joined(pieces: list[Path], home: Path) -> Path:
    """Join the features of all pieces in one folder, unless they are there already."""
    folder = home / key_of("joined", *(piece.name for piece in pieces))[:12]
    for name in ("image", "text"):
        sides = [Side.open(piece / name) for piece in pieces]
        values = np.concatenate([side.values for side in sides])
        hashes = np.concatenate([side.hashes for side in sides]) if name == "image" else None
        faults: dict[str, str] = {}
        first = 0
        for side in sides:
            unreadable = side.manifest["values"]["unreadable"]
            faults |= {str(first + int(row)): why for row, why in unreadable.items()}
            first += len(side.values)

        def compute(
            todo: list[int],
            values: Any = values,
            faults: dict[str, str] = faults,
            hashes: Hashes | None = hashes,
        ) -> Iterator[tuple[int, Computed]]:
            for k in todo:
                rows = range(k * SPAN, (k + 1) * SPAN)
                part = slice(rows.start, rows.stop)
                of_part = None if hashes is None else hashes[part]
                yield k, (values[part], _of(faults, rows), of_part)

        data = key_of("pieces", *(side.key for side in sides))
        make_side(
            folder / name,
            {**sides[0].manifest["origin"], "data": data},
            np.concatenate([side.names for side in sides]),
            values.shape[-1],
            compute,
            about=f"{len(values):,} rows of {len(pieces)} pieces, {name}",
            progress=False,
        )
    return folder


def _of(faults: dict[str, str], rows: range) -> dict[str, str]:
    return {row: why for row, why in faults.items() if int(row) in rows}


def _with_features(pairs: Pairs, features: Path) -> Pairs:
    """Give pairs their features; photos that could not be fetched have none and are left out."""
    there = Side.open(features / "image").find(pairs.image_ids) >= 0
    part = pairs.subset(there)
    missing = len(pairs) - len(part)
    skipped = (f"{missing} photos of {pairs.split} could not be fetched",) if missing else ()
    return replace(part, features=features, skipped=skipped)
