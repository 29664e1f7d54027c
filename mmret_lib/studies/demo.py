"""The demo (`mmret demo`): first real photographs, in seconds, then the drawn world.

`demo_album` trains on kept features of real photographs and searches the album that the course
ships; `demo_world` trains both branches on the drawn world.
"""

import sys
from pathlib import Path

from mmret_lib.data.world.scenes import SLIDE_QUERIES
from mmret_lib.files.output import say
from mmret_lib.files.places import user_path
from mmret_lib.metrics.report import Report
from mmret_lib.studies.demo_album import demo_album
from mmret_lib.studies.demo_world import demo_world
from mmret_lib.training.config import TrainConfig


def run_demo(
    out: str | Path, config: TrainConfig | None = None, *, size: int | None = None
) -> dict[str, dict[str, Report]]:
    """Train every loss on real photographs and on the drawn world; print tables, draw figures.

    Args:
        out: folder for the tables (CSV, JSON) and figures (PNG), and one run folder per loss for
            `mmret search` and `mmret evaluate`; those of the real photographs go to `out`/album.
        config: of the trainings on the drawn world, the same for every loss.
        size: training scenes of the drawn world; None takes all 8,000.

    Returns:
        "album" and "scenes" -> loss -> its report on the test split.
    """
    out = user_path(out)
    reports = {"album": demo_album(out / "album"), "scenes": demo_world(out, config, size=size)}
    here = sys.argv[0] if Path(sys.argv[0]).name == "mmret" else "mmret"
    query = next(iter(SLIDE_QUERIES))
    say(
        "\nSearch the photographs, the drawings, and your own pictures:\n"
        f'  {here} search {out / "album" / "runs" / "simclr"} "{query}"\n'
        f'  {here} search {out / "runs" / "simclr"} "{query}"\n'
        f"  {here} app --photos FOLDER"
    )
    return reports
