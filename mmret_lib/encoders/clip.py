"""A CLIP checkpoint as a `DualEncoder`: trained, evaluated and searched like the course's own.

    model = ClipEncoder.load("openai/clip-vit-large-patch14")   # or a folder with a CLIPModel

CLIP (arXiv 2103.00020) is built like the course's model, an image branch and a text branch that
each end in a linear projection into one space; its image branch is a vision transformer, and a text
is described by the state of its end token. So all that is needed is to say which part is which.
"""

import json
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoConfig, CLIPModel

from mmret_lib.encoders import weights as files
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.image import ImageEncoder
from mmret_lib.encoders.text import (
    LOCAL,
    TextEncoder,
    _model_folder,
    _quiet_transformers,
    _read_tokenizer,
)
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import whole_folder

# The colours that CLIP was trained with; a checkpoint may bring others in preprocessor_config.json.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class _Pooled(nn.Module):
    """A transformer of which only the one vector for the whole input is wanted."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, features)"""
        return self.model(pixel_values=pixel_values).pooler_output


class ClipImage(ImageEncoder):
    """CLIP's vision transformer and its projection: images (B, 3, S, S) -> (B, dim)."""

    def __init__(self, clip: CLIPModel, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        nn.Module.__init__(self)
        self.backbone_name = "clip"
        self.image_size: int = clip.config.vision_config.image_size
        self.memory_format = torch.contiguous_format
        self.backbone = _Pooled(clip.vision_model)
        self.projection = clip.visual_projection
        self.features: int = clip.visual_projection.in_features
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)


class ClipText(TextEncoder):
    """CLIP's text transformer and its projection: token ids (B, L) -> (B, dim)."""

    def __init__(self, clip: CLIPModel, folder: Path) -> None:
        nn.Module.__init__(self)
        settings = clip.config.text_config
        self.backbone_name = "clip"
        self.pooling = "end"
        self.max_length: int = settings.max_position_embeddings
        self.backbone = clip.text_model
        self.projection = clip.text_projection
        self.features: int = clip.text_projection.in_features
        self.tokenizer = _read_tokenizer(folder, settings.pad_token_id)
        ids = self.tokenizer("a")["input_ids"]
        # Where the end token is missing CLIP silently takes the first one, the same for every text.
        # In its oldest checkpoints, which say 2, the end token is the one with the highest number.
        end = max(ids) if settings.eos_token_id == 2 else settings.eos_token_id
        if ids[-1] != end or ids[0] == end:
            raise DataError(
                f"{folder}: the tokenizer makes {ids} of 'a', which does not end in CLIP's end "
                f"token {end}; tokenizer and config.json belong to different models"
            )

    def describe(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ids and mask, both (B, L) -> the end token's state (B, features)."""
        return self.backbone(input_ids=input_ids, attention_mask=attention_mask).pooler_output


class ClipEncoder(DualEncoder):
    """Both branches of a CLIP; see `load`.

    Attributes:
        temperature: what the checkpoint divides similarities by, 1 / exp(logit_scale). Start the
            loss there: `SimCLR(model.temperature, positive_in_denominator=True)` is twice its own.
    """

    image: ClipImage
    text: ClipText

    def __init__(self, clip: CLIPModel, folder: Path) -> None:
        mean, std = _colours(folder)
        super().__init__(ClipImage(clip, mean, std), ClipText(clip, folder))
        self.temperature = float((-clip.logit_scale.detach()).exp())
        self._clip = (clip,)  # in a tuple: as a submodule all weights would be there twice

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "ClipEncoder":
        """A CLIP by its folder or its name on the hub, in eval mode on the CPU.

        Raises:
            MissingFile: files neither here nor to be fetched; says where to put them.
            DataError: another kind of model, damaged files, or a pickle instead of safetensors.
        """
        place = _model_folder(str(folder), with_weights=True)
        if not any(place.glob("model*.safetensors")):
            for path in place.iterdir() if place.is_dir() else ():
                files.refuse_pickle(path)
            raise MissingFile(f"{place} lacks model.safetensors, the CLIP's weights.")
        try:
            with _quiet_transformers():
                kind = AutoConfig.from_pretrained(place, **LOCAL).model_type
                if kind != "clip":
                    raise ValueError(f"it is of type {kind!r}")
                clip, report = CLIPModel.from_pretrained(
                    place,
                    dtype=torch.float32,
                    use_safetensors=True,
                    output_loading_info=True,
                    **LOCAL,
                )
            if missing := sorted(report["missing_keys"]):
                raise ValueError(f"weights are missing: {', '.join(missing[:3])}")
            return cls(clip, place).eval()
        except (DataError, MissingFile):
            raise
        # Damage surfaces as whatever the first line of transformers to trip over it raises.
        except Exception as error:
            raise DataError(
                f"{place} cannot be used as a CLIP ({' '.join(str(error).split())[:300]}). It must "
                "be a complete CLIPModel in the layout that transformers writes."
            ) from error

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder that both `load` and transformers' CLIPModel read."""
        with whole_folder(Path(folder)) as out:
            self._clip[0].save_pretrained(out)
            self.text.tokenizer.save_pretrained(out)
            colours = {
                "image_mean": self.image.mean.flatten().tolist(),
                "image_std": self.image.std.flatten().tolist(),
            }
            write_json(out / "preprocessor_config.json", colours)


def _colours(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return CLIP_MEAN, CLIP_STD
    said = json.loads(path.read_text(encoding="utf-8"))
    return tuple(said.get("image_mean", CLIP_MEAN)), tuple(said.get("image_std", CLIP_STD))
