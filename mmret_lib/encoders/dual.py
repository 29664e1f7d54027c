"""The course's model: an image branch and a text branch that embed into one space.

Each branch is a backbone (a ResNet; a BERT) that turns its input into features, and one linear
projection into the space that both share. The losses compare the two sides there, by cosine.
Nothing is normalised here: the losses and the metrics do it where their formulas say so.
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmret_lib import __version__
from mmret_lib.data.store import Store
from mmret_lib.encoders.image import ImageEncoder
from mmret_lib.encoders.text import TextEncoder
from mmret_lib.encoders.weights import (
    load_state,
    read_safetensors,
    refuse_pickle,
    write_safetensors,
)
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import user_path
from mmret_lib.files.records import read_json, write_json
from mmret_lib.files.whole import put_back, whole_folder

# What trains of a branch; and what `train_only` says of both at once: (image branch, text branch).
PARTS = ("whole", "projection", "nothing")
TRAINABLE_PARTS = {
    "all": ("whole", "whole"),
    "projections": ("projection", "projection"),
    "image": ("whole", "nothing"),
    "text": ("nothing", "whole"),
}
MODEL_VERSION = 1
FILES = {"model.safetensors", "model.json", "text"}
SETTINGS = {  # the entries of model.json, and the type of each
    "written_by": str,
    "dim": int,
    "standardise": bool,
    "image": {"backbone": str, "image_size": int, "channels_last": bool},
    "text": {"backbone": str, "pooling": str, "max_length": int},
}


class DualEncoder(nn.Module):
    """A model with an image branch, `.image`, and a text branch, `.text`, that share one space.

    Args:
        image: the image branch.
        text: the text branch, of the same embedding length.
        standardise: end each branch with a BatchNorm without affine parameters, so that in eval
            mode every dimension has mean 0 and deviation 1 by running statistics. Barlow Twins
            (Zbontar et al. 2021, arXiv 2103.03230) needs it: its loss standardises each dimension
            over the batch, so a branch's offset and scale per dimension do not change the loss, but
            they do change the cosines that rank. Without BatchNorms, matching pairs rank badly even
            at a low loss.

    Attributes:
        trained_parts: "image" and "text" -> "whole", "projection" or "nothing"; see `train_only`.
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
        self.image_norm, self.text_norm = (
            nn.BatchNorm1d(self.dim, affine=False) if standardise else nn.Identity()
            for _ in range(2)
        )
        self.trained_parts = {"image": "whole", "text": "whole"}
        self._random_weights = {
            name: _few_weights(branch.backbone)
            for name, branch in self._branches().items()
            if getattr(branch, "pretrained_weights", "its own") is None
        }

    def _branches(self) -> dict[str, ImageEncoder | TextEncoder]:
        return {"image": self.image, "text": self.text}

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
        """The device that the model is on."""
        return self.image.mean.device

    def forward(self, images: Tensor, tokens: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Embed a batch of pairs for training.

        Args:
            images: (B, 3, H, W), uint8 or float in [0, 1], on the model's device; or their kept
                features (B, image.features).
            tokens: what `text.tokenize` gives for the B captions, on the model's device; or
                "features" -> their kept features (B, text.features).

        Returns:
            image_emb and text_emb, both (B, dim), not normalised.
        """
        return self.standardised(self.image(images), self.text(**tokens))

    def standardised(self, image_emb: Tensor, text_emb: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the BatchNorms, if there are any, to the embeddings of a batch, (B, dim) each."""
        return self.image_norm(image_emb), self.text_norm(text_emb)

    def encode_images(
        self, images: Tensor | npt.NDArray[np.uint8] | Store, batch_size: int = 256
    ) -> Tensor:
        """Embed images for search, in eval mode and without gradients.

        Args:
            images: (N, 3, H, W), uint8 or float in [0, 1].
            batch_size: images that go through the model at a time.

        Returns:
            (N, dim), float32 on the model's device, not normalised.
        """
        parts = []
        with _eval_mode(self):
            for start in range(0, len(images), batch_size):
                part = torch.as_tensor(images[start : start + batch_size])
                parts.append(self.image_norm(self.image(part.to(self.device))))
        return torch.cat(parts).float()

    def encode_texts(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Embed N texts for search: (N, dim), as `encode_images` does.

        Raises:
            TypeError: not a list of at least one string.
        """
        if isinstance(texts, str) or not len(texts):
            raise TypeError("encode_texts takes a list of at least one string")
        # Texts of like length share a batch, so that little of it is padding.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        embeddings = torch.empty(len(texts), self.dim, device=self.device)
        with _eval_mode(self):
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                tokens = self.text.tokenize([texts[row] for row in rows])
                tokens = {name: value.to(self.device) for name, value in tokens.items()}
                embeddings[rows] = self.text_norm(self.text(**tokens)).to(embeddings.dtype)
        return embeddings

    def train_only(
        self, part: str = "all", image: str | None = None, text: str | None = None
    ) -> None:
        """Choose what trains, and freeze the rest.

        A frozen part gets no gradient and stays in eval mode through every later `.train()`: else
        its BatchNorm statistics would change and its dropout would go on. The BatchNorms of
        `standardise` are never frozen: they have no weights, they only measure the embeddings.

        >>> model.train_only("projections")
        >>> model.train_only(image="projection", text="whole")  # locked-image tuning

        Args:
            part: "all", the two "projections", the "image" branch or the "text" branch.
            image: what trains of the image branch, "whole", its "projection" or "nothing"; None is
                as `part` says.
            text: what trains of the text branch.

        Raises:
            DataError: no such part, or nothing at all would train.
        """
        if part not in TRAINABLE_PARTS:
            raise DataError(f"Cannot train only {part!r}: choose {', '.join(TRAINABLE_PARTS)}.")
        parts = {}
        for name, given, usual in zip(
            ("image", "text"), (image, text), TRAINABLE_PARTS[part], strict=True
        ):
            if given is not None and given not in PARTS:
                raise DataError(
                    f"Cannot train {given!r} of the {name} branch: choose {', '.join(PARTS)}."
                )
            parts[name] = usual if given is None else given
        if set(parts.values()) == {"nothing"}:
            raise DataError(
                "Nothing of either branch would train: choose whole or projection for one of them "
                "(--train-image, --train-text)."
            )
        chosen_anew, self.trained_parts = parts != self.trained_parts, parts
        for module, trained in self._parts():
            module.requires_grad_(trained)
        self.train(self.training)
        for name in self.random_backbones() if chosen_anew else ():
            if parts[name] != "whole":
                warnings.warn(
                    f"the {name} backbone has random weights and would stay as it is, so it tells "
                    f"little apart: give it pretrained weights (--{name}-weights) or train it "
                    f"(--train-{name} whole)",
                    stacklevel=2,
                )

    @property
    def trains_backbones(self) -> bool:
        """Whether any backbone trains, and not only projections."""
        return "whole" in self.trained_parts.values()

    def random_backbones(self) -> list[str]:
        """List the branches, "image" or "text", whose backbone has the random weights of its start.

        One that was trained since, or got weights from a file, is not among them.
        """
        branches = self._branches()
        return [
            name
            for name, start in self._random_weights.items()
            if torch.equal(start, _few_weights(branches[name].backbone))
        ]

    def _parts(self) -> Iterator[tuple[nn.Module, bool]]:
        """Yield backbones and projections, each with whether it trains."""
        for name, branch in self._branches().items():
            yield branch.backbone, self.trained_parts[name] == "whole"
            yield branch.projection, self.trained_parts[name] != "nothing"

    def train(self, mode: bool = True) -> "DualEncoder":
        """Set training mode as for any module, but leave what is frozen in eval mode."""
        super().train(mode)
        for module, trained in self._parts():
            if not trained:
                module.eval()
        return self

    def parameter_groups(
        self,
        backbone_lr: float,
        projection_lr: float,
        weight_decay: float,
        image_lr: float | None = None,
        text_lr: float | None = None,
    ) -> list[dict[str, Any]]:
        """Group what trains for an optimiser, backbones and projections at their own rates.

        Norms and biases, the parameters with one dimension, get no weight decay: pulling them to
        zero limits what a layer can express and prevents no overfitting.

        Args:
            backbone_lr: peak learning rate of both backbones.
            projection_lr: of both projections.
            weight_decay: of matrices and kernels.
            image_lr: of the image branch's backbone, where it is not `backbone_lr`.
            text_lr: of the text branch's backbone.
        """
        image, text = "image.backbone.", "text.backbone."
        image_lr = backbone_lr if image_lr is None else image_lr
        text_lr = backbone_lr if text_lr is None else text_lr
        parts: list[tuple[str, tuple[str, ...], float]]
        parts = [("image backbone", (image,), image_lr), ("text backbone", (text,), text_lr)]
        if image_lr == text_lr:  # one group, as in the snapshots of older versions
            parts = [("backbone", (image, text), image_lr)]
        parts.append(("projection", ("image.projection.", "text.projection."), projection_lr))
        groups = []
        named = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        for part, names, lr in parts:
            trained = [p for name, p in named if name.startswith(names)]
            for decay, params in (
                (weight_decay, [p for p in trained if p.ndim > 1]),
                (0.0, [p for p in trained if p.ndim <= 1]),
            ):
                if params:
                    group = {"params": params, "lr": lr, "weight_decay": decay}
                    groups.append({"name": f"{part}, decay {decay:g}", **group})
        return groups

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model as a folder of its own; one that holds an older model is replaced.

        `model.safetensors` has the weights, `model.json` the settings, `text/` the vocabulary and
        the text backbone's sizes. The folder gets its name only when all of it is written.

        Raises:
            DataError: the folder holds other things, which replacing it would delete; or a branch
                is of a class that `load` does not know.
        """
        for branch, kind in ((self.image, ImageEncoder), (self.text, TextEncoder)):
            if type(branch) is not kind:
                raise DataError(
                    f"{folder}: a {type(branch).__name__} cannot be saved as part of a "
                    f"DualEncoder: load would make it a plain {kind.__name__}. Save a whole CLIP "
                    "as a ClipEncoder, and a class of your own by its state_dict."
                )
        with whole_folder(user_path(folder), FILES) as draft:
            write_safetensors(draft / "model.safetensors", self)
            self.text.backbone.config.save_pretrained(draft / "text")
            self.text.tokenizer.save_pretrained(draft / "text")
            settings = {
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
            write_json(draft / "model.json", settings)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "DualEncoder":
        """Open what `save` wrote, in eval mode on the CPU; never asks the network.

        `load_model` opens this or a CLIP, whichever the folder holds.

        Raises:
            MissingFile: the folder or one of its files is not there.
            DataError: another version, damaged or foreign files, or a pickle among them.
        """
        # Absolute, because a relative name such as "model/text" could also be one on the hub.
        folder = user_path(folder).absolute()
        put_back(folder)
        if not folder.is_dir():
            raise MissingFile(f"There is no model folder {folder}. Train a model first.")
        for path in folder.rglob("*"):
            refuse_pickle(path)
        settings = read_json(folder / "model.json", "mmret model", MODEL_VERSION, SETTINGS)
        if not (folder / "text").is_dir():
            raise MissingFile(f"{folder} lacks the folder text. Save the model again.")
        dim = settings["dim"]
        image = ImageEncoder(weights=None, dim=dim, **settings["image"])
        backbone_name = settings["text"].pop("backbone")
        text = TextEncoder(folder / "text", weights=None, dim=dim, **settings["text"])
        text.backbone_name = backbone_name
        model = cls(image, text, settings["standardise"])
        weights = folder / "model.safetensors"
        load_state(model, read_safetensors(weights), weights)
        return model.eval()


@contextmanager
def _eval_mode(model: DualEncoder) -> Iterator[None]:
    """Use eval mode and no gradients inside the block; then restore the former mode."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _few_weights(backbone: nn.Module) -> Tensor:
    """Copy a few of a backbone's last matrix: they change with any training and any loading."""
    matrices = [parameter for parameter in backbone.parameters() if parameter.ndim > 1]
    return matrices[-1].detach().flatten()[:8].cpu().clone() if matrices else torch.empty(0)
