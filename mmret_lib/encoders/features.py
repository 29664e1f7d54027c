"""Compute the features of photos and captions once, for as long as their backbones are frozen.

    features = keep_features(model, pairs)      # found again by the next call
    Trainer(model, loss, features, TrainConfig(train="projections")).fit()

Photos are decoded beside the backbone's work, with the pixels that a packed store holds, so that no
store of them is needed. The result depends on the backbone's weights and on the data, and so does
the folder in which it is kept.
"""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmret_lib.data.augment import AUGMENTATIONS
from mmret_lib.data.feature_files import DTYPES, SPAN, UNITS, Side
from mmret_lib.data.features import Features, join, rows_of
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.store import Store, check_share, pack
from mmret_lib.data.store_files import unreadable_line
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.feature_sides import (
    image_backbone,
    image_side,
    text_backbone,
    text_side,
)
from mmret_lib.encoders.text import TextEncoder
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import user_path


def keep_features(
    model: DualEncoder,
    pairs: Pairs | Store | Features,
    *,
    folder: str | os.PathLike[str] | None = None,
    views: int = 0,
    augment: str = "shift",
    dtype: str | None = None,
    sides: Sequence[str] = ("image", "text"),
    batch_size: int | None = None,
    max_unreadable: float = 0.01,
    progress: bool = True,
) -> Features:
    """Compute the backbones' features of a data set, or open them if they are there already.

    After an interruption of any kind, the next call goes on where it stopped.

    Args:
        model: computes them, on its device, in eval mode and in its own precision.
        pairs: of what. A packed store's pixels are taken from it; photos are decoded here, once,
            and not kept. Features are checked and returned. Pairs with a folder of features of
            their own (`Pairs.features`) take those, and only what is missing there is computed.
        folder: where to keep them; by default a place of its own in the cache folder.
        views: augmented views of each photo, beside the one as it is, which evaluation uses.
        augment: "shift" or "crop", of these views.
        dtype: "float32", or "float16" for half the size and three digits; by default float32,
            unless they are there in float16 already.
        sides: "image", "text", or both. A side that is left out stays as it is: pixels (then
            `pairs` are packed), or captions to be tokenised.
        batch_size: photos, or captions, that go through a backbone at a time.
        max_unreadable: as `pack` takes it. Photos that cannot be read are left out, counted and
            named.

    Raises:
        DataError: features that are not finite; too many photos that cannot be read; a folder
            with features of other weights or other data; too little room on the disk.
    """
    if isinstance(pairs, Features):
        check_features(model, pairs)
        return pairs
    _check_options(views, augment, dtype, sides)
    home = None if folder is None else user_path(folder).absolute()
    options: dict[str, Any] = {"dtype": dtype, "progress": progress}
    if "image" not in sides:
        image: Side | Store
        image = pairs = pack(
            pairs, model.image.image_size, max_unreadable=max_unreadable, progress=progress
        )
        rows = np.arange(len(pairs))
    elif isinstance(pairs, Pairs) and pairs.features is not None:
        expected: dict[str, Any] = {"backbone": image_backbone(model.image)}
        if views:  # none can be made without the photos
            expected |= {"views": views, "augment": augment}
        image = Side.open(pairs.features / "image", expected)
        rows = rows_of(image, pairs.image_ids)
    else:
        if views:
            options |= {"views": views, "augment": augment}
        batch = batch_size or (256 if model.device.type == "cuda" else SPAN)
        image = image_side(model, pairs, home, batch, **options)
        rows = pairs.rows if isinstance(pairs, Store) else np.arange(len(pairs))
        unreadable = image.manifest["values"]["unreadable"]
        if unreadable and isinstance(pairs, Pairs):  # of a store `pack` has said so
            line = unreadable_line({"images": image.manifest["values"]})
            check_share(len(unreadable), len(image.names), max_unreadable, line)
            warnings.warn(line, stacklevel=2)
    plain = pairs.pairs if isinstance(pairs, Store) else pairs
    text = None
    if "text" in sides and plain.captions:
        text = _shipped_text(model.text, plain)
        if text is None:
            options = {"dtype": dtype, "progress": progress}
            text = text_side(model, plain, home, batch_size or 256, **options)
    return join(plain, image, rows, text)


def data_for(
    model: DualEncoder,
    pairs: Pairs | Store | Features,
    *,
    max_unreadable: float = 0.01,
    progress: bool = True,
) -> Store | Features:
    """Make of pairs what a model trains on and is measured on: pixels, or kept features.

    Where pairs bring features of their images, captions become features as well if the model's text
    backbone is frozen; else they are tokenised.

    Raises:
        DataError: as `pack`; features of other weights than the model's.
    """
    if isinstance(pairs, Features) or (isinstance(pairs, Pairs) and pairs.features is not None):
        tokenised = any(p.requires_grad for p in model.text.backbone.parameters())
        sides = ["image"] if tokenised else ["image", "text"]
        return keep_features(model, pairs, sides=sides, progress=progress)
    size = model.image.image_size
    return pack(pairs, size, max_unreadable=max_unreadable, progress=progress)


def check_features(model: DualEncoder, features: Features) -> None:
    """Raise DataError unless the features are what the model's backbones compute."""
    sides: list[tuple[str, Side, str]] = []
    if isinstance(features.image, Store):
        pack(features.image, model.image.image_size)  # raises where it has another size
    else:
        sides.append(("image", features.image, image_backbone(model.image)))
    if features.text is not None:
        sides.append(("text", features.text, text_backbone(model.text)))
    for name, side, expected in sides:
        if side.manifest["origin"]["backbone"] != expected:
            raise DataError(
                f"the kept features in {side.folder} ({side.manifest['about']}) are not those of "
                f"this model's {name} backbone {getattr(model, name).backbone_name!r}: another "
                "backbone, or other weights. Compute them again: keep_features(model, pairs)"
            )


def refuse_trained(model: DualEncoder, features: Features) -> None:
    """Raise DataError if a backbone would be trained of which there are only kept features."""
    for side in ("image", "text"):
        trains = any(p.requires_grad for p in getattr(model, side).backbone.parameters())
        if trains and isinstance(getattr(features, side), Side):
            raise DataError(
                f"the {side} backbone cannot be trained on its kept features, which would not "
                "change with it. Train only the projections, or give the photos and captions"
            )


def _check_options(views: int, augment: str, dtype: str | None, sides: Sequence[str]) -> None:
    if views < 0:
        raise DataError(f"views is {views}; it must be 0 or more")
    if augment not in AUGMENTATIONS:
        raise DataError(f"augment is {augment!r}; choose {' or '.join(AUGMENTATIONS)}")
    if dtype not in (None, *DTYPES):
        raise DataError(f"dtype is {dtype!r}; choose {' or '.join(DTYPES)}")
    if isinstance(sides, str) or not sides or not set(sides) <= set(UNITS):
        raise DataError(f"sides is {sides!r}; give a list of image and text")


def _shipped_text(branch: TextEncoder, pairs: Pairs) -> Side | None:
    """The text side that the pairs bring, if it is of this backbone and of all captions."""
    if pairs.features is None:
        return None
    try:
        side = Side.open(pairs.features / "text")
    except MissingFile:
        return None
    if side.manifest["origin"]["backbone"] != text_backbone(branch):
        return None
    return side if (side.find(pairs.captions) >= 0).all() else None
