"""Fetching over networks that break, from servers that misbehave: a real one on this machine."""

import hashlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from file_server import FileServer, gibberish, other, silence, status, trick

from mmret_lib.files import disk, download, web
from mmret_lib.files.download import fetch
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.remote import Remote

SIZE = 200_000
CONTENT = random.Random(0).randbytes(SIZE)
WRONG = random.Random(1).randbytes(SIZE)
PAGE = {"Content-Type": "text/html; charset=utf-8"}
QUICK = {"progress": False, "tries": 3, "pause": 0.01, "patience": 0.4}


@pytest.fixture
def server():
    with FileServer() as server:
        yield server


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def remote(
    *urls: str, content: bytes = CONTENT, size: bool = True, checksum: bool = True
) -> Remote:
    return Remote(
        "photos.zip",
        urls,
        len(content) if size else None,
        hashlib.sha256(content).hexdigest() if checksum else None,
    )


def is_whole(folder: Path, content: bytes = CONTENT) -> bool:
    """The file is right, and nothing of the work on it is left."""
    ours = {"photos.zip", ".photos.zip.lock", ".photos.zip.verified"}
    strangers = {path.name for path in folder.iterdir()} - ours
    return not strangers and (folder / "photos.zip").read_bytes() == content


def put_part(folder: Path, part: bytes) -> None:
    (folder / ".photos.zip.part").write_bytes(part)


# ---------------------------------------------------------------- what goes well


def test_a_file_is_fetched_once(server, tmp_path):
    wanted = remote(server.put("/a", CONTENT))
    assert fetch(wanted, tmp_path / "new", **QUICK) == tmp_path / "new" / "photos.zip"
    assert fetch(wanted, tmp_path / "new", **QUICK) == tmp_path / "new" / "photos.zip"
    assert is_whole(tmp_path / "new") and server.ranges == [""]


def test_md5_will_do_where_only_that_is_known(server, tmp_path):
    url = server.put("/a", CONTENT, other(WRONG))
    fetch(
        Remote("photos.zip", (url,), md5=hashlib.md5(CONTENT).hexdigest().upper()),
        tmp_path,
        **QUICK,
    )
    assert is_whole(tmp_path) and len(server.requests) == 2


def test_a_file_put_there_by_hand_is_accepted_if_it_is_the_right_one(server, tmp_path):
    wanted = remote(server.put("/a", CONTENT))
    (tmp_path / "photos.zip").write_bytes(CONTENT)
    put_part(tmp_path, CONTENT[:10])
    fetch(wanted, tmp_path, **QUICK)
    assert is_whole(tmp_path) and server.requests == []
    (tmp_path / "photos.zip").write_bytes(WRONG)
    fetch(wanted, tmp_path, **QUICK)
    assert is_whole(tmp_path) and len(server.requests) == 1


def test_a_file_is_read_through_once_and_again_when_it_was_touched(server, tmp_path, monkeypatch):
    wanted = remote(server.put("/a", CONTENT))
    path = fetch(wanted, tmp_path, **QUICK)
    read = []
    count = disk.checksum_of
    monkeypatch.setattr(
        "mmret_lib.files.remote.checksum_of", lambda *a, **k: read.append(a) or count(*a, **k)
    )
    fetch(wanted, tmp_path, **QUICK)
    assert read == []
    os.utime(path, ns=(1, 1))
    fetch(wanted, tmp_path, **QUICK)
    assert len(read) == 1
    # another checksum is wanted than the one that was remembered
    with pytest.raises(MissingFile, match="not the right one"):
        fetch(remote(server.put("/b", b""), content=WRONG), tmp_path, **QUICK)


