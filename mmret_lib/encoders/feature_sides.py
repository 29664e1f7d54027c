"""Compute one side of kept features: of photos, or of captions (see `features`)."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from mmret_lib.data.augment import AUGMENTATIONS
from mmret_lib.data.feature_files import (
    DTYPES,
    SPAN,
    Computed,
    Side,
    key_of_origin,
    make_side,
    names_of,
)
from mmret_lib.data.images import read_pixels
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store, pack
from mmret_lib.data.store_files import images_key, key_of, title_of
from mmret_lib.encoders.dual import DualEncoder, eval_mode
from mmret_lib.encoders.image import ImageEncoder
from mmret_lib.encoders.text import TextEncoder
from mmret_lib.encoders.weights import digest_of
from mmret_lib.files.errors import DataError, short
from mmret_lib.files.places import cache_folder
from mmret_lib.files.records import read_note

AHEAD = 2  # batches that are read while one is in the backbone
T = TypeVar("T")


def image_backbone(branch: ImageEncoder) -> str:
    """Hash what decides an image's features: the weights, and how pixels enter.

    A branch without a backbone has the name of its features instead, such as "features:2048".
    """
    if branch.backbone_name.startswith("features:"):
        return branch.backbone_name
    colours = [getattr(branch, name).flatten().tolist() for name in ("mean", "std")]
    settings = [branch.image_size, getattr(branch, "crop", 1.0), colours]
    return _digest(settings, branch.backbone)


def text_backbone(branch: TextEncoder) -> str:
    """Hash what decides a caption's features: the weights, the vocabulary, the pooling."""
    config = branch.backbone.config
    names = ("model_type", "num_attention_heads", "hidden_act", "activation")
    settings = [branch.pooling, branch.vocabulary(), [getattr(config, n, None) for n in names]]
    return _digest(settings, branch.backbone)


def _digest(settings: list[Any], backbone: torch.nn.Module) -> str:
    state = {
        name: value
        for name, value in backbone.state_dict().items()
        if not name.endswith("num_batches_tracked")  # counts training steps, embeds nothing
    }
    return digest_of(state, json.dumps(settings).encode())[:32]


def image_side(
    model: DualEncoder,
    source: Pairs | Store,
    home: Path | None,
    batch_size: int,
    *,
    dtype: str | None,
    progress: bool,
    views: int = 0,
    augment: str = "none",
) -> Side:
    """Compute the features of all photos, or open them; as `keep_features` says."""
    branch, size = model.image, model.image.image_size
    if isinstance(source, Store):
        pack(source, size)  # raises where it has another size
        data, pairs = source.manifest["images"]["key"], source.pairs
        names = np.zeros(len(source.pixels), np.uint64)  # of photos that cannot be read: 0
        names[source.rows] = names_of(pairs.image_ids)
    else:
        if not len(source):
            raise DataError("there are no images to compute features of; give pairs with some")
        data, pairs, names = images_key(source, size), source, names_of(source.image_ids)
    origin = {
        "side": "image",
        "backbone": image_backbone(branch),
        "data": data,
        "dtype": dtype or DTYPES[0],
        "views": views,
        "augment": augment,
    }
    folder, origin = _place(home, pairs, origin, DTYPES if dtype is None else (dtype,))
    dtype = str(origin["dtype"])

    def compute(todo: list[int]) -> Iterator[tuple[int, Computed]]:
        with ThreadPoolExecutor() as pool, eval_mode(model):

            def load(group: list[int]) -> list[tuple[npt.NDArray[np.uint8], dict[str, str]]]:
                return [_pixels(source, k, size, pool) for k in group]

            for group, loaded in _ahead(load, _groups(todo, batch_size)):
                versions = [[torch.from_numpy(pixels).to(model.device) for pixels, _ in loaded]]
                for view in range(1, views + 1):
                    versions.append(
                        [
                            # By number, so that an interrupted call draws the same ones.
                            AUGMENTATIONS[augment](images, _generator(k, view))
                            for k, images in zip(group, versions[0], strict=True)
                        ]
                    )
                with torch.autocast(model.device.type, enabled=False):
                    features = [branch.extract_features(torch.cat(images)) for images in versions]
                values = torch.stack(features, dim=1).float().cpu()  # (B, views, F)
                parts = values.split([len(pixels) for pixels, _ in loaded])
                for k, part, (_, faults) in zip(group, parts, loaded, strict=True):
                    rows = part.numpy().astype(dtype)
                    rows[[int(row) - k * SPAN for row in faults]] = 0
                    _check_finite(rows, partial(_photo, source, k), dtype)
                    yield k, (rows, faults)

    about = f"{len(names):,} images by {branch.backbone_name}, {views} augmented views, {dtype}"
    options: dict[str, Any] = {"about": about, "progress": progress}
    return make_side(folder, origin, names, branch.features, compute, **options)


