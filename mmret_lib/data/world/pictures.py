"""Draw a scene: sprites on a painted background, with the same pixels on every machine.

Pixels are computed with integers only (Pillow resizes 8-bit images in fixed point), and all random
numbers are those of `random.Random(text).random()`, which Python promises not to change. Sizes are
shares of the canvas, so the same scene can be drawn at 64 or at 224 pixels.
"""

import functools
import random

import numpy as np
from PIL import Image

from mmret_lib.data.world.captions import Scene
from mmret_lib.files.places import shipped

# Longer side of a sprite as a share of the canvas, so that the three sizes never overlap even
# with the jitter below.
SIZE_SHARE = {"small": 0.19, "normal": 0.29, "big": 0.43}
JITTER = 0.06
MAX_COVERED = 0.75  # share of the canvas that the sprites' squares may add up to

# Each place: top colour and horizon (share of the height), ground colour, strength of the grain.
_GROUND = {
    "grass": ((158, 206, 238), 0.30, (98, 158, 62), 14),
    "water": ((176, 214, 235), 0.25, (58, 128, 176), 10),
    "beach": ((120, 190, 226), 0.35, (230, 205, 150), 9),
    "snow": ((196, 206, 222), 0.35, (240, 244, 248), 5),
    "street": ((168, 160, 158), 0.40, (98, 98, 104), 8),
    "night": ((18, 20, 48), 0.60, (30, 36, 60), 6),
    "desert": ((240, 196, 130), 0.30, (198, 142, 86), 12),
    "table": ((222, 208, 190), 0.20, (150, 100, 60), 6),
}
# Ripples and dunes: how many strokes, their length in widths, how much lighter they are.
_STROKES = {"water": (14, 5, 46), "desert": (5, 9, -22)}


def covered_share(scene: Scene) -> float:
    """Share of the canvas that the sprites' squares take; above `MAX_COVERED` they pile up."""
    return sum(group.count * SIZE_SHARE[group.size] ** 2 for group in scene.objects)


def draw(scene: Scene, key: str, size: int = 64) -> Image.Image:
    """Draw `scene` as RGB, `size` x `size` pixels; `key` decides the layout."""
    rng = random.Random(key)
    canvas = _background(scene.place, size, rng)
    placed: list[tuple[int, int, int]] = []  # left, top, side of the squares taken so far
    sprites = []
    for group in scene.objects:
        for _ in range(group.count):
            share = SIZE_SHARE[group.size] * (1 + JITTER * (2 * rng.random() - 1))
            side = max(4, int(share * size))
            left, top = _free_spot(side, size, placed, rng)
            placed.append((left, top, side))
            sprites.append((left, top, _sprite(group.kind, side, rng.random() < 0.5)))
    # What stands lower in the picture is nearer, so it is painted later.
    for left, top, sprite in sorted(sprites, key=lambda item: item[1] + item[2].shape[0]):
        _paste(canvas, sprite, left, top)
    return Image.fromarray(canvas)


def _free_spot(
    side: int, size: int, placed: list[tuple[int, int, int]], rng: random.Random
) -> tuple[int, int]:
    """Return the first free of 40 random spots, else the one that hides least."""
    best, least = (0, 0), float("inf")
    for _ in range(40):
        left, top = (int(rng.random() * (size - side + 1)) for _ in range(2))
        hidden = sum(_overlap(left, top, side, other) for other in placed)
        if hidden < least:
            best, least = (left, top), hidden
        if hidden == 0:
            break
    return best


def _overlap(left: int, top: int, side: int, other: tuple[int, int, int]) -> float:
    """Shared area of two squares as a share of the smaller one."""
    other_left, other_top, other_side = other
    width = min(left + side, other_left + other_side) - max(left, other_left)
    height = min(top + side, other_top + other_side) - max(top, other_top)
    return max(0, width) * max(0, height) / min(side, other_side) ** 2


@functools.cache
def _original(kind: str) -> Image.Image:
    path = shipped(f"sprites/{kind.replace(' ', '_')}.png")
    with Image.open(path) as image:
        # Premultiplied, so that resizing does not bleed the colours of transparent pixels.
        return image.convert("RGBA").convert("RGBa")


