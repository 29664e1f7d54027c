"""Make the album: photos that may travel, and further pairs of which only numbers may. Run once.

    python data/make_album.py --real ../shared/real

Writes, below --out:

    photos/*.jpg         small copies (longest side 256 pixels, at most 25,000 bytes, no metadata)
    captions.json        their captions in COCO's format, each photo with its licence and address
    ATTRIBUTION.md       licence, address and changes of each photo, as a table
    train/captions.json  captions of the further photos, with COCO's ids where they are known
    train/features/      what the pocket image backbone makes of these photos, in half precision,
                         and a hash of the pixels of each

The further photos are those of `coco/` and `coco_thumbs/` that are not in the album. The thumbnails
have no ids, or ids that were guessed from a caption, so photos are also compared by their pixels.
"""

import argparse
import csv
import io
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmret_lib.data import Pairs
from mmret_lib.data.images import read_image
from mmret_lib.encoders import DualEncoder
from mmret_lib.encoders.features import keep_features

SIDE, BYTES = 256, 25_000
GRID = 32  # pixels along a side when two photos are compared

# Correlation of two photos' grey pixels above which they are copies of one photo. The 105 pairs of
# copies in ../shared/real have at least 0.9986; the next pair has 0.935 and is of two landscapes.
COPY = 0.97

HELD_OUT = 150  # photos with five captions that are the split "val"

LICENSES = {
    4: ("CC BY 2.0", "https://creativecommons.org/licenses/by/2.0/"),
    5: ("CC BY-SA 2.0", "https://creativecommons.org/licenses/by-sa/2.0/"),
    7: ("No known copyright restrictions", "https://www.flickr.com/commons/usage/"),
}
INFO = {
    "captions": "COCO 2017 captions, (c) the COCO Consortium (https://cocodataset.org)",
    "captions_license": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
    "made_by": "data/make_album.py",
}
BASE58 = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"

Record = dict[str, Any]


def photo_address(flickr_url: str) -> str:
    """The address of a photo's page on Flickr, given that of its file (…/9138147604_c6225_z.jpg).

    The page names the photographer; the file does not. Flickr's short addresses hold the photo's
    number to the base 58.
    """
    number, digits = int(flickr_url.rpartition("/")[2].partition("_")[0]), ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return f"https://flic.kr/p/{digits}"


def plain(caption: str) -> str:
    return " ".join(caption.lower().split()).rstrip(" .")


def small_copy(photo: Path) -> tuple[bytes, tuple[int, int]]:
    """A JPEG with at most SIDE pixels a side and at most BYTES bytes, and its width and height."""
    image = read_image(photo)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    image.info.clear()  # EXIF, colour profile, comments
    for quality in range(92, 40, -2):
        file = io.BytesIO()
        image.save(file, "jpeg", quality=quality, optimize=True)
        if file.tell() <= BYTES:
            return file.getvalue(), image.size
    raise ValueError(f"{photo} has more than {BYTES} bytes at every quality")


def make_photos(real: Path, out: Path) -> tuple[list[Record], set[str]]:
    """Write the photos and captions.json; return the records of the photos, and the captions."""
    content = json.loads((real / "album" / "captions.json").read_text(encoding="utf-8"))
    (out / "photos").mkdir(parents=True, exist_ok=True)
    images = []
    for given in sorted(content["images"], key=lambda image: image["id"]):
        if given["license"] not in LICENSES:
            raise ValueError(f"image {given['id']}: licence {given['license']} forbids the album")
        copy, (width, height) = small_copy(real / "album" / "photos" / given["file_name"])
        file_name = f"{given['id']:012d}.jpg"
        (out / "photos" / file_name).write_bytes(copy)
        kept = {key: given[key] for key in ("id", "license", "split", "coco_url", "flickr_url")}
        address = photo_address(given["flickr_url"])
        size = {"file_name": file_name, "width": width, "height": height}
        images.append(kept | size | {"photo_url": address})
    annotations = sorted(content["annotations"], key=lambda annotation: annotation["id"])
    licenses = [{"id": key, "name": n, "url": url} for key, (n, url) in LICENSES.items()]
    write_captions(out / "captions.json", images, annotations, {"licenses": licenses})
    return images, {plain(annotation["caption"]) for annotation in annotations}


