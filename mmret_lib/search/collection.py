"""A collection of images and captions with their embeddings and the indexes that search them.

A collection in use never changes: building an index, adding and removing each give a new one, so
that a failure on the way leaves the present one as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmret_lib.data.features import Features
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.search.embed import SIDES, count_rows, embed
from mmret_lib.search.faiss_index import Floats, Ids
from mmret_lib.search.hits import Hit, hits_of
from mmret_lib.search.milvus_index import MilvusIndex
from mmret_lib.search.vectors import ROWS_AT_ONCE, Vectors

SAMPLE = 200  # images, and captions, that are the queries when recall is measured

# (name, (rows, D)) -> a float32 array to fill: in memory, or mapped from a file.
NewArray = Callable[[str, tuple[int, int]], npt.NDArray[np.float32]]


@dataclass(eq=False)
class Collection:
    """Pairs, their embeddings, and the indexes that search these.

    Attributes:
        pairs: N images, M captions.
        sides: "image" -> the N embeddings of the images, "text" -> the M of the captions.
        backend: what searches them.
        recall: direction -> recall@10 against the exact search; None where it is exact.
        database: for Milvus, the address and names that `IndexFolder.database` gives.
    """

    pairs: Pairs
    sides: dict[str, Vectors]
    backend: str = "exact"
    recall: dict[str, float] | None = None
    database: dict[str, str] | None = None

    @classmethod
    def embed(
        cls, model: DualEncoder, data: Store | Features, new_array: NewArray, progress: bool
    ) -> "Collection":
        """Embed every image and every caption; the search is exact."""
        sides = {}
        for side in SIDES:
            emb = new_array(f"{side}_emb", (count_rows(data, side), model.dim))
            embed(model, data, side, emb, progress)
            sides[side] = Vectors(torch.from_numpy(emb))
        return cls(data.pairs, sides)

    def search(self, side: str, queries: Tensor, k: int) -> list[list[Hit]]:
        """Find the k images (side "image") or captions ("text") for each of (Q, D) unit queries."""
        answers = self.sides[side].search(queries, k)
        return [hits_of(self.pairs, side, scores, rows) for scores, rows in answers]

    def with_backend(
        self,
        backend: str,
        database: dict[str, str] | None = None,
        connect: Callable[[str], MilvusIndex] | None = None,
    ) -> "Collection":
        """Build a new index over the same embeddings, and measure its recall.

        Args:
            backend: one of `BACKENDS`.
            database: for Milvus, as in the attributes.
            connect: for Milvus, opens the index of one side in that database.

        Raises:
            DataError: the backend is not installed, or the database does not answer.
        """
        if backend == self.backend == "exact":
            return self
        sides: dict[str, Vectors] = {}
        built = Collection(self.pairs, sides, backend, database=database)
        try:
            for side in SIDES:
                emb = self.sides[side].emb
                if not len(emb):  # photos without captions
                    sides[side] = Vectors(emb)
                    continue
                sides[side] = Vectors.build(emb, backend, connect(side) if connect else None)
            return built.measured()
        except BaseException:
            built.close()
            raise

    def measured(self) -> "Collection":
        """Raise the effort of the indexes until recall is high enough, and return it with them."""
        if self.backend == "exact":
            return self
        rng = np.random.default_rng(0)
        sample = {}
        sides = [side for side in SIDES if len(self.sides[side])]
        for side in sides:
            emb = self.sides[side].emb
            sample[side] = emb[torch.from_numpy(rng.permutation(len(emb))[:SAMPLE])]
        recall: dict[str, float] = {}
        for side in sides:
            queries = {f"{a}→{side}": sample[a] for a in ("text", "image") if a in sample}
            recall |= self.sides[side].raise_effort(queries)
        return replace(self, recall=recall)

    def add(
        self, model: DualEncoder, data: Store | Features, new_array: NewArray, progress: bool
    ) -> "Collection":
        """Return the collection with more images and captions added at its end."""
        before, more = self.pairs, data.pairs
        if bool(before.captions) != bool(more.captions):
            has, have = ("has", "have none") if before.captions else ("has no", "have some")
            raise DataError(
                f"the index {has} captions and the new images {have}; build an index of their own"
            )
        pairs = Pairs(
            images=before.images + more.images,
            captions=before.captions + more.captions,
            owner=np.concatenate([before.owner, more.owner + len(before)]),
            image_ids=before.image_ids + more.image_ids,
            name=before.name,
            split=before.split,
            skipped=before.skipped + more.skipped,
            image_info=_joined(before, more),
        )
        longer = {}
        for side in SIDES:
            present = self.sides[side].emb.numpy()
            rows = len(present) + count_rows(data, side)
            longer[side] = new_array(f"{side}_emb", (rows, model.dim))
            _copy_rows(present, np.arange(len(present)), longer[side])
            embed(model, data, side, longer[side][len(present) :], progress)
        sides = {side: self.sides[side].extend(torch.from_numpy(longer[side])) for side in SIDES}
        return Collection(pairs, sides, self.backend, database=self.database).measured()

    def remove(self, images: Pairs, new_array: NewArray) -> "Collection":
        """Return the collection without some images, which are looked up by name.

        Its indexes still hold what was removed: see `forget`.

        Raises:
            DataError: nothing would be left.
        """
        removed = set(_names(images))
        keep = np.array([name not in removed for name in _names(self.pairs)])
        if not keep.any():
            raise DataError("no image would be left; delete the index instead")
        kept_rows = {
            "image": np.flatnonzero(keep),
            "text": np.flatnonzero(keep[self.pairs.owner]),
        }
        sides = {}
        for side, rows in kept_rows.items():
            present = self.sides[side]
            emb = new_array(f"{side}_emb", (len(rows), present.emb.shape[1]))
            _copy_rows(present.emb.numpy(), rows, emb)
            ids = None if present.ids is None else present.ids[rows]
            sides[side] = replace(present, emb=torch.from_numpy(emb), ids=ids)
        return replace(self, pairs=self.pairs.subset(keep), sides=sides)

    def forget(self, before: "Collection") -> None:
        """Remove from the indexes what `before` held and this collection does not."""
        for side in SIDES:
            index, ids = self.sides[side].index, self.sides[side].ids
            old_ids = before.sides[side].ids
            if index is not None and ids is not None and old_ids is not None:
                index.remove(np.setdiff1d(old_ids, ids))

    def drop_other_databases(self) -> None:
        """Delete the Milvus collections of earlier states of the same folder."""
        indexes = [vectors.index for vectors in self.sides.values()]
        databases = [index for index in indexes if isinstance(index, MilvusIndex)]
        if databases:
            databases[0].drop_others({database.name for database in databases})

    def close(self, except_for: "Collection | None" = None) -> None:
        """Close the indexes, except for those that another collection goes on using."""
        in_use = {id(vectors.index) for vectors in except_for.sides.values()} if except_for else ()
        for vectors in self.sides.values():
            if vectors.index is not None and id(vectors.index) not in in_use:
                vectors.index.close()


def _joined(before: Pairs, more: Pairs) -> list[dict[str, Any]] | None:
    """The records of both collections' images; empty ones for a collection that has none."""
    if before.image_info is None and more.image_info is None:
        return None
    return [info for pairs in (before, more) for info in pairs.image_info or [{}] * len(pairs)]


def _names(pairs: Pairs) -> list[tuple[Path, int | str]]:
    return [
        (path.absolute(), name) for path, name in zip(pairs.images, pairs.image_ids, strict=True)
    ]


def _copy_rows(source: Floats, rows: Ids, target: Floats) -> None:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        target[start : start + len(part)] = source[part]
