"""Every command, where the terminal cannot show what is printed: nothing may be lost for that.

A strict stream of one encoding is what `PYTHONIOENCODING`, Windows (cp1252, into a file) or
LC_ALL=C without UTF-8 mode make of stdout.
"""

import io
import os
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image

from mmret_lib.cli import main
from mmret_lib.data import load_pairs
from mmret_lib.studies.evaluate_run import evaluate_run
from mmret_lib.training import load_run

ROOT = Path(__file__).resolve().parents[1]
CAPTIONS = ["un éléphant boit", "красный автобус", "一只斑马在草地上", "a zebra → 🦓", "½ of a bus"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with 24 own photos, whose captions and names are in several languages."""
    home = tmp_path_factory.mktemp("home")
    rows = ["image,caption,split"]
    plain = ["image,caption,split"]
    (home / "été").mkdir()
    for index in range(24):
        name = f"été/слон {index}.png"
        Image.new("RGB", (40, 30), (10 * index, 90, 200)).save(home / name)
        split = ("train", "train", "test")[index % 3]
        rows += [f"{name},{CAPTIONS[index % 5]} {index},{split}"]
        (home / f"plain{index}.png").write_bytes((home / name).read_bytes())
        plain += [f"plain{index}.png,{CAPTIONS[index % 5]} {index},{split}"]
    (home / "captions.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (home / "plain.csv").write_text("\n".join(plain) + "\n", encoding="utf-8")
    return home


DATA = "--data folder --root . --captions captions.csv"
COMMANDS = {
    "train": f"train {DATA} --out run --overwrite --epochs 1 --batch-size 8 --val-split test",
    "evaluate": "evaluate run --json figures.json --table queries.csv",
    "evaluate against": "evaluate run --against run",
    "search": "search run слон --out page.html --json hits.json",
    "search by picture": "search run 'été/слон 1.png'",
    "index": "index run index",
    "search index": "search run bus --index index",
    "index photos": "index --photos . own",
    "search photos": "search zebra --index own",
    "data": f"data {DATA.removeprefix('--data ')} --size 64",
    "features": f"features {DATA} --image-backbone pocket --text-backbone pocket",
    "cache": "cache",
    "wrong": "search run --index été",
    "missing": "evaluate слон",
    "help": "--help",
    "help of train": "train --help",
}


def mmret(home, encoding, command):
    """The command's exit code and output, in this process, with strict streams of an encoding."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding, "strict") for _ in range(2)]
    environment = {**os.environ, "MMRET_CACHE": str(home / "cache"), "COLUMNS": "100"}
    before = os.getcwd()
    os.chdir(home)
    try:
        with (
            mock.patch.dict(os.environ, environment),
            mock.patch.multiple(sys, stdout=streams[0], stderr=streams[1]),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("always")
            main(shlex.split(command))
            code = 0
    except SystemExit as stopped:
        code = stopped.code or 0
    finally:
        os.chdir(before)
    for stream in streams:
        stream.flush()
    return code, "".join(stream.buffer.getvalue().decode(encoding) for stream in streams)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_every_command_prints_in_every_encoding(home, encoding):
    for name, command in COMMANDS.items():
        code, output = mmret(home, encoding, command)
        assert code == (2 if name in ("wrong", "missing") else 0), (name, output)
        assert "Traceback" not in output and len(output) > 20, (name, output)
    assert (home / "page.html").exists() and (home / "hits.json").exists()
    assert (home / "queries.csv").exists() and (home / "figures.json").exists()


@pytest.mark.slow
def test_the_library_prints_in_every_encoding(home, monkeypatch):
    """Called from a script, no command line has changed the streams."""
    mmret(home, "utf-8", COMMANDS["train"])
    model, _ = load_run(home / "run")
    pairs = load_pairs("folder", root=home, split="test", captions=str(home / "captions.csv"))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii", "strict"))
    evaluate_run(model, pairs, name="слон", json_file=home / "again.json")
    assert (home / "again.json").exists()


@pytest.mark.slow
def test_a_process_with_an_ascii_locale_finishes(home):
    """LC_ALL=C and no UTF-8 mode: what is typed is no text either.

    Python itself cannot open the photos that the captions file names in Cyrillic there.
    """
    environment = {
        **{n: v for n, v in os.environ.items() if not n.startswith(("LC_", "LANG", "PYTHONIO"))},
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": str(ROOT),
        "MMRET_CACHE": str(home / "cache-c"),
        "OMP_NUM_THREADS": "1",
    }

    def run(command, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "mmret_lib.cli", *shlex.split(command)],
            cwd=home,
            env=environment,
            capture_output=True,
            check=False,
        )
        output = (done.stdout + done.stderr).decode("ascii")
        assert done.returncode == code and "Traceback" not in output, output
        return output

    training = COMMANDS["train"].replace("captions.csv", "plain.csv")
    run(training)
    run(COMMANDS["search"])
    refused = run(training.replace("--out run", "--out слон"), code=2)
    assert "no text in the encoding of file names here, ascii. Set PYTHONUTF8=1" in refused
