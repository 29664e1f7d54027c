"""The command for students: engine."""

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from mmret_lib.files.errors import MissingFile
from mmret_lib.files.places import user_path

FILE = tyro.conf.arg(metavar="[FILE]", help_behavior_hint="")


def engine(file: Annotated[Positional[Path | None], FILE] = None) -> None:
    """List which functions of the exercises are in your my_retrieval.py, and which are missing.

    A check that passes in a notebook of exercises/ writes your function into that file.

    Args:
        file: by default my_retrieval.py in this folder, or else in the course's folder exercises.
    """
    from mmret_lib.checks.my_retrieval import engine_file, engine_table

    if file is not None and not (file := user_path(file)).is_file():
        raise MissingFile(f"there is no file {file}")
    print(engine_table(file or engine_file()))
