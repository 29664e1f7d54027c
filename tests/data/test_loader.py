"""Batches: every image once an epoch, one of its own captions, the same for the same seed."""

import gc
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from small_stores import Letters

from mmret_lib.data import Pairs
from mmret_lib.data.augment import crop_and_flip, shift_and_flip
from mmret_lib.data.loader import Loader
from mmret_lib.data.store import pack


def a_loader(store, batch_size, **options):
    return Loader(store, store.token_ids(Letters()), batch_size, **options)


def read_back(batch):
    rows = zip(batch.tokens["input_ids"], batch.tokens["attention_mask"], strict=True)
    return ["".join(chr(i) for i in ids[mask.bool()]) for ids, mask in rows]


def store_of(folder, counts, captions=None):
    """Image i is filled with the value i and has counts[i] captions."""
    for i in range(len(counts)):
        Image.new("RGB", (8, 8), (i, i, i)).save(folder / f"{i}.png")
    pairs = Pairs(
        images=[folder / f"{i}.png" for i in range(len(counts))],
        captions=captions
        or [f"image {i}{' or' * n}" for i, m in enumerate(counts) for n in range(m)],
        owner=np.repeat(np.arange(len(counts)), counts),
        image_ids=list(range(len(counts))),
    )
    return pack(pairs, 8, progress=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("photos"), [1 + i % 4 for i in range(23)])


@pytest.fixture(scope="module")
def pairs(store):
    return store.pairs


def test_each_image_once_with_one_of_its_own_captions(store, pairs):
    loader = a_loader(store, 5, seed=3)
    assert len(loader) == 4
    seen = []
    for batch in loader.epoch(0):
        assert batch.images.dtype == torch.uint8 and batch.images.shape == (5, 3, 8, 8)
        for row, text in enumerate(read_back(batch)):
            image = int(batch.image_ids[row])
            assert (batch.images[row] == image).all()
            assert text in pairs.captions_of(image)
            seen.append(image)
    assert len(seen) == len(set(seen)) == 20


def test_all_captions_each_once_with_its_image(store, pairs):
    loader = a_loader(store, 7, captions="all")
    assert len(loader) == len(pairs.captions) // 7
    shown = []
    for batch in loader.epoch(0):
        for row, text in enumerate(read_back(batch)):
            image = int(batch.image_ids[row])
            assert (batch.images[row] == image).all()
            assert text in pairs.captions_of(image)
            shown.append(text)
    assert len(shown) == len(set(shown)) == len(loader) * 7


def test_no_more_padding_than_the_longest_caption_of_the_batch(store):
    for batch in a_loader(store, 5).epoch(0):
        assert batch.tokens["attention_mask"].sum(1).max() == batch.tokens["input_ids"].shape[1]


def same(one, other):
    return (
        torch.equal(one.images, other.images)
        and torch.equal(one.image_ids, other.image_ids)
        and torch.equal(one.caption_ids, other.caption_ids)
        and read_back(one) == read_back(other)
    )


def test_same_seed_and_epoch_same_batches_and_only_those(store):
    def texts(seed, epoch):
        return [read_back(batch) for batch in a_loader(store, 5, seed=seed).epoch(epoch)]

    assert texts(1, 2) == texts(1, 2)
    assert texts(1, 2) != texts(1, 3)
    assert texts(1, 2) != texts(2, 2)


@pytest.mark.parametrize("captions", ["random", "first", "all"])
def test_an_epoch_goes_on_at_any_batch_as_if_it_had_never_stopped(store, captions):
    whole = list(a_loader(store, 4, seed=7, captions=captions).epoch(3))
    for start in range(len(whole) + 1):
        rest = list(a_loader(store, 4, seed=7, captions=captions).epoch(3, start))
        assert len(rest) == len(whole) - start
        assert all(same(*two) for two in zip(rest, whole[start:], strict=True))


