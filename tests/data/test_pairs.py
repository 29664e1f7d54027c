"""Pairs: what it accepts, what it refuses, and that a part of it is the same data."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmret_lib.data import Pairs
from mmret_lib.files.errors import DataError


def make(counts: list[int], **fields) -> Pairs:
    """Pairs with so many captions for each image; every text and file says where it belongs."""
    captions = [f"caption {j} of image {i}" for i, count in enumerate(counts) for j in range(count)]
    return Pairs(
        **{
            "images": [Path(f"{i}.jpg") for i in range(len(counts))],
            "captions": captions,
            "owner": np.repeat(np.arange(len(counts)), counts),
            "image_ids": [10 * i for i in range(len(counts))],
            "image_info": [{"image": i} for i in range(len(counts))],
            "caption_info": [{"caption": caption} for caption in captions],
            **fields,
        }
    )


caption_counts = st.lists(st.integers(1, 6), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(caption_counts)
def test_captions_of_every_image_are_its_own_and_all_of_them(counts):
    pairs = make(counts)
    assert len(pairs) == len(counts)
    assert pairs.owner.dtype == np.int64
    for image, count in enumerate(counts):
        assert pairs.captions_of(image) == [f"caption {j} of image {image}" for j in range(count)]


@settings(max_examples=40, deadline=None)
@given(caption_counts, st.data())
def test_a_subset_keeps_each_image_with_its_captions_and_records(counts, data):
    pairs = make(counts, name="world", split="test", skipped=("x.json: image 9 has no caption",))
    chosen = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=15))
    part = pairs.subset(chosen)
    assert len(part) == len(chosen)
    assert (part.name, part.split, part.skipped) == (pairs.name, pairs.split, pairs.skipped)
    assert len(part.captions) == sum(counts[image] for image in chosen)
    for place, image in enumerate(chosen):
        assert part.images[place] == pairs.images[image]
        assert part.image_ids[place] == pairs.image_ids[image]
        assert part.image_info[place] == {"image": image}
        assert part.captions_of(place) == pairs.captions_of(image)
    assert [info["caption"] for info in part.caption_info] == part.captions


@settings(max_examples=40, deadline=None)
@given(caption_counts, st.data())
def test_a_mask_chooses_what_its_indices_choose(counts, data):
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(counts), max_size=len(counts))))
    pairs = make(counts)
    part, same = pairs.subset(mask), pairs.subset(np.flatnonzero(mask))
    assert (part.images, part.captions) == (same.images, same.captions)


def test_a_subset_without_records_has_none():
    part = make([1, 2], image_info=None, caption_info=None).subset([1])
    assert part.image_info is None and part.caption_info is None


@pytest.mark.parametrize("indices", [[0, 3], [-1], np.array([True, False])])
def test_a_subset_out_of_range_is_refused(indices):
    with pytest.raises(IndexError, match="3 images"):
        make([1, 2, 1]).subset(indices)


@pytest.mark.parametrize("indices", [[0.0, 1.0], ["0"], [[0, 1]]])
def test_a_subset_by_anything_but_indices_is_refused(indices):
    with pytest.raises(TypeError, match="flat list of image indices"):
        make([1, 2, 1]).subset(indices)


@pytest.mark.parametrize("image", [-1, 2])
def test_captions_of_an_image_that_is_not_there(image):
    with pytest.raises(IndexError, match=f"image {image} of 2"):
        make([1, 1]).captions_of(image)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"owner": np.array([0, 0])}, r"owner has shape \(2,\) for 3 captions"),
        ({"owner": np.array([[0, 0, 1]])}, r"owner has shape \(1, 3\)"),
        ({"owner": np.array([0.0, 0.0, 1.0])}, "owner must hold integers, not float64"),
        ({"owner": np.array([0, 0, 2])}, "from 0 to 2, but the images are numbered from 0 to 1"),
        ({"owner": np.array([-1, 0, 1])}, "owner runs from -1"),
        ({"owner": np.array([0, 1, 0])}, "caption 2 belongs to an earlier image"),
        ({"owner": np.array([0, 0, 0])}, r"1 of 2 images have no caption.*image 1 \(1.jpg\)"),
        ({"captions": ["a", " \n\t", "c"]}, "caption 1 is"),
        ({"captions": ["a", "b", None]}, "caption 2 is None"),
        ({"captions": ["a", "b", b"c"]}, "caption 2 is b'c'"),
        ({"image_ids": [1]}, "image_ids has 1 entries where 2"),
        ({"image_info": []}, "image_info has 0 entries where 2"),
        ({"caption_info": [{}]}, "caption_info has 1 entries where 3"),
        ({"images": [], "image_ids": [], "image_info": []}, "owner runs from 0 to 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(fields, message):
    with pytest.raises(DataError, match=message):
        make([2, 1], **fields)


def test_it_cannot_be_changed_from_outside():
    owner, captions = np.array([0, 1]), ["a", "b"]
    pairs = make([1, 1], owner=owner, captions=captions)
    owner[0] = 1
    captions[0] = ""
    assert pairs.owner.tolist() == [0, 1] and pairs.captions == ["a", "b"]
    with pytest.raises(ValueError, match="read-only"):
        pairs.owner[0] = 1
    with pytest.raises(AttributeError):
        pairs.captions = []


def test_its_repr_is_one_short_line():
    assert repr(make([5] * 1200, name="scenes", split="test")) == (
        "<Pairs scenes test: 1,200 images, 6,000 captions>"
    )
    assert repr(make([1], skipped=("a",))) == "<Pairs: 1 images, 1 captions, 1 skipped>"


def test_a_folder_of_features_is_kept_and_is_no_part_of_other_pairs_json(tmp_path):
    pairs = make([2, 1], features=tmp_path / "album")
    assert pairs.subset([1]).features == tmp_path / "album"
    assert Pairs.from_json(pairs.to_json()).features == tmp_path / "album"
    assert (
        '"features":' not in make([2, 1]).to_json()
    )  # else every packed store would be made again


def test_photos_to_search_need_no_captions():
    photos = make([0, 0, 0])
    assert len(photos) == 3 and photos.captions == photos.captions_of(1) == []
    assert len(photos.subset([2])) == 1
    with pytest.raises(DataError, match="1 of 2 images have no caption"):
        make([1, 0])
