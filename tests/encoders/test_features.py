"""Computing features: of pixels and of photos alike, once, to the end, and into the right place."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import mini
from small_stores import photo_set

from mmret_lib.data.feature_files import SPAN
from mmret_lib.data.store import pack
from mmret_lib.encoders.features import data_for, keep_features
from mmret_lib.files import cache
from mmret_lib.files.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return mini()


@pytest.fixture
def pairs(tmp_path):
    return photo_set(tmp_path / "photos", SPAN + 6)


def files_of(folder):
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*-*.npy")}


def test_the_same_from_photos_and_from_a_store(model, pairs, tmp_path):
    store = pack(pairs, 64, progress=False)
    one = keep_features(model, pairs, folder=tmp_path / "one", views=1, progress=False)
    other = keep_features(model, store, folder=tmp_path / "other", views=1, progress=False)
    np.testing.assert_array_equal(one.image.values, other.image.values)
    np.testing.assert_array_equal(one.text.values, other.text.values)
    np.testing.assert_array_equal(one.hashes, other.hashes)
    np.testing.assert_array_equal(one.hashes, store.hashes)
    assert one.image.key == other.image.key and one.text.key == other.text.key
    assert len(one) == len(pairs) and one.views == 2
    with torch.no_grad():
        expected = model.eval().image.extract_features(torch.from_numpy(store[:]))
    np.testing.assert_allclose(one[:], expected.numpy(), rtol=1e-5, atol=1e-5)


def test_a_caption_that_occurs_twice_is_computed_once(model, pairs):
    features = keep_features(model, pairs, progress=False)
    assert len(features.text.values) == len(set(pairs.captions)) < len(pairs.captions)
    texts = features.texts(slice(None))
    with torch.no_grad():
        for j in (0, 1, 30, 139):
            tokens = model.eval().text.tokenize([pairs.captions[j]])
            expected = model.text.extract_features(**tokens)[0].numpy()
            np.testing.assert_allclose(texts[j], expected, rtol=1e-4, atol=1e-5)


def test_found_again_in_the_cache_and_listed_there(model, pairs):
    features = keep_features(model, pairs, progress=False)
    before = files_of(features.image.folder.parent)
    again = keep_features(model, pairs, progress=False)
    assert again.image.folder == features.image.folder and before == files_of(
        features.image.folder.parent
    )
    entries = {entry.path: entry for entry in cache.list_cache()}
    entry = entries[features.image.folder]
    assert entry.kind == "features"
    assert entry.made_from == "70 images by mini, 0 augmented views, float32"
    deleted, used = cache.clear_cache(progress=False)
    assert features.image.folder in {e.path for e in used}  # this process reads it
    del features, again
    deleted, used = cache.clear_cache(progress=False)
    assert entry.path in {e.path for e in deleted}


def test_each_side_has_a_key_of_its_own(model, pairs):
    one = keep_features(model, pairs, progress=False)
    half = keep_features(model, pairs, dtype="float16", progress=False)
    assert half.image.values.dtype == np.float16 and half[0].dtype == np.float32
    np.testing.assert_allclose(half[:], one[:], rtol=1e-3, atol=1e-3)
    pairs.images[3].unlink()
    shutil.copy(pairs.images[4], pairs.images[3])
    changed = keep_features(model, pairs, progress=False)
    assert changed.image.folder != one.image.folder and changed.text.folder == one.text.folder
    np.testing.assert_array_equal(changed[3], changed[4])


def test_other_weights_and_other_pixels_are_other_features(pairs, tmp_path):
    keep_features(mini(), pairs, folder=tmp_path / "kept", progress=False)
    with pytest.raises(DataError, match="features of another backbone, or other weights"):
        keep_features(mini(), pairs, folder=tmp_path / "kept", progress=False)
    model = mini()
    first = keep_features(model, pairs, progress=False)
    model.image.mean += 0.01
    assert keep_features(model, pairs, progress=False).image.folder != first.image.folder
    model.text.pooling = "mean"
    assert keep_features(model, pairs, progress=False).text.folder != first.text.folder


def test_views_are_augmented_and_the_same_again(model, pairs, tmp_path):
    options = {"views": 2, "augment": "crop", "progress": False}
    one = keep_features(model, pairs, folder=tmp_path / "one", **options)
    views = one.image.values
    assert views.shape == (70, 3, 256)
    assert not np.array_equal(views[:, 0], views[:, 1])
    assert not np.array_equal(views[:, 1], views[:, 2])
    other = keep_features(model, pairs, folder=tmp_path / "other", batch_size=1000, **options)
    np.testing.assert_allclose(other.image.values, views, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match=r"another number of views \(2, where 3 is wanted\)"):
        keep_features(model, pairs, folder=tmp_path / "one", **{**options, "views": 3})


def test_unreadable_photos_are_left_out_counted_and_named(model, pairs):
    pairs.images[3].write_bytes(b"")
    with pytest.raises(DataError, match=r"1\.4% of the images cannot be read"):
        keep_features(model, pairs, progress=False)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"1 of 70 images could not be read: .*3\.png"):
            features = keep_features(model, pairs, max_unreadable=0.1, progress=False)
        assert len(features) == 69 and 3 not in features.pairs.image_ids
    with pytest.warns(UserWarning, match="could not be read"):
        store = pack(pairs, 64, max_unreadable=0.1, progress=False)
    again = keep_features(model, store, progress=False)
    assert again.image.folder == features.image.folder
    assert again.pairs.image_ids == features.pairs.image_ids
    np.testing.assert_array_equal(again[:], features[:])


def test_features_that_are_not_finite_are_refused_by_name(pairs):
    model = mini()
    with torch.no_grad():
        model.image.backbone.conv1.weight[0] = torch.nan
    with pytest.raises(DataError, match=r"the feature of image .*0\.png is not finite"):
        keep_features(model, pairs, progress=False)
    with pytest.raises(DataError, match=r"the feature of image '0\.png' is not finite"):
        keep_features(model, pack(pairs, 64, progress=False), progress=False)
    model = mini()
    with torch.no_grad():
        model.text.backbone.embeddings.LayerNorm.weight[0] = torch.nan
    with pytest.raises(DataError, match="the feature of caption 'picture 0' is not finite"):
        keep_features(model, pairs, progress=False)


def test_shipped_features_need_no_photos_and_are_not_written_to(model, pairs, tmp_path):
    shipped = tmp_path / "shipped"
    made = keep_features(model, pairs, folder=shipped, progress=False)
    shutil.rmtree(shipped / "text")
    for path in (shipped / "image", shipped):
        path.chmod(0o555)
    before = {path: path.stat().st_mtime_ns for path in shipped.rglob("*")}
    gone = [tmp_path / "nowhere" / path.name for path in pairs.images]
    without = replace(pairs, images=gone, features=shipped).subset(range(60, 10, -1))
    features = keep_features(model, without, progress=False)
    np.testing.assert_array_equal(features[:], made[np.arange(60, 10, -1)])
    assert Path(os.environ["MMRET_CACHE"]) in features.text.folder.parents
    assert before == {path: path.stat().st_mtime_ns for path in shipped.rglob("*")}
    assert data_for(model, without, progress=False).text is None  # its backbone may train
    with pytest.raises(DataError, match="features of another backbone, or other weights of it"):
        keep_features(mini(), without, progress=False)
    with pytest.raises(DataError, match=r"another number of views \(0, where 2 is wanted\)"):
        keep_features(model, without, views=2, progress=False)
    strange = replace(without, image_ids=["x", *without.image_ids[1:]])
    with pytest.raises(DataError, match="no features of 1 of the 50 images, the first is 'x'"):
        keep_features(model, strange, progress=False)


def test_shipped_captions_are_used_where_all_are_there(model, pairs, tmp_path):
    keep_features(model, pairs, folder=tmp_path / "shipped", progress=False)
    brought = replace(pairs, features=tmp_path / "shipped")
    text = keep_features(model, brought, progress=False).text
    assert text.folder == tmp_path / "shipped" / "text"
    other = replace(brought, captions=["new", *brought.captions[1:]])
    assert keep_features(model, other, progress=False).text.folder != text.folder


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": -1}, "views is -1"),
        ({"augment": "rotate"}, "choose shift or crop"),
        ({"dtype": "int8"}, "choose float32 or float16"),
        ({"sides": "image"}, "give a list of image and text"),
        ({"sides": ["sound"]}, "give a list of image and text"),
    ],
)
def test_options_that_do_not_exist(model, pairs, options, words):
    with pytest.raises(DataError, match=words):
        keep_features(model, pairs, **options)


KEEPER = """
import sys
from pathlib import Path
import numpy as np
import torch
from mmret_lib.data.pairs import Pairs
from mmret_lib.encoders import DualEncoder
from mmret_lib.encoders.features import keep_features

