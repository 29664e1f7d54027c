"""Show the library's source in a lesson, and read recorded results."""

import inspect
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Markdown

from mmret_lib.files.places import shipped

ROOT = Path(__file__).resolve().parents[2]


def show_source(subject: Any) -> Markdown:
    """Show the source of a function, class, method or module, with its file and line.

    It is read from the running library, so a lesson never shows code that has since changed.

    Returns:
        Markdown, which a notebook renders where it is the last line of a cell.

    Raises:
        TypeError: something without Python source, such as a number or an instance.
    """
    subject = inspect.unwrap(subject) if callable(subject) else subject
    lines, first = inspect.getsourcelines(subject)
    file = Path(inspect.getsourcefile(subject) or "")
    place = file.relative_to(ROOT) if file.is_relative_to(ROOT) else Path(file.name)
    source = textwrap.dedent("".join(lines)).rstrip()
    title = f"`{place.as_posix()}`, from line {max(first, 1)}:"
    return Markdown(f"{title}\n\n```python\n{source}\n```")  # type: ignore[no-untyped-call] # IPython


def read_results(name: str) -> pd.DataFrame:
    """Read the recorded results that `mmret experiments` measured.

    Args:
        name: of a study: the file is ``data/results/{name}.csv``.

    Raises:
        MissingFile: the course has no such file.
    """
    return pd.read_csv(shipped(f"results/{name}.csv", "`mmret experiments` measures it again."))
