"""The files of kept features: one folder for photos, or for captions.

    FOLDER/manifest.json       which backbone, which data, with checksums; written last
    FOLDER/values-KEY.npy      float16 or float32 (rows, views, F); view 0 is not augmented
    FOLDER/names-KEY.npy       uint64 (rows,): a hash of each photo's id, or of each caption
    FOLDER/hashes-KEY.npy      uint64 (rows,): a hash of each photo's pixels (`pixel_hash`); not
                               where there were no pixels

KEY is a hash of what they were made from. They are written span by span (`spans`): a call that was
killed goes on where it stopped, and of a damaged file only what is damaged is computed again.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmret_lib.data.pixel_hash import UNKNOWN, Hashes
from mmret_lib.data.spans import Unfinished, fill, spans_of
from mmret_lib.data.store_files import check_folder, key_of, map_array, save_array
from mmret_lib.files import records
from mmret_lib.files.cache import InUse
from mmret_lib.files.disk import alone, disk_errors
from mmret_lib.files.errors import DataError, MissingFile, short
from mmret_lib.files.records import damage_of, entry_of, write_manifest

FORMAT, VERSION = "mmret features", 1
SPAN = 64  # rows that are written together
DTYPES = ("float32", "float16")
FILE_NAMES = re.compile(
    r"manifest\.json|\.lock|(values|names|hashes)-[0-9a-f]{16}\.(npy|journal)(\.part)?|\..*\.part"
)
UNITS = {"image": "images", "text": "captions"}
# What an origin says, in the order in which a difference is reported; and the word for it.
ORIGIN = {
    "backbone": "another backbone, or other weights of it",
    "data": "other {unit}",
    "dtype": "another type",
    "views": "another number of views",
    "augment": "another augmentation",
}

# (rows of a span, views, F); row -> why its photo cannot be read; the hashes of the photos' pixels
Computed = tuple[npt.NDArray[Any], dict[str, str], Hashes | None]


def names_of(records: Iterable[object]) -> npt.NDArray[np.uint64]:
    """Hash image ids or captions, (n,): how a row is found again."""
    digests = [
        hashlib.blake2b(str(record).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for record in records
    ]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


@dataclass(frozen=True, eq=False)
class Side:
    """The kept features of photos or of captions, as they lie in a folder.

    Attributes:
        folder: where they lie.
        values: (rows, views, F), mapped, read-only.
        names: uint64 (rows,), as `names_of` gives them.
        manifest: what manifest.json says; "origin" is what they were made from.
    """

    folder: Path
    values: npt.NDArray[Any]
    names: npt.NDArray[np.uint64]
    manifest: dict[str, Any]
    in_use: InUse | None = None  # so that `mmret cache --clear` leaves the folder alone

    @property
    def views(self) -> int:
        """How often each photo was embedded: once as it is, and its augmented views."""
        return int(self.values.shape[1])

    @property
    def key(self) -> str:
        """A hash of what the features were made from."""
        return key_of_origin(self.manifest["origin"])

    @cached_property
    def hashes(self) -> Hashes:
        """A hash of each photo's pixels, uint64 (rows,); `UNKNOWN` where there is none.

        Captions have none, nor has what was not made from pixels, or by an older version.
        """
        entry = self.manifest.get("hashes")
        if entry is None or damage_of(self.folder, entry):
            return np.full(len(self.names), UNKNOWN, np.uint64)
        hashes: Hashes = map_array(self.folder, entry, np.uint64, 1, broken)
        return hashes

    def read(self, rows: npt.NDArray[np.int64], views: npt.NDArray[np.int64] | int = 0) -> Any:
        """Copy rows, in one view each: float32 (B, F).

        Raises:
            DataError: a number is not finite.
        """
        values = self.values[rows, views].astype(np.float32)
        if not np.isfinite(values).all():
            first = int(np.flatnonzero(~np.isfinite(values).all(axis=-1))[0])
            unit = UNITS[self.manifest["origin"]["side"]]
            raise broken(self.folder, f"row {rows[first]} of its {unit} is not finite")
        return values

    def find(self, records: Sequence[object]) -> npt.NDArray[np.int64]:
        """Find the row of each image id or caption: (n,), -1 where there is none."""
        wanted = names_of(records)
        order = np.argsort(self.names)
        place = np.searchsorted(self.names[order], wanted)
        rows = order[np.minimum(place, len(order) - 1)]
        return np.where(self.names[rows] == wanted, rows, -1)

    @classmethod
    def open(cls, folder: Path, origin: dict[str, Any] | None = None) -> "Side":
        """Open the features in a folder; nothing in it is written to.

        Args:
            origin: what they should be made from; None accepts any. Only the given entries count.

        Raises:
            MissingFile: there are none, or they were not computed to the end.
            DataError: damaged, of another version, or made from something else.
        """
        try:
            manifest = records.read_manifest(folder / "manifest.json", FORMAT, VERSION)
        except FileNotFoundError:
            raise MissingFile(f"there are no kept features in {folder}: mmret features") from None
        except DataError as error:
            raise broken(folder, str(error)) from None
        if origin is not None:
            check_origin(folder, manifest["origin"], origin)
        for part in ("values", "names"):
            if damage := damage_of(folder, manifest[part]):
                raise broken(folder, damage)
        return cls._map(folder, manifest)

    @classmethod
    def _map(cls, folder: Path, manifest: dict[str, Any], in_use: InUse | None = None) -> "Side":
        origin, rows = manifest["origin"], manifest["values"]["rows"]
        values = map_array(folder, manifest["values"], np.dtype(origin["dtype"]), 3, broken)
        names = map_array(folder, manifest["names"], np.uint64, 1, broken)
        if values.shape[:2] != (rows, origin["views"] + 1) or len(names) != rows:
            raise broken(folder, f"it holds features {values.shape} of {len(names):,} names")
        return cls(folder, values, names, manifest, in_use)


def key_of_origin(origin: dict[str, Any]) -> str:
    """Hash an origin to 16 hexadecimal digits."""
    return key_of("features", *(f"{name}={origin[name]}" for name in sorted(origin)))


def check_origin(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise DataError, naming the first difference, unless the features are the wanted ones."""
    for name, words in ORIGIN.items():
        theirs, ours = found.get(name), wanted.get(name, found.get(name))
        if theirs == ours:
            continue
        what = words.format(unit=UNITS[found["side"]])
        raise DataError(
            f"{folder} holds features of {what} ({short(theirs)}, where {short(ours)} is wanted); "
            "give another folder, or delete this one"
        )


