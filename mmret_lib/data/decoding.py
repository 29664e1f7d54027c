"""Decode photos in threads, a few batches ahead of the model that embeds them.

For photos that are looked at once: nothing is kept on disk. (`packing` decodes what is read again
in every epoch.) Pillow decodes and scales outside of Python's lock, so threads use all processors.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmret_lib.data.images import read_pixels
from mmret_lib.files.errors import DataError

BATCH = 64  # photos that are given to the model together
AHEAD = 2  # batches that are decoded while the model works on one


@dataclass(frozen=True)
class Decoded:
    """A batch of photos.

    Attributes:
        first: the place of its first photo among all.
        pixels: uint8 (B, 3, S, S), black where the photo could not be read.
        unreadable: place in the batch -> why the photo could not be read.
    """

    first: int
    pixels: npt.NDArray[np.uint8]
    unreadable: dict[int, str]


def decoded(
    images: Sequence[Path], size: int, *, batch: int = BATCH, workers: int | None = None
) -> Iterator[Decoded]:
    """Decode photos in order, as `read_pixels` does, in batches.

    Args:
        images: the files.
        size: pixels along each side.
        batch: photos in a batch; the last one has fewer.
        workers: threads; by default as many as there are processors.
    """
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: deque[tuple[int, list[Future[npt.NDArray[np.uint8] | str]]]] = deque()
        starts = iter(range(0, len(images), batch))
        try:
            while True:
                while len(waiting) <= AHEAD and (first := next(starts, None)) is not None:
                    part = images[first : first + batch]
                    waiting.append((first, [pool.submit(_read, path, size) for path in part]))
                if not waiting:
                    return
                first, futures = waiting.popleft()
                pixels = np.zeros((len(futures), 3, size, size), np.uint8)
                unreadable = {}
                for place, future in enumerate(futures):
                    photo = future.result()
                    if isinstance(photo, str):
                        unreadable[place] = photo
                    else:
                        pixels[place] = photo
                yield Decoded(first, pixels, unreadable)
        finally:
            pool.shutdown(cancel_futures=True)


def _read(path: Path, size: int) -> npt.NDArray[np.uint8] | str:
    """Return the pixels (3, size, size) of a photo, or why it cannot be read."""
    try:
        return read_pixels(path, size)
    except DataError as error:
        return str(error)
    except MemoryError:
        return f"{path} does not fit into the memory; scale it down"
