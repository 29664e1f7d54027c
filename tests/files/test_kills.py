"""A session that is killed while it loads batches goes on at the next one.

Fetching, unpacking and packing are killed in their own tests; all four, 60 times, by
`python benchmarks/kills.py`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.kill
@pytest.mark.slow
def test_loading_killed_and_started_again_shows_the_same_batches():
    command = [sys.executable, ROOT / "benchmarks" / "kills.py", "--kills", "2", "--tasks", "load"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert "| load | 2 | 2 | 2 |" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
