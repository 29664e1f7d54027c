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

from mmret_lib.data.features import Features
from mmret_lib.data.pixel_hash import Hashes
from mmret_lib.data.store import Store
from mmret_lib.encoders.image import ImageEncoder
from mmret_lib.encoders.saved import (
    read_branches,
    read_state,
    read_trained_on,
    write_model,
)
from mmret_lib.encoders.text import TextEncoder
from mmret_lib.encoders.trainable import chosen_parts, few_weights, parameter_groups, usual_lr
from mmret_lib.encoders.weights import load_state
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import user_path


class DualEncoder(nn.Module):
    """A model with an image branch, `.image`, and a text branch, `.text`, that share one space.

    Args:
        image: the image branch.
        text: the text branch, of the same embedding length.
        standardise: end each branch with a BatchNorm without affine parameters, so that in eval
            mode every dimension has mean 0 and deviation 1 by running statistics. Barlow Twins
            (Zbontar et al. 2021, arXiv 2103.03230) needs it: its loss standardises each dimension
            over the batch, so a branch's offset and scale per dimension do not change the loss, but
            they do change the cosines that rank. Of models trained without BatchNorms it is the
            offset that costs recall (data/results/offsets.csv).

    Attributes:
        trained_parts: "image" and "text" -> "whole", "projection" or "nothing"; see `train_only`.
        trained_on: uint64 (n,), the hashes of the images that it was trained on
            (`data.pixel_hash`); `UNKNOWN` among them stands for images that are not known.
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
        self.trained_on: Hashes = np.empty(0, np.uint64)
        self._random_weights = {
            name: few_weights(branch.backbone)
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
        pooling: str = "auto",
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
        self, images: Tensor | npt.NDArray[Any] | Store | Features, batch_size: int = 256
    ) -> Tensor:
        """Embed images for search, in eval mode and without gradients.

        Args:
            images: (N, 3, H, W), uint8 or float in [0, 1]; or their kept features
                (N, image.features), float.
            batch_size: images that go through the model at a time.

        Returns:
            (N, dim), float32 on the model's device, not normalised.
        """
        parts = []
        with eval_mode(self):
            for start in range(0, len(images), batch_size):
                part = torch.as_tensor(images[start : start + batch_size])
                parts.append(self.image_norm(self.image(part.to(self.device))))
        return torch.cat(parts).float()

    def encode_texts(
        self, texts: Sequence[str] | npt.NDArray[np.float32] | Tensor, batch_size: int = 256
    ) -> Tensor:
        """Embed N texts for search: (N, dim), as `encode_images` does.

        Args:
            texts: a list of them; or their kept features (N, text.features), float.
            batch_size: texts that go through the model at a time.

        Raises:
            TypeError: not a list of at least one string.
        """
        if isinstance(texts, np.ndarray | Tensor):
            with eval_mode(self):
                features = torch.as_tensor(texts).to(self.device)
                emb: Tensor = self.text_norm(self.text(features=features))
            return emb.float()
        if isinstance(texts, str) or not len(texts):
            raise TypeError("encode_texts takes a list of at least one string")
        # Texts of like length share a batch, so that little of it is padding.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        embeddings = torch.empty(len(texts), self.dim, device=self.device)
        with eval_mode(self):
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
        parts = chosen_parts(part, image, text)
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
            if torch.equal(start, few_weights(branches[name].backbone))
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
        backbone_lr: float | None,
        projection_lr: float,
        weight_decay: float,
        image_lr: float | None = None,
        text_lr: float | None = None,
    ) -> list[dict[str, Any]]:
        """Group what trains for an optimiser, backbones and projections at their own rates.

        Norms and biases, the parameters with one dimension, get no weight decay: pulling them to
        zero limits what a layer can express and prevents no overfitting.

        Args:
            backbone_lr: peak learning rate of both backbones; None: see `backbone_rates`.
            projection_lr: of both projections.
            weight_decay: of matrices and kernels.
            image_lr: of the image branch's backbone, where it is not `backbone_lr`.
            text_lr: of the text branch's backbone.
        """
        rates = self.backbone_rates(backbone_lr, image_lr, text_lr)
        return parameter_groups(self, rates["image"], rates["text"], projection_lr, weight_decay)

    def backbone_rates(
        self,
        backbone_lr: float | None = None,
        image_lr: float | None = None,
        text_lr: float | None = None,
    ) -> dict[str, float]:
        """Return "image" and "text" -> the peak learning rate of the branch's backbone.

        What is not given goes by the weights that the backbone has now: 5e-5 for pretrained ones,
        1e-3 for random ones and for the mini backbones.

        Args:
            backbone_lr: of both.
            image_lr, text_lr: of one branch, in place of `backbone_lr`.
        """
        random = self.random_backbones()
        rates = {}
        for (name, branch), given in zip(
            self._branches().items(), (image_lr, text_lr), strict=True
        ):
            if given is None:
                given = backbone_lr
            if given is None:
                given = usual_lr(branch.backbone_name, name in random)
            rates[name] = given
        return rates

    def frozen_backbones(self) -> list[str]:
        """List the branches, "image" or "text", whose backbone does not train."""
        return [name for name, part in self.trained_parts.items() if part != "whole"]

    def check_can_be_saved(self) -> None:
        """Check that `load` knows the classes of both branches.

        Raises:
            DataError: it does not know one.
        """
        for branch, kind in ((self.image, ImageEncoder), (self.text, TextEncoder)):
            if type(branch) is not kind:
                raise DataError(
                    f"a {type(branch).__name__} cannot be saved as part of a DualEncoder: load "
                    f"would make it a plain {kind.__name__}. Save a whole CLIP as a ClipEncoder, "
                    "and a class of your own by its state_dict."
                )

    def save(
        self, folder: str | os.PathLike[str], share: str | os.PathLike[str] | None = None
    ) -> None:
        """Write the model as a folder of its own; one that holds an older model is replaced.

        The module `saved` says which files there are.

        Args:
            folder: gets its name only when all of it is written.
            share: the folder of another model. If its frozen weights are the same, they are not
                written again: the new folder gets the same file, by a hard link.

        Raises:
            DataError: the folder holds other things, which replacing it would delete; or a branch
                is of a class that `load` does not know.
        """
        self.check_can_be_saved()
        write_model(self, user_path(folder), user_path(share) if share is not None else None)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "DualEncoder":
        """Open what `save` wrote, in eval mode on the CPU; never asks the network.

        `load_model` opens this or a CLIP, whichever the folder holds.

        Raises:
            MissingFile: the folder or one of its files is not there.
            DataError: another version, damaged or foreign files, or a pickle among them.
        """
        folder = user_path(folder).absolute()
        model = cls(*read_branches(folder))
        load_state(model, read_state(folder), folder / "model.safetensors")
        model.trained_on = read_trained_on(folder)
        return model.eval()


@contextmanager
def eval_mode(model: DualEncoder) -> Iterator[None]:
    """Use eval mode and no gradients inside the block; then restore the former mode."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
