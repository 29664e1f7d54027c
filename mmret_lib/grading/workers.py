"""Run calls in processes of their own, a few at a time, each with an end."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmret_lib.files.errors import DataError

MOST = 2**20  # bytes that a call may answer
GRACE = 5  # seconds beyond a call's own limit


@dataclass
class Running:
    """A call that has not answered yet."""

    job: Any
    process: int
    pipe: int
    token: bytes
    folder: Path
    end: float
    answer: bytearray = field(default_factory=bytearray)


def run_all(
    jobs: Iterable[Any], call: Callable[[Any, Path], dict[str, Any]], *, workers: int, seconds: int
) -> Iterator[tuple[Any, dict[str, Any] | str]]:
    """Run `call(job, folder)` for each job, in a process that is forked from this one.

    So each has what this process has imported, and nothing of another call. The answer counts only
    behind a token that the call does not know, so what else is written into the pipe is seen.

    Args:
        jobs: what to call with.
        call: returns what JSON can say; `folder` is an empty one of its own, deleted afterwards.
        workers: how many processes at a time.
        seconds: after which a process is ended.

    Yields:
        Each job with the answer, in the order in which they end; or in words what ended it.

    Raises:
        DataError: the system has no fork.
    """
    if not hasattr(os, "fork"):
        raise DataError(
            "mmret grade starts its processes by fork, which Windows does not have: run it in WSL, "
            "on Linux or on macOS"
        )
    waiting, running = iter(jobs), list[Running]()
    try:
        while True:
            while len(running) < workers and (job := next(waiting, None)) is not None:
                running.append(_start(job, call, seconds))
            if not running:
                return
            ready, _, _ = select.select([one.pipe for one in running], [], [], 0.5)
            for one in list(running):
                ended = one.pipe in ready and not _read(one)
                if ended or time.monotonic() > one.end:
                    running.remove(one)
                    yield one.job, _finish(one, seconds)
    finally:
        for one in running:
            _finish(one, seconds)


def _start(job: Any, call: Callable[[Any, Path], dict[str, Any]], seconds: int) -> Running:
    token = secrets.token_bytes(16)
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="mmret-grade-")))
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.closerange(3, writing)
            os.closerange(writing + 1, 4096)
            answer = json.dumps(call(job, folder)).encode()
            view = memoryview(token + answer)
            while view:
                view = view[os.write(writing, view) :]
        finally:
            os._exit(0)
    os.close(writing)
    return Running(job, process, reading, token, folder, time.monotonic() + seconds + GRACE)


def _read(one: Running) -> bool:
    """Read what is there; False at the end."""
    part = os.read(one.pipe, 65536)
    one.answer += part
    return bool(part) and len(one.answer) < MOST


def _finish(one: Running, seconds: int) -> dict[str, Any] | str:
    """End a process and all that it has started, and return its answer or what ended it."""
    late = time.monotonic() > one.end
    for end in (os.killpg, os.kill):  # the second for one that has no group of its own yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(one.process, signal.SIGKILL)
    _, status = os.waitpid(one.process, 0)
    os.close(one.pipe)
    shutil.rmtree(one.folder, ignore_errors=True)
    if one.answer.startswith(one.token):
        with contextlib.suppress(ValueError):
            found = json.loads(one.answer[len(one.token) :])
            if isinstance(found, dict):
                return found
    if late:
        return f"it was ended after {seconds} seconds"
    if one.answer:
        return "it wrote into the channel of the marks"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return f"it was ended after {seconds} seconds of computing"
        return f"its process was ended by {signal.Signals(number).name}"
    return "it ended its process before the end of the check"
