"""Copies in a second place: whole or not there, read back, never lost, emptied before deletion."""

import os
import signal
import sys

import pytest

from mmret_lib.files.errors import DataError
from mmret_lib.files.keep import MANIFEST, Kept

# What each file operation under a folder does besides, while a test says so. An audit hook cannot
# be removed, so there is one, which does nothing otherwise.
ACT = {"on": None}
WATCHED = {"open", "os.truncate", "os.remove", "os.rmdir", "os.mkdir", "os.listdir", "os.scandir"}


def _hook(event, arguments):
    if ACT["on"] and event in WATCHED and "/kept/" in f"{os.fspath(arguments[0])}/":
        ACT["on"](event, os.fspath(arguments[0]))


@pytest.fixture(scope="module")
def watched():
    sys.addaudithook(_hook)
    yield
    ACT["on"] = None


def put_source(folder, content, size=3000):
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    (folder / "tensors").write_bytes(content * size)
    (folder / "sub" / "same").write_bytes(content * size)
    (folder / "note.txt").write_bytes(content)
    return folder


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def place(tmp_path):
    """Where things are kept, with a first copy in it, and the source of the next one."""
    kept = Kept(tmp_path / "kept", "run")
    kept.put(put_source(tmp_path / "one", b"1"), {"step": 1})
    put_source(tmp_path / "two", b"2")
    return kept, tmp_path


def test_what_is_kept_comes_back(place):
    kept, home = place
    assert kept.put(home / "two", {"step": 2}, skip=["note.txt"]) == 3000  # equal files once
    assert kept.newest()[1] == {"step": 2}
    assert kept.take(home / "back", None) == {"step": 2}
    assert contents(home / "back") == {"sub/same": b"2" * 3000, "tensors": b"2" * 3000}
    assert len(list(kept.folder.iterdir())) == 1
    kept.clear()
    assert kept.newest() is None and kept.take(home / "none", None) is None
    assert not (home / "none").exists() and not kept.folder.exists()


def test_files_are_emptied_before_they_are_deleted(place, watched):
    kept, home = place
    sizes = []

    def act(event, path):
        if event == "os.remove":
            sizes.append(os.path.getsize(path))

    ACT["on"] = act
    kept.put(home / "two")
    ACT["on"] = None
    assert len(sizes) == 3 and not any(sizes)  # the two equal files lie there once


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, as Windows cannot")
def test_killed_at_every_file_operation_a_whole_copy_is_there(tmp_path, watched):
    put_source(tmp_path / "two", b"2")
    steps = []
    for number in range(300):
        home = tmp_path / str(number)
        home.mkdir()
        kept = Kept(home / "kept", "run")
        kept.put(put_source(tmp_path / "one", b"1"), {"step": 1})
        child = os.fork()  # a process of its own to kill
        if not child:
            left = [number]

            def act(event, path, left=left):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            ACT["on"] = act
            kept.put(tmp_path / "two", {"step": 2})
            os._exit(0)
        _, status = os.waitpid(child, 0)
        again = Kept(home / "kept", "run")
        step = again.take(home / "back", None)["step"]
        assert contents(home / "back") == contents(tmp_path / ("one" if step == 1 else "two"))
        assert len(list(again.folder.iterdir())) <= 2
        again.put(tmp_path / "two", {"step": 2})
        assert [again.newest()[1]["step"], len(list(again.folder.iterdir()))] == [2, 1]
        steps.append(step)
        if status == 0:
            break
    assert status == 0 and steps == sorted(steps) and {1, 2} == set(steps), steps


def test_failing_at_every_file_operation_costs_nothing_else(place, watched):
    """A Drive that is disconnected at some moment, and is back at the next call."""
    kept, home = place
    for number in range(200):
        left, before = [number], kept.newest()[1]["step"]

        def act(event, path, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(107, "Transport endpoint is not connected", path)

        ACT["on"] = act
        try:
            kept.put(home / "two", {"step": before + 1})
            failed = False
        except OSError:
            failed = True
        ACT["on"] = None
        step = kept.newest()[1]["step"]
        # With `failed` the new one is there where only reading its record again failed.
        assert step in (before, before + 1) if failed else step == before + 1
        assert kept.take(home / "back", None) == {"step": step}
        assert len(list(kept.folder.iterdir())) <= 2
        if left[0] >= 0:
            break
    assert not failed and number > 10


def test_a_place_that_does_not_answer_for_a_moment_loses_nothing(place, watched):
    """What cannot be read now is not what may be deleted."""
    kept, home = place

    def act(event, path):
        if event == "open" and path.endswith(MANIFEST):
            raise OSError(5, "Input/output error", path)

    ACT["on"] = act
    with pytest.raises(OSError, match="Input/output error"):
        kept.put(home / "two", {"step": 2})
    ACT["on"] = None
    assert kept.newest()[1] == {"step": 1}


def test_no_further_copy_is_begun_where_old_ones_cannot_be_deleted(place, watched):
    kept, home = place

    def act(event, path):
        if event == "os.truncate":
            raise PermissionError(13, "Permission denied", path)

    ACT["on"] = act
    kept.put(home / "two", {"step": 2})
    for _ in range(3):
        with pytest.raises(OSError, match="Permission denied"):
            kept.put(home / "two", {"step": 3})
    ACT["on"] = None
    assert kept.newest()[1] == {"step": 2} and len(list(kept.folder.iterdir())) == 2


@pytest.mark.parametrize("what", ["cut short", "a flipped bit", "no record"])
def test_a_damaged_copy_is_not_taken(place, what, watched):
    kept, home = place
    copy = kept.newest()[0]
    if what == "cut short":
        os.truncate(copy / "tensors", 5)
    elif what == "no record":
        (copy / MANIFEST).write_text("{")
    else:
        (copy / "note.txt").write_bytes(b"x")
        with pytest.warns(UserWarning, match=r"is not as it was written; it is passed over"):
            assert kept.take(home / "back", None) is None
    if what != "a flipped bit":
        assert kept.take(home / "back", None) is None
    assert not (home / "back").exists()


def test_what_reads_back_differently_is_not_kept(place, monkeypatch):
    kept, home = place
    real = os.fsync

    def spoil(handle):
        real(handle)
        os.ftruncate(handle, 7)

    monkeypatch.setattr(os, "fsync", spoil)
    with pytest.raises(OSError, match="reads back differently"):
        kept.put(home / "two", {"step": 2})
    assert kept.newest()[1] == {"step": 1}


def test_without_the_drive_nothing_is_written_in_its_place(tmp_path):
    with pytest.raises(DataError, match=r"MyDrive.*is not there. Mount the Drive first"):
        Kept(tmp_path / "drive" / "MyDrive" / "mmret", "run")
    assert not list(tmp_path.iterdir())


def test_a_record_that_leads_out_of_its_folder_is_none(place):
    from mmret_lib.files.records import manifest_text, read_manifest

    kept, _ = place
    copy = kept.newest()[0]
    record = read_manifest(copy / MANIFEST, "mmret kept", 1)
    record["files"]["../../out"] = record["files"].pop("note.txt")
    (copy / MANIFEST).write_text(manifest_text(record))
    assert kept.newest() is None
