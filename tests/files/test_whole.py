"""Files and folders are complete or as they were, whatever stops the process that writes them."""

import json
import os
import random
import stat
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mmret_lib.files import whole
from mmret_lib.files.errors import DataError
from mmret_lib.files.whole import put_back, put_back_all, whole_file, whole_folder, write_text

FILES = {"a.txt", "b.txt", "inner"}
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and file modes")


def write(folder: Path, content: str, holds: set[str] | None = FILES) -> None:
    with whole_folder(folder, holds) as draft:
        (draft / "inner").mkdir()
        for name in ("a.txt", "b.txt", "inner/c.txt"):
            (draft / name).write_text(content)


def content_of(folder: Path) -> str:
    """What `write` wrote there; an error unless it is all of one call."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert names == ["a.txt", "b.txt", "inner", os.path.join("inner", "c.txt")]
    (content,) = {path.read_text() for path in folder.rglob("*.txt")}
    return content


@pytest.fixture(params=["exchange", "rename"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to replace a folder, of which the system picks one."""
    if request.param == "rename":
        monkeypatch.setattr(whole, "_exchange", lambda *_: False)
    elif sys.platform not in ("linux", "darwin"):
        pytest.skip("no exchange of names on this system")
    return request.param


# ---------------------------------------------------------------- files


def test_a_file_is_replaced_and_missing_folders_are_made(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "sécond"):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_file_that_could_not_be_finished_stays_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with suppress(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


@posix
def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "")
        with whole_folder(tmp_path / "folder", {"private"}) as draft:
            (draft / "private").touch(0o600)  # as safetensors and tempfile make them
    finally:
        os.umask(before)
    paths = [tmp_path / "file", tmp_path / "folder", tmp_path / "folder" / "private"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o640, 0o750, 0o640]


@posix
def test_a_link_is_written_through_and_a_pipe_directly(tmp_path):
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "text"
    code = "from mmret_lib.files.whole import *; write_text(Path('/dev/stdout'), 'said')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "said"


# ---------------------------------------------------------------- folders


def test_a_folder_is_made_and_replaced(tmp_path, way):
    folder = tmp_path / "deep" / "run"
    for content in ("first", "second", "third"):
        write(folder, content)
        assert content_of(folder) == content
        assert os.listdir(folder.parent) == ["run"]


def test_a_folder_that_could_not_be_finished_stays_as_it_was(tmp_path, way):
    write(tmp_path / "run", "old")
    with suppress(KeyboardInterrupt), whole_folder(tmp_path / "run", FILES) as draft:
        (draft / "a.txt").write_text("half")
        raise KeyboardInterrupt
    assert content_of(tmp_path / "run") == "old" and os.listdir(tmp_path) == ["run"]


def test_a_folder_with_other_files_is_refused_or_keeps_them(tmp_path, way):
    folder = tmp_path / "run"
    write(folder, "old")
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter.tex").write_text("mine")
    with pytest.raises(DataError, match="run holds thesis"):
        write(folder, "new")
    (folder / "thesis").rename(folder / ".thesis.4711.part")
    with pytest.raises(DataError, match=r"holds \.thesis\.4711\.part"):
        write(folder, "new")
    (folder / ".thesis.4711.part").rename(folder / "thesis")
    with pytest.raises(DataError, match="is a file"):
        write(folder / "a.txt", "new", None)
    write(folder, "new", None)
    assert (folder / "thesis" / "chapter.tex").read_text() == "mine"
    assert (folder / "a.txt").read_text() == (folder / "inner" / "c.txt").read_text() == "new"


@posix
def test_what_dead_processes_left_is_deleted_and_what_living_ones_write_is_not(tmp_path, way):
    folder = tmp_path / "run"
    for name in (".run.4711.part", ".run.4711.old", ".run.more.4711.old"):
        write(tmp_path / name, "left")
    with whole_folder(folder, FILES) as draft:
        write(folder, "other")
        assert draft.is_dir()
        (draft / "inner").mkdir()
        for name in ("a.txt", "b.txt", "inner/c.txt"):
            (draft / name).write_text("mine")
    assert content_of(folder) == "mine"
    assert sorted(os.listdir(tmp_path)) == [".run.more.4711.old", "run"]


