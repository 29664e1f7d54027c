"""From captions and photos to batches (lesson 01). Start with `load_pairs`.

`coco`, `flickr`, `album`, `folder`, `vsepp` and `world` read a data set as `Pairs` (module
`pairs`), with the checks of `reading` and `tables`, by way of `assembling`, which leaves out what
is missing. `finding` looks for photos that lie elsewhere than expected; `karpathy` reads the split
files that papers use, `seeded` divides photos that have none. `sources` downloads data sets, and
`coco_photos` as many of COCO's photos as `coco_sample` chooses. A new data set is a reader and an
entry in `DATASETS`.
`photos` lists a folder of photos without captions, and `decoding` reads photos that are looked at
once. `store` packs the pictures of `Pairs` and their `tokens`: `packing` decodes all pictures,
`images` reads one, `store_files` updates the files. `pixel_hash` finds the copies of a picture, and
`duplicates` counts those in a data set. `features` holds what frozen backbones make of pictures and
captions, in `feature_files`; `spans` writes these files, and the pixels, so that an interrupted
call can go on.
`loader` makes batches of either, `augment` varies their pictures. `judgements` reads right answers
that a data set counts as wrong.

Importing this package must not import torch: the processes that decode photos start with it.
"""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmret_lib.data import album, coco, flickr, folder, vsepp
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.seeded import SEEDED
from mmret_lib.files.errors import DataError

__all__ = ["DATASETS", "SPLITS", "Pairs", "load_pairs", "splits_beside", "usual_splits"]


def _load_scenes(root: str | Path | None, **options: Any) -> Pairs:
    from mmret_lib.data.world.scenes import load_scenes  # slow to import

    return load_scenes(root, **options)


# name: (reader, layout that it expects under root; None where it can do without root)
DATASETS: dict[str, tuple[Callable[..., Pairs], str | None]] = {
    "scenes": (_load_scenes, None),
    "album": (album.read_album, None),
    "coco": (coco.read_coco, coco.LAYOUT),
    "flickr8k": (flickr.read_flickr8k, flickr.LAYOUT_8K),
    "flickr30k": (flickr.read_flickr30k, flickr.LAYOUT_30K),
    "folder": (folder.read_folder, None),
    "vsepp": (vsepp.read_vsepp, vsepp.LAYOUT),
}

# The default splits: to train on, to validate on, and to report.
SPLITS = {
    "scenes": ("train", "val", "test"),
    "album": ("train", "val", "test"),
    "coco": ("train2017-train", "train2017-val", "val2017"),  # without Karpathy's split file
    "flickr8k": ("train", "dev", "test"),
    "flickr30k": ("train", "val", "test"),
    "vsepp": ("train", "dev", "test"),
    "folder": ("all", None, "all"),  # where its captions file has no split column
}


def load_pairs(
    name: str, root: str | Path | None = None, split: str | None = None, **options: Any
) -> Pairs:
    """Read one split of a data set.

    Args:
        name: "scenes" (the built-in world) and "album" (photographs that come with the course) need
            nothing; "coco", "flickr8k", "flickr30k", "vsepp" (features as VSE++ published
            them), or "folder": your own photos, with captions=FILE.
        root: the folder of the data set; for "scenes" where to keep it, if not in the cache; for
            "folder" where the photos' paths begin, if not beside the captions file.
        split: which part; by default "test", for COCO "val2017", for a folder "all".
        options: passed on to the reader (`load_scenes`, `read_album`, `read_coco`,
            `read_flickr8k`, `read_flickr30k`, `read_vsepp`, `read_folder`).

    Returns:
        The images and their captions.

    Raises:
        DataError: if there is no such data set, or a file of it is wrong.
        MissingFile: if its folder or a file of it is not there.

    Example:
        >>> load_pairs("scenes", split="test")
        >>> load_pairs("coco", root="~/coco", split="val2017")
        >>> load_pairs("folder", root="~/photos", captions="~/photos/captions.csv")
    """
    if name not in DATASETS:
        close = difflib.get_close_matches(str(name).lower(), DATASETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise DataError(f"there is no data set {name!r}; there are {', '.join(DATASETS)}.{hint}")
    reader, layout = DATASETS[name]
    if layout is not None and root is None:
        raise DataError(
            f"{name} is not built in: pass --root FOLDER (in Python root=…) that holds {layout} "
            "(the data sets that need no folder are 'scenes' and 'album')"
        )
    if split is not None:
        options["split"] = split
    return reader(root, **options)


def usual_splits(
    name: str, root: str | Path | None = None, **options: Any
) -> tuple[str, str | None, str]:
    """The splits of a data set to train on, to validate on (or None), and to report.

    Args:
        name, root, options: as `load_pairs` takes them. Those of "coco" depend on whether
            Karpathy's split file is there, those of "folder" on its captions file.

    Raises:
        MissingFile, DataError: a folder or captions file that cannot be read.
    """
    if name == "coco" and root is not None:
        return coco.usual_splits(root)
    return folder.usual_splits(root, **options) if name == "folder" else SPLITS[name]


def splits_beside(
    name: str, root: str | Path | None, train: str, **options: Any
) -> tuple[str | None, str]:
    """The splits to validate on (or None), and to report, for a model trained on `train`.

    They are the usual ones, unless these hold photos of `train`: then there is no split to
    validate on, and for COCO's official splits the split to report is the official one. Beside
    "seeded-train" they are seeded too, even where official lists are there by now.

    Args:
        name, root, options: as `load_pairs` takes them.
        train: the split that the model is trained on.

    Raises:
        MissingFile, DataError: as `usual_splits`.
    """
    by_hash = SEEDED if train.startswith(SEEDED) else ""
    train = train.removeprefix(SEEDED)
    usual, validation, test = usual_splits(name, root, **options)
    parts = {*train.split("+")}
    if name == "coco":
        test = coco.test_split_after(train) or test
        free = parts <= {*usual.split("+")}
    else:
        free = train == usual or not parts & {"all", "val", "dev", validation}
    return by_hash + validation if free and validation else None, by_hash + test
