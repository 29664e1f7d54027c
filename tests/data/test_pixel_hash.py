"""Hashes of pixels: copies of a picture are found, other pictures are not."""

import numpy as np
import pytest
from PIL import Image
from small_stores import noise

from mmret_lib.data import load_pairs
from mmret_lib.data.images import read_image, read_pixels, to_pixels
from mmret_lib.data.pixel_hash import NEAR, UNKNOWN, copies_in, pixel_hashes
from mmret_lib.data.store import pack


def one_hash(picture, size=64):
    return int(pixel_hashes(read_pixels(picture, size)[None])[0])


def distance(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def blurred(seed: int, side: int = 300) -> Image.Image:
    """A picture with the frequencies of a photo."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    return image.resize((side * 4 // 3, side), Image.Resampling.BICUBIC)


def test_a_copy_is_found_at_another_size_and_quality(tmp_path):
    original = blurred(0)
    own = one_hash(original, 224)
    original.save(tmp_path / "worse.jpg", quality=60)
    original.resize((200, 150)).save(tmp_path / "smaller.jpg", quality=85)
    for name in ("worse.jpg", "smaller.jpg"):
        for size in (64, 224, 256):
            assert distance(own, one_hash(tmp_path / name, size)) <= NEAR, (name, size)
    others = [distance(own, one_hash(blurred(seed))) for seed in range(1, 40)]
    assert min(others) > 3 * NEAR


def test_pictures_with_little_in_them_are_compared_pixel_by_pixel():
    plain = [Image.new("RGB", (70, 90), (red, 9, 9)) for red in (0, 60, 61, 255)]
    slopes = [Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90)]
    pixels = np.stack([to_pixels(image.convert("RGB"), 64) for image in (*plain, *slopes)])
    hashes = pixel_hashes(pixels)
    assert copies_in(hashes, hashes).tolist() == list(range(6))
    np.testing.assert_array_equal(pixel_hashes(pixels), hashes)


def test_a_hash_does_not_depend_on_the_others_of_its_batch():
    pixels = np.stack([to_pixels(blurred(seed), 96) for seed in range(7)])
    together = pixel_hashes(pixels)
    assert together.dtype == np.uint64 and together.shape == (7,)
    assert together.tolist() == [int(pixel_hashes(one[None])[0]) for one in pixels]
    assert pixel_hashes(pixels[:0]).shape == (0,)
    assert pixel_hashes(np.asarray(noise(0)).transpose(2, 0, 1)[None]).shape == (1,)  # 8 pixels


def test_copies_in_is_comparing_all_with_all():
    rng = np.random.default_rng(0)
    some = rng.integers(1, 2**63, 300, dtype=np.uint64)
    others = rng.integers(1, 2**63, 200, dtype=np.uint64)
    for place in range(0, 200, 2):  # copies with 0 to 5 bits turned
        bits = rng.choice(64, place // 2 % 6, replace=False)
        others[place] = some[rng.integers(300)] ^ np.uint64(sum(1 << int(b) for b in bits))
    some[7], others[9], others[11] = UNKNOWN, UNKNOWN, UNKNOWN ^ np.uint64(1)
    near = np.bitwise_count(some[:, None] ^ others) <= NEAR
    near[7] = near[:, 9] = False
    expected = np.where(near.any(axis=0), near.argmax(axis=0), -1)
    np.testing.assert_array_equal(copies_in(some, others), expected)
    assert 60 < (expected >= 0).sum() < 75
    assert copies_in(some[:0], others).tolist() == [-1] * 200
    assert copies_in(some, others[:0]).shape == (0,)
    same = np.full(5000, 77, np.uint64)
    assert not copies_in(same, same).any()


@pytest.mark.slow
def test_no_drawn_scene_is_taken_for_another():
    stores = [
        pack(load_pairs("scenes", split=split, size=1500, progress=False), 64, progress=False)
        for split in ("train", "test")
    ]
    train, test = (store.hashes for store in stores)
    assert copies_in(train, train).tolist() == list(range(1500))
    assert (copies_in(train, test) < 0).all()


@pytest.mark.slow
def test_real_photos(real_data, tmp_path):
    """coco and coco_thumbs hold some photos both; flickr8k shares none with them."""
    folders = ("coco/train2017", "coco_thumbs/images", "flickr8k/Images")
    coco, thumbs, flickr = (
        [read_image(path) for path in sorted((real_data / folder).glob("*.jpg"))[:400]]
        for folder in folders
    )
    hashes = [
        pixel_hashes(np.stack([to_pixels(image, size) for image in images]))
        for images, size in ((coco, 224), (thumbs, 64), (flickr, 64))
    ]
    assert (copies_in(hashes[2], np.concatenate(hashes[:2])) < 0).all()
    found = copies_in(hashes[0], hashes[1])
    for j in np.flatnonzero(found >= 0):
        small = [
            np.asarray(image.convert("L").resize((32, 32)), float).ravel()
            for image in (coco[found[j]], thumbs[j])
        ]
        assert np.corrcoef(small)[0, 1] > 0.99
    for image, own in list(zip(coco, hashes[0], strict=True))[::5]:
        image.save(tmp_path / "again.jpg", quality=70)
        assert distance(int(own), one_hash(tmp_path / "again.jpg")) <= NEAR + 2
