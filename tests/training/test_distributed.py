"""Several processes, joined by gloo on the CPU, train what one process trains on their batch."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import train_together

from mmret_lib.data import load_pairs
from mmret_lib.data.store import pack
from mmret_lib.files.errors import DataError
from mmret_lib.training.distributed import Processes

TESTS = Path(__file__).resolve().parents[1]
CASES = [(case, 2) for case in train_together.CASES]
CASES += [(case, 4) for case in train_together.CASES_OF_FOUR]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What 1, 2 and 4 processes come to, by their number."""
    folder = tmp_path_factory.mktemp("together")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    launched = []
    for count in (2, 4):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [
            "--nproc-per-node",
            str(count),
            TESTS / "train_together.py",
            folder / str(count),
        ]
        launched.append(subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the .* has random weights")
        train_together.main(folder / "1")  # one process: this one
    for process in launched:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-3000:]
    return {
        count: torch.load(folder / str(count) / "results.pt", weights_only=False)
        for count in (1, 2, 4)
    }


@pytest.mark.slow
@pytest.mark.parametrize(("case", "count"), CASES)
def test_losses_and_gradients_are_those_of_one_process(results, count, case):
    alone, together = results[1][case], results[count][case]
    torch.testing.assert_close(together["losses"], alone["losses"], rtol=1e-6, atol=1e-6)
    assert len(alone["gradients"]) == train_together.STEPS
    for ours, theirs in zip(together["gradients"], alone["gradients"], strict=True):
        assert ours.keys() == theirs.keys() and any("unbounded" in key for key in ours)
        for key, gradient in theirs.items():
            torch.testing.assert_close(ours[key], gradient, rtol=1e-6, atol=1e-9, msg=key)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "count"), CASES)
def test_weights_statistics_and_recall_are_those_of_one_process(results, count, case):
    alone, together = results[1][case], results[count][case]
    assert together["state"].keys() == alone["state"].keys()
    for key, value in alone["state"].items():
        torch.testing.assert_close(together["state"][key], value, rtol=1e-5, atol=1e-7, msg=key)
    assert together["figures"] == pytest.approx(alone["figures"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4])
def test_lost_and_resumed_they_end_the_same(results, count):
    whole, lost = results[count]["resumed"]["whole"], results[count]["resumed"]["lost"]
    for key, value in whole[0].items():
        # How four numbers are added depends on how gradients are packed for sending, and that on
        # how many steps went before. Two numbers add up the same in either order.
        within = {"rtol": 0, "atol": 0} if count < 4 else {"rtol": 1e-9, "atol": 1e-12}
        torch.testing.assert_close(lost[0][key], value, **within, msg=key)
    assert {**lost[1], "seconds": 0} == pytest.approx({**whole[1], "seconds": 0})


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path, monkeypatch):
    pairs = load_pairs("scenes", root=tmp_path, split="train", size=32, progress=False)
    world = pack(pairs, 64, progress=False)
    monkeypatch.setattr(
        Processes, "join", classmethod(lambda cls, device: cls(0, 3, torch.device("cpu")))
    )
    with pytest.raises(DataError, match="multiple of 3"):
        train_together.trainer(world, "simclr", {})


@pytest.mark.parametrize(("rows", "count"), [(10, 3), (2, 4), (7, 1)])
def test_shares_make_up_the_whole(rows, count):
    device = torch.device("cpu")
    shares = [Processes(rank, count, device).shard(rows) for rank in range(count)]
    assert [row for share in shares for row in range(rows)[share]] == list(range(rows))
