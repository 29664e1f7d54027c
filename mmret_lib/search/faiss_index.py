"""Approximate search in memory, by FAISS: flat, HNSW and IVF behind one small face.

An index holds distinct vectors of length 1 under the numbers 0, 1, 2, … in the order in which they
came. None ever moves: what is removed stays inside and is passed over, until the whole is built
anew. FAISS runs threads of OpenMP of its own beside torch's. On Linux the two do not meet; on macOS
some builds of both clash, and there `backend="exact"` or "milvus" is the way out.
"""

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mmret_lib.files.errors import DataError

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

FAISS_KINDS = ("flat", "hnsw", "ivf")
CHUNK = 2**16  # vectors that are added at a time: 32 MiB at 128 numbers each
ASKED = 4096  # queries that are answered at a time
LINKS = 16  # of a vector in the HNSW graph, twice as many in its lowest layer
CARE = 80  # candidates among which HNSW chooses those links
LEARNED_FROM = 64  # vectors per cell that IVF's cells are learned from, where there are that many


class Approximate(Protocol):
    """What a collection of vectors asks of an index over it.

    Attributes:
        effort: how much of it a query looks at; more finds more, and takes longer.
        most_effort: beyond which more would find nothing more, or is not worth it.
    """

    effort: int
    most_effort: int

    def add(self, ids: Ids, emb: Floats, rows: Ids) -> None:
        """Take in emb[rows] (n, D) under the ids (n,), consecutive and greater than all before."""

    def remove(self, ids: Ids) -> None:
        """Never answer these ids (n,) again."""

    def search(self, queries: Floats, k: int) -> Ids:
        """(Q, D) -> (Q, k): ids of the highest inner products, -1 where fewer were found."""

    def close(self) -> None:
        """Let go of whatever lies outside this process's memory."""


class FaissIndex:
    """One of FAISS's indexes over unit vectors, by inner product.

    Args:
        kind: "flat" compares with all; "hnsw" follows a graph (Malkov and Yashunin 2016, arXiv
            1603.09320), quickest to answer; "ivf" looks into the nearest cells of a partition
            (Sivic and Zisserman 2003), quicker to build and smaller.
        index: the FAISS object.
    """

    def __init__(self, kind: str, index: Any, effort: int) -> None:
        self.kind, self.index, self.effort = kind, index, effort
        self.most_effort = {"flat": 1, "hnsw": 2048}.get(kind) or int(index.nlist)
        self.live: npt.NDArray[np.bool_] | None = None  # (total,), None while all are

    @classmethod
    def empty(cls, kind: str, emb: Floats, rows: Ids) -> "FaissIndex":
        """An index that is ready to take in emb[rows] (n, D); IVF learns its cells from a sample.

        Raises:
            DataError: FAISS is not installed.
        """
        faiss, dim = _faiss(), emb.shape[1]
        metric = faiss.METRIC_INNER_PRODUCT
        if kind == "flat":
            return cls(kind, faiss.IndexFlatIP(dim), 1)
        if kind == "hnsw":
            index = faiss.IndexHNSWFlat(dim, LINKS, metric)
            index.hnsw.efConstruction = CARE
            return cls(kind, index, 64)
        cells = max(1, min(round(4 * math.sqrt(len(rows))), len(rows) // 39))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, metric)
        index.cp.max_points_per_centroid = LEARNED_FROM
        index.cp.min_points_per_centroid = 1  # else it prints a warning about small collections
        wanted = min(len(rows), LEARNED_FROM * cells)
        sample = np.random.default_rng(0).choice(rows, wanted, replace=False)
        sample.sort()  # a file mapped into memory is read from front to back
        index.train(np.ascontiguousarray(emb[sample]))
        return cls(kind, index, min(16, cells))

    def __len__(self) -> int:
        """How many it holds, with those that were removed."""
        return int(self.index.ntotal)

    def add(self, ids: Ids, emb: Floats, rows: Ids) -> None:
        assert len(ids) == len(rows) and (not len(ids) or ids[0] == len(self))
        for start in range(0, len(rows), CHUNK):
            part = emb[rows[start : start + CHUNK]]
            self.index.add(np.ascontiguousarray(part, dtype=np.float32))
        if self.live is not None:
            self.live = np.concatenate([self.live, np.ones(len(rows), bool)])

    def remove(self, ids: Ids) -> None:
        if len(ids):
            live = np.ones(len(self), bool) if self.live is None else self.live.copy()
            live[ids] = False
            self.live = live

    def search(self, queries: Floats, k: int) -> Ids:
        faiss = _faiss()
        settings: dict[str, Any] = {}
        if self.live is not None:
            bits = np.packbits(self.live, bitorder="little")
            settings["sel"] = faiss.IDSelectorBitmap(bits)
        if self.kind == "hnsw":
            chosen = faiss.SearchParametersHNSW(efSearch=max(self.effort, k), **settings)
        elif self.kind == "ivf":
            chosen = faiss.SearchParametersIVF(nprobe=self.effort, **settings)
        else:
            chosen = faiss.SearchParameters(**settings)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        parts = [
            self.index.search(queries[start : start + ASKED], k, params=chosen)[1]
            for start in range(0, len(queries), ASKED)
        ]
        return np.concatenate(parts)

    def write(self, path: Path) -> None:
        _faiss().write_index(self.index, str(path))

    @classmethod
    def read(cls, path: Path, kind: str, effort: int) -> "FaissIndex":
        """What `write` wrote.

        Raises:
            DataError: FAISS is not installed, or cannot read the file.
        """
        faiss = _faiss()
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            said = str(error).splitlines()[0][:200]
            raise DataError(f"{path.name} is no index that FAISS can read ({said})") from None
        wanted = {"flat": "IndexFlat", "hnsw": "IndexHNSWFlat", "ivf": "IndexIVFFlat"}[kind]
        if not isinstance(index, getattr(faiss, wanted)):
            raise DataError(f"{path.name} holds a {type(index).__name__}, not a {wanted}")
        return cls(kind, index, effort)

    def close(self) -> None:
        """Nothing lies outside this process."""


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise DataError(
            "this kind of search needs FAISS, which is not installed here. Install it with: pip "
            'install "mmret[search]". The exact search (backend="exact") needs neither'
        ) from error
    return faiss
