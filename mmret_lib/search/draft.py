"""The next state of an index folder: written beside the present one, then exchanged for it."""

import os
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmret_lib.data.store_captions import pairs_json
from mmret_lib.files.records import entry_of, write_manifest
from mmret_lib.files.whole import move_into_place
from mmret_lib.search.collection import Collection
from mmret_lib.search.faiss_index import FaissIndex

VERSION = 1  # raise it with any change to what the files mean


class Draft:
    """The files of the state to come, and the state that is there; see `IndexFolder.changing`.

    Attributes:
        key: names the new files.
        manifest: of the present state; None where there is none that can be read.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any] | None) -> None:
        self.folder, self.manifest = folder, manifest
        self.key = secrets.token_hex(4)

    def _path(self, name: str, suffix: str) -> Path:
        return self.folder / f"{name}-{self.key}.{suffix}.part"

    def array(self, name: str, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        """A float32 array to fill that lies in a file of its own, however large."""
        path = self._path(name, "npy")
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)

    def commit(
        self, collection: Collection, facts: dict[str, Any], same: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Make this the state of the folder.

        Args:
            collection: the embeddings may lie in arrays that `array` gave.
            facts: what else the manifest is to say.
            same: parts whose present files stay as they are.

        Returns:
            The new manifest.
        """
        files: dict[str, Any] = {}
        for name in same:
            assert self.manifest is not None
            files[name] = self.manifest["files"][name]
        self._write(collection, set(same))
        for part in sorted(self.folder.glob(f"*-{self.key}.*.part")):
            move_into_place(part, part.with_suffix(""))
            files[part.name.partition("-")[0]] = entry_of(part.with_suffix(""))
        manifest = {
            "format": "mmret search index",
            "version": VERSION,
            "key": self.key,
            "backend": collection.backend,
            "recall": collection.recall,
            "dim": collection.sides["image"].emb.shape[1],
            **facts,
            "sides": {
                name: {
                    "rows": len(vectors),
                    "next_id": vectors.next_id,
                    "effort": vectors.index.effort if vectors.index else 0,
                }
                for name, vectors in collection.sides.items()
            },
            "files": files,
        }
        write_manifest(self.folder / "manifest.json", manifest)
        named = {entry["name"] for entry in files.values()}
        for name in os.listdir(self.folder):
            if name not in named and re.search(r"-[0-9a-f]{8}\.", name):
                # Windows keeps a file that some process still has mapped; the next change gets it.
                try:
                    (self.folder / name).unlink()
                except OSError:
                    continue
        return manifest

    def _write(self, collection: Collection, same: set[str]) -> None:
        for name, vectors in collection.sides.items():
            path = self._path(f"{name}_emb", "npy")
            if f"{name}_emb" not in same and not path.exists():
                np.save(path.open("wb"), vectors.emb.numpy())
            if vectors.ids is not None and f"{name}_ids" not in same:
                with self._path(f"{name}_ids", "npy").open("wb") as file:
                    np.save(file, vectors.ids)
            if isinstance(vectors.index, FaissIndex) and f"{name}_index" not in same:
                vectors.index.write(self._path(f"{name}_index", "faiss"))
        if "pairs" not in same:
            # Absolute, because the next process may run in another folder.
            images = [path.absolute() for path in collection.pairs.images]
            text = pairs_json(replace(collection.pairs, images=images))
            self._path("pairs", "json").write_text(text, encoding="utf-8")
