"""Search a collection by text or by picture, for pictures or for captions.

    index = SearchIndex.build(model, pairs)
    for hit in index.by_text("A baby elephant plays in the water", k=5):
        print(hit.rank, f"{hit.score:.3f}", hit.image)

    index = SearchIndex.build(model, pairs, backend="hnsw", folder="index")   # large, and kept
    index = SearchIndex.open("index", model)

Exact search compares the query with every entry, which is fast enough for a few hundred thousand.
For more, a FAISS index or a Milvus database compares it with a part of them. `index.recall` says
which share of the exact answers it finds.
"""

import operator
import shutil
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmret_lib.data.features import Features
from mmret_lib.data.images import Picture, read_pixels
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.features import data_for
from mmret_lib.files.errors import DataError
from mmret_lib.metrics.diagnosis import diagnose
from mmret_lib.search.cache import CachedSides
from mmret_lib.search.collection import Collection
from mmret_lib.search.draft import change
from mmret_lib.search.embed import SIDES, Queries, fingerprint
from mmret_lib.search.folder import IndexFolder
from mmret_lib.search.hits import Hit
from mmret_lib.search.vectors import BACKENDS, RECALL_AT, Vectors, check_backend

__all__ = ["BACKENDS", "Hit", "SearchIndex"]

Texts = list[str] | tuple[str, ...]
Pictures = list[Picture] | tuple[Picture, ...]


