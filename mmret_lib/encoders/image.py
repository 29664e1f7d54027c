"""The image branch: a backbone, and one linear projection into the space shared with the text."""

import os
import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from mmret_lib.encoders.timm_models import POCKET, Preprocessing, build_timm, middle
from mmret_lib.encoders.weights import hub_files, load_state, read_safetensors, write_safetensors
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import shipped, user_path
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import whole_folder

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESNETS = ("resnet18", "resnet34", "resnet50")
NAMED_WEIGHTS = ("mini", "imagenet", "pocket", "pretrained")  # anything else is a path


class MiniResNet(nn.Module):
    """A small ResNet for 64-pixel images: (B, 3, H, W) -> (B, 8 * width).

    The stem, the max-pooling and the four stages of He et al. 2016 (arXiv 1512.03385), with one
    basic block a stage and a 3 x 3 stem, since what an image of 64 pixels shows is small.

    Args:
        width: channels of the first stage; each further stage has twice as many.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks = []
        before = width
        for after, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
            shortcut = None
            if stride != 1:
                shortcut = nn.Sequential(
                    nn.Conv2d(before, after, kernel_size=1, stride=stride, bias=False),
                    nn.BatchNorm2d(after),
                )
            blocks.append(BasicBlock(before, after, stride, shortcut))
            before = after
        self.stages = nn.Sequential(*blocks)
        self.features = before
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float, colours normalised -> (B, 8 * width)."""
        maps: Tensor = F.relu(self.bn1(self.conv1(images)))  # (B, width, H/2, W/2)
        # Four times less work for the stages: the difference between minutes and a lesson on a CPU.
        maps = F.max_pool2d(maps, kernel_size=3, stride=2, padding=1)  # (B, width, H/4, W/4)
        maps = self.stages(maps)  # (B, 8 * width, H/32, W/32)
        return maps.mean(dim=(2, 3))


class NoBackbone(nn.Module):
    """Stands where a backbone would be in a branch that only takes kept features."""

    def forward(self, images: Tensor) -> Tensor:
        """Refuse pixels.

        Raises:
            DataError: always.
        """
        raise DataError(
            "this model's image branch has no backbone: it takes kept features, as it was trained "
            "on, and cannot see pictures"
        )