@functools.lru_cache(maxsize=8192)
def _sprite(kind: str, side: int, mirrored: bool) -> np.ndarray:
    """uint16 (height, width, 4), premultiplied, the longer side at `side` pixels."""
    original = _original(kind)
    longest = max(original.size)
    width, height = (max(1, part * side // longest) for part in original.size)
    pixels = np.asarray(original.resize((width, height), Image.Resampling.BOX), dtype=np.uint16)
    return pixels[:, ::-1] if mirrored else pixels


def _paste(canvas: np.ndarray, sprite: np.ndarray, left: int, top: int) -> None:
    height, width = sprite.shape[:2]
    under = canvas[top : top + height, left : left + width]
    blended = sprite[..., :3] + (under * (255 - sprite[..., 3:]) + 127) // 255
    under[...] = np.minimum(blended, 255)


@functools.cache
def _grain(size: int) -> np.ndarray:
    """int16 (2 * size, 2 * size) in -128…127: one noise tile, of which each picture shows a part.

    A multiplicative hash of the position instead of a random stream: same on every machine.
    """
    side = np.arange(2 * size, dtype=np.uint64)
    mixed = side[:, None] * np.uint64(2654435761) + side * np.uint64(40503)
    mixed ^= np.uint64(0x5BD1E995)
    mixed = mixed * (mixed >> np.uint64(7)) + (mixed >> np.uint64(13))
    noise: np.ndarray = ((mixed >> np.uint64(9)) % np.uint64(256)).astype(np.int16) - 128
    return noise


def _background(place: str, size: int, rng: random.Random) -> np.ndarray:
    """uint8 (size, size, 3): sky or wall above a horizon, ground below, a place's marks."""
    top, horizon, ground, grain = _GROUND[place]
    line = int(size * (horizon + 0.16 * (rng.random() - 0.5)))
    shade = int(24 * (rng.random() - 0.5))
    canvas = np.empty((size, size, 3), dtype=np.int16)
    canvas[:line] = top
    depth = np.arange(size - line, dtype=np.int16)[:, None, None] * 24 // max(1, size - line)
    canvas[line:] = np.asarray(ground, dtype=np.int16) - depth
    canvas += shade
    row, column = (int(rng.random() * size) for _ in range(2))
    noise = _grain(size)[row : row + size, column : column + size, None]
    canvas[line:] += noise[line:] * grain // 128
    _draw_marks(canvas, place, line, shade, rng)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _draw_marks(canvas: np.ndarray, place: str, line: int, shade: int, rng: random.Random) -> None:
    """Draw what marks a place: ripples, windows, stars, …; the ground begins at row `line`."""
    size = len(canvas)
    unit = max(1, size // 32)
    if place in _STROKES:
        count, length, light = _STROKES[place]
        for _ in range(count):
            y, x = line + int(rng.random() * (size - line)), int(rng.random() * size)
            canvas[y : y + unit, x : x + length * unit] += light
    elif place == "street":
        _draw_street(canvas, line, unit, rng)
    elif place == "night":
        _draw_night_sky(canvas, line, unit, rng)
    elif place == "table":  # planks
        for y in range(line, size, 6 * unit):
            canvas[y : y + max(1, unit // 2)] -= 34
    elif place == "beach":  # the sea between sky and sand
        canvas[line - line // 3 : line] = np.array((40, 130, 180)) + shade
    elif place == "snow":  # flakes
        for _ in range(24):
            y, x = int(rng.random() * size), int(rng.random() * size)
            canvas[y : y + unit // 2 + 1, x : x + unit // 2 + 1] = 255


def _draw_street(canvas: np.ndarray, line: int, unit: int, rng: random.Random) -> None:
    """Windows above the horizon, a broken white line below."""
    size = len(canvas)
    for x in range(int(rng.random() * 4 * unit), size, 5 * unit):
        canvas[line // 3 : line // 3 + 3 * unit, x : x + 2 * unit] += 50
    middle = (line + size) // 2
    for x in range(int(rng.random() * 6 * unit), size, 8 * unit):
        canvas[middle : middle + unit, x : x + 4 * unit] += 110


def _draw_night_sky(canvas: np.ndarray, line: int, unit: int, rng: random.Random) -> None:
    """Stars and a moon."""
    size = len(canvas)
    for _ in range(16):
        y, x = int(rng.random() * line), int(rng.random() * size)
        canvas[y : y + 1, x : x + 1] = 235
    y, x = int(rng.random() * line / 2), int(rng.random() * (size - 5 * unit))
    rows, columns = np.ogrid[: 4 * unit, : 4 * unit]
    disc = (2 * rows + 1 - 4 * unit) ** 2 + (2 * columns + 1 - 4 * unit) ** 2
    canvas[y : y + 4 * unit, x : x + 4 * unit][disc <= 16 * unit * unit] = (236, 230, 190)