photos, folder, count = sys.argv[1:]
images = [Path(photos) / f"{index}.png" for index in range(int(count))]
captions = [f"picture {index // 2}" for index in range(2 * len(images))]
owner = np.repeat(np.arange(len(images)), 2)
pairs = Pairs(images, captions, owner, list(range(len(images))), "photos")
torch.set_num_threads(1)
model = DualEncoder.from_names()
print("begins", flush=True)
keep_features(model, pairs, folder=folder, views=1, progress=False)
"""


@pytest.mark.kill
def test_killed_at_any_moment_the_next_call_finishes_the_job(tmp_path):
    count = 8 * SPAN
    pairs = photo_set(tmp_path / "photos", count)
    model = mini(image_weights="mini", text_weights="mini")
    options = {"views": 1, "progress": False}
    started = time.monotonic()
    expected = keep_features(model, pairs, folder=tmp_path / "expected", **options)
    seconds = time.monotonic() - started
    script = tmp_path / "keeper.py"
    script.write_text(KEEPER)
    command = [sys.executable, script, tmp_path / "photos", tmp_path / "kept", count]
    rng = np.random.default_rng(0)
    for _ in range(3):  # a process takes seconds to start
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, seconds / 3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in (tmp_path / "kept").rglob("values-*.npy"):  # named only when whole
            assert np.load(path).shape == getattr(expected, path.parent.name).values.shape
    whole = {path.parent for path in (tmp_path / "kept").rglob("manifest.json")}
    features = keep_features(model, pairs, folder=tmp_path / "kept", **options)
    np.testing.assert_array_equal(features.image.values, expected.image.values)
    np.testing.assert_array_equal(features.text.values, expected.text.values)
    np.testing.assert_array_equal(features.hashes, expected.hashes)
    assert not list((tmp_path / "kept").rglob("*.part"))
    # One that was killed after its manifest, before it had swept up, leaves a journal behind.
    assert {path.parent for path in (tmp_path / "kept").rglob("*.journal")} <= whole
