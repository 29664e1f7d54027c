"""Hide from Python what Colab's image does not hold. Python itself imports this when it starts.

`notebooks/colab.py` puts this folder on the PYTHONPATH of the kernels, and processes that lessons
start inherit it. A package that tests/colab.txt does not name is then not there: `import` fails,
`find_spec` finds nothing and `importlib.metadata` knows no version of it, as on Colab. A clone that
is installed in editable form is hidden, too: the set-up cell must bring the course.
"""

import os
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

IMAGE_FILE = Path(__file__).resolve().parents[1] / "colab.txt"
HIDDEN = "MMRET_HIDDEN_MODULES"  # the modules, for processes started later: listing them takes time
ALSO = "MMRET_ALSO_ON_COLAB"  # further packages that stay in sight


def canonical(name: str) -> str:
    """The form in which the names of two packages are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_image() -> dict[str, str]:
    """The packages of the image and their versions, "" where the list has none."""
    lines = IMAGE_FILE.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {canonical(name): version for name, _, version in pairs}


def modules_to_hide(there: Iterable[str]) -> set[str]:
    """Top-level modules that belong to installed packages, but to none of those that are there."""
    packages = {canonical(name) for name in there}
    return {
        module
        for module, owners in metadata.packages_distributions().items()
        if not any(canonical(owner) in packages for owner in owners)
    } - {"mmret_lib"}


def install() -> None:
    """Hide the packages, in this process and in those it starts."""
    there = {*read_image(), *os.environ.get(ALSO, "").split()}
    if HIDDEN not in os.environ:
        os.environ[HIDDEN] = " ".join(sorted(modules_to_hide(there)))
    hidden = set(os.environ[HIDDEN].split())

    class ImageFinder(PathFinder):
        """Finds modules and packages in folders, but for those that are hidden."""

        @classmethod
        def find_spec(cls, fullname: str, path=None, target=None) -> ModuleSpec | None:
            if fullname.partition(".")[0] in hidden:
                return None
            return super().find_spec(fullname, path, target)

        @staticmethod
        def find_distributions(*context: metadata.DistributionFinder.Context):
            found = PathFinder.find_distributions(*context)
            return (one for one in found if canonical(one.metadata["Name"]) in there)

    sys.meta_path[sys.meta_path.index(PathFinder)] = ImageFinder
    asked = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [
        p for p in sys.path if p in asked or not Path(p, "mmret_lib/__init__.py").exists()
    ]


if __name__ == "sitecustomize":  # as Python imports it, and not by a test under another name
    install()
