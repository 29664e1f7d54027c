"""mmret train: stopped, resumed, begun from another run, and given values out of range."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from test_cli import environment, mmret

from mmret_lib.training import read_run

pytestmark = pytest.mark.slow

DATA = "--data folder --root . --captions captions.csv --val-split test --batch-size 8 --dim 16"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    rows = ["image,caption,split"]
    for index in range(48):
        Image.new("RGB", (40, 30), (5 * index, 90, 200)).save(home / f"p{index}.png")
        rows.append(f"p{index}.png,picture number {index},{('train', 'train', 'test')[index % 3]}")
    (home / "captions.csv").write_text("\n".join(rows) + "\n")
    return home


@pytest.fixture(scope="module")
def run(home):
    mmret(home, *shlex.split(f"train {DATA} --epochs 1 --loss max_triplet --out run"))
    return home / "run"


def test_a_run_is_replaced_only_when_asked_to(home, run):
    command = shlex.split(f"train {DATA} --epochs 1 --out run")
    refused = mmret(home, *command, ok=False)
    assert "run holds a finished run" in refused and "--overwrite" in refused
    assert read_run(run).loss == "max_triplet"
    refused = mmret(home, *command, "--epochs", "3", "--loss", "max_triplet", "--resume", ok=False)
    assert "planned for 1 epochs, 3 are asked for" in refused and "--from run" in refused
    same = mmret(home, *command, "--loss", "max_triplet", "--resume")
    assert "finished already, with these 1 epochs; nothing was trained" in same


def test_settings_of_a_loss_by_name(home):
    flags = "--loss siglip --loss-settings scale=20 learnable=False --out siglip"
    mmret(home, *shlex.split(f"train {DATA} --epochs 1 {flags}"))
    record = read_run(home / "siglip")
    assert record.loss == "siglip"
    said = record.loss_settings["repr"]
    assert said.startswith("SigLIP(scale=20, bias=-1.946, learnable=False"), "batches of 8"
    flags = "--loss false_negative_filter --margin 0.1 --loss-settings inner=top_k_triplet k=3"
    mmret(home, *shlex.split(f"train {DATA} --epochs 1 {flags} --out filtered"))
    said = read_run(home / "filtered").loss_settings["repr"]
    assert "margin=0.1" in said and "(loss): TopKTriplet(k=3" in said


def test_training_further_from_a_run(home, run):
    said = mmret(home, *shlex.split("train --from run --epochs 2 --batch-size 8 --out further"))
    assert "wrote further" in said
    record = read_run(home / "further")
    assert record.made_by["from"] == str(run) and record.loss == "max_triplet"
    assert record.data == read_run(run).data  # what is not given comes from the run
    for flags, fault in {
        "--dim 32": "--dim 32 contradicts --from run, which has 16",
        "--image-weights mini": "--image-weights mini contradicts --from run: backbones, their",
        "--text-backbone pocket": "--text-backbone pocket contradicts --from run, which has mini",
        "--loss barlow_twins": "barlow_twins needs branches that end in a standardisation",
    }.items():
        refused = mmret(home, *shlex.split(f"train --from run --out no {flags}"), ok=False)
        assert fault in refused, refused
    assert "further holds a finished run" in mmret(
        home, *shlex.split("train --from run --out further"), ok=False
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_that_is_stopped_says_what_is_kept(home, number, code):
    out = f"stopped{code}"
    command = shlex.split(f"train {DATA} --epochs 500 --out {out}")
    process = subprocess.Popen(
        [sys.executable, "-m", "mmret_lib.cli", *command],
        cwd=home,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    snapshots = home / out / "snapshots"
    until = time.monotonic() + 200
    while not (list(snapshots.glob("step-*")) and (home / out / "best" / "model.json").exists()):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(number)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == code and "Traceback" not in said, said
    assert "stopped; kept is a snapshot after step" in said and "of 500 epochs)" in said
    assert (
        f"the best model so far ({out}/best). Go on: mmret {shlex.join(command)} --resume" in said
    )
    refused = mmret(home, "evaluate", out, ok=False)
    assert f"{out} is not finished" in refused and f"{shlex.join(command)} --resume" in refused
    assert f"give {out}/best instead" in refused
    assert f"{out}/best on folder test" in mmret(home, "evaluate", f"{out}/best")
    assert f"{out}/best on folder test" in mmret(home, "search", f"{out}/best", "picture")


@pytest.mark.parametrize("folder", ["best", "model"])
def test_a_model_in_a_run_is_measured_and_indexed(home, run, folder):
    assert f"run/{folder} on folder test" in mmret(home, "evaluate", f"run/{folder}")
    assert "holds 16 images" in mmret(home, "index", f"run/{folder}", f"index-{folder}")


WRONG = {
    "train --batch-size 1": "--batch-size is 1; it must be at least 2",
    "train --epochs 0": "--epochs is 0; it must be at least 1",
    "train --warmup nan": "--warmup is nan; it must be from 0 to 1",
    "train --backbone-lr -1": "--backbone-lr is -1.0; it must be from 0 to 1",
    "train --seed -1": "--seed is -1; it must be from 0 to",
    "train --seed 99999999999999": "--seed is 99999999999999; it must be from 0 to",
    "train --snapshot-minutes -1": "--snapshot-minutes is -1.0",
    "train --dim 0": "--dim is 0; it must be from 1",
    "train --dim 9999999999": "--dim is 9999999999; it must be from 1",
    "train --temperature 0": "temperature must be",
    "train --temperature nan": "temperature must be",
    "train --loss sum_triplet --margin nan": "margin must be",
    "train --loss barlow_twins --lambda -1": "lambda",
    "train --loss siglip --temperature 0.1": "siglip has no setting 'temperature'; it has scale",
    "train --loss nce": "there is no loss 'nce'; choose",
    "train --loss-settings k": "--loss-settings takes NAME=VALUE, such as k=4, not k",
    "train --loss-settings k=4": "simclr has no setting 'k'; it has temperature",
    "train --loss top_k_triplet --loss-settings k=0": "k must be a whole number of at least 1",
    "train --margin 0.1 --loss-settings margin=1": "margin is given twice",
    "train --loss false_negative_filter --loss-settings inner=barlow_twins": "BarlowTwins does not",
    "train --batch-size 99999999": "batch",
    "demo --losses simclr siglp": "there is no loss 'siglp'; choose",
    "demo --batch-size 1": "--batch-size is 1",
    "demo --size 0": "--size is 0",
    "search run picture --k 0": "k is 0",
    "search run picture --k -1": "k is -1",
}


@pytest.mark.parametrize("command", WRONG)
def test_a_value_out_of_range_is_named_as_it_was_given(home, run, command):
    words = shlex.split(command)
    if words[0] == "train":
        words += shlex.split("--data folder --root . --captions captions.csv --out no")
    said = mmret(home, *words, ok=False)
    assert WRONG[command] in said and "tyro" not in said and "Traceback" not in said, said
    assert not Path(home / "no").exists()
