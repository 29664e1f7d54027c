"""An index whose process is killed at random moments."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.kill
@pytest.mark.parametrize("task", ["index-build", "index-grow", "photos-shrink"])
def test_an_index_that_was_killed_is_whole_and_goes_on(task):
    """Twice here; `python benchmarks/kills.py --kills 30` does it as often as one likes.

    Of the tasks on a folder of photos, the one that both drops some and embeds some.
    """
    if task.startswith("index"):
        pytest.importorskip("faiss")
        pytest.importorskip("pymilvus")
    command = [sys.executable, ROOT / "benchmarks" / "kills.py", "--kills", "2", "--tasks", task]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)
    assert f"| {task} | 2 | 2 | 2 |" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
