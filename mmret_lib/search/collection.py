"""A collection of images and captions with what searches them: made, grown, shrunk, measured.

Nothing here changes a collection that is in use: each step gives a new one, and what lies on disk
is exchanged in one move (see index_folder.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.search.embed import embed_images, embed_texts
from mmret_lib.search.faiss_index import FAISS_KINDS, FaissIndex, Floats, Ids
from mmret_lib.search.milvus_index import MilvusIndex
from mmret_lib.search.vectors import CHUNK, Vectors, number

SAMPLE = 200  # queries of each kind that recall is measured with

# Gives an array (rows, D) float32 to fill, by its name: in memory, or mapped from a file.
NewArray = Callable[[str, tuple[int, int]], npt.NDArray[np.float32]]
# Gives the place of one side's vectors in the database.
NewMilvus = Callable[[str], MilvusIndex]


@dataclass(eq=False)
class Collection:
    """What is searched.

    Attributes:
        pairs: N images, M captions.
        sides: "image" -> their N embeddings, "text" -> their M.
        backend: what searches them.
        recall: direction -> recall@10 against the exact search; None where it is exact.
    """

    pairs: Pairs
    sides: dict[str, Vectors]
    backend: str = "exact"
    recall: dict[str, float] | None = None

    def close(self, but: "Collection | None" = None) -> None:
        """Let go of the indexes, except those that another collection goes on using."""
        in_use = [] if but is None else [vectors.index for vectors in but.sides.values()]
        for vectors in self.sides.values():
            if vectors.index is not None and not any(vectors.index is one for one in in_use):
                vectors.index.close()


def in_memory(name: str, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    return np.empty(shape, np.float32)


def made(model: DualEncoder, data: Store, new_array: NewArray, progress: bool) -> Collection:
    """Every image and every caption embedded; the search is exact."""
    image_emb = new_array("image_emb", (len(data), model.dim))
    embed_images(model, data, image_emb, progress)
    text_emb = new_array("text_emb", (len(data.pairs.captions), model.dim))
    embed_texts(model, data.pairs.captions, text_emb, progress)
    return Collection(data.pairs, {"image": _vectors(image_emb), "text": _vectors(text_emb)})


def indexed(collection: Collection, backend: str, new_milvus: NewMilvus | None) -> Collection:
    """The same embeddings under an index of its own making, and how well that finds them."""
    if backend == "exact":
        plain = {name: Vectors(vectors.emb) for name, vectors in collection.sides.items()}
        return Collection(collection.pairs, plain)
    built: dict[str, Vectors] = {}
    try:
        for name, vectors in collection.sides.items():
            built[name] = with_index(vectors.emb.numpy(), backend, name, new_milvus)
        return measured(Collection(collection.pairs, built, backend))
    except BaseException:
        for vectors in built.values():
            if vectors.index is not None:
                vectors.index.close()
        raise


def with_index(emb: Floats, backend: str, side: str, new_milvus: NewMilvus | None) -> Vectors:
    """Vectors (N, D) numbered from 0, and an index over them."""
    ids = number(emb)
    vectors = Vectors(torch.from_numpy(emb), ids, None, int(ids.max()) + 1)
    known, rows = vectors.distinct()
    if backend in FAISS_KINDS:
        index = FaissIndex.empty(backend, emb, rows)
        index.add(known, emb, rows)
        vectors.index = index
    else:
        assert new_milvus is not None
        database = new_milvus(side)
        vectors.index = database
        try:
            database.create(emb, known, rows)
        except BaseException:
            database.close()
            raise
    return vectors


def measured(collection: Collection) -> Collection:
    """With the recall of all four directions, after as much effort as that needs."""
    rng = np.random.default_rng(0)
    sample = {
        name: vectors.emb[torch.from_numpy(rng.permutation(len(vectors))[:SAMPLE])]
        for name, vectors in collection.sides.items()
    }
    recall: dict[str, float] = {}
    for name, vectors in collection.sides.items():
        queries = {f"{asked}→{name}": sample[asked] for asked in ("text", "image")}
        recall |= vectors.raise_effort(queries)
    return replace(collection, recall=recall)


def grown(
    collection: Collection, model: DualEncoder, data: Store, new_array: NewArray, progress: bool
) -> Collection:
    """With more images and captions after those that are there."""
    before, more = collection.pairs, data.pairs
    pairs = Pairs(
        images=before.images + more.images,
        captions=before.captions + more.captions,
        owner=np.concatenate([before.owner, more.owner + len(before)]),
        image_ids=before.image_ids + more.image_ids,
        name=before.name,
        split=before.split,
        skipped=before.skipped + more.skipped,
    )
    counts = {"image": len(data), "text": len(more.captions)}
    longer = {}
    for name, vectors in collection.sides.items():
        longer[name] = new_array(f"{name}_emb", (len(vectors) + counts[name], model.dim))
        copy_rows(vectors.emb.numpy(), np.arange(len(vectors)), longer[name])
    embed_images(model, data, longer["image"][-len(data) :], progress)
    embed_texts(model, more.captions, longer["text"][-len(more.captions) :], progress)
    sides = {name: _grown(vectors, longer[name]) for name, vectors in collection.sides.items()}
    fuller = Collection(pairs, sides, collection.backend)
    return fuller if collection.backend == "exact" else measured(fuller)


def _grown(vectors: Vectors, emb: Floats) -> Vectors:
    index = vectors.index
    if index is None:
        return _vectors(emb)
    if isinstance(index, FaissIndex) and len(index) != vectors.next_id:
        # An earlier call took vectors in and then failed: none of those may come to light.
        return with_index(emb, index.kind, "", None)
    assert vectors.ids is not None
    ids = np.concatenate([vectors.ids, number(emb[len(vectors) :], vectors)])
    next_id = max(vectors.next_id, int(ids.max()) + 1)
    fuller = Vectors(torch.from_numpy(emb), ids, index, next_id)
    known, rows = fuller.distinct()
    new = known >= vectors.next_id
    index.add(known[new], emb, rows[new])
    return fuller


def reduced(
    collection: Collection, left: npt.NDArray[np.bool_], new_array: NewArray
) -> tuple[Collection, dict[str, Ids]]:
    """Without the images that are not `left` (N,), nor their captions.

    Returns:
        The collection; and by side the numbers of the vectors that an index need hold no more.
    """
    captions_left = left[collection.pairs.owner]  # (M,)
    sides, gone = {}, {}
    for (name, vectors), kept in zip(collection.sides.items(), (left, captions_left), strict=True):
        rows = np.flatnonzero(kept)
        emb = new_array(f"{name}_emb", (len(rows), vectors.emb.shape[1]))
        copy_rows(vectors.emb.numpy(), rows, emb)
        if vectors.ids is None:
            sides[name] = _vectors(emb)
            continue
        ids = vectors.ids[rows]
        gone[name] = np.setdiff1d(vectors.ids, ids)
        sides[name] = Vectors(torch.from_numpy(emb), ids, vectors.index, vectors.next_id)
    pairs = collection.pairs.subset(left)
    return Collection(pairs, sides, collection.backend, collection.recall), gone


def copy_rows(source: Floats, rows: Ids, target: Floats) -> None:
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        target[start : start + len(some)] = source[some]


def _vectors(emb: Floats) -> Vectors:
    return Vectors(torch.from_numpy(emb))
