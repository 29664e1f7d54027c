"""Read the layout in which VSE++ published its features (Faghri et al. 2018, arXiv 1707.05612).

    ROOT/{split}_ims.npy     float (N, F), or (N, regions, F), of which the mean is taken
    ROOT/{split}_caps.txt    a caption a line, five lines an image

The image rows may be there once, or, as in their dev and test files, five times each. There are no
photos: the model's image branch is then "features:F", which has no backbone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmret_lib.data.assembling import Photo, clean_captions
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import existing_folder
from mmret_lib.data.tables import read_text
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import cache_folder

LAYOUT = "{split}_ims.npy and {split}_caps.txt"
CAPTIONS = 5  # of each image


def read_vsepp(
    root: str | Path, split: str = "test", *, max_missing: float = 0.01, progress: bool = True
) -> Pairs:
    """Read one split; its features are copied into the cache folder, checked, once.

    Args:
        root: the folder of the two files.
        split: "train", "dev" or "test", as the files are named.
        max_missing: share of captions that may be empty lines before that is an error. They are
            left out; the other lines stay with their rows.

    Returns:
        Pairs whose `features` are a folder in the cache. `images` are names without files.

    Raises:
        MissingFile: a file is not there.
        DataError: an array of another shape or type, a number that is not finite, too many empty
            lines, or numbers of rows and lines that do not fit together.
    """
    # Here and not above: the processes that decode photos import this package, and should start in
    # a moment.
    from mmret_lib.data.feature_files import SPAN, Computed, make_side, names_of
    from mmret_lib.data.store_files import key_of
    from mmret_lib.files.cache import use_until_exit

    folder = existing_folder(root, LAYOUT)
    array_file, text_file = folder / f"{split}_ims.npy", folder / f"{split}_caps.txt"
    array = _map(array_file)
    lines = _read_lines(text_file, len(array))
    step = _rows_per_image(array_file, array, text_file, len(lines))
    images = array[::step]
    photos, skipped = clean_captions(
        _photos(lines, len(lines) // len(images)), text_file, max_missing
    )
    skipped += [f"{text_file}: {p.record} has no caption" for p in photos if not p.captions]
    photos = [photo for photo in photos if photo.captions]
    status = array_file.stat()
    length = images.shape[-1]
    facts = [str(array_file.absolute()), str(status.st_size), str(status.st_mtime_ns), str(step)]
    origin: dict[str, Any] = {
        "side": "image",
        "backbone": f"features:{length}",
        "data": key_of("vsepp", *facts),
        "dtype": "float32",
        "views": 0,
        "augment": "none",
    }

    def compute(todo: list[int]) -> Iterator[tuple[int, Computed]]:
        for k in todo:
            rows = np.asarray(images[k * SPAN : (k + 1) * SPAN], np.float32)
            rows = rows.mean(axis=1) if rows.ndim == 3 else rows
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if bad.size:
                row = (k * SPAN + int(bad[0])) * step
                raise DataError(f"{array_file}: row {row} is not finite; fetch the file again")
            yield k, (rows[:, None], {}, None)  # without pixels, no hashes

    home = cache_folder() / "features" / f"vsepp-{split}-{origin['data'][:8]}"
    about = f"{len(images):,} images of {array_file}"
    names = names_of(range(len(images)))
    make_side(home / "image", origin, names, length, compute, about=about, progress=progress)
    use_until_exit(home)
    return Pairs(
        images=[array_file / str(photo.image_id) for photo in photos],
        captions=[caption for photo in photos for caption in photo.captions],
        owner=np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in photos]),
        image_ids=[photo.image_id for photo in photos],
        name="vsepp",
        split=split,
        skipped=tuple(skipped),
        features=home,
    )


def _map(path: Path) -> npt.NDArray[Any]:
    if not path.is_file():
        raise MissingFile(f"{path} is missing; the folder should hold {LAYOUT}")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header makes numpy raise nearly anything
        raise DataError(f"{path} cannot be read as an array of numbers ({error})") from None
    if array.dtype.kind != "f" or array.ndim not in (2, 3) or 0 in array.shape:
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}; it should be float (N, F) or (N, regions, "
            "F)"
        )
    found: npt.NDArray[Any] = array
    return found


def _read_lines(path: Path, rows: int) -> list[str]:
    """The lines of a file; blank ones at its end count only where lines would be missing."""
    if not path.is_file():
        raise MissingFile(f"{path} is missing; the folder should hold {LAYOUT}")
    lines = read_text(path).removesuffix("\n").split("\n")
    while lines and not lines[-1].strip() and len(lines) not in (rows, rows * CAPTIONS):
        del lines[-1]
    return lines


def _photos(lines: list[str], each: int) -> list[Photo]:
    """The images, `each` lines to one."""
    return [
        Photo(
            record=f"image {first // each} (line {first + 1})",
            image_id=first // each,
            file_name=None,
            captions=list(lines[first : first + each]),
            caption_records=[f"line {number}" for number in range(first + 1, first + each + 1)],
        )
        for first in range(0, len(lines), each)
    ]


def _rows_per_image(
    array_file: Path, array: npt.NDArray[Any], text_file: Path, captions: int
) -> int:
    """How many equal rows each image has: 1, or 5."""
    rows = len(array)
    if captions == rows * CAPTIONS:
        return 1
    if captions != rows:
        raise DataError(
            f"{text_file} has {captions:,} lines and {array_file} {rows:,} rows; there should be "
            f"{CAPTIONS} lines a row, or, where each image is repeated, as many lines as rows"
        )
    if rows % CAPTIONS:
        return 1
    for first in range(0, rows, 1000 * CAPTIONS):
        part = np.asarray(array[first : first + 1000 * CAPTIONS])
        groups = part.reshape(-1, CAPTIONS, *part.shape[1:])
        if not np.array_equal(groups, np.broadcast_to(groups[:, :1], groups.shape), equal_nan=True):
            return 1  # one caption an image
    return CAPTIONS
