"""Render the sprites of the built-in world from Noto Color Emoji, once.

    apt-get install fonts-noto-color-emoji
    python data/make_sprites.py

Each sprite is cropped to what is drawn and saved as a PNG with its longer side at 96 pixels. The
bus is repainted red (the course asks for a red bus). Font and sprites: SIL Open Font License 1.1,
see sprites/OFL.txt.
"""

import argparse
import colorsys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 96
STRIKE = 109  # the one size in which the font holds its bitmaps
EMOJI = {
    "elephant": "🐘",
    "zebra": "🦓",
    "horse": "🐎",
    "giraffe": "🦒",
    "cow": "🐄",
    "sheep": "🐑",
    "camel": "🐫",
    "bear": "🐻",
    "hamster": "🐹",
    "flamingo": "🦩",
    "fish": "🐟",
    "pig": "🐖",
    "cat": "🐈",
    "dog": "🐕",
    "rabbit": "🐇",
    "tiger": "🐅",
    "lion": "🦁",
    "monkey": "🐒",
    "duck": "🦆",
    "penguin": "🐧",
    "owl": "🦉",
    "turtle": "🐢",
    "crocodile": "🐊",
    "frog": "🐸",
    "crab": "🦀",
    "octopus": "🐙",
    "dolphin": "🐬",
    "butterfly": "🦋",
    "snail": "🐌",
    "fox": "🦊",
    "bus": "🚌",
    "car": "🚗",
    "taxi": "🚕",
    "bicycle": "🚲",
    "motorcycle": "🏍",
    "train": "🚂",
    "sailboat": "⛵",
    "tractor": "🚜",
    "ramen": "🍜",
    "pizza": "🍕",
    "hamburger": "🍔",
    "doughnut": "🍩",
    "cake": "🎂",
    "apple": "🍎",
    "banana": "🍌",
    "carrot": "🥕",
    "watermelon": "🍉",
    "umbrella": "☂",
    "boot": "👢",
    "football": "⚽",
    "guitar": "🎸",
    "balloon": "🎈",
    "chair": "🪑",
    "clock": "⏰",
    "book": "📕",
    "hat": "🎩",
    "cactus": "🌵",
    "sunflower": "🌻",
    "kite": "🪁",
    "teddy bear": "🧸",
}


def render(emoji: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    canvas = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((10, 10), emoji, font=font, embedded_color=True)
    sprite = canvas.crop(canvas.getbbox())
    scale = SIDE / max(sprite.size)
    size = tuple(max(1, round(side * scale)) for side in sprite.size)
    return sprite.resize(size, Image.Resampling.LANCZOS)


def paint_red(sprite: Image.Image) -> Image.Image:
    """Turn the grey-blue body red; windows (light) and tyres (dark) keep their colour."""
    painted = sprite.copy()
    for x in range(sprite.width):
        for y in range(sprite.height):
            red, green, blue, alpha = sprite.getpixel((x, y))
            hue, lightness, _ = colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)
            if 0.3 < lightness < 0.98 and not 0.52 < hue < 0.58:
                rgb = colorsys.hls_to_rgb(0.0, min(0.5, lightness * 0.6), 0.8)
                painted.putpixel((x, y), (*(round(255 * part) for part in rgb), alpha))
    return painted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--font", type=Path, default="/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "sprites")
    args = parser.parse_args()
    font = ImageFont.truetype(str(args.font), STRIKE)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, emoji in EMOJI.items():
        sprite = render(emoji, font)
        if name == "bus":
            sprite = paint_red(sprite)
        sprite.quantize(255, method=Image.Quantize.FASTOCTREE).save(
            args.out / f"{name.replace(' ', '_')}.png", optimize=True
        )


if __name__ == "__main__":
    main()
