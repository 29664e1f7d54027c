"""A student's function that never ends is stopped, and told so."""

import itertools
import subprocess
import sys
import time

import pytest

from mmret_lib.checks import CheckFailed, text_branch
from mmret_lib.checks.engine.limit import TooLong, time_limit


def test_a_loop_without_end_is_stopped() -> None:
    with pytest.raises(TooLong), time_limit(0.05):
        for _ in itertools.count():
            pass


def test_what_ends_in_time_is_left_alone() -> None:
    with time_limit(1):
        done = sum(range(10))
    time.sleep(1.2)
    assert done == 45


def test_an_error_within_the_limit_is_the_functions_own() -> None:
    with pytest.raises(ZeroDivisionError), time_limit(5):
        1 / 0  # noqa: B018


def test_a_function_that_catches_every_exception_is_stopped_and_told_so() -> None:
    def word_pieces(word: str, vocabulary: set[str]) -> list[str]:
        while word not in ("", *vocabulary):
            try:
                word = word.upper()
            except Exception:
                return []
        return [word]

    with pytest.raises(CheckFailed, match="not ended after 10 seconds: probably a loop"):
        text_branch.check_word_pieces(word_pieces)


@pytest.mark.slow
def test_what_torch_loads_late_is_loaded_before_the_clock_runs() -> None:
    code = """
import sys, torch
from torch.utils.checkpoint import checkpoint
from mmret_lib.checks.engine.limit import load_lazy_parts
load_lazy_parts()
before = set(sys.modules)
checkpoint(torch.exp, torch.ones(1, requires_grad=True), use_reentrant=False)
torch.ones(2, 2, device="meta").softmax(dim=1)
torch.optim.AdamW([torch.ones(1, requires_grad=True)]).step()
print(len(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
