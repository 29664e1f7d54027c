"""Read Flickr8k and Flickr30k, in each of the layouts in which copies of them exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmret_lib.data.assembling import Photo, assemble
from mmret_lib.data.finding import find_file, find_images
from mmret_lib.data.karpathy import find_split_file, read_karpathy
from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import chosen_splits, existing_folder, first_few, safe_name
from mmret_lib.data.seeded import SEEDED, WARNING, part_of
from mmret_lib.data.tables import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    SPLIT_COLUMNS,
    Table,
    read_table,
    read_text,
    texts_of,
)
from mmret_lib.files.errors import DataError, MissingFile, short

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
SPLITS_30K = ["train", "val", "test"]
# Of the seeded splits; the rest is for training. As many as in the official ones, on average.
SHARES_8K = {"test": 1000 / 8000, "dev": 1000 / 8000}
SHARES_30K = {"test": 1000 / 31014, "val": 1014 / 31014}

Row = tuple[int, str, Any, str]  # line number, file name, caption or captions, split or ""
TOKEN_ROW = r"([^\t]+)#\d+\t(.*)"  # name.jpg#number<tab>caption
# The published results.csv lacks the second bar in one row (2199200615.jpg| 4   A dog runs …).
WITHOUT_BAR = r"\s*(\d+)\s+(.*)"
REMEDY = (
    "rename the columns in its first line, or read it as the data set folder, with --captions FILE "
    "--{what}-column NAME (in Python load_pairs('folder', captions=…, {what}_column=…))"
)


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
    for as `karpathy.find_split_file` does. Where neither is there, photos are divided by a hash of
    their names: `Pairs.split` then is "seeded-test", and a line of `Pairs.notes` says so.

    Args:
        root: the folder that holds the photos and the text files.
        split: "train", "dev" (or "val"), "test", several joined by "+", or "all": every photo that
            has a caption, official split or not. "seeded-test" and so on divide by the hash even
            where the lists are there.
        images: the folder of the photos, relative to root. Without it, they are looked for in root
            and below, and `Pairs.notes` names an unusual folder.
        max_missing: share of captioned photos whose file may be missing, and of captions that may
            be empty, before that is an error.

    Raises:
        MissingFile: if the folder, a text file, or too many photos are not there.
        DataError: if a line of a text file is wrong; the message names it.
    """
    root = existing_folder(root, LAYOUT_8K)
    if karpathy := _in_place_of_lists(root, split):
        parts = "+".join("val" if part == "dev" else part for part in split.split("+"))
        listed_photos = read_karpathy(karpathy, parts)
        file_names = [str(photo.file_name) for photo in listed_photos]
        folder, notes = find_images(root, FOLDERS_8K, file_names, source=karpathy, images=images)
        return assemble(
            listed_photos,
            folder,
            karpathy,
            name="flickr8k",
            split=split,
            max_missing=max_missing,
            notes=[f"splits and captions are those of {karpathy}", *notes],
        )
    source = _first(root, CAPTIONS_8K, INNER_8K, LAYOUT_8K)
    photos, _ = _group(_rows(source))
    folder, notes = find_images(root, FOLDERS_8K, photos, source=source, images=images)
    skipped: list[str] = []
    if split != "all":
        bare = split.removeprefix(SEEDED)
        parts = "+".join("dev" if part == "val" else part for part in bare.split("+"))
        chosen = chosen_splits(parts, SPLITS_8K, "Flickr8k")
        names = {part: LISTS_8K.format(part) for part in SPLITS_8K}
        there = any(_find(root, [name], INNER_8K) for name in names.values())
        if split.startswith(SEEDED) or not there:
            split = SEEDED + bare
            notes.append(
                f"{WARNING} (mmret data flickr8k --root {root} --parts text fetches the official "
                "lists)"
            )
            listed = {name for name in photos if part_of(name, SHARES_8K, "train") in chosen}
        else:
            lists = [_first(root, [names[part]], INNER_8K, LAYOUT_8K) for part in sorted(chosen)]
            listed = _listed(lists, photos, source, skipped)
        photos = {name: photo for name, photo in photos.items() if name in listed}
    return assemble(
        photos.values(),
        folder,
        source,
        name="flickr8k",
        split=split,
        max_missing=max_missing,
        skipped=skipped,
        notes=notes,
    )


def _in_place_of_lists(root: Path, split: str) -> Path | None:
    """Karpathy's file of Flickr8k, where captions or the official lists of `split` are missing."""
    if split.startswith(SEEDED):
        return None
    lists = [] if split == "all" else [[LISTS_8K.format(part)] for part in SPLITS_8K]
    if all(_find(root, names, INNER_8K) for names in (CAPTIONS_8K, *lists)):
        return None
    return find_split_file(root, JSON_8K)


def _listed(
    lists: list[Path], photos: dict[str, Photo], source: Path, skipped: list[str]
) -> set[str]:
    """The names in official lists; those without a caption are counted in `skipped`."""
    listed: set[str] = set()
    for official in lists:
        names = {line.strip() for line in read_text(official).splitlines() if line.strip()}
        absent = sorted(names - photos.keys())
        if absent:
            skipped.append(
                f"{official}: {len(absent):,} of its {len(names):,} names have no caption in "
                f"{source.name} (a partial copy?): {first_few(absent, ', ')}"
            )
        listed |= names
    return listed


