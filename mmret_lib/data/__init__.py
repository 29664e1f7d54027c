"""From captions and photos to batches (lesson 01). Start with `load_pairs`.

`coco`, `flickr` and `world` read a data set as `Pairs` (module `pairs`), with the checks of
`reading`; `sources` downloads data sets. A new data set is a reader and an entry in `DATASETS`.
`store` packs the pictures of `Pairs` and their `tokens` once: `packing` decodes all pictures,
`images` reads one, `store_files` updates the files. `loader` makes batches of a store, `augment`
varies their pictures. `judgements` reads right answers that a data set counts as wrong.

Importing this package must not import torch: the processes that decode photos start with it.
"""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmret_lib.data import coco, flickr
from mmret_lib.data.pairs import Pairs
from mmret_lib.files.errors import DataError

__all__ = ["DATASETS", "SPLITS", "Pairs", "load_pairs"]


def _load_scenes(root: str | Path | None, **options: Any) -> Pairs:
    from mmret_lib.data.world.scenes import load_scenes  # slow to import

    return load_scenes(root, **options)


# name: (reader, layout that it expects under root; None where the data set is drawn, not read)
DATASETS: dict[str, tuple[Callable[..., Pairs], str | None]] = {
    "scenes": (_load_scenes, None),
    "coco": (coco.read_coco, coco.LAYOUT),
    "flickr8k": (flickr.read_flickr8k, flickr.LAYOUT_8K),
    "flickr30k": (flickr.read_flickr30k, flickr.LAYOUT_30K),
}

# The default splits: to train on, to validate on, and to report.
SPLITS = {
    "scenes": ("train", "val", "test"),
    "coco": ("train2017", None, "val2017"),
    "flickr8k": ("train", "dev", "test"),
    "flickr30k": ("train", "val", "test"),
}


def load_pairs(
    name: str, root: str | Path | None = None, split: str | None = None, **options: Any
) -> Pairs:
    """Read one split of a data set.

    Args:
        name: "scenes" (the built-in world, needs nothing), "coco", "flickr8k" or "flickr30k".
        root: the folder of the data set; for "scenes" where to keep it, if not in the cache.
        split: which part; by default "test", for COCO "val2017".
        options: passed on to the reader (`load_scenes`, `read_coco`, `read_flickr8k`,
            `read_flickr30k`).

    Returns:
        The images and their captions.

    Raises:
        DataError: if there is no such data set, or a file of it is wrong.
        MissingFile: if its folder or a file of it is not there.

    Example:
        >>> load_pairs("scenes", split="test")
        >>> load_pairs("coco", root="~/coco", split="val2017")
    """
    if name not in DATASETS:
        close = difflib.get_close_matches(str(name).lower(), DATASETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise DataError(f"there is no data set {name!r}; there are {', '.join(DATASETS)}.{hint}")
    reader, layout = DATASETS[name]
    if layout is not None and root is None:
        raise DataError(
            f"{name} is not built in: pass root=…, a folder that holds {layout} "
            "(the data set that needs no folder is 'scenes')"
        )
    if split is not None:
        options["split"] = split
    return reader(root, **options)
