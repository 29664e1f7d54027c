"""What a student's code may reach: modules, files, the network, time and memory.

`Guard` gives the code builtins of its own, which refuse and remember what no answer needs.
`shut_in` does what the system can do for a process: limits, a folder of its own, no network. None
of this is a prison: code that breaks out of Python can read, and through C++ write, what the user
who marks can. Mark the work of strangers in a container, or as a user who owns nothing.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import importlib
import os
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmret_lib.grading.calls import Shared
from mmret_lib.grading.screen import ATTRIBUTES, NAMES

PLAIN = (torch.Tensor, bool, int, float, str, np.ndarray)  # what results are made of
ALLOWED = {
    *("__future__", "abc", "bisect", "cmath", "collections", "contextlib", "copy", "dataclasses"),
    *("decimal", "enum", "fractions", "functools", "hashlib", "heapq", "io", "itertools", "json"),
    *("math", "numbers", "numpy", "operator", "os", "pathlib", "pickle", "random", "re", "secrets"),
    *("shutil", "statistics", "string", "tempfile", "time", "torch", "typing", "uuid", "warnings"),
    "zipfile",
}
# What an exercise offers to those who could not do its first task, and which task that is.
STAND_INS = {
    "mmret_lib.losses.base.similarities": "cosine_similarity_matrix",
    "mmret_lib.losses.barlow.standardise": "standardise",
}
PROCESSES = ("subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork")
CHANGES = {
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"),
    *("os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile"),
}
# What may be unpickled: pieces of a training's state, and nothing that calls.
UNPICKLED = {"collections", "torch", "numpy", "_codecs", "copyreg", "pathlib"}
OTHERS = (".ipynb", ".csv", ".html", "my_retrieval.py")  # files of other students, and of marking
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Refused(ImportError):
    """Raised within a student's code that reaches for what no answer needs."""


