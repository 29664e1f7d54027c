"""A search index as a folder: whole or as it was before, checked when opened, never half read.

    FOLDER/manifest.json         what is here, how many of each, made by which model; written last
    FOLDER/image_emb-KEY.npy     float32 (N, D) unit vectors, mapped into memory; text_emb- (M, D)
    FOLDER/image_ids-KEY.npy     int64 (N,) the number of each row's vector; text_ids- (M,)
    FOLDER/pairs-KEY.json        captions, owners, ids and file names
    FOLDER/image_index-KEY.faiss what FAISS built over the vectors; text_index-
    FOLDER/milvus.db             the Milvus Lite database, where there is one

No file that a manifest names ever changes. A change writes files with a new key beside them, then
exchanges the manifest in one move, then deletes what the new one does not name. A reader has one
manifest, so it has all of the old state or all of the new one. Killed in between, the folder is as
before, and the next change clears up. One process changes it at a time.
"""

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmret_lib.data.pairs import Pairs
from mmret_lib.files.disk import alone, disk_errors
from mmret_lib.files.errors import DataError, MissingFile, visible
from mmret_lib.files.records import damage_of, read_manifest, read_note, write_json
from mmret_lib.search.collection import Collection
from mmret_lib.search.draft import VERSION, Draft
from mmret_lib.search.faiss_index import FAISS_KINDS, FaissIndex
from mmret_lib.search.milvus_index import MilvusIndex
from mmret_lib.search.vectors import Vectors

LITE = "milvus.db"
OURS = re.compile(
    r"(manifest|milvus)\.json(\.new)?|\.lock|milvus\.db"
    r"|\.(manifest|milvus)\.json\.[0-9a-f]+\.part"
    r"|(image_|text_)?(emb|ids|index|pairs)-[0-9a-f]{8}\.(npy|json|faiss)(\.part)?"
)


