"""Embeddings kept in the cache folder, so that a model embeds a collection only once.

    CACHE/embeddings/scenes-test-0123456789abcdef/
        image.npy       float32 (N, D) unit vectors; text.npy (M, D)
        image.json      of which model and data, with the checksum of the file; text.json

The folder's name ends in a key made from the model's fingerprint and the data, so another model or
other data get another folder. What a damaged file held is embedded again.
"""

import hashlib
import json
import re
import warnings
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmret_lib.data.features import Features
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
        data: the packed data set, or its kept features.

    Raises:
        DataError: an embedding is not finite, or the model has changed in the meantime; when a side
            is first needed.
    """

    def __init__(self, model: DualEncoder, data: Store | Features, progress: bool) -> None:
        super().__init__()
        self.model, self.data, self.progress = model, data, progress
        self.origin = {
            "model": fingerprint(model),
            "images": data.manifest["images"]["key"],
            "captions": data.manifest["captions"]["key"],
            "unreadable": sorted(data.manifest["images"]["unreadable"]),
        }
        self.name = f"{data.pairs.name or 'pairs'} {data.pairs.split or 'all'}"
        key = hashlib.sha256(json.dumps(self.origin, sort_keys=True).encode()).hexdigest()[:16]
        title = re.sub(r"[^A-Za-z0-9.+]+", "-", self.name)[:60]
        self.folder = cache_folder() / "embeddings" / f"{title}-{key}"

    def __missing__(self, side: str) -> Vectors:
        if fingerprint(self.model) != self.origin["model"]:
            raise DataError(
                "the model was trained further since this index was built; build it anew"
            )
        with ExitStack() as stack:
            with suppress(OSError):  # nothing can be kept in a cache that cannot be written to
                self.in_use = InUse(self.folder, make=True)  # `mmret cache --clear` leaves it
                stack.enter_context(alone(self.folder / ".lock"))
            emb = self._read(side)
            if emb is None:
                emb = np.empty((count_rows(self.data, side), self.model.dim), np.float32)
                embed(self.model, self.data, side, emb, self.progress)
                self._keep(side, emb)
        vectors = self[side] = Vectors(torch.from_numpy(emb))
        return vectors

    def _read(self, side: str) -> npt.NDArray[np.float32] | None:
        try:
            record = read_manifest(self.folder / f"{side}.json", FORMAT, VERSION)
            if damage_of(self.folder, record["file"]):
                return None
            # "c": writing into the array in memory does not change the file.
            emb: npt.NDArray[np.float32] = np.load(self.folder / f"{side}.npy", mmap_mode="c")
            return emb
        except (OSError, ValueError):  # among them DataError
            return None

    def _keep(self, side: str, emb: npt.NDArray[np.float32]) -> None:
        path = self.folder / f"{side}.npy"
        try:
            with whole_file(path) as file:
                np.save(file, emb)
            record: dict[str, Any] = {"format": FORMAT, "version": VERSION, "name": self.name}
            record |= {"made_from": self.origin, "file": entry_of(path)}
            write_manifest(path.with_suffix(".json"), record)
        except OSError as error:
            warnings.warn(
                f"the embeddings could not be kept in {self.folder} ({error.strerror or error}) "
                "and will be computed again the next time",
                stacklevel=2,
            )
