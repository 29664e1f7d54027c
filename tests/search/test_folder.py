"""An index in a folder: opened as it was written, refused where it is damaged."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from indexes import MILVUS, QUERY, assert_same, index_files, new_model, spoil, without

from mmret_lib.data import Pairs
from mmret_lib.encoders import DualEncoder
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.records import write_manifest
from mmret_lib.search import SearchIndex

pytest.importorskip("faiss")
pytest.importorskip("pymilvus")


def test_an_index_is_opened_as_it_was_kept(folder, model, whole, pairs):
    with SearchIndex.open(folder, model) as index:
        assert_same(index, without(whole, set(range(40, 60))))
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


@pytest.mark.parametrize("backend", ["hnsw", MILVUS])
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


@pytest.mark.parametrize("how", ["gone", "empty", "short", "long", "flipped"])
def test_damage_is_named_with_a_remedy(kept, tmp_path, model, how):
    for number, name in enumerate(path.name for path in index_files(kept)):
        folder = shutil.copytree(kept, tmp_path / str(number))
        spoil(folder / name, how)
        with pytest.raises(DataError) as caught:
            SearchIndex.open(folder, model)
        said = str(caught.value)
        assert name.split("-")[0] in said and f"mmret index RUN {folder}" in said


def test_a_damaged_index_is_replaced_by_building_it_anew(folder, model, whole, pairs):
    for path in index_files(folder):
        spoil(path, "short")
    SearchIndex.build(model, pairs, folder=folder, progress=False)
    with SearchIndex.open(folder, model) as index:
        assert_same(index, whole)


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
