"""Image and text into one space: an image becomes 128 numbers, a caption becomes 128 numbers.

Each branch is a backbone (a ResNet; a BERT) that describes what it is given, and one linear
projection into the space that both share. The losses compare the two sides there, by cosine.
Nothing is normalised here: the losses and the metrics do it where their formulas say so.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmret_lib import __version__
from mmret_lib.data.store import Store
from mmret_lib.encoders import weights as files
from mmret_lib.encoders.image import ImageEncoder, MiniResNet
from mmret_lib.encoders.text import TextEncoder, train_wordpiece
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.records import read_json, write_json
from mmret_lib.files.whole import put_back, whole_folder

__all__ = ["DualEncoder", "ImageEncoder", "MiniResNet", "TextEncoder", "train_wordpiece"]

PARTS = ("all", "projections", "image", "text")
MODEL_VERSION = 1
SETTINGS = {  # what model.json holds, and of which kind each entry is
    "written_by": str,
    "dim": int,
    "standardise": bool,
    "image": {"backbone": str, "image_size": int, "channels_last": bool},
    "text": {"backbone": str, "pooling": str, "max_length": int},
}


class DualEncoder(nn.Module):
    """Both branches, `.image` and `.text`, into one space.

    Args:
        image: the image branch.
        text: the text branch, of the same embedding length.
        standardise: end each branch with a BatchNorm without affine parameters, so that in eval
            mode every dimension has mean 0 and deviation 1 by running statistics. Barlow Twins
            (Zbontar et al. 2021, arXiv 2103.03230) needs it: its loss standardises each dimension
            over the batch before correlating, so it never sees a branch's offset and scale per
            dimension, whereas the cosine that ranks does. Without it, matching pairs rank badly
            however low the loss.
    """

    def __init__(self, image: ImageEncoder, text: TextEncoder, standardise: bool = False) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.standardise = standardise
        self.dim: int = image.projection.out_features
        if text.projection.out_features != self.dim:
            raise ValueError(
                f"the branches' embeddings differ in length: image {self.dim}, "
                f"text {text.projection.out_features}"
            )
        self.image_norm, self.text_norm = self._norm(), self._norm()
        self.trains = "all"

    def _norm(self) -> nn.Module:
        return nn.BatchNorm1d(self.dim, affine=False) if self.standardise else nn.Identity()

    @classmethod
    def from_names(
        cls,
        image_backbone: str = "mini",
        image_weights: str | os.PathLike[str] | None = "mini",
        text_backbone: str | os.PathLike[str] = "mini",
        text_weights: str | None = "mini",
        dim: int = 128,
        pooling: str = "first",
        standardise: bool = False,
        captions: Iterable[str] | None = None,
        image_size: int | None = None,
        max_length: int = 64,
    ) -> "DualEncoder":
        """Build both branches; the arguments are those of ImageEncoder and TextEncoder."""
        image = ImageEncoder(image_backbone, image_weights, dim, image_size)
        text = TextEncoder(text_backbone, text_weights, dim, pooling, max_length, captions)
        return cls(image, text, standardise)

    @property
    def device(self) -> torch.device:
        return self.image.mean.device

    def forward(self, images: Tensor, tokens: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """For training: a batch of pairs -> (image_emb, text_emb), both (B, dim), not normalised.

        Args:
            images: (B, 3, H, W), uint8 or float in [0, 1], on the model's device.
            tokens: what `text.tokenize` gives for the B captions, on the model's device.
        """
        return self.standardised(self.image(images), self.text(**tokens))

    def standardised(self, image_emb: Tensor, text_emb: Tensor) -> tuple[Tensor, Tensor]:
        """What ends each branch, (B, dim) of the whole batch each; row b of both is one pair."""
        return self.image_norm(image_emb), self.text_norm(text_emb)

    def encode_images(self, images: Tensor | np.ndarray | Store, batch_size: int = 256) -> Tensor:
        """For search: (N, 3, H, W) uint8 (or float in [0, 1]) -> (N, dim) on the model's device.

        Without gradients and in eval mode, whatever mode the model is in.
        """
        parts = []
        with _at_rest(self):
            for start in range(0, len(images), batch_size):
                part = torch.as_tensor(images[start : start + batch_size])
                parts.append(self.image_norm(self.image(part.to(self.device))))
        return torch.cat(parts).float()

    def encode_texts(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """For search: N texts -> (N, dim), as `encode_images` does."""
        if isinstance(texts, str) or not len(texts):
            raise TypeError("encode_texts takes a list of at least one string")
        # Texts of like length share a batch, so that little of it is padding.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        embeddings = torch.empty(len(texts), self.dim, device=self.device)
        with _at_rest(self):
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                tokens = self.text.tokenize([texts[row] for row in rows])
                tokens = {name: value.to(self.device) for name, value in tokens.items()}
                embeddings[rows] = self.text_norm(self.text(**tokens)).to(embeddings.dtype)
        return embeddings

    def train_only(self, part: str) -> None:
        """Train "all", only the two "projections", only the "image" or only the "text" branch.

        What is frozen gets no gradient and stays in eval mode through every later `.train()`:
        else its BatchNorm statistics and its dropout would move on. The standardisation at the end
        of a branch is never frozen: it learns nothing, it measures the embeddings as they are.

        Raises:
            DataError: no such part.
        """
        if part not in PARTS:
            raise DataError(f"Cannot train only {part!r}: choose {', '.join(PARTS)}.")
        self.trains = part
        for module, trained in self._parts():
            module.requires_grad_(trained)
        self.train(self.training)

    def _parts(self) -> list[tuple[nn.Module, bool]]:
        """The four parts, each with whether `train_only` lets it train."""
        branches: list[tuple[str, Any]] = [("image", self.image), ("text", self.text)]
        parts: list[tuple[nn.Module, bool]] = []
        for name, branch in branches:
            parts.append((branch.backbone, self.trains in ("all", name)))
            parts.append((branch.projection, self.trains in ("all", name, "projections")))
        return parts

    def train(self, mode: bool = True) -> "DualEncoder":
        super().train(mode)
        for module, trained in self._parts():
            if not trained:
                module.eval()
        return self

    def parameter_groups(
        self, backbone_lr: float, projection_lr: float, weight_decay: float
    ) -> list[dict[str, Any]]:
        """What trains, grouped for an optimiser: backbones and projections at their own rates.

        Norms and biases, the parameters with one dimension, get no weight decay: pulling them to
        zero limits what a layer can express and prevents no overfitting.
        """
        groups = []
        for part, lr in (("backbone", backbone_lr), ("projection", projection_lr)):
            named = [*self.image.named_parameters(), *self.text.named_parameters()]
            mine = [p for name, p in named if name.startswith(part) and p.requires_grad]
            for decay, params in (
                (weight_decay, [p for p in mine if p.ndim > 1]),
                (0.0, [p for p in mine if p.ndim <= 1]),
            ):
                if params:
                    group = {"params": params, "lr": lr, "weight_decay": decay}
                    groups.append({"name": f"{part}, decay {decay:g}", **group})
        return groups

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model as a folder of its own; one that holds an older model is replaced.

        `model.safetensors` has the weights, `model.json` the settings, `text/` the vocabulary and
        the text backbone's sizes. The folder has its name only once all of it is written.

        Raises:
            DataError: the folder holds other things, which replacing it would delete.
        """
        with whole_folder(Path(folder), {"model.safetensors", "model.json", "text"}) as out:
            files.write_safetensors(out / "model.safetensors", self)
            self.text.backbone.config.save_pretrained(out / "text")
            self.text.tokenizer.save_pretrained(out / "text")
            write_json(out / "model.json", self._settings())

    def _settings(self) -> dict[str, Any]:
        return {
            "format": "mmret model",
            "version": MODEL_VERSION,
            "written_by": f"mmret {__version__}",
            "dim": self.dim,
            "standardise": self.standardise,
            "image": {
                "backbone": self.image.backbone_name,
                "image_size": self.image.image_size,
                "channels_last": self.image.memory_format == torch.channels_last,
            },
            "text": {
                "backbone": self.text.backbone_name,
                "pooling": self.text.pooling,
                "max_length": self.text.max_length,
            },
        }

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "DualEncoder":
        """Read what `save` wrote, in eval mode on the CPU; never asks the network.

        Raises:
            MissingFile: the folder or one of its files is not there.
            DataError: another version, damaged or foreign files, or a pickle among them.
        """
        # Absolute, because a relative name such as "model/text" could also be one on the hub.
        folder = Path(folder).absolute()
        put_back(folder)
        if not folder.is_dir():
            raise MissingFile(f"There is no model folder {folder}. Train a model first.")
        for path in folder.rglob("*"):
            files.refuse_pickle(path)
        settings = read_json(folder / "model.json", "mmret model", MODEL_VERSION, SETTINGS)
        if not (folder / "text").is_dir():
            raise MissingFile(f"{folder} lacks the folder text. Save the model again.")
        dim = settings["dim"]
        image = ImageEncoder(weights=None, dim=dim, **settings["image"])
        name = settings["text"].pop("backbone")
        text = TextEncoder(folder / "text", weights=None, dim=dim, **settings["text"])
        text.backbone_name = name
        model = cls(image, text, settings["standardise"])
        weights = folder / "model.safetensors"
        files.load_state(model, files.read_safetensors(weights), weights)
        return model.eval()


@contextmanager
def _at_rest(model: DualEncoder) -> Iterator[None]:
    """Eval mode and no gradients inside, the former mode again after."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
