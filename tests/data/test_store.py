"""The packed store: the same pixels and token ids as decoding anew, made once."""

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from small_stores import SIDE, Letters, decoded_anew, drawn, noise, photo_set

from mmret_lib.data import Pairs
from mmret_lib.data.images import read_pixels
from mmret_lib.data.pixel_hash import pixel_hashes
from mmret_lib.data.store import Store, pack
from mmret_lib.data.store_files import read_manifest
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.records import write_manifest

ROOT = Path(__file__).resolve().parents[2]

# ---------------------------------------------------------------- what is in it


@pytest.mark.slow
@pytest.mark.parametrize("workers", [None, 1, 2])
def test_all_images_in_their_order(tmp_path, workers, capfd):
    """300 images are enough for processes to share them."""
    pairs = photo_set(tmp_path / "photos", 300)
    store = pack(pairs, SIDE, tmp_path / "store", workers=workers, progress=False)
    assert store.pairs is pairs and len(store) == 300 and store.size == SIDE
    np.testing.assert_array_equal(store[:], np.stack([drawn(index) for index in range(300)]))
    assert capfd.readouterr() == ("", "")


def test_reading_it(packed):
    assert packed[3].shape == (3, SIDE, SIDE) and packed[3].dtype == np.uint8
    np.testing.assert_array_equal(packed[3], drawn(3))
    np.testing.assert_array_equal(packed[-1], drawn(39))
    np.testing.assert_array_equal(packed[[4, 2]], np.stack([drawn(4), drawn(2)]))
    np.testing.assert_array_equal(packed[10:12], np.stack([drawn(10), drawn(11)]))
    with pytest.raises(IndexError):
        packed[40]
    out = np.empty((2, 3, SIDE, SIDE), np.uint8)
    packed.read_into(np.array([7, 0]), out)
    np.testing.assert_array_equal(out, np.stack([drawn(7), drawn(0)]))
    with pytest.raises(IndexError):
        packed.read_into(np.array([7, 40]), out)
    packed[3][:] = 0  # a copy: the store itself cannot be written to
    np.testing.assert_array_equal(packed[3], drawn(3))
    with pytest.raises(ValueError, match="read-only"):
        packed.pixels[0] = 0


def test_opened_again_it_is_the_same(packed, pairs):
    again = Store.open(packed.folder)
    assert again.pairs.images == pairs.images and again.pairs.captions == pairs.captions
    assert again.pairs.image_ids == pairs.image_ids and again.pairs.name == "photos"
    np.testing.assert_array_equal(again.pairs.owner, pairs.owner)
    np.testing.assert_array_equal(again[:], packed[:])


def test_real_photos_as_read_one_by_one(real_data, tmp_path):
    from mmret_lib.data import load_pairs

    pairs = load_pairs("flickr8k", root=real_data / "flickr8k", split="test")
    store = pack(pairs, 224, tmp_path / "store", progress=False)
    for index in range(0, len(pairs), 7):
        np.testing.assert_array_equal(store[index], read_pixels(pairs.images[index], 224))


def test_numbers_of_numpy_and_odd_texts_come_back(tmp_path):
    pairs = photo_set(tmp_path / "photos", 2)
    odd = Pairs(
        images=pairs.images,
        captions=["שלום 🐘 <b>", "a\x1b[2J", "x" * 70_000, "ça"],
        owner=pairs.owner,
        image_ids=list(np.arange(2)),
        caption_info=[{"claim": i} for i in range(4)],
    )
    pack(odd, SIDE, tmp_path / "store", progress=False)
    again = Store.open(tmp_path / "store").pairs
    assert again.captions == odd.captions and again.image_ids == [0, 1]
    assert again.caption_info == odd.caption_info


def test_word_pieces_once_for_each_vocabulary(packed):
    letters = Letters()
    words = packed.token_ids(letters)
    assert words.dtype == np.int32 and len(words) == 80 and not words.flags.writeable
    words = np.array(words)  # the files below are about to change under the map
    read = ["".join(chr(i) for i in row[row >= 0]) for row in words]
    assert read == packed.pairs.captions
    again = Store.open(packed.folder)
    np.testing.assert_array_equal(again.token_ids(letters), words)
    assert letters.calls == 1, "the second call tokenised again"
    packed.token_ids(Letters("another vocabulary"))
    assert len(list(packed.folder.glob("words-*.npy"))) == 2
    damaged = sorted(packed.folder.glob("words-*.npy"))
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    np.testing.assert_array_equal(again.token_ids(letters), words)
    assert letters.calls == 2, "damaged word pieces were used as they are"


def test_the_real_tokeniser_names_its_vocabulary(packed):
    from mmret_lib.encoders import TextEncoder

    encoder = TextEncoder()
    name = encoder.vocabulary()
    words = packed.token_ids(encoder)  # leaves padding and truncation behind in the tokeniser
    assert encoder.vocabulary() == name
    assert TextEncoder(max_length=20).vocabulary() != name
    ids = encoder.tokenize(packed.pairs.captions)["input_ids"].numpy()
    np.testing.assert_array_equal(np.maximum(words, 0), ids)