def test_a_folder_that_an_older_version_lost_is_put_back(tmp_path):
    """It named the old folder by the process; the newest one counts, and only of that very name."""
    for number, name in enumerate([".run.17.old", ".run.4711.old", ".run.x.4711.old"]):
        write(tmp_path / name, name)
        os.utime(tmp_path / name, (number, number))
    put_back(tmp_path / "run")
    assert content_of(tmp_path / "run") == ".run.4711.old"
    put_back_all(tmp_path)
    assert content_of(tmp_path / "run") == ".run.4711.old"
    assert content_of(tmp_path / "run.x") == ".run.x.4711.old"
    put_back(tmp_path / "none" / "such")


# ---------------------------------------------------------------- killed

CHILD = """
import os, signal, sys
from pathlib import Path
from mmret_lib.files import whole

folder, way, how, step = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])

def stop_at(function):
    def stopping(*arguments):
        global step
        step -= 1
        if step == 0:
            os.kill(os.getpid(), getattr(signal, how))
        result = function(*arguments)
        step -= 1
        if step == 0:
            os.kill(os.getpid(), getattr(signal, how))
        return result
    return stopping

if way == "rename":
    whole._exchange = lambda *_: False
if step:
    os.replace, whole._exchange = stop_at(os.replace), stop_at(whole._exchange)
print("begins", flush=True)
for number in range(1 if step else 10**9):
    with whole.whole_folder(folder, {"a.txt", "b.txt", "inner"}) as draft:
        (draft / "inner").mkdir()
        for name in ("a.txt", "b.txt", "inner/c.txt"):
            (draft / name).write_text(f"new {number}")
"""


def start(folder: Path, way: str, how: str = "SIGKILL", step: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, str(folder), way, how, str(step)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **pipes)
    assert process.stdout is not None and process.stdout.readline().strip() == b"begins"
    process.stdout.close()
    return process


@posix
@pytest.mark.kill
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_stopped_between_any_two_steps_the_folder_is_whole(tmp_path, way, how):
    folder = tmp_path / "run"
    for step in range(1, 3 if way == "exchange" else 8):
        write(folder, "old")
        assert start(folder, way, how, step).wait(20) != 0
        put_back(folder)
        assert content_of(folder) in ("old", "new 0")
        write(folder, "next")
        assert content_of(folder) == "next" and os.listdir(tmp_path) == ["run"]


@posix
@pytest.mark.kill
def test_killed_at_any_moment_the_folder_is_whole(tmp_path, way):
    chance = random.Random(5)
    folder = tmp_path / "run"
    write(folder, "old")
    for _ in range(25):
        process = start(folder, way)
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.wait(20)
        put_back(folder)
        content_of(folder)
    write(folder, "next")
    assert content_of(folder) == "next" and os.listdir(tmp_path) == ["run"]


@posix
@pytest.mark.kill
def test_readers_do_not_disturb_a_living_writer(tmp_path, way):
    """A reader may take the moment between two renames for a crash; the writer copes."""
    folder = tmp_path / "run"
    write(folder, "old")
    process = start(folder, way)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        put_back(folder)
    assert process.poll() is None
    process.kill()
    process.wait(20)
    put_back(folder)
    assert int(content_of(folder).removeprefix("new ")) > 5


@posix
@pytest.mark.kill
def test_every_reader_of_a_run_finds_it_again(tmp_path):
    """Nothing but the hidden old folder is there after a crash in the middle."""
    from mmret_lib.encoders import DualEncoder
    from mmret_lib.show.app import find_runs
    from mmret_lib.training import load_run

    runs = tmp_path / "runs"
    run = runs / "simclr"
    lost = runs / ".simclr.4711.old"
    with tarfile.open(Path(__file__).parents[1] / "kept" / "step5.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    runs.mkdir()
    (tmp_path / "step5" / "run").rename(lost)
    assert load_run(run)[1].loss == "simclr"
    run.rename(lost)
    assert find_runs(runs) == [run]
    model = tmp_path / "model"
    (run / "model").rename(tmp_path / ".model.4711.old")
    assert DualEncoder.load(model).dim == 128
    assert json.loads((run / "run.json").read_text())["loss"] == "simclr"
