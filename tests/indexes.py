"""Small search indexes, and what tests compare them by."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmret_lib.encoders import DualEncoder
from mmret_lib.search import SearchIndex

QUERY = "A zebra stands on the grass."
MILVUS = pytest.param("milvus", marks=pytest.mark.slow)  # starts a server for every index


def new_model(seed: int = 0, **settings) -> DualEncoder:
    torch.manual_seed(seed)
    return DualEncoder.from_names(image_weights=None, text_weights=None, **settings).eval()


def all_answers(index: SearchIndex, k: int = 10**6) -> list[list[tuple]]:
    """What the index answers in all four directions, by name."""
    picture = index.pairs.images[-1]
    answers = (
        index.by_text(QUERY, k),
        index.by_image(picture, k),
        index.similar_images(picture, k),
        index.similar_captions(QUERY, k),
    )
    return [[(hit.image.name, hit.caption, round(hit.score, 4)) for hit in a] for a in answers]


def assert_same(index: SearchIndex, exact: SearchIndex) -> None:
    """That an index holds all that another one holds, and answers alike."""
    assert list(map(Path.absolute, index.pairs.images)) == exact.pairs.images
    assert index.pairs.captions == exact.pairs.captions
    assert index.pairs.owner.tolist() == exact.pairs.owner.tolist()
    torch.testing.assert_close(index.image_emb, exact.image_emb, atol=1e-5, rtol=0)
    torch.testing.assert_close(index.text_emb, exact.text_emb, atol=1e-5, rtol=0)
    for got, wanted in zip(all_answers(index), all_answers(exact), strict=True):
        assert sorted(hit[:2] for hit in got if hit[1]) == sorted(h[:2] for h in wanted if h[1])
        np.testing.assert_allclose([h[2] for h in got], [h[2] for h in wanted], atol=2e-4)
    for got, wanted in zip(all_answers(index, 10), all_answers(exact, 10), strict=True):
        assert len(got) == len(wanted) == 10
        assert np.mean([h[2] for h in got]) == pytest.approx(
            np.mean([h[2] for h in wanted]), abs=0.02
        )


def without(exact: SearchIndex, gone: set[int]) -> SearchIndex:
    left = np.array([image not in gone for image in range(len(exact))])
    captions = torch.from_numpy(left[exact.pairs.owner])
    return SearchIndex(
        exact.model,
        exact.pairs.subset(left),
        exact.image_emb[torch.from_numpy(left)],
        exact.text_emb[captions],
    )


def unit(emb: np.ndarray) -> np.ndarray:
    return (emb / np.linalg.norm(emb, axis=1, keepdims=True)).astype(np.float32)


def mixture(count: int, seed: int, dim: int = 32) -> np.ndarray:
    """Unit vectors around 50 centres, as captions and pictures lie around what they show."""
    centres = np.random.default_rng(99).normal(size=(50, dim))
    rng = np.random.default_rng(seed)
    return unit(centres[rng.integers(0, 50, count)] + 0.5 * rng.normal(size=(count, dim)))


def index_files(folder: Path) -> list[Path]:
    """The files that make up an index, its manifest last."""
    return sorted([*folder.glob("*-*.*"), folder / "manifest.json"])


def spoil(path: Path, how: str) -> None:
    """Damage a file in one of five ways."""
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "short":
        path.write_bytes(content[: len(content) * 2 // 3])
    elif how == "long":
        path.write_bytes(content + b"\0" * 512)
    else:
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)
