"""Read Flickr8k and Flickr30k, in each of the layouts in which copies of them exist."""

import re
from collections.abc import Iterator
from pathlib import Path

from mmret_lib.data.assembling import Photo, assemble
from mmret_lib.data.karpathy import find_split_file, read_karpathy
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import chosen_splits, existing_folder, first_few
from mmret_lib.data.tables import delimited_rows, read_text
from mmret_lib.files.errors import DataError, MissingFile, short
from mmret_lib.files.places import user_path

LAYOUT_8K = (
    "Images/ (or Flicker8k_Dataset/), captions.txt (or Flickr8k.token.txt) and the official lists "
    "Flickr_8k.{train,dev,test}Images.txt, or in place of these Karpathy's dataset_flickr8k.json"
)
LAYOUT_30K = (
    "flickr30k-images/ (or flickr30k_images/, Images/) and dataset_flickr30k.json, results.csv or "
    "results_20130124.token"
)
FOLDERS_8K = ["Images", "Flicker8k_Dataset", "Flickr8k_Dataset"]
FOLDERS_30K = ["flickr30k-images", "flickr30k_images", "Images"]
SPLITS_8K = ["train", "dev", "test"]
CAPTIONS_8K = ["captions.txt", "Flickr8k.token.txt"]
LISTS_8K = "Flickr_8k.{}Images.txt"
INNER_8K = "Flickr8k_text"  # the folder that the archive of text files may unpack to
JSON_8K, JSON_30K = "dataset_flickr8k.json", "dataset_flickr30k.json"

Row = tuple[int, str, str]  # line number, file name, caption
BAR_HEADER = "image_name|"
# The published results.csv lacks the second bar in one row (2199200615.jpg| 4   A dog runs …).
BAR_ROW = r"([^|]+)\|\s*\d+\s*(?:\||\s)(.*)"  # name.jpg| number| caption
TOKEN_ROW = r"([^\t]+)#\d+\t(.*)"  # name.jpg#number<tab>caption


def read_flickr8k(
    root: str | Path,
    split: str = "test",
    *,
    images: str | Path | None = None,
    max_missing: float = 0.01,
) -> Pairs:
    """Read one split of Flickr8k; images in the order of the caption file.

    The official lists name all 8,000 photos. Where a copy holds fewer, the names that have no
    caption in it are counted in one line of `skipped`. Where the lists or the caption file are not
    there, Karpathy's `dataset_flickr8k.json` gives the same splits, and the captions; it is looked
    for as `karpathy.find_split_file` does.

    Args:
        root: the folder that holds the photos and the text files.
        split: "train", "dev" (or "val"), "test", several joined by "+", or "all": every photo that
            has a caption, official split or not.
        images: the folder of the photos, relative to root, if it has another name.
        max_missing: share of captioned photos whose file may be missing, and of captions that may
            be empty, before that is an error.

    Raises:
        MissingFile: if the folder, a text file, or too many photos are not there.
        DataError: if a line of a text file is wrong; the message names it.
    """
    root = existing_folder(root, LAYOUT_8K)
    if karpathy := _in_place_of_lists(root, split):
        parts = "+".join("val" if part == "dev" else part for part in split.split("+"))
        return assemble(
            read_karpathy(karpathy, parts),
            _image_folder(root, images, FOLDERS_8K, LAYOUT_8K),
            karpathy,
            name="flickr8k",
            split=split,
            max_missing=max_missing,
            notes=[f"splits and captions are those of {karpathy}"],
        )
    source = _first(root, CAPTIONS_8K, INNER_8K, LAYOUT_8K)
    folder = _image_folder(root, images, FOLDERS_8K, LAYOUT_8K)
    photos = _group(_rows(source))
    skipped: list[str] = []
    if split != "all":
        parts = "+".join("dev" if part == "val" else part for part in split.split("+"))
        listed: set[str] = set()
        for part in sorted(chosen_splits(parts, SPLITS_8K, "Flickr8k")):
            official = _first(root, [LISTS_8K.format(part)], INNER_8K, LAYOUT_8K)
            names = {line.strip() for line in read_text(official).splitlines() if line.strip()}
            absent = sorted(names - photos.keys())
            if absent:
                skipped.append(
                    f"{official}: {len(absent):,} of its {len(names):,} names have no caption in "
                    f"{source.name} (a partial copy?): {first_few(absent, ', ')}"
                )
            listed |= names
        photos = {name: photo for name, photo in photos.items() if name in listed}
    return assemble(
        photos.values(),
        folder,
        source,
        name="flickr8k",
        split=split,
        max_missing=max_missing,
        skipped=skipped,
    )


