"""Unpacking archives: good, hostile, damaged, and interrupted ones."""

import gzip
import io
import random
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

import pytest

from mmret_lib.files import archive as reading
from mmret_lib.files import disk
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.unpack import unpack

FILES = {
    "photos/a.jpg": random.Random(0).randbytes(30_000),
    "photos/deep/b.jpg": random.Random(1).randbytes(3_000),
    "photos/empty": b"",
    "notes.txt": b"some words\n" * 500,
}


def zipped(path: Path, files=FILES, method=zipfile.ZIP_DEFLATED) -> Path:
    """A zip archive; `files` maps a name (or a ZipInfo) to bytes, or lists such pairs."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, content)
    return path


def tarred(path: Path, files=FILES, mode="w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if entry.isfile():
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def made(kind: str, folder: Path, files=FILES) -> Path:
    if kind == "zip":
        return zipped(folder / "set.zip", files)
    return tarred(folder / f"set.{kind}", files, "w:gz" if kind == "tar.gz" else "w")


def found(folder: Path) -> dict[str, bytes]:
    """All files but locks and archives."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith((".lock", ".zip", ".tar", ".gz"))
    }


KINDS = ["zip", "tar", "tar.gz"]


# ---------------------------------------------------------------- what goes well


@pytest.mark.parametrize("kind", KINDS)
def test_all_files_come_out(tmp_path, kind):
    archive = made(kind, tmp_path)
    assert unpack(archive, tmp_path / "new", progress=False) == ["notes.txt", "photos"]
    assert found(tmp_path / "new") == FILES
    assert unpack(archive, tmp_path / "new", progress=False) == ["notes.txt", "photos"]
    assert found(tmp_path / "new") == FILES
    assert not (tmp_path / "new" / f".unpack-{archive.name}").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_files_join_those_that_are_there(tmp_path, kind):
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"mine")
    (tmp_path / "photos" / "a.jpg").write_bytes(b"old")
    unpack(made(kind, tmp_path), tmp_path, progress=False)
    assert found(tmp_path) == {**FILES, "photos/mine.jpg": b"mine"}


def test_what_is_in_the_way_is_named_and_kept(tmp_path):
    (tmp_path / "photos").write_bytes(b"mine")
    archive = made("zip", tmp_path)
    with pytest.raises(DataError, match=r"photos is in the way: .* puts a folder there"):
        unpack(archive, tmp_path, progress=False)
    assert (tmp_path / "photos").read_bytes() == b"mine"
    (tmp_path / "photos").unlink()
    unpack(archive, tmp_path, progress=False)
    assert found(tmp_path) == FILES


@pytest.mark.parametrize("kind", KINDS)
def test_only_some_files(tmp_path, kind):
    archive = made(kind, tmp_path)
    assert unpack(archive, tmp_path, only=("photos/*.jpg",), progress=False) == ["photos"]
    assert set(found(tmp_path)) == {"photos/a.jpg", "photos/deep/b.jpg"}
    with pytest.raises(DataError, match=r"holds no file that fits \*\.json"):
        unpack(archive, tmp_path, only=("*.json",), progress=False)


@pytest.mark.parametrize("kind", KINDS)
def test_folders_dots_and_what_desktops_leave_behind(tmp_path, kind):
    files = [
        ("./photos//a.jpg", b"a"),
        ("__MACOSX/photos/._a.jpg", b"?"),
        ("photos/.DS_Store", b"?"),
        ("photos/._a.jpg", b"?"),
        (".DS_Store", b"?"),
    ]
    if kind == "zip":
        files.append(("photos/", b""))
    else:
        for name in (".", "photos"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            files.append((entry, b""))
    unpack(made(kind, tmp_path, files), tmp_path, progress=False)
    assert found(tmp_path) == {"photos/a.jpg": b"a"}


def test_the_bar_shows_bytes(tmp_path, capsys):
    unpack(made("zip", tmp_path), tmp_path, progress=True)
    assert "unpacking set.zip: 100%" in capsys.readouterr().err


# ---------------------------------------------------------------- hostile archives

NAMES = {
    "../evil": "leads out",
    "photos/../../evil": "leads out",
    "..": "leads out",
    "/etc/evil": "leads out",
    "C:/evil": "leads out",
    "c:evil": "leads out",
    "photos\\..\\evil": "backslash",
    "\\\\host\\evil": "backslash",
    "photos/a.jpg\0.txt": "control character",
    "photos/a\x1b[2Jb": "control character",
    "photos/a\nb": "control character",
    "x" * 256: "longer than 255 bytes",
    "é" * 128: "longer than 255 bytes",
    ".mmret-data.json": "begins with a dot",
    ".unpack-set.zip/.note.json": "begins with a dot",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "words"), NAMES.items(), ids=[repr(n)[:30] for n in NAMES])
