"""Decode photos into one array on disk, on all processor cores; continue an interrupted call.

The array is written in spans of images. A worker decodes a span, writes it to its place in the file
and answers with its checksum, which goes into a journal beside the file. The next call keeps the
spans of the journal whose checksums agree with the bytes in the file, so that a killed process, a
power cut or damage to a finished file leaves no wrong pixels.

Nothing here imports torch: a worker process should start in a moment.
"""

import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mmret_lib.data.images import read_pixels
from mmret_lib.files.errors import DataError
from mmret_lib.files.records import crc32_of
from mmret_lib.files.whole import move_into_place

SPAN = 64  # images that share a task and a checksum
FEW = 4 * SPAN  # images that are decoded sooner than a second process starts

Span = tuple[int, dict[str, str]]  # checksum; row -> why its image is unreadable (and stays black)
Worker = subprocess.Popen[str]


def decode_into(
    target: Path,
    images: Sequence[Path],
    size: int,
    *,
    known: dict[int, Span],
    workers: int | None,
    progress: bool,
) -> dict[str, Any]:
    """Decode `images` into `target`, uint8 (N, 3, size, size), row i from image i.

    `known` are spans that `target` should hold already, from a manifest; `workers` and `progress`
    are as in `pack`.

    Returns:
        The file's entry in the store's manifest: that of `entry_of`, with the number of `rows`,
        and `unreadable`: row -> reason.

    Raises:
        DataError: the disk is full, or a worker died; the next call continues.
    """
    part, journal = target.with_name(target.name + ".part"), target.with_suffix(".journal")
    if target.exists():
        # Damaged, or finished by a process that was killed before it wrote the manifest.
        os.replace(target, part)
    block = SPAN * 3 * size * size
    tasks = {k: images[k * SPAN : (k + 1) * SPAN] for k in range(-(-len(images) // SPAN))}
    done: dict[int, Span] = {}
    try:
        start = _create(part, (len(images), 3, size, size))
        claimed = known | _read_journal(journal)
        intact = _intact({k: claimed[k] for k in claimed if k in tasks}, part, start, block)
        todo = {k: task for k, task in tasks.items() if k not in intact}
        bar = tqdm(
            total=len(images),
            initial=len(images) - sum(map(len, todo.values())),
            desc="packing images",
            unit=" images",
            disable=not progress,
            leave=False,
        )
        # Rewritten, not appended to: spans that are not intact must not be claimed again.
        with bar, journal.open("w", encoding="utf-8") as log:
            for spans in (intact.items(), _decode(todo, part, start, size, workers)):
                for k, span in spans:
                    done[k] = span
                    log.write(json.dumps([k, *span]) + "\n")
                    log.flush()
                    bar.update(len(todo.get(k, [])))
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


def _create(part: Path, shape: tuple[int, ...]) -> int:
    """Make an array file of that shape unless it exists; return where its pixels begin."""
    try:
        array = np.load(part, mmap_mode="r", allow_pickle=False)
        if array.shape == shape and array.dtype == np.uint8:
            return int(array.offset)
    except Exception:  # a damaged header makes numpy raise nearly anything
        pass
    return int(np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape).offset)


def spans_of(entry: dict[str, Any]) -> dict[int, Span]:
    """Return the spans of a file that a manifest describes."""
    spans: dict[int, Span] = {k: (checksum, {}) for k, checksum in enumerate(entry["crc32"])}
    for row, why in entry["unreadable"].items():
        spans[int(row) // SPAN][1][row] = why
    return spans


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


def _intact(spans: dict[int, Span], part: Path, start: int, block: int) -> dict[int, Span]:
    """The spans whose checksums agree with the bytes in the file."""
    with ThreadPoolExecutor() as pool:
        checksums = pool.map(lambda k: crc32_of(part, start + k * block, block), spans)
        return {k: spans[k] for k, crc in zip(spans, checksums, strict=True) if crc == spans[k][0]}


def _decode(
    todo: dict[int, Sequence[Path]], part: Path, start: int, size: int, workers: int | None
) -> Iterator[tuple[int, Span]]:
    """Decode spans in any order; each comes as soon as it is in the file."""
    tasks = {k: (str(part), start, k * SPAN, list(map(str, todo[k])), size) for k in todo}
    workers = min(workers or os.cpu_count() or 1, len(todo))
    if workers <= 1 or len(todo) * SPAN <= FEW:
        for k, task in tasks.items():
            yield k, write_span(*task)
        return
    pool = ThreadPoolExecutor(workers)
    with _worker_processes(workers) as idle:
        try:
            futures = {pool.submit(_ask, idle, task): k for k, task in tasks.items()}
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _worker_processes(count: int) -> Iterator[SimpleQueue[Worker]]:
    """Start processes that run `_serve`; they end with the block, or with this process.

    Python's process pools would read the caller's script again in each worker, which scripts
    without a main guard do not survive, and forking is not safe beside torch's threads.
    """
    home = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([home, *filter(None, sys.path)])}
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        for _ in range(count)
    ]
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)
    try:
        yield idle
    finally:
        for worker in workers:
            with suppress(OSError), worker:  # closes its input, at which it ends
                pass


def _ask(idle: SimpleQueue[Worker], task: tuple[Any, ...]) -> Span:
    """Have a worker process run `write_span`."""
    worker = idle.get()
    try:
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(json.dumps(task) + "\n")
        worker.stdin.flush()
        answer = json.loads(worker.stdout.readline())
    except (ValueError, BrokenPipeError) as error:  # no answer: it is dead
        raise WorkerDied from error
    finally:
        idle.put(worker)
    if isinstance(answer, str):
        raise OSError(answer)
    return answer[0], answer[1]


class WorkerDied(Exception):
    """A worker process ended before its work was done."""


def write_span(part: str, start: int, first: int, paths: Sequence[str], size: int) -> Span:
    """Decode images and write them to rows `first`, `first` + 1, … of the file."""
    pixels = np.zeros((len(paths), 3, size, size), np.uint8)
    faults = {}
    for place, path in enumerate(paths):
        try:
            pixels[place] = read_pixels(path, size)
        except DataError as error:
            faults[str(first + place)] = str(error)
    with open(part, "rb+") as file:
        file.seek(start + first * pixels[0].nbytes)
        file.write(pixels.data)
    return zlib.crc32(pixels.data), faults


def _serve() -> None:
    """Run a worker process: decode a span for each line of its input, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    for line in sys.stdin:
        try:
            answer: Any = write_span(*json.loads(line))
        except OSError as error:
            answer = error.strerror or str(error)
        try:
            print(json.dumps(answer), flush=True)
        except BrokenPipeError:  # the parent was killed, and nobody reads the answer
            os._exit(1)


if __name__ == "__main__":
    _serve()
