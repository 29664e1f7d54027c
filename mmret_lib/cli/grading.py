"""The command for whoever teaches: grade."""

import signal
import sys
import threading
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from mmret_lib.cli.stopping import Terminated
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import user_path


def grade(
    folder: Positional[Path],
    exercise: str,
    out: Path | None = None,
    seed: str = "",
    jobs: int = 2,
    seconds: int = 60,
    memory: int = 1024,
) -> None:
    """Mark the submissions of an exercise: a sheet (CSV), and a page of feedback for each student.

    Each function is tested in a process of its own, by the notebook's check and with other
    numbers. The students' code runs with your rights, though with limits and without a network:
    mark the work of strangers in a container. It needs Linux; macOS has what it uses, but it was
    not tried there.

    Args:
        folder: of the submissions, with a folder or a notebook for each student.
        exercise: its number or name, such as 04.
        out: folder for marks.csv and feedback/; by default marks/ and the exercise's name.
        seed: any text; with a student's name it decides over the numbers of the hidden checks.
        jobs: how many processes at a time; as many as the machine has cores is fastest.
        seconds: that one function may take.
        memory: megabytes that one function may take beyond what torch takes (on Linux).
    """
    if seconds < 6 or memory < 64:
        raise DataError("--seconds is at least 6, and --memory at least 64")
    from tqdm import tqdm

    from mmret_lib.grading.judge import Limits
    from mmret_lib.grading.run import grade_folder

    def terminate(*_: Any) -> None:
        raise Terminated

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)
    tqdm.monitor_interval = 0  # its thread would be in the way of the forks
    bar = tqdm(desc="marking", unit="student", disable=None)

    def progress(done: int, of: int) -> None:
        bar.total = of
        bar.update(done - bar.n)

    try:
        grading = grade_folder(
            user_path(folder),
            exercise,
            out and user_path(out),
            seed=seed,
            jobs=jobs,
            limits=Limits(seconds, memory),
            progress=progress,
        )
    except KeyboardInterrupt as stop:
        of = f" of {bar.total}" if bar.total else ""
        text = f"the sheet has the {bar.n}{of} that are marked; the same command marks all again"
        raise type(stop)(text) from None
    finally:
        bar.close()
    noted = [one for one in grading.marked if one.remarks]
    print(f"{grading.sheet}: {len(grading.marked)} students, {len(noted)} with a remark")
    print(f"{grading.sheet.parent / 'feedback'}: a page for each of them")
    if not grading.network:
        print(
            "The system did not let the processes be cut off from the network, so only Python's "
            "own functions refused it.",
            file=sys.stderr,
        )
