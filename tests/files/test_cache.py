"""The cache is listed and cleared, but for what a running process reads or writes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmret_lib import cli
from mmret_lib.data import load_pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.files import cache
from mmret_lib.files.cache import InUse, clear_cache, list_cache, seconds_of, table_of
from mmret_lib.files.errors import DataError
from mmret_lib.files.whole import whole_folder

posix = pytest.mark.skipif(sys.platform == "win32", reason="marks of use are POSIX locks")
OLD = time.time() - 40 * 86400


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("MMRET_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    cache._keep.cache_clear()


@pytest.fixture
def filled(home: Path) -> Path:
    """A packed store, the world it was made from, a small run, embeddings, weights; all unused."""
    pack(load_pairs("scenes", size=6, wrong_captions=0.5, progress=False), 16, progress=False)
    cache._keep.cache_clear()
    for name, record in {
        "quick/simclr/run.json": '{"loss": "simclr", "data": {"name": "scenes"}}',
        "embeddings/coco/image.json": '{"name": "coco val", "made_from": {"model": "ab12"}}',
        "weights/timm/resnet34/model.safetensors": "weights",
        "notes.txt": "of the user",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(record)
    return home


def names(entries: list[cache.Entry]) -> list[str]:
    return sorted(entry.path.name.split("-")[0] for entry in entries)


def in_a_process(code: str) -> subprocess.Popen[bytes]:
    """Start Python code that says "ready" and then sleeps; return when it is ready."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline().strip() == b"ready"
    return process


def test_the_cache_is_listed(filled, capsys):
    entries = list_cache()
    assert names(entries) == ["coco", "resnet34", "scenes", "simclr", "test"]
    kinds = {entry.kind for entry in entries}
    assert kinds == {"packed store", "drawn world", "embeddings", "small run", "weights"}
    for entry in entries:
        files = [path for path in entry.path.rglob("*") if path.is_file()]
        assert entry.size == sum(path.stat().st_size for path in files)
        assert time.time() - 60 < entry.last_used < time.time() + 1
    cli.main(["cache"])
    table = capsys.readouterr().out
    world = next(entry.path for entry in entries if entry.kind == "drawn world")
    assert f"6 images at 16 pixels, from {world / 'test'}\n" in table
    assert "64 pixels, seed 0, wrong captions 0.5" in table
    assert "coco val, by model ab12" in table and "simclr, trained on scenes" in table
    assert table.rstrip().endswith("in all")
    assert table_of([]).endswith("in all")


def test_clearing_leaves_weights_and_what_is_not_ours(filled, capsys):
    freed = sum(entry.size for entry in list_cache() if entry.kind != "weights")
    cli.main(["cache", "--clear"])
    said = capsys.readouterr().out
    assert said.startswith(f"freed {cache._gigabytes(freed)}: 4 folders deleted")
    assert names(list_cache()) == ["resnet34"] and (filled / "notes.txt").is_file()
    again = pack(load_pairs("scenes", size=6, progress=False), 16, progress=False)
    assert len(again) == 6


def test_only_what_is_old_is_cleared(filled, capsys):
    for entry in list_cache():
        if entry.kind in ("packed store", "embeddings", "weights"):
            os.utime(entry.path, (OLD, OLD))
    assert names(list_cache("6w")) == []
    assert names(list_cache("5w")) == ["coco", "resnet34", "scenes"]
    store = next(entry.path for entry in list_cache() if entry.kind == "packed store")
    Store.open(store)
    assert names(list_cache("30d")) == ["coco", "resnet34"]
    cli.main(["cache", "--clear", "--older-than", "30d"])
    assert "1 folders deleted" in capsys.readouterr().out
    assert names(list_cache()) == ["resnet34", "scenes", "simclr", "test"]


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1.5h", "30 d", "3y", "١d"])
def test_what_is_no_time_is_refused(home, age):
    with pytest.raises(DataError, match="is no time; give hours, days or weeks"):
        seconds_of(age)
    with pytest.raises(DataError, match="is no time"):  # "" too must not delete everything
        clear_cache(age)


@pytest.mark.parametrize(("age", "hours"), [("12h", 12), ("30D", 720), ("6w", 1008), ("0h", 0)])
def test_times(age, hours):
    assert seconds_of(age) == hours * 3600


def test_an_empty_or_missing_cache(home, capsys):
    cli.main(["cache"])
    cli.main(["cache", "--clear"])
    assert "freed 0.0 kB: 0 folders" in capsys.readouterr().out
    assert not home.exists()


@posix
@pytest.mark.kill
@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("Store.open(store)", ["scenes"]),
        ("load_pairs('scenes', **facts)", ["test"]),
        ("pack(load_pairs('scenes', **facts), 16)", ["scenes", "test"]),
    ],
    ids=["store", "world", "store and world"],
)
def test_what_another_process_reads_stays_until_it_is_killed(filled, code, reads):
    store = next(entry.path for entry in list_cache() if entry.kind == "packed store")
    process = in_a_process(f"""
import time
from mmret_lib.data import load_pairs
from mmret_lib.data.store import Store, pack
store, facts = {str(store)!r}, dict(size=6, wrong_captions=0.5, progress=False)
data = {code}
print("ready", flush=True)
time.sleep(60)
""")
    try:
        deleted, used = clear_cache(progress=False)
        assert names(used) == reads and len(deleted) == 4 - len(used)
        assert clear_cache(progress=False) == ([], used)
    finally:
        process.kill()
        process.wait(20)
    assert names(clear_cache(progress=False)[0]) == reads
    assert names(list_cache()) == ["resnet34"]


@posix
@pytest.mark.kill
def test_what_another_process_packs_stays_until_it_is_killed(home):
    process = in_a_process("""
import os, time
from mmret_lib.data import load_pairs
from mmret_lib.data.store import pack
def slow(*arguments):
    print("ready", flush=True)
    time.sleep(60)
pairs = load_pairs("scenes", size=6, progress=False)
os.fsync = slow
pack(pairs, 16)
""")
    try:
        assert clear_cache(progress=False)[0] == []
    finally:
        process.kill()
        process.wait(20)
    assert names(clear_cache(progress=False)[0]) == ["scenes", "test"]


@posix
def test_drafts_of_dead_processes_are_cleared_and_those_of_living_ones_stay(home):
    (home / "scenes" / ".test-1.4711.part" / "test").mkdir(parents=True)
    with whole_folder(home / "scenes" / "test-2"):
        (entry,) = clear_cache(progress=False)[0]
        assert entry.path.name == ".test-1.4711.part" and entry.made_from == "left unfinished"
    assert os.listdir(home / "scenes") == ["test-2"]


@posix
def test_a_folder_is_free_when_the_last_user_is_gone(home):
    folder = home / "stores" / "x"
    first, second = InUse(folder, make=True), InUse(folder)
    del first
    assert clear_cache(progress=False)[0] == []
    del second
    assert names(clear_cache(progress=False)[0]) == ["x"]
    with pytest.raises(FileNotFoundError):
        InUse(folder)


def test_without_marks_the_system_says_what_is_open(filled, monkeypatch):
    """As on Windows, where a folder with an open file cannot be renamed."""
    monkeypatch.setattr(cache, "HAS_MARKS", False)
    monkeypatch.setattr(cache, "mark_unused", lambda _: None)
    rename = os.rename

    def refused(source: Path, target: Path) -> None:
        if "stores" in Path(source).parts:
            raise PermissionError(13, "in use")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refused)
    deleted, used = clear_cache(progress=False)
    assert names(deleted) == ["coco", "simclr", "test"] and names(used) == ["scenes"]
