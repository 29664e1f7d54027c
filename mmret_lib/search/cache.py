"""Embeddings kept in the cache folder, so that a model embeds a collection only once.

    CACHE/embeddings/scenes-test-0123456789abcdef/
        manifest.json       of which model and data, with the checksums of the two files
        image_emb.npy       float32 (N, D) unit vectors; text_emb.npy (M, D)

The folder's name ends in a key made from the model's fingerprint and the data, so what lies in it
never belongs to anything else. A file that is damaged is embedded again.
"""

import hashlib
import json
import re
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmret_lib.data.store import Store
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.cache import InUse
from mmret_lib.files.disk import alone
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import cache_folder
from mmret_lib.files.records import damage_of, entry_of, read_manifest, write_manifest
from mmret_lib.files.whole import whole_file
from mmret_lib.search.embed import count_rows, embed, fingerprint
from mmret_lib.search.vectors import Vectors

FORMAT, VERSION = "mmret embeddings", 1


class CachedSides(dict[str, Vectors]):
    """The two sides of a collection, each embedded when it is first needed, or read from the cache.

    Args:
        model: embeds.
        data: the packed data set.
        progress: whether to show progress bars.

    Raises:
        DataError: an embedding is not finite, or the model has changed in the meantime; when a side
            is first needed.
    """

    def __init__(self, model: DualEncoder, data: Store, progress: bool) -> None:
        super().__init__()
        self.model, self.data, self.progress = model, data, progress
        self.fingerprint = fingerprint(model)

    def __missing__(self, side: str) -> Vectors:
        if fingerprint(self.model) != self.fingerprint:
            raise DataError("the model was trained on since this index was built; build it anew")
        folder = self.folder
        name = f"{side}_emb"
        with ExitStack() as stack:
            with suppress(OSError):  # nothing can be kept in a cache that cannot be written to
                in_use = InUse(folder, make=True)  # noqa: F841, until the file is read or written
                stack.enter_context(alone(folder / ".lock"))
            shape = (count_rows(self.data, side), self.model.dim)
            emb = self._read(name, shape)
            if emb is None:
                emb = np.empty(shape, np.float32)
                embed(self.model, self.data, side, emb, self.progress)
                try:
                    self._write(name, emb)
                except OSError as error:
                    warnings.warn(
                        f"the embeddings could not be kept in {folder} ({error.strerror or error}) "
                        "and will be computed again the next time",
                        stacklevel=2,
                    )
        vectors = self[side] = Vectors(torch.from_numpy(emb))
        return vectors

    @property
    def folder(self) -> Path:
        """Where the embeddings are kept."""
        key = hashlib.sha256(json.dumps(self._origin(), sort_keys=True).encode()).hexdigest()[:16]
        title = f"{self.data.pairs.name or 'pairs'}-{self.data.pairs.split or 'all'}"
        return (
            cache_folder() / "embeddings" / f"{re.sub(r'[^A-Za-z0-9.+-]+', '_', title)[:60]}-{key}"
        )

    def _origin(self) -> dict[str, Any]:
        manifest = self.data.manifest
        return {
            "model": self.fingerprint,
            "images": manifest["images"]["key"],
            "captions": manifest["captions"]["key"],
            "unreadable": sorted(manifest["images"]["unreadable"]),
        }

    def _files(self) -> dict[str, Any]:
        try:
            return dict(read_manifest(self.folder / "manifest.json", FORMAT, VERSION)["files"])
        except (OSError, DataError):
            return {}

    def _read(self, name: str, shape: tuple[int, int]) -> npt.NDArray[np.float32] | None:
        entry = self._files().get(name)
        if entry is None or damage_of(self.folder, entry):
            return None
        try:
            # "c": writing into the array in memory does not change the file.
            emb = np.load(self.folder / entry["name"], mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError):
            return None
        return emb if emb.dtype == np.float32 and emb.shape == shape else None

    def _write(self, name: str, emb: npt.NDArray[np.float32]) -> None:
        path = self.folder / f"{name}.npy"
        with whole_file(path) as file:
            np.save(file, emb)
        content = {
            "format": FORMAT,
            "version": VERSION,
            "name": f"{self.data.pairs.name} {self.data.pairs.split}".strip(),
            "made_from": self._origin(),
            "files": {**self._files(), name: entry_of(path)},
        }
        write_manifest(self.folder / "manifest.json", content)