def test_the_bar_starts_where_the_file_is_continued(server, tmp_path, capsys):
    put_part(tmp_path, CONTENT[: SIZE // 2])
    fetch(remote(server.put("/a", CONTENT)), tmp_path, **{**QUICK, "progress": True})
    first = capsys.readouterr().err.strip("\r").split("\r")[0]
    assert "photos.zip" in first and " 50%" in first
    assert server.ranges == [f"bytes={SIZE // 2}-"]


# ---------------------------------------------------------------- what one server gets over

# name: tricks of the server, what is asked of it, request by request ("" is the whole file)
MENDED = {
    "closed half-way": ([trick(stop=70_000)], ["", "bytes=70000-"]),
    "reset half-way": ([trick(stop=70_000, reset=True, pause=0.001)], None),
    "closed twice": (
        [trick(stop=70_000), trick(stop=30_000)],
        ["", "bytes=70000-", "bytes=100000-"],
    ),
    "closed before a byte": ([trick(stop=0)], ["", ""]),
    "stalls": ([trick(stop=70_000, stall=True)], ["", "bytes=70000-"]),
    "never answers": ([silence], ["", ""]),
    "is no web server": ([gibberish], ["", ""]),
    "500": ([status(500)], ["", ""]),
    "503 with a time": ([status(503, {"Retry-After": "0"})], ["", ""]),
    "429, then a break": ([status(429), trick(stop=9)], ["", "", "bytes=9-"]),
    "knows no ranges": ([trick(stop=70_000), trick(ranges=False)], ["", "bytes=70000-"]),
    "sends another range": ([trick(stop=70_000), trick(shift=5)], ["", "bytes=70000-", ""]),
    "wrong bytes once": ([other(WRONG)], ["", ""]),
    "chunked": ([trick(chunked=True)], [""]),
    "chunked, cut off": ([trick(chunked=True, stop=8192)], ["", "bytes=8192-"]),
    "says no length": ([trick(length=False)], [""]),
    "no length, cut off": ([trick(length=False, stop=70_000)], ["", "bytes=70000-"]),
    "no validators": ([trick(stop=9, validators=False)], ["", "bytes=9-"]),
    "calls it a page": ([trick(headers=PAGE)], [""]),
    "changed and back": ([other(WRONG, stop=70_000)], ["", "bytes=70000-"]),
}


@pytest.mark.slow
@pytest.mark.parametrize(("tricks", "asked"), MENDED.values(), ids=list(MENDED))
def test_one_server_is_enough(server, tmp_path, tricks, asked):
    fetch(remote(server.put("/a", CONTENT, *tricks)), tmp_path, **QUICK)
    assert is_whole(tmp_path)
    assert asked is None or server.ranges == asked
    assert not any(server.tricks.values())


def test_every_break_that_brought_much_is_forgiven(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS", 20_000)
    breaks = [trick(stop=20_000)] * 8
    fetch(remote(server.put("/a", CONTENT, *breaks)), tmp_path, **{**QUICK, "tries": 2})
    assert is_whole(tmp_path) and len(server.requests) == 9


def test_breaks_that_bring_nothing_new_are_not_forgiven_for_ever(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS", 20_000)
    breaks = [trick(stop=150_000, ranges=False)] * 50
    with pytest.raises(MissingFile, match="ended after 150,000 of 200,000 bytes \\(3 tries"):
        fetch(remote(server.put("/a", CONTENT, *breaks)), tmp_path, **QUICK)
    assert len(server.requests) <= 4


@pytest.mark.slow
def test_the_server_says_how_long_to_wait(server, tmp_path, monkeypatch):
    url = server.put("/a", CONTENT, status(503, {"Retry-After": "1"}))
    started = time.monotonic()
    fetch(remote(url), tmp_path / "a", **QUICK)
    assert time.monotonic() - started >= 1
    monkeypatch.setattr(web, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(download, "LONGEST_WAIT", 0.05)
    url = server.put("/a", CONTENT, status(503, {"Retry-After": "86400"}))
    started = time.monotonic()
    fetch(remote(url), tmp_path / "b", **QUICK)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("9" * 400, 60),
        ("-1", 0),
        ("", 0),
        ("soon", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ],
)
def test_retry_after(value, seconds):
    assert web.retry_after(value) == seconds


def test_retry_after_a_date():
    then = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert 20 < web.retry_after(then) <= 30


# ---------------------------------------------------------------- what the next server must mend

# name: tricks of the first server, words in what would be said of it
GIVEN_UP = {
    "404": ([status(404)], "it answered 404"),
    "403": ([status(403)], "it answered 403"),
    "503 for ever": ([status(503)] * 9, "it answered 503 .* \\(3 tries in a row\\)"),
    "204": ([status(204)], "it answered 204"),
    "416 for nothing": ([status(416)], "it answered 416"),
    "redirects in a circle": ([status(302, {"Location": "/a"})] * 20, "redirects in a circle"),
    "redirects to a file": ([status(302, {"Location": "file:///etc/passwd"})], "redirects in a"),
    "redirects nowhere": ([status(302)], "redirects in a circle, or nowhere"),
    "a web page": (
        [other(b"<html>log in</html>", headers=PAGE)],
        "a web page in place of the file",
    ),
    "too short": ([other(CONTENT[:-1])], "offers 199,999 bytes where 200,000 are expected"),
    "too long": ([other(CONTENT + b"!")], "offers 200,001 bytes where 200,000 are expected"),
    "sends too much": ([other(CONTENT + b"!", chunked=True)], "sends more than the 200,000"),
    "never ends": ([trick(endless=True, chunked=True)], "sends more than the 200,000"),
    "wrong bytes": ([other(WRONG)] * 2, "twice the wrong bytes .*sha256 of .* is "),
    "encoded": ([other(WRONG[:-9], headers={"Content-Encoding": "gzip"})], "offers 199,991"),
    "encoded, chunked": (
        [trick(chunked=True, headers={"Content-Encoding": "gzip"})],
        "encoded \\(gzip\\), though asked not to",
    ),
}


@pytest.mark.parametrize(("tricks", "words"), GIVEN_UP.values(), ids=list(GIVEN_UP))
def test_the_next_server_is_asked(server, tmp_path, tricks, words):
    bad, good = server.put("/a", CONTENT, *tricks), server.put("/b", CONTENT)
    fetch(remote(bad, good), tmp_path, **QUICK)
    assert is_whole(tmp_path)
    assert [path for path, _, _ in server.requests][-1] == "/b"
    assert server.sent < 100 * SIZE  # an endless one is not heard out, but fills some buffers
    server.put("/a", CONTENT, *tricks)
    (tmp_path / "photos.zip").unlink()
    with pytest.raises(MissingFile, match=words):
        fetch(remote(bad), tmp_path, **QUICK)
    assert not (tmp_path / "photos.zip").exists()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{}/a", "file:///etc/passwd", "ftp://x/a", "http://[", "a"]
)
def test_an_address_that_cannot_be_asked(server, tmp_path, url):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        bad = url.format(unused.getsockname()[1])
        fetch(remote(bad, server.put("/b", CONTENT)), tmp_path / "a", **QUICK)
        assert is_whole(tmp_path / "a")
        with pytest.raises(MissingFile, match="could not be fetched"):
            fetch(remote(bad), tmp_path / "b", **QUICK)


def test_a_part_is_continued_from_another_server_when_the_checksum_is_known(server, tmp_path):
    bad = server.put("/a", CONTENT, trick(stop=70_000), *[status(500)] * 9)
    fetch(remote(bad, server.put("/b", CONTENT)), tmp_path, **QUICK)
    assert is_whole(tmp_path)
    assert server.requests[-1] == ("/b", "bytes=70000-", "")
    assert server.sent == SIZE


def test_without_a_checksum_it_starts_anew_at_another_server(server, tmp_path):
    bad = server.put("/a", WRONG, trick(stop=70_000), status(404))
    fetch(remote(bad, server.put("/b", CONTENT), checksum=False), tmp_path, **QUICK)
    assert is_whole(tmp_path)
    assert server.requests[-1] == ("/b", "", "")


def test_when_all_fail_the_message_says_what_and_what_to_do(server, tmp_path):
    first, second = server.put("/a", CONTENT, status(404)), server.put("/b", CONTENT)
    server.tricks["/b"] = [trick(stop=70_000)] + [status(502)] * 9
    with pytest.raises(MissingFile) as caught:
        fetch(remote(first, second), tmp_path, **QUICK)
    message = str(caught.value)
    assert message.startswith("photos.zip could not be fetched.")
    assert f"{first}: it answered 404 (Not Found)" in message
    assert f"{second}: it answered 502 (Bad Gateway) (3 tries in a row)" in message
    assert "70,000 bytes are kept and will be continued" in message
    assert str(tmp_path / "photos.zip") in message and "200,000 bytes, sha256 " in message
    assert not (tmp_path / "photos.zip").exists()
    server.tricks["/b"] = []
    fetch(remote(second), tmp_path, **QUICK)
    assert is_whole(tmp_path) and server.ranges[-1] == "bytes=70000-"


def test_what_a_server_says_cannot_steer_the_terminal(server, tmp_path):
    def rude(server, request, content):
        request.send_response(404, "\x1b[2J gone")
        request.send_header("Content-Length", "0")
        request.end_headers()

    with pytest.raises(MissingFile, match="gone") as caught:
        fetch(remote(server.put("/a", CONTENT, rude)), tmp_path, **QUICK)
    assert "\x1b" not in str(caught.value)


# ---------------------------------------------------------------- parts that were left behind


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (CONTENT, []),  # complete but for its name
        (CONTENT[:-1], [f"bytes={SIZE - 1}-"]),
        (CONTENT + b"!", [""]),
        (WRONG, [""]),
        (WRONG[:70_000], ["bytes=70000-", ""]),
        (b"", [""]),
    ],
)
def test_a_part_of_a_file_of_known_checksum(server, tmp_path, part, asked):
    put_part(tmp_path, part)
    fetch(remote(server.put("/a", CONTENT)), tmp_path, **QUICK)
    assert is_whole(tmp_path) and server.ranges == asked


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (CONTENT, [f"bytes={SIZE}-"]),  # 416, and it is complete
        (CONTENT + b"!", [f"bytes={SIZE + 1}-", ""]),  # 416, and it is too long
        (WRONG, [f"bytes={SIZE}-", ""]),
    ],
)
def test_416_when_the_size_is_not_known(server, tmp_path, part, asked):
    put_part(tmp_path, part)
    fetch(remote(server.put("/a", CONTENT), size=False), tmp_path, **QUICK)
    assert is_whole(tmp_path) and server.ranges == asked


