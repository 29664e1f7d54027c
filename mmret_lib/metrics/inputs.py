"""Check embeddings, scores and owners before ranking; errors name the first bad row."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = Tensor | npt.NDArray[Any]


def check_pool(
    image_emb: object, text_emb: object, owner: object
) -> tuple[Tensor, Tensor, npt.NDArray[np.int64]]:
    """Check embeddings (N, D) and (M, D) and owners (M,) as `mmret_lib.metrics.evaluate` does."""
    images, texts = check_embeddings(image_emb, text_emb)
    return images, texts, check_owner(owner, len(images), len(texts))


def check_embeddings(image_emb: object, text_emb: object) -> tuple[Tensor, Tensor]:
    """Check that both sides are finite floats of one length; bring them to the images' device."""
    images, texts = _check_embedding("image_emb", image_emb), _check_embedding("text_emb", text_emb)
    if images.shape[1] != texts.shape[1]:
        raise ValueError(
            f"image_emb has {images.shape[1]} dimensions and text_emb {texts.shape[1]}: both "
            "branches must end in the same space"
        )
    return images, texts.to(images.device)


def _as_tensor(values: object) -> Tensor:
    if isinstance(values, Tensor):
        # Apple's GPUs have no float64, in which close scores are compared.
        return values.detach().cpu() if values.is_mps else values.detach()
    array = np.asarray(values)
    # Torch takes neither foreign byte order nor negative strides, and warns of read-only memory.
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _check_embedding(name: str, values: object) -> Tensor:
    rows = _as_tensor(values)
    if not rows.is_floating_point():
        raise ValueError(f"{name} holds {rows.dtype}: give floats, as the encoder returns them")
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name} has shape {tuple(rows.shape)}, expected (rows, dimensions)")
    # The length is finite only if every entry is, and if it can be divided by.
    bad = (~torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).isfinite()).nonzero()
    if len(bad):
        raise ValueError(
            f"{name} row {int(bad[0])} is not finite ({len(bad)} of {len(rows)} rows): it cannot "
            "be ranked. Look for a diverged loss or an overflow in half precision"
        )
    return rows


def check_scores(name: str, values: object) -> Tensor:
    """Check a matrix of scores, images by captions, for NaN."""
    scores = _as_tensor(values)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"{name} has shape {tuple(scores.shape)}, expected (images, captions)")
    bad = scores.isnan().nonzero()
    if len(bad):
        raise ValueError(f"{name}{bad[0].tolist()} is NaN ({len(bad)} such): it cannot be ranked")
    return scores if scores.is_floating_point() else scores.double()


def check_owner(owner: object, images: int, captions: int) -> npt.NDArray[np.int64]:
    """Check that each caption has an image and each image a caption."""
    values = owner.detach().cpu().numpy() if isinstance(owner, Tensor) else np.asarray(owner)
    if values.shape != (captions,) or values.dtype.kind not in "iu":
        raise ValueError(
            f"owner has shape {values.shape} and type {values.dtype}: the {captions} "
            "captions need one integer each, the index of its image"
        )
    outside = np.flatnonzero((values < 0) | (values >= images))
    if len(outside):
        raise ValueError(
            f"owner[{outside[0]}] is {values[outside[0]]}, outside 0 to {images - 1}: there are "
            f"{images} images"
        )
    values = values.astype(np.int64)
    lacking = np.flatnonzero(np.bincount(values, minlength=images) == 0)
    if len(lacking):
        raise ValueError(
            f"image {lacking[0]} has no caption ({len(lacking)} such): it has no rank. Leave "
            "these images out, or give their captions"
        )
    return values


def check_ks(ks: Iterable[int]) -> tuple[int, ...]:
    """Check the K of recall@K; sorted, each once."""
    checked = tuple(sorted({operator.index(k) for k in ks}))
    if not checked or checked[0] < 1:
        raise ValueError(f"ks is {checked}: recall@K needs at least one K, each 1 or more")
    return checked
