"""The packed store: every photo decoded once, then read at the speed of memory.

A JPEG costs milliseconds each time it is opened; the slides' training waited for that. Here each
photo is decoded, turned upright and scaled once, by all processor cores, into one array on disk.
Mapped into memory, a batch of it costs what copying its bytes costs, and any number of processes
read the same pages. The word pieces of all captions lie beside it.

    FOLDER/manifest.json          what is here, made from what, with checksums; written last
    FOLDER/images-KEY.npy         uint8 (rows, 3, S, S)
    FOLDER/captions-KEY.json      the Pairs: captions, owner, ids, the photos' names
    FOLDER/owners-KEY.npy         int64 (2, M): each caption's image, and a number for its text
    FOLDER/words-KEY.npy          int32 (M, longest), one such file per tokenizer

KEY names what a file was made from, so a file of that name is never anything else, and only what
has changed is made again. A file gets its name when it is whole; until then its name ends in .part,
and a journal beside it says which images it already holds.
"""

import json
import os
import shutil
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmret_lib.data.packing import read_spans, spans_of
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store_captions import (
    Tokenizes,
    all_words,
    captions_key,
    images_key,
    key_of,
    numbered,
    pairs_json,
    read_pairs,
    readable,
    unreadable_line,
    usual_folder,
)
from mmret_lib.data.store_files import (
    OURS,
    VERSION,
    broken,
    map_array,
    read_manifest,
    write_manifest,
)
from mmret_lib.files.disk import ROOM_TO_SPARE, alone
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import user_path
from mmret_lib.files.records import damage_of, entry_of
from mmret_lib.files.whole import whole_file, write_text


@dataclass(frozen=True, eq=False, repr=False)
class Store:
    """Pairs whose images lie decoded on disk; made by `pack`, opened again by `Store.open`.

    `store[3]` is an image, uint8 (3, S, S); `store[10:20]`, `store[[4, 2]]` are several, (B, 3, S,
    S), each time a copy. It pickles as the name of its folder, so processes share its pages.

    Attributes:
        folder: where it lies.
        pixels: uint8 (rows, 3, S, S), mapped, read-only; image i is row `rows[i]` of it.
        rows: int64 (N,): 0, 1, 2, … but for the rows of images that could not be read.
        owner: int64 (M,): the image of each caption, as in `pairs`.
        caption_ids: int64 (M,): equal where two captions have the same text.
    """

    folder: Path
    pixels: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int64]
    caption_ids: npt.NDArray[np.int64]
    manifest: dict[str, Any]

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs whose images could be read; image i of them is `store[i]`.

        Read when first asked for: batches need no texts, and half a million take up memory.
        """
        return read_pairs(self.folder, self.manifest)

    @property
    def size(self) -> int:
        """Pixels along a side of each image."""
        return self.pixels.shape[2]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<Store {self.pairs!r}, {self.size} pixels, {self.folder}>"

    def __getitem__(self, which: Any) -> npt.NDArray[np.uint8]:
        # np.array: a row of a memory map would go on depending on the file
        return np.array(self.pixels[self.rows[which]])

    def __reduce__(self) -> tuple[Any, ...]:
        return Store.open, (self.folder,)

    def read_into(self, which: npt.NDArray[np.int64], buffer: npt.NDArray[np.uint8]) -> None:
        """Copy images into an array that is already there, uint8 (B, 3, S, S)."""
        # mode="clip" lets numpy write straight into `buffer`; the rows themselves are checked.
        np.take(self.pixels, self.rows[which], axis=0, out=buffer, mode="clip")

    def token_ids(self, encoder: Tokenizes) -> npt.NDArray[np.int32]:
        """The word pieces of every caption, tokenised once for each vocabulary.

        Returns:
            int32 (M, longest), mapped; -1 stands after a caption's last piece.
        """
        left_out = json.dumps(sorted(self.manifest["images"]["unreadable"]))
        key = key_of("words", self.manifest["captions"]["key"], left_out, encoder.vocabulary())
        try:
            with alone(self.folder / ".lock"):
                manifest = read_manifest(self.folder)
                entry = manifest["words"].get(key)
                if entry is None or damage_of(self.folder, entry):
                    path = self.folder / f"words-{key}.npy"
                    with whole_file(path) as file:
                        np.save(file, all_words(self.pairs, encoder))
                    manifest["words"][key] = entry = entry_of(path)
                    write_manifest(self.folder, manifest)
        except PermissionError:  # somebody else's store, read-only: then once per process
            return all_words(self.pairs, encoder)
        words = map_array(self.folder, entry, np.int32, 2)
        if len(words) != len(self.owner):
            raise broken(self.folder, f"{entry['name']} holds {len(words):,} captions")
        return words

    @classmethod
    def open(cls, folder: str | Path) -> "Store":
        """A store that `pack` made, with the pairs it was made from.

        Checksums are compared where a file's size or time is not the recorded one, as after a copy.

        Raises:
            MissingFile: no store there, or not all of one.
            DataError: of another version, or damaged; says which images.
        """
        folder = user_path(folder)
        if not folder.is_dir():
            raise MissingFile(f"there is no packed store {folder}; make one: mmret data --help")
        manifest = read_manifest(folder)
        for part in ("images", "captions", "owners"):
            if damage := damage_of(folder, manifest[part]):
                raise broken(folder, damage)
        if said := unreadable_line(manifest):
            warnings.warn(said, stacklevel=2)
        return _open(folder, manifest)


def pack(
    pairs: Pairs | Store,
    size: int,
    folder: str | Path | None = None,
    *,
    max_unreadable: float = 0.01,
    workers: int | None = None,
    progress: bool = True,
) -> Store:
    """Pack the images of a data set at one size, or open the store where that is done already.

    It is done again where a photo's name, size or time has changed, and only for the part of a
    store that is missing or damaged. Stopped at any moment, by whatever, the next call goes on.

    Args:
        pairs: what to pack; a Store of that size is given back as it is.
        size: pixels along each side; the shorter side is scaled to it, the middle is kept.
        folder: where to put the store; by default a place of its own in the cache folder.
        max_unreadable: share of images that may be left out before that is an error.
        workers: processes; as many as there are processors by default.
        progress: whether to show a progress bar.

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
    folder = user_path(folder) if folder is not None else usual_folder(pairs, size)
    keys = {"images": images_key(pairs, size), "captions": captions_key(pairs)}
    if folder.exists():
        strangers = [name for name in sorted(os.listdir(folder)) if not OURS.fullmatch(name)]
        if strangers:
            raise DataError(
                f"{folder} holds {strangers[0]}, which is not part of a packed store; give a "
                "folder of its own"
            )
    manifest = _sound(folder, keys, quiet=True)
    if manifest is None:
        _reserve(folder, keys["images"], len(pairs), size)
        with alone(folder / ".lock"):
            manifest = _sound(folder, keys, quiet=False)  # another process may have made it
            if manifest is None:
                manifest = _make(folder, pairs, size, keys, workers, progress)
    store = _open(folder, manifest)
    store.__dict__["pairs"] = readable(pairs, manifest, max_unreadable)
    return store


