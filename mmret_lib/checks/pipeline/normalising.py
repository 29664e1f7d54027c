"""Normalising colours, exercise 01's fourth task: the right formula and its mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmret_lib.checks.engine.seeds import seeded
from mmret_lib.checks.engine.task import Mistake, mistakes

Colours = Sequence[float]


def column(colours: Colours) -> Tensor:
    """(3, 1, 1), one number for each colour."""
    return torch.tensor(colours, dtype=torch.float32)[:, None, None]


def normalise(
    images_uint8: Tensor,
    mean: Colours,
    std: Colours,
    *,
    scale: Callable[[Tensor], Tensor] = lambda images: images.float() / 255,
    centre: Callable[[Tensor, Tensor], Tensor] = torch.sub,
    spread: Callable[[Tensor, Tensor], Tensor] = torch.div,
    shape: Callable[[Colours], Tensor] = column,
    arrange: Callable[[Tensor], Tensor] = lambda images: images,
) -> Tensor:
    """Task 4: uint8 (B, 3, H, W) to float32, every colour with its own mean and deviation."""
    return arrange(spread(centre(scale(images_uint8), shape(mean)), shape(std)))


def along_the_width(colours: Colours) -> Tensor:
    """(3,), which broadcasts along the width of an image."""
    return column(colours)[:, 0, 0]


def along_the_height(colours: Colours) -> Tensor:
    """(3, 1), which broadcasts along the height of an image."""
    return column(colours)[:, 0]


def of_the_batch(images_uint8: Tensor, *_: Any) -> Tensor:
    """Normalised by the batch's own mean and deviation of each colour."""
    images = images_uint8.float() / 255
    spread = images.std(dim=(0, 2, 3), keepdim=True)
    return (images - images.mean(dim=(0, 2, 3), keepdim=True)) / spread


