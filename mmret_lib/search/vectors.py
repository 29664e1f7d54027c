"""Search the embeddings of one side of a collection, exactly or through an index.

An index is faster than comparing a query with every embedding, and may overlook some. Whatever it
finds is scored again here, by the cosine to the embedding itself, and where it finds too few, the
exact search answers. So an answer always has k hits with their true scores in order; an index can
only miss one, and `recall` measures how often it does.

Captions that occur more than once have equal embeddings. Equal embeddings share one id and are in
the index once: a graph would link every copy to the other copies, and never find what lies behind.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmret_lib.files.errors import DataError
from mmret_lib.search.faiss_index import FAISS_KINDS, FaissIndex, Floats, Ids
from mmret_lib.search.milvus_index import MilvusIndex, check_uri

BACKENDS = ("exact", *FAISS_KINDS, "milvus")

SCORES_AT_ONCE = 2**25  # in the memory of an exact search: 128 MiB
ROWS_AT_ONCE = 2**16  # hashed or copied at a time
MAX_FROM_INDEX = 1000  # hits that an index is asked for; for more, the exact search is as quick
TARGET_RECALL = 0.97  # the effort of an index is raised until it reaches this
RECALL_AT = 10  # the K of the recall that is measured


def check_backend(backend: str, uri: str | None) -> None:
    """Raise DataError for an unknown backend, or the address of a database that it cannot use."""
    if backend not in BACKENDS:
        raise DataError(f"there is no backend {backend!r}; choose {', '.join(BACKENDS)}")
    if uri is not None and backend != "milvus":
        raise DataError(f'uri is the address of a Milvus; it goes with "milvus", not {backend!r}')
    if uri is not None:
        check_uri(uri)


class Index(Protocol):
    """The methods that `Vectors` needs of an index.

    Attributes:
        effort: how much of the index a query looks at; more finds more and takes longer.
        most_effort: the largest effort that is worth its time.
    """

    effort: int
    most_effort: int

    def add(self, ids: Ids, emb: Floats, rows: Ids) -> None:
        """Add emb[rows] (n, D) under the ids (n,), consecutive and greater than all before."""

    def remove(self, ids: Ids) -> None:
        """Never return these ids (n,) again."""

    def search(self, queries: Floats, k: int) -> Ids:
        """Return the ids (Q, k) of the highest inner products with (Q, D), -1 where too few."""

    def close(self) -> None:
        """Disconnect from a database outside this process, if there is one."""


@dataclass(eq=False)
class Vectors:
    """One side of a collection: the embeddings of its images, or of its captions.

    Attributes:
        emb: (N, D) float32 on the CPU, rows of length 1; may be a file mapped into memory.
        ids: int64 (N,): the id of each row in the index; equal rows have equal ids.
        index: holds the distinct rows under these ids; None where the search is exact.
        next_id: the id that the next new row gets.
    """

    emb: Tensor
    ids: Ids | None = None
    index: Index | None = None
    next_id: int = 0

    @classmethod
    def build(cls, emb: Tensor, backend: str, database: MilvusIndex | None = None) -> "Vectors":
        """Build an index over embeddings.

        Args:
            emb: (N, D) float32 on the CPU, rows of length 1.
            backend: "exact" builds none; "flat", "hnsw" or "ivf" are FAISS's; "milvus".
            database: for "milvus", where to put the vectors; closed if that fails.

        Raises:
            DataError: the backend is not installed, or the database does not answer.
        """
        if backend == "exact":
            return cls(emb)
        ids = row_ids(emb.numpy())
        vectors = cls(emb, ids, None, int(ids.max()) + 1)
        distinct, rows = vectors.distinct()
        if database is None:
            vectors.index = FaissIndex.build(backend, emb.numpy(), rows)
            return vectors
        vectors.index = database
        try:
            database.create(emb.numpy(), distinct, rows)
        except BaseException:
            database.close()
            raise
        return vectors

    def extend(self, emb: Tensor) -> "Vectors":
        """Return these vectors with more after them, which are added to the index.

        Args:
            emb: (N + n, D), of which the first N rows are the present ones.
        """
        if self.index is None:
            return Vectors(emb)
        if isinstance(self.index, FaissIndex) and len(self.index) != self.next_id:
            # An earlier call added vectors and then failed: none of those may be found.
            return Vectors.build(emb, self.index.kind)
        assert self.ids is not None
        ids = np.concatenate([self.ids, row_ids(emb[len(self) :].numpy(), self)])
        longer = Vectors(emb, ids, self.index, max(self.next_id, int(ids.max()) + 1))
        distinct, rows = longer.distinct()
        new = distinct >= self.next_id
        self.index.add(distinct[new], emb.numpy(), rows[new])
        return longer

    def __len__(self) -> int:
        return len(self.emb)

    @property
    def mostly_removed(self) -> bool:
        """Whether more than half of a FAISS index is vectors that were removed."""
        index = self.index
        return isinstance(index, FaissIndex) and len(index) > 2 * len(self.distinct()[0])

    @cached_property
    def _by_id(self) -> tuple[Ids, Ids]:
        """(N,) rows in the order of their ids, and (N,) these ids."""
        assert self.ids is not None
        order = np.argsort(self.ids, kind="stable")
        return order, self.ids[order]

    def distinct(self) -> tuple[Ids, Ids]:
        """Return the ids in use (V,), ascending, and the first row of each (V,)."""
        order, ids = self._by_id
        first = np.flatnonzero(np.diff(ids, prepend=-1))
        return ids[first], order[first]

    def search(self, queries: Tensor, k: int) -> list[tuple[list[float], list[int]]]:
        """Find the k rows most similar to each query, the best first; all N where k is larger.

        Args:
            queries: (Q, D) float32, rows of length 1.
            k: how many.

        Returns:
            For each query the scores (cosines) and the rows.
        """
        k = min(k, len(self))
        if self.index is None or k > MAX_FROM_INDEX:
            return list(self._exact(queries, k))
        ids = self.index.search(queries.numpy(), k)  # (Q, k)
        answers = [self._rescored(query, own, k) for query, own in zip(queries, ids, strict=True)]
        short = [place for place, (scores, _) in enumerate(answers) if len(scores) < k]
        for place, answer in zip(short, self._exact(queries[short], k), strict=True):
            answers[place] = answer
        return answers

    def _exact(self, queries: Tensor, k: int) -> Iterator[tuple[list[float], list[int]]]:
        batch = max(1, SCORES_AT_ONCE // len(self))
        for start in range(0, len(queries), batch):
            part = queries[start : start + batch]
            # One query as a vector: a matrix with one row takes torch twice as long.
            scores = (self.emb @ part[0])[None] if len(part) == 1 else part @ self.emb.T
            top = scores.topk(k)
            yield from zip(top.values.tolist(), top.indices.tolist(), strict=True)

    def _rescored(self, query: Tensor, ids: Ids, k: int) -> tuple[list[float], list[int]]:
        order, sorted_ids = self._by_id
        ids = ids[ids >= 0]
        left = np.searchsorted(sorted_ids, ids)
        # Copies score the same, so that k of them are enough; an unknown id has none.
        right = np.minimum(np.searchsorted(sorted_ids, ids, side="right"), left + k)
        if ((right - left) == 1).all():
            rows = order[left]
        else:
            rows = np.concatenate([order[a:b] for a, b in zip(left, right, strict=True)])
        chosen = torch.from_numpy(rows)
        scores, places = (self.emb[chosen] @ query).sort(descending=True, stable=True)
        return scores[:k].tolist(), chosen[places[:k]].tolist()

    def recall(self, queries: Tensor, k: int = RECALL_AT) -> float:
        """Measure which share of the exact k best of (Q, D) unit queries is found, 0…1.

        A hit counts where its score reaches that of the exact k-th: of rows that score the same,
        any will do.
        """
        k = min(k, len(self))
        exact = torch.tensor([scores for scores, _ in self._exact(queries, k)])  # (Q, k)
        scores = torch.tensor([scores for scores, _ in self.search(queries, k)])
        return float((scores >= exact[:, -1:] - 1e-6).float().mean())

    def raise_effort(self, samples: dict[str, Tensor]) -> dict[str, float]:
        """Double the index's effort until its recall is high enough for every sample of queries.

        Args:
            samples: name -> (Q, D) unit queries.

        Returns:
            Name -> recall@10 with that effort.
        """
        assert self.index is not None
        while True:
            recalls = {name: self.recall(queries) for name, queries in samples.items()}
            enough = min(recalls.values()) >= TARGET_RECALL
            if enough or self.index.effort >= self.index.most_effort:
                return recalls
            self.index.effort = min(2 * self.index.effort, self.index.most_effort)


def row_ids(emb: Floats, before: Vectors | None = None) -> Ids:
    """Number rows (n, D) from 0, or from `before.next_id`; equal rows get equal ids.

    Args:
        emb: the rows.
        before: vectors that have ids already; a row that equals one of them gets its id.
    """
    hashes, first, places = np.unique(_hashes(emb), return_index=True, return_inverse=True)
    ids = np.full(len(hashes), -1, np.int64)
    start = 0
    if before is not None:
        known_ids, rows = before.distinct()
        known = _hashes(before.emb.numpy())[rows]
        order = np.argsort(known)
        at = np.minimum(np.searchsorted(known, hashes, sorter=order), len(known) - 1)
        same = known[order[at]] == hashes
        ids[same] = known_ids[order[at[same]]]
        start = before.next_id
    new = np.flatnonzero(ids < 0)
    new = new[np.argsort(first[new])]  # numbered in the order in which they come
    ids[new] = start + np.arange(len(new))
    return ids[places.reshape(-1)]


def _hashes(emb: Floats) -> npt.NDArray[np.uint64]:
    """uint64 (n,): equal for rows with the same bytes, else different but for one in 2**40."""
    factors = np.random.default_rng(0).integers(0, 2**63, emb.shape[1], np.uint64) * 2 + 1
    parts = []
    for start in range(0, len(emb), ROWS_AT_ONCE):
        bits = np.ascontiguousarray(emb[start : start + ROWS_AT_ONCE], np.float32).view(np.uint32)
        parts.append((bits * factors).sum(axis=1, dtype=np.uint64))  # (rows,), modulo 2**64
    return np.concatenate(parts)