class Withheld:
    """Stands for a module, or something in it, that the code imported and may not use."""

    def __init__(self, name: str, guard: Guard) -> None:
        self._name, self._guard = name, guard

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Withheld(f"{self._name}.{name}", self._guard)

    def __mro_entries__(self, bases: Any) -> tuple[type, ...]:
        """Leave it out of the bases of a class that the code derives from it."""
        return ()

    def __getitem__(self, key: Any) -> Any:
        """Refuse."""
        self._guard.refuse(f"it uses {self._name}")

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Refuse, or pass the call on to what the exercise itself offers."""
        replaced = STAND_INS.get(self._name)
        if replaced and replaced != self._guard.task:
            module, _, name = self._name.rpartition(".")
            return getattr(importlib.import_module(module), name)(*args, **named)
        self._guard.refuse(f"it uses {self._name}")


class Guard:
    """The builtins of one submission, and what was refused to it.

    Attributes:
        shared: what the code may use, and not replace.
        task: the function that is tested.
        refused: what the code reached for and did not get.
        engine: the module that stands for the student's `my_retrieval`, if it was handed in.
        kinds: the classes of plain results that there were before the student's code.
    """

    def __init__(self, task: str, engine: types.ModuleType | None = None) -> None:
        self.task, self.engine = task, engine
        self.refused: list[str] = []
        self.shared = Shared()
        self.kinds = {kind for plain in PLAIN for kind in with_subclasses(plain)}
        self.builtins = {
            name: value for name, value in vars(builtins).items() if name not in NAMES
        } | {
            "__import__": self.imported,
            "getattr": self.get,
            "setattr": self.set,
            "delattr": self.delete,
        }

    def note(self, what: str) -> None:
        """Remember what costs the points, once."""
        if what not in self.refused:
            self.refused.append(what)

    def look(self) -> None:
        """Remember what of the shared modules has been replaced."""
        for change in self.shared.changes():
            self.note(change)

    def refuse(self, what: str) -> None:
        """Remember what was refused, and raise Refused."""
        self.note(what)
        raise Refused(what)

    def imported(
        self, name: str, space: Any = None, local: Any = None, names: Any = (), level: int = 0
    ) -> Any:
        """Import as Python does; what is not on the list becomes a stand-in."""
        root = name.partition(".")[0]
        if bad := sorted(ATTRIBUTES & {*name.split(".")[1:], *(names or ())}):
            self.refuse(f"it imports {bad[0]} from {root}")
        if root == "my_retrieval" and self.engine is not None:
            return self.engine
        if level or root not in ALLOWED:
            return Withheld(name if names else root, self)
        return __import__(name, {}, {}, names or (), 0)

    def get(self, value: Any, name: str, *default: Any) -> Any:
        """Do as getattr."""
        if name in ATTRIBUTES:
            self.refuse(f"it uses {name}")
        return getattr(value, name, *default)

    def set(self, value: Any, name: str, new: Any) -> None:
        """Do as setattr, but on nothing that all code shares."""
        if isinstance(value, types.ModuleType | type):
            self.refuse(f"it changes {getattr(value, '__name__', value)}.{name}")
        setattr(value, name, new)

    def delete(self, value: Any, name: str) -> None:
        """Do as delattr, but on nothing that all code shares."""
        if isinstance(value, types.ModuleType | type):
            self.refuse(f"it changes {getattr(value, '__name__', value)}.{name}")
        delattr(value, name)

    def watch(self, folder: Path) -> None:
        """Refuse processes, the network, and writing outside of a folder, from now on.

        It holds for this process until it ends, for whatever goes through Python's own functions.
        """

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event.startswith(PROCESSES) or event in ("os.kill", "os.killpg"):
                self.refuse("it starts or ends a process")
            elif event.startswith("socket."):
                self.refuse("it opens a connection")
            elif event == "open":
                writes = isinstance(args[2], int) and args[2] & WRITING
                (self._inside if writes else self._own)(args[0], folder)
            elif event in CHANGES:
                for path in args[:2]:
                    self._inside(path, folder)
            elif event == "pickle.find_class" and root_name(args[0]) not in UNPICKLED:
                self.refuse(f"it unpickles {args[0]}.{args[1]}")

        sys.addaudithook(hook)

    def _inside(self, path: Any, folder: Path) -> None:
        real = real_path(path)
        if real and not Path(real).is_relative_to(folder) and real != os.devnull:
            self.refuse(f"it changes a file outside of its folder, {os.path.basename(real)}")

    def _own(self, path: Any, folder: Path) -> None:
        real = real_path(path)
        of_others = real.endswith(OTHERS) or real.startswith("/proc/")
        if of_others and not Path(real).is_relative_to(folder):
            self.refuse(f"it reads {os.path.basename(real)}, which is not its own")


def real_path(path: Any) -> str:
    """Return the absolute path of a file, links followed; "" for one that is open already."""
    if not isinstance(path, str | bytes | os.PathLike):
        return ""
    return os.path.realpath(os.fsdecode(path))


def root_name(module: object) -> str:
    """Return the package that a module belongs to."""
    return str(module).partition(".")[0]


def with_subclasses(kind: type) -> Iterator[type]:
    """Yield a class and all that derive from it."""
    yield kind
    each: type
    for each in type.__subclasses__(kind):
        yield from with_subclasses(each)


def shut_in(folder: Path, seconds: int, megabytes: int) -> bool:
    """Give this process limits, a folder of its own, no output and, where it can be, no network.

    Args:
        folder: the working folder, for temporary files and what else the code writes.
        seconds: of computing.
        megabytes: that it may reserve beyond what it has now. Linux holds a process to that;
            macOS does not.

    Returns:
        Whether the system keeps the process from any network.
    """
    import resource

    silence = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(silence, number)
    sys.stdin, sys.stdout, sys.stderr = (open(os.devnull, how) for how in "rww")  # noqa: SIM115
    os.chdir(folder)
    tempfile.tempdir = str(folder)
    keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    os.environ.clear()
    os.environ.update(keep, HOME=str(folder), TMPDIR=str(folder), CUDA_VISIBLE_DEVICES="")
    sys.dont_write_bytecode = True
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 256 * 2**20,
        resource.RLIMIT_CORE: 0,
    }
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + megabytes * 2**20
    for kind, most in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))
    return _without_network()


def _without_network() -> bool:
    """Move this process into a network without any interface; False where that is not allowed."""
    own_user, own_network = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET: see unshare(2)
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).unshare(own_user | own_network) == 0)
    except AttributeError:
        return False
