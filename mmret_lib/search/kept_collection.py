"""A collection with the folder it is kept in: built, opened, grown, shrunk, rebuilt.

What is asked goes to the collection in memory. What changes it is first complete on disk, and only
then taken over; so a failure leaves both as they were.
"""

import shutil
import tempfile
import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.disk import ensure_room
from mmret_lib.files.errors import DataError
from mmret_lib.search.collection import Collection, grown, in_memory, indexed, made, reduced
from mmret_lib.search.draft import Draft
from mmret_lib.search.embed import fingerprint
from mmret_lib.search.faiss_index import FAISS_KINDS, FaissIndex
from mmret_lib.search.folder import IndexFolder
from mmret_lib.search.milvus_index import MilvusIndex, checked_uri
from mmret_lib.search.vectors import Vectors

BACKENDS = ("exact", *FAISS_KINDS, "milvus")


class KeptCollection:
    """See the arguments and errors of `SearchIndex`, whose work this does.

    Attributes:
        lock: held while the collection is asked or changed: a widget may ask while a cell adds.
        place: its folder; None where it is only in memory.
        manifest: what the folder's manifest says of it.
    """

    def __init__(self, model: DualEncoder, collection: Collection) -> None:
        self.model, self.collection = model, collection
        self.lock = threading.RLock()
        self.place: IndexFolder | None = None
        self.manifest: dict[str, Any] = {}
        self.token: str | None = None
        self.made_by = ""  # the model's fingerprint when it embedded

    @classmethod
    def build(
        cls,
        model: DualEncoder,
        pairs: Pairs | Store,
        *,
        backend: str,
        folder: str | Path | None,
        uri: str | None,
        token: str | None,
        progress: bool,
    ) -> "KeptCollection":
        uri = _checked(backend, uri)
        if not len(pairs):
            raise DataError(
                "the collection is empty, so there is nothing to search; give pairs with images"
            )
        made_by = fingerprint(model)
        data = pack(pairs, model.image.image_size, progress=progress)
        scratch = tempfile.mkdtemp() if backend == "milvus" and folder is None else None
        place = IndexFolder(scratch or folder or "") if scratch or folder else None
        with place.changing() if place else nullcontext() as draft:
            if draft:
                rows = len(data) + len(data.pairs.captions)
                times = 1 if backend == "exact" else 3  # an index takes about twice the vectors
                ensure_room(draft.folder, 4 * rows * model.dim * times, "the search index")
            embedded = made(model, data, draft.array if draft else in_memory, progress)
            kept = cls(model, embedded)
            kept.token, kept.made_by = token, made_by
            if scratch:
                weakref.finalize(kept, shutil.rmtree, scratch, ignore_errors=True)
            kept._index(backend, uri, place, draft)
        return kept

    @classmethod
    def open(cls, folder: str | Path, model: DualEncoder, *, token: str | None) -> "KeptCollection":
        place = IndexFolder(folder)
        made_by = fingerprint(model)
        while True:
            manifest = place.read()
            if manifest["model"] != made_by:
                raise DataError(
                    f"{folder} was made by another model (fingerprint {manifest['model'][:12]}, "
                    f"this one has {made_by[:12]}): their embeddings cannot be compared. Open it "
                    f"with the model that made it, or build it anew: mmret index RUN {folder}"
                )
            try:
                collection = place.load(manifest, token)
                break
            except DataError:
                # Replaced while it was being read? Then what it is now is wanted.
                if place.read()["key"] == manifest["key"]:
                    raise
        kept = cls(model, collection)
        kept.token, kept.made_by = token, made_by
        kept.place, kept.manifest = place, manifest
        return kept

    def add(self, pairs: Pairs | Store, progress: bool) -> Collection:
        if fingerprint(self.model) != self._fingerprint():
            raise DataError(
                "the model was trained on since this index was built; build it anew, or what is "
                "added could not be compared with what is there"
            )
        if not len(pairs):
            raise DataError("there is nothing to add; give pairs with images")
        with self._changing() as draft:
            source = pairs.pairs if isinstance(pairs, Store) else pairs
            there = {path.absolute() for path in self.collection.pairs.images}
            new = np.array([path.absolute() not in there for path in source.images])
            if not new.all():
                warnings.warn(
                    f"{(~new).sum():,} of {len(new):,} images are in the index already and are "
                    "not added again",
                    stacklevel=3,
                )
                pairs = source.subset(new)
            if new.any():
                data = pack(pairs, self.model.image.image_size, progress=progress)
                new_array = draft.array if draft else in_memory
                fuller = grown(self.collection, self.model, data, new_array, progress)
                self._keep(fuller, self.place, draft)
        return self.collection

    def remove(self, gone: Pairs) -> Collection:
        keys = set(_names(gone))
        with self._changing() as draft:
            # Found by name: another process may have moved them since they were chosen.
            left = np.array([name not in keys for name in _names(self.collection.pairs)])
            if not left.any():
                raise DataError("no image would be left; delete the index instead")
            fewer, numbers = reduced(self.collection, left, draft.array if draft else in_memory)
            in_files = draft is not None and self.collection.backend in FAISS_KINDS
            same = ("image_index", "text_index") if in_files else ()
            self._keep(fewer, self.place, draft, same)
            for side, ids in numbers.items():
                index = fewer.sides[side].index
                if index is not None:
                    index.remove(ids)
        if any(map(_mostly_dead, self.collection.sides.values())):
            self.rebuild(self.collection.backend, None)
        return self.collection

    def rebuild(self, backend: str, uri: str | None) -> Collection:
        uri = _checked(backend, uri)
        with self._changing() as draft:
            if backend == "milvus" and draft is None:
                raise DataError("a Milvus database needs a folder beside it; call save(folder)")
            same = ("image_emb", "text_emb", "pairs") if draft else ()
            self._index(backend, uri or self._uri(backend), self.place, draft, same)
        return self.collection

    def save(self, folder: str | Path) -> Collection:
        place = IndexFolder(folder)
        if self.place is None or place.folder.absolute() != self.place.folder.absolute():
            with self.lock, place.changing() as draft:
                if self.collection.backend == "milvus":
                    self._index("milvus", self._uri("milvus"), place, draft)
                else:
                    self._keep(self.collection, place, draft)
        return self.collection

    def _uri(self, backend: str) -> str | None:
        """Where the present database is, if that is what is to be built again."""
        present = self.manifest.get("milvus")
        return present["uri"] or None if present and backend == "milvus" else None

    def _fingerprint(self) -> str:
        self.made_by = self.made_by or fingerprint(self.model)
        return self.made_by

    @contextmanager
    def _changing(self) -> Iterator[Draft | None]:
        """Alone with the newest state, whichever process made it."""
        with self.lock:
            if self.place is None:
                yield None
                return
            with self.place.changing() as draft:
                manifest = self.place.read()
                if manifest["key"] != self.manifest["key"]:
                    fresh = self.place.load(manifest, self.token, changing=True)
                    self._take(fresh, self.place, manifest)
                for vectors in self.collection.sides.values():
                    if isinstance(vectors.index, MilvusIndex):
                        self.place.mend(manifest, vectors.index, vectors, True)
                yield draft

    def _index(
        self,
        backend: str,
        uri: str | None,
        place: IndexFolder | None,
        draft: Draft | None,
        same: tuple[str, ...] = (),
    ) -> None:
        """Index the embeddings, write all down, and only then let go of what was before."""
        where, new_milvus = None, None
        if backend == "milvus":
            assert place is not None and draft is not None
            where = place.database(uri, draft.key)
            new_milvus = partial(place.milvus, where, token=self.token)
        collection = indexed(self.collection, backend, new_milvus)
        self._keep(collection, place, draft, same, where)
        databases = [vectors.index for vectors in collection.sides.values()]
        for database in databases[:1]:
            if isinstance(database, MilvusIndex):
                names = {one.name for one in databases if isinstance(one, MilvusIndex)}
                database.drop_others(names)

    def _keep(
        self,
        collection: Collection,
        place: IndexFolder | None,
        draft: Draft | None,
        same: tuple[str, ...] = (),
        where: dict[str, str] | None = None,
    ) -> None:
        """Write a new state down, if there is a folder, and take it over."""
        manifest: dict[str, Any] = {}
        if draft is not None:
            if collection.backend == "milvus":
                where = where or self.manifest["milvus"]
            facts = {"model": self._fingerprint(), "milvus": where}
            manifest = draft.commit(collection, facts, same)
        self._take(collection, place, manifest)

    def _take(
        self, collection: Collection, place: IndexFolder | None, manifest: dict[str, Any]
    ) -> None:
        before, self.collection, self.manifest = self.collection, collection, manifest
        if place is not None:
            self.place = place
            place.mapped(manifest, collection)
        before.close(but=collection)


def _names(pairs: Pairs) -> list[tuple[Path, int | str]]:
    return [
        (path.absolute(), name) for path, name in zip(pairs.images, pairs.image_ids, strict=True)
    ]


def _checked(backend: str, uri: str | None) -> str | None:
    if backend not in BACKENDS:
        raise DataError(f"there is no backend {backend!r}; choose {', '.join(BACKENDS)}")
    if uri is None:
        return None
    if backend != "milvus":
        raise DataError(f'uri is the address of a Milvus; it goes with "milvus", not {backend!r}')
    return checked_uri(uri)


def _mostly_dead(vectors: Vectors) -> bool:
    index = vectors.index
    return isinstance(index, FaissIndex) and len(index) > 2 * len(vectors.distinct()[0])
