"""An index that follows a folder of photos."""

import os
import shutil

import numpy as np
import pytest
import torch
from indexes import new_model
from own_photos import MP4, put, put_hostile, shut

from mmret_lib.data.decoding import Decoded
from mmret_lib.data.pairs import Pairs
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.search import SearchIndex, photos
from mmret_lib.search.photos import index_photos, unfinished


@pytest.fixture
def album(tmp_path):
    """A folder of ten photos, each of one colour."""
    for n in range(10):
        put(tmp_path / "album" / f"{n}.png", (25 * n, 90, 255 - 25 * n))
    return tmp_path / "album"


@pytest.fixture
def update(model, album, tmp_path):
    def update(**options):
        return index_photos(model, album, tmp_path / "idx", progress=False, **options)

    return update


def names(index) -> list[str]:
    return sorted(path.name for path in index.pairs.images)


def assert_right(index, model) -> None:
    """That each photo's embedding is its own: the one that a query photo gets."""
    for row, path in enumerate(index.pairs.images):
        hit = index.similar_images(path, k=1)[0]
        assert hit.score == pytest.approx(1, abs=1e-4)
        alone = SearchIndex(
            model, index.pairs.subset([row]), index.image_emb[[row]], torch.zeros(0, 128)
        )
        assert alone.similar_images(path)[0].score == pytest.approx(1, abs=1e-4)


def test_new_photos_come_in_and_vanished_ones_leave(update, album, model):
    first = update()
    assert (first.added, first.changed, first.removed) == (10, 0, 0)
    assert names(first.index) == [f"{n}.png" for n in range(10)]
    assert first.index.pairs.captions == [] and not unfinished(first.index)
    again = update()
    assert (again.added, again.changed, again.removed) == (0, 0, 0)
    put(album / "new" / "10.png", (9, 9, 9))
    (album / "3.png").unlink()
    put(album / "5.png", (255, 255, 255), (50, 50))
    third = update()
    assert (third.added, third.changed, third.removed) == (1, 1, 1)
    assert "1 added, 1 changed, 1 removed" in str(third)
    assert names(third.index) == sorted([f"{n}.png" for n in range(11) if n != 3])
    assert_right(third.index, model)


def test_only_what_is_new_is_decoded(update, album, monkeypatch):
    seen = []
    real = photos.decoded
    monkeypatch.setattr(
        photos, "decoded", lambda paths, size: (seen.extend(paths), real(paths, size))[1]
    )
    update()
    assert len(seen) == 10
    put(album / "a.png")
    os.utime(album / "2.png", ns=(1, 1))
    seen.clear()
    update()
    assert {path.name for path in seen} == {"a.png", "2.png"}


def test_a_killed_call_goes_on(update, album, model, monkeypatch):
    """The process ends in the third chunk: two are kept, and the next call makes the rest."""
    monkeypatch.setattr(photos, "CHUNK", 3)
    real = photos.decoded

    def in_threes(paths, size, die=True):
        for batch in real(paths, size, batch=3):
            if die and batch.first >= 6:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(photos, "decoded", in_threes)
    with pytest.raises(KeyboardInterrupt):
        update()
    folder = album.parent / "idx"
    index = SearchIndex.open(folder, model)
    assert len(index) == 6
    assert unfinished(index) == "6 of 10 photos so far: run mmret index again"
    (album / "0.png").unlink()
    monkeypatch.setattr(photos, "decoded", lambda paths, size: in_threes(paths, size, die=False))
    update = update()
    assert (update.added, update.removed) == (4, 1) and not unfinished(update.index)
    assert names(update.index) == [f"{n}.png" for n in range(1, 10)]
    assert_right(update.index, model)
    left = {path.name.partition("-")[0] for path in folder.iterdir()}
    assert left == {"manifest.json", "image_emb", "text_emb", "pairs", ".lock"}


def test_a_hostile_folder_is_indexed_and_what_cannot_be_read_is_counted(model, tmp_path):
    good = put_hostile(tmp_path / "album")
    update = index_photos(model, tmp_path / "album", tmp_path / "idx", progress=False)
    assert set(update.index.pairs.images) == set(good)
    assert "4 of 11 photos cannot be read" in str(update)
    assert "4 of 11 photos cannot be read" in update.index.pairs.skipped[0]
    assert "\n" not in update.index.pairs.skipped[0]
    assert_right(update.index, model)
    hits = update.index.by_text("a picture", k=99)
    assert len({str(hit) for hit in hits}) == len(good)
    str(hits[0]).encode()  # no half characters
    # Mended, it comes in with the next call, although nothing else tells it from before.
    shutil.copy(good[0], tmp_path / "album" / "cut.jpg")
    update = index_photos(model, tmp_path / "album", tmp_path / "idx", progress=False)
    assert update.added == 1 and len(update.unreadable) == 3


def test_three_readable_of_a_thousand(model, tmp_path):
    for n in range(997):
        path = tmp_path / "album" / f"{n}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(MP4)
    for n in range(3):
        put(tmp_path / "album" / f"good {n}.jpg")
    update = index_photos(model, tmp_path / "album", tmp_path / "idx", progress=False)
    assert len(update.index) == 3
    assert "997 of 1,000 photos cannot be read" in str(update) and "and 992 more" in str(update)


