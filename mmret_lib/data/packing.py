"""Photos into one array on disk, by all processor cores, going on where an earlier call stopped.

The array is written in spans of images. Workers decode a span, write it to its place in the file
and answer with its checksum, which goes into a journal beside the file. Whoever finds a journal
believes it only as far as the checksums agree with the bytes: that covers a killed process, a power
cut, and a finished file that was damaged later.

Nothing here imports torch: a worker process should start in a moment.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mmret_lib.data.images import read_pixels
from mmret_lib.files.errors import DataError
from mmret_lib.files.whole import move_into_place

SPAN = 64  # images that share a task and a checksum
FEW = 4 * SPAN  # as many are decoded before a second process would have started

Span = tuple[int, dict[str, str]]  # checksum; row -> why that image cannot be read (it stays black)


def read_spans(
    target: Path,
    images: Sequence[Path],
    size: int,
    *,
    known: dict[int, Span],
    workers: int | None,
    progress: bool,
) -> dict[str, Any]:
    """Decode `images` into `target`, uint8 (N, 3, size, size), row i from image i.

    Args:
        known: spans that `target` should hold already, from a manifest.

    Returns:
        what a store's manifest says of the file: `entry_of`'s entries, the number of rows, and
        `unreadable`: row -> reason.

    Raises:
        DataError: the disk is full, or a worker died; what is done stays for the next call.
    """
    part, journal = target.with_name(target.name + ".part"), target.with_suffix(".journal")
    if target.exists():
        # Damaged, or finished by a process that was killed before it could say so in a manifest.
        os.replace(target, part)
    block = SPAN * 3 * size * size
    done: dict[int, Span] = {}
    try:
        start, is_new = _create(part, (len(images), 3, size, size))
        if not is_new:
            done = _believe(known | _read_journal(journal), part, start, block)
        todo = [k for k in range(-(-len(images) // SPAN)) if k not in done]
        left = sum(len(images[k * SPAN : (k + 1) * SPAN]) for k in todo)
        bar = tqdm(
            total=len(images),
            initial=len(images) - left,
            desc="packing images",
            unit=" images",
            disable=not progress,
            leave=False,
        )
        # Rewritten, not appended to: what was not believed must not be read again.
        with bar, journal.open("w", encoding="utf-8") as log:
            for k, (checksum, faults) in done.items():
                log.write(json.dumps([k, checksum, faults]) + "\n")
            log.flush()
            for k, (checksum, faults) in _decode(todo, part, start, images, size, workers):
                done[k] = (checksum, faults)
                log.write(json.dumps([k, checksum, faults]) + "\n")
                log.flush()
                bar.update(len(images[k * SPAN : (k + 1) * SPAN]))
    except WorkerDied:
        raise DataError(
            f"a process that packs images into {part.parent} died. What is packed so far is kept: "
            "call again, with workers=1 if memory ran out."
        ) from None
    except OSError as error:
        raise DataError(
            f"{part} cannot be written ({error.strerror or error}). What is packed so far is kept: "
            "make room and call again."
        ) from error
    with part.open("rb") as file:
        head = file.read(start)
    move_into_place(part, target)
    status = target.stat()
    return {
        "name": target.name,
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "head_crc32": zlib.crc32(head),
        "start": start,
        "block": block,
        "crc32": [done[k][0] for k in sorted(done)],
        "rows": len(images),
        "unreadable": {row: why for k in sorted(done) for row, why in done[k][1].items()},
    }


def _create(part: Path, shape: tuple[int, ...]) -> tuple[int, bool]:
    """An array file of that shape, and where in it the pixels begin; whether it is new."""
    try:
        array = np.load(part, mmap_mode="r", allow_pickle=False)
        if array.shape == shape and array.dtype == np.uint8:
            return array.offset, False
    except Exception:  # numpy reads heads with Python's own parser
        pass
    array = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    return array.offset, True


def spans_of(entry: dict[str, Any]) -> dict[int, Span]:
    """The spans of a file that a manifest describes."""
    spans: dict[int, Span] = {k: (checksum, {}) for k, checksum in enumerate(entry["crc32"])}
    for row, why in entry["unreadable"].items():
        spans[int(row) // SPAN][1][row] = why
    return spans


def _read_journal(journal: Path) -> dict[int, Span]:
    claimed: dict[int, Span] = {}
    try:
        lines = journal.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            k, checksum, faults = json.loads(line)
            claimed[int(k)] = (int(checksum), {str(row): str(why) for row, why in faults.items()})
        except (ValueError, TypeError, AttributeError):
            continue  # the last line of a killed process may be cut off
    return claimed


def _believe(claimed: dict[int, Span], part: Path, start: int, block: int) -> dict[int, Span]:
    """The claimed spans whose bytes agree."""

    def agrees(k: int) -> bool:
        with part.open("rb") as file:
            file.seek(start + k * block)
            found = file.read(block)
        return bool(found) and zlib.crc32(found) == claimed[k][0]

    with ThreadPoolExecutor() as pool:
        sound = list(pool.map(agrees, claimed))
    return {k: span for (k, span), good in zip(claimed.items(), sound, strict=True) if good}


def _decode(
    todo: list[int], part: Path, start: int, images: Sequence[Path], size: int, workers: int | None
) -> Iterator[tuple[int, Span]]:
    """Decode spans in any order, each told as soon as it is in the file."""
    workers = min(workers or os.cpu_count() or 1, len(todo))
    tasks = {k: (part, start, k * SPAN, images[k * SPAN : (k + 1) * SPAN], size) for k in todo}
    if workers <= 1 or len(todo) * SPAN <= FEW:
        for k, task in tasks.items():
            yield k, write_span(*task)
        return
    # Programs of their own, that are told what to do line by line. Python's process pools would
    # read the caller's script again in each worker, which scripts without a main guard do not
    # survive, and forking is not safe beside torch's threads.
    home = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([home, *filter(None, sys.path)])}
    idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
    staff = [
        subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        for _ in range(workers)
    ]
    for worker in staff:
        idle.put(worker)

    def delegate(task: tuple[Path, int, int, Sequence[Path], int]) -> Span:
        worker = idle.get()
        try:
            assert worker.stdin is not None and worker.stdout is not None
            path, start, first, paths, size = task
            request = [str(path), start, first, [str(path) for path in paths], size]
            worker.stdin.write(json.dumps(request) + "\n")
            worker.stdin.flush()
            answer = json.loads(worker.stdout.readline())
        except (ValueError, BrokenPipeError) as error:  # no answer: it is dead
            raise WorkerDied from error
        finally:
            idle.put(worker)
        if isinstance(answer, str):
            raise OSError(answer)
        return answer[0], answer[1]

    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(delegate, task): k for k, task in tasks.items()}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        for worker in staff:
            assert worker.stdin is not None and worker.stdout is not None
            with contextlib.suppress(OSError):
                worker.stdin.close()  # which tells it to end, as the parent's death does
            worker.wait()
            worker.stdout.close()


class WorkerDied(Exception):
    """A worker process ended before its work was done."""


def write_span(part: Path, start: int, first: int, paths: Sequence[Path], size: int) -> Span:
    """Decode images and write them to rows `first`, `first` + 1, … of the file."""
    pixels = np.zeros((len(paths), 3, size, size), np.uint8)
    faults = {}
    for place, path in enumerate(paths):
        try:
            pixels[place] = read_pixels(path, size)
        except DataError as error:
            faults[str(first + place)] = str(error)
    with part.open("rb+") as file:
        file.seek(start + first * pixels[0].nbytes)
        file.write(pixels.data)
    return zlib.crc32(pixels.data), faults


def _serve() -> None:
    """What a worker does: a span for each line it is given, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    for line in sys.stdin:
        path, start, first, paths, size = json.loads(line)
        try:
            answer: Any = write_span(Path(path), start, first, [Path(p) for p in paths], size)
        except OSError as error:
            answer = error.strerror or str(error)
        try:
            print(json.dumps(answer), flush=True)
        except BrokenPipeError:  # the parent was killed; nobody is left to be told of it
            os._exit(1)


if __name__ == "__main__":
    _serve()