def test_416_without_a_word_on_the_size(server, tmp_path):
    put_part(tmp_path, CONTENT)
    fetch(remote(server.put("/a", CONTENT, status(416)), size=False), tmp_path, **QUICK)
    assert is_whole(tmp_path) and len(server.requests) == 1


# Without a checksum only the server can say that the file is still the same.
@pytest.mark.parametrize("size", [True, False])
def test_a_file_that_changed_meanwhile_comes_anew(server, tmp_path, size):
    url = server.put("/a", WRONG, *[trick(stop=70_000)] * 3)
    wanted = remote(url, size=size, checksum=False)
    with pytest.raises(MissingFile):
        fetch(wanted, tmp_path, **{**QUICK, "tries": 1})
    server.put("/a", CONTENT)
    fetch(wanted, tmp_path, **QUICK)
    assert is_whole(tmp_path)
    assert server.requests[-1] == ("/a", "bytes=70000-", f'"{hashlib.md5(WRONG).hexdigest()}"')


def test_a_changed_file_is_seen_by_its_length_if_by_nothing_else(server, tmp_path):
    url = server.put("/a", WRONG + b"!", trick(stop=70_000))
    server.tricks["/a"].append(other(CONTENT, if_range=False))
    server.files["/a"] = WRONG + b"!"

    def then(server, request, content):
        other(CONTENT)(server, request, content)

    server.tricks["/a"].append(then)
    fetch(remote(url, size=False, checksum=False), tmp_path, **QUICK)
    assert is_whole(tmp_path) and server.ranges == ["", "bytes=70000-", ""]


