"""Fill one array on disk span by span, so that an interrupted call goes on where it stopped.

A span is a few rows that are written together. Its checksum goes into a journal beside the file.
The next call keeps the spans of the journal whose checksums agree with the bytes in the file, so
that a killed process, a power cut or damage to a finished file leaves no wrong row. The packed
store's pixels and kept features are both written like this.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from mmret_lib.files.errors import DataError
from mmret_lib.files.records import crc32_of
from mmret_lib.files.whole import move_into_place

Span = tuple[int, dict[str, str]]  # checksum; row -> why its image is unreadable (and stays zero)


@dataclass(frozen=True)
class Unfinished:
    """An array file that is being filled.

    Attributes:
        path: the file, under the name that it has until it is complete.
        start: the byte at which its rows begin.
        span: rows that share a checksum; span k holds rows k * span, k * span + 1, …
        row_bytes: bytes of a row.
    """

    path: Path
    start: int
    span: int
    row_bytes: int

    def write(self, k: int, rows: npt.NDArray[Any]) -> int:
        """Write the rows of span `k` to their place; return their checksum."""
        return write_rows(self.path, self.start + k * self.span * self.row_bytes, rows)


def write_rows(path: str | Path, offset: int, rows: npt.NDArray[Any]) -> int:
    """Write contiguous rows to a place in a file that is there; return their checksum."""
    content = rows.data.cast("B")
    with open(path, "rb+") as file:
        file.seek(offset)
        file.write(content)
    return zlib.crc32(content)


def fill(
    target: Path,
    shape: tuple[int, ...],
    dtype: Any,
    span: int,
    work: Callable[[Unfinished, list[int]], Iterator[tuple[int, Span]]],
    *,
    known: dict[int, Span],
    task: str,
    unit: str,
    progress: bool,
) -> dict[str, Any]:
    """Fill `target`, an array file of that shape and type.

    Args:
        span: rows that are written together.
        work: given the file and the numbers of the spans to write, writes them in any order, and
            yields each with its checksum as soon as it is in the file.
        known: spans that `target` should hold already, from a manifest.
        task: what is done, for the progress bar.
        unit: what a row is of, in the plural: "images".

    Returns:
        The file's entry in a manifest: that of `entry_of`, with the number of `rows`, and
        `unreadable`: row -> reason.

    Raises:
        DataError: the disk is full, or whatever `work` raises; the next call continues.
    """
    part, journal = target.with_name(target.name + ".part"), target.with_suffix(".journal")
    if target.exists():
        # Damaged, or finished by a process that was killed before it wrote the manifest.
        os.replace(target, part)
    count = shape[0]
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(dtype).itemsize
    done: dict[int, Span] = {}
    try:
        file = Unfinished(part, _create(part, shape, dtype), span, row_bytes)
        spans = range(-(-count // span))
        claimed = {k: s for k, s in (known | _read_journal(journal)).items() if k in spans}
        intact = _intact(claimed, file)
        todo = [k for k in spans if k not in intact]
        rows = {k: min(span, count - k * span) for k in todo}
        bar = tqdm(
            total=count,
            initial=count - sum(rows.values()),
            desc=task,
            unit=f" {unit}",
            disable=not progress,
            leave=False,
        )
        # Rewritten, not appended to: spans that are not intact must not be claimed again.
        with bar, journal.open("w", encoding="utf-8") as log:
            for finished in (iter(intact.items()), work(file, todo)):
                for k, (checksum, faults) in finished:
                    done[k] = checksum, faults
                    log.write(json.dumps([k, checksum, faults]) + "\n")
                    log.flush()
                    bar.update(rows.get(k, 0))
    except OSError as error:
        raise DataError(
            f"{part} cannot be written ({error.strerror or error}). What is done so far is kept: "
            "make room and call again."
        ) from error
    with part.open("rb") as opened:
        head = opened.read(file.start)
    move_into_place(part, target)
    status = target.stat()
    return {
        "name": target.name,
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "head_crc32": zlib.crc32(head),
        "start": file.start,
        "block": span * row_bytes,
        "crc32": [done[k][0] for k in sorted(done)],
        "rows": count,
        "unreadable": {row: why for k in sorted(done) for row, why in done[k][1].items()},
    }


def spans_of(entry: dict[str, Any], span: int) -> dict[int, Span]:
    """Return the spans of a file that a manifest describes."""
    spans: dict[int, Span] = {k: (checksum, {}) for k, checksum in enumerate(entry["crc32"])}
    for row, why in entry["unreadable"].items():
        spans[int(row) // span][1][row] = why
    return spans


def _create(part: Path, shape: tuple[int, ...], dtype: Any) -> int:
    """Make an array file of that shape unless it exists; return where its rows begin."""
    try:
        array = np.load(part, mmap_mode="r", allow_pickle=False)
        if array.shape == shape and array.dtype == dtype:
            return int(array.offset)
    except Exception:  # a damaged header makes numpy raise nearly anything
        pass
    return int(np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape).offset)


def _read_journal(journal: Path) -> dict[int, Span]:
    spans: dict[int, Span] = {}
    try:
        lines = journal.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        # The last line of a killed process may be cut off.
        with suppress(ValueError, TypeError, AttributeError):
            k, checksum, faults = json.loads(line)
            spans[int(k)] = (int(checksum), {str(row): str(why) for row, why in faults.items()})
    return spans


def _intact(spans: dict[int, Span], file: Unfinished) -> dict[int, Span]:
    """The spans whose checksums agree with the bytes in the file."""
    block = file.span * file.row_bytes

    def checksum(k: int) -> int:
        return crc32_of(file.path, file.start + k * block, block)

    with ThreadPoolExecutor() as pool:
        checksums = pool.map(checksum, spans)
        return {k: spans[k] for k, crc in zip(spans, checksums, strict=True) if crc == spans[k][0]}
