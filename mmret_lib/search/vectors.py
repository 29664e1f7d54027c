"""Embeddings that can be searched: exactly, or through an index that is faster and may miss some.

Whatever an index proposes is scored again here, by the cosine to the embedding itself, and where it
proposes too few (a graph that a query cannot walk through, cells with too little in them) the exact
search answers. So an answer has all its k hits with their true scores in order; what an index can
do wrong is to overlook one, and how often it does is measured.

Equal embeddings, those of captions that occur more than once, have one number and lie in the index
once. A graph links every copy to the other copies, and what lies behind them is never found.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmret_lib.search.faiss_index import Approximate, Floats, Ids

CELLS = 2**25  # scores that the exact search holds at a time: 128 MiB
CHUNK = 2**16  # rows that are hashed or copied at a time
MOST_ASKED = 1000  # hits that are asked of an index; beyond, the exact search is as quick
TARGET = 0.97  # recall that the effort of an index is raised for
CHECKED = 10  # recall@10 is what is measured


@dataclass(eq=False)
class Vectors:
    """One side of a collection: its images' embeddings, or its captions'.

    Attributes:
        emb: (N, D) float32 on the CPU, rows of length 1; may be a file mapped into memory.
        ids: int64 (N,): the number of each row's vector, equal where the rows are.
        index: over the distinct vectors under these numbers; None where the search is exact.
        next_id: the number of the next vector that comes.
    """

    emb: Tensor
    ids: Ids | None = None
    index: Approximate | None = None
    next_id: int = 0

    def __len__(self) -> int:
        return len(self.emb)

    @cached_property
    def _by_id(self) -> tuple[Ids, Ids]:
        """(N,) rows in the order of their ids, and (N,) these ids."""
        assert self.ids is not None
        order = np.argsort(self.ids, kind="stable")
        return order, self.ids[order]

    def distinct(self) -> tuple[Ids, Ids]:
        """(V,) the numbers in use, ascending, and (V,) the first row of each."""
        order, ids = self._by_id
        first = np.flatnonzero(np.diff(ids, prepend=-1))
        return ids[first], order[first]

    def search(self, queries: Tensor, k: int) -> list[tuple[list[float], list[int]]]:
        """For each of (Q, D) unit queries: the k highest scores and their rows, the best first.

        All N where k is larger.
        """
        k = min(k, len(self))
        if self.index is None or k > MOST_ASKED:
            return list(self._exact(queries, k))
        found = self.index.search(queries.numpy(), k)  # (Q, k)
        answers = [self._scored(query, ids, k) for query, ids in zip(queries, found, strict=True)]
        short = [place for place, (scores, _) in enumerate(answers) if len(scores) < k]
        for place, whole in zip(short, self._exact(queries[short], k), strict=True):
            answers[place] = whole
        return answers

    def _exact(self, queries: Tensor, k: int) -> Iterator[tuple[list[float], list[int]]]:
        for some in queries.split(max(1, CELLS // len(self))):
            # One query as a vector: a matrix with one row takes torch twice as long.
            scores = (self.emb @ some[0])[None] if len(some) == 1 else some @ self.emb.T
            top = scores.topk(k)
            yield from zip(top.values.tolist(), top.indices.tolist(), strict=True)

    def _scored(self, query: Tensor, ids: Ids, k: int) -> tuple[list[float], list[int]]:
        order, sorted_ids = self._by_id
        ids = ids[ids >= 0]
        left = np.searchsorted(sorted_ids, ids)
        # Copies score the same, so that k of them are enough; an id that is not ours has none.
        right = np.minimum(np.searchsorted(sorted_ids, ids, side="right"), left + k)
        if ((right - left) == 1).all():
            rows = order[left]
        else:
            rows = np.concatenate([order[a:b] for a, b in zip(left, right, strict=True)])
        chosen = torch.from_numpy(rows)
        scores, places = (self.emb[chosen] @ query).sort(descending=True, stable=True)
        return scores[:k].tolist(), chosen[places[:k]].tolist()

    def recall(self, queries: Tensor, k: int = CHECKED) -> float:
        """The share of the exact k best of (Q, D) unit queries that the index finds, 0…1.

        A hit counts where its score reaches that of the exact k-th: of rows that score the same,
        any will do.
        """
        k = min(k, len(self))
        exact = torch.tensor([scores for scores, _ in self._exact(queries, k)])  # (Q, k)
        found = self.search(queries, k)
        scores = torch.tensor([scores for scores, _ in found])
        return float((scores >= exact[:, -1:] - 1e-6).float().mean())

    def raise_effort(self, samples: dict[str, Tensor]) -> dict[str, float]:
        """Double the index's effort until the recall of every sample of queries is high enough.

        Args:
            samples: name -> (Q, D) unit queries.

        Returns:
            name -> recall@10, with the effort that it came to.
        """
        assert self.index is not None
        while True:
            found = {name: self.recall(queries) for name, queries in samples.items()}
            if min(found.values()) >= TARGET or self.index.effort >= self.index.most_effort:
                return found
            self.index.effort = min(2 * self.index.effort, self.index.most_effort)


def number(emb: Floats, before: Vectors | None = None) -> Ids:
    """Numbers for rows (n, D) that come after `before`: an equal vector has the same number."""
    values, first, places = np.unique(_hashes(emb), return_index=True, return_inverse=True)
    numbers = np.full(len(values), -1, np.int64)
    start = 0
    if before is not None:
        ids, rows = before.distinct()
        known = _hashes(before.emb.numpy())[rows]
        order = np.argsort(known)
        at = np.minimum(np.searchsorted(known, values, sorter=order), len(known) - 1)
        same = known[order[at]] == values
        numbers[same] = ids[order[at[same]]]
        start = before.next_id
    new = np.flatnonzero(numbers < 0)
    new = new[np.argsort(first[new])]  # numbered as they come
    numbers[new] = start + np.arange(len(new))
    return numbers[places.reshape(-1)]


def _hashes(emb: Floats) -> npt.NDArray[np.uint64]:
    """uint64 (n,): equal for rows with the same bytes, else different but for one in 2**40."""
    factors = np.random.default_rng(0).integers(0, 2**63, emb.shape[1], np.uint64) * 2 + 1
    parts = []
    for start in range(0, len(emb), CHUNK):
        bits = np.ascontiguousarray(emb[start : start + CHUNK], np.float32).view(np.uint32)
        parts.append((bits * factors).sum(axis=1, dtype=np.uint64))  # (rows,), modulo 2**64
    return np.concatenate(parts)
