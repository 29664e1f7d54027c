"""Stop a student's function that never ends."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator

import torch


@functools.cache
def load_lazy_parts() -> None:
    """Let torch load what it loads no earlier than at its first meta tensor or checkpoint.

    That takes a second, or many under load, which are not a student's. Where the time limit stopped
    it, torch would be left half loaded.
    """
    torch.ones(1, device="meta").exp()


class TooLong(BaseException):
    """Raised within a function that has run out of time; no `except Exception` catches it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooLong in this thread if the block takes longer.

    It reaches Python code alone, between two of its steps. No signals are used, so it works on all
    systems and in any thread, and leaves an alarm of the caller as it is.
    """
    lock, here, done = threading.Lock(), threading.get_ident(), False

    def stop() -> None:
        with lock:
            if not done:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(here), ctypes.py_object(TooLong)
                )

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            done = True
        timer.cancel()