def text_side(
    model: DualEncoder,
    pairs: Pairs,
    home: Path | None,
    batch_size: int,
    *,
    dtype: str | None,
    progress: bool,
) -> Side:
    """Compute the features of all captions, each once, or open them; as `keep_features` says."""
    branch = model.text
    # Captions of like length share a batch, so that little of it is padding.
    captions = sorted(dict.fromkeys(pairs.captions), key=len)
    origin = {
        "side": "text",
        "backbone": text_backbone(branch),
        "data": key_of("captions", *captions),
        "dtype": dtype or DTYPES[0],
        "views": 0,
        "augment": "none",
    }
    folder, origin = _place(home, pairs, origin, DTYPES if dtype is None else (dtype,))
    dtype = str(origin["dtype"])

    def load(group: list[int]) -> list[list[str]]:
        return [captions[k * SPAN : (k + 1) * SPAN] for k in group]

    def compute(todo: list[int]) -> Iterator[tuple[int, Computed]]:
        with eval_mode(model):
            for group, spans in _ahead(load, _groups(todo, batch_size)):
                tokens = branch.tokenize([caption for span in spans for caption in span])
                tokens = {name: ids.to(model.device) for name, ids in tokens.items()}
                with torch.autocast(model.device.type, enabled=False):
                    values = branch.extract_features(**tokens).float().cpu()  # (B, F)
                parts = values.unsqueeze(1).split([len(span) for span in spans])
                for k, part, span in zip(group, parts, spans, strict=True):
                    rows = part.numpy().astype(dtype)
                    _check_finite(rows, partial(_caption, span), dtype)
                    yield k, (rows, {})

    about = f"{len(captions):,} captions by {branch.backbone_name}, {dtype}"
    options: dict[str, Any] = {"about": about, "progress": progress}
    return make_side(folder, origin, names_of(captions), branch.features, compute, **options)


def _place(
    home: Path | None, pairs: Pairs, origin: dict[str, Any], dtypes: Sequence[str]
) -> tuple[Path, dict[str, Any]]:
    """Choose the folder, and the type: the first of `dtypes` in which the features are there."""
    places = []
    for dtype in dtypes:
        wanted = {**origin, "dtype": dtype}
        side: str = origin["side"]
        name = f"{title_of(pairs)}-{side}-{key_of_origin(wanted)[:8]}"
        folder = cache_folder() / "features" / name if home is None else home / side
        if read_note(folder / "manifest.json").get("origin") == wanted:
            return folder, wanted
        places.append((folder, wanted))
    return places[0]


def _groups(todo: list[int], batch_size: int) -> list[list[int]]:
    """The spans that go through a backbone together."""
    together = max(1, batch_size // SPAN)
    return [todo[first : first + together] for first in range(0, len(todo), together)]


def _ahead(load: Callable[[list[int]], T], groups: list[list[int]]) -> Iterator[tuple[Any, T]]:
    """Yield each group with what `load` makes of it, in a thread that works ahead."""
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(max_workers=1) as thread:
        for group in groups:
            waiting.append((group, thread.submit(load, group)))
            if len(waiting) > AHEAD:
                ready, future = waiting.popleft()
                yield ready, future.result()
        for ready, future in waiting:
            yield ready, future.result()


def _pixels(
    source: Pairs | Store, k: int, size: int, pool: ThreadPoolExecutor
) -> tuple[npt.NDArray[np.uint8], dict[str, str]]:
    """The pixels of span `k`, (n, 3, S, S), black where a photo cannot be read, and why."""
    first, end = k * SPAN, (k + 1) * SPAN
    if isinstance(source, Store):
        pixels = np.array(source.pixels[first:end])
        unreadable = source.manifest["images"]["unreadable"]
        return pixels, {row: why for row, why in unreadable.items() if first <= int(row) < end}
    paths = source.images[first:end]
    pixels, faults = np.zeros((len(paths), 3, size, size), np.uint8), {}

    def decode(place: int) -> None:
        try:
            pixels[place] = read_pixels(paths[place], size)
        except DataError as error:
            faults[str(first + place)] = str(error)

    list(pool.map(decode, range(len(paths))))
    return pixels, dict(sorted(faults.items()))


def _generator(span: int, view: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * span + view)


def _caption(span: list[str], place: int) -> str:
    return f"caption {short(span[place])}"


def _photo(source: Pairs | Store, k: int, place: int) -> str:
    row = k * SPAN + place
    if isinstance(source, Store):
        return f"image {short(source.pairs.images[int(np.searchsorted(source.rows, row))].name)}"
    return f"image {source.images[row]}"


def _check_finite(values: npt.NDArray[Any], name: Callable[[int], str], dtype: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
    if bad.size:
        hint = "; float32 holds larger numbers" if dtype == "float16" else ""
        raise DataError(
            f"the feature of {name(int(bad[0]))} is not finite: the backbone's weights are damaged "
            f"or have diverged{hint}"
        )
