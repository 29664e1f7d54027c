"""A packed store that was damaged, or whose maker was killed: nothing wrong is ever read."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_stores import SIDE, Letters, decoded_anew, drawn, images_file, photo_set

from mmret_lib.data import packing
from mmret_lib.data.packing import SPAN
from mmret_lib.data.pixel_hash import pixel_hashes
from mmret_lib.data.store import Store, pack
from mmret_lib.files.errors import DataError

pytestmark = pytest.mark.slow  # nearly every test trains or writes much

ROOT = Path(__file__).resolve().parents[2]

PARTS = ["manifest.json", "images-*.npy", "captions-*.json", "owners-*.npy", "words-*.npy"]
PARTS += ["hashes-*.npy"]


def all_that_it_says(store: Store, letters: Letters) -> tuple:
    return (
        store[:].tobytes(),
        store.pairs.captions,
        store.pairs.owner.tolist(),
        store.pairs.images,
        np.array(store.token_ids(letters)).tolist(),
        store.hashes.tolist(),
    )


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("how", ["missing", "empty", "cut short", "longer", "other bytes", "text"])
def test_a_damaged_file_is_told_and_mended(packed, pairs, part, how):
    letters = Letters()
    expected = all_that_it_says(packed, letters)
    (path,) = packed.folder.glob(part)
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "cut short": content[: len(content) // 2],
                "longer": content + b"\0" * 64,
                "other bytes": content[:-40] + bytes(b ^ 255 for b in content[-40:-1]) + b"}",
                "text": b"Sign in to go on",
            }[how]
        )
    if not part.startswith(("words", "hashes")):  # those are made again in silence
        with pytest.raises(DataError) as caught:
            Store.open(packed.folder)
        assert str(packed.folder) in str(caught.value) and "ack it again" in str(caught.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = pack(pairs, SIDE, packed.folder, progress=False)
    assert all_that_it_says(again, letters) == expected
    assert all_that_it_says(Store.open(packed.folder), letters) == expected


def test_only_what_is_damaged_is_decoded_again(tmp_path, monkeypatch):
    pairs = photo_set(tmp_path / "photos", 3 * SPAN)
    store = pack(pairs, SIDE, tmp_path / "store", progress=False)
    expected = store[:]
    del store
    with images_file(tmp_path / "store").open("rb+") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"0123456789")
    seen = decoded_anew(monkeypatch)
    with pytest.raises(DataError, match=rf"the first: images {2 * SPAN} to {3 * SPAN - 1}"):
        Store.open(tmp_path / "store")
    with pytest.warns(UserWarning, match="mending the store"):
        again = pack(pairs, SIDE, tmp_path / "store", progress=False)
    assert seen == pairs.images[2 * SPAN :]
    np.testing.assert_array_equal(again[:], expected)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A store that is copied for every blow."""
    home = tmp_path_factory.mktemp("sound")
    pairs = photo_set(home / "photos", 20)
    store = pack(pairs, SIDE, home / "store", progress=False)
    return home, pairs, all_that_it_says(store, Letters())


def assert_right_or_refused_and_mended(folder, pairs, expected):
    try:
        store = Store.open(folder)
        assert all_that_it_says(store, Letters()) == expected
    except DataError:
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = pack(pairs, SIDE, folder, progress=False)
    assert all_that_it_says(again, Letters()) == expected


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_happens_to_its_bytes_nothing_wrong_is_read(sound, data):
    """Fuzzed: a store opens as it was written, or not at all, and packing mends it."""
    home, pairs, expected = sound
    shutil.rmtree(home / "hit", ignore_errors=True)
    shutil.copytree(home / "store", home / "hit")
    part = data.draw(st.sampled_from(PARTS))
    (path,) = (home / "hit").glob(part)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    path.write_bytes(content)
    assert_right_or_refused_and_mended(home / "hit", pairs, expected)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), value=json_values)
def test_a_manifest_with_any_value_anywhere_is_refused_or_harmless(sound, data, value):
    home, pairs, expected = sound
    shutil.rmtree(home / "hit", ignore_errors=True)
    shutil.copytree(home / "store", home / "hit")
    path = home / "hit" / "manifest.json"
    manifest = json.loads(path.read_text())
    place: dict = manifest
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    path.write_text(json.dumps(manifest))
    assert_right_or_refused_and_mended(home / "hit", pairs, expected)


# ---------------------------------------------------------------- killed on the way

PACKER = """
import sys
from pathlib import Path
import numpy as np
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import pack

if __name__ == "__main__":
    photos, folder, count, workers = sys.argv[1:]
    images = [Path(photos) / f"{index}.png" for index in range(int(count))]
    captions = [f"picture {index // 2}" for index in range(2 * len(images))]
    owner = np.repeat(np.arange(len(images)), 2)
    pairs = Pairs(images, captions, owner, list(range(len(images))), "photos")
    print("begins", flush=True)
    pack(pairs, 64, folder, workers=int(workers), progress=False)
"""


