"""What `mmret data` says of photos that are there twice."""

import numpy as np
from small_stores import photo_set

from mmret_lib.data import Pairs
from mmret_lib.data.duplicates import duplicate_lines
from mmret_lib.data.store import pack

SIDE = 32


def test_copies_within_and_between_splits(tmp_path):
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(8):
        picture = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        large = Image.fromarray(picture).resize((200, 200))
        large.save(folder / f"{index}.png")
        if index < 2:
            large.resize((90, 90)).save(folder / f"copy of {index}.jpg", quality=80)

    def packed(name, *files):
        pairs = Pairs(
            [folder / file for file in files],
            ["a picture"] * len(files),
            np.arange(len(files)),
            list(range(len(files))),
            split=name,
        )
        return pack(pairs, SIDE, tmp_path / name, progress=False)

    train = packed("train", "0.png", "1.png", "copy of 0.jpg", "3.png")
    test = packed("test", "3.png", "4.png", "copy of 1.jpg", "5.png")
    val = packed("val", "6.png", "7.png")
    assert duplicate_lines({"train": train, "val": val, "test": test}) == [
        "train: 1 photo is there twice: 0.png = copy of 0.jpg",
        "train and test: 2 photos are in both: 3.png, 1.png = copy of 1.jpg",
    ]
    assert duplicate_lines({"val": val}) == duplicate_lines({}) == []


def test_only_a_few_are_named(tmp_path):
    one = pack(photo_set(tmp_path / "photos", 9), SIDE, tmp_path / "store", progress=False)
    (line,) = duplicate_lines({"train": one, "test": one})
    assert line == "train and test: 9 photos are in both: 0.png, 1.png, 2.png, …"
