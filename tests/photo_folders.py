"""Small folders in the published forms of COCO, Flickr8k and Flickr30k, written by the tests."""

import csv
import json
from pathlib import Path

from PIL import Image

# File names that lead out of their folder on some operating system.
CLIMBING = [
    "../../x.jpg",
    "a/../../x.jpg",
    "..",
    "/etc/x.jpg",
    "C:x.jpg",
    "c:\\x.jpg",
    "..\\x.jpg",
    "\\\\host\\x.jpg",
    "x.jpg\0.png",
    "folder/",
]


def put_photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, "PNG")


def coco_content() -> dict:
    """Three photos; ids, captions and records in no order, as in the official files."""
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [
            {"id": 30, "file_name": "c.jpg", "width": 4, "height": 4, "scene": {"n": 3}},
            {"id": 10, "file_name": "a.jpg"},
            {"id": 20, "file_name": "b.jpg"},
        ],
        "annotations": [
            {"id": 5, "image_id": 20, "caption": "second of b"},
            {"id": 4, "image_id": 20, "caption": " first of b. \n"},
            {"id": 9, "image_id": 10, "caption": "of a", "claim": {"kind": "bear"}},
            {"id": 1, "image_id": 30, "caption": "of c"},
        ],
    }


def put_coco(root: Path, content, *, photos=("a.jpg", "b.jpg", "c.jpg"), split="val2017") -> Path:
    """Write a COCO caption folder; `content` is bytes or what json makes of it."""
    path = root / "annotations" / f"captions_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    (root / split).mkdir(exist_ok=True)
    for name in photos:
        put_photo(root / split / name)
    return path


FLICKR = [
    ("b.jpg", 'A "big" dog , running .'),
    ("b.jpg", "Two dogs ."),
    ("a.jpg", "A girl in a pink dress ."),
    ("c.jpg", "No commas"),
]


def put_flickr8k(root: Path, rows=FLICKR, *, form="captions.txt", photos="Images") -> None:
    for name in sorted({name for name, _ in FLICKR}):
        put_photo(root / photos / name)
    (root / form).parent.mkdir(parents=True, exist_ok=True)
    if form.endswith("captions.txt"):
        with open(root / form, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("image", "caption"), *rows])
    else:
        lines = [f"{name}#{number}\t{caption}\n" for number, (name, caption) in enumerate(rows)]
        (root / form).write_text("".join(lines), encoding="utf-8")
    for split, names in (("train", "a.jpg\n"), ("dev", "c.jpg\r\n\n"), ("test", "b.jpg\nz.jpg")):
        (root / f"Flickr_8k.{split}Images.txt").write_text(names)


# The row without its second bar is in the published file.
RESULTS = """\
image_name| comment_number| comment
1.jpg| 0| Two men , one | bar .
1.jpg| 1|  A "quoted" word .
2199200615.jpg| 3|   A dog runs .
2199200615.jpg| 4   A dog runs across the grass .
"""
RESULTS_CAPTIONS = [
    "Two men , one | bar .",
    'A "quoted" word .',
    "A dog runs .",
    "A dog runs across the grass .",
]


def put_flickr30k(root: Path, folder: str) -> None:
    for name in ("1.jpg", "2199200615.jpg"):
        put_photo(root / folder / name)
