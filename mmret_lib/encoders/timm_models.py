"""Build image backbones of the timm library, by name, with pretrained weights or without.

timm knows some thousand image models, and for each its pretrained weights, the size of the images
they were trained on and how the pixels were normalised. timm is asked for models and for these
facts; the weight files are found and read here, because only safetensors files may be opened.
"""

import difflib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmret_lib.encoders.weights import hub_files, read_safetensors
from mmret_lib.files.errors import DataError, short
from mmret_lib.files.places import shipped, user_path

POCKET = "tf_efficientnet_lite0"  # the model behind the backbone "pocket"


@dataclass(frozen=True)
class Preprocessing:
    """What becomes of a photo before it enters a backbone."""

    image_size: int  # pixels along the side of the square to which photos are decoded
    crop: float  # share of that side whose middle enters the backbone
    mean: Sequence[float]  # of each colour channel, for pixels in [0, 1]
    std: Sequence[float]

    @property
    def side(self) -> int:
        """Pixels along the side of what enters the backbone."""
        return middle(self.image_size, self.crop)


def middle(size: int, crop: float) -> int:
    """Return the side of the middle square that is `crop` of a square of `size` pixels.

    timm decodes to floor(side / crop) pixels; this rounds up, so that `side` comes out again.
    """
    return math.ceil(size * crop - 1e-6)