def make_side(
    folder: Path,
    origin: dict[str, Any],
    names: npt.NDArray[np.uint64],
    length: int,
    compute: Callable[[list[int]], Iterator[tuple[int, Computed]]],
    *,
    about: str,
    progress: bool,
) -> Side:
    """Open the features in a folder; compute what is missing or damaged there.

    Args:
        folder: of this side alone; made if it is not there.
        origin: "side", and what `ORIGIN` lists: what the features are made from.
        names: (rows,), of the rows.
        length: numbers in a feature, F.
        compute: given the numbers of spans of `SPAN` rows, yields each with its values (rows,
            views, F), finite and of the type that the origin says, and what `Computed` lists.
        about: a line for `mmret cache`.

    Raises:
        DataError: the folder holds something else, or features made from something else; the disk
            has too little room; or whatever `compute` raises. The next call continues.
    """
    unit, key = UNITS[origin["side"]], key_of_origin(origin)
    with disk_errors(folder, "making the folder of kept features"):
        in_use = InUse(folder, make=True)
    if (manifest := _intact(folder, origin)) is not None:
        return Side._map(folder, manifest, in_use)
    shape = (len(names), origin["views"] + 1, length)
    check_folder(
        folder,
        FILE_NAMES,
        "kept features",
        f"values-{key}*",
        int(np.prod(shape, dtype=np.int64)) * np.dtype(origin["dtype"]).itemsize,
        f"Features {shape} of {origin['dtype']}",
    )
    with alone(folder / ".lock"):
        if (manifest := _intact(folder, origin)) is not None:  # another process made it
            return Side._map(folder, manifest, in_use)

        hashes_file = folder / f"hashes-{key}.npy"

        def work(file: Unfinished, todo: list[int]) -> Iterator[Any]:
            for k, (values, faults, hashes) in compute(todo):
                if hashes is not None:  # before the values: a span that is there has its hashes
                    _put(hashes_file, len(names), k * SPAN, hashes)
                yield k, (file.write(k, np.ascontiguousarray(values)), faults)

        values = fill(
            folder / f"values-{key}.npy",
            shape,
            np.dtype(origin["dtype"]),
            SPAN,
            work,
            known=_known(folder),
            task=f"features of {unit}",
            unit=unit,
            progress=progress,
        )
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "about": about,
            "origin": origin,
            "values": {**values, "unit": unit},
            "names": save_array(folder / f"names-{key}.npy", names),
        }
        if hashes_file.exists():
            manifest["hashes"] = entry_of(hashes_file)
        write_manifest(folder / "manifest.json", manifest)
        named = {manifest["values"]["name"], manifest["names"]["name"], "manifest.json", ".lock"}
        named.add(hashes_file.name)
        for name in set(os.listdir(folder)) - named:
            with suppress(OSError):
                (folder / name).unlink()
    return Side._map(folder, manifest, in_use)


def _put(path: Path, rows: int, first: int, hashes: Hashes) -> None:
    """Write hashes to their place in an array file, which is made if it is not there."""
    with suppress(OSError, ValueError):
        array = np.load(path, mmap_mode="r+", allow_pickle=False)
        if array.shape == (rows,) and array.dtype == np.uint64:
            array[first : first + len(hashes)] = hashes
            return
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint64, shape=(rows,))
    array[first : first + len(hashes)] = hashes


def _intact(folder: Path, origin: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest, if the features in the folder are complete and undamaged."""
    try:
        manifest = records.read_manifest(folder / "manifest.json", FORMAT, VERSION)
    except (FileNotFoundError, DataError):
        return None
    check_origin(folder, manifest["origin"], origin)
    if any(damage_of(folder, manifest[part]) for part in ("values", "names")):
        return None
    return manifest


def _known(folder: Path) -> dict[int, Any]:
    """The spans that a damaged file should hold, so that only its damaged ones are made again."""
    try:
        manifest = records.read_manifest(folder / "manifest.json", FORMAT, VERSION)
        return dict(spans_of(manifest["values"], SPAN))
    except (FileNotFoundError, DataError):
        return {}


def broken(folder: Path, why: str) -> DataError:
    """Make the error that says why a folder holds no features that can be used."""
    return DataError(
        f"{folder} holds no features that can be used: {why}. Compute them again (mmret features); "
        "if that says the same, delete the folder first."
    )
