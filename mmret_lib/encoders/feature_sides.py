"""Compute one side of kept features: of photos, or of captions (see `features`)."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmret_lib.data.augment import AUGMENTATIONS
from mmret_lib.data.decoding import decoded
from mmret_lib.data.feature_files import (
    DTYPES,
    SPAN,
    Computed,
    Side,
    key_of_origin,
    make_side,
    names_of,
)
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.pixel_hash import UNKNOWN, pixel_hashes
from mmret_lib.data.store import Store, pack
from mmret_lib.data.store_files import images_key, key_of, title_of
from mmret_lib.encoders.dual import DualEncoder, eval_mode
from mmret_lib.encoders.image import ImageEncoder
from mmret_lib.encoders.text import TextEncoder
from mmret_lib.encoders.weights import module_digest
from mmret_lib.files.errors import DataError, short
from mmret_lib.files.places import cache_folder
from mmret_lib.files.records import read_note


def image_backbone(branch: ImageEncoder) -> str:
    """Hash what decides an image's features: the weights, and how pixels enter.

    A branch without a backbone has the name of its features instead, such as "features:2048".
    """
    if branch.backbone_name.startswith("features:"):
        return branch.backbone_name
    colours = [getattr(branch, name).flatten().tolist() for name in ("mean", "std")]
    settings = [branch.image_size, branch.crop, colours]
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
    return module_digest(backbone, state, json.dumps(settings).encode())[:32]


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
        with eval_mode(model):
            for group, pixels, unreadable in _pixels(source, size, _groups(todo, batch_size)):
                images = torch.from_numpy(pixels).to(model.device)  # uint8 (B, 3, S, S)
                hashes = pixel_hashes(pixels)
                hashes[list(unreadable)] = UNKNOWN
                versions = [images]
                for view in range(1, views + 1):
                    # By number, so that an interrupted call draws the same ones.
                    spans = zip(group, images.split(SPAN), strict=True)
                    parts = [AUGMENTATIONS[augment](p, _generator(k, view)) for k, p in spans]
                    versions.append(torch.cat(parts))
                with torch.autocast(model.device.type, enabled=False):
                    features = [branch.extract_features(images) for images in versions]
                values = torch.stack(features, dim=1).float().cpu()  # (B, views, F)
                for place, (k, part) in enumerate(zip(group, values.split(SPAN), strict=True)):
                    rows = part.numpy().astype(dtype)
                    faults = {}
                    for row in range(len(rows)):
                        if why := unreadable.get(place * SPAN + row):
                            rows[row], faults[str(k * SPAN + row)] = 0, why
                    _check_finite(rows, partial(_photo, source, k), dtype)
                    yield k, (rows, faults, hashes[place * SPAN : (place + 1) * SPAN])

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

    def compute(todo: list[int]) -> Iterator[tuple[int, Computed]]:
        with eval_mode(model):
            for group in _groups(todo, batch_size):
                spans = [captions[k * SPAN : (k + 1) * SPAN] for k in group]
                tokens = branch.tokenize([caption for span in spans for caption in span])
                tokens = {name: ids.to(model.device) for name, ids in tokens.items()}
                with torch.autocast(model.device.type, enabled=False):
                    values = branch.extract_features(**tokens).float().cpu()  # (B, F)
                parts = values.unsqueeze(1).split(SPAN)
                for k, part, span in zip(group, parts, spans, strict=True):
                    rows = part.numpy().astype(dtype)
                    _check_finite(rows, partial(_caption, span), dtype)
                    yield k, (rows, {}, None)

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


def _pixels(
    source: Pairs | Store, size: int, groups: list[list[int]]
) -> Iterator[tuple[list[int], npt.NDArray[np.uint8], dict[int, str]]]:
    """Yield each group of spans, in order, with its pixels, as `Decoded` has them.

    Only the last span of all may be shorter than `SPAN`.
    """
    count = len(source.pixels) if isinstance(source, Store) else len(source)
    rows_of = [
        [row for k in group for row in range(k * SPAN, min((k + 1) * SPAN, count))]
        for group in groups
    ]
    if isinstance(source, Pairs):
        paths = [source.images[row] for rows in rows_of for row in rows]
        batches = decoded(paths, size, batch=max(map(len, rows_of), default=SPAN))
        for group, batch in zip(groups, batches, strict=True):
            yield group, batch.pixels, batch.unreadable
        return
    why = source.manifest["images"]["unreadable"]
    for group, rows in zip(groups, rows_of, strict=True):
        bad = {place: why[str(row)] for place, row in enumerate(rows) if str(row) in why}
        yield group, source.pixels[rows], bad


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
