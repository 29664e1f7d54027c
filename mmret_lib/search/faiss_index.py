"""Search in memory with FAISS: its flat, HNSW and IVF indexes behind one small class.

An index holds distinct vectors of length 1 under the ids 0, 1, 2, … in the order in which they were
added. A vector that is removed stays inside and is skipped, until the index is built anew.

FAISS brings its own OpenMP threads beside torch's. On Linux both work in one process; on macOS some
builds clash: use `backend="exact"` or "milvus" there.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmret_lib.files.errors import DataError

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

FAISS_KINDS = ("flat", "hnsw", "ivf")
VECTORS_AT_ONCE = 2**16  # that are added at a time: 32 MiB at 128 numbers each
QUERIES_AT_ONCE = 4096
HNSW_LINKS = 16  # of a vector in the graph, twice as many in its lowest layer ("M")
HNSW_CANDIDATES = 80  # among which the graph chooses those links ("efConstruction")
IVF_SAMPLE = 64  # vectors per cell that IVF's cells are learned from, where there are that many


class FaissIndex:
    """One of FAISS's indexes over unit vectors, by inner product.

    Args:
        kind: "flat" compares with all; "hnsw" follows a graph (Malkov and Yashunin 2016, arXiv
            1603.09320), quickest to answer; "ivf" looks into the nearest cells of a partition
            (Sivic and Zisserman 2003), quicker to build and smaller.
        index: the FAISS object.
        effort: how much of the index a query looks at: efSearch of "hnsw", nprobe of "ivf".
    """

    def __init__(self, kind: str, index: Any, effort: int) -> None:
        self.kind, self.index, self.effort = kind, index, effort
        self.most_effort = {"flat": 1, "hnsw": 2048}.get(kind) or int(index.nlist)
        self.present: npt.NDArray[np.bool_] | None = None  # (total,); None: all of them

    @classmethod
    def build(cls, kind: str, emb: Floats, rows: Ids) -> "FaissIndex":
        """Build an index over emb[rows] (n, D) under the ids 0 … n-1.

        Raises:
            DataError: FAISS is not installed.
        """
        faiss, dim = _faiss(), emb.shape[1]
        metric = faiss.METRIC_INNER_PRODUCT
        effort = 1
        if kind == "flat":
            index = faiss.IndexFlatIP(dim)
        elif kind == "hnsw":
            index, effort = faiss.IndexHNSWFlat(dim, HNSW_LINKS, metric), 64
            index.hnsw.efConstruction = HNSW_CANDIDATES
        else:
            cells = max(1, min(round(4 * math.sqrt(len(rows))), len(rows) // 39))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, metric)
            effort = min(16, cells)
            index.cp.max_points_per_centroid = IVF_SAMPLE
            index.cp.min_points_per_centroid = 1  # else it prints a warning
            wanted = min(len(rows), IVF_SAMPLE * cells)
            sample = np.random.default_rng(0).choice(rows, wanted, replace=False)
            sample.sort()  # a file mapped into memory is read from front to back
            index.train(np.ascontiguousarray(emb[sample]))
        built = cls(kind, index, effort)
        built.add(np.arange(len(rows)), emb, rows)
        return built

    def __len__(self) -> int:
        """The number of vectors inside, with those that were removed."""
        return int(self.index.ntotal)

    def add(self, ids: Ids, emb: Floats, rows: Ids) -> None:
        """Add emb[rows] (n, D) under the ids (n,), which follow those that are there."""
        assert len(ids) == len(rows) and (not len(ids) or ids[0] == len(self))
        for start in range(0, len(rows), VECTORS_AT_ONCE):
            part = emb[rows[start : start + VECTORS_AT_ONCE]]
            self.index.add(np.ascontiguousarray(part, dtype=np.float32))
        if self.present is not None:
            self.present = np.concatenate([self.present, np.ones(len(rows), bool)])

    def remove(self, ids: Ids) -> None:
        """Never return these ids (n,) again."""
        if len(ids):
            present = np.ones(len(self), bool) if self.present is None else self.present.copy()
            present[ids] = False
            self.present = present

    def search(self, queries: Floats, k: int) -> Ids:
        """Return the ids (Q, k) of the highest inner products with (Q, D), -1 where too few."""
        faiss = _faiss()
        settings: dict[str, Any] = {}
        if self.present is not None:
            bits = np.packbits(self.present, bitorder="little")
            settings["sel"] = faiss.IDSelectorBitmap(bits)
        if self.kind == "hnsw":
            chosen = faiss.SearchParametersHNSW(efSearch=max(self.effort, k), **settings)
        elif self.kind == "ivf":
            chosen = faiss.SearchParametersIVF(nprobe=self.effort, **settings)
        else:
            chosen = faiss.SearchParameters(**settings)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        parts = [
            self.index.search(queries[start : start + QUERIES_AT_ONCE], k, params=chosen)[1]
            for start in range(0, len(queries), QUERIES_AT_ONCE)
        ]
        return np.concatenate(parts)

    def write(self, path: Path) -> None:
        """Write the index to a file, with the vectors that were removed."""
        _faiss().write_index(self.index, str(path))

    @classmethod
    def read(cls, path: Path, kind: str, effort: int) -> "FaissIndex":
        """Read what `write` wrote.

        Raises:
            DataError: FAISS is not installed, or cannot read the file.
        """
        faiss = _faiss()
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            reason = str(error).splitlines()[0][:200]
            raise DataError(f"{path.name} is no index that FAISS can read ({reason})") from None
        wanted = {"flat": "IndexFlat", "hnsw": "IndexHNSWFlat", "ivf": "IndexIVFFlat"}[kind]
        if not isinstance(index, getattr(faiss, wanted)):
            raise DataError(f"{path.name} holds a {type(index).__name__}, not a {wanted}")
        return cls(kind, index, effort)

    def close(self) -> None:
        """Do nothing: FAISS has no connection that could be closed."""


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise DataError(
            "this kind of search needs FAISS, which is not installed here. Install it with: pip "
            'install faiss-cpu. The exact search (backend="exact") works without it'
        ) from error
    return faiss
