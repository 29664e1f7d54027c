"""Read one picture as upright RGB, or as pixels of a given size.

Photos come turned by their EXIF tag, grey, CMYK, sixteen bits deep, transparent, cut off half-way,
or as a few bytes that unpack to gigabytes. `read_image` makes all of them upright RGB or says what
is wrong. The type of a file is read from its content, not from its name. (`mmret_lib.data.store`
reads a whole data set, once.)
"""

import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.places import user_path

MAX_PIXELS = 100_000_000  # a hundred megapixels; more is refused from the header, undecoded

# The formats of photos. Pillow also reads formats that start a program (EPS) or hold no pixels.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

# How HEIC begins after four bytes of length (ISO/IEC 23008-12): phones write it.
HEIC = re.compile(rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)

# EXIF 2.32, tag 0x0112: the turn that makes each orientation upright.
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


Picture = str | os.PathLike[str] | Image.Image | np.ndarray


def read_image(picture: Picture) -> Image.Image:
    """Read a picture as upright 8-bit RGB; of an animation or a film the first frame.

    Transparent parts become white; deeper pixels are scaled down to 8 bits, not cut off.

    Args:
        picture: a file, a PIL image, or a uint8 array (H, W), (H, W, 3), (H, W, 4) or (3, H, W).

    Raises:
        MissingFile: if there is no such file.
        DataError: if a file is empty, truncated, no image, or larger than MAX_PIXELS; for an array
            of another type or shape.
    """
    return _read(picture)


def read_pixels(picture: Picture, size: int) -> npt.NDArray[np.uint8]:
    """Read a picture as uint8 (3, size, size), with the same pixels as in a packed store.

    Use it for query photos too: pixels that are scaled in another way differ slightly.

    Args:
        picture: as `read_image` takes it.
        size: pixels along each side; the shorter side is scaled to it, the middle is kept.

    Raises:
        MissingFile, DataError: as `read_image`.
    """
    # Twice the size wanted: JPEG decodes to it in 60 % of the time (640 x 480 to 64 pixels), and
    # after the last halving the mean difference is under one grey level.
    return to_pixels(_read(picture, draft=2 * size), size)


def to_pixels(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """Scale the centre square of an RGB image to uint8 (3, size, size).

    The same as scaling the shorter side to `size` and cropping the middle, without the large image
    in between that a picture of one by a million pixels would need. An image that has the size
    already stays as it is, bit for bit.
    """
    width, height = image.size
    if (width, height) != (size, size):
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        image = image.resize(
            (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
        )
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))  # (3, size, size)


def _read(picture: Picture, draft: int | None = None) -> Image.Image:
    """Read as `read_image` does; decode JPEG smaller, but no side below `draft` pixels."""
    if isinstance(picture, np.ndarray):
        picture = _image_of(picture)
    if isinstance(picture, Image.Image):
        return _upright_rgb(picture)
    path = user_path(picture)
    _check_file(path)
    formats = _formats_of(path)
    try:
        with _quiet_pillow(), Image.open(path, formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width:,} x {image.height:,} pixels")
            if draft is not None:
                # Only JPEG obeys: it then decodes at 1/2, 1/4 or 1/8, never below the size asked.
                image.draft(None, (draft, draft))
            image.load()
            return _upright_rgb(image)
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path} is larger than the {MAX_PIXELS:,} pixels allowed ({error}); scale it down or "
            "take it out of the data set"
        ) from None
    except UnidentifiedImageError:
        raise DataError(
            f"{path} is not an image, or its beginning is damaged ({', '.join(FORMATS)} can be "
            "read); replace it or take it out of the data set"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{path} cannot be decoded ({reason}); download it again or take it out of the data set"
        ) from error


def _formats_of(path: Path) -> tuple[str, ...]:
    """Return the formats that the file may have; HEIC takes a library that is optional."""
    try:
        with path.open("rb") as file:
            is_heic = HEIC.match(file.read(12)) is not None
    except OSError:  # Pillow will say the same, with the reason
        return FORMATS
    if not is_heic:
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise DataError(
            f"{path} is HEIC, which takes a library that is not installed: "
            "pip install pillow-heif; or save the photo as JPEG"
        ) from None
    register_heif_opener(thumbnails=False)
    return ("HEIF",)


def _image_of(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] not in (3, 4):
        array = array.transpose(1, 2, 0)  # (H, W, 3), from a store's (3, H, W)
    channels = array.shape[2:] in ((), (3,), (4,))
    if array.dtype != np.uint8 or array.ndim < 2 or not channels or not array.size:
        raise DataError(
            "a picture given as an array must be uint8 (H, W), (H, W, 3), (H, W, 4) or "
            f"(3, H, W), not {array.dtype} {array.shape}"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise MissingFile(f"{path} does not exist; download it again or check the folder") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(f"{str(path)!r} cannot be opened ({error}); check its name") from error
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
        raise DataError(f"{path} is a folder or a device, not an image file; check its name")
    if status.st_size == 0:
        raise DataError(f"{path} is empty (zero bytes); download it again or take it out")


def _upright_rgb(image: Image.Image) -> Image.Image:
    try:
        # After loading: PNG may keep its EXIF at the end, and TIFF turns itself in load().
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken tag must not cost the picture: it stays as it is stored
        turn = None
    rgb = _to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    # A copy even of RGB: the file behind the image is about to be closed.
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale a deep greyscale image to 8 bits; Pillow's own conversion cuts everything off at 255.

    Black to white is 0 to 65535 for integers and 0 to 1 for floats, as cameras and tools write
    them; an image with values outside that is stretched from its darkest to its brightest.
    """
    values = np.asarray(image, dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it has pixels that are not finite")
    full = 1.0 if image.mode == "F" else 65535.0
    if low >= 0 and high <= full:
        low, high = 0.0, full
    scaled = (values - low) * (255 / (high - low or 1.0))
    return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8))


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_filters: warnings.catch_warnings | None = None


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings about odd tags and sizes; what matters is raised as an error.

    `warnings.catch_warnings` replaces the filters of the whole process, and is not safe in threads.
    So the first thread that enters replaces them, and the last that leaves restores them.
    """
    global _quiet_depth, _quiet_filters
    with _quiet_lock:
        _quiet_depth += 1
        if _quiet_depth == 1:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _quiet_filters is not None:
                _quiet_filters.__exit__(None, None, None)
