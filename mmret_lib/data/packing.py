"""Decode photos into one array on disk, on all processor cores; continue an interrupted call.

The array is written in spans of images (`spans`). A worker decodes a span, writes it to its place
in the file and answers with its checksum and the hashes of its pixels (`pixel_hash`).

Nothing here imports torch: a worker process should start in a moment.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mmret_lib.data.images import read_pixels
from mmret_lib.data.pixel_hash import UNKNOWN, Hashes, pixel_hashes
from mmret_lib.data.spans import Span, Unfinished, fill, write_rows
from mmret_lib.files.errors import DataError

SPAN = 64  # images that share a task and a checksum
FEW = 4 * SPAN  # images that are decoded sooner than a second process starts

Worker = subprocess.Popen[str]
Decoded = tuple[int, dict[str, str], list[int]]  # a span, and the hashes of its pixels


def decode_into(
    target: Path,
    images: Sequence[Path],
    size: int,
    *,
    known: dict[int, Span],
    workers: int | None,
    progress: bool,
) -> tuple[dict[str, Any], Hashes]:
    """Decode `images` into `target`, uint8 (N, 3, size, size), row i from image i.

    `known` are spans that `target` should hold already, from a manifest; `workers` and `progress`
    are as in `pack`.

    Returns:
        The file's entry in the store's manifest: that of `entry_of`, with the number of `rows`,
        and `unreadable`: row -> reason. And the hash of each row's pixels, uint64 (N,).

    Raises:
        DataError: the disk is full, or a worker died; the next call continues.
    """
    tasks = [images[first : first + SPAN] for first in range(0, len(images), SPAN)]
    hashes: dict[int, list[int]] = {}

    def work(file: Unfinished, todo: list[int]) -> Iterator[tuple[int, Span]]:
        decoded = _decode({k: tasks[k] for k in todo}, file, size, workers)
        for k, (checksum, faults, hashes[k]) in decoded:
            yield k, (checksum, faults)

    try:
        entry = fill(
            target,
            (len(images), 3, size, size),
            np.uint8,
            SPAN,
            work,
            known=known,
            task="packing images",
            unit="images",
            progress=progress,
        )
    except WorkerDied:
        raise DataError(
            f"a process that packs images into {target.parent} died. What is packed so far is "
            "kept: call again; if memory ran out, end other programs (or in Python, workers=1)."
        ) from None
    pixels = np.load(target, mmap_mode="r")
    earlier = [k for k in range(len(tasks)) if k not in hashes]  # decoded by another call
    for k in tqdm(earlier, desc="hashing images", disable=not progress, leave=False, delay=2):
        hashes[k] = pixel_hashes(pixels[k * SPAN : (k + 1) * SPAN]).tolist()
    rows = [row for k in range(len(tasks)) for row in hashes[k]]
    for row in entry["unreadable"]:
        rows[int(row)] = UNKNOWN
    return entry, np.array(rows, np.uint64)


def _decode(
    todo: dict[int, Sequence[Path]], file: Unfinished, size: int, workers: int | None
) -> Iterator[tuple[int, Decoded]]:
    """Decode spans in any order; each comes as soon as it is in the file."""
    tasks = {k: (str(file.path), file.start, k * SPAN, list(map(str, todo[k])), size) for k in todo}
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
    """Start processes that run `serve`; they end with the block, or with this process.

    Python's process pools would read the caller's script again in each worker, which scripts
    without a main guard do not survive, and forking is not safe beside torch's threads.
    """
    home = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([home, *filter(None, sys.path)])}
    workers = [
        subprocess.Popen(
            # Not "-m": where the package itself imports this module, Python warns of that.
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
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


def _ask(idle: SimpleQueue[Worker], task: tuple[Any, ...]) -> Decoded:
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
    return answer[0], answer[1], answer[2]


class WorkerDied(Exception):
    """A worker process ended before its work was done."""


def write_span(part: str, start: int, first: int, paths: Sequence[str], size: int) -> Decoded:
    """Decode images, hash them, and write them to rows `first`, `first` + 1, … of the file."""
    pixels = np.zeros((len(paths), 3, size, size), np.uint8)
    faults = {}
    for place, path in enumerate(paths):
        try:
            pixels[place] = read_pixels(path, size)
        except DataError as error:
            faults[str(first + place)] = str(error)
    hashes = pixel_hashes(pixels).tolist()
    return write_rows(part, start + first * pixels[0].nbytes, pixels), faults, hashes


def serve() -> None:
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
