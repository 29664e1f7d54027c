"""Watch a student's function while it is called: what it uses of the library, and what it changes.

`screen` and `guard` go by names, and a name can be hidden. What runs cannot: a frame of the library
is seen here whatever way led to it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from operator import is_
from types import CodeType, FrameType
from typing import Any

import torch

import mmret_lib

PACKAGE = os.path.dirname(str(mmret_lib.__file__)) + os.sep
OURS = tuple(PACKAGE + room + os.sep for room in ("checks", "grading", "files"))
SHARED = (
    *("torch", "torch.nn.functional", "torch.linalg", "torch.autograd", "math", "builtins", "os"),
    *("numpy", "copy"),
)
KINDS = (torch.Tensor, torch.nn.Module)
OWN_CHANGES = {"shift", "__annotations__", "__warningregistry__"}  # the first is that of the seeds


@contextlib.contextmanager
def library_unused(
    caller: CodeType, formulas: set[CodeType], found: Callable[[str], None]
) -> Iterator[None]:
    """Report, while the block runs, what of the library a student's code calls.

    What the checks hand over or offer may call the library; that is not the student's doing.

    Args:
        caller: the code that calls the student's function.
        formulas: right answers of the checks, which count as the library.
        found: called with what was used, in words.
    """

    def at_call(frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        file = code.co_filename
        if event != "call" or not file.startswith(PACKAGE) or code.co_name == "<module>":
            return
        if code not in formulas and file.startswith(OURS):
            return
        back = frame.f_back
        while back and not back.f_code.co_filename.startswith(PACKAGE):
            back = back.f_back
        if back and back.f_code is caller:
            module = file.removeprefix(PACKAGE).removesuffix(".py").replace(os.sep, ".")
            found(f"it calls {code.co_qualname} of mmret_lib.{module}")

    if sys.getprofile() is not None:  # a check watches the call itself
        yield
        return
    sys.setprofile(at_call)
    try:
        yield
        # Not asked after an error: Python ends the watch itself if too deep a recursion, or the end
        # of the time, is noticed within at_call.
        if sys.getprofile() is not at_call:
            found("it ends the watch over its calls")
    finally:
        sys.setprofile(None)


class Shared:
    """The modules and classes that all code shares, and what of them has been replaced."""

    def __init__(self) -> None:
        """Look at what has which name now."""
        ours = [name for name in sys.modules if name.startswith("mmret_lib.checks.engine")]
        self.places: dict[str, Mapping[str, Any]] = {
            name: vars(sys.modules[name]) for name in (*SHARED, *ours)
        }
        self.places |= {f"torch.{kind.__name__}": vars(kind) for kind in KINDS}
        self.before = {place: dict(names) for place, names in self.places.items()}

    def changes(self) -> list[str]:
        """Say what is replaced since the last look. Fast, as it is asked at each call."""
        found = []
        for place, names in self.places.items():
            was = self.before[place]
            if len(names) == len(was) and all(map(is_, names.values(), was.values())):
                continue
            replaced = [name for name in was if names.get(name) is not was[name]]
            found += [f"it changes {place}.{name}" for name in replaced if name not in OWN_CHANGES]
            self.before[place] = dict(names)  # torch adds names when they are first used
        return found