COLUMN = (
    "a number for each colour should have shape (3, 1, 1) or (1, 3, 1, 1), so that it meets the "
    "colours and not the pixels: `[:, None, None]`"
)
WRONG_NORMALS: list[Mistake] = [
    *mistakes(
        {
            "scale": "scale to 0..1 first, `images / 255`: mean and std are measured there",
            "shape": COLUMN,
            "spread": "divide by std after subtracting the mean",
            "centre": "subtract the mean of each colour",
        },
        scale={
            "the pixels are not scaled": lambda images: images.float(),
            "the pixels are divided by 256": lambda images: images.float() / 256,
            "the pixels are scaled to -1..1": lambda images: images.float() / 127.5 - 1,
            "whole numbers are divided without remainder": lambda images: (images // 255).float(),
            "the pixels are divided by the largest of the batch": lambda images: (
                images.float() / images.max()
            ),
            "the pixels are stretched to 0..1 from the darkest to the brightest of the batch": (
                lambda images: (images.float() - images.min()) / (images.max() - images.min())
            ),
            "every image is divided by its own largest value": lambda images: (
                images.float() / images.amax(dim=(1, 2, 3), keepdim=True)
            ),
        },
        spread={
            "the result is multiplied by std": torch.mul,
            "the result is not divided": lambda images, std: images,
            "the result is divided by the square of std": lambda images, std: images / std**2,
            "the result is divided by the root of std": lambda images, std: images / std.sqrt(),
        },
        centre={
            "the mean is not subtracted": lambda images, mean: images,
            "the mean is added": torch.add,
            "the sign is wrong, mean - images": lambda images, mean: mean - images,
        },
        shape={
            "mean and std go along the width": along_the_width,
            "mean and std go along the height": along_the_height,
            "mean and std go along the batch": lambda colours: column(colours)[..., None],
            "one mean and one std are used for all colours": lambda colours: column(colours).mean(),
            "the first colour's mean and std are used for all colours": lambda colours: column(
                colours
            )[0],
            "mean and std are in the order blue, green, red: keep the order": lambda colours: (
                column(tuple(colours)[::-1])
            ),
        },
        arrange={
            "the colours come last, (B, H, W, 3): keep (B, 3, H, W)": lambda x: x.movedim(1, -1),
            "height and width are exchanged: keep (B, 3, H, W)": lambda images: images.mT,
            "the result is cut off to 0..1: values below 0 and above 1 are wanted": lambda x: (
                x.clamp(0, 1)
            ),
            "the result is cut off below 0: values below 0 are wanted": torch.relu,
            "the result is cut off to -1..1: values outside are wanted": lambda x: x.clamp(-1, 1),
        },
    ),
    Mistake(
        "the mean is subtracted after the division by std: first subtract, then divide",
        lambda images, mean, std: images / 255 / column(std) - column(mean),
    ),
    Mistake(
        "the pixels are scaled after mean and std: they belong to pixels of 0..1, so scale first",
        lambda images, mean, std: (images.float() - column(mean)) / column(std) / 255,
    ),
    Mistake(
        "the mean is multiplied by 255 and std is not: scale the pixels instead, images / 255",
        lambda images, mean, std: (images.float() - 255 * column(mean)) / column(std),
    ),
    Mistake(
        "the first colour's std is used for all: divide each colour by its own",
        lambda images, mean, std: normalise(images, mean, [std[0]] * 3),
    ),
    Mistake(
        "batch and colours are exchanged: put the colours together by torch.stack(..., dim=1)",
        lambda images, mean, std: normalise(images, mean, std).transpose(0, 1),
    ),
    Mistake(
        "mean and std are exchanged: (images - mean) / std",
        lambda images, mean, std: normalise(images, std, mean),
    ),
    Mistake(
        "the colours of the pictures are reversed to blue, green, red: keep their order",
        lambda images, mean, std: normalise(images.flip(1), mean, std),
    ),
    Mistake(
        "the mean is subtracted from bytes, where 0 - 1 is 255: make them floats first",
        lambda images, mean, std: (
            (images - (255 * column(mean)).to(torch.uint8)).float() / 255 / column(std)
        ),
    ),
    Mistake(
        "the batch is normalised by its own mean and deviation: take the arguments, or the same "
        "picture looks different in every batch",
        of_the_batch,
    ),
    Mistake(
        "ImageNet's numbers are fixed in the code: take the arguments mean and std",
        lambda images, mean, std: normalise(images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ),
]
MEAN, STD = (0.2, 0.5, 0.7), (0.1, 0.25, 0.4)


def takes_every_size(function: Callable[..., Tensor]) -> str | None:
    """Pictures of any height and width, in batches of any size."""
    generator = seeded(3)
    for shape in ((2, 3, 4, 5), (1, 3, 3, 2), (4, 3, 2, 3), (5, 3, 1, 1)):
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        try:
            value = function(images, MEAN, STD)
        except Exception as error:
            return f"for images of shape {shape} it raised {type(error).__name__}: {COLUMN}"
        if value.shape != images.shape or not torch.allclose(
            value.double(), normalise(images, MEAN, STD).double(), atol=2e-2
        ):
            return (
                f"for images of shape {shape} it goes wrong: is a size fixed in the code? {COLUMN}"
            )
    return None


def gives_float32(function: Callable[..., Tensor]) -> str | None:
    """Float32, as the weights of a model are."""
    value = function(torch.zeros(2, 3, 2, 2, dtype=torch.uint8), MEAN, STD)
    if value.dtype != torch.float32:
        kind = str(value.dtype).removeprefix("torch.")
        return (
            f"the result is {kind}: a model's weights are float32, so use .float() and "
            "torch.tensor(mean), which is float32 for Python's numbers"
        )
    return None


def follows_the_device(function: Callable[..., Tensor]) -> str | None:
    """The result is on the images' device; "meta" stands for a GPU, and has no numbers."""
    images = torch.zeros(2, 3, 2, 2, dtype=torch.uint8, device="meta")
    says = (
        "on a GPU it fails: mean and std are made on the CPU and the images are elsewhere. Make "
        "them with device=images_uint8.device"
    )
    try:
        value = function(images, MEAN, STD)
    except (RuntimeError, NotImplementedError) as error:
        signs = ("device", "meta tensor")
        return says if any(sign in str(error) for sign in signs) else None
    return None if value.device.type == "meta" else says