@pytest.mark.kill
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_the_next_call_finishes_the_job(tmp_path, workers):
    photos = photo_set(tmp_path / "photos", 500)
    sound = pack(photos, 64, tmp_path / "expected", progress=False)
    expected, hashes = sound[:], sound.hashes
    script = tmp_path / "packer.py"
    script.write_text(PACKER)
    command = [sys.executable, script, tmp_path / "photos", tmp_path / "store", "500", str(workers)]
    rng = np.random.default_rng(workers)
    for _ in range(4):
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.3 if workers == 1 else 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in (tmp_path / "store").glob("images-*.npy"):  # it has its name only when whole
            np.testing.assert_array_equal(np.load(path), expected)
    whole = (tmp_path / "store" / "manifest.json").exists()
    store = pack(photos, 64, tmp_path / "store", progress=False)
    np.testing.assert_array_equal(store[:], expected)
    np.testing.assert_array_equal(store.hashes, hashes)
    assert not list(store.folder.glob("*.part"))
    # One that was killed after its manifest, before it had swept up, leaves a journal behind.
    assert whole or not list(store.folder.glob("*.journal"))


def test_a_journal_is_not_believed_without_its_bytes(tmp_path, monkeypatch):
    """After a power cut the journal may be on the disk and the pixels not."""
    pairs = photo_set(tmp_path / "photos", 2 * SPAN)
    store = pack(pairs, SIDE, tmp_path / "store", progress=False)
    expected, manifest = store[:], store.manifest
    folder, path = store.folder, images_file(store.folder)
    del store
    lines = [[k, crc, {}] for k, crc in enumerate(manifest["images"]["crc32"])]
    journal = "\n".join(map(json.dumps, lines)) + '\n[3, 17\n["a"]\n{"b": 1}\n[9, 9, 9]\n'
    path.with_suffix(".journal").write_text(journal)
    content = path.read_bytes()
    path.with_name(path.name + ".part").write_bytes(content[:-1000] + bytes(1000))
    path.unlink()
    (folder / "manifest.json").unlink()
    seen = decoded_anew(monkeypatch)
    again = pack(pairs, SIDE, folder, progress=False)
    np.testing.assert_array_equal(again[:], expected)
    np.testing.assert_array_equal(again.hashes, pixel_hashes(expected))
    assert seen == pairs.images[SPAN:]


def test_a_disk_without_room_for_the_file(pairs, tmp_path):
    """A limit on the length of files stands for a full disk: both fail the same call."""
    resource = pytest.importorskip("resource")  # Unix only
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(DataError, match=r"cannot be written .* make room and call again"):
            pack(pairs, SIDE, tmp_path / "store", progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert not list((tmp_path / "store").glob("images-*.npy"))
    assert len(pack(pairs, SIDE, tmp_path / "store", progress=False)) == 40


def test_a_disk_that_fills_up_keeps_what_is_done(tmp_path, monkeypatch):
    pairs = photo_set(tmp_path / "photos", 3 * SPAN)
    real = packing.write_span

    def until_full(part, start, first, paths, size):
        if first >= 2 * SPAN:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(part, start, first, paths, size)

    monkeypatch.setattr(packing, "write_span", until_full)
    with pytest.raises(DataError, match=r"No space left on device.* make room and call again"):
        pack(pairs, SIDE, tmp_path / "store", progress=False)
    monkeypatch.undo()
    seen = decoded_anew(monkeypatch)
    store = pack(pairs, SIDE, tmp_path / "store", progress=False)
    assert np.array_equal(store[:], np.stack([drawn(index) for index in range(3 * SPAN)]))
    assert seen == pairs.images[2 * SPAN :]


def test_two_at_once_make_one_store(tmp_path):
    photo_set(tmp_path / "photos", 200)
    script = tmp_path / "packer.py"
    script.write_text(PACKER)
    command = [sys.executable, script, tmp_path / "photos", tmp_path / "store", "200", "1"]
    both = [
        subprocess.Popen(list(map(str, command)), env={**os.environ, "PYTHONPATH": str(ROOT)})
        for _ in range(2)
    ]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len(Store.open(tmp_path / "store")) == 200


def test_no_file_stays_open(tmp_path):
    if not os.path.isdir("/dev/fd"):
        pytest.skip("this system does not list open files in /dev/fd")
    pairs = photo_set(tmp_path / "photos", 200)
    pack(pairs, SIDE, tmp_path / "first", progress=False)
    before = len(os.listdir("/dev/fd"))
    pack(pairs, SIDE, tmp_path / "second", progress=False)
    assert len(os.listdir("/dev/fd")) <= before + 1
