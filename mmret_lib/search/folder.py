"""Save a search index in a folder and load it; a change that fails leaves the folder as it was.

    FOLDER/manifest.json         what is here, how many of each, made by which model; written last
    FOLDER/image_emb-KEY.npy     float32 (N, D) unit vectors, mapped into memory; text_emb- (M, D)
    FOLDER/image_ids-KEY.npy     int64 (N,) the id of each row in the index; text_ids- (M,)
    FOLDER/pairs-KEY.json        captions, owners, ids and file names
    FOLDER/image_index-KEY.faiss the index that FAISS built; text_index-
    FOLDER/milvus.db             the Milvus Lite database, where there is one

A file that a manifest names never changes. A change writes files with a new key beside them, then
replaces the manifest in one step, then deletes the files that the new one does not name. So a
reader, who reads one manifest, has all of the old state or all of the new one. After a kill in
between the folder is as before, and the next change deletes what was left. Only one process changes
a folder at a time.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmret_lib.data.pairs import Pairs
from mmret_lib.files.disk import alone, disk_errors
from mmret_lib.files.errors import DataError, MissingFile, visible
from mmret_lib.files.places import user_path
from mmret_lib.files.records import damage_of, read_manifest
from mmret_lib.search.collection import Collection
from mmret_lib.search.faiss_index import FAISS_KINDS, FaissIndex
from mmret_lib.search.milvus_index import MilvusIndex
from mmret_lib.search.vectors import Vectors

FORMAT, VERSION = "mmret search index", 1  # raise it with any change to what the files mean
LITE = "milvus.db"
OURS = re.compile(
    r"(manifest|milvus)\.json(\.new)?|\.lock|milvus\.db"
    r"|\.(manifest|milvus)\.json\.[0-9a-f]+\.part"
    r"|(image_|text_)?(emb|ids|index|pairs)-[0-9a-f]{8}\.(npy|json|faiss)(\.part)?"
)


class IndexFolder:
    """The state of one search index, in memory and in its folder, if it has one.

    Args:
        folder: its path, created by the first write; None keeps the index in memory only.
        token: for a Milvus server that requires one; never written to disk.

    Attributes:
        path: of the folder, or None.
        state: the collection as it was last read or written through this object.
        manifest: that state's manifest.json.
    """

    def __init__(self, folder: str | Path | None, token: str | None = None) -> None:
        self.path = None if folder is None else user_path(folder)
        self.token = token
        self.state: Collection | None = None
        self.manifest: dict[str, Any] = {}

    @property
    def folder(self) -> Path:
        """The path of the folder, which must be there."""
        assert self.path is not None
        return self.path

    @property
    def collection(self) -> Collection:
        """The present collection, which must have been read or written."""
        assert self.state is not None
        return self.state

    def open(self, model: str) -> None:
        """Read the present state and check every part of it.

        Args:
            model: the fingerprint of the model that is to embed the queries.

        Raises:
            MissingFile: there is no index.
            DataError: made by another model, damaged, or its database does not answer.
        """
        while True:
            manifest = self._read_manifest()
            if manifest["model"] != model:
                raise DataError(
                    f"{self.folder} was made by another model (fingerprint "
                    f"{manifest['model'][:12]}, this one has {model[:12]}): their embeddings "
                    f"cannot be compared. Open it with the model that made it. {self._remedy()}"
                )
            try:
                self._load(manifest, changing=False)
                return
            except DataError:
                # Another process may have replaced the index meanwhile: then read the new one.
                if self._read_manifest()["key"] == manifest["key"]:
                    raise

    @contextmanager
    def locked(self, *, anew: bool = False) -> Iterator[None]:
        """Lock the folder against other writers, and load its newest state.

        Args:
            anew: a whole new index is to be written: load nothing.

        Raises:
            DataError: the folder holds something else, or cannot be written to.
        """
        if self.path is None:
            yield
            return
        if self.folder.exists():
            names = sorted(os.listdir(self.folder)) if self.folder.is_dir() else ["no folder"]
            strangers = [name for name in names if not OURS.fullmatch(name)]
            if strangers:
                raise DataError(
                    f"{self.folder} holds {visible(strangers[0])}, which is not part of a search "
                    "index; give a folder of its own"
                )
        with disk_errors(self.folder, "writing a search index"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with alone(self.folder / ".lock"):
                if not anew:
                    self.refresh()
                yield

    def refresh(self) -> None:
        """Load the newest state of a folder that is locked.

        Raises:
            MissingFile, DataError: as `open`.
        """
        manifest = self._read_manifest()
        if manifest["key"] != self.manifest.get("key"):
            self._load(manifest, changing=True)
        for vectors in self.collection.sides.values():
            if isinstance(vectors.index, MilvusIndex):
                self._repair(manifest, vectors.index, vectors, changing=True)

    def replace(self, collection: Collection) -> None:
        """Use another state from now on, and close the indexes that only the old one used."""
        before, self.state = self.state, collection
        if before is not None:
            before.close(except_for=collection)

    def _read_manifest(self) -> dict[str, Any]:
        path = self.folder / "manifest.json"
        try:
            return read_manifest(path, FORMAT, VERSION)
        except FileNotFoundError:
            raise MissingFile(
                f"{path} is missing: there is no finished search index in {self.folder}. "
                f"{self._remedy()}"
            ) from None
        except DataError as error:
            raise self._broken(str(error)) from None

    def _load(self, manifest: dict[str, Any], *, changing: bool) -> None:
        for entry in manifest["files"].values():
            if damage := damage_of(self.folder, entry):
                raise self._broken(damage)
        pairs = self._load_pairs(manifest)
        rows = {"image": len(pairs), "text": len(pairs.captions)}
        sides = {}
        for side, facts in manifest["sides"].items():
            emb = self.map_array(manifest, f"{side}_emb", np.float32, (rows[side], manifest["dim"]))
            vectors = Vectors(torch.from_numpy(emb), None, None, facts["next_id"])
            if facts["rows"] != rows[side]:
                raise self._broken(f"pairs hold {rows[side]:,} {side}s, not {facts['rows']:,}")
            if not rows[side]:  # photos without captions
                sides[side] = vectors
                continue
            if manifest["backend"] != "exact":
                vectors.ids = self.map_array(manifest, f"{side}_ids", np.int64, (rows[side],))
            if manifest["backend"] in FAISS_KINDS:
                vectors.index = self._load_faiss(manifest, side, vectors)
            elif manifest["backend"] == "milvus":
                vectors.index = self.connect(manifest["milvus"], side, facts["effort"])
                vectors.index.load()
                self._repair(manifest, vectors.index, vectors, changing=changing)
            sides[side] = vectors
        backend, recall, database = (manifest[name] for name in ("backend", "recall", "milvus"))
        self.manifest = manifest
        self.replace(Collection(pairs, sides, backend, recall, database))

    def _load_pairs(self, manifest: dict[str, Any]) -> Pairs:
        path = self.folder / manifest["files"]["pairs"]["name"]
        try:
            return Pairs.from_json(path.read_bytes())
        except DataError as error:
            raise self._broken(f"{path.name}: {error}") from None

    def map_array(
        self, manifest: dict[str, Any], name: str, dtype: Any, shape: tuple[int, ...]
    ) -> Any:
        """Map one of the manifest's files into memory.

        Raises:
            DataError: it does not hold an array of that kind.
        """
        path = self.folder / manifest["files"][name]["name"]
        try:
            # "c": writing into the array in memory does not change the file.
            array = np.load(path, mmap_mode="c", allow_pickle=False)
        except Exception as error:  # numpy may raise anything on a bad header
            raise self._broken(f"{path.name} cannot be read ({error})") from None
        if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
            raise self._broken(f"{path.name} holds {array.dtype} {array.shape}, not {shape}")
        return array

    def _load_faiss(self, manifest: dict[str, Any], side: str, vectors: Vectors) -> FaissIndex:
        name = manifest["files"][f"{side}_index"]["name"]
        effort = manifest["sides"][side]["effort"]
        try:
            index = FaissIndex.read(self.folder / name, manifest["backend"], effort)
        except DataError as error:
            if "pip install" in str(error):
                raise
            raise self._broken(str(error)) from None
        if len(index) != vectors.next_id or index.index.d != manifest["dim"]:
            raise self._broken(f"{name} holds {len(index):,} vectors")
        index.remove(np.setdiff1d(np.arange(len(index)), vectors.distinct()[0]))
        return index

    def connect(self, database: dict[str, str], side: str, effort: int = 64) -> MilvusIndex:
        """Return one side's place in the database that a manifest's entry "milvus" describes."""
        name = f"mmret_{database['name']}_{database['key']}_{side}"
        uri = database["uri"] or str(self.folder / LITE)
        return MilvusIndex(uri, self.token, name, effort)

    def _repair(
        self, manifest: dict[str, Any], index: MilvusIndex, vectors: Vectors, *, changing: bool
    ) -> None:
        """Undo what a killed change did to the database."""
        ids, rows = vectors.distinct()
        if index.count() == len(ids):
            return
        # Another process may be changing the folder right now, the database first: wait for it.
        with nullcontext() if changing else alone(self.folder / ".lock"):
            if not changing and self._read_manifest()["key"] != manifest["key"]:
                raise MissingFile(f"{self.folder} has changed; open it again")
            if index.count() != len(ids):
                index.reconcile(ids, vectors.emb.numpy(), rows)

    def _broken(self, why: str) -> DataError:
        return DataError(
            f"{self.folder} is not a search index that can be used: {why}. {self._remedy()}"
        )

    def _remedy(self) -> str:
        return f"Build it anew: mmret index RUN {self.folder}"
