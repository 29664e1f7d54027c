"""Fetch the real data sets: their files, addresses, checksums and terms of use.

Sizes and SHA-256 of the COCO and Karpathy archives are those that tensorflow/datasets records
(url_checksums/coco_captions.txt). The MD5s of Flickr8k are those that torchvision for R
(mlverse/torchvision) checks; sizes or a SHA-256 do not seem to be published.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmret_lib.data.finding import folders_below
from mmret_lib.data.flickr import LAYOUT_30K, read_flickr30k
from mmret_lib.data.photos import ENDING
from mmret_lib.files.disk import alone, disk_errors, ensure_room
from mmret_lib.files.download import fetch
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.output import say
from mmret_lib.files.places import user_path
from mmret_lib.files.records import read_note, write_json
from mmret_lib.files.remote import Remote
from mmret_lib.files.unpack import unpack

NOTE = ".mmret-data.json"  # in the root: which parts have been unpacked, and how many files each


@dataclass(frozen=True)
class Part:
    """One archive of a data set, and the files in it that are wanted (patterns; None for all)."""

    remote: Remote
    only: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Source:
    """A data set to fetch.

    Attributes:
        terms: one line on who may do what with it.
        parts: name -> archive, in the order in which they are fetched.
        groups: short names for several parts at once.
        usual: the parts, or groups of them, that are fetched when none are asked for.
        photos: folders in which the photos are looked for, where they cannot be fetched.
        lists: the parts that divide the photos into splits.
        by_hand: how to get such photos.
    """

    terms: str
    parts: Mapping[str, Part]
    usual: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    photos: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    by_hand: str = ""


# SHA-256 of COCO's archives.
_COCO = {
    "train2014.zip": "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
    "val2014.zip": "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
    "annotations_trainval2014.zip": (
        "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009"
    ),
    "train2017.zip": "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
    "val2017.zip": "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
    "annotations_trainval2017.zip": (
        "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268"
    ),
}


# The official host has no certificate for its name, hence http; the second address is the same
# storage under its provider's name.
COCO_HOSTS = ("http://images.cocodataset.org", "https://s3.amazonaws.com/images.cocodataset.org")


def _coco(folder: str, name: str, size: int, only: tuple[str, ...] | None = None) -> Part:
    urls = tuple(f"{host}/{folder}/{name}" for host in COCO_HOSTS)
    return Part(Remote(name, urls, size, _COCO[name]), only)


def _flickr8k(name: str, md5: str) -> Part:
    base = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
    return Part(Remote(name, (f"{base}/{name}",), md5=md5))


KARPATHY = Remote(
    "caption_datasets.zip",
    ("https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",),
    36_745_453,
    "4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
)
# The boxes and key points beside them are ten times as large, and not read here.
CAPTIONS = ("annotations/captions_*.json",)

SETS: dict[str, Source] = {
    "coco": Source(
        terms=(
            "COCO: the annotations are under CC BY 4.0, each photo under the licence that its "
            "owner chose on Flickr (https://cocodataset.org/#termsofuse)"
        ),
        parts={
            "karpathy": Part(KARPATHY, only=("dataset_coco.json",)),
            "val2017": _coco("zips", "val2017.zip", 815_585_330),
            "annotations2017": _coco(
                "annotations", "annotations_trainval2017.zip", 252_907_541, CAPTIONS
            ),
            "train2017": _coco("zips", "train2017.zip", 19_336_861_798),
            "val2014": _coco("zips", "val2014.zip", 6_645_013_297),
            "annotations2014": _coco(
                "annotations", "annotations_trainval2014.zip", 252_872_794, CAPTIONS
            ),
            "train2014": _coco("zips", "train2014.zip", 13_510_573_713),
        },
        groups={
            "2017": ("val2017", "annotations2017", "train2017"),
            "2014": ("karpathy", "val2014", "annotations2014", "train2014"),
        },
        # The photos of 2017 are those of 2014, divided in another way; Karpathy's file divides
        # either as papers do, and has a validation split.
        usual=("karpathy", "2017"),
    ),
    "flickr8k": Source(
        terms=(
            "Flickr8k: for non-commercial research and teaching only, and not to be passed on "
            "(Hodosh, Young and Hockenmaier 2013); the photos belong to their Flickr users"
        ),
        parts={
            "text": _flickr8k("Flickr8k_text.zip", "bf6c1abcb8e4a833b7f922104de18627"),
            "images": _flickr8k("Flickr8k_Dataset.zip", "f18a1e2920de5bd84dae7cf08ec78978"),
        },
        usual=("text", "images"),
        lists=("text",),
    ),
    "flickr30k": Source(
        terms=(
            "Flickr30k: for non-commercial research and teaching only; the photos belong to their "
            "Flickr users (Young et al. 2014)"
        ),
        parts={"karpathy": Part(KARPATHY, only=("dataset_flickr30k.json",))},
        usual=("karpathy",),
        lists=("karpathy",),
        photos=("flickr30k-images", "flickr30k_images", "Images"),
        by_hand=(
            "The photos of Flickr30k are handed out on request only: fill in the form at "
            "https://forms.illinois.edu/sec/229675 (the set's home is "
            "https://shannon.cs.illinois.edu/DenotationGraph/)"
        ),
    ),
}


def get(
    name: str,
    root: str | Path,
    parts: Sequence[str] | None = None,
    *,
    keep_archives: bool = False,
    progress: bool = True,
    sets: Mapping[str, Source] = SETS,
) -> Path:
    """Fetch and unpack a data set, so that `load_pairs(name, root=root)` can read it.

    Prints the terms of use before anything is fetched. After an interrupt, the next call goes on
    where it stopped.

    Args:
        name: "coco", "flickr8k" or "flickr30k". The photos of the last one must lie in `root`
            already; this adds Karpathy's split file and checks that all of it can be read.
        root: the folder of the data set, made if it does not exist.
        parts: which parts of it (keys of `SETS[name].parts` or `.groups`); without them the usual
            ones: for COCO the photos and captions of 2017 and Karpathy's split file, 20 GB to fetch
            and 20 GB unpacked.
        keep_archives: keep the archives beside what was unpacked from them.
        sets: the table of data sets.

    Returns:
        The root.

    Raises:
        MissingFile: if a file cannot be fetched, or photos that must be asked for are not there.
        DataError: if there is no such data set or part, no room on the disk, or an archive is
            damaged or not safe.
    """
    if name not in sets:
        raise DataError(
            f"there is nothing to fetch for {name!r}; data sets that can be fetched are "
            f"{', '.join(sets)}"
        )
    source = sets[name]
    chosen = _chosen_parts(name, source, parts)
    root = user_path(root)
    if source.photos and not _has_photos(root, source.photos):
        raise MissingFile(
            f"{root} has no folder {' or '.join(source.photos)}. {source.by_hand}, and unpack them "
            f"there. Then run this again. Expected in the end: {LAYOUT_30K}"
        )
    with disk_errors(root, f"fetching {name}"):
        root.mkdir(parents=True, exist_ok=True)
        with alone(root / f"{NOTE}.lock"):
            missing = {k: part for k, part in chosen.items() if not _is_done(root, f"{name}/{k}")}
            if missing:
                sizes = [part.remote.size for part in missing.values()]
                total = f", {sum(size or 0 for size in sizes) / 1e6:,.0f} MB" if all(sizes) else ""
                say(f"{source.terms}. Fetching {', '.join(missing)}{total}.", flush=True)
                _ensure_room_for_all(root, missing, keep_archives)
            for key, part in missing.items():
                archive = fetch(part.remote, root, progress=progress)
                tops = unpack(archive, root, only=part.only, progress=progress)
                done = {"holds": tops, "files": _count(root, tops), "keep": keep_archives}
                write_json(root / NOTE, {**read_note(root / NOTE), f"{name}/{key}": done})
            notes = read_note(root / NOTE)
            for key, part in chosen.items():  # all: a call may have been killed at this point
                _tidy(root, part.remote, keep_archives or notes[f"{name}/{key}"].get("keep", True))
    if source.photos:
        read_flickr30k(root, "all")
    return root


def _has_photos(root: Path, usual: Sequence[str]) -> bool:
    return any((root / folder).is_dir() for folder in usual) or any(
        ENDING.fullmatch(Path(name).suffix) for _, names, _ in folders_below(root) for name in names
    )


def _chosen_parts(name: str, source: Source, parts: Sequence[str] | None) -> dict[str, Part]:
    wanted: set[str] = set()
    for part in source.usual if parts is None else parts:
        if part not in source.parts and part not in source.groups:
            known = ", ".join([*source.groups, *source.parts])
            raise DataError(f"{name} has no part {part!r}; its parts are {known}")
        wanted.update(source.groups.get(part, (part,)))
    return {key: part for key, part in source.parts.items() if key in wanted}


def _is_done(root: Path, key: str) -> bool:
    """Whether this part was unpacked to the end, and nobody has taken away files since."""
    done = read_note(root / NOTE).get(key)
    try:
        return done is not None and _count(root, done["holds"]) >= done["files"]
    except (KeyError, TypeError):  # a note that somebody edited
        return False


def _count(root: Path, tops: Sequence[str]) -> int:
    paths = [root / top for top in tops]
    inner = sum(len(files) for path in paths for _, _, files in os.walk(path))
    return inner + sum(path.is_file() for path in paths)


def _ensure_room_for_all(root: Path, missing: Mapping[str, Part], keep: bool) -> None:
    """Raise DataError if the disk has too little room, before hours of downloading.

    Photos hardly shrink in an archive, so unpacking one takes its size once more. Archives that are
    not kept are on the disk one at a time.
    """
    sizes = [part.remote.size or 0 for part in missing.values()]
    needed = sum(sizes) + (sum(sizes) if keep else max(sizes))
    for part in missing.values():  # what an interrupted run has put there already
        name = part.remote.name
        for path in (root / name, root / f".{name}.part"):
            needed -= path.stat().st_size if path.is_file() else 0
        needed -= sum(p.stat().st_size for p in (root / f".unpack-{name}").rglob("*"))
    ensure_room(root, needed, f"Fetching and unpacking {', '.join(missing)}")


def _tidy(root: Path, remote: Remote, keep: bool) -> None:
    """Delete the notes and locks about an archive and, unless it is to be kept, the archive."""
    name = remote.name
    if not keep:
        (root / name).unlink(missing_ok=True)
        (root / f".{name}.verified").unlink(missing_ok=True)
    for lock in (f".{name}.lock", f".unpack-{name}.lock"):
        (root / lock).unlink(missing_ok=True)