def write_captions(
    path: Path, images: list[Record], annotations: list[Record], more: Record | None = None
) -> None:
    """Write COCO's format with one record a line, so that a change shows as a change of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {"info": INFO, **(more or {}), "images": images, "annotations": annotations}
    lines = []
    for key, value in parts.items():
        dump = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list):
            records = ",\n".join(json.dumps(record, ensure_ascii=False) for record in value)
            dump = f"[\n{records}\n]"
        lines.append(f"{json.dumps(key)}: {dump}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


ATTRIBUTION = """\
# Where the album's photos come from

Each photo is a small copy of a photograph that its photographer published on Flickr under the
licence named here, taken from the COCO data set (https://cocodataset.org), which does not name the
photographers; the page behind each address does, as long as Flickr has the photo. What was changed:
each was scaled down, to at most {side} pixels along its longest side, and saved as JPEG again
without its metadata. A copy is under the same licence as its photo: those under CC BY-SA 2.0 may
only be passed on under CC BY-SA 2.0.

The captions (`captions.json`, `train/captions.json`) are COCO's: (c) the COCO Consortium,
[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/), unchanged.

{count} photos: {counts}. `python data/make_album.py` wrote this page.

| photo | licence | address of the photo | file it was made from |
|---|---|---|---|
"""


def write_attribution(path: Path, images: list[Record]) -> None:
    numbers = [image["license"] for image in images]
    counts = ", ".join(f"{numbers.count(key)} × {name}" for key, (name, _) in LICENSES.items())
    rows = []
    for image in images:
        name, url = LICENSES[image["license"]]
        photo = f"[{image['file_name']}](photos/{image['file_name']})"
        address, source = image["photo_url"], image["flickr_url"]
        rows.append(f"| {photo} | [{name}]({url}) | <{address}> | <{source}> |\n")
    text = ATTRIBUTION.format(side=SIDE, count=len(images), counts=counts)
    path.write_text(text + "".join(rows), encoding="utf-8")


# ---------------------------------------------------------------- the further photos


def further_photos(real: Path) -> list[Record]:
    """The photos of coco/, then the thumbnails with five captions, then those with one.

    Each has `id` (a text, such as a file has), `path`, `captions`, and `coco_id` if it is known.
    """
    photos = []
    coco = json.loads((real / "coco/annotations/captions_train2017.json").read_text("utf-8"))
    captions = by_image(coco["annotations"])
    for image in sorted(coco["images"], key=lambda image: image["id"]):
        path = real / "coco" / "train2017" / image["file_name"]
        source = {key: image[key] for key in ("coco_url", "flickr_url")}
        record = {"id": path.stem, "path": path, "captions": captions[image["id"]]}
        photos.append(record | {"coco_id": image["id"]} | source)

    thumbs = real / "coco_thumbs"
    matched = json.loads((thumbs / "captions_5_matched_cocoformat.json").read_text("utf-8"))
    five = by_image(matched["annotations"])
    ids = {image["file_name"]: image["id"] for image in matched["images"]}
    with open(thumbs / "captions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in sorted(rows, key=lambda row: (row["image"] not in ids, row["image"])):
        path = thumbs / "images" / row["image"]
        record = {"id": path.stem, "path": path, "captions": [row["caption"].strip()]}
        if row["image"] in ids:
            coco_id = ids[row["image"]]
            record |= {"captions": five[coco_id], "coco_id": coco_id}
        photos.append(record)
    return photos


def by_image(annotations: list[Record]) -> dict[int, list[str]]:
    captions = defaultdict(list)
    for annotation in annotations:
        captions[annotation["image_id"]].append(annotation["caption"].strip())
    return captions


def fingerprint(photo: Path) -> npt.NDArray[np.float32]:
    """(2, GRID * GRID): the grey pixels of a photo and of its mirror image, as unit vectors.

    Their dot product with another photo's is the correlation of the two photos' pixels.
    """
    grey = read_image(photo).convert("L").resize((GRID, GRID), Image.Resampling.LANCZOS)
    pixels = np.asarray(grey, dtype=np.float32)
    both = np.stack([pixels, pixels[:, ::-1]]).reshape(2, -1)
    both = both - both.mean(axis=1, keepdims=True)
    return both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-6)


def correlations(
    some: npt.NDArray[np.float32], others: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """(N, 2, G), (M, 2, G) fingerprints -> (N, M), the larger one of straight and mirrored."""
    return np.maximum(some[:, 0] @ others[:, 0].T, some[:, 0] @ others[:, 1].T)


def without_copies(
    photos: list[Record], album: Path, album_ids: set[int], album_captions: set[str]
) -> list[Record]:
    """Leave out photos that are in the album, by id or by pixels, and all copies but the first.

    The first of several copies has the best record, so nothing is taken from the others. Two other
    photos are left out because an album photo has their caption, word for word.
    """
    of_album = np.stack([fingerprint(path) for path in sorted(album.glob("*.jpg"))])
    prints = np.stack([fingerprint(photo["path"]) for photo in photos])
    in_album = correlations(prints, of_album).max(axis=1) > COPY
    in_album |= np.array([photo.get("coco_id") in album_ids for photo in photos])
    copy_of_earlier = np.triu(correlations(prints, prints) > COPY, k=1).any(axis=0)
    said = [bool(album_captions & set(map(plain, photo["captions"]))) for photo in photos]
    said_of_album = np.array(said) & ~in_album & ~copy_of_earlier
    left_out = in_album | copy_of_earlier | said_of_album
    kept = [photo for photo, left in zip(photos, left_out, strict=True) if not left]
    print(
        f"{len(photos):,} further photos: {in_album.sum()} are in the album, "
        f"{(copy_of_earlier & ~in_album).sum()} are copies of others, {said_of_album.sum()} have a "
        f"caption of the album, {len(kept):,} are left"
    )
    return kept


def make_train(photos: list[Record], out: Path) -> None:
    """Write captions.json: which photo is in which split, and its captions."""
    described = sorted(photo["id"] for photo in photos if len(photo["captions"]) >= 5)
    held_out = set(random.Random(0).sample(described, HELD_OUT))
    photos = sorted(photos, key=lambda photo: photo["id"])
    images: list[Record] = []
    annotations: list[Record] = []
    for photo in photos:
        image = {key: value for key, value in photo.items() if key not in ("path", "captions")}
        split = "val" if photo["id"] in held_out else "train"
        images.append(image | {"file_name": photo["path"].name, "split": split})
        for caption in photo["captions"]:
            record = {"id": len(annotations) + 1, "image_id": photo["id"], "caption": caption}
            annotations.append(record)
    write_captions(out / "captions.json", images, annotations)
    print(
        f"train: {len(images):,} photos, {len(held_out)} of them val; {len(annotations):,} captions"
    )


def make_features(photos: list[Record], out: Path) -> None:
    """Write the features of the further photos, as `keep_features` does."""
    pairs = Pairs(
        images=[photo["path"] for photo in photos],
        captions=[],
        owner=np.empty(0, np.int64),
        image_ids=[photo["id"] for photo in photos],
        name="album",
        split="train+val",
    )
    model = DualEncoder.from_names("pocket", "pocket")
    keep_features(model, pairs, folder=out, dtype="float16", sides=["image"])
    (out / "image" / ".lock").unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, default=Path(__file__).parents[2] / "shared" / "real")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "album")
    args = parser.parse_args()
    images, captions = make_photos(args.real, args.out)
    write_attribution(args.out / "ATTRIBUTION.md", images)
    size = sum(path.stat().st_size for path in (args.out / "photos").iterdir())
    print(f"album: {len(images)} photos, {size / 1e6:.1f} MB")
    ids = {image["id"] for image in images}
    album = args.real / "album" / "photos"
    photos = without_copies(further_photos(args.real), album, ids, captions)
    make_train(photos, args.out / "train")
    make_features(photos, args.out / "train" / "features")
    size = sum(path.stat().st_size for path in args.out.rglob("*.*"))
    print(f"{args.out}: {size / 1e6:.1f} MB in all")


if __name__ == "__main__":
    main()
