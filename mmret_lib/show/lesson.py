"""What the lessons need to show the library itself, and to read what was recorded before."""

import inspect
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Markdown

from mmret_lib.files.places import shipped

ROOT = Path(__file__).resolve().parents[2]


def show_source(subject: Any) -> Markdown:
    """The source of a function, class, method or module of the library, with its file's name.

    It is read from the running library, so a lesson cannot show code that has since changed. Use
    it as the last line of a cell.

    Raises:
        TypeError: something without Python source, such as a number or an instance.
    """
    subject = inspect.unwrap(subject) if callable(subject) else subject
    lines, first = inspect.getsourcelines(subject)
    file = Path(inspect.getsourcefile(subject) or "")
    place = file.relative_to(ROOT) if file.is_relative_to(ROOT) else Path(file.name)
    source = textwrap.dedent("".join(lines)).rstrip()
    return Markdown(f"`{place.as_posix()}`, from line {max(first, 1)}:\n\n```python\n{source}\n```")


def read_results(name: str) -> pd.DataFrame:
    """The recorded results ``data/results/{name}.csv``, which `mmret experiments` measured.

    Raises:
        MissingFile: no such file travels with the course.
    """
    return pd.read_csv(shipped(f"results/{name}.csv", "`mmret experiments` measures it again."))
