"""Noise pictures with captions, and a tokeniser that can be read back, for tests of stores."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmret_lib.data import Pairs
from mmret_lib.data.images import read_pixels

SIDE = 8


def noise(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Image.fromarray(values)


def photo_set(folder: Path, count: int) -> Pairs:
    """Pairs of `count` noise pictures, captioned twice each."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        noise(index).save(folder / f"{index}.png")
    return Pairs(
        images=[folder / f"{index}.png" for index in range(count)],
        captions=[f"picture {index // 2}" for index in range(2 * count)],
        owner=np.repeat(np.arange(count), 2),
        image_ids=list(range(count)),
        name="photos",
    )


def drawn(index: int) -> np.ndarray:
    return np.asarray(noise(index)).transpose(2, 0, 1)


def images_file(folder: Path) -> Path:
    (path,) = folder.glob("images-*.npy")
    return path


class Letters:
    """A text encoder's tokeniser, one id per letter; counts its calls."""

    def __init__(self, name="letters"):
        self.name, self.calls = name, 0

    def vocabulary(self):
        return self.name

    def tokenize(self, texts):
        self.calls += 1
        longest = max(map(len, texts))
        ids = np.zeros((len(texts), longest), np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = [ord(letter) for letter in text]
        return {"input_ids": ids, "attention_mask": ids > 0}


def decoded_anew(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """From now on, the images that are decoded in this process."""
    seen: list[Path] = []

    def counting(path, size):
        seen.append(Path(path))
        return read_pixels(path, size)

    monkeypatch.setattr("mmret_lib.data.packing.read_pixels", counting)
    return seen
