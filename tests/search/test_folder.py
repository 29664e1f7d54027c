"""A search index on disk: kept, grown, shrunk, shared, damaged, and asked on the command line."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmret_lib import cli
from mmret_lib.data import Pairs, load_pairs
from mmret_lib.encoders import DualEncoder
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.records import write_manifest
from mmret_lib.search import BACKENDS, SearchIndex
from mmret_lib.search.draft import Draft
from mmret_lib.training import History, TrainConfig, save_run

pytest.importorskip("faiss")
pytest.importorskip("pymilvus")

ROOT = Path(__file__).resolve().parents[2]
QUERY = "A zebra stands on the grass."


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Pairs:
    root = tmp_path_factory.mktemp("world")
    return load_pairs("scenes", root=root, split="test", size=60, progress=False)


def new_model(seed: int = 0, **settings) -> DualEncoder:
    torch.manual_seed(seed)
    return DualEncoder.from_names(image_weights=None, text_weights=None, **settings).eval()


@pytest.fixture(scope="module")
def model(pairs) -> DualEncoder:
    return new_model(captions=pairs.captions)


@pytest.fixture(scope="module")
def whole(model, pairs) -> SearchIndex:
    """All 60 images under the exact search."""
    return SearchIndex.build(model, pairs, progress=False)


@pytest.fixture(scope="module", params=BACKENDS)
def kept(request, tmp_path_factory, model, pairs) -> Path:
    """A folder with the first 40 images, for each backend; to be copied."""
    folder = tmp_path_factory.mktemp("kept") / "index"
    first = pairs.subset(range(40))
    SearchIndex.build(model, first, backend=request.param, folder=folder, progress=False).close()
    return folder


@pytest.fixture
def folder(kept, tmp_path) -> Path:
    return shutil.copytree(kept, tmp_path / "index")


def found(index: SearchIndex, k: int = 10**6) -> list[list[tuple]]:
    """What the index answers in all four directions, by name."""
    picture = index.pairs.images[-1]
    answers = (
        index.by_text(QUERY, k),
        index.by_image(picture, k),
        index.similar_images(picture, k),
        index.similar_captions(QUERY, k),
    )
    return [[(hit.image.name, hit.caption, round(hit.score, 4)) for hit in a] for a in answers]


def same(index: SearchIndex, exact: SearchIndex) -> None:
    """That an index holds all that another one holds, and answers alike."""
    assert list(map(Path.absolute, index.pairs.images)) == exact.pairs.images
    assert index.pairs.captions == exact.pairs.captions
    assert index.pairs.owner.tolist() == exact.pairs.owner.tolist()
    torch.testing.assert_close(index.image_emb, exact.image_emb, atol=1e-5, rtol=0)
    torch.testing.assert_close(index.text_emb, exact.text_emb, atol=1e-5, rtol=0)
    for got, wanted in zip(found(index), found(exact), strict=True):
        assert sorted(hit[:2] for hit in got if hit[1]) == sorted(h[:2] for h in wanted if h[1])
        np.testing.assert_allclose([h[2] for h in got], [h[2] for h in wanted], atol=2e-4)
    for got, wanted in zip(found(index, 10), found(exact, 10), strict=True):
        assert len(got) == len(wanted) == 10
        assert np.mean([h[2] for h in got]) == pytest.approx(
            np.mean([h[2] for h in wanted]), abs=0.02
        )


def without(exact: SearchIndex, gone: set[int]) -> SearchIndex:
    left = np.array([image not in gone for image in range(len(exact))])
    captions = torch.from_numpy(left[exact.pairs.owner])
    return SearchIndex(
        exact.model,
        exact.pairs.subset(left),
        exact.image_emb[torch.from_numpy(left)],
        exact.text_emb[captions],
    )


# ---------------------------------------------------------------- from beginning to end


def test_an_index_is_opened_as_it_was_kept(folder, model, whole, pairs):
    with SearchIndex.open(folder, model) as index:
        same(index, without(whole, set(range(40, 60))))
        assert index.folder == folder and len(index) == 40
        approximate = index.backend != "exact"
        assert (index.recall is not None) == approximate
        if index.recall:
            assert set(index.recall) == {
                "text→image",
                "image→image",
                "image→text",
                "text→text",
            }
            assert min(index.recall.values()) >= 0.95
            assert f"{index.backend} search, recall@10 against exact" in repr(index)
            assert f"{index.recall['text→image']:.3f}" in repr(index)
        else:
            assert "exact search" in repr(index)


def test_an_index_grows_shrinks_and_is_rebuilt(folder, model, whole, pairs):
    with SearchIndex.open(folder, model) as index:
        assert index.add(pairs.subset(range(40, 60)), progress=False) is index
        same(index, whole)
        gone = {3, 17, 41, 59}
        assert index.remove(sorted(gone)) is index
        same(index, without(whole, gone))
        mask = np.zeros(len(index), bool)
        mask[0] = True
        index.remove(mask)
        gone |= {0}
        same(index, without(whole, gone))
    with SearchIndex.open(folder, model) as index:
        same(index, without(whole, gone))
        assert index.rebuild() is index
        same(index, without(whole, gone))
    with SearchIndex.open(folder, model) as index:
        same(index, without(whole, gone))
        index.add(pairs.subset([3]), progress=False)
        assert index.pairs.images[-1].absolute() == pairs.images[3]
    # Nothing of what was before lies about.
    named = json.loads((folder / "manifest.json").read_text())["files"]
    left = {path.name for path in folder.iterdir()} - {one["name"] for one in named.values()}
    assert left <= {".lock", "manifest.json", "milvus.json", "milvus.db"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_index_in_memory_does_the_same_and_is_saved(tmp_path, model, whole, pairs, backend):
    first = pairs.subset(range(40))
    with SearchIndex.build(model, first, backend=backend, progress=False) as index:
        index.add(pairs.subset(range(40, 60)), progress=False)
        same(index, whole)
        index.remove([5])
        same(index, without(whole, {5}))
        assert index.save(tmp_path / "saved") is index and index.folder == tmp_path / "saved"
        same(index, without(whole, {5}))
        index.remove([5])
        same(index, without(whole, {5, 6}))
    with SearchIndex.open(tmp_path / "saved", model) as index:
        same(index, without(whole, {5, 6}))
        assert index.backend == backend


def test_an_index_made_by_hand_can_be_saved_and_rebuilt(tmp_path, model, whole, pairs):
    index = SearchIndex(model, pairs, whole.image_emb, whole.text_emb)
    for backend in ("hnsw", "exact", "ivf"):
        same(index.rebuild(backend), whole)
        assert index.backend == backend
    with pytest.raises(DataError, match=r"call save\(folder\)"):
        index.rebuild("milvus")
    index.save(tmp_path / "a")
    same(index.rebuild("milvus"), whole)
    index.save(tmp_path / "b").close()
    with SearchIndex.open(tmp_path / "b", model) as again:
        assert again.backend == "milvus"
        same(again, whole)


def test_the_embeddings_of_a_kept_index_lie_in_its_files(folder, model):
    with SearchIndex.open(folder, model) as index:
        if Path("/proc/self/maps").exists():
            maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
            for name, emb in (("image_emb", index.image_emb), ("text_emb", index.text_emb)):
                spans = [one[0].split("-") for one in maps if f"{folder}/{name}" in one[-1]]
                at = emb.data_ptr()
                assert any(int(start, 16) <= at < int(end, 16) for start, end in spans)
        before = {path: path.read_bytes() for path in folder.glob("*.npy")}
        index.image_emb.zero_()
        assert {path: path.read_bytes() for path in before} == before


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
    same(index, without(whole, set(range(40))))


def test_images_that_are_there_already_are_not_added_twice(folder, model, whole, pairs):
    with SearchIndex.open(folder, model) as index:
        with pytest.warns(UserWarning, match="10 of 30 images are in the index already"):
            index.add(pairs.subset(range(30, 60)), progress=False)
        same(index, whole)
        key = json.loads((folder / "manifest.json").read_text())["key"]
        with pytest.warns(UserWarning, match="20 of 20 images"):
            index.add(pairs.subset(range(20)), progress=False)
        assert json.loads((folder / "manifest.json").read_text())["key"] == key


def test_file_names_hold_in_another_folder(tmp_path, monkeypatch, model, pairs):
    monkeypatch.chdir(pairs.images[0].parent)
    local = replace(pairs, images=[Path(path.name) for path in pairs.images]).subset(range(5))
    SearchIndex.build(model, local, folder=tmp_path / "index", progress=False)
    monkeypatch.chdir(tmp_path)
    index = SearchIndex.open("index", model)
    assert index.by_text(QUERY)[0].image.is_file()
    monkeypatch.chdir(pairs.images[0].parent)
    with pytest.warns(UserWarning, match="5 of 5"):
        SearchIndex.open(tmp_path / "index", model).add(local, progress=False)


ODD = [
    "<script>alert(1)</script>",
    "\x1b[31mred\x07 \0 nul",
    "פיל תינוק \u202e",
    "a\nb\r\nc",
    "x" * 10_000,
    "🐘👨‍👩‍👧",
    "'; DROP TABLE captions; --",
    "{{7*7}}",
    '"quoted"',
    "\\u003c",
]


@pytest.mark.parametrize("backend", ["hnsw", "milvus"])
def test_odd_captions_come_back_as_they_were(tmp_path, model, pairs, backend):
    odd = Pairs(pairs.images[:2], ODD, np.repeat([0, 1], 5), ["../a", 7])
    SearchIndex.build(
        model, odd, backend=backend, folder=tmp_path / "index", progress=False
    ).close()
    with SearchIndex.open(tmp_path / "index", model) as index:
        assert index.pairs.captions == ODD and index.pairs.image_ids == ["../a", 7]
        assert {hit.caption for hit in index.by_image(pairs.images[0], k=50)} == set(ODD)
        for query in ODD:
            hits = index.similar_captions(query, k=10)
            assert {hit.caption for hit in hits} == set(ODD)
            # Of odd characters the vocabulary knows little; what embeds alike comes first too.
            assert hits[0].score == pytest.approx(1, abs=1e-4)


# ---------------------------------------------------------------- the four directions


def test_lists_are_answered_as_one_by_one(folder, model, pairs):
    with SearchIndex.open(folder, model) as index:
        texts, pictures = [QUERY, "A bus.", QUERY], pairs.images[:3]
        for ask, asked in (
            (index.by_text, texts),
            (index.similar_captions, texts),
            (index.by_image, pictures),
            (index.similar_images, pictures),
        ):
            together, single = ask(asked, k=4), [ask(one, k=4) for one in asked]
            for some, one in zip(together, single, strict=True):
                assert [hit.rank for hit in some] == [1, 2, 3, 4]
                assert [hit.score for hit in some] == pytest.approx(
                    [hit.score for hit in one], abs=1e-4
                )
            assert ask([], k=4) == [] and len(ask(tuple(asked), k=4)) == 3


def test_what_is_asked_for_comes_first_among_its_like(whole, pairs):
    hits = whole.similar_images(pairs.images[7], k=60)
    assert hits[0].image_index == 7 and hits[0].score == pytest.approx(1, abs=1e-4)
    assert hits[0].caption is None and {hit.image_index for hit in hits} == set(range(60))
    hits = whole.similar_captions(pairs.captions[33], k=300)
    assert hits[0].caption == pairs.captions[33] and hits[0].score == pytest.approx(1, abs=1e-4)
    assert {hit.caption_index for hit in hits} == set(range(300))
    assert all(hit.image_index == pairs.owner[hit.caption_index] for hit in hits)


# ---------------------------------------------------------------- which model


def test_another_model_is_refused(folder, model, pairs):
    others = [
        new_model(seed=1, captions=pairs.captions),
        new_model(captions=pairs.captions, pooling="mean"),
        new_model(captions=pairs.captions, max_length=32),
        new_model(captions=pairs.captions, image_size=32),
        new_model(captions=pairs.captions, standardise=True),
        new_model(captions=pairs.captions[:50]),
    ]
    for other in others:
        with pytest.raises(DataError, match=r"made by another model .*mmret index RUN"):
            SearchIndex.open(folder, other)
    SearchIndex.open(folder, new_model(captions=pairs.captions)).close()


def test_a_model_is_the_same_after_it_was_saved_and_loaded(tmp_path, folder, model):
    model.save(tmp_path / "model")
    SearchIndex.open(folder, DualEncoder.load(tmp_path / "model")).close()


def test_a_model_that_was_trained_on_adds_nothing(folder, model, pairs):
    changed = new_model(captions=pairs.captions)
    with SearchIndex.open(folder, changed) as index:
        with torch.no_grad():
            changed.image.projection.bias[0] += 1e-3
        with pytest.raises(DataError, match="was trained on since"):
            index.add(pairs.subset(range(40, 60)), progress=False)
        assert len(index) == 40


# ---------------------------------------------------------------- damage


def parts(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*-*.*"), folder / "manifest.json"])


def spoil(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "short":
        path.write_bytes(content[: len(content) * 2 // 3])
    elif how == "long":
        path.write_bytes(content + b"\0" * 512)
    else:
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["gone", "empty", "short", "long", "flipped"])
def test_damage_is_named_with_a_remedy(kept, tmp_path, model, how):
    for number, name in enumerate(path.name for path in parts(kept)):
        folder = shutil.copytree(kept, tmp_path / str(number))
        spoil(folder / name, how)
        with pytest.raises(DataError) as caught:
            SearchIndex.open(folder, model)
        said = str(caught.value)
        assert name.split("-")[0] in said and f"mmret index RUN {folder}" in said


def test_a_damaged_index_is_replaced_by_building_it_anew(folder, model, whole, pairs):
    for path in parts(folder):
        spoil(path, "short")
    SearchIndex.build(model, pairs, folder=folder, progress=False)
    with SearchIndex.open(folder, model) as index:
        same(index, whole)


@pytest.mark.parametrize(
    "change",
    [
        {"key": "00000000"},
        {"version": 2},
        {"version": None},
        {"format": "mmret store"},
        {"sides": {}},
        {"backend": "other"},
    ],
)
def test_a_manifest_that_was_edited_is_refused(folder, model, change):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=r"manifest\.json|version"):
        SearchIndex.open(folder, model)


@pytest.mark.parametrize("text", ["", "null", "[]", "7", "{", '"' * 3, "[" * 100_000, "\0"])
def test_a_manifest_that_is_none_is_refused(tmp_path, model, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"not a search index that can be used: manifest\.json"):
        SearchIndex.open(tmp_path, model)


def test_counts_are_compared_even_where_all_checksums_agree(folder, model):
    """Files of two states, each sound: a copy that went wrong, or a hand that meant well."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("sha256")
    manifest["sides"]["text"]["rows"] -= 1
    write_manifest(path, manifest)
    with pytest.raises(DataError, match="200 texts, not 199"):
        SearchIndex.open(folder, model)
    if manifest["backend"] in ("flat", "hnsw", "ivf"):
        manifest["sides"]["text"] |= {"rows": 200, "next_id": 7}
        write_manifest(path, manifest)
        with pytest.raises(DataError, match=r"text_index-\w+\.faiss holds \d+ vectors"):
            SearchIndex.open(folder, model)


