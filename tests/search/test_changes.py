"""Adding, removing and rebuilding: by one, by several at a time, and when it fails."""

import json
import threading
import time

import numpy as np
import pytest
import torch
from indexes import MILVUS, QUERY, assert_same, index_files, new_model, without

from mmret_lib.data import Pairs
from mmret_lib.files.errors import DataError
from mmret_lib.search import SearchIndex
from mmret_lib.search.draft import Draft
from mmret_lib.search.faiss_index import FAISS_KINDS

pytestmark = pytest.mark.slow  # nearly every test trains or writes much

pytest.importorskip("faiss")
pytest.importorskip("pymilvus")


def test_an_index_grows_shrinks_and_is_rebuilt(folder, model, whole, pairs):
    with SearchIndex.open(folder, model) as index:
        assert index.add(pairs.subset(range(40, 60)), progress=False) is index
        assert_same(index, whole)
        gone = {3, 17, 41, 59}
        assert index.remove(sorted(gone)) is index
        assert_same(index, without(whole, gone))
        mask = np.zeros(len(index), bool)
        mask[0] = True
        index.remove(mask)
        gone |= {0}
        assert_same(index, without(whole, gone))
    with SearchIndex.open(folder, model) as index:
        assert_same(index, without(whole, gone))
        assert index.rebuild() is index
        assert_same(index, without(whole, gone))
    with SearchIndex.open(folder, model) as index:
        assert_same(index, without(whole, gone))
        index.add(pairs.subset([3]), progress=False)
        assert index.pairs.images[-1].absolute() == pairs.images[3]
    # Nothing of what was before lies about.
    named = json.loads((folder / "manifest.json").read_text())["files"]
    left = {path.name for path in folder.iterdir()} - {one["name"] for one in named.values()}
    assert left <= {".lock", "manifest.json", "milvus.json", "milvus.db"}


@pytest.mark.parametrize("backend", ["exact", *FAISS_KINDS, MILVUS])
def test_an_index_in_memory_does_the_same_and_is_saved(tmp_path, model, whole, pairs, backend):
    first = pairs.subset(range(40))
    with SearchIndex.build(model, first, backend=backend, progress=False) as index:
        index.add(pairs.subset(range(40, 60)), progress=False)
        assert_same(index, whole)
        index.remove([5])
        assert_same(index, without(whole, {5}))
        assert index.save(tmp_path / "saved") is index and index.folder == tmp_path / "saved"
        assert_same(index, without(whole, {5}))
        index.remove([5])
        assert_same(index, without(whole, {5, 6}))
    with SearchIndex.open(tmp_path / "saved", model) as index:
        assert_same(index, without(whole, {5, 6}))
        assert index.backend == backend


def test_an_index_made_by_hand_can_be_saved_and_rebuilt(tmp_path, model, whole, pairs):
    index = SearchIndex(model, pairs, whole.image_emb, whole.text_emb)
    for backend in ("hnsw", "exact", "ivf"):
        assert_same(index.rebuild(backend), whole)
        assert index.backend == backend
    with pytest.raises(DataError, match=r"call save\(folder\)"):
        index.rebuild("milvus")
    index.save(tmp_path / "a")
    assert_same(index.rebuild("milvus"), whole)
    index.save(tmp_path / "b").close()
    with SearchIndex.open(tmp_path / "b", model) as again:
        assert again.backend == "milvus"
        assert_same(again, whole)


def test_mostly_removed_indexes_are_built_anew(tmp_path, model, whole, pairs):
    index = SearchIndex.build(
        model, pairs, backend="hnsw", folder=tmp_path / "index", progress=False
    )
    index.remove(range(20))
    held = index._collection.sides["image"].index
    assert len(held) == 60
    index.remove(range(20))
    held = index._collection.sides["image"].index
    assert len(held) == 20
    assert_same(index, without(whole, set(range(40))))


def test_images_that_are_there_already_are_not_added_twice(folder, model, whole, pairs):
    with SearchIndex.open(folder, model) as index:
        with pytest.warns(UserWarning, match="10 of 30 images are in the index already"):
            index.add(pairs.subset(range(30, 60)), progress=False)
        assert_same(index, whole)
        key = json.loads((folder / "manifest.json").read_text())["key"]
        with pytest.warns(UserWarning, match="20 of 20 images"):
            index.add(pairs.subset(range(20)), progress=False)
        assert json.loads((folder / "manifest.json").read_text())["key"] == key


def test_a_model_that_was_trained_on_adds_nothing(folder, model, pairs):
    changed = new_model(captions=pairs.captions)
    with SearchIndex.open(folder, changed) as index:
        with torch.no_grad():
            changed.image.projection.bias[0] += 1e-3
        with pytest.raises(DataError, match="was trained further since"):
            index.add(pairs.subset(range(40, 60)), progress=False)
        assert len(index) == 40


