"""The folder of a saved model, with everything that opening it takes; no network is asked.

    FOLDER/model.json            the settings of both branches, and the weights that each began with
    FOLDER/model.safetensors     the weights, except those in the next file
    FOLDER/frozen.safetensors    the backbones that were frozen, where there are any
    FOLDER/text/                 the vocabulary, and the sizes of the text backbone
    FOLDER/trained_on.npy        the hashes of the images that the model was trained on

Frozen weights are the same in each model of a training, and often most of it. They are written
once: a second folder on the same disk gets the same file by a hard link. To the system a hard link
is a file like any other, so each folder can be copied, moved or deleted without the other.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mmret_lib import __version__
from mmret_lib.data.pixel_hash import UNKNOWN, Hashes
from mmret_lib.encoders.image import ImageEncoder
from mmret_lib.encoders.text import TextEncoder
from mmret_lib.encoders.weights import (
    digest_of,
    module_digest,
    read_safetensors,
    refuse_pickle,
    write_tensors,
)
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import refuse_no_text
from mmret_lib.files.records import read_json, read_note, write_json
from mmret_lib.files.whole import link_or_copy, put_back, whole_folder

if TYPE_CHECKING:
    from mmret_lib.encoders.dual import DualEncoder

VERSION = 2
FROZEN = "frozen.safetensors"
TRAINED_ON = "trained_on.npy"
FILES = {"model.safetensors", FROZEN, "model.json", "text", TRAINED_ON}
_NAME_OR_NONE = (str, type(None))
SETTINGS = {  # the entries of model.json, and the type of each
    "written_by": str,
    "dim": int,
    "standardise": bool,
    "frozen": _NAME_OR_NONE,  # the digest of the frozen weights
    "image": {
        "backbone": str,
        "weights": _NAME_OR_NONE,
        "image_size": int,
        "channels_last": bool,
        "crop": float,
        "mean": list,
        "std": list,
    },
    "text": {"backbone": str, "weights": _NAME_OR_NONE, "pooling": str, "max_length": int},
}
SETTINGS_1 = {  # of version 1, which had everything in one file and the backbones of then
    "written_by": str,
    "dim": int,
    "standardise": bool,
    "image": {"backbone": str, "image_size": int, "channels_last": bool},
    "text": {"backbone": str, "pooling": str, "max_length": int},
}


def split_frozen(
    state: dict[str, Tensor], branches: list[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split a model's state into (everything else, the backbones of these branches)."""
    prefixes = tuple(f"{name}.backbone." for name in branches)
    frozen = {name: value for name, value in state.items() if name.startswith(prefixes)}
    return {name: value for name, value in state.items() if name not in frozen}, frozen


def write_model(model: "DualEncoder", folder: Path, share: Path | None = None) -> None:
    """Write a model folder; one that holds an older model is replaced.

    Args:
        model: its branches must be of the classes that `read_branches` makes.
        folder: gets its name only when all of it is written.
        share: another model folder. Where its frozen weights are the same ones, its file is used.

    Raises:
        DataError: the folder holds other things, which replacing it would delete.
    """
    refuse_no_text(folder)
    image, text = model.image, model.text
    state, frozen = split_frozen(model.state_dict(), model.frozen_backbones())
    digest = module_digest(model, frozen) if frozen else None
    with whole_folder(folder, FILES) as draft:
        write_tensors(draft / "model.safetensors", state)
        if digest and not any(
            _take_frozen(place / FROZEN, draft / FROZEN, digest)
            for place in (folder, share)
            if place
        ):
            write_tensors(draft / FROZEN, frozen, sha256=digest)
        text.backbone.config.save_pretrained(draft / "text")
        text.tokenizer.save_pretrained(draft / "text")
        settings = {
            "format": "mmret model",
            "version": VERSION,
            "written_by": f"mmret {__version__}",
            "dim": model.dim,
            "standardise": model.standardise,
            "frozen": digest,
            "image": {
                "backbone": image.backbone_name,
                "weights": image.pretrained_weights,
                "image_size": image.image_size,
                "channels_last": image.memory_format == torch.channels_last,
                "crop": float(image.crop),
                "mean": image.mean.flatten().tolist(),
                "std": image.std.flatten().tolist(),
            },
            "text": {
                "backbone": text.backbone_name,
                "weights": text.pretrained_weights,
                "pooling": text.pooling,
                "max_length": text.max_length,
            },
        }
        write_json(draft / "model.json", settings)
        write_trained_on(draft, model.trained_on)