def test_without_checksum_and_validator_it_starts_anew(server, tmp_path):
    url = server.put("/a", CONTENT, trick(stop=70_000, validators=False))
    fetch(remote(url, checksum=False), tmp_path, **QUICK)
    assert is_whole(tmp_path) and server.ranges == ["", ""]


def test_a_weak_validator_is_not_used_but_a_date_is(server, tmp_path):
    date = "Tue, 01 Jul 2014 10:00:00 GMT"
    weak = {"ETag": 'W/"1"', "Last-Modified": date}
    url = server.put("/a", CONTENT, trick(stop=70_000, validators=False, headers=weak))
    fetch(remote(url, checksum=False), tmp_path, **QUICK)
    assert is_whole(tmp_path) and server.requests[-1] == ("/a", "bytes=70000-", date)


def test_a_file_of_which_nothing_is_known_must_at_least_have_a_length(server, tmp_path):
    url = server.put("/a", CONTENT, trick(length=False))
    wanted = remote(url, size=False, checksum=False)
    with pytest.raises(MissingFile, match="does not say how long the file is"):
        fetch(wanted, tmp_path, **QUICK)
    fetch(wanted, tmp_path, **QUICK)
    assert is_whole(tmp_path)


def test_a_page_is_no_file_even_if_nothing_is_known_of_the_file(server, tmp_path):
    bad = server.put("/a", b"<html>log in</html>", trick(headers=PAGE))
    wanted = remote(bad, server.put("/b", CONTENT), size=False, checksum=False)
    fetch(wanted, tmp_path, **QUICK)
    assert is_whole(tmp_path)