class ImageEncoder(nn.Module):
    """A backbone and a linear projection: images (B, 3, H, W) -> embeddings (B, dim).

    Args:
        backbone: "mini" (256 features); "resnet18", "resnet34" (512) or "resnet50" (2048);
            "pocket" (timm's tf_efficientnet_lite0, 1280); "timm/NAME", any image model of timm,
            with a tag if wanted, such as "timm/vit_small_patch16_224.augreg_in21k"; or
            "features:2048", none at all, for kept features of that length by somebody else.
        weights: "mini" and "pocket" (what the course ships for these backbones), "imagenet"
            (torchvision's own weights, for the ResNets), "pretrained" (for timm's models), a
            safetensors file or a folder with one, or None.
        dim: length of an embedding.
        image_size: side in pixels that images should be decoded to; by default 64 for "mini", 224
            for the ResNets, what the weights were trained with for the others.
        channels_last: store the channels of a pixel together, for faster convolutions.
        crop: share of that side whose middle enters the backbone. For this and the next two, the
            default is what the weights were trained with.
        mean, std: of each colour channel, for pixels in [0, 1]; the colours are normalised by them.

    Attributes:
        image_size, crop: as above. "pocket" has 256 and 0.875, so that 224 pixels enter.
        mean, std: as above, tensors of shape (3, 1, 1).
        features: numbers that the backbone gives for an image.

    Raises:
        DataError: an unknown backbone, weights that do not fit it, or a pickle.
        MissingFile: no such weights here, nor on the hub; the message says where to put them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str = "mini",
        weights: str | os.PathLike[str] | None = "mini",
        dim: int = 128,
        image_size: int | None = None,
        channels_last: bool = True,
        *,
        crop: float | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.backbone_name = backbone
        self.pretrained_weights = None if weights is None else str(weights)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._refuse_weights_of_others(weights)
        if image_size is not None and image_size < 8:
            raise DataError(f"image_size is {image_size}: give at least 8 pixels (--image-size).")
        self.backbone: nn.Module
        self.features: int
        if backbone == "pocket" or backbone.startswith("timm/"):
            name = POCKET if backbone == "pocket" else backbone.removeprefix("timm/")
            self.backbone, self.features, used = build_timm(
                name, weights, image_size=image_size, crop=crop, mean=mean, std=std
            )
        elif backbone.startswith("features:"):
            self.backbone, self.features = NoBackbone(), int(backbone.partition(":")[2])
            self.pretrained_weights = backbone  # none of its own that could be random
            used = Preprocessing(image_size or 224, 1.0, IMAGENET_MEAN, IMAGENET_STD)
        else:
            self._build_resnet(weights)
            size = image_size or (64 if backbone == "mini" else 224)
            used = Preprocessing(size, crop or 1.0, mean or IMAGENET_MEAN, std or IMAGENET_STD)
        self.image_size, self.crop = used.image_size, used.crop
        self.projection = nn.Linear(self.features, dim)
        # Not saved: they belong to the preprocessing, which every call does itself.
        self.register_buffer("mean", torch.tensor(used.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(used.std).view(3, 1, 1), persistent=False)
        self.to(memory_format=self.memory_format)

    def _refuse_weights_of_others(self, weights: str | os.PathLike[str] | None) -> None:
        backbone = self.backbone_name
        if backbone in ("mini", "pocket"):
            own = backbone
        elif backbone in RESNETS:
            own = "imagenet"
        elif backbone.startswith("timm/"):
            own = "pretrained"
        elif re.fullmatch("features:[1-9][0-9]{0,5}", backbone):
            own = ""
        else:
            raise DataError(
                f"No image backbone {backbone!r}: choose mini, {', '.join(RESNETS)}, pocket, or "
                "timm/NAME for any image model of timm."
            )
        if own == "" and weights is not None:
            raise DataError(
                f"The image backbone {backbone!r} has no weights (--image-weights none)."
            )
        if weights in NAMED_WEIGHTS and weights != own:
            raise DataError(
                f"There are no {weights!r} weights for the image backbone {backbone!r}: mini goes "
                "with mini, imagenet with the ResNets, pocket with pocket, pretrained with timm/… "
                "(--image-weights)."
            )

    def _build_resnet(self, weights: str | os.PathLike[str] | None) -> None:
        if self.backbone_name == "mini":
            self.backbone = MiniResNet()
            self.features = self.backbone.features
        else:
            resnet = torchvision.models.get_model(self.backbone_name, weights=None)
            self.features = resnet.fc.in_features
            resnet.fc = nn.Identity()
            self.backbone = resnet
        self._load_backbone(weights)

    def _load_backbone(self, weights: str | os.PathLike[str] | None) -> None:
        if weights is None:
            return
        if weights == "mini":
            path = shipped("mini/image", "Or train without: --image-weights none.")
        elif weights == "imagenet":
            # timm's copies of torchvision's own weights, under torchvision's own names
            repo = f"timm/{self.backbone_name}.tv_in1k"
            remedy = "train without them: --image-weights none"
            path = hub_files(repo, ("model.safetensors",), (), remedy)
        else:
            path = user_path(weights)
        if path.is_dir():
            path = path / "model.safetensors"
        state = read_safetensors(path)
        if self.backbone_name != "mini":
            state = {name: value for name, value in state.items() if not name.startswith("fc.")}
        load_state(self.backbone, state, path)

    def extract_features(self, images: Tensor) -> Tensor:
        """Run the backbone alone: (B, 3, H, W) uint8, or float in [0, 1] -> (B, features).

        First the middle is cut out, if `crop` is below 1, and the colours are normalised.

        Raises:
            ValueError: not (B, 3, H, W), or whole numbers other than uint8.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise ValueError(f"images must be uint8 or float in [0, 1], got {images.dtype}")
        sides = images.shape[-2:]
        height, width = (middle(side, self.crop) for side in sides)
        # Rounded as torchvision's center_crop does, half to even, to cut at the same pixel.
        top, left = round((sides[0] - height) / 2), round((sides[1] - width) / 2)
        images = images[..., top : top + height, left : left + width]
        full = 255 if images.dtype == torch.uint8 else 1
        pixels = images.to(dtype=self.mean.dtype, memory_format=self.memory_format)
        features: Tensor = self.backbone((pixels - full * self.mean) / (full * self.std))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Embed images (B, 3, H, W), uint8 or float in [0, 1] -> (B, dim), not normalised.

        Kept features (B, features), float, are only projected.

        Raises:
            ValueError: another shape or type.
        """
        if images.ndim == 2 and images.is_floating_point():
            if images.shape[1] != self.features:
                raise ValueError(
                    f"kept features must be (B, {self.features}), got {tuple(images.shape)}"
                )
            features = images.to(self.projection.weight.dtype)
        else:
            features = self.extract_features(images)
        embeddings: Tensor = self.projection(features)
        return embeddings

    def save_backbone(self, folder: str | os.PathLike[str]) -> None:
        """Write the backbone, but no projection, so that `weights=folder` reads it back."""
        with whole_folder(user_path(folder)) as draft:
            write_safetensors(draft / "model.safetensors", self.backbone)
            facts = {"backbone": self.backbone_name, "features": self.features}
            facts["image_size"] = self.image_size
            if cfg := getattr(self.backbone, "pretrained_cfg", None):  # as timm's on the hub
                side = middle(self.image_size, self.crop)
                facts["architecture"] = cfg["architecture"]
                facts["pretrained_cfg"] = {
                    "input_size": [3, side, side],
                    "crop_pct": self.crop,
                    "mean": self.mean.flatten().tolist(),
                    "std": self.std.flatten().tolist(),
                }
            write_json(draft / "config.json", facts)
