"""See what stands at a path at every moment while a function writes it.

A process may be killed between any two of its steps. So at each call that the function makes, and
at each return, it is noted what a reader would find under the name then.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

Sign = tuple[int, int] | None  # size and time of a file; None: there is none
LONG_AGO = 1_000_000_000  # seconds; so that a file written anew has another time


def sign_of(path: str | os.PathLike[str]) -> Sign:
    """Tell one content of a file from another, without reading it."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


class Watch:
    """What stood at a path while the block ran.

    Attributes:
        stood: the contents, in order; the first from before the block, the last from after it.
        renamed: whether the last one stood in the same folder under another name first.
    """

    def __init__(self, path: Path) -> None:
        """Watch a path; a file that is there gets an old date."""
        self.path = path
        self.stood: list[Sign] = []
        self.renamed = False
        self.beside: set[Sign] = set()
        if path.exists():
            os.utime(path, (LONG_AGO, LONG_AGO))

    def __enter__(self) -> Watch:
        """Begin."""
        self.look()
        self.before = sys.getprofile()
        sys.setprofile(self._at_call)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, and look once more."""
        sys.setprofile(self.before)
        self.look()

    def _at_call(self, frame: FrameType, event: str, arg: Any) -> None:
        self.look()

    def look(self) -> None:
        """Note what stands there now, if it is something else than at the last look."""
        sign = sign_of(self.path)
        if not self.stood or sign != self.stood[-1]:
            self.stood.append(sign)
            self.renamed = sign in self.beside
        try:
            with os.scandir(self.path.parent) as entries:
                self.beside = {sign_of(each) for each in entries if each.name != self.path.name}
        except OSError:
            self.beside = set()
