"""Measure how far apart the pixel hashes of copies and of different pictures are.

    python benchmarks/pixel_hash.py --root ../shared/real            about three minutes
    python benchmarks/pixel_hash.py --scenes 2000 --out /tmp/trial   a trial

Copies: each real photo is read at 64 and at 224 pixels; and every fifth is saved again, as JPEG of
quality 50, 75 and 95, and scaled to 300 and 160 pixels, and read at 64, 224 and 256. Different
pictures: all pairs of real photos that are no copies by another measure (the correlation of their
grey pixels, as data/make_album.py compares them, at most 0.95), and all pairs of drawn scenes.
"""

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm.auto import tqdm

from mmret_lib.data import load_pairs
from mmret_lib.data.images import read_image, read_pixels, to_pixels
from mmret_lib.data.pixel_hash import NEAR, Hashes, copies_in, pixel_hashes
from mmret_lib.data.store import pack
from mmret_lib.files.whole import write_text
from mmret_lib.training import made_by

HERE = Path(__file__).parent
FOLDERS = ("coco/train2017", "coco_thumbs/images", "flickr8k/Images", "album/photos")
SAVED = {"quality 50": (None, 50), "quality 75": (None, 75), "quality 95": (None, 95)}
SAVED |= {"300 pixels, quality 85": (300, 85), "160 pixels, quality 80": (160, 80)}
NOTE = """Looked at: of the pairs that the correlation takes for copies, the two with more than 14
bits are different pictures of fog. The pair of different photos with 8 bits are two shots of one
church. The pair of scenes with 3 bits, of two worlds, has one football at the same place of a
beach: for drawings as sparse as these, one picture in some 70 million pairs is taken for another.
Among the splits of the course's own world there is none."""
SHOWN = 14  # distances up to this one have a column


def hashes_of(images: list[Image.Image], size: int) -> Hashes:
    return pixel_hashes(np.stack([to_pixels(image, size) for image in images]))


def saved_again(image: Image.Image, side: int | None, quality: int) -> Image.Image:
    copy, file = image.copy(), io.BytesIO()
    if side:
        copy.thumbnail((side, side), Image.Resampling.LANCZOS)
    copy.save(file, "jpeg", quality=quality)
    return read_image(np.asarray(Image.open(file)))


def grey(image: Image.Image) -> npt.NDArray[np.float32]:
    pixels = np.asarray(image.convert("L").resize((32, 32)), np.float32).ravel()
    pixels -= pixels.mean()
    return pixels / max(float(np.linalg.norm(pixels)), 1e-6)


def counts(some: Hashes, others: Hashes, known: npt.NDArray[np.bool_] | None = None) -> list[int]:
    """How many pairs have each distance; without `others` each pair of `some` once."""
    total = np.zeros(65, np.int64)
    for i, one in enumerate(some):
        distances = np.bitwise_count(one ^ others[i + 1 :] if others is some else one ^ others)
        if known is not None:
            distances = distances[~known[i, i + 1 :]]
        total += np.bincount(distances, minlength=65)
    return [int(count) for count in total]


def row(name: str, total: list[int]) -> str:
    near = sum(total[: NEAR + 1])
    cells = "".join(f" {count:,} |" if count else " |" for count in total[: SHOWN + 1])
    return f"| {name} | {sum(total):,} |{cells} {sum(total[SHOWN + 1 :]):,} | {near:,} |"


def speeds(paths: list[Path], images: list[Image.Image]) -> list[str]:
    lines = []
    for size in (64, 224):
        started = time.perf_counter()
        for path in paths[:100]:  # of full size
            read_pixels(path, size)
        decoding = 10 * (time.perf_counter() - started)
        pixels = np.stack([to_pixels(image, size) for image in images[:512]])
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            pixel_hashes(pixels)
            seconds.append(time.perf_counter() - started)
        each = 1e3 * min(seconds) / len(pixels)
        lines.append(
            f"Hashing a picture of {size} pixels takes {each:.3f} ms, decoding a photo of COCO at "
            f"that size {decoding:.1f} ms: packing takes {each / decoding:.1%} longer."
        )
    rng = np.random.default_rng(0)
    train = rng.integers(1, 2**64, 118_000, dtype=np.uint64)
    test = rng.integers(1, 2**64, 5_000, dtype=np.uint64)
    for name, others in (("5,000", test), ("themselves", train)):
        started = time.perf_counter()
        copies_in(train, others)
        seconds_all = time.perf_counter() - started
        lines.append(f"Comparing 118,000 hashes with {name} takes {seconds_all:.2f} s.")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=HERE.parents[1] / "shared" / "real")
    parser.add_argument("--scenes", type=int, default=24_000, help="further scenes to draw")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    paths = [path for folder in FOLDERS for path in sorted((args.root / folder).glob("*.jpg"))]
    photos = [read_image(path) for path in tqdm(paths, desc="photos")]
    small, large = hashes_of(photos, 64), hashes_of(photos, 224)
    prints = np.stack([grey(image) for image in photos])
    alike = prints @ prints.T > 0.95
    pairs = np.argwhere(np.triu(alike, 1))
    copies = np.bitwise_count(small[pairs[:, 0]] ^ small[pairs[:, 1]])
    rows = [
        row("the same photo read at 64 and at 224", _bincount(small ^ large)),
        row("copies that the folders hold", [int(c) for c in np.bincount(copies, minlength=65)]),
    ]
    for name, (side, quality) in SAVED.items():
        again = [saved_again(image, side, quality) for image in tqdm(photos[::5], desc=name)]
        total = np.zeros(65, np.int64)
        for size in (64, 224, 256):
            total += _bincount(large[::5] ^ hashes_of(again, size))
        rows.append(row(f"saved again: {name}", [int(count) for count in total]))
    rows.append(row("different photos", counts(small, small, alike)))
    train, val, test = (
        pack(load_pairs("scenes", split=split), 64).hashes for split in ("train", "val", "test")
    )
    more = pack(load_pairs("scenes", split="train", size=args.scenes, seed=7), 64).hashes
    rows.append(row("scenes: train with test", counts(train, test)))
    rows.append(row("scenes: train with val", counts(train, val)))
    rows.append(row("scenes: within train", counts(train, train)))
    rows.append(row(f"scenes: {args.scenes:,} of another seed with test", counts(more, test)))
    heads = "".join(f" {distance} |" for distance in range(SHOWN + 1))
    lines = [
        "# Pixel hashes: copies and different pictures",
        "",
        f"`python benchmarks/pixel_hash.py` on {json.dumps(made_by())}",
        "",
        "Numbers of pairs by the number of bits, of 64, in which their hashes differ. Pairs that "
        f"differ in {NEAR} bits at most are taken for copies of one picture.",
        "",
        f"| pairs | all |{heads} more | taken for copies |",
        "|" + "---|" * (SHOWN + 5),
        *rows,
        "",
        NOTE,
        "",
        *speeds(paths, photos),
        "",
    ]
    write_text(args.out / "pixel_hash.md", "\n".join(lines))
    print("\n".join(lines))


def _bincount(differences: Hashes) -> list[int]:
    return [int(count) for count in np.bincount(np.bitwise_count(differences), minlength=65)]


if __name__ == "__main__":
    main()