@pytest.mark.slow
def test_other_processes_read_the_same_pages(packed):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sums = pool.map(total_of, [packed, packed])
    assert sums == [int(packed[:].sum())] * 2
    assert len(pickle.dumps(packed)) < 500, "the pickle carries pixels"


def total_of(store: Store) -> int:
    return int(store[:].sum())


def test_workers_start_without_torch():
    code = "import sys, mmret_lib.data.store; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# ---------------------------------------------------------------- made once


def test_nothing_is_decoded_twice(packed, pairs, monkeypatch):
    seen = decoded_anew(monkeypatch)
    again = pack(pairs, SIDE, packed.folder, progress=False)
    assert seen == [] and np.array_equal(again[:], packed[:])


def test_a_changed_photo_is_seen(packed, pairs):
    noise(1000).save(pairs.images[5])
    os.utime(pairs.images[5], ns=(1, 1))
    again = pack(pairs, SIDE, packed.folder, progress=False)
    np.testing.assert_array_equal(again[5], drawn(1000))
    assert len(list(packed.folder.glob("images-*"))) == 1, "the old images are still there"


def test_changed_captions_cost_no_decoding(packed, pairs, monkeypatch):
    packed.token_ids(Letters())
    seen = decoded_anew(monkeypatch)
    other = Pairs(pairs.images, ["new"] * 40, np.arange(40), pairs.image_ids, "photos")
    again = pack(other, SIDE, packed.folder, progress=False)
    assert seen == []
    assert Store.open(packed.folder).pairs.captions == ["new"] * 40
    assert len(again.token_ids(Letters())) == 40
    assert len(list(packed.folder.glob("words-*.npy"))) == 1, "words of captions that are gone"


def test_another_size_and_other_photos_have_places_of_their_own(pairs, tmp_path):
    folders = {
        pack(which, size, progress=False).folder
        for which in (pairs, pairs.subset(range(7)))
        for size in (SIDE, SIDE + 1)
    }
    assert len(folders) == 4
    assert all(Path(os.environ["MMRET_CACHE"]) in folder.parents for folder in folders)


def test_a_store_is_its_own_pack(packed):
    assert pack(packed, SIDE) is packed
    with pytest.raises(DataError, match="holds images of 8 pixels, 9 are wanted"):
        pack(packed, 9)


def test_a_copy_of_a_store_opens(packed, tmp_path):
    shutil.copytree(packed.folder, tmp_path / "copy")  # another time on every file
    np.testing.assert_array_equal(Store.open(tmp_path / "copy")[:], packed[:])


# ---------------------------------------------------------------- unreadable images


def test_a_store_of_an_older_version_gets_its_hashes_once(packed, monkeypatch):
    manifest = read_manifest(packed.folder)
    (packed.folder / manifest.pop("hashes")["name"]).unlink()
    write_manifest(packed.folder / "manifest.json", manifest)
    expected = pixel_hashes(packed[:])
    np.testing.assert_array_equal(Store.open(packed.folder).hashes, expected)
    monkeypatch.setattr("mmret_lib.data.store.pixel_hashes", lambda _: pytest.fail("once"))
    np.testing.assert_array_equal(Store.open(packed.folder).hashes, expected)


def test_unreadable_images_are_left_out_counted_and_named(tmp_path, pairs):
    pairs.images[3].write_bytes(b"")
    pairs.images[17].unlink()
    for _ in range(2):  # packed, and found packed
        with pytest.warns(UserWarning, match="could not be read") as caught:
            store = pack(pairs, SIDE, tmp_path / "store", max_unreadable=0.05, progress=False)
        assert len(caught) == 1 and caught[0].filename == __file__
        message = str(caught[0].message)
        assert message.startswith("2 of 40 images could not be read: ")
        assert "3.png is empty" in message and "17.png does not exist" in message
        assert store.pairs.skipped == (message,)
        assert len(store) == len(store[:]) == 38
        for place, index in enumerate(store.pairs.image_ids):
            assert store.pairs.captions_of(place) == [f"picture {index}"] * 2
            np.testing.assert_array_equal(store[place], drawn(index))
        assert len(store.token_ids(Letters())) == 76
    with pytest.warns(UserWarning, match="2 of 40"):
        again = Store.open(tmp_path / "store")
    assert again.pairs.captions == store.pairs.captions and np.array_equal(again[:], store[:])