def test_hostile_names_are_refused_before_anything_is_written(tmp_path, kind, name, words):
    if kind == "zip":
        entry = zipfile.ZipInfo("x")
        entry.filename = name  # its constructor would cut the name at NUL
        archive = zipped(tmp_path / "set.zip", [("good.jpg", b"good"), (entry, b"evil")])
    elif "\0" in name:
        pytest.skip("a tar archive ends a name at NUL")
    else:
        archive = made(kind, tmp_path, [("good.jpg", b"good"), (name, b"evil")])
    folder = tmp_path / "a" / "b" / "c"
    with pytest.raises(DataError, match=words) as caught:
        unpack(archive, folder, progress=False)
    message = str(caught.value)
    assert str(archive) in message and "Nothing was unpacked" in message and "fetch it" in message
    assert "\x1b" not in message and "\0" not in message
    assert found(tmp_path) == {}


PAIRS = {
    "twice": (["a/b.jpg", "a/b.jpg"], "twice"),
    "twice by dots": (["a/b.jpg", "./a//b.jpg"], "twice"),
    "case": (["a/B.jpg", "a/b.jpg"], "twice"),
    "case of a folder": (["A/c.jpg", "a/b.jpg"], "do not tell it from 'A'"),
    "composed": (["caf\u00e9.jpg", "cafe\u0301.jpg"], "twice"),
    "dot at the end": (["a.jpg", "a.jpg."], "twice"),
    "file, then folder": (["a", "a/b.jpg"], "both a file and a folder"),
    "folder, then file": (["a/b.jpg", "A"], "both a file and a folder"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("names", "words"), PAIRS.values(), ids=list(PAIRS))
def test_two_names_that_meet_somewhere_are_refused(tmp_path, kind, names, words):
    archive = made(kind, tmp_path, [(name, name.encode()) for name in names])
    with pytest.raises(DataError, match=words):
        unpack(archive, tmp_path, progress=False)
    assert found(tmp_path) == {}


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
@pytest.mark.parametrize(
    "type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind, type_):
    entry = tarfile.TarInfo("link")
    entry.type, entry.linkname = type_, "/etc/passwd"
    archive = made(kind, tmp_path, [("good.jpg", b"good"), (entry, b"")])
    with pytest.raises(DataError, match="member 'link': it is a link"):
        unpack(archive, tmp_path, progress=False)
    assert found(tmp_path) == {}


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, mode):
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (mode | 0o777) << 16
    archive = zipped(tmp_path / "set.zip", [("good.jpg", b"good"), (entry, b"/etc/passwd")])
    with pytest.raises(DataError, match="member 'link': it is a link"):
        unpack(archive, tmp_path, progress=False)
    assert found(tmp_path) == {}


def test_encrypted_members_are_refused(tmp_path):
    archive = zipped(tmp_path / "set.zip", {"a.jpg": b"abc"})
    content = bytearray(archive.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"member 'a\.jpg': it is encrypted"):
        unpack(archive, tmp_path, progress=False)


def test_methods_that_cannot_be_read_in_small_pieces_are_refused(tmp_path):
    archive = zipped(tmp_path / "set.zip", method=zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match="packed by method 14"):
        unpack(archive, tmp_path, progress=False)


# ---------------------------------------------------------------- bombs


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_few_bytes_do_not_unpack_into_gigabytes(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(reading, "RATIO_FLOOR", 100_000)
    assert unpack(made(kind, tmp_path, {"x": bytes(90_000)}), tmp_path, progress=False) == ["x"]
    (tmp_path / "x").unlink()
    with pytest.raises(DataError, match="more than 200 times as many"):
        unpack(made(kind, tmp_path, {"x": bytes(5_000_000)}), tmp_path, progress=False)
    assert found(tmp_path) == {}


def test_a_bomb_of_many_small_members(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "RATIO_FLOOR", 100_000)
    archive = made("zip", tmp_path, {f"x{n}": bytes(90_000) for n in range(20)})
    with pytest.raises(DataError, match="more than 200 times as many"):
        unpack(archive, tmp_path, progress=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [("MAX_BYTES", 33_000), ("MAX_MEMBERS", 3)])
def test_more_than_any_data_set_has(tmp_path, monkeypatch, kind, limit):
    monkeypatch.setattr(reading, *limit)
    with pytest.raises(DataError, match="would unpack to more than"):
        unpack(made(kind, tmp_path), tmp_path, progress=False)
    assert found(tmp_path) == {}


def test_members_that_share_their_bytes_are_refused(tmp_path):
    archive = zipped(tmp_path / "set.zip", {"a": FILES["photos/a.jpg"], "b": b""})
    with zipfile.ZipFile(archive, "a") as file:
        again = file.getinfo("a")
        file.filelist.append(again)  # its entry is written to the list a second time
        file._didModify = True
    with pytest.raises(DataError, match="declares more packed bytes than it has"):
        unpack(archive, tmp_path, progress=False)


def test_a_zip_that_holds_more_than_it_declares(tmp_path):
    archive = zipped(tmp_path / "set.zip", {"a.jpg": b"x" * 1000})
    content = archive.read_bytes()
    short = (1000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    crc = [zlib.crc32(b"x" * n).to_bytes(4, "little") for n in (1000, 10)]
    archive.write_bytes(content.replace(*short).replace(*crc))
    try:  # what it declares comes out, or an error; never more
        unpack(archive, tmp_path, progress=False)
        assert found(tmp_path) == {"a.jpg": b"x" * 10}
    except DataError:
        assert "a.jpg" not in found(tmp_path)


def test_a_zip_that_holds_less_than_it_declares(tmp_path):
    archive = zipped(tmp_path / "set.zip", {"a.jpg": b"x" * 1000})
    size = (1000).to_bytes(4, "little"), (1001).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(*size))
    with pytest.raises(DataError, match=r"fewer than the 1,001 bytes it declares"):
        unpack(archive, tmp_path, progress=False)
    assert not (tmp_path / "a.jpg").exists()


def test_a_header_that_asks_for_all_memory(tmp_path):
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 2**40
    archive = tmp_path / "set.tar.gz"
    archive.write_bytes(gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(100_000)))
    with pytest.raises(DataError, match=r"damaged or cut short \(a header of 1,099,511,"):
        unpack(archive, tmp_path, progress=False)


def test_room_is_looked_for_before_anything_is_written(tmp_path, monkeypatch):
    free = disk.ROOM_TO_SPARE + 20_000
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    with pytest.raises(DataError, match=r"Unpacking set.zip takes .* 20,000 bytes are free"):
        unpack(made("zip", tmp_path), tmp_path, progress=False)
    assert "notes.txt" not in found(tmp_path)


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_cut_short_anywhere(tmp_path, kind):
    archive = made(kind, tmp_path)
    content = archive.read_bytes()
    chance = random.Random(3)
    # The zeros after a tar's end mark may go; the mark itself is two blocks of them.
    whole = len(content.rstrip(b"\0")) + 512 if kind == "tar" else len(content)
    for end in [0, 1, 100, 512, whole - 1 - 512, *chance.sample(range(whole - 600), 12)]:
        archive.write_bytes(content[:end])
        with pytest.raises(DataError, match="damaged or cut short") as caught:
            unpack(archive, tmp_path, progress=False)
        assert str(archive) in str(caught.value) and "fetch it again" in str(caught.value)
        assert not {"notes.txt", "photos"} & {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_changed_are_no_traceback(tmp_path, kind):
    """An error that says so, or, where nothing guards the bytes, another content; never a crash."""
    archive = made(kind, tmp_path)
    content = archive.read_bytes()
    chance = random.Random(4)
    for trial in range(60):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 4, 40])):
            damaged[chance.randrange(len(content))] = chance.randrange(256)
        archive.write_bytes(damaged)
        folder = tmp_path / str(trial)
        try:
            unpack(archive, folder, progress=False)
            continue
        except DataError as error:
            message = str(error)
        assert str(archive) in message
        assert not any((folder / name).exists() for name in ("photos", "notes.txt"))


