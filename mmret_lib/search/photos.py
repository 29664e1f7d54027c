"""Keep an index of a folder of photos up to date: new ones come in, vanished ones leave.

    update = index_photos(model, "~/holiday", "album.idx")
    update.index.by_text("red bus")

Photos are decoded beside the model and not kept. Every few hundred are written into the index in
one step, with those that leave, so that a killed process loses the last few only: the next call
goes on. What the folder was like is kept in the index itself: each photo's size and time of change
in `pairs.image_info`, what was left out in `pairs.skipped`, and how many photos there are to be in
`index.photos`. Search compares the query with every photo.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from mmret_lib.data.decoding import decoded
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.photos import PhotoFolder, list_photos
from mmret_lib.data.reading import first_few
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.errors import DataError, on_one_line
from mmret_lib.losses.base import unit_length
from mmret_lib.search.collection import Collection
from mmret_lib.search.draft import next_state
from mmret_lib.search.embed import DIVERGED, fingerprint
from mmret_lib.search.faiss_index import Floats
from mmret_lib.search.folder import IndexFolder
from mmret_lib.search.index import SearchIndex
from mmret_lib.search.vectors import Vectors

CHUNK = 512  # photos that are written together; of a large index a sixteenth of it


@dataclass
class PhotoUpdate:
    """What a call of `index_photos` did.

    Attributes:
        index: the index, open.
        found: what the folder holds.
        added, changed, removed: photos that are new, embedded again, or gone from the index.
        unreadable: photo -> why it cannot be read; these are tried again the next time.
    """

    index: SearchIndex
    found: PhotoFolder
    added: int
    changed: int
    removed: int
    unreadable: dict[Path, str]

    def __str__(self) -> str:
        lines = [self.found.summary()]
        if self.unreadable:
            lines.append(_unreadable_line(self.unreadable, len(self.found.photos)))
        lines.append(f"{self.added:,} added, {self.changed:,} changed, {self.removed:,} removed")
        return "\n".join(lines)


def index_photos(
    model: DualEncoder,
    photos: str | Path,
    folder: str | Path,
    *,
    run: str = "",
    progress: bool = True,
) -> PhotoUpdate:
    """Make an index of a folder of photos, or bring it up to date, and open it.

    A photo is embedded if it is new, or if its size or time of change is not what it was. Photos
    below a folder that cannot be listed now stay in the index.

    Args:
        model: embeds the photos; the same for every call.
        photos: the folder; its subfolders count.
        folder: where to keep the index.
        run: how the user names the model, for messages; "" is the pocket model.
        progress: show a progress bar.

    Raises:
        MissingFile: there is no such folder of photos.
        DataError: no photo in it, or none that can be read; the index is of other data or of
            another model, or damaged; the disk is full. The index stays as it was.
    """
    place = IndexFolder(folder)
    found = list_photos(photos, leave_out=place.folder)
    made_by = fingerprint(model)
    with place.locked(anew=True):
        _load(place, found, made_by)
        update = _Update(model, found, place, made_by, run)
        update.run(progress)
    return PhotoUpdate(
        SearchIndex.open(folder, model),
        found,
        len(update.new),
        len(update.changed),
        len(update.gone),
        update.unreadable,
    )


def unfinished(index: SearchIndex) -> str:
    """Say how much of its folder an index of photos holds; "" where it holds all of it."""
    if not index.photos or not index.photos["left"]:
        return ""
    found = index.photos["found"]
    return f"{len(index):,} of {found:,} photos so far: run mmret index again"


def _load(place: IndexFolder, found: PhotoFolder, made_by: str) -> None:
    """Read the present index, if there is one, and check that it is of these photos."""
    if not (place.folder / "manifest.json").exists():
        return
    anew = f"Delete {place.folder} to index the photos anew, or give another folder for the index"
    try:
        place.refresh()
    except DataError as error:
        raise DataError(f"{error}. It is kept as it is. {anew}") from None
    photos = place.manifest.get("photos")
    if photos is None:
        raise DataError(f"{place.folder} is an index of other data, not of photos. {anew}")
    if photos["folder"] != str(found.root):
        raise DataError(
            f"{place.folder} is an index of the photos in {photos['folder']}, not of {found.root}. "
            f"{anew}"
        )
    if place.manifest["model"] != made_by:
        raise DataError(
            f"{place.folder} was made by another model ({photos['run'] or 'the pocket model'}), "
            f"and the embeddings of two models cannot be compared. {anew}"
        )


class _Update:
    """One call of `index_photos`, while it holds the index's folder."""

    def __init__(
        self, model: DualEncoder, found: PhotoFolder, place: IndexFolder, made_by: str, run: str
    ) -> None:
        self.model, self.found, self.place, self.made_by = model, found, place, made_by
        self.note: dict[str, Any] = {
            "folder": str(found.root),
            "run": run,
            "found": len(found.photos),
        }
        known = self._known()
        # What lies below a folder that cannot be listed may still be there.
        hidden = set(found.unlisted)
        self.gone = {
            path
            for path in known
            if path not in found.photos and not hidden.intersection(path.parents)
        }
        self.new = [path for path in found.photos if path not in known]
        self.changed = [
            path for path in found.photos if path in known and known[path] != found.info(path)
        ]
        self.unreadable: dict[Path, str] = {}

    def _known(self) -> dict[Path, dict[str, Any]]:
        if self.place.state is None:
            return {}
        pairs = self.place.state.pairs
        return dict(zip(pairs.images, pairs.image_info or [{}] * len(pairs), strict=True))

    def run(self, progress: bool) -> None:
        """Embed what is new or changed, and write it chunk by chunk."""
        todo = self.new + self.changed
        done = 0
        photos: list[Path] = []
        parts: list[Floats] = []
        leaving = set(self.gone)  # from the index, with the next chunk
        with tqdm(
            total=len(todo),
            desc="embedding photos",
            unit=" photos",
            disable=not progress or not todo,
            leave=False,
        ) as bar:
            for paths, emb, unreadable in self._embedded(todo):
                done += len(paths)
                self.unreadable |= unreadable
                photos += [path for path in paths if path not in unreadable]
                parts.append(emb)
                leaving.update(paths)  # an earlier state of them, if there is any
                bar.update(len(paths))
                held = len(self.place.state.pairs) if self.place.state else 0
                if len(photos) >= max(CHUNK, held // 16) and done < len(todo):
                    self._write(leaving, photos, parts, len(todo) - done)
                    photos, parts, leaving = [], [], set()
        self._write(leaving, photos, parts, 0)
        self.new = [path for path in self.new if path not in self.unreadable]
        self.gone |= {path for path in self.changed if path in self.unreadable}
        self.changed = [path for path in self.changed if path not in self.unreadable]

    def _embedded(self, paths: list[Path]) -> Iterator[tuple[list[Path], Floats, dict[Path, str]]]:
        """Yield the photos batch by batch, the unit vectors of those that can be read, and why not.

        Raises:
            DataError: an embedding is not finite.
        """
        for batch in decoded(paths, self.model.image.image_size):
            own = paths[batch.first : batch.first + len(batch.pixels)]
            readable = [place for place in range(len(own)) if place not in batch.unreadable]
            emb = np.zeros((0, self.model.dim), np.float32)
            if readable:
                rows = self.model.encode_images(batch.pixels[readable]).cpu()
                if not torch.isfinite(rows).all():
                    raise DataError(f"the model's embedding of a photo {DIVERGED}")
                emb = unit_length(rows).numpy()
            yield own, emb, {own[place]: why for place, why in batch.unreadable.items()}

    def _write(
        self, leaving: set[Path], photos: list[Path], parts: list[Floats], left: int
    ) -> None:
        """Write the next state: without the photos that leave, with the new ones."""
        before = self.place.state
        note = {**self.note, "left": left}
        more = self.found.pairs(photos)
        more = replace(more, skipped=self._skipped())
        keep = np.zeros(0, np.int64)
        if before is not None:
            stays = [path not in leaving for path in before.pairs.images]
            keep = np.flatnonzero(stays)
            same = before.pairs.skipped == more.skipped and note == self.place.manifest["photos"]
            if len(keep) == len(stays) and not photos and same:
                return
        if not len(keep) and not photos:
            raise DataError(
                f"{self.found.summary()}. None of them can be read: "
                f"{on_one_line(first_few(self.unreadable.values()))}"
                + (f" {self.place.folder} stays as it was" if before else "")
            )
        with next_state(self.place) as draft:
            emb = draft.array("image_emb", (len(keep) + len(photos), self.model.dim))
            text = Vectors(torch.zeros(0, self.model.dim))
            if before is not None:
                np.take(
                    before.sides["image"].emb.numpy(),
                    keep,
                    axis=0,
                    out=emb[: len(keep)],
                    mode="clip",
                )
                more = _joined(before.pairs.subset(keep), more)
                text = before.sides["text"]
            start = len(keep)
            for part in parts:
                emb[start : start + len(part)] = part
                start += len(part)
            image = Vectors(torch.from_numpy(emb))
            draft.commit(Collection(more, {"image": image, "text": text}), self.made_by, note)

    def _skipped(self) -> tuple[str, ...]:
        lines = [_unreadable_line(self.unreadable, len(self.found.photos))]
        return tuple(lines if self.unreadable else [])


def _joined(first: Pairs, second: Pairs) -> Pairs:
    """Two lots of photos without captions as one; name and what was skipped are the second's."""
    return replace(
        second,
        images=first.images + second.images,
        image_ids=first.image_ids + second.image_ids,
        image_info=(first.image_info or []) + (second.image_info or []),
    )


def _unreadable_line(unreadable: dict[Path, str], count: int) -> str:
    reasons = on_one_line(first_few(unreadable.values()))
    return f"{len(unreadable):,} of {count:,} photos cannot be read: {reasons}"