def read_flickr30k(
    root: str | Path,
    split: str = "test",
    *,
    images: str | Path | None = None,
    max_missing: float = 0.01,
) -> Pairs:
    """Read one split of Flickr30k.

    Karpathy's `dataset_flickr30k.json` holds splits and captions and is preferred; it is looked for
    as `karpathy.find_split_file` does. Without it the captions come from `results.csv`,
    `captions.txt`, `results_20130124.token` or `flickr_annotations_30k.csv`, which has a column of
    Karpathy's splits. The others have no splits, and photos are divided by a hash of their names,
    as in `read_flickr8k`. Images keep the order of the file.

    Args:
        root: the folder that holds the photos and one of these files.
        split: "train", "val", "test", several joined by "+", or "all"; "seeded-test" and so on
            divide by the hash even where other splits are there.
        images, max_missing: as in `read_flickr8k`.

    Raises:
        MissingFile, DataError: as `read_flickr8k`.
    """
    root = existing_folder(root, LAYOUT_30K)
    karpathy = find_split_file(root, JSON_30K)
    bare = split.removeprefix(SEEDED)
    if karpathy is not None:
        source = karpathy
        photos = read_karpathy(karpathy, bare if split == bare else "all")
        splits: dict[str, str] = {}
    else:
        names = ["results.csv", "captions.txt", "results_20130124.token"]
        names.append("flickr_annotations_30k.csv")
        inner = "flickr30k_images"  # Kaggle's copy has results.csv in there
        source = _first(root, names, inner, LAYOUT_30K)
        grouped, splits = _group(_rows(source))
        photos = list(grouped.values())
    every = [str(photo.file_name) for photo in photos]
    folder, notes = find_images(root, FOLDERS_30K, every, source=source, images=images)
    if split != bare or (source != karpathy and split != "all" and not any(splits.values())):
        chosen = chosen_splits(bare, SPLITS_30K, "Flickr30k")
        split = SEEDED + bare
        notes.append(
            f"{WARNING} (mmret data flickr30k --root {root} --parts karpathy fetches the "
            "division that papers use)"
        )
        photos = [p for p in photos if part_of(str(p.file_name), SHARES_30K, "train") in chosen]
    elif source != karpathy and split != "all":
        chosen = chosen_splits(split, sorted({*splits.values()} - {""}), str(source))
        photos = [photo for photo in photos if splits[str(photo.file_name)] in chosen]
    return assemble(
        photos,
        folder,
        source,
        name="flickr30k",
        split=split,
        max_missing=max_missing,
        notes=notes,
    )


def _rows(source: Path) -> Iterator[Row]:
    """The rows of a caption file in any of its forms; its first line tells which it is."""
    text = read_text(source)
    first_line = text.partition("\n")[0]
    if re.match(TOKEN_ROW, first_line):
        yield from _token_rows(source, text)
        return
    is_barred = "|" in first_line and "," not in first_line
    known = [*IMAGE_COLUMNS, *CAPTION_COLUMNS, *SPLIT_COLUMNS]
    table = _barred(source, text) if is_barred else read_table(source, known)
    image = table.column("image", IMAGE_COLUMNS, REMEDY)
    caption = table.column("caption", CAPTION_COLUMNS, REMEDY)
    split = table.column("split", SPLIT_COLUMNS, REMEDY, None, needed=False)
    for number, row in table.rows:
        name = safe_name(row.get(image), f"{source}: line {number}").strip()
        yield number, name, row.get(caption), str(row.get(split or "") or "")


def _token_rows(source: Path, text: str) -> Iterator[Row]:
    """The rows `name.jpg#number<tab>caption`, which have no header."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            row = re.fullmatch(TOKEN_ROW, line.rstrip("\r"))
            if row is None:
                raise DataError(
                    f"{source}: line {number} is {short(line)}; expected "
                    "name.jpg#number<tab>caption"
                )
            yield number, row[1].strip(), row[2], ""


def _barred(source: Path, text: str) -> Table:
    """The table `image_name| comment_number| comment`; its last column may hold bars."""
    lines = text.split("\n")
    columns = [name.strip() for name in lines[0].split("|")]

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(lines[1:], start=2):
            if not line.strip():
                continue
            row = line.rstrip("\r").split("|", len(columns) - 1)
            if len(row) == len(columns) - 1 and (broken := re.fullmatch(WITHOUT_BAR, row[-1])):
                row[-1:] = broken.groups()
            if len(row) != len(columns):
                raise DataError(
                    f"{source}: line {number} is {short(line)}; expected {'| '.join(columns)}"
                )
            yield number, dict(zip(columns, row, strict=True))

    return Table(source, columns, rows())


def _group(rows: Iterator[Row]) -> tuple[dict[str, Photo], dict[str, str]]:
    """Bring the rows of each photo together: name -> photo, and name -> its split or ""."""
    photos: dict[str, Photo] = {}
    splits: dict[str, str] = {}
    for number, name, captions, split in rows:
        photo = photos.setdefault(name, Photo(f"line {number}", name, name))
        splits.setdefault(name, split)
        for caption in texts_of(captions):
            photo.captions.append(caption)
            photo.caption_records.append(f"line {number}")
    return photos, splits


def _first(root: Path, names: list[str], inner: str, layout: str) -> Path:
    """As `_find`; raises MissingFile where there is none."""
    if (path := _find(root, names, inner)) is None:
        raise MissingFile(f"{root} has no {' or '.join(names)}; expected {layout}")
    return path


def _find(root: Path, names: list[str], inner: str) -> Path | None:
    """The first of these files that is there: in root, in the folder `inner`, or further below."""
    paths = [path for name in names for path in (root / name, root / inner / name)]
    if path := next(filter(Path.is_file, paths), None):
        return path
    return next((p for name in names if (p := find_file(root, name, root / name)).is_file()), None)
