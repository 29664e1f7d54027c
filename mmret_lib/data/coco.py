"""Read captions in the COCO format: the official folders, copies of them, and the built-in world.

    root/annotations/captions_val2017.json     root/val2017/000000000139.jpg

The json is somebody else's text, and pycocotools indexes it without a look: a missing key comes out
as a bare KeyError, two images with one id as one image. So every record is checked here first, in
words, and then pycocotools does the indexing. Karpathy's split file, by which most papers divide
COCO, is read here too.
"""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from pycocotools.coco import COCO

from mmret_lib.data.pairs import Pairs, Photo, assemble, clean_caption
from mmret_lib.files.errors import DataError, MissingFile, short

LAYOUT = "annotations/captions_<split>.json and the images in <split>/, as in the official archives"
KARPATHY, KARPATHY_SPLITS = "dataset_coco.json", {"train", "restval", "val", "test"}
REPAIR = "unpack or download the file again, or mend this record"
NO_ID = f"not a whole number of 64 bits or a text; {REPAIR}"


def read_coco(
    root: str | Path,
    split: str = "val2017",
    *,
    annotations: str | Path | None = None,
    images: str | Path | None = None,
    karpathy: str | Path | None = None,
    name: str = "coco",
    max_missing: float = 0.01,
    keep_info: bool = False,
) -> Pairs:
    """Read one split of a COCO caption folder.

    Images come in the order of their ids, captions in the order of theirs. With `karpathy` the
    images keep the order of that file: the five folds of the "1K" protocol depend on it.

    Args:
        root: the folder that holds `annotations/` and the image folders.
        split: "train2017", "val2017", "train2014", "val2014", … ; or, of Karpathy's split file,
            "train", "restval", "val", "test" or several joined by "+". Where both other paths
            are given it is only a label.
        annotations: the caption file, relative to root, if it is not the official one.
        images: the image folder, relative to root, if it is not the official one.
        karpathy: Karpathy's split file, relative to root, if it is not `dataset_coco.json`.
        name: the name that the Pairs carry, for other data sets kept in this format.
        max_missing: share of images whose file may be missing before that is an error.
        keep_info: keep the raw image and annotation records in the Pairs.

    Raises:
        MissingFile: if the folder, the json, or too many images are not there.
        DataError: if the json does not hold what it should; the message names the record.
    """
    root = existing_folder(root, LAYOUT)
    official = root / f"annotations/captions_{split}.json"
    if {*split.split("+")} <= KARPATHY_SPLITS and annotations is None and not official.is_file():
        karpathy = karpathy or KARPATHY
    if karpathy is not None:
        if annotations is not None:
            raise DataError("give either annotations or karpathy: both hold the captions")
        source = root / karpathy
        photos = read_karpathy(source, split)
        folder = root if images is None else root / images
    else:
        source = root / (annotations or f"annotations/captions_{split}.json")
        if not source.is_file():
            here = sorted(path.name for path in (root / "annotations").glob("captions_*.json"))
            hint = f". There are {', '.join(here)}" if here else ""
            raise MissingFile(f"{source} does not exist; expected {LAYOUT}{hint}")
        photos = list(_read_captions(source))
        folder = root / (images or split)
    return assemble(
        photos,
        existing_folder(folder, LAYOUT),
        source,
        name=name,
        split=split,
        max_missing=max_missing,
        keep_info=keep_info,
    )


def _read_captions(source: Path) -> Iterator[Photo]:
    content = read_json(source)
    image_records = _records(content, "images", source)
    annotation_records = _records(content, "annotations", source)
    image_ids = _ids(image_records, "images", source)
    _ids(annotation_records, "annotations", source)
    prefix = f"{source}: annotation id"
    for annotation in annotation_records:
        where = f"{prefix} {annotation['id']!r}"
        image_id = annotation.get("image_id")
        if isinstance(image_id, bool | list | dict) or image_id not in image_ids:
            raise DataError(
                f"{where}: image_id {short(image_id)} is not the id of any image in the file; "
                f"{REPAIR}"
            )
        clean_caption(annotation.get("caption"), where)

    index = COCO()
    # Only what was checked: pycocotools would stumble over, say, categories without ids.
    index.dataset = {"images": image_records, "annotations": annotation_records}
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    for image_id in sorted(index.imgs):
        image = index.imgs[image_id]
        described = sorted(index.imgToAnns.get(image_id, []), key=lambda record: record["id"])
        yield Photo(
            record=f"image id {image_id!r}",
            image_id=image_id,
            file_name=image.get("file_name"),
            captions=[record["caption"].strip() for record in described],
            image_info=image,
            caption_info=described,
        )


