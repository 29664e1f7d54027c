"""The packed store: every photo decoded once, then read at the speed of memory.

A JPEG costs milliseconds each time it is opened, and training would wait for that. Here each photo
is decoded, turned upright and scaled once, by all processor cores, into one array on disk. The
array is mapped into memory: reading a batch takes as long as copying its bytes, and all processes
share one copy. The token ids of all captions are stored beside it.

    FOLDER/manifest.json          what is here, made from what, with checksums; written last
    FOLDER/images-KEY.npy         uint8 (rows, 3, S, S)
    FOLDER/captions-KEY.json      the Pairs: captions, owner, ids, the photos' names
    FOLDER/owners-KEY.npy         int64 (2, M): each caption's image, and a number for its text
    FOLDER/hashes-KEY.npy         uint64 (rows,): a hash of each image's pixels (`pixel_hash`)
    FOLDER/words-KEY.npy          int32 (M, longest), token ids, one such file per vocabulary

KEY is a hash of what a file was made from, so that only what has changed is made again. Until a
file is complete its name ends in .part, and a journal beside it lists the images it already holds.
"""

import json
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.pixel_hash import Hashes, pixel_hashes
from mmret_lib.data.reading import enough_of
from mmret_lib.data.store_files import (
    PARTS,
    bring_up_to_date,
    broken,
    hashes_file,
    key_of,
    map_array,
    read_manifest,
    save_array,
    unreadable_line,
    usual_folder,
)
from mmret_lib.data.tokens import Tokenizer, token_table
from mmret_lib.files.cache import InUse
from mmret_lib.files.disk import alone, disk_errors
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import user_path
from mmret_lib.files.records import damage_of, write_manifest


