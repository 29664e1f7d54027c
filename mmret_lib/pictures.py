"""A picture in whichever form it is given: a file, a PIL image or an array."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mmret_lib.data.images import read_image, read_pixels, to_pixels, to_rgb
from mmret_lib.errors import DataError

Picture = str | os.PathLike[str] | Image.Image | np.ndarray


def open_picture(picture: Picture) -> Image.Image:
    """A picture, however it is given, upright in 8-bit RGB.

    Args:
        picture: a file, a PIL image, or a uint8 array (H, W), (H, W, 3), (H, W, 4) or (3, H, W).

    Raises:
        MissingFile, DataError: as `read_image`; DataError for another array.
    """
    if isinstance(picture, np.ndarray):
        if picture.ndim == 3 and picture.shape[0] == 3 and picture.shape[2] not in (3, 4):
            picture = picture.transpose(1, 2, 0)  # (H, W, 3), as a store gives it
        channels = picture.shape[2:] in ((), (3,), (4,))
        if picture.dtype != np.uint8 or picture.ndim < 2 or not channels or not picture.size:
            raise DataError(
                f"a picture given as an array must be uint8 (H, W), (H, W, 3), (H, W, 4) or "
                f"(3, H, W), not {picture.dtype} {picture.shape}"
            )
        picture = Image.fromarray(np.ascontiguousarray(picture))
    if isinstance(picture, Image.Image):
        return to_rgb(ImageOps.exif_transpose(picture))
    return read_image(Path(picture))


def picture_pixels(picture: Picture, size: int) -> np.ndarray:
    """uint8 (3, size, size), as the pictures of a collection are read.

    Raises:
        MissingFile, DataError: as `open_picture`.
    """
    if isinstance(picture, Image.Image | np.ndarray):
        return to_pixels(open_picture(picture), size)
    return read_pixels(Path(picture), size)
