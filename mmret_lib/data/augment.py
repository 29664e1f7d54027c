"""Augmentation: move, crop or mirror each image at random, on the device that it is on."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

PIECE = 64  # images that are augmented at a time


def shift_and_flip(
    images: Tensor,
    generator: torch.Generator,
    rank: int = 0,
    world_size: int = 1,
    *,
    out: Tensor | None = None,
    shift: float = 0.06,
) -> Tensor:
    """Mirror half of the images and move each by up to ``shift`` of its side (edges repeated).

    Args:
        images: uint8 (B, 3, S, S) on any device.
        generator: a CPU generator, so that the same seed moves the same images on every device.
        rank, world_size: number of this process, and of all. Each draws for the whole batch and
            uses its own part, so that the result does not depend on the number of processes.
        out: the tensor to write to; ``images`` itself saves the memory of a second batch.
        shift: the largest move, as a share of the side.

    Returns:
        uint8 (B, 3, S, S), one draw per image.
    """
    batch, _, height, width = images.shape
    furthest = int(shift * width)
    drawn, own = batch * world_size, slice(batch * rank, batch * (rank + 1))
    move = torch.randint(-furthest, furthest + 1, (2, drawn, 1), generator=generator)[:, own]
    mirror = torch.rand(drawn, 1, generator=generator)[own] < 0.5
    rows = (torch.arange(height) + move[0]).clamp(0, height - 1)  # (B, S)
    columns = (torch.arange(width) + move[1]).clamp(0, width - 1)  # (B, S)
    columns = torch.where(mirror, columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    out = torch.empty_like(images) if out is None else out
    which = torch.arange(batch, device=images.device)
    for span in _pieces(batch):
        # Indexing with the channels in between moves them last: (piece, S, S, 3).
        moved = images[which[span, None, None], :, rows[span, :, None], columns[span, None, :]]
        out[span] = moved.permute(0, 3, 1, 2)
    return out


def crop_and_flip(
    images: Tensor,
    generator: torch.Generator,
    rank: int = 0,
    world_size: int = 1,
    *,
    out: Tensor | None = None,
    smallest: float = 0.5,
    widest: float = 4 / 3,
) -> Tensor:
    """Cut a random part from each image, scale it to the full size, and mirror half of them.

    (The random resized crop of Szegedy et al. 2015, arXiv 1409.4842, section 6.)

    Args:
        images: uint8 (B, 3, S, S) on any device.
        generator: a CPU generator, so that the same seed cuts the same parts on every device.
        rank, world_size, out: as `shift_and_flip` takes them.
        smallest: least share of the area that is kept. Low values cut away what captions name.
        widest: the part's width over its height lies between 1 / widest and widest.

    Returns:
        uint8 (B, 3, S, S), one draw per image.
    """
    from torchvision.transforms.v2 import functional as transforms  # takes 100 MB

    side = images.shape[-1]
    batch = len(images)
    drawn = torch.rand(5, batch * world_size, generator=generator)
    area, ratio, down, right, mirror = drawn[:, batch * rank : batch * (rank + 1)].unbind()
    area = smallest + (1 - smallest) * area
    stretch = torch.exp((2 * ratio - 1) * math.log(widest) / 2)  # half of it goes to each side
    height = (side * area.sqrt() / stretch).round().clamp(1, side).int()
    width = (side * area.sqrt() * stretch).round().clamp(1, side).int()
    top = (down * (side - height + 1)).int()
    left = (right * (side - width + 1)).int()
    boxes = torch.stack([top, left, height, width], dim=1).tolist()
    flip = (mirror < 0.5).to(images.device)[:, None, None, None]
    out = torch.empty_like(images) if out is None else out
    for span in _pieces(batch):
        parts = [
            transforms.resized_crop(image, *box, size=[side, side], antialias=True)
            for image, box in zip(images[span], boxes[span], strict=True)
        ]
        cropped = torch.stack(parts)
        out[span] = torch.where(flip[span], transforms.horizontal_flip(cropped), cropped)
    return out


def _pieces(batch: int) -> Iterator[slice]:
    """Cut the batch into pieces, because the images of a piece are held twice."""
    return (slice(first, first + PIECE) for first in range(0, batch, PIECE))


AUGMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "shift": shift_and_flip,
    "crop": crop_and_flip,
}