def test_there_is_no_index_in_an_empty_folder(tmp_path, model):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(MissingFile, match=r"no finished search index .* mmret index RUN"):
            SearchIndex.open(folder, model)


def test_a_folder_with_other_things_is_left_alone(tmp_path, model, pairs):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"holds thesis\.tex, .* folder of its own"):
        SearchIndex.build(model, pairs, folder=tmp_path, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="folder of its own"):
        SearchIndex.build(model, pairs, folder=tmp_path / "file", progress=False)
    assert sorted(os.listdir(tmp_path)) == ["file", "thesis.tex"]


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


# ---------------------------------------------------------------- failures and other processes


@pytest.mark.parametrize("change", ["add", "remove", "rebuild", "build"])
def test_a_change_that_fails_leaves_all_as_it_was(monkeypatch, folder, model, whole, pairs, change):
    first = without(whole, set(range(40, 60)))
    before = {path: path.read_bytes() for path in parts(folder)}
    with SearchIndex.open(folder, model) as index:
        with monkeypatch.context() as patch:
            patch.setattr(Draft, "_write", _full_disk)
            with pytest.raises(DataError, match=r"No space left .*try again"):
                if change == "add":
                    index.add(pairs.subset(range(40, 60)), progress=False)
                elif change == "remove":
                    index.remove([0])
                elif change == "rebuild":
                    index.rebuild()
                else:
                    backend = index.backend
                    SearchIndex.build(model, pairs, backend=backend, folder=folder, progress=False)
        assert {path: path.read_bytes() for path in parts(folder)} == before
        same(index, first)
        index.add(pairs.subset(range(40, 60)), progress=False)
        same(index, whole)
    with SearchIndex.open(folder, model) as index:
        same(index, whole)


