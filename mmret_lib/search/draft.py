"""Write the next state of an index folder beside the present one, then put it in its place."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmret_lib.files.disk import ensure_room
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import user_path
from mmret_lib.files.records import entry_of, read_note, write_json, write_manifest
from mmret_lib.files.whole import move_into_place
from mmret_lib.search.collection import Collection
from mmret_lib.search.embed import SIDES
from mmret_lib.search.faiss_index import FaissIndex
from mmret_lib.search.folder import FORMAT, VERSION, IndexFolder


class Draft:
    """The next state of an index folder while it is written; without a folder, only in memory.

    Attributes:
        key: names the new files.
    """

    def __init__(self, place: IndexFolder) -> None:
        self.place = place
        self.key = secrets.token_hex(4)

    def _path(self, name: str, suffix: str) -> Path:
        return self.place.folder / f"{name}-{self.key}.{suffix}.part"

    def reserve(self, values: int) -> None:
        """Raise DataError if the disk has no room for so many float32 values."""
        if self.place.path is not None:
            ensure_room(self.place.folder, 4 * values, "the search index")

    def array(self, name: str, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Return a float32 array to fill: a file mapped into memory where there is a folder."""
        if self.place.path is None:
            return np.empty(shape, np.float32)
        path = self._path(name, "npy")
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)

    def index(self, collection: Collection, backend: str, uri: str | None) -> Collection:
        """Build a new index over the embeddings of a collection.

        Args:
            backend: one of `BACKENDS`.
            uri: of a Milvus database; None is the one that the collection is in already, or else
                a file in the folder.

        Raises:
            DataError: the backend is not installed, or the database does not answer.
        """
        if backend != "milvus":
            return collection.with_backend(backend)
        folder = self.place.path
        if folder is None:
            raise DataError("a Milvus database needs a folder beside it; call save(folder)")
        uri = uri or (collection.database or {"uri": ""})["uri"]
        if uri and "://" not in uri:
            path = user_path(uri).absolute()
            uri = str(path)
            if path.parent == folder.absolute():
                raise DataError(f"{uri} would lie in the index's folder; leave uri out for that")
        # A cluster may serve many folders. The name of this one is kept in a file of its own, so
        # that after a kill its collections there are still known.
        note = folder / "milvus.json"
        name = read_note(note).get("name")
        if not isinstance(name, str) or not re.fullmatch("[0-9a-f]{12}", name):
            name = secrets.token_hex(6)
            write_json(note, {"name": name})
        database = {"uri": uri, "name": name, "key": self.key}
        return collection.with_backend("milvus", database, partial(self.place.connect, database))

    def commit(
        self, collection: Collection, model: str, photos: dict[str, Any] | None = None
    ) -> None:
        """Make a collection the state of the index, in the folder and then in memory.

        Args:
            collection: its embeddings may lie in arrays that `array` returned. The files of all
                that has not changed stay as they are.
            model: fingerprint of the model that embedded it.
            photos: what `index_photos` keeps of the folder of photos; None keeps what there is.
        """
        try:
            if self.place.path is not None:
                photos = photos or self.place.manifest.get("photos")
                self._write(collection, model, {"photos": photos} if photos else {})
        except BaseException:
            collection.close(except_for=self.place.state)
            raise
        self.place.replace(collection)
        collection.drop_other_databases()

    def _write(self, collection: Collection, model: str, more: dict[str, Any]) -> None:
        folder = self.place.folder
        files = self._unchanged(collection)
        self._write_parts(collection, files)
        sides = [(side, collection.sides[side]) for side in SIDES]
        for part in sorted(folder.glob(f"*-{self.key}.*.part")):
            move_into_place(part, part.with_suffix(""))
            files[part.name.partition("-")[0]] = entry_of(part.with_suffix(""))
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "key": self.key,
            "backend": collection.backend,
            "recall": collection.recall,
            "dim": collection.sides["image"].emb.shape[1],
            "model": model,
            "milvus": collection.database,
            "sides": {
                side: {
                    "rows": len(vectors),
                    "next_id": vectors.next_id,
                    "effort": vectors.index.effort if vectors.index else 0,
                }
                for side, vectors in sides
            },
            "files": files,
            **more,
        }
        write_manifest(folder / "manifest.json", manifest)
        for side, vectors in sides:
            shape = tuple(vectors.emb.shape)
            emb = self.place.map_array(manifest, f"{side}_emb", np.float32, shape)
            vectors.emb = torch.from_numpy(emb)
        self.place.manifest = manifest
        named = {entry["name"] for entry in files.values()}
        for name in os.listdir(folder):
            if name not in named and re.search(r"-[0-9a-f]{8}\.", name):
                with suppress(OSError):  # Windows keeps a file that is mapped; the next change
                    (folder / name).unlink()  # deletes it

    def _unchanged(self, collection: Collection) -> dict[str, Any]:
        """Return the manifest's entries of the files that need not be written again."""
        present = self.place.state
        if present is None:
            return {}
        names = ["pairs"] if collection.pairs is present.pairs else []
        for side in SIDES:
            new, old = collection.sides[side], present.sides[side]
            if new.emb is old.emb:
                names.append(f"{side}_emb")
            # Removing leaves the file as it is: what is removed is known by the ids.
            same = isinstance(new.index, FaissIndex) and new.index is old.index
            if same and new.next_id == old.next_id:
                names.append(f"{side}_index")
        return {name: self.place.manifest["files"][name] for name in names}

    def _write_parts(self, collection: Collection, unchanged: dict[str, Any]) -> None:
        for side in SIDES:
            vectors = collection.sides[side]
            path = self._path(f"{side}_emb", "npy")
            if f"{side}_emb" not in unchanged and not path.exists():
                with path.open("wb") as file:
                    np.save(file, vectors.emb.numpy())
            if vectors.ids is not None:
                with self._path(f"{side}_ids", "npy").open("wb") as file:
                    np.save(file, vectors.ids)
            if isinstance(vectors.index, FaissIndex) and f"{side}_index" not in unchanged:
                vectors.index.write(self._path(f"{side}_index", "faiss"))
        if "pairs" not in unchanged:
            text = collection.pairs.to_json()
            self._path("pairs", "json").write_text(text, encoding="utf-8")


@contextmanager
def change(place: IndexFolder, *, anew: bool = False) -> Iterator[Draft]:
    """Write the next state of an index, as the only process that changes its folder.

    Args:
        place: the folder.
        anew: write a whole new index, whatever lies in the folder.

    Raises:
        DataError: the folder holds something else, or cannot be written to.
    """
    with place.locked(anew=anew), next_state(place) as draft:
        yield draft


@contextmanager
def next_state(place: IndexFolder) -> Iterator[Draft]:
    """Write the next state of an index whose folder is locked already."""
    draft = Draft(place)
    try:
        yield draft
    finally:
        if place.path is not None:
            for part in place.path.glob(f"*-{draft.key}.*.part"):
                part.unlink(missing_ok=True)