def test_a_wrong_checksum_names_the_member(tmp_path):
    archive = zipped(tmp_path / "set.zip", method=zipfile.ZIP_STORED)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b"some words\nsome", b"some w0rds\nsome", 1))
    with pytest.raises(DataError, match=r"set\.zip: member 'notes\.txt' is damaged .*fetch"):
        unpack(archive, tmp_path, progress=False)
    assert not (tmp_path / "photos").exists() and not (tmp_path / "notes.txt").exists()
    archive.write_bytes(content)
    unpack(archive, tmp_path, progress=False)
    assert found(tmp_path) == FILES


def test_gzips_own_checksum_is_looked_at(tmp_path):
    archive = made("tar.gz", tmp_path)
    content = bytearray(archive.read_bytes())
    content[-8] ^= 1  # RFC 1952: CRC-32 and size end the file
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged or cut short \(CRC check failed"):
        unpack(archive, tmp_path, progress=False)
    assert found(tmp_path) == {}


@pytest.mark.parametrize("content", [b"", b"PK", b"\x1f\x8b", b"<html>", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "set.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"set\.zip"):
        unpack(tmp_path / "set.zip", tmp_path, progress=False)


def test_an_archive_that_is_not_there(tmp_path):
    with pytest.raises(MissingFile, match=r"set\.zip does not exist"):
        unpack(tmp_path / "set.zip", tmp_path)


# ---------------------------------------------------------------- interrupted


MANY = {f"photos/{n:03}.jpg": random.Random(n).randbytes(20_000) for n in range(60)}
MANY |= {f"annotations/{n:02}.json": b"{}" * n for n in range(20)}
UNPACK = """
import os, signal, sys
from mmret_lib.files import unpack
print("here", flush=True)
step, replace = int(sys.argv[3]), os.replace
def counted(*names):
    global step
    step -= 1
    if step == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)
if step:
    os.replace = counted
unpack.unpack(sys.argv[1], sys.argv[2], progress=False)
"""


def start(archive: Path, folder: Path, step: int = 0) -> subprocess.Popen:
    command = [sys.executable, "-c", UNPACK, str(archive), str(folder), str(step)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"here"
    process.stdout.close()
    return process


def check_no_half(folder: Path) -> None:
    """Whatever carries its final name is whole; `photos`, which was not there before, is full."""
    if (folder / "photos").exists():
        assert len(list((folder / "photos").iterdir())) == 60
    for name, content in found(folder).items():
        if not name.startswith(".unpack"):
            assert content == MANY.get(name, b"mine")


@pytest.mark.kill
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_killed_at_any_moment_the_next_run_finishes_it(tmp_path, kind):
    chance = random.Random(11)
    archive = made(kind, tmp_path, MANY)
    folder = tmp_path / "root"
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "mine.json").write_bytes(b"mine")
    for _ in range(3):
        process = start(archive, folder)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.wait(20)
        check_no_half(folder)
    assert start(archive, folder).wait(20) == 0
    check_no_half(folder)
    assert found(folder) == {**MANY, "annotations/mine.json": b"mine"}


@pytest.mark.kill
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_killed_before_any_step_the_next_run_finishes_it(tmp_path):
    """80 files, two notes, 20 files moved one by one, and one folder moved as a whole."""
    archive = made("zip", tmp_path, MANY)
    for step in (1, 2, 40, 81, 82, 83, 95, 103):
        folder = tmp_path / str(step)
        (folder / "annotations").mkdir(parents=True)
        assert start(archive, folder, step).wait(20) < 0
        check_no_half(folder)
        unpack(archive, folder, progress=False)
        check_no_half(folder)
        assert found(folder) == MANY


def test_what_was_unpacked_before_is_not_unpacked_again(tmp_path, monkeypatch):
    archive = made("zip", tmp_path)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b"notes.txt", b"notes.TXT", 1))  # the last one is damaged
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, tmp_path, progress=False)
    archive.write_bytes(content)
    stage = tmp_path / ".unpack-set.zip"
    (stage / "photos" / "deep" / "b.jpg").write_bytes(b"x" * 3_000)  # of the right size, not ours
    opened = []
    read = reading._Zip.open
    monkeypatch.setattr(
        reading._Zip, "open", lambda self, one: opened.append(one.name) or read(self, one)
    )
    unpack(archive, tmp_path, progress=False)
    assert opened == ["photos/deep/b.jpg", "notes.txt"]
    assert found(tmp_path) == FILES


def test_what_another_archive_of_that_name_left_behind_is_not_used(tmp_path):
    stage = tmp_path / ".unpack-set.zip"
    (stage / "photos").mkdir(parents=True)
    (stage / "photos" / "stranger.jpg").write_bytes(b"?")
    unpack(made("zip", tmp_path), tmp_path, progress=False)
    assert found(tmp_path) == FILES