def read_karpathy(source: Path, split: str) -> list[Photo]:
    """The images of one split of Karpathy's `dataset_coco.json` or `dataset_flickr30k.json`.

    Args:
        split: a split of that file, or several joined by "+", or "all".

    Raises:
        MissingFile, DataError: as `read_coco`.
    """
    records = _records(read_json(source), "images", source)
    names: set[str] = set()
    for place, record in enumerate(records):
        if not isinstance(record.get("split"), str):
            raise DataError(f"{source}: images[{place}] has no split; {REPAIR}")
        names.add(record["split"])
    wanted = chosen_splits(split, sorted(names), str(source))
    photos: list[Photo] = []
    seen: set[int | str] = set()
    for place, record in enumerate(records):
        if record["split"] not in wanted:
            continue
        where = f"{source}: images[{place}]"
        file_name = record.get("filename")
        image_id = record.get("cocoid", file_name)
        if not _is_id(image_id):
            raise DataError(f"{where}: cocoid or filename is {short(image_id)}, {NO_ID}")
        if image_id in seen:
            raise DataError(f"{where}: image {short(image_id)} stands twice in the file; {REPAIR}")
        seen.add(image_id)
        sentences = record.get("sentences")
        if not isinstance(sentences, list) or not all(isinstance(s, dict) for s in sentences):
            raise DataError(
                f"{where}: sentences is {short(sentences)}, not a list of objects; {REPAIR}"
            )
        if "filepath" in record and isinstance(file_name, str):
            file_name = f"{record['filepath']}/{file_name}"
        photos.append(
            Photo(
                record=f"images[{place}]",
                image_id=image_id,
                file_name=file_name,
                captions=[
                    clean_caption(sentence.get("raw"), f"{where}: sentences[{number}]")
                    for number, sentence in enumerate(sentences)
                ],
                image_info=record,
                caption_info=sentences,
            )
        )
    return photos


def chosen_splits(split: str, known: list[str], source: str) -> set[str]:
    """The parts of "train+restval", each checked against what `source` knows; "all" is all."""
    wanted = set(known) if split == "all" else set(split.split("+"))
    unknown = sorted(wanted - set(known))
    if unknown:
        raise DataError(
            f"{source} has no split {short(unknown[0])}; it has {', '.join(known)}, several of "
            "them joined by '+', or 'all'"
        )
    return wanted


def existing_folder(folder: str | Path, layout: str) -> Path:
    """The folder as a Path, if it is there."""
    folder = Path(folder)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise MissingFile(f"{folder} {what}; expected {layout}")
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """The json object in a file, in UTF-8 or UTF-16, or an error that says what is wrong with it.

    Stricter than Python's reader: NaN is not json, and of two equal keys the first is not dropped.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise MissingFile(f"{path} does not exist; expected a json file there") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    again = "unpack or download the file again"

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{path}: the key {short(twice)} stands twice in one object; {REPAIR}")
        return found

    def no_constant(name: str) -> None:
        raise DataError(f"{path}: {name} is not json; write the number or null")

    try:
        content = json.loads(raw, object_pairs_hook=distinct, parse_constant=no_constant)
    except DataError:
        raise
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not json (line {error.lineno}, column {error.colno}: {error.msg}); {again}"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply to be a caption file; {again}") from error
    except ValueError as error:  # wrong encoding, a number of thousands of digits
        raise DataError(f"{path} is not json that can be read ({error}); {again}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a json {type(content).__name__}, not an object; {again}")
    return content


def _records(content: dict[str, Any], key: str, source: Path) -> list[dict[str, Any]]:
    if key not in content:
        present = ", ".join(map(short, list(content)[:10])) or "nothing"
        raise DataError(f"{source} lacks {key!r}; it has {present}. Is this the caption file?")
    records = content[key]
    if not isinstance(records, list):
        raise DataError(f"{source}: {key!r} is {short(records)}, not a list; {REPAIR}")
    for place, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataError(f"{source}: {key}[{place}] is {short(record)}, not an object; {REPAIR}")
    return records


def _ids(records: list[dict[str, Any]], key: str, source: Path) -> set[int | str]:
    seen: set[int | str] = set()
    for place, record in enumerate(records):
        image_id = record.get("id")
        if not _is_id(image_id):
            raise DataError(f"{source}: {key}[{place}]: id is {short(image_id)}, {NO_ID}")
        if image_id in seen:
            raise DataError(
                f"{source}: {key}[{place}]: id {short(image_id)} stands twice; {REPAIR}"
            )
        seen.add(image_id)
    if len({type(value) for value in seen}) > 1:
        raise DataError(
            f"{source}: some ids of {key!r} are numbers and some are texts; use one kind"
        )
    return seen


def _is_id(value: Any) -> TypeGuard[int | str]:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63  # ids end up in arrays
    return isinstance(value, str)