def build_timm(
    name: str,
    weights: str | os.PathLike[str] | None,
    *,
    image_size: int | None = None,
    crop: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[nn.Module, int, Preprocessing]:
    """Build a model of timm without its classifier.

    Args:
        name: as timm calls it, such as "resnet50" or with a tag "resnet50.a1_in1k".
        weights: "pretrained" (of the named tag, or of timm's default one), "pocket" (the ones that
            the course ships), a safetensors file, a folder with model.safetensors and perhaps a
            config.json as on the hub, or None for random ones.
        image_size, crop, mean, std: instead of what the folder's config.json or timm says.

    Returns:
        The backbone, (B, 3, side, side) -> (B, features); `features`; and the preprocessing.

    Raises:
        DataError: no such model, weights of another one, a size that it cannot take, a pickle.
        MissingFile: no such weights here, nor on the hub; the message says where to put them.
    """
    import timm

    known = _pretrained_cfg(name)
    path = None if weights is None else _weights_file(name, weights, known)
    published = {}
    if path is not None and weights != "pretrained":  # of the hub's own weights timm knows it all
        published = _published_cfg(path, name)
    state = None if path is None else read_safetensors(path)
    facts = timm.data.resolve_data_config(pretrained_cfg={**known, **published})
    preprocessing = Preprocessing(
        image_size=math.floor(facts["input_size"][1] / facts["crop_pct"]),
        crop=float(facts["crop_pct"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
    )
    image_size = image_size or published.get("image_size")
    given: dict[str, Any] = {"image_size": image_size, "crop": crop, "mean": mean, "std": std}
    preprocessing = replace(preprocessing, **{k: v for k, v in given.items() if v is not None})
    options = {}
    if known.get("fixed_input_size") and preprocessing.side != known["input_size"][1]:
        options["img_size"] = preprocessing.side  # position embeddings are made for one size
    backbone = _create(name, known, state, path, preprocessing, options)
    # Some models have a layer after the pooling that widens the features.
    features: int = getattr(backbone, "head_hidden_size", None) or backbone.num_features
    return backbone, features, preprocessing


def _create(
    name: str,
    known: dict[str, Any],
    state: dict[str, Tensor] | None,
    path: Path | None,
    preprocessing: Preprocessing,
    options: dict[str, Any],
) -> Any:
    """Let timm make the model, and fill in the weights `state` of the file `path`."""
    import timm

    # Without classes and label offset in the facts, timm compares all names of the weights; with
    # them it takes the classifier for replaced and would ignore that others are missing.
    overlay: dict[str, Any] = {"num_classes": 0, "label_offset": 0, "custom_load": False}
    if state is not None:
        classifiers = known.get("classifier") or ()
        for classifier in (classifiers,) if isinstance(classifiers, str) else classifiers:
            for part in ("weight", "bias"):
                state.pop(f"{classifier}.{part}", None)
        overlay["state_dict"] = state
    size = f"{preprocessing.image_size} pixels, of which {preprocessing.side} enter the model"
    try:
        backbone: Any = timm.create_model(
            name,
            pretrained=state is not None,
            pretrained_cfg_overlay=overlay,
            num_classes=0,
            **options,
        )
    except Exception as error:  # timm's models and their readers of weights raise nearly anything
        problem = f"{' '.join(str(error).split()) or type(error).__name__:.300}"
        if path is not None and not options:
            raise DataError(
                f"{path} does not hold the weights of timm's {name} ({problem} …). "
                "Give the name of the model that the file belongs to: --image-backbone timm/NAME."
            ) from error
        filled = f", with the weights in {path}" if path else ""
        raise DataError(
            f"timm's {name} cannot be built for images of {size}{filled} ({problem} …). "
            "Leave out --image-size, or choose another."
        ) from error
    backbone.pretrained_cfg.pop("state_dict", None)  # a second copy of the weights
    patch = getattr(getattr(backbone, "patch_embed", None), "patch_size", None) or (1, 1)
    if options and preprocessing.side % patch[0]:
        raise DataError(
            f"timm's {name} cuts its image into patches of {patch[0]} pixels, and "
            f"{size}: choose an --image-size of which a multiple of {patch[0]} enters, such as "
            f"{_fitting(preprocessing, patch[0])}."
        )
    return backbone


def _fitting(preprocessing: Preprocessing, patch: int) -> int:
    """The nearest image size of which a multiple of the patch enters the model."""
    patches = max(1, round(preprocessing.side / patch))
    return math.floor(patches * patch / preprocessing.crop)


def _pretrained_cfg(name: str) -> dict[str, Any]:
    """What timm knows about a model's pretrained weights.

    Raises:
        DataError: no such model or tag; names the nearest ones.
    """
    import timm

    architecture, _, tag = name.partition(".")
    try:
        known = timm.get_pretrained_cfg(name)
    except RuntimeError:  # the model is there, the tag is not
        names = timm.list_pretrained(f"{architecture}.*")
        raise DataError(
            f"timm's {architecture} has no weights of the tag {short(tag)}; it has: "
            f"{', '.join(other.partition('.')[2] for other in names) or 'none'}."
        ) from None
    if known is None:
        near = difflib.get_close_matches(architecture, timm.list_models(), n=4, cutoff=0.5)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise DataError(f"timm {timm.__version__} has no image model {short(name)}{hint}.")
    return dict(known.to_dict())


def _weights_file(name: str, weights: str | os.PathLike[str], known: dict[str, Any]) -> Path:
    """The safetensors file that `weights` stands for."""
    if weights == "pocket":
        path = shipped("pocket/image", "Or train without: --image-weights none.")
    elif weights == "pretrained":
        repo = known.get("hf_hub_id")
        if not repo:
            raise DataError(
                f"timm knows no pretrained weights of {name} on the model hub: give a file "
                "(--image-weights FILE.safetensors), or train without (--image-weights none)."
            )
        file = known.get("hf_hub_filename") or ""
        file = file if file.endswith(".safetensors") else "model.safetensors"
        return hub_files(repo, (file,), (), "train without them: --image-weights none") / file
    else:
        path = user_path(weights)
    return path / "model.safetensors" if path.is_dir() else path


def _published_cfg(path: Path, name: str) -> dict[str, Any]:
    """What the config.json beside a weights file says of the preprocessing, as on the hub.

    Raises:
        DataError: it is damaged, or describes another model.
    """
    config = path.parent / "config.json"
    if not config.is_file():
        return {}
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        published = {**content.get("pretrained_cfg", {}), "image_size": content.get("image_size")}
        theirs = content.get("architecture")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{config} cannot be read ({error}); fetch it again.") from error
    architecture = name.split(".")[0]
    if theirs not in (None, architecture):
        raise DataError(
            f"{path} holds the weights of timm's {short(theirs)} by its config.json, not those of "
            f"{architecture}: give --image-backbone timm/{theirs}."
        )
    fits: dict[str, Callable[[Any], bool]] = {
        "image_size": lambda value: isinstance(value, int) and value > 0,
        "input_size": lambda value: _three(value) and all(isinstance(side, int) for side in value),
        "crop_pct": lambda value: isinstance(value, int | float) and 0 < value <= 1,
        "mean": _three,
        "std": lambda value: _three(value) and all(deviation > 0 for deviation in value),
    }
    facts = {key: published[key] for key in fits if published.get(key) is not None}
    for key, value in facts.items():
        if not fits[key](value):
            raise DataError(f"{config}: {key} cannot be {short(value)}; fetch it again.")
    return facts


def _three(values: Any) -> bool:
    """Whether these are three finite numbers, none negative."""
    if not isinstance(values, list) or len(values) != 3:
        return False
    return all(isinstance(value, int | float) and 0 <= value < math.inf for value in values)
