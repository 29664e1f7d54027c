"""The command `mmret`: demo, data, features, train, evaluate, search, index, app and some more.

Nothing here but parsing and calling: `flags` has the flags that several commands share, `opening`
reads what a command names, `starting` what a training starts from, `stopping` says what is kept
of one that is stopped, `help` mends the texts of --help, and `data`, `training`, `searching`,
`making` (what the course shows and ships), `engine` (what a student wrote) and `grading` (what a
class handed in) have the commands, grouped by what a user does.
Every flag is a parameter of a command or a field of `TrainConfig`; `mmret COMMAND --help` lists
them. torch and transformers are imported inside the commands, so that help and errors come at once.
"""

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

try:
    from tyro.extras import SubcommandApp
except ModuleNotFoundError:  # as in Colab's image: the library runs there, but not this command
    raise SystemExit("mmret: the command line needs tyro: pip install tyro") from None

from mmret_lib.cli.data import prepare, show_cache
from mmret_lib.cli.engine import engine
from mmret_lib.cli.flags import types
from mmret_lib.cli.grading import grade
from mmret_lib.cli.help import join_lines
from mmret_lib.cli.making import demo, experiments, pretrain
from mmret_lib.cli.searching import explore, make_index, search
from mmret_lib.cli.stopping import TYPED, Terminated
from mmret_lib.cli.training import evaluate, features, train
from mmret_lib.files.errors import DataError, visible
from mmret_lib.files.output import accept_all_characters

COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": demo,
    "data": prepare,
    "train": train,
    "features": features,
    "evaluate": evaluate,
    "search": search,
    "index": make_index,
    "app": explore,
    "pretrain": pretrain,
    "experiments": experiments,
    "cache": show_cache,
    "engine": engine,
    "grade": grade,
}

app = SubcommandApp()
for name, command in COMMANDS.items():
    join_lines(command)
    app.command(name=name)(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error that the user can fix is one line, without a traceback."""
    accept_all_characters()
    TYPED[:] = sys.argv[1:] if arguments is None else arguments
    warnings.showwarning = lambda message, *_: print(
        f"warning: {visible(str(message))}", file=sys.stderr
    )
    try:
        with types:
            app.cli(
                prog="mmret",
                args=arguments,
                description="Build and try an image-text retrieval system.",
            )
    except (DataError, FloatingPointError, OSError) as error:
        if os.environ.get("MMRET_TRACEBACK"):
            raise
        print(f"mmret: {visible(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        kept = str(stop) or "what is written is whole, and the same command does the rest"
        print(f"\nmmret: stopped; {visible(kept)}", file=sys.stderr)
        sys.exit(143 if isinstance(stop, Terminated) else 130)
