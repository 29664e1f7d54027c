"""Embeddings kept in the cache folder: each side embedded once, and never anything else's."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from indexes import QUERY, new_model, spoil

from mmret_lib.data.store import pack
from mmret_lib.files.cache import clear_cache, list_cache
from mmret_lib.files.errors import DataError
from mmret_lib.search import SearchIndex, cache


@pytest.fixture
def embedded(monkeypatch) -> list[str]:
    """The sides that were embedded, in order."""
    sides, embed = [], cache.embed

    def counted(model, data, side, out, progress):
        sides.append(side)
        embed(model, data, side, out, progress)

    monkeypatch.setattr(cache, "embed", counted)
    return sides


@pytest.fixture
def build(tmp_path, monkeypatch, model, pairs) -> Callable[..., SearchIndex]:
    """Build a cached index of twenty packed images, in a cache of its own."""
    data = pack(pairs.subset(range(20)), 64, progress=False)
    monkeypatch.setenv("MMRET_CACHE", str(tmp_path / "cache"))

    def build(model=model, data=data, **options) -> SearchIndex:
        return SearchIndex.build(model, data, cached=True, progress=False, **options)

    return build


def kept_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "embeddings").glob("*/*.npy"))


def test_only_the_side_that_is_searched_is_embedded_and_only_once(build, embedded, whole, pairs):
    index = build()
    assert embedded == [] and len(index) == 20
    hits = index.by_text(QUERY, k=20)
    assert embedded == ["image"]
    captions = build().by_image(pairs.images[3], k=20)
    assert embedded == ["image", "text"]
    again = build()
    assert again.by_text(QUERY, k=20) == hits and again.by_image(pairs.images[3], k=20) == captions
    assert embedded == ["image", "text"]
    assert torch.equal(again.image_emb, index.image_emb)
    torch.testing.assert_close(again.image_emb, whole.image_emb[:20])
    torch.testing.assert_close(again.text_emb, whole.text_emb[:100])


def test_another_model_and_other_data_are_embedded_anew(build, embedded, model, pairs):
    assert build().image_emb.shape == (20, 128)
    assert build(new_model(seed=1, captions=pairs.captions)).image_emb.shape == (20, 128)
    assert build(data=pack(pairs.subset(range(1, 21)), 64, progress=False)).image_emb.shape[0] == 20
    other = replace(pairs.subset(range(20)), captions=["A bear."] * 100)
    assert build(data=pack(other, 64, progress=False)).text_emb.shape == (100, 128)
    assert embedded == ["image", "image", "image", "text"]
    assert build(new_model(captions=pairs.captions)).image_emb.shape == (20, 128)
    assert len(embedded) == 4


@pytest.mark.slow
@pytest.mark.parametrize("how", ["gone", "empty", "short", "long", "flipped"])
@pytest.mark.parametrize("name", ["image.npy", "image.json"])
def test_what_is_damaged_is_embedded_again(tmp_path, build, embedded, how, name):
    emb = build().image_emb.clone()
    spoil(kept_files(tmp_path)[0].with_name(name), how)
    assert torch.equal(build().image_emb, emb)
    assert torch.equal(build().image_emb, emb)
    assert embedded == ["image", "image"]


def test_changes_of_an_index_leave_the_cache_alone(tmp_path, build, pairs, whole):
    index = build(backend="hnsw")
    before = [path.read_bytes() for path in kept_files(tmp_path)]
    assert len(before) == 2 and index.backend == "hnsw" and index.recall
    index.image_emb.zero_()
    exact = build()
    exact.add(pairs.subset(range(20, 30)), progress=False).remove([0])
    torch.testing.assert_close(exact.text_emb, whole.text_emb[5:150])
    exact.save(tmp_path / "index").image_emb.zero_()
    assert [path.read_bytes() for path in kept_files(tmp_path)] == before
    assert build(folder=tmp_path / "index").image_emb.norm() > 0
    assert len(SearchIndex.open(tmp_path / "index", exact.model)) == 20


def test_without_a_cache_that_can_be_written_to_it_still_answers(tmp_path, build, embedded):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "embeddings").write_text("")
    index = build()
    with pytest.warns(UserWarning, match=r"could not be kept in .*embeddings.* again the next"):
        hits = index.by_text(QUERY)
    assert len(hits) == 5 and index.by_text(QUERY) == hits and embedded == ["image"]


def test_mmret_cache_lists_it_and_leaves_it_while_it_is_used(build):
    index = build()
    assert index.by_text(QUERY)
    (entry,) = [entry for entry in list_cache() if entry.kind == "embeddings"]
    assert entry.made_from.startswith("scenes test, by model ") and entry.size > 10_000
    assert [kept.path for kept in clear_cache(progress=False)[1]].count(entry.path) == 1
    assert index.by_image(index.pairs.images[0])
    del index
    assert entry.path in [deleted.path for deleted in clear_cache(progress=False)[0]]


def test_a_model_trained_in_the_meantime_is_refused(build, pairs):
    model = new_model(captions=pairs.captions)
    index = build(model)
    with torch.no_grad():
        model.image.projection.bias[0] += 1e-3
    with pytest.raises(DataError, match="was trained further since this index was built"):
        index.by_text(QUERY)


def test_a_diverged_model_keeps_nothing(tmp_path, build, pairs):
    model = new_model(captions=pairs.captions)
    with torch.no_grad():
        model.image.projection.bias[5] = float("nan")
    with pytest.raises(DataError, match="embedding of image 0 is not finite"):
        build(model).by_text(QUERY)
    assert kept_files(tmp_path) == []


def test_several_that_ask_at_once_embed_once(build, embedded):
    indexes = [build(), build()]
    answers: list[list[float]] = []

    def ask(index: SearchIndex) -> None:
        answers.append([hit.score for hit in index.by_text(QUERY)])

    threads = [threading.Thread(target=ask, args=(index,)) for index in indexes * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert embedded == ["image"]
    np.testing.assert_allclose(answers, [answers[0]] * 4)
