"""A CLIP checkpoint as a `DualEncoder`: trained, evaluated and searched like the course's own.

    model = ClipEncoder.load("openai/clip-vit-large-patch14")   # or a folder with a CLIPModel

CLIP (arXiv 2103.00020) is built like the course's model: an image branch and a text branch that
each end in a linear projection into one space. Its image branch is a vision transformer, and the
features of a text are the state of its end token.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPModel, PreTrainedTokenizerBase

from mmret_lib.encoders.checkpoints import model_folder, read_clip
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.encoders.image import ImageEncoder
from mmret_lib.encoders.saved import TRAINED_ON, read_trained_on, write_trained_on
from mmret_lib.encoders.text import TextEncoder
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import user_path
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import whole_folder

# The colours that CLIP was trained with; a checkpoint may bring others in preprocessor_config.json.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
FILES = {"config.json", "model.safetensors", "preprocessor_config.json"}
FILES |= {"tokenizer.json", "tokenizer_config.json", TRAINED_ON}


class ClipImage(ImageEncoder):
    """CLIP's vision transformer and its projection: images (B, 3, S, S) -> (B, dim)."""

    def __init__(self, clip: CLIPModel, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        nn.Module.__init__(self)
        self.backbone_name = "clip"
        self.image_size: int = clip.config.vision_config.image_size
        self.crop = 1.0
        self.memory_format = torch.contiguous_format
        self.backbone = _PooledOutput(clip.vision_model)
        self.projection = clip.visual_projection
        self.features: int = clip.visual_projection.in_features
        # Saved, unlike ImageNet's: two checkpoints may differ only in these.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))


class _PooledOutput(nn.Module):
    """Run a vision transformer and keep the one vector for the whole image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, features)."""
        features: Tensor = self.model(pixel_values=pixel_values).pooler_output
        return features


class ClipText(TextEncoder):
    """CLIP's text transformer and its projection: token ids (B, L) -> (B, dim)."""

    def __init__(self, clip: CLIPModel, tokenizer: PreTrainedTokenizerBase) -> None:
        nn.Module.__init__(self)
        self.backbone_name = "clip"
        self.pooling = "end"
        self.max_length: int = clip.config.text_config.max_position_embeddings
        self.backbone = clip.text_model
        self.projection = clip.text_projection
        self.features: int = clip.text_projection.in_features
        self.tokenizer = tokenizer

    def extract_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Run the backbone alone: ids and mask, both (B, L) -> (B, features) of the end token."""
        output = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        end_state: Tensor = output.pooler_output
        return end_state


class ClipEncoder(DualEncoder):
    """Both branches of a CLIP; see `load`.

    Attributes:
        temperature: what the checkpoint divides similarities by, 1 / exp(logit_scale). Start the
            loss there: `SimCLR(model.temperature, positive_in_denominator=True)`, twice CLIP's.
    """

    image: ClipImage
    text: ClipText

    def __init__(
        self,
        clip: CLIPModel,
        tokenizer: PreTrainedTokenizerBase,
        mean: tuple[float, ...] = CLIP_MEAN,
        std: tuple[float, ...] = CLIP_STD,
    ) -> None:
        super().__init__(ClipImage(clip, mean, std), ClipText(clip, tokenizer))
        self.temperature = float((-clip.logit_scale.detach()).exp())
        self._clip = (clip,)  # in a tuple: as a submodule all weights would be there twice

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "ClipEncoder":
        """Open a CLIP by its folder or its name on the hub, in eval mode on the CPU.

        Raises:
            MissingFile: files that are not on this computer and cannot be downloaded; the message
                says where to put them.
            DataError: another kind of model, damaged files, or a pickle instead of safetensors.
        """
        place = model_folder(str(folder), optional=("preprocessor_config.json",))
        clip, tokenizer = read_clip(place)
        _check_end_token(place, clip, tokenizer)
        model = cls(clip, tokenizer, **_read_colours(place)).eval()
        model.trained_on = read_trained_on(place)
        return model

    def check_can_be_saved(self) -> None:
        """Any CLIP can be saved."""

    def save(
        self, folder: str | os.PathLike[str], share: str | os.PathLike[str] | None = None
    ) -> None:
        """Write a folder that both `load` and transformers' CLIPModel read; replaces an older one.

        Args:
            folder: gets its name only when all of it is written.
            share: has no effect: transformers keeps all weights of a CLIP in one file.

        Raises:
            DataError: the folder holds other things, which replacing it would delete.
        """
        with whole_folder(user_path(folder), FILES) as draft:
            self._clip[0].save_pretrained(draft, max_shard_size="1TB")
            self.text.tokenizer.save_pretrained(draft)
            colours = {
                "image_mean": self.image.mean.flatten().tolist(),
                "image_std": self.image.std.flatten().tolist(),
            }
            write_json(draft / "preprocessor_config.json", colours)
            write_trained_on(draft, self.trained_on)


def _check_end_token(folder: Path, clip: CLIPModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise DataError unless the tokenizer ends each text with CLIP's end token.

    Without it CLIP silently uses the first token, which is the same for every text.
    """
    token_ids = tokenizer("a")["input_ids"]
    end = clip.config.text_config.eos_token_id
    if end == 2:  # said by the oldest checkpoints, whose end token has the highest number
        end = max(token_ids)
    if token_ids[-1] != end or token_ids[0] == end:
        raise DataError(
            f"{folder}: the tokenizer makes {token_ids} of 'a', which does not end in CLIP's end "
            f"token {end}; tokenizer and config.json belong to different models"
        )


def _read_colours(folder: Path) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: tuple(content[f"image_{name}"])
            for name in ("mean", "std")
            if f"image_{name}" in content
        }
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}). Fetch it again.") from None
