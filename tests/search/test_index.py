"""Searching both ways, and queries of every kind."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mmret_lib.data import Pairs, load_pairs
from mmret_lib.data.images import read_image, read_pixels
from mmret_lib.data.store import pack
from mmret_lib.encoders import DualEncoder
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.search import SearchIndex


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Pairs:
    root = tmp_path_factory.mktemp("world")
    return load_pairs("scenes", root=root, split="test", size=40, progress=False)


@pytest.fixture(scope="module")
def model(pairs) -> DualEncoder:
    torch.manual_seed(0)
    return DualEncoder.from_names(
        image_weights=None, text_weights=None, captions=pairs.captions
    ).eval()


@pytest.fixture(scope="module")
def index(model, pairs) -> SearchIndex:
    return SearchIndex.build(model, pairs, progress=False)


def cosines(query_emb: torch.Tensor, collection_emb: torch.Tensor) -> np.ndarray:
    """The oracle: float64, one row at a time."""
    query = query_emb[0].double().numpy()
    rows = collection_emb.double().numpy()
    return np.array([row @ query / np.linalg.norm(row) / np.linalg.norm(query) for row in rows])


def test_text_finds_pictures_best_first(index, model, pairs):
    query = "A zebra stands on the grass."
    pixels = np.stack([read_pixels(path, 64) for path in pairs.images])
    expected = cosines(model.encode_texts([query]), model.encode_images(pixels))
    hits = index.by_text(query, k=40)
    assert [hit.rank for hit in hits] == list(range(1, 41))
    assert sorted(hit.image_index for hit in hits) == list(range(40))
    scores = np.array([hit.score for hit in hits])
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(scores, expected[[hit.image_index for hit in hits]], atol=1e-5)
    for hit in hits:
        assert hit.image == pairs.images[hit.image_index]
        assert list(hit.captions) == pairs.captions_of(hit.image_index)
        assert hit.caption is None and hit.caption_index is None
    assert index.by_text(query, k=3) == hits[:3]


def test_a_picture_finds_captions_best_first(index, model, pairs):
    query = model.encode_images(read_pixels(pairs.images[7], 64)[None])
    expected = cosines(query, model.encode_texts(pairs.captions))
    hits = index.by_image(pairs.images[7], k=200)
    assert sorted(hit.caption_index for hit in hits) == list(range(200))
    scores = np.array([hit.score for hit in hits])
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(scores, expected[[hit.caption_index for hit in hits]], atol=1e-5)
    for hit in hits:
        assert hit.caption == pairs.captions[hit.caption_index]
        assert hit.image_index == pairs.owner[hit.caption_index]
        assert hit.image == pairs.images[hit.image_index]
        assert list(hit.captions) == pairs.captions_of(hit.image_index)


def test_packed_pairs_are_not_packed_again(index, model, pairs):
    again = SearchIndex.build(model, pack(pairs, 64, progress=False), progress=False)
    assert torch.equal(again.image_emb, index.image_emb)
    with pytest.raises(DataError, match="pack the pairs at that size"):
        SearchIndex.build(model, pack(pairs, 32, progress=False), progress=False)


def test_the_index_keeps_unit_vectors_and_says_what_it_is(index):
    assert index.image_emb.shape == (40, 128) and index.text_emb.shape == (200, 128)
    for emb in (index.image_emb, index.text_emb):
        assert emb.dtype == torch.float32
        torch.testing.assert_close(emb.norm(dim=1), torch.ones(len(emb)))
    assert len(index) == 40 and "40 images" in repr(index)


def test_k_is_at_least_one_and_no_more_than_there_is(index, pairs):
    assert len(index.by_text("zebra", k=1)) == 1
    assert len(index.by_text("zebra", k=10**9)) == 40
    assert len(index.by_image(pairs.images[0], k=10**9)) == 200
    for k in (0, -3):
        with pytest.raises(DataError, match="at least 1"):
            index.by_text("zebra", k=k)
        with pytest.raises(DataError, match="at least 1"):
            index.by_image(pairs.images[0], k=k)
    with pytest.raises(TypeError):
        index.by_text("zebra", k=2.5)


@pytest.mark.parametrize("query", ["", "   ", "\n\t", "\0", "\u200b\u200e", "\u3000"])
def test_an_empty_query_is_refused_with_an_example(index, query):
    with pytest.raises(DataError, match=r"empty; say what the picture shows"):
        index.by_text(query)


@pytest.mark.parametrize("query", [["zebra", 7], [["zebra"]], None, 7, b"zebra"])
def test_a_query_is_one_string(index, query):
    with pytest.raises(TypeError, match="one string"):
        index.by_text(query)


@pytest.mark.parametrize(
    "query", ["🐘", "فيل صغير", "<b>zebra</b>", "\ud83d zebra", "zebra " * 10_000, "zebra\0"]
)
def test_odd_queries_are_answered(index, query):
    hits = index.by_text(query)
    assert len(hits) == 5 and all(-1.001 <= hit.score <= 1.001 for hit in hits)


def test_a_query_photo_is_treated_as_a_photo_of_the_collection(index, pairs):
    collection = pack(pairs, 64, progress=False)
    path = pairs.images[3]
    expected = index.by_image(path)
    with Image.open(path) as image:
        for same in (str(path), image, np.asarray(image), collection[3]):
            assert index.by_image(same) == expected
    # A collection of captions embedded as this picture ranks by the picture itself.
    owner = torch.tensor(pairs.owner.tolist())
    as_captions = SearchIndex(index.model, pairs, index.image_emb, index.image_emb[owner])
    best = as_captions.by_image(path, k=5)
    assert {hit.image_index for hit in best} == {3}
    assert all(hit.score == pytest.approx(1, abs=1e-5) for hit in best)


def test_pil_images_are_turned_upright_and_made_rgb(tmp_path, index, pairs):
    upright = Image.open(pairs.images[0]).convert("RGB").resize((96, 64))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me clockwise to see me"
    turned.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert np.array_equal(np.asarray(read_image(image)), np.asarray(upright))
    assert index.by_image(tmp_path / "turned.png") == index.by_image(upright)
    for mode in ("L", "LA", "RGBA", "CMYK", "P", "1", "I;16"):
        assert read_image(Image.new(mode, (5, 4))).mode == "RGB"
    see_through = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert read_image(see_through).getpixel((0, 0)) == (255, 255, 255)


def test_grey_arrays_and_arrays_with_transparency_are_pictures():
    grey = np.full((6, 8), 7, np.uint8)
    assert read_image(grey).size == (8, 6)
    assert read_image(np.zeros((6, 8, 4), np.uint8)).getpixel((0, 0)) == (255, 255, 255)
    assert read_image(np.zeros((3, 8, 9), np.uint8)).size == (9, 8)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8, 3)),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros(8, np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((1, 3, 8, 8), np.uint8),
    ],
)
def test_other_arrays_are_refused(index, array):
    with pytest.raises(DataError, match="must be uint8"):
        index.by_image(array)


def test_a_query_photo_that_cannot_be_read_is_named(tmp_path, index):
    with pytest.raises(MissingFile, match=r"none\.jpg does not exist"):
        index.by_image(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("this is no picture")
    with pytest.raises(DataError, match=r"text\.jpg is not an image"):
        index.by_image(str(tmp_path / "text.jpg"))
    with pytest.raises(TypeError):
        index.by_image(None)


def test_unreadable_images_are_left_out_and_the_rest_stays_aligned(tmp_path, model, pairs, index):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    spoilt = replace(pairs, images=[broken if i == 4 else p for i, p in enumerate(pairs.images)])
    with pytest.raises(DataError, match=r"broken\.png"):
        SearchIndex.build(model, spoilt, progress=False)
    with pytest.warns(UserWarning, match=r"broken\.png"):
        data = pack(spoilt, 64, max_unreadable=0.1, progress=False)
    left = SearchIndex.build(model, data, progress=False)
    assert len(left) == 39
    expected = [hit.image for hit in index.by_text("zebra", k=40) if hit.image_index != 4]
    assert [hit.image for hit in left.by_text("zebra", k=40)] == expected


def test_an_empty_collection_is_refused(model):
    with pytest.raises(DataError, match="collection is empty"):
        SearchIndex.build(model, Pairs([], [], np.zeros(0, np.int64), []), progress=False)


@pytest.mark.parametrize("branch", ["image", "text"])
def test_a_diverged_model_is_refused(pairs, branch):
    torch.manual_seed(0)
    model = DualEncoder.from_names(image_weights=None, text_weights=None, captions=pairs.captions)
    with torch.no_grad():
        getattr(model, branch).projection.bias[5] = float("nan")
    noun = {"image": "image", "text": "caption"}[branch]
    with pytest.raises(DataError, match=rf"embedding of {noun} 0 is not finite"):
        SearchIndex.build(model, pairs.subset(range(3)), progress=False)


def test_building_leaves_the_models_mode_alone_and_shows_progress(model, pairs, index, capsys):
    model.train()
    try:
        again = SearchIndex.build(model, pairs.subset(range(4)))
        assert model.training
        torch.testing.assert_close(again.image_emb, index.image_emb[:4])
    finally:
        model.eval()
    shown = capsys.readouterr().err
    assert "embedding images" in shown and "embedding captions" in shown