def test_a_gzipped_file_stays_gzipped(server, tmp_path):
    """Some servers name the encoding of a .gz as it lies on their disk; it must stay as it is."""
    url = server.put("/a", CONTENT, trick(headers={"Content-Encoding": "x-gzip"}))
    path = fetch(Remote("set.tar.gz", (url,)), tmp_path, **QUICK)
    assert path.read_bytes() == CONTENT
    url = server.put("/b", CONTENT, trick(headers={"Content-Encoding": "gzip"}))
    with pytest.raises(MissingFile, match="though asked not to"):
        fetch(Remote("set.zip", (url,)), tmp_path, **QUICK)


# ---------------------------------------------------------------- the disk, and others on it


def test_room_is_looked_for_before_anything_is_fetched(server, tmp_path, monkeypatch):
    free = disk.ROOM_TO_SPARE + 150_000
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    wanted = remote(server.put("/a", CONTENT))
    with pytest.raises(DataError, match=r"200,000 bytes more .* 150,000 bytes are free") as caught:
        fetch(wanted, tmp_path, **QUICK)
    assert str(tmp_path) in str(caught.value) and server.requests == []
    put_part(tmp_path, CONTENT[:60_000])  # what is there needs no room
    fetch(wanted, tmp_path, **QUICK)
    assert is_whole(tmp_path)


def test_a_file_of_unknown_size_stops_before_the_disk_is_full(server, tmp_path, monkeypatch):
    free = iter(range(disk.ROOM_TO_SPARE + 10 * 2**20, 0, -(2**20)))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": next(free)}))
    url = server.put("/a", CONTENT, trick(endless=True, chunked=True))
    with pytest.raises(DataError, match="Make room there"):
        fetch(remote(url, size=False), tmp_path, **QUICK)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_that_cannot_be_written_to(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="Permission denied"):
        fetch(remote(server.put("/a", CONTENT)), tmp_path / "new", **QUICK)


def test_a_file_where_the_folder_should_be(server, tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(DataError, match=r"File exists|Not a directory"):
        fetch(remote(server.put("/a", CONTENT)), tmp_path / "x", **QUICK)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "..", ".x", "a\\b", "C:x"])
def test_only_plain_names(tmp_path, name):
    with pytest.raises(DataError, match="no plain file name"):
        fetch(Remote(name, ("http://127.0.0.1:9/",)), tmp_path)


def test_two_at_once_fetch_it_once(server, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)  # which would silence the message
    wanted = remote(server.put("/a", CONTENT, trick(pause=0.005)))
    threads = [
        threading.Thread(target=fetch, args=(wanted, tmp_path), kwargs=QUICK) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_whole(tmp_path) and len(server.requests) == 1
    assert "waiting for another process" in capsys.readouterr().out


FETCH = """
import sys
from mmret_lib.files.download import fetch
from mmret_lib.files.remote import Remote
name, url, size, sha256, folder = sys.argv[1:]
fetch(Remote(name, (url,), int(size), sha256 or None), folder, progress=False, pause=0.01)
"""


@pytest.mark.kill
@pytest.mark.parametrize("checksum", [True, False])
def test_killed_at_any_moment_the_next_run_finishes_it(server, tmp_path, checksum):
    chance = random.Random(7)
    wanted = remote(server.put("/a", CONTENT), checksum=checksum)
    facts = [wanted.name, *wanted.urls, str(SIZE), wanted.sha256 or ""]
    command = [sys.executable, "-c", FETCH, *facts, str(tmp_path)]
    part, target = tmp_path / ".photos.zip.part", tmp_path / "photos.zip"
    marks = sorted(chance.sample(range(SIZE), 3))
    for mark in [*marks, None]:
        server.tricks["/a"] = [trick(pause=0.002 if mark else 0.0)]
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 20
        while mark and process.poll() is None and time.monotonic() < deadline:
            if part.exists() and part.stat().st_size >= mark:
                process.kill()
            time.sleep(0.001)
        process.wait(20)
        assert not target.exists() or target.read_bytes() == CONTENT
    assert process.returncode == 0 and is_whole(tmp_path)
    assert all(asked for asked in server.ranges[1:])  # no run but the first began at the beginning
    assert server.sent < 2 * SIZE