@pytest.mark.parametrize("captions", ["random", "all"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_the_ranks_share_the_batch_of_one_process(store, captions, world_size):
    options = {"seed": 1, "captions": captions}
    joint = list(a_loader(store, 3 * world_size, **options).epoch(0))
    ranks = [
        list(a_loader(store, 3, rank=rank, world_size=world_size, **options).epoch(0))
        for rank in range(world_size)
    ]
    assert {len(batches) for batches in ranks} == {len(joint)}
    for step, whole in enumerate(joint):
        parts = [batches[step] for batches in ranks]
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
        assert torch.equal(torch.cat([part.caption_ids for part in parts]), whole.caption_ids)
        assert [text for part in parts for text in read_back(part)] == read_back(whole)


def test_every_caption_gets_its_turn_unless_the_first_is_asked_for(store, pairs):
    def shown(**options):
        loader = a_loader(store, 23, **options)
        return {
            text
            for epoch in range(60)
            for batch in loader.epoch(epoch)
            for text in read_back(batch)
        }

    assert shown() == set(pairs.captions)
    assert shown(captions="first") == {pairs.captions_of(i)[0] for i in range(23)}


def test_equal_captions_share_an_id(tmp_path):
    twice = store_of(tmp_path, [1, 1, 1, 1], captions=["a", "b", "a", "c"])
    (batch,) = a_loader(twice, 4).epoch(0)
    by_image = dict(zip(batch.image_ids.tolist(), batch.caption_ids.tolist(), strict=True))
    assert by_image[0] == by_image[2]
    assert len(set(by_image.values())) == 3


def test_images_that_could_not_be_read_never_come(tmp_path):
    store_of(tmp_path, [2] * 12)
    (tmp_path / "4.png").write_bytes(b"")
    pairs = Pairs(
        [tmp_path / f"{i}.png" for i in range(12)],
        [f"image {i}" for i in range(12)],
        np.arange(12),
        list(range(12)),
    )
    with pytest.warns(UserWarning, match="1 of 12"):
        left = pack(pairs, 8, tmp_path / "store", max_unreadable=0.2, progress=False)
    (batch,) = a_loader(left, 11).epoch(0)
    assert read_back(batch) == [f"image {int(picture.max())}" for picture in batch.images]
    assert 4 not in batch.images.flatten(1).amax(1).tolist()


def test_a_kept_batch_stays_as_it_was(store):
    """Batches must not share memory, however far the loader has gone on."""
    batches = list(a_loader(store, 4).epoch(0))
    for batch in batches:
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.image_ids)


def test_memory_is_used_again_and_only_when_nobody_holds_any_of_it(store):
    loader = a_loader(store, 4)
    places = set()
    for epoch in range(5):
        for batch in loader.epoch(epoch):
            places.add(batch.images.data_ptr())
    assert len(places) <= 5
    kept = []
    for epoch in range(5):
        for batch in loader.epoch(epoch):
            # A part, as a tensor and as an array, of an image whose colour is its number.
            kept.append((batch.images[2, 0], batch.images[3].numpy()[1:, 2], batch.image_ids))
    for part, array, ids in kept:
        assert (part == ids[2]).all() and (array == int(ids[3])).all()


@pytest.mark.slow
def test_leaving_an_epoch_leaves_no_thread_behind(store):
    before = threading.active_count()
    for _ in a_loader(store, 2).epoch(0):
        break
    gc.collect()
    assert threading.active_count() == before


def test_pinned_memory_on_cuda(store, device):
    batch = next(iter(a_loader(store, 4, pin_memory=device == "cuda").epoch(0)))
    assert batch.images.is_pinned() == (device == "cuda")
    assert torch.equal(batch.to(device).images.cpu(), batch.images)


@pytest.mark.parametrize("size", [1, 24])
def test_batches_that_cannot_be_are_refused(store, size):
    with pytest.raises(ValueError, match=f"batch_size is {size}"):
        a_loader(store, size)


def test_other_settings_that_cannot_be(store):
    with pytest.raises(ValueError, match="token_ids of 3 captions for"):
        Loader(store, store.token_ids(Letters())[:3], 5)
    with pytest.raises(ValueError, match="captions is 'second'"):
        a_loader(store, 5, captions="second")
    with pytest.raises(ValueError, match="rank is 2 of 2"):
        a_loader(store, 5, rank=2, world_size=2)
    with pytest.raises(ValueError, match="23 images among 3 processes"):
        a_loader(store, 8, world_size=3)


def test_shift_moves_and_mirrors_each_image_by_itself(device):
    """Against a plain loop that tries every move: each image is one of them."""
    picture = torch.arange(3 * 20 * 20, dtype=torch.int64).remainder(251).to(torch.uint8)
    images = picture.view(1, 3, 20, 20).repeat(64, 1, 1, 1)
    moved = shift_and_flip(images.to(device), torch.Generator().manual_seed(0), shift=0.1).cpu()
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
    again = shift_and_flip(images.to(device), torch.Generator().manual_seed(0), shift=0.1).cpu()
    assert torch.equal(moved, again)


def test_crop_shows_a_part_of_each_image_as_large_as_the_whole(device):
    """On images whose pixels tell their own place, the corners say which part was cut out."""
    side = 64
    place = torch.linspace(0, 255, side)
    ramp = torch.stack(
        [place.expand(side, side), place[:, None].expand(side, side), torch.zeros(side, side)]
    )
    images = ramp.round().to(torch.uint8).expand(200, 3, side, side)
    cropped = crop_and_flip(images.to(device), torch.Generator().manual_seed(0)).cpu()
    assert cropped.shape == images.shape and cropped.dtype == torch.uint8
    across, down = cropped[:, 0].float(), cropped[:, 1].float()  # (200, S, S)
    mirrored = across[:, 0, 0] > across[:, 0, -1]
    assert 70 < mirrored.sum() < 130
    width = (across[:, 0, -1] - across[:, 0, 0]).abs() / 255
    height = (down[:, -1, 0] - down[:, 0, 0]) / 255
    assert ((width * height) > 0.42).all() and ((width * height) < 1.01).all()  # of 0.5 … 1
    assert (width * height).std() > 0.1 and (width / height).std() > 0.1
    assert ((width / height) < 1.5).all() and ((width / height) > 1 / 1.5).all()
    again = crop_and_flip(images.to(device), torch.Generator().manual_seed(0)).cpu()
    assert torch.equal(cropped, again)


def test_a_crop_of_everything_changes_nothing_but_the_mirror(device):
    picture = torch.randint(0, 256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    images = picture.to(torch.uint8).repeat(40, 1, 1, 1).to(device)
    same = crop_and_flip(images, torch.Generator().manual_seed(0), smallest=1.0, widest=1.0)
    plain = torch.tensor([torch.equal(one, images[0]) for one in same])
    turned = torch.tensor([torch.equal(one, images[0].flip(2)) for one in same])
    assert (plain | turned).all() and plain.any() and turned.any()


@pytest.mark.parametrize("augment", [shift_and_flip, crop_and_flip])
def test_images_can_be_changed_in_place_and_piece_by_piece(device, augment):
    """As training does, to save a second batch: the same images, in the tensor they came in."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (150, 3, 16, 16), generator=generator).to(torch.uint8)
    images = images.to(device)
    fresh = augment(images, torch.Generator().manual_seed(0))
    assert not torch.equal(fresh, images)
    place = images.data_ptr()
    again = augment(images, torch.Generator().manual_seed(0), out=images)
    assert again is images and images.data_ptr() == place and torch.equal(images, fresh)
