"""Hash pictures to 64 bits each, so that a copy of one is found again among many.

The hash is made of what a picture looks like, not of its bytes: a copy that was saved as another
JPEG, scaled, renamed or packed at another size differs from it in a few bits at most, and
another picture in about 32. Two pictures are taken for one where at most `NEAR` bits differ.
benchmarks/results/pixel_hash.md has the measurements.

Each bit is the sign of one coefficient of the cosine transform of the picture's brightness
(after Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). The
coefficients are spread over many frequencies, and none is of rows or of columns alone: in drawn
scenes these only tell where the horizon is. A picture with little in it (one colour, a gradient)
has hardly any coefficients, so that the hash of its very pixels is taken instead.

Not found are copies that were mirrored, turned, or cut at another place. Two drawn scenes with one
thing at the same place can be so alike that they count as one: a pair in some 70 million.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

NEAR = 3  # bits in which the hashes of two copies of one picture may differ
UNKNOWN = 0  # in the place of the hash of a picture that could not be read or is not there

Hashes = npt.NDArray[np.uint64]

_GRID = 32  # cells along a side to which a picture is reduced
_BITS = 64
_EVERY = 3  # of the coefficients in the order of their frequency, every third makes a bit
_FAINT = 0.02  # grey levels; a smaller coefficient may be rounding alone
_FEWEST = 40  # coefficients that must not be faint, else the picture has too little in it
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue (BT.601)
_PIECE = 2**20  # numbers that are converted to float at a time, so that they stay near the core


def pixel_hashes(pixels: npt.NDArray[np.uint8]) -> Hashes:
    """Hash pictures.

    Args:
        pixels: uint8 (N, 3, S, S), as packed stores hold them.

    Returns:
        uint64 (N,); never `UNKNOWN`.
    """
    size = pixels.shape[-1]
    transform, (rows, columns) = _transform(size), _frequencies()
    hashes = np.empty(len(pixels), np.uint64)
    step = max(1, _PIECE // (3 * size * size))
    for first in range(0, len(pixels), step):
        piece = pixels[first : first + step]
        grey = sum(share * piece[:, c] for c, share in enumerate(_BRIGHTNESS))  # (n, S, S)
        values = np.ascontiguousarray((transform @ grey @ transform.T)[:, rows, columns])  # (n, 64)
        bits = np.packbits(values > 0, axis=1, bitorder="little").view("<u8")[:, 0]
        for place in np.flatnonzero((np.abs(values) > _FAINT).sum(axis=1) < _FEWEST):
            digest = hashlib.blake2b(piece[place].tobytes(), digest_size=8).digest()
            bits[place] = int.from_bytes(digest, "little")
        hashes[first : first + step] = np.where(bits == UNKNOWN, 1, bits)
    return hashes


def copies_in(some: Hashes, others: Hashes) -> npt.NDArray[np.int64]:
    """Find the first copy of each picture of `others` among `some`.

    With the same hashes on both sides, a picture that has no copy before it finds itself.

    Args:
        some: uint64 (N,).
        others: uint64 (M,).

    Returns:
        (M,) indices into `some`, -1 where there is no copy. `UNKNOWN` has none.
    """
    found = np.full(len(others), -1)
    if not len(some) or not len(others):
        return found
    distinct, first = np.unique(some, return_index=True)
    asked, place = np.unique(others, return_inverse=True)
    none = len(some)
    firsts = np.full(len(asked), none)
    for i, j in _near(distinct, asked):
        np.minimum.at(firsts, j, first[i])
    found = firsts[place]
    return np.where(found < none, found, -1)


def _near(some: Hashes, others: Hashes) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yield the indices (i, j) of hashes that differ in `NEAR` bits at most, some of them twice.

    The 64 bits are cut into NEAR + 1 blocks: of two hashes that differ in NEAR bits, one block is
    equal. So only hashes that share a block are compared: 118,000 with as many take a second.
    """
    edges = np.linspace(0, _BITS, NEAR + 2).astype(int)
    for start, end in pairwise(edges):
        mask = np.uint64((1 << int(end - start)) - 1)
        keys = (some >> np.uint64(start)) & mask
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        for begin in range(0, len(others), 4096):  # the candidates of all at once may be too many
            part = others[begin : begin + 4096]
            wanted = (part >> np.uint64(start)) & mask
            low, high = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, "right")
            counts = high - low
            j = np.repeat(np.arange(len(part)), counts)
            offsets = np.arange(len(j)) - np.repeat(np.cumsum(counts) - counts, counts)
            i = order[np.repeat(low, counts) + offsets]
            near = np.bitwise_count(some[i] ^ part[j]) <= NEAR
            near &= (some[i] != UNKNOWN) & (part[j] != UNKNOWN)
            yield i[near], begin + j[near]


@cache
def _transform(size: int) -> npt.NDArray[np.float32]:
    """(F, S): reduces S pixels to a grid's cells, and takes the cosine transform of these.

    Applied along both sides of a picture it gives the amplitude of each frequency in grey levels.
    """
    edges = np.linspace(0, size, _GRID + 1)
    pixel = np.arange(size)
    low, high = edges[:-1, None], edges[1:, None]
    shares = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    cells = shares / shares.sum(axis=1, keepdims=True)  # (grid, S): the mean over each cell
    frequencies = np.arange(max(map(max, _frequencies())) + 1)[:, None]
    cosines = np.cos(np.pi * frequencies * (2 * np.arange(_GRID) + 1) / (2 * _GRID))
    transform: npt.NDArray[np.float32] = (2 / _GRID * cosines @ cells).astype(np.float32)
    return transform


@cache
def _frequencies() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The frequencies of the 64 coefficients, along the columns and along the rows."""
    both = [(i, j) for i in range(1, _GRID) for j in range(1, _GRID)]
    both.sort(key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair))
    chosen = both[: _EVERY * _BITS : _EVERY]
    return tuple(i for i, _ in chosen), tuple(j for _, j in chosen)