def _in_place_of_lists(root: Path, split: str) -> Path | None:
    """Karpathy's file of Flickr8k, where captions or the official lists of `split` are missing."""
    lists = [] if split == "all" else [[LISTS_8K.format(part)] for part in SPLITS_8K]
    if all(_find(root, names, INNER_8K) for names in (CAPTIONS_8K, *lists)):
        return None
    return find_split_file(root, JSON_8K)


def read_flickr30k(
    root: str | Path,
    split: str = "test",
    *,
    images: str | Path | None = None,
    max_missing: float = 0.01,
) -> Pairs:
    """Read one split of Flickr30k.

    Karpathy's `dataset_flickr30k.json` holds splits and captions and is preferred; it is looked for
    as `karpathy.find_split_file` does. Without it only "all" can be read, from `results.csv`,
    `captions.txt` or `results_20130124.token`. Images keep the order of the file.

    Args:
        root: the folder that holds the photos and one of these files.
        split: "train", "val", "test", several joined by "+", or "all".
        images: the folder of the photos, relative to root, if it has another name.
        max_missing: as in `read_flickr8k`.

    Raises:
        MissingFile, DataError: as `read_flickr8k`.
    """
    root = existing_folder(root, LAYOUT_30K)
    folder = _image_folder(root, images, FOLDERS_30K, LAYOUT_30K)
    photos: list[Photo]
    source = find_split_file(root, JSON_30K) or root / JSON_30K
    if source.is_file():
        photos = read_karpathy(source, split)
    else:
        if split != "all":
            raise MissingFile(
                f"{source} does not exist, and only it says which photos are in {split!r}: put "
                "Karpathy's split file there, or read split='all'"
            )
        names = ["results.csv", "captions.txt", "results_20130124.token"]
        source = _first(root, names, folder.name, LAYOUT_30K)
        photos = list(_group(_rows(source)).values())
    return assemble(photos, folder, source, name="flickr30k", split=split, max_missing=max_missing)


def _rows(source: Path) -> Iterator[Row]:
    """The rows of a caption file in any of its three forms; its first line tells which it is."""
    text = read_text(source)
    first_line = text.partition("\n")[0]
    if first_line.startswith(BAR_HEADER):
        return _matched_rows(source, text, BAR_ROW, "image name| number| caption", header=True)
    if re.match(TOKEN_ROW, first_line):
        return _matched_rows(source, text, TOKEN_ROW, "name.jpg#number<tab>caption", header=False)
    return _comma_rows(source, text)


def _comma_rows(source: Path, text: str) -> Iterator[Row]:
    """`image,caption` (or `image_name,comment_number,comment`) under a header, quoted as csv."""
    rows = delimited_rows(source, text)
    number, header = next(rows, (1, [""]))
    if len(header) < 2 or not header[0].strip().startswith("image"):
        raise DataError(
            f"{source}: line {number} is {short(','.join(header))}; expected the header "
            f"image,caption or {BAR_HEADER} comment_number| comment, or a row "
            "name.jpg#0<tab>caption"
        )
    for number, row in rows:
        yield number, row[0].strip(), row[-1]


def _matched_rows(
    source: Path, text: str, pattern: str, expected: str, *, header: bool
) -> Iterator[Row]:
    """The rows of a file whose lines are one row each; every row must fit the pattern."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or (header and number == 1):
            continue
        row = re.fullmatch(pattern, line.rstrip("\r"))
        if row is None:
            raise DataError(f"{source}: line {number} is {short(line)}; expected {expected}")
        yield number, row[1].strip(), row[2]


def _group(rows: Iterator[Row]) -> dict[str, Photo]:
    photos: dict[str, Photo] = {}
    for number, name, caption in rows:
        photo = photos.setdefault(name, Photo(f"line {number}", name, name))
        photo.captions.append(caption)
        photo.caption_records.append(f"line {number}")
    return photos


def _first(root: Path, names: list[str], inner: str, layout: str) -> Path:
    """The first of these files that is there, in root or in the folder its archive unpacks to."""
    if path := _find(root, names, inner):
        return path
    raise MissingFile(f"{root} has no {' or '.join(names)}; expected {layout}")


def _find(root: Path, names: list[str], inner: str) -> Path | None:
    paths = [path for name in names for path in (root / name, root / inner / name)]
    return next(filter(Path.is_file, paths), None)


def _image_folder(root: Path, images: str | Path | None, names: list[str], layout: str) -> Path:
    if images is not None:
        return existing_folder(root / user_path(images), layout)
    # Some archives unpack to a folder of the same name within.
    paths = [path for name in names for path in (root / name / name, root / name)]
    if path := next(filter(Path.is_dir, paths), None):
        return path
    raise MissingFile(f"{root} has no folder {' or '.join(names)}; expected {layout}")