def _full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_two_that_change_one_folder_both_count(folder, model, whole, pairs):
    first, second = SearchIndex.open(folder, model), SearchIndex.open(folder, model)
    first.add(pairs.subset(range(40, 50)), progress=False)
    second.add(pairs.subset(range(50, 60)), progress=False)
    same(second, whole)
    # Its own first image is still the one that it means, though the other one moved all up.
    second.remove([0])
    first.remove([1])
    same(first, without(whole, {0, 1}))
    first.close(), second.close()
    with SearchIndex.open(folder, model) as index:
        same(index, without(whole, {0, 1}))


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
    same(reader, without(whole, set(range(40, 60))))


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


# ---------------------------------------------------------------- Milvus


def test_a_database_that_a_kill_left_odd_is_mended(tmp_path, model, whole, pairs):
    folder = tmp_path / "index"
    index = SearchIndex.build(model, pairs, backend="milvus", folder=folder, progress=False)
    database = index._collection.sides["image"].index
    database.add(np.arange(60, 64), index.image_emb.numpy(), np.arange(4))  # grown, not committed
    database.remove(np.arange(5, 8))
    index._collection.sides["text"].index.remove(np.arange(0, 100, 7))
    index.close()
    with SearchIndex.open(folder, model) as index:
        assert index._collection.sides["image"].index.count() == 60
        same(index, whole)
    shutil.rmtree(folder / "milvus.db")
    with pytest.raises(DataError, match=r"has no collection .*mmret index RUN"):
        SearchIndex.open(folder, model)