class SearchIndex:
    """A collection that can be searched. `build` makes one, `open` loads one from a folder.

    It may be searched and changed from several threads, and several processes may use one folder.

    Args:
        model: embeds the queries, as it embedded the collection.
        pairs: the collection: N images, M captions.
        image_emb: (N, D) float32 on the CPU, rows of length 1.
        text_emb: (M, D), likewise.
    """

    def __init__(
        self, model: DualEncoder, pairs: Pairs, image_emb: Tensor, text_emb: Tensor
    ) -> None:
        place = IndexFolder(None)
        sides = {"image": Vectors(image_emb), "text": Vectors(text_emb)}
        place.replace(Collection(pairs, sides))
        self._start(model, place, fingerprint(model))

    def _start(self, model: DualEncoder, place: IndexFolder, made_by: str) -> "SearchIndex":
        self.model = model
        self._made_by = made_by  # the fingerprint of the model when it embedded the collection
        self._queries = Queries(model)
        self._place = place
        self._lock = threading.RLock()  # held while the collection is searched or changed
        return self

    @property
    def _collection(self) -> Collection:
        return self._place.collection

    @classmethod
    def build(
        cls,
        model: DualEncoder,
        pairs: Pairs | Store | Features,
        *,
        backend: str = "exact",
        folder: str | Path | None = None,
        uri: str | None = None,
        token: str | None = None,
        cached: bool = False,
        max_unreadable: float = 0.01,
        progress: bool = True,
    ) -> "SearchIndex":
        """Embed every image and every caption, and index them.

        Args:
            model: as trained; it stays on its device.
            pairs: the collection. Images that cannot be read are left out with a warning, as
                `pack` does, and are missing from `index.pairs` too.
            backend: "exact"; "flat", "hnsw" or "ivf" (FAISS, in memory); "milvus" (a database).
            folder: where to keep the index. Embeddings are then files mapped into memory, so that
                millions need little of it. An existing index is replaced in one step, when the
                new one is complete.
            uri: of the Milvus database: "http://host:19530", or a file "….db" for Milvus Lite; by
                default such a file in the folder.
            token: for a Milvus server that requires one; never written to disk.
            cached: read embeddings from the cache folder if this model embedded this data before,
                and save them there if not. The exact search then embeds the images only when
                images are searched, and the captions only when captions are.
            max_unreadable: share of images that may be left out because they cannot be read.

        Raises:
            DataError: an empty collection, too many unreadable images, a model whose embeddings
                are not finite, an unknown backend or one that is not installed, a folder that
                holds something else or has no room, or a database that does not answer.
        """
        check_backend(backend, uri)
        if not len(pairs):
            raise DataError(
                "the collection is empty, so there is nothing to search; give pairs with images"
            )
        made_by = fingerprint(model)
        data = data_for(model, pairs, max_unreadable=max_unreadable, progress=progress)
        scratch = tempfile.mkdtemp() if backend == "milvus" and folder is None else None
        place = IndexFolder(scratch or folder, token)
        with change(place, anew=True) as draft:
            times = 1 if backend == "exact" else 3  # an index takes about twice the vectors
            draft.reserve((len(data) + len(data.pairs.captions)) * model.dim * times)
            if cached:
                embedded = Collection(data.pairs, CachedSides(model, data, progress))
            else:
                embedded = Collection.embed(model, data, draft.array, progress)
            draft.commit(draft.index(embedded, backend, uri), made_by)
        index = cls.__new__(cls)._start(model, place, made_by)
        if scratch:
            weakref.finalize(index, shutil.rmtree, scratch, ignore_errors=True)
        return index

    @classmethod
    def open(
        cls, folder: str | Path, model: DualEncoder, *, token: str | None = None
    ) -> "SearchIndex":
        """Load an index from a folder and check that it is complete and was made by this model.

        Raises:
            MissingFile: there is none.
            DataError: made by another model, incomplete, damaged, of another version, or its
                database does not answer. The message says what to do.
        """
        place, made_by = IndexFolder(folder, token), fingerprint(model)
        place.open(made_by)
        return cls.__new__(cls)._start(model, place, made_by)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"<SearchIndex of {self.pairs!r}, {self.summary}>"

    @property
    def pairs(self) -> Pairs:
        """The collection: N images, M captions."""
        return self._collection.pairs

    @property
    def image_emb(self) -> Tensor:
        """The embeddings of the images, (N, D) float32 on the CPU, rows of length 1."""
        with self._lock:
            return self._collection.sides["image"].emb

    @property
    def text_emb(self) -> Tensor:
        """The embeddings of the captions, (M, D) float32 on the CPU, rows of length 1."""
        with self._lock:
            return self._collection.sides["text"].emb

    @property
    def folder(self) -> Path | None:
        """The folder that holds the index; None where it is only in memory."""
        return self._place.path

    @property
    def backend(self) -> str:
        """What searches: one of `BACKENDS`."""
        return self._collection.backend

    @property
    def photos(self) -> dict[str, Any] | None:
        """What `index_photos` keeps of the folder of photos; None for any other collection."""
        return self._place.manifest.get("photos")

    @property
    def recall(self) -> dict[str, float] | None:
        """Direction ("text→image", …) -> the share of the exact 10 best that are found, 0…1.

        Measured with 200 entries of the collection as queries when the index was last built or
        added to; None where the search is exact.
        """
        return self._collection.recall

    @property
    def summary(self) -> str:
        """One line that names the backend and its recall."""
        if self.recall is None:
            return "exact search"
        shares = ", ".join(f"{direction} {share:.3f}" for direction, share in self.recall.items())
        return f"{self.backend} search, recall@{RECALL_AT} against exact: {shares}"

    def findings(self) -> dict[str, str]:
        """Say in one line each what is wrong with the embeddings: a collapse, or a hub.

        Returns:
            what `mmret_lib.metrics.diagnosis.diagnose` returns; nothing where all is well. Of an
            index that is `cached`, only the sides that have been searched are looked at.
        """
        with self._lock:
            # `get` embeds nothing, unlike the brackets of `CachedSides`.
            known = [self._collection.sides.get(side) for side in SIDES]
            image_emb, text_emb = (None if side is None else side.emb for side in known)
            return diagnose(image_emb, text_emb, self.pairs.owner)

    # ------------------------------------------------------------------------ searching

    @overload
    def by_text(self, text: str, k: int = 5) -> list[Hit]: ...
    @overload
    def by_text(self, text: Texts, k: int = 5) -> list[list[Hit]]: ...
    def by_text(self, text: str | Texts, k: int = 5) -> list[Hit] | list[list[Hit]]:
        """Find the k pictures that fit a text best, the best first; all of them if there are fewer.

        Args:
            text: a text; or a list of them, which are embedded and looked up together.
            k: how many.

        Returns:
            The hits; for a list one such list for each text.

        Raises:
            DataError: a text without a visible character, or k below 1.
            TypeError: not a string.
        """
        return self._search("image", text, k, self._queries.texts)

    @overload
    def by_image(self, image: Picture, k: int = 5) -> list[Hit]: ...
    @overload
    def by_image(self, image: Pictures, k: int = 5) -> list[list[Hit]]: ...
    def by_image(self, image: Picture | Pictures, k: int = 5) -> list[Hit] | list[list[Hit]]:
        """Find the k captions that fit a picture best, the best first.

        Args:
            image: a file, which is read just as those of the collection were; a PIL image; or a
                uint8 array (H, W), (H, W, 3), (H, W, 4) or (3, H, W); or a list of such.
            k: how many; all of them if there are fewer.

        Returns:
            The hits; for a list one such list for each picture.

        Raises:
            MissingFile, DataError: as `read_image`; DataError for another array, for k below 1,
                or where the collection has no captions.
        """
        return self._search("text", image, k, self._embed_pictures)

    @overload
    def similar_images(self, image: Picture, k: int = 5) -> list[Hit]: ...
    @overload
    def similar_images(self, image: Pictures, k: int = 5) -> list[list[Hit]]: ...
    def similar_images(self, image: Picture | Pictures, k: int = 5) -> list[Hit] | list[list[Hit]]:
        """Find the k pictures most similar to a picture; itself first if it is in the collection.

        Takes, returns and raises what `by_image` does, but its hits are pictures.
        """
        return self._search("image", image, k, self._embed_pictures)

    @overload
    def similar_captions(self, text: str, k: int = 5) -> list[Hit]: ...
    @overload
    def similar_captions(self, text: Texts, k: int = 5) -> list[list[Hit]]: ...
    def similar_captions(self, text: str | Texts, k: int = 5) -> list[Hit] | list[list[Hit]]:
        """Find the k captions most similar to a text; equal ones first if there are any.

        Takes, returns and raises what `by_text` does, but its hits are captions.
        """
        return self._search("text", text, k, self._queries.texts)

    def _search(
        self, side: str, asked: Any, k: int, embed: Callable[[Any], Tensor]
    ) -> list[Hit] | list[list[Hit]]:
        several = isinstance(asked, list | tuple)
        if (k := operator.index(k)) < 1:
            raise DataError(f"k is {k}; ask for at least 1 hit")
        if several and not asked:
            return []
        if side == "text" and not self.pairs.captions:
            raise DataError(
                "the pictures of this collection have no captions that could be found; search for "
                "pictures: similar_images takes a picture, by_text a text"
            )
        queries = embed(list(asked) if several else [asked])  # (Q, D)
        with self._lock:
            answers = self._collection.search(side, queries, k)
        return answers if several else answers[0]

    def _embed_pictures(self, pictures: list[Picture]) -> Tensor:
        size = self.model.image.image_size
        return self._queries.images(np.stack([read_pixels(picture, size) for picture in pictures]))

    # ------------------------------------------------------------------------ changing

    def add(
        self,
        pairs: Pairs | Store | Features,
        *,
        max_unreadable: float = 0.01,
        progress: bool = True,
    ) -> "SearchIndex":
        """Add images with their captions at the end of the collection; returns itself.

        Images whose file is in the index already are not added again, so that a call which was
        interrupted can simply be repeated. If it fails, the index stays as it was.
        `max_unreadable` is as in `build`.

        Raises:
            DataError: as `build`; or the model has changed since the index was built.
        """
        if fingerprint(self.model) != self._made_by:
            raise DataError(
                "the model was trained further since this index was built, and new embeddings "
                "could not be compared with the old ones; build the index anew"
            )
        if not len(pairs):
            raise DataError("there is nothing to add; give pairs with images")
        with self._lock, change(self._place) as draft:
            source = pairs if isinstance(pairs, Pairs) else pairs.pairs
            there = {path.absolute() for path in self.pairs.images}
            new = np.array([path.absolute() not in there for path in source.images])
            if not new.all():
                warnings.warn(
                    f"{(~new).sum():,} of {len(new):,} images are in the index already and are "
                    "not added again",
                    stacklevel=2,
                )
                pairs = (pairs if isinstance(pairs, Features) else source).subset(new)
            if new.any():
                data = data_for(self.model, pairs, max_unreadable=max_unreadable, progress=progress)
                more = self._collection.add(self.model, data, draft.array, progress)
                draft.commit(more, self._made_by)
        return self

    def remove(self, images: Iterable[int] | npt.NDArray[Any]) -> "SearchIndex":
        """Remove images with their captions, and close the gaps in the numbering; returns itself.

        Args:
            images: their places in `index.pairs.images`, or a boolean mask of N entries.

        Raises:
            IndexError, TypeError: as `Pairs.subset`.
            DataError: nothing would be left.
        """
        removed = self.pairs.subset(images)
        with self._lock, change(self._place) as draft:
            before = self._collection
            draft.commit(before.remove(removed, draft.array), self._made_by)
            self._collection.forget(before)
        if any(self._collection.sides[side].mostly_removed for side in SIDES):
            self.rebuild()
        return self

    def rebuild(self, backend: str | None = None, *, uri: str | None = None) -> "SearchIndex":
        """Build a new index over the embeddings, with the same or another backend; returns itself.

        This frees the memory of removed vectors, and fits the cells of IVF to added ones.

        Raises:
            DataError: as `build`.
        """
        backend = backend or self.backend
        check_backend(backend, uri)
        with self._lock, change(self._place) as draft:
            draft.commit(draft.index(self._collection, backend, uri), self._made_by)
        return self

    def save(self, folder: str | Path) -> "SearchIndex":
        """Save the index in a folder, in which every later change is saved too; returns itself.

        An existing index in it is replaced in one step.

        Raises:
            DataError: the folder holds something else, or cannot be written to.
        """
        place = IndexFolder(folder, self._place.token)
        if self.folder is None or self.folder.absolute() != place.folder.absolute():
            with self._lock, change(place, anew=True) as draft:
                collection = self._collection
                if self.backend == "milvus":
                    collection = draft.index(collection, "milvus", None)
                draft.commit(collection, self._made_by)
                self._collection.close(except_for=collection)
                self._place = place
        return self

    def close(self) -> None:
        """Disconnect from the database, if there is one; afterwards it cannot be searched."""
        self._collection.close()

    def __enter__(self) -> "SearchIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