def test_what_cannot_be_meant_is_refused(tmp_path, model, pairs):
    build = SearchIndex.build
    with pytest.raises(DataError, match="no backend 'annoy'; choose exact, flat"):
        build(model, pairs, backend="annoy", progress=False)
    with pytest.raises(DataError, match="goes with"):
        build(model, pairs, backend="hnsw", uri="http://host:1", progress=False)
    with pytest.raises(DataError, match="leave uri out"):
        build(
            model,
            pairs,
            backend="milvus",
            folder=tmp_path / "i",
            uri=str(tmp_path / "i" / "x.db"),
            progress=False,
        )
    index = build(model, pairs.subset(range(3)), progress=False)
    with pytest.raises(DataError, match="nothing to add"):
        index.add(Pairs([], [], np.zeros(0, np.int64), []), progress=False)
    with pytest.raises(DataError, match="no image would be left"):
        index.remove([0, 1, 2])
    with pytest.raises(IndexError, match="3 images"):
        index.remove([3])
    with pytest.raises(TypeError):
        index.remove([0.5])
    assert len(index) == 3
    index.remove([])
    assert len(index) == 3


@pytest.mark.parametrize("change", ["add", "remove", "rebuild", "build"])
def test_a_change_that_fails_leaves_all_as_it_was(monkeypatch, folder, model, whole, pairs, change):
    first = without(whole, set(range(40, 60)))
    before = {path: path.read_bytes() for path in index_files(folder)}
    with SearchIndex.open(folder, model) as index:
        changes = {
            "add": lambda: index.add(pairs.subset(range(40, 60)), progress=False),
            "remove": lambda: index.remove([0]),
            "rebuild": index.rebuild,
            "build": lambda: SearchIndex.build(
                model, pairs, backend=index.backend, folder=folder, progress=False
            ),
        }
        with monkeypatch.context() as patch:
            patch.setattr(Draft, "_write", _full_disk)
            with pytest.raises(DataError, match=r"No space left .*try again"):
                changes[change]()
        assert {path: path.read_bytes() for path in index_files(folder)} == before
        assert_same(index, first)
        index.add(pairs.subset(range(40, 60)), progress=False)
        assert_same(index, whole)
    with SearchIndex.open(folder, model) as index:
        assert_same(index, whole)


def _full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_two_that_change_one_folder_both_count(folder, model, whole, pairs):
    first, second = SearchIndex.open(folder, model), SearchIndex.open(folder, model)
    first.add(pairs.subset(range(40, 50)), progress=False)
    second.add(pairs.subset(range(50, 60)), progress=False)
    assert_same(second, whole)
    # Its own first image is still the one that it means, though the other one moved all up.
    second.remove([0])
    first.remove([1])
    assert_same(first, without(whole, {0, 1}))
    first.close(), second.close()
    with SearchIndex.open(folder, model) as index:
        assert_same(index, without(whole, {0, 1}))


def test_threads_change_one_folder_in_turn(folder, model, whole, pairs):
    failed: list[Exception] = []
    models = {first: new_model(captions=pairs.captions) for first in (40, 45, 50, 55)}

    def grow(first: int) -> None:
        try:
            with SearchIndex.open(folder, models[first]) as index:
                for image in range(first, first + 5):
                    index.add(pairs.subset([image]), progress=False)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=grow, args=(first,)) for first in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with SearchIndex.open(folder, model) as index:
        assert len(index) == 60 and set(index.pairs.images) == set(pairs.images)
        hits = index.by_text(QUERY, k=60)
        wanted = {hit.image: hit.score for hit in whole.by_text(QUERY, k=60)}
        assert {hit.image for hit in hits} == set(wanted)
        assert all(hit.score == pytest.approx(wanted[hit.image], abs=1e-4) for hit in hits)


def test_a_reader_has_the_old_or_the_new_never_half(folder, model, pairs):
    stop, failed, seen = threading.Event(), [], set()
    reader = new_model(captions=pairs.captions)

    def read() -> None:
        while not stop.is_set():
            try:
                with SearchIndex.open(folder, reader) as index:
                    hits = index.by_image(pairs.images[0], k=1000)
                    counts = len(index), len(index.pairs.captions), len(hits)
                    assert counts in {(n, 5 * n, 5 * n) for n in (40, 41, 42, 43, 44)}
                    seen.add(counts[0])
            except Exception as error:
                failed.append(error)
                return

    thread = threading.Thread(target=read)
    with SearchIndex.open(folder, model) as index:
        thread.start()
        for image in range(40, 44):
            index.add(pairs.subset([image]), progress=False)
            time.sleep(0.1)
        stop.set()
        thread.join()
    assert failed == [] and len(seen) >= 2


def test_who_has_it_open_keeps_what_it_has(folder, model, whole, pairs):
    if "milvus" in (folder / "manifest.json").read_text().split('"dim"')[0]:
        pytest.skip("a file of Milvus Lite is one for all")
    reader = SearchIndex.open(folder, model)
    with SearchIndex.open(folder, model) as writer:
        writer.add(pairs.subset(range(40, 60)), progress=False)
        writer.remove(range(20))
    assert_same(reader, without(whole, set(range(40, 60))))


def test_asking_goes_on_while_the_index_grows(folder, model, pairs):
    failed = []
    with SearchIndex.open(folder, model) as index:

        def grow() -> None:
            try:
                for image in range(40, 60):
                    index.add(pairs.subset([image]), progress=False)
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=grow)
        thread.start()
        counts = []
        while thread.is_alive():
            hits = index.by_text(QUERY, k=1000)
            assert len({hit.image_index for hit in hits}) == len(hits)
            counts.append(len(hits))
        thread.join()
        assert failed == [] and counts == sorted(counts) and counts[0] >= 40
        assert len(index.by_text(QUERY, k=1000)) == 60