def _make(
    folder: Path, pairs: Pairs, size: int, keys: dict[str, str], workers: int | None, progress: bool
) -> dict[str, Any]:
    """Make what is missing, write the manifest, and only then delete what it no longer names."""
    try:
        old = read_manifest(folder)
    except DataError:
        old = {"images": {"key": ""}, "captions": {"key": ""}, "words": {}}
    images = old["images"]
    same = images["key"] == keys["images"]
    if not same or damage_of(folder, images):
        written = read_spans(
            folder / f"images-{keys['images']}.npy",
            pairs.images,
            size,
            known=spans_of(images) if same else {},
            workers=workers,
            progress=progress,
        )
        images = {"key": keys["images"], **written}
    captions, owners, words = old["captions"], old.get("owners", {}), old["words"]
    if images["unreadable"] != old["images"].get("unreadable"):
        words = {}
    key = keys["captions"]
    if captions["key"] != key or damage_of(folder, captions) or damage_of(folder, owners):
        path = folder / f"captions-{key}.json"
        write_text(path, pairs_json(pairs))
        captions, words = {"key": key, **entry_of(path)}, {}
        path = folder / f"owners-{key}.npy"
        with whole_file(path) as file:
            np.save(file, numbered(pairs))
        owners = entry_of(path)
    manifest = {
        "format": "mmret store",
        "version": VERSION,
        "size": size,
        "images": images,
        "captions": captions,
        "owners": owners,
        "words": words,
    }
    write_manifest(folder, manifest)
    named = {entry["name"] for entry in (images, captions, owners, *words.values())}
    for name in os.listdir(folder):
        if name not in {*named, "manifest.json", ".lock"}:
            # Windows keeps a file that some process still has mapped; the next call gets it.
            try:
                (folder / name).unlink()
            except OSError:
                continue
    return manifest


def _open(folder: Path, manifest: dict[str, Any]) -> Store:
    pixels = map_array(folder, manifest["images"], np.uint8, 4)
    count, size = manifest["images"]["rows"], manifest["size"]
    if pixels.shape != (count, 3, size, size):
        raise broken(folder, f"{manifest['images']['name']} has shape {pixels.shape}")
    owner, caption_ids = map_array(folder, manifest["owners"], np.int64, 2)
    if unreadable := [int(row) for row in manifest["images"]["unreadable"]]:
        left = np.ones(count, bool)
        left[unreadable] = False
        place = np.cumsum(left) - 1  # of each row among those that are left
        owner, caption_ids = place[owner[left[owner]]], caption_ids[left[owner]]
    rows = np.delete(np.arange(count), unreadable)
    return Store(folder, pixels, rows, owner, caption_ids, manifest)


def _sound(folder: Path, keys: dict[str, str], *, quiet: bool) -> dict[str, Any] | None:
    """The manifest, if what it names was made from these inputs and is undamaged."""
    try:
        manifest = read_manifest(folder)
    except MissingFile:
        return None
    except DataError as error:
        if not quiet:
            warnings.warn(f"packing again, because {error}", stacklevel=4)
        return None
    if any(manifest[part]["key"] != key for part, key in keys.items()):
        return None
    for part in ("images", "captions", "owners"):
        if damage := damage_of(folder, manifest[part]):
            if not quiet:
                warnings.warn(f"{folder}: mending the store, because {damage}", stacklevel=4)
            return None
    return manifest


def _reserve(folder: Path, key: str, count: int, size: int) -> None:
    """Make the folder, if the disk has room for what is still to be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be made ({error.strerror}); give another folder"
        ) from None
    needed = count * 3 * size * size
    # What an earlier, unfinished call has written counts: it is not written again.
    here = sum(
        getattr(status := path.stat(), "st_blocks", status.st_size // 512) * 512
        for path in folder.glob(f"images-{key}*")
    )
    free = shutil.disk_usage(folder).free
    if needed - min(here, needed) + ROOM_TO_SPARE > free:
        raise DataError(
            f"{count:,} images at {size} x {size} pixels take {needed / 2**30:.1f} GiB, and "
            f"{folder} has {free / 2**30:.1f} GiB free: make room there, name another folder "
            "(MMRET_CACHE moves them all), or take a smaller size, or a part of the images "
            "(pairs.subset)"
        )
