"""Batches: every image once an epoch, one of its own captions, the same for the same seed."""

import numpy as np
import pytest
import torch

from mmret_lib.data.loader import Loader, augment
from mmret_lib.data.pairs import Pairs


def letters(texts):
    """A tokeniser that can be read back: one id per letter."""
    longest = max(map(len, texts))
    ids = torch.zeros(len(texts), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor([ord(letter) for letter in text])
        mask[row, : len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def read_back(batch):
    rows = zip(batch.tokens["input_ids"], batch.tokens["attention_mask"], strict=True)
    return ["".join(chr(i) for i in ids[mask.bool()]) for ids, mask in rows]


@pytest.fixture
def pairs(tmp_path):
    many = [1 + i % 4 for i in range(23)]  # uneven numbers of captions
    return Pairs(
        images=[tmp_path / f"{i}.png" for i in range(23)],
        captions=[f"image {i}{' or' * n}" for i in range(23) for n in range(many[i])],
        owner=np.repeat(np.arange(23), many),
        image_ids=list(range(23)),
    )


@pytest.fixture
def images():
    """Image i is filled with the value i."""
    return np.broadcast_to(np.arange(23, dtype=np.uint8)[:, None, None, None], (23, 3, 8, 8)).copy()


def test_each_image_once_with_one_of_its_own_captions(images, pairs):
    loader = Loader(images, pairs, letters, 5, seed=3)
    assert len(loader) == 4
    seen = []
    for batch in loader.epoch(0):
        assert batch.images.dtype == torch.uint8 and batch.images.shape == (5, 3, 8, 8)
        for row, text in enumerate(read_back(batch)):
            image = int(batch.image_ids[row])
            assert (batch.images[row] == image).all()
            assert text in pairs.captions_of(image)
            assert pairs.captions.index(text) >= 0
            seen.append(image)
    assert len(seen) == len(set(seen)) == 20


def test_no_more_padding_than_the_longest_caption_of_the_batch(images, pairs):
    for batch in Loader(images, pairs, letters, 5).epoch(0):
        assert batch.tokens["attention_mask"].sum(1).max() == batch.tokens["input_ids"].shape[1]


def test_same_seed_and_epoch_same_batches_and_only_those(images, pairs):
    def texts(seed, epoch):
        loader = Loader(images, pairs, letters, 5, seed=seed)
        return [read_back(batch) for batch in loader.epoch(epoch)]

    assert texts(1, 2) == texts(1, 2)
    assert texts(1, 2) != texts(1, 3)
    assert texts(1, 2) != texts(2, 2)


def test_every_caption_gets_its_turn_unless_the_first_is_asked_for(images, pairs):
    def shown(**options):
        loader = Loader(images, pairs, letters, 23, **options)
        return {text for epoch in range(60) for batch in loader.epoch(epoch)
                for text in read_back(batch)}  # fmt: skip

    assert shown() == set(pairs.captions)
    assert shown(captions="first") == {pairs.captions_of(i)[0] for i in range(23)}


def test_equal_captions_share_an_id(images, pairs):
    twice = Pairs(
        images=pairs.images[:4], captions=["a", "b", "a", "c"], owner=np.arange(4),
        image_ids=[0, 1, 2, 3],
    )  # fmt: skip
    (batch,) = Loader(images[:4], twice, letters, 4).epoch(0)
    by_image = dict(zip(batch.image_ids.tolist(), batch.caption_ids.tolist(), strict=True))
    assert by_image[0] == by_image[2]
    assert len(set(by_image.values())) == 3


@pytest.mark.parametrize("size", [1, 24])
def test_batches_that_cannot_be_are_refused(images, pairs, size):
    with pytest.raises(ValueError, match=f"batch_size is {size}"):
        Loader(images, pairs, letters, size)


def test_images_and_pairs_must_match(images, pairs):
    with pytest.raises(ValueError, match="22 decoded images for pairs of 23"):
        Loader(images[:22], pairs, letters, 5)
    with pytest.raises(ValueError, match="captions is 'second'"):
        Loader(images, pairs, letters, 5, captions="second")


def test_augment_moves_and_mirrors_each_image_by_itself(device):
    """Against a plain loop that tries every move: each image is one of them."""
    picture = torch.arange(3 * 20 * 20, dtype=torch.int64).remainder(251).to(torch.uint8)
    images = picture.view(1, 3, 20, 20).repeat(64, 1, 1, 1)
    moved = augment(images.to(device), torch.Generator().manual_seed(0), shift=0.1).cpu()
    grid = torch.arange(20)
    found = set()
    for image in moved:
        for mirrored in (False, True):
            for down in range(-2, 3):
                for right in range(-2, 3):
                    rows, columns = (grid + down).clamp(0, 19), (grid + right).clamp(0, 19)
                    columns = columns.flip(0) if mirrored else columns
                    if torch.equal(image, images[0][:, rows][:, :, columns]):
                        found.add((mirrored, down, right))
                        break
    assert len(found) > 20  # many different moves, mirrored and not
    assert {mirrored for mirrored, _, _ in found} == {False, True}
    again = augment(images.to(device), torch.Generator().manual_seed(0), shift=0.1).cpu()
    assert torch.equal(moved, again)
