"""What a training says when it is stopped: what is kept, and the command that goes on with it."""

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TYPED: list[str] = []  # what stands after "mmret" on the command line; `main` fills it


class Terminated(KeyboardInterrupt):
    """SIGTERM, with which a cluster's scheduler or `kill` ends a process."""


def command_line() -> str:
    """Return the command as it was typed."""
    return shlex.join(["mmret", *TYPED])


@contextmanager
def stopped_training(out: Path, *, first: bool, command: str) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM inside the block say what of the training in `out` is kept.

    Args:
        first: whether this is the process that speaks for all that train together.
        command: that goes on with the training; "" where it is not known.
    """

    def terminate(*_: Any) -> None:
        raise Terminated

    handles = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminate) if handles else None
    try:
        yield
    except KeyboardInterrupt as stop:
        from mmret_lib.training.record import how_far, how_to_go_on

        text = f"kept is {how_far(out)}. {how_to_go_on(out, command)}" if first else ""
        raise type(stop)(text) from None
    finally:
        if handles:
            signal.signal(signal.SIGTERM, before)