class IndexFolder:
    """The folder of one search index.

    Args:
        folder: its path; made when it is first written to.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @contextmanager
    def changing(self) -> Iterator[Draft]:
        """Be the only process that changes the folder, and have a draft of its next state.

        Raises:
            DataError: the folder holds something else, or cannot be written to.
        """
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
                try:
                    manifest = self.read()
                except DataError:
                    manifest = None
                draft = Draft(self.folder, manifest)
                try:
                    yield draft
                finally:
                    for part in self.folder.glob(f"*-{draft.key}.*.part"):
                        part.unlink(missing_ok=True)

    def read(self) -> dict[str, Any]:
        """The manifest, to the letter as it was written.

        Raises:
            MissingFile: there is none.
            DataError: of another version, or changed since.
        """
        path = self.folder / "manifest.json"
        try:
            return read_manifest(path, "mmret search index", VERSION)
        except FileNotFoundError:
            raise MissingFile(
                f"{path} is missing: there is no finished search index in {self.folder}. "
                f"{self._remedy()}"
            ) from None
        except DataError as error:
            raise self.broken(str(error)) from None

    def load(
        self, manifest: dict[str, Any], token: str | None, *, changing: bool = False
    ) -> Collection:
        """The state that a manifest describes, every part of it checked.

        Args:
            changing: whether this happens inside `changing`.

        Raises:
            DataError: a file is missing, damaged or short; or the database is.
        """
        for entry in manifest["files"].values():
            if damage := damage_of(self.folder, entry):
                raise self.broken(damage)
        pairs = self._pairs(manifest)
        rows = {"image": len(pairs), "text": len(pairs.captions)}
        sides = {}
        for name, facts in manifest["sides"].items():
            emb = self._array(manifest, f"{name}_emb", np.float32, (rows[name], manifest["dim"]))
            vectors = Vectors(torch.from_numpy(emb), None, None, facts["next_id"])
            if facts["rows"] != rows[name]:
                raise self.broken(f"pairs hold {rows[name]:,} {name}s, not {facts['rows']:,}")
            if manifest["backend"] != "exact":
                vectors.ids = self._array(manifest, f"{name}_ids", np.int64, (rows[name],))
                self._open_index(manifest, name, vectors, token, changing)
            sides[name] = vectors
        return Collection(pairs, sides, manifest["backend"], manifest["recall"])

    def _open_index(
        self,
        manifest: dict[str, Any],
        name: str,
        vectors: Vectors,
        token: str | None,
        changing: bool,
    ) -> None:
        effort = manifest["sides"][name]["effort"]
        if manifest["backend"] not in FAISS_KINDS:
            database = self.milvus(manifest["milvus"], name, token, effort)
            vectors.index = database
            database.load()
            self.mend(manifest, database, vectors, changing)
            return
        entry = manifest["files"][f"{name}_index"]
        try:
            index = FaissIndex.read(self.folder / entry["name"], manifest["backend"], effort)
        except DataError as error:
            if "pip install" in str(error):
                raise
            raise self.broken(str(error)) from None
        if len(index) != vectors.next_id or index.index.d != manifest["dim"]:
            raise self.broken(f"{entry['name']} holds {len(index):,} vectors")
        index.remove(np.setdiff1d(np.arange(len(index)), vectors.distinct()[0]))
        vectors.index = index

    def mend(
        self, manifest: dict[str, Any], database: MilvusIndex, vectors: Vectors, changing: bool
    ) -> None:
        """Take back what a killed change did to the database, so that it holds what it should."""
        ids, rows = vectors.distinct()
        if database.count() == len(ids):
            return
        # Who changes the folder at this moment has its vectors there already, and is to end first.
        with nullcontext() if changing else alone(self.folder / ".lock"):
            if not changing and self.read()["key"] != manifest["key"]:
                raise MissingFile(f"{self.folder} has changed; open it again")
            if database.count() != len(ids):
                database.reconcile(ids, vectors.emb.numpy(), rows)

    def milvus(
        self, where: dict[str, str], side: str, token: str | None, effort: int = 64
    ) -> MilvusIndex:
        """One side's place in the database that a manifest's entry "milvus" names."""
        name = f"mmret_{where['name']}_{where['key']}_{side}"
        return MilvusIndex(where["uri"] or str(self.folder / LITE), token, name, effort)

    def database(self, uri: str | None, key: str) -> dict[str, str]:
        """What a manifest says of a database; without a uri it is a file in this folder.

        A cluster may serve many folders; the name that this one has there outlives a kill.
        """
        if uri and "://" not in uri:
            path = Path(uri).absolute()
            uri = str(path)
            if path.parent == self.folder.absolute():
                raise DataError(f"{uri} would lie in the index's folder; leave uri out for that")
        note = self.folder / "milvus.json"
        name = read_note(note).get("name")
        if not isinstance(name, str) or not re.fullmatch("[0-9a-f]{12}", name):
            name = secrets.token_hex(6)
            write_json(note, {"name": name})
        return {"uri": uri or "", "name": name, "key": key}

    def mapped(self, manifest: dict[str, Any], collection: Collection) -> Collection:
        """The same with its embeddings in the folder's files instead of memory."""
        for name, vectors in collection.sides.items():
            emb = self._array(manifest, f"{name}_emb", np.float32, tuple(vectors.emb.shape))
            vectors.emb = torch.from_numpy(emb)
        return collection

    def _array(
        self, manifest: dict[str, Any], name: str, dtype: Any, shape: tuple[int, ...]
    ) -> Any:
        path = self.folder / manifest["files"][name]["name"]
        try:
            # Copied where it is written to, so that nothing in memory changes the file.
            array = np.load(path, mmap_mode="c", allow_pickle=False)
        except Exception as error:  # numpy reads heads with Python's own parser
            raise self.broken(f"{path.name} cannot be read ({error})") from None
        if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
            raise self.broken(f"{path.name} holds {array.dtype} {array.shape}, not {shape}")
        return array

    def _pairs(self, manifest: dict[str, Any]) -> Pairs:
        path = self.folder / manifest["files"]["pairs"]["name"]
        try:
            record = json.loads(path.read_bytes())
            record["images"] = [Path(name) for name in record["images"]]
            return Pairs(**record)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self.broken(f"{path.name} does not hold what it should ({error})") from None

    def broken(self, why: str) -> DataError:
        return DataError(
            f"{self.folder} is not a search index that can be used: {why}. {self._remedy()}"
        )

    def _remedy(self) -> str:
        return f"Build it anew: mmret index RUN {self.folder}"