def write_trained_on(folder: Path, hashes: Hashes) -> None:
    """Write the hashes of the images that a model was trained on into its folder."""
    np.save(folder / TRAINED_ON, hashes, allow_pickle=False)


def read_trained_on(folder: Path) -> Hashes:
    """Read what `write_trained_on` wrote: uint64 (n,).

    A model of an older version has no such file, nor has a published one. Which images it was
    trained on is then not known, and the answer is one `UNKNOWN`.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / TRAINED_ON
    try:
        hashes: Hashes = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return np.array([UNKNOWN], np.uint64)
    except Exception as error:  # a damaged header makes numpy raise nearly anything
        raise DataError(f"{path} cannot be read ({error}). Copy the folder again.") from None
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise DataError(f"{path} holds {hashes.dtype} {hashes.shape}. Copy the folder again.")
    return hashes


def _take_frozen(source: Path, target: Path, digest: str) -> bool:
    """Link or copy a file with frozen weights, if it is there and holds those of this digest."""
    try:
        with safe_open(source, "pt") as file:
            if (file.metadata() or {}).get("sha256") != digest:
                return False
        source.chmod(source.stat().st_mode)  # fails for a file of another user: not to be shared
        link_or_copy(source, target)
    except (OSError, SafetensorError):
        return False
    return True


def read_branches(folder: Path) -> tuple[ImageEncoder, TextEncoder, bool]:
    """Build the branches of a saved model, with random weights, and say if they are standardised.

    Args:
        folder: absolute, because a relative "model/text" could also be a name on the hub.

    Raises:
        MissingFile: the folder or one of its files is not there.
        DataError: another version, damaged or foreign files, or a pickle among them.
    """
    put_back(folder)
    if not folder.is_dir():
        raise MissingFile(f"There is no model folder {folder}. Train a model first.")
    for path in folder.rglob("*"):
        refuse_pickle(path)
    settings = _read_settings(folder)
    if not (folder / "text").is_dir():
        raise MissingFile(f"{folder} lacks the folder text. Save the model again.")
    dim, of_image, of_text = settings["dim"], settings["image"], settings["text"]
    _check_preprocessing(of_image, folder / "model.json")
    started_from = of_image.pop("weights", None), of_text.pop("weights", None)
    image = ImageEncoder(weights=None, dim=dim, **of_image)
    text_backbone = of_text.pop("backbone")
    text = TextEncoder(folder / "text", weights=None, dim=dim, **of_text)
    text.backbone_name = text_backbone
    image.pretrained_weights, text.pretrained_weights = started_from
    return image, text, settings["standardise"]


def read_state(folder: Path) -> dict[str, Tensor]:
    """Read all weights of a saved model, the frozen ones too.

    Raises:
        MissingFile: a file is not there.
        DataError: a file is damaged, or the frozen weights are those of another model.
    """
    state = read_safetensors(folder / "model.safetensors")
    if digest := _read_settings(folder).get("frozen"):
        frozen = read_safetensors(folder / FROZEN)
        if digest_of(frozen) != digest:
            raise DataError(
                f"{folder / FROZEN} does not hold the frozen weights that model.json names: it is "
                "damaged or belongs to another model. Copy the whole folder again, or train again."
            )
        state |= frozen
    return state


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / "model.json"
    if read_note(path).get("version") == 1:
        return read_json(path, "mmret model", 1, SETTINGS_1)
    return read_json(path, "mmret model", VERSION, SETTINGS)


def _check_preprocessing(image: dict[str, Any], path: Path) -> None:
    """Check which part of an image enters the backbone, and how its colours are normalised."""
    for name in ("mean", "std") if "mean" in image else ():
        if len(image[name]) != 3 or not all(isinstance(value, float) for value in image[name]):
            raise DataError(f"{path}: image.{name} must be three numbers. Save the model again.")
    if not 0 < image.get("crop", 1.0) <= 1:
        raise DataError(f"{path}: image.crop must lie in 0…1. Save the model again.")