@dataclass(frozen=True, eq=False, repr=False)
class Store:
    """Pairs whose images lie decoded on disk; made by `pack`, opened again by `Store.open`.

    `store[3]` is an image, uint8 (3, S, S); `store[10:20]`, `store[[4, 2]]` are several, (B, 3, S,
    S), each time a copy. Only the folder's name is pickled, so processes share the memory.

    Attributes:
        folder: where it lies.
        pixels: uint8 (rows, 3, S, S), mapped, read-only; image i is row `rows[i]` of it.
        rows: int64 (N,): 0, 1, 2, … without the rows of images that could not be read.
        owner: int64 (M,): the image of each caption, as in `pairs`.
        caption_ids: int64 (M,): equal where two captions have the same text.
        manifest: what the file manifest.json says.
    """

    folder: Path
    pixels: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int64]
    caption_ids: npt.NDArray[np.int64]
    manifest: dict[str, Any]
    in_use: InUse  # so that `mmret cache --clear` leaves the folder alone
    text = None  # captions are tokenised: only `Features` may hold a side of theirs

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs whose images could be read; image i of them is `store[i]`.

        Read on first use: batches need no texts, and half a million texts take much memory.
        """
        path = self.folder / self.manifest["captions"]["name"]
        try:
            pairs = Pairs.from_json(path.read_bytes())
        except DataError as error:
            raise broken(self.folder, f"{path.name}: {error}") from None
        if len(pairs) != len(self.pixels):
            raise broken(self.folder, f"{path.name} has {len(pairs):,} images")
        return self._readable(pairs)

    def _readable(self, pairs: Pairs) -> Pairs:
        """The pairs without the images that could not be read."""
        if len(self.rows) == len(pairs):
            return pairs
        left = pairs.subset(self.rows)
        return replace(left, skipped=(*left.skipped, unreadable_line(self.manifest)))

    @property
    def size(self) -> int:
        """Pixels along a side of each image."""
        return int(self.pixels.shape[2])

    def __len__(self) -> int:
        """The number of images."""
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<Store {self.pairs!r}, {self.size} pixels, {self.folder}>"

    def __getitem__(self, which: Any) -> npt.NDArray[np.uint8]:
        # A copy, because a row of a memory map depends on the file.
        return np.array(self.pixels[self.rows[which]])

    def __reduce__(self) -> tuple[Any, ...]:
        return Store.open, (self.folder,)

    def read_into(self, which: npt.NDArray[np.int64], buffer: npt.NDArray[np.uint8]) -> None:
        """Copy images into an array that is already there, uint8 (B, 3, S, S)."""
        # mode="clip" lets numpy write straight into `buffer`; the rows themselves are checked.
        np.take(self.pixels, self.rows[which], axis=0, out=buffer, mode="clip")

    def texts(self, which: slice | npt.NDArray[np.int64]) -> list[str]:
        """Return some captions, as a text encoder takes them."""
        captions = self.pairs.captions
        return captions[which] if isinstance(which, slice) else [captions[j] for j in which]

    def token_ids(self, tokenizer: Tokenizer) -> npt.NDArray[np.int32]:
        """Return the token ids of every caption, tokenised once for each vocabulary.

        Args:
            tokenizer: a text encoder such as `model.text`.

        Returns:
            int32 (M, longest), mapped; -1 stands after a caption's last token.
        """
        left_out = json.dumps(sorted(self.manifest["images"]["unreadable"]))
        key = key_of("words", self.manifest["captions"]["key"], left_out, tokenizer.vocabulary())
        try:
            with alone(self.folder / ".lock"):
                manifest = read_manifest(self.folder)
                entry = manifest["words"].get(key)
                if entry is None or damage_of(self.folder, entry):
                    table = token_table(self.pairs.captions, tokenizer)
                    entry = save_array(self.folder / f"words-{key}.npy", table)
                    manifest["words"][key] = entry
                    write_manifest(self.folder / "manifest.json", manifest)
        except PermissionError:  # a read-only store: tokenise once per process
            return token_table(self.pairs.captions, tokenizer)
        token_ids: npt.NDArray[np.int32] = map_array(self.folder, entry, np.int32, 2)
        if len(token_ids) != len(self.owner):
            raise broken(self.folder, f"{entry['name']} holds {len(token_ids):,} captions")
        return token_ids

    @cached_property
    def hashes(self) -> Hashes:
        """A hash of each image's pixels, uint64 (N,).

        A store of an older version has none: they are computed on first use, and kept.
        """
        entry = self.manifest.get("hashes")
        if entry is not None and not damage_of(self.folder, entry):
            hashes: Hashes = map_array(self.folder, entry, np.uint64, 1)
            if len(hashes) == len(self.pixels):
                return hashes[self.rows]
        starts = tqdm(range(0, len(self.pixels), 1024), desc="hashing images", leave=False, delay=2)
        hashes = np.concatenate([pixel_hashes(self.pixels[k : k + 1024]) for k in starts])
        with suppress(OSError), alone(self.folder / ".lock"):  # a read-only store stays as it is
            manifest = read_manifest(self.folder)
            if manifest["images"]["key"] == self.manifest["images"]["key"]:
                manifest["hashes"] = save_array(hashes_file(self.folder, manifest), hashes)
                write_manifest(self.folder / "manifest.json", manifest)
        return hashes[self.rows]

    @classmethod
    def open(cls, folder: str | Path) -> "Store":
        """Open a store that `pack` made, with the pairs it was made from.

        Checksums are compared where a file's size or time is not the recorded one, as after a copy.

        Raises:
            MissingFile: there is no store, or a file of it is missing.
            DataError: of another version, or damaged; the message says which images.
        """
        folder = user_path(folder).absolute()
        if not folder.is_dir():
            raise MissingFile(f"there is no packed store {folder}; make one: mmret data --help")
        in_use = InUse(folder)
        manifest = read_manifest(folder)
        for part in PARTS:
            if damage := damage_of(folder, manifest[part]):
                raise broken(folder, damage)
        if unreadable := unreadable_line(manifest):
            warnings.warn(unreadable, stacklevel=2)
        return cls._map(folder, manifest, in_use)

    @classmethod
    def _map(cls, folder: Path, manifest: dict[str, Any], in_use: InUse) -> "Store":
        """Make a store of the undamaged files that `manifest` names."""
        pixels = map_array(folder, manifest["images"], np.uint8, 4)
        count, size = manifest["images"]["rows"], manifest["size"]
        if pixels.shape != (count, 3, size, size):
            raise broken(folder, f"{manifest['images']['name']} has shape {pixels.shape}")
        owner, caption_ids = map_array(folder, manifest["owners"], np.int64, 2)
        readable = np.ones(count, bool)
        if manifest["images"]["unreadable"]:
            readable[[int(row) for row in manifest["images"]["unreadable"]]] = False
            kept = readable[owner]  # (M,): whether the caption has an image
            new_index = np.cumsum(readable) - 1
            owner, caption_ids = new_index[owner[kept]], caption_ids[kept]
        rows = np.flatnonzero(readable)
        return cls(folder, pixels, rows, owner, caption_ids, manifest, in_use)


def pack(
    pairs: Pairs | Store,
    size: int,
    folder: str | Path | None = None,
    *,
    max_unreadable: float = 0.01,
    workers: int | None = None,
    progress: bool = True,
) -> Store:
    """Pack the images of a data set at one size, or open the store if they are packed already.

    Where a photo's name, size or time has changed, or a part of the store is missing or damaged,
    that part is made again. After an interrupt of any kind, the next call goes on where it stopped.

    Args:
        pairs: what to pack; a Store of that size is returned as it is.
        size: pixels along each side; the shorter side is scaled to it, the middle is kept.
        folder: where to put the store; by default a place of its own in the cache folder.
        max_unreadable: share of images that may be left out before that is an error.
        workers: processes; as many as there are processors by default.

    Returns:
        The store. Images that cannot be read are warned of once and are missing from its `pairs`,
        where one line of `skipped` counts and names them.

    Raises:
        DataError: too many images cannot be read, too little room on the disk (asked before
            anything is written), or a folder that holds something else.
    """
    if isinstance(pairs, Store):
        if pairs.size != size:
            raise DataError(
                f"the store holds images of {pairs.size} pixels, {size} are wanted; pack the pairs "
                "at that size"
            )
        return pairs
    if not 0 <= max_unreadable <= 1:
        raise DataError(f"max_unreadable is {max_unreadable}; it is a share, from 0 to 1")
    if not 1 <= size <= 4096:
        raise DataError(f"size is {size}; it is a number of pixels, from 1 to 4096")
    if not len(pairs):
        raise DataError("there are no images to pack; give pairs with at least one")
    folder = usual_folder(pairs, size) if folder is None else user_path(folder).absolute()
    with disk_errors(folder, "making the folder of a packed store"):
        in_use = InUse(folder, make=True)
    manifest = bring_up_to_date(folder, pairs, size, workers=workers, progress=progress)
    store = Store._map(folder, manifest, in_use)
    if unreadable := unreadable_line(manifest):
        check_share(len(pairs) - len(store), len(pairs), max_unreadable, unreadable)
        warnings.warn(unreadable, stacklevel=2)
    store.__dict__["pairs"] = store._readable(pairs)
    return store


def check_share(unreadable: int, count: int, max_unreadable: float, summary: str) -> None:
    """Raise DataError if too large a share of the images cannot be read."""
    if unreadable == count:
        raise DataError(f"none of the {count:,} images can be read; fetch them again. {summary}")
    if unreadable > max_unreadable * count:
        enough = enough_of(unreadable, count)
        raise DataError(
            f"{unreadable / count:.1%} of the images cannot be read, more than the "
            f"{max_unreadable:.1%} allowed. Fetch them again, take them out of the data set, or "
            f"allow it: --max-unreadable {enough} (in Python max_unreadable={enough}, which "
            f"pack takes). {summary}"
        )