def test_without_a_readable_photo_there_is_no_index(update, album):
    for path in album.iterdir():
        path.write_bytes(MP4)
    with pytest.raises(
        DataError, match=r"10 photos found. None of them can be read: .*0.png is not"
    ):
        update()
    put(album / "0.png")
    assert len(update().index) == 1
    (album / "0.png").write_bytes(MP4 * 2)
    with pytest.raises(DataError, match=r"None of them can be read.*stays as it was"):
        update()
    assert not (album.parent / "idx" / "image_emb").exists()


def test_a_changed_photo_that_cannot_be_read_any_more_leaves(update, album):
    update()
    (album / "4.png").write_bytes(MP4)
    after = update()
    assert (after.added, after.changed, after.removed) == (0, 0, 1)
    assert "4.png" not in names(after.index)


def test_photos_below_a_folder_that_cannot_be_listed_stay(update, album, monkeypatch):
    put(album / "shut" / "a.png")
    update()
    shut(monkeypatch, album / "shut")
    after = update()
    assert after.removed == 0 and "a.png" in names(after.index)
    assert "shut (Permission denied)" in str(after)


def test_an_empty_or_missing_folder_leaves_the_index_as_it_was(update, album, model):
    """As where a disk is not mounted."""
    update()
    moved = album.rename(album.with_name("away"))
    with pytest.raises(MissingFile, match="album does not exist"):
        update()
    album.mkdir()
    with pytest.raises(DataError, match="0 photos found"):
        update()
    assert len(SearchIndex.open(album.parent / "idx", model)) == 10
    album.rmdir()
    moved.rename(album)
    assert update().added == 0


def test_an_index_of_something_else_is_refused(update, album, model, tmp_path, pairs):
    update()
    other = put(tmp_path / "other" / "a.png").parent
    for folder, used, said in (
        (other, model, "is an index of the photos in .*album, not of .*other"),
        (album, new_model(1, captions=["a"]), "was made by another model .the pocket model"),
    ):
        with pytest.raises(DataError, match=said):
            index_photos(used, folder, tmp_path / "idx", progress=False)
    SearchIndex.build(model, pairs.subset([0, 1]), folder=tmp_path / "scenes", progress=False)
    with pytest.raises(DataError, match="is an index of other data, not of photos"):
        index_photos(model, album, tmp_path / "scenes", progress=False)
    with pytest.raises(DataError, match=r"holds 0.png, which is not part of a search index"):
        index_photos(model, other, album, progress=False)
    (tmp_path / "idx" / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match=r"Delete .*idx to index the photos anew"):
        update()


def test_a_model_that_gives_no_numbers_is_refused(update, model, monkeypatch):
    monkeypatch.setattr(type(model), "encode_images", lambda *_: torch.full((10, 128), torch.nan))
    with pytest.raises(DataError, match="is not finite"):
        update()


def test_a_large_index_is_written_in_larger_steps(update, album, monkeypatch):
    """Each step writes all embeddings: a fixed step would take a time that grows as the square."""
    monkeypatch.setattr(photos, "CHUNK", 2)
    lengths = []
    write = photos._Update._write
    monkeypatch.setattr(
        photos._Update,
        "_write",
        lambda self, *a: (write(self, *a), lengths.append(len(self.place.state.pairs))),
    )
    monkeypatch.setattr(
        photos,
        "decoded",
        lambda paths, size: (
            Decoded(k, np.zeros((1, 3, 8, 8), np.uint8), {}) for k in range(len(paths))
        ),
    )
    for n in range(200):
        (album / f"more {n}.png").touch()
    update()
    assert lengths[:3] == [2, 4, 6] and lengths[-1] == 210 and len(lengths) < 70


@pytest.mark.parametrize("backend", ["exact", "flat", "hnsw"])
def test_images_without_captions_are_searched_by_every_backend(model, album, tmp_path, backend):
    if backend != "exact":
        pytest.importorskip("faiss")
    images = sorted(album.iterdir())
    pairs = Pairs(images, [], np.zeros(0, np.int64), [path.name for path in images])
    folder = tmp_path / "index"
    with SearchIndex.build(
        model, pairs.subset(range(8)), backend=backend, folder=folder, progress=False
    ) as index:
        index.add(pairs.subset([8, 9]), progress=False)
        index.remove([0])
    with SearchIndex.open(folder, model) as index:
        assert len(index) == 9 and index.text_emb.shape == (0, 128)
        hits = index.by_text("a picture")
        assert len(hits) == 5 and hits[0].captions == ()
        assert index.similar_images(images[3], k=1)[0].image == images[3]
        for refused in (lambda: index.by_image(images[0]), lambda: index.similar_captions("x")):
            with pytest.raises(DataError, match=r"no captions.*similar_images takes a picture"):
                refused()


def test_images_with_and_without_captions_do_not_mix(model, album, pairs):
    images = sorted(album.iterdir())
    photos = Pairs(images, [], np.zeros(0, np.int64), [path.name for path in images])
    index = SearchIndex.build(model, pairs.subset([0, 1]), progress=False)
    with pytest.raises(DataError, match="has captions and the new images have none"):
        index.add(photos, progress=False)
    index = SearchIndex.build(model, photos, progress=False)
    with pytest.raises(DataError, match="has no captions and the new images have some"):
        index.add(pairs.subset([0, 1]), progress=False)
