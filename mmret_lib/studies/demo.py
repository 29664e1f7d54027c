"""The demo (`mmret demo`): first real photographs, in seconds, then the drawn world.

`demo_album` trains on kept features of real photographs and searches the album that the course
ships; `demo_world` trains both branches on the drawn world.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mmret_lib.data.world.scenes import SLIDE_QUERIES
from mmret_lib.files.output import say
from mmret_lib.files.places import user_path
from mmret_lib.losses import LOSSES
from mmret_lib.metrics.report import Report
from mmret_lib.studies.demo_album import demo_album
from mmret_lib.studies.demo_world import demo_world
from mmret_lib.training.config import TrainConfig
from mmret_lib.training.recipes import build_loss

FIRST = "simclr"  # trained first if it is among the losses, and the one whose answers are shown


def run_demo(
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    size: int | None = None,
    losses: Sequence[str] = (),
) -> dict[str, dict[str, Report]]:
    """Train several losses on real photographs and on the drawn world; print tables, draw figures.

    Args:
        out: folder for the tables (CSV, JSON) and figures (PNG), and one run folder per loss for
            `mmret search` and `mmret evaluate`; those of the real photographs go to `out`/album.
        config: of the trainings on the drawn world. Each loss gets the learning rates that the
            search chose for it, unless a rate is given.
        size: training scenes of the drawn world; None takes all 8,000.
        losses: their names, by default the course's four.

    Returns:
        "album" and "scenes" -> loss -> its report on the test split.

    Raises:
        DataError: no loss of such a name.
    """
    out = user_path(out)
    names = list(dict.fromkeys(losses)) or list(LOSSES)
    for name in names:
        build_loss(name)
    names.sort(key=lambda name: name != FIRST)
    reports = {
        "album": demo_album(out / "album", names),
        "scenes": demo_world(out, config, size=size, losses=names),
    }
    here = sys.argv[0] if Path(sys.argv[0]).name == "mmret" else "mmret"
    query = next(iter(SLIDE_QUERIES))
    say(
        "\nSearch the photographs, the drawings, and your own pictures:\n"
        f'  {here} search {out / "album" / "runs" / names[0]} "{query}"\n'
        f'  {here} search {out / "runs" / names[0]} "{query}"\n'
        f"  {here} app --photos FOLDER"
    )
    return reports