SERVER = """
import sys, time
from milvus_lite.adapter.grpc.server import start_server_in_thread
server, db, port = start_server_in_thread(sys.argv[1], host="127.0.0.1", port=0)
print(port, flush=True)
sys.stdin.read()
server.stop(0)
db.close()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a Milvus that runs in another process, as a cluster does."""
    command = [sys.executable, "-c", SERVER, str(tmp_path_factory.mktemp("cluster") / "data")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    process.communicate(timeout=60)


def test_the_same_code_asks_a_cluster(tmp_path, cluster, model, whole, pairs):
    def build(some: Pairs) -> SearchIndex:
        return SearchIndex.build(
            model,
            some,
            backend="milvus",
            folder=tmp_path / "index",
            uri=cluster,
            token="user:secret",
            progress=False,
        )

    from pymilvus import MilvusClient

    with build(pairs.subset(range(40))) as index:
        index.add(pairs.subset(range(40, 60)), progress=False)
        # Any number may read a cluster at once; each goes on with what it opened.
        with SearchIndex.open(tmp_path / "index", model) as reader:
            same(reader, whole)
            index.remove([0, 1])
            same(index, without(whole, {0, 1}))
            assert len(reader.by_text(QUERY, k=10)) == 10
            index.rebuild()
            same(index, without(whole, {0, 1}))
    other = tmp_path / "other"
    with SearchIndex.build(
        model, pairs, backend="milvus", folder=other, uri=cluster, progress=False
    ) as second:
        same(second, whole)
        with build(pairs) as index:
            same(index, whole)
        same(second, whole)
    client = MilvusClient(cluster)
    assert len(client.list_collections()) == 4, "two of each folder, none left behind"
    client.close()
    assert not (tmp_path / "index" / "milvus.db").exists()
    for path in (tmp_path / "index").rglob("*"):
        assert not path.is_file() or b"secret" not in path.read_bytes()


def test_a_cluster_that_is_gone_is_named(tmp_path, model, pairs):
    with pytest.raises(DataError, match=r"Milvus at http://127\.0\.0\.1:9 failed while connecting"):
        SearchIndex.build(
            model,
            pairs,
            backend="milvus",
            folder=tmp_path / "index",
            uri="http://127.0.0.1:9",
            progress=False,
        )
    with pytest.raises(MissingFile):
        SearchIndex.open(tmp_path / "index", model)


# ---------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def run(tmp_path_factory, model, pairs) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    data = {"name": "scenes", "root": str(pairs.images[0].parents[2]), "split": "test"}
    save_run(
        folder,
        model,
        History([{"epoch": 1, "loss": 1.0}]),
        TrainConfig(),
        loss="simclr",
        loss_settings={},
        data=data,
        figures={},
        made_by={},
    )
    return folder


def mmret(capsys, *arguments: object) -> str:
    with warnings.catch_warnings():
        cli.main(list(map(str, arguments)))
    return capsys.readouterr().out


@pytest.fixture
def small(monkeypatch, pairs):
    """The built-in world as 40 images, whatever split is asked for."""
    asked = []

    def load(name, **options):
        asked.append((name, options.get("split")))
        return pairs.subset(range(40) if options.get("split") == "test" else range(30, 60))

    monkeypatch.setattr("mmret_lib.data.load_pairs", load)
    return asked


def test_an_index_is_made_grown_and_asked_on_the_command_line(
    capsys, tmp_path, run, small, whole, pairs
):
    folder = tmp_path / "index"
    said = mmret(capsys, "index", run, folder, "--backend", "hnsw")
    assert "40 images, 200 captions; hnsw search, recall@10 against exact: text→image" in said
    said = mmret(capsys, "index", run, folder, "--split", "val", "--add")
    assert "60 images, 300 captions; hnsw search" in said
    asked = len(small)
    said = mmret(capsys, "search", run, QUERY, "--index", folder, "--k", "3")
    assert len(small) == asked, "the collection is not read again"
    assert "60 images searched" in said and "recall@10" in said
    assert [line.split()[2] for line in said.splitlines() if line.lstrip()[0] in "123"] == [
        str(hit.image) for hit in whole.by_text(QUERY, k=3)
    ]
    said = mmret(capsys, "search", run, pairs.images[2], "--index", folder, "--k", "1")
    assert whole.by_image(pairs.images[2], k=1)[0].caption in said


@pytest.mark.parametrize("backend", ["exact", "ivf", "milvus"])
def test_search_makes_the_index_that_is_not_there(capsys, tmp_path, run, small, backend):
    arguments = ("search", run, QUERY, "--index", tmp_path / "index", "--backend", backend)
    first, second = mmret(capsys, *arguments), mmret(capsys, *arguments)
    assert [line for line in first.splitlines() if ".png" in line] == [
        line for line in second.splitlines() if ".png" in line
    ]
    assert ("recall@10" in first) == (backend != "exact") and len(small) == 1
    said = mmret(capsys, "search", run, QUERY, "--backend", backend)
    assert said.count(".png") == 5


def test_search_takes_a_database_by_its_address(capsys, tmp_path, run, small, cluster):
    for where in (tmp_path / "vectors.db", cluster):
        said = mmret(capsys, "search", run, QUERY, "--milvus", where)
        assert "milvus search, recall@10" in said and said.count(".png") == 5


def test_the_command_line_says_what_is_wrong(capsys, tmp_path, run, small):
    folder = tmp_path / "index"
    mmret(capsys, "index", run, folder)
    for arguments, said in (
        (("search", run, QUERY, "--index", folder, "--backend", "ivf"), "searched by exact"),
        (("search", run, QUERY, "--index", folder, "--split", "val"), "its own collection"),
        (("index", run, folder, "--add", "--backend", "ivf"), "leave out the others"),
        (("index", run, tmp_path / "none", "--add"), "no finished search index"),
        (("search", run, QUERY, "--milvus", "nonsense"), "no address of Milvus"),
        (("index", run, tmp_path / "b", "--milvus", "http://a:b@host:1"), "MILVUS_TOKEN"),
    ):
        with pytest.raises(SystemExit):
            mmret(capsys, *arguments)
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error


# ---------------------------------------------------------------- kills


@pytest.mark.parametrize("task", ["index-build", "index-grow"])
def test_an_index_that_was_killed_is_whole_and_goes_on(task):
    """Twice here; `python benchmarks/kills.py --kills 30` does it as often as one likes."""
    command = [sys.executable, ROOT / "benchmarks" / "kills.py", "--kills", "2", "--tasks", task]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)
    assert f"| {task} | 2 | 2 | 2 |" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
