"""Photos in every state come out upright in RGB, or are refused in words."""

import io
import os
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmret_lib.data import images
from mmret_lib.data.images import read_image, read_pixels, to_pixels
from mmret_lib.files.errors import DataError, MissingFile

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def black_png(width: int, height: int, *, rows: int) -> bytes:
    """A one-bit PNG that claims this size and holds so many of its rows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(1)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_lossless_formats_come_through_bit_for_bit(tmp_path, kind):
    image = noise(13, 7).quantize(64).convert("RGB")  # few enough colours for GIF
    path = tmp_path / "picture"  # the content tells the format, not the name
    path.write_bytes(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
    read = read_image(path)
    assert read.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(read), np.asarray(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_exif_rotation_is_undone(tmp_path, kind, orientation):
    # Where the first stored row and column lie in the scene, from the EXIF table.
    held = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    scene = np.zeros((16, 32, 3), np.uint8)
    scene[:8, :16], scene[:8, 16:], scene[8:, :16] = RED, GREEN, BLUE
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    stored = Image.fromarray(np.ascontiguousarray(held(scene)))
    path = tmp_path / f"turned.{kind.lower()}"
    path.write_bytes(encoded(stored, kind, exif=exif, **options))
    read = np.asarray(read_image(path)).astype(int)
    assert read.shape == scene.shape
    assert np.abs(read - scene).max() <= (4 if kind == "JPEG" else 0)


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0MM\0*\0\0\xff\xff", b"Exif\0\0"])
def test_broken_exif_does_not_cost_the_picture(tmp_path, exif):
    path = tmp_path / "odd.jpg"
    path.write_bytes(encoded(noise(8, 6), "JPEG", exif=exif))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).size == (8, 6)


def test_greyscale_becomes_three_equal_channels(tmp_path):
    grey = noise(9, 5).convert("L")
    grey.save(tmp_path / "grey.png")
    read = np.asarray(read_image(tmp_path / "grey.png"))
    np.testing.assert_array_equal(read, np.repeat(np.asarray(grey)[..., None], 3, axis=2))


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    read = np.asarray(read_image(tmp_path / "deep.png"))[..., 0]
    assert read.tolist() == [[0, 1, 1, 128, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 32768, 65535]], np.int32), [0, 128, 255]),  # 16 bits in a wider file
        (np.array([[-100, 0, 100]], np.int32), [0, 128, 255]),  # none of the usual ranges
        (np.array([[0, 0, 1_000_000]], np.int32), [0, 0, 255]),
        (np.array([[7, 7, 7]], np.int32), [0, 0, 0]),
        (np.array([[0, 0.25, 1]], np.float32), [0, 64, 255]),
        (np.array([[-1, 0, 3]], np.float32), [0, 64, 255]),
        (np.array([[1e6, 1e6, 1e6]], np.float32), [0, 0, 0]),
    ],
)
def test_wide_integers_and_floats_are_scaled(tmp_path, values, expected):
    Image.fromarray(values).save(tmp_path / "wide.tiff")
    assert np.asarray(read_image(tmp_path / "wide.tiff"))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floats_that_are_not_finite_are_refused(tmp_path, value):
    Image.fromarray(np.array([[0.5, value]], np.float32)).save(tmp_path / "odd.tiff")
    with pytest.raises(DataError, match=r"odd\.tiff.*not finite"):
        read_image(tmp_path / "odd.tiff")


def test_cmyk_becomes_the_colours_it_means(tmp_path):
    for colour in (RED, GREEN, BLUE, WHITE, (0, 0, 0)):
        Image.new("RGB", (16, 16), colour).convert("CMYK").save(tmp_path / "c.jpg", quality=100)
        middle = np.asarray(read_image(tmp_path / "c.jpg"))[8, 8].astype(int)
        assert np.abs(middle - colour).max() <= 3


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    black = (0, 0, 0) if mode == "RGBA" else (0,)
    image = Image.new(mode, (3, 1), (*black, 0))
    image.putpixel((1, 0), (*black, 128))
    image.putpixel((2, 0), (*black, 255))
    image.save(tmp_path / "glass.png")
    read = np.asarray(read_image(tmp_path / "glass.png"))
    assert read[0, 0].tolist() == [255] * 3 and read[0, 2].tolist() == [0] * 3
    assert np.abs(read[0, 1].astype(int) - 127).max() <= 1


@pytest.mark.parametrize("transparency", [0, b"\x00\xff\xff"])
def test_a_palette_with_transparency_is_laid_on_white_without_a_warning(tmp_path, transparency):
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "palette.png", transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = np.asarray(read_image(tmp_path / "palette.png"))
    assert read.tolist() == [[list(WHITE), list(GREEN), list(BLUE)]]


def test_one_transparent_colour_in_an_rgb_png(tmp_path):
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), BLUE)
    image.save(tmp_path / "key.png", transparency=RED)
    assert np.asarray(read_image(tmp_path / "key.png")).tolist() == [[list(WHITE), list(BLUE)]]


def test_one_bit_pictures(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bit.png")
    assert np.asarray(read_image(tmp_path / "bit.png")).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(tmp_path, kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    (tmp_path / "film").write_bytes(data)
    middle = np.asarray(read_image(tmp_path / "film"))[2, 2].astype(int)
    assert np.abs(middle - RED).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (1, 2)])
def test_tiny_and_thin_pictures_scale_to_any_size(tmp_path, size):
    Image.new("RGB", size, GREEN).save(tmp_path / "thin.png")
    pixels = read_pixels(tmp_path / "thin.png", 32)
    assert pixels.shape == (3, 32, 32)
    assert (pixels == np.array(GREEN, np.uint8)[:, None, None]).all()


def test_a_link_to_a_picture_is_a_picture(tmp_path):
    noise(4, 4).save(tmp_path / "real.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    assert read_image(tmp_path / "link.png").size == (4, 4)


# ---------------------------------------------------------------- what is refused


def truncated(kind: str) -> bytes:
    data = encoded(noise(64, 64), kind)
    return data[: len(data) * 2 // 3]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(b"", "empty", id="zero bytes"),
        pytest.param(b"<html>404 Not Found</html>", "not an image", id="web page"),
        pytest.param(encoded(noise(9, 9), "JPEG")[:20], "not an image", id="JPEG head"),
        pytest.param(encoded(noise(9, 9), "PNG")[:20], "cannot be decoded", id="PNG head"),
        pytest.param(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image", id="EPS"
        ),
        *[
            pytest.param(truncated(kind), "cannot be decoded", id=f"truncated {kind}")
            for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM")
        ],
        pytest.param(truncated("WEBP"), "not an image|cannot be decoded", id="truncated WEBP"),
    ],
)
def test_what_is_no_whole_picture_is_refused_by_name_and_remedy(tmp_path, content, fault):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.jpg.*({fault})") as caught:
        read_image(path)
    assert "take it out" in str(caught.value)


def test_a_missing_picture(tmp_path):
    with pytest.raises(MissingFile, match=r"none\.jpg does not exist; download it again"):
        read_image(tmp_path / "none.jpg")


def test_what_is_not_a_file(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    names = ["folder.jpg"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for a writer
        names.append("pipe.jpg")
    for name in names:
        with pytest.raises(DataError, match=f"{name} is a folder or a device"):
            read_image(tmp_path / name)
    for name in ("a\0b.jpg", "a" * 5000):
        with pytest.raises(DataError, match="cannot be opened"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("size", [(30_000, 30_000), (10_001, 10_000), (2**31 - 1, 2**31 - 1)])
def test_giant_pictures_are_refused_before_decoding(tmp_path, size):
    path = tmp_path / "giant.png"
    path.write_bytes(black_png(*size, rows=0))
    began = time.perf_counter()
    with pytest.raises(DataError, match=r"giant\.png is larger than the 100,000,000 pixels"):
        read_image(path)
    assert time.perf_counter() - began < 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory as Linux does")
def test_a_giant_picture_is_refused_within_little_memory(tmp_path):
    # A whole one, of 900 million pixels in half a megabyte: decoding it would work.
    (tmp_path / "giant.png").write_bytes(black_png(30_000, 30_000, rows=30_000))
    script = (
        "import resource, sys; from mmret_lib.data.images import read_image\n"
        "from mmret_lib.files.errors import DataError\n"
        "used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_image(sys.argv[1])\n"
        "except DataError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "giant.png")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    message, grown = result.stdout.splitlines()
    assert "giant.png is larger than" in message and "900000000" in message
    assert int(grown) < 20_000, "kilobytes"
    assert result.stderr == ""


def test_the_limit_itself_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    noise(10, 10).save(tmp_path / "fits.png")
    noise(10, 11).save(tmp_path / "over.png")
    assert read_image(tmp_path / "fits.png").size == (10, 10)
    with pytest.raises(DataError, match=r"over\.png .* \(10 x 11 pixels\)"):
        read_image(tmp_path / "over.png")


def test_threads_leave_the_warning_filters_as_they_were(tmp_path):
    image = Image.new("P", (64, 64))
    image.putpalette([*RED, *GREEN])
    image.save(tmp_path / "palette.png", transparency=b"\x00\xff")
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [read_image(tmp_path / "palette.png") for _ in range(20)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


# ---------------------------------------------------------------- one size


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_it_is_the_resize_then_crop_that_everyone_means(size, factor, extra, upright):
    # Sizes at which the scaled long side is a whole number and the crop needs no rounding.
    short, long = size * factor, (size + 2 * extra) * factor
    image = noise(short, long) if upright else noise(long, short)
    # In the middle of the range: what Pillow cuts off at 0 and 255 depends on which side it scales
    # first.
    image = image.point(lambda value: 64 + value // 2)
    scaled = image.resize((image.width // factor, image.height // factor), Image.Resampling.BICUBIC)
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    expected = np.asarray(scaled.crop((left, top, left + size, top + size))).transpose(2, 0, 1)
    pixels = to_pixels(image, size)
    assert pixels.flags.c_contiguous and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_pictures_of_the_right_size_are_not_touched(tmp_path):
    image = noise(64, 64)
    image.save(tmp_path / "exact.png")
    expected = np.asarray(image).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_pixels(tmp_path / "exact.png", 64), expected)


def test_a_large_jpeg_decoded_small_is_nearly_the_same(tmp_path):
    # A smooth picture with one sharp edge: what photos are made of.
    across, down = np.meshgrid(np.linspace(0, 255, 640), np.linspace(0, 255, 480))
    values = np.stack([across, down, np.where(across + down > 255, 230, 20)], axis=2)
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "photo.jpg", quality=95)
    fast = read_pixels(tmp_path / "photo.jpg", 64).astype(int)
    full = to_pixels(read_image(tmp_path / "photo.jpg"), 64)
    assert np.abs(fast - full).mean() < 1