def test_too_many_unreadable_images_are_an_error_and_cost_no_second_decoding(
    tmp_path, pairs, monkeypatch
):
    for index in range(0, 24, 2):
        pairs.images[index].write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        pack(pairs, SIDE, tmp_path / "store", progress=False)
    message = str(caught.value)
    assert message.startswith("30.0% of the images cannot be read, more than the 1.0% allowed")
    assert "12 of 40" in message and "0.png is not an image" in message
    assert "and 7 more" in message and "max_unreadable" in message
    seen = decoded_anew(monkeypatch)
    with pytest.warns(UserWarning, match="12 of 40"):
        store = pack(pairs, SIDE, tmp_path / "store", max_unreadable=0.5, progress=False)
    assert len(store) == 28 and seen == []


def test_word_pieces_follow_the_images_that_can_be_read(tmp_path, pairs):
    pack(pairs, SIDE, tmp_path / "store", progress=False).token_ids(Letters())
    content = pairs.images[3].read_bytes()
    for spoilt in (b"", content, b""):
        pairs.images[3].write_bytes(spoilt)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store = pack(pairs, SIDE, tmp_path / "store", max_unreadable=0.1, progress=False)
        words = store.token_ids(Letters())
        read = ["".join(chr(i) for i in row[row >= 0]) for row in words]
        assert read == store.pairs.captions
        assert len(read) == (80 if spoilt else 78)


def test_none_readable_is_an_error_at_any_share(tmp_path):
    pairs = photo_set(tmp_path / "photos", 2)
    for path in pairs.images:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 2 images can be read"):
        pack(pairs, SIDE, tmp_path / "store", max_unreadable=1.0, progress=False)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (0, {}, "size is 0"),
        (5000, {}, "size is 5000"),
        (8, {"max_unreadable": 1.5}, "max_unreadable is 1.5"),
        (8, {"max_unreadable": float("nan")}, "max_unreadable is nan"),
    ],
)
def test_settings_out_of_range(pairs, size, options, message):
    with pytest.raises(DataError, match=message):
        pack(pairs, size, progress=False, **options)


def test_no_images(pairs):
    with pytest.raises(DataError, match="no images to pack"):
        pack(pairs.subset([]), SIDE, progress=False)


@pytest.mark.slow
def test_more_than_the_disk_holds_is_refused_before_anything_is_written(pairs, tmp_path):
    many = pairs.subset(np.tile(np.arange(40), 2000))
    with pytest.raises(DataError, match=r"80,000 images at 4096 x 4096 pixels takes .* bytes"):
        pack(many, 4096, tmp_path / "store", progress=False)
    assert list((tmp_path / "store").iterdir()) == []


def test_somebody_elses_folder_is_left_alone(pairs, tmp_path):
    (tmp_path / "photos" / "store").mkdir()
    (tmp_path / "photos" / "store" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match=r"holds thesis\.txt, which is not part of a packed store"):
        pack(pairs, SIDE, tmp_path / "photos" / "store", progress=False)
    assert os.listdir(tmp_path / "photos" / "store") == ["thesis.txt"]


def test_what_is_no_store(tmp_path, packed):
    with pytest.raises(MissingFile, match="there is no packed store"):
        Store.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFile, match=r"lacks manifest\.json"):
        Store.open(tmp_path / "empty")


@pytest.mark.slow
def test_a_script_needs_no_main_guard(tmp_path):
    """Python's own process pools would run such a script again in every worker."""
    photo_set(tmp_path / "photos", 300)
    script = (
        "from pathlib import Path\nfrom mmret_lib.data.pairs import Pairs\n"
        "from mmret_lib.data.store import pack\nimport numpy as np\n"
        f"images = sorted(Path({str(tmp_path / 'photos')!r}).iterdir())\n"
        "pairs = Pairs(images, ['a'] * 300, np.arange(300), list(range(300)))\n"
        f"print(len(pack(pairs, 8, {str(tmp_path / 'store')!r}, workers=2, progress=False)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-"],
        input=script,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr) == ("300\n", "")


@pytest.mark.slow
def test_a_worker_that_dies_is_told_and_what_is_done_stays(tmp_path, monkeypatch):
    pairs = photo_set(tmp_path / "photos", 300)
    monkeypatch.setattr(sys, "executable", shutil.which("true"))
    with pytest.raises(DataError, match=r"a process that packs images .* died.*call again"):
        pack(pairs, SIDE, tmp_path / "store", workers=2, progress=False)
    monkeypatch.undo()
    assert len(pack(pairs, SIDE, tmp_path / "store", workers=2, progress=False)) == 300


def test_a_store_holds_from_another_working_folder(tmp_path, monkeypatch):
    """Photos and a folder given by relative paths, or with ~, are recorded as what they mean."""
    absolute = photo_set(tmp_path / "photos", 3)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    relative = Pairs(
        [path.relative_to(tmp_path) for path in absolute.images],
        absolute.captions,
        absolute.owner,
        absolute.image_ids,
    )
    store = pack(relative, SIDE, "store", progress=False)
    assert pack(relative, SIDE, "~/store", progress=False).folder == tmp_path / "store"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Store.open("~/store").pairs.images == absolute.images
    assert np.array_equal(pickle.loads(pickle.dumps(store))[:], store[:])
