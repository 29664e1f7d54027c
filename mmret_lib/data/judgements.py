"""Read which answers are right although the data set counts them as wrong.

A caption was written for one picture, but often fits others too. Three sources say which:

- **CxC** (Parekh et al., arXiv 2004.15020): people rated 0 to 5 how well captions of COCO's
  Karpathy val and test splits fit pictures. 3 or more is a right answer.
- **ECCV Caption** (Chun et al., arXiv 2204.03359): right answers to 2,593 queries of the test
  split, found by five models and checked by people. Its figures are R@1, R-Precision and mAP@R.
- **the built-in world**: its generator knows of every caption of which scenes it is true.

You need a copy of the files; nothing is downloaded. CxC: `sits_val.csv` or `sits_test.csv` from
github.com/google-research-datasets/Crisscrossed-Captions. ECCV Caption: the folder
`eccv_caption/data` of the package of that name, which also holds CxC's right answers in its format.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmret_lib.data.pairs import Pairs
from mmret_lib.data.reading import read_json
from mmret_lib.data.world.scenes import caption_log_likelihood
from mmret_lib.files.errors import DataError, MissingFile, short
from mmret_lib.files.places import user_path

CXC_COLUMNS = ["caption", "image", "agg_score", "sampling_method"]
CXC_RIGHT = 3.0  # the rating from which on the paper's section 3 counts a pair as right
Ids = tuple[int, int]  # a query's and a right answer's
I2C, C2I = "_image_to_caption.json", "_caption_to_image.json"


@dataclass(frozen=True, eq=False)
class Judgements:
    """Right answers of one source, by index into a collection.

    A source judges some queries and leaves out the rest, so the two directions may differ.

    Attributes:
        name: the source, for titles.
        i2t: int64 (P, 2), rows of (image, a caption that is right for it), sorted, none twice.
        t2i: int64 (P', 2), rows of (caption, an image that is right for it), sorted, none twice.
    """

    name: str
    i2t: np.ndarray
    t2i: np.ndarray


def scene_truth(pairs: Pairs) -> Judgements:
    """Return all right answers of the built-in world: every image of which a caption is true.

    A wrong caption (setting `wrong_captions`) is right for the scenes it happens to fit, if any.

    Raises:
        DataError: pairs that do not come from the built-in world.
    """
    fits = np.isfinite(caption_log_likelihood(pairs))  # (N, M)
    return Judgements("the world's own truth", np.argwhere(fits), np.argwhere(fits.T))


def read_judgements(path: str | Path, pairs: Pairs) -> list[Judgements]:
    """Read the judgements in a file or folder that concern `pairs`.

    Args:
        path: CxC's `sits_*.csv`; one of ECCV Caption's `*_image_to_caption.json` (its twin
            `*_caption_to_image.json` must lie beside it); or a folder of such files.
        pairs: COCO, read with `keep_info=True`, so that the ids of captions are known; best
            Karpathy's val (CxC) or test split, the ones that were judged.

    Raises:
        MissingFile: no such file, or a folder without one.
        DataError: a file with a wrong line or key, which the message names, or one that judges
            nothing of `pairs`.
    """
    path = user_path(path)
    if not path.exists():
        raise MissingFile(
            f"{path} does not exist; expected CxC's sits_*.csv or ECCV Caption's *{I2C}"
        )
    files = [path]
    if path.is_dir():
        files = sorted([*path.glob("sits_*.csv"), *path.glob("*" + I2C)])
        # Not the data set's own pairs, nor CxC's single ratings before they were averaged.
        files = [f for f in files if not f.name.startswith("original_") and "_raw" not in f.stem]
        if not files:
            raise MissingFile(f"{path} holds neither sits_*.csv (CxC) nor *{I2C} (ECCV Caption)")
    image_index, caption_index = _indices(pairs)
    judgements = []
    for file in files:
        read = _read_cxc if file.suffix.lower() == ".csv" else _read_eccv
        name, i2t_ids, t2i_ids = read(file)
        i2t = _known(i2t_ids, image_index, caption_index)
        t2i = _known(t2i_ids, caption_index, image_index)
        if len(i2t) and len(t2i):
            judgements.append(Judgements(name, i2t, t2i))
    if not judgements:
        raise DataError(
            f"{path} judges no image and caption of {pairs.name} {pairs.split}: CxC judged "
            "Karpathy's val and test splits of COCO, ECCV Caption the test split (--split test, "
            "with dataset_coco.json in the root folder)"
        )
    return judgements


def _read_cxc(file: Path) -> tuple[str, list[Ids], list[Ids]]:
    right = []
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines)
            if (head := next(reader, [])) != CXC_COLUMNS:
                raise DataError(
                    f"{file} begins with {short(','.join(head))}, not {','.join(CXC_COLUMNS)}: "
                    "give CxC's ratings of images and captions, sits_val.csv or sits_test.csv"
                )
            for row in reader:
                try:
                    caption, image, rating, _ = row
                    # COCO_val2014:sentid:648388, COCO_val2014_000000431431.jpg, 1.8
                    ids = int(image.split(".")[0].split("_")[-1]), int(caption.split(":")[-1])
                    if float(rating) >= CXC_RIGHT:
                        right.append(ids)
                except ValueError:
                    raise DataError(
                        f"{file} line {reader.line_num}: {short(','.join(row))} is not caption,"
                        "image,rating,method; download the file again"
                    ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a table in UTF-8 ({error}); download it again") from None
    name = f"CxC ({file.name}, rated {CXC_RIGHT:g} or more)"
    return name, right, [(caption, image) for image, caption in right]


def _read_eccv(file: Path) -> tuple[str, list[Ids], list[Ids]]:
    if not file.name.endswith((I2C, C2I)):
        raise DataError(f"{file} is neither CxC's sits_*.csv nor ECCV Caption's *{I2C}")
    name = file.name.removesuffix(I2C).removesuffix(C2I)
    titles = {"eccv": "ECCV Caption", "cxc": "CxC, as ECCV Caption ships it"}
    i2t, t2i = (_read_answers(file.with_name(name + end)) for end in (I2C, C2I))
    return titles.get(name, name), i2t, t2i


def _read_answers(file: Path) -> list[Ids]:
    """(query, right answer) of a json of the form {"query id": [answer ids]}."""
    rows = []
    for query, answers in read_json(file).items():
        try:
            rows += [(int(query), int(answer)) for answer in answers]
        except (TypeError, ValueError):
            raise DataError(
                f"{file}: key {short(query)} should name a query by number and list the numbers "
                f"of its right answers, and holds {short(answers)}; download the file again"
            ) from None
    return rows


def _indices(pairs: Pairs) -> tuple[dict[int, int], dict[int, int]]:
    """COCO's image and caption ids -> their indices."""
    # The official files call a caption's number id, Karpathy's sentid; the numbers are the same.
    ids: list[Any] = [info.get("sentid", info.get("id")) for info in (pairs.caption_info or [])]
    if not ids or None in ids:
        raise DataError(
            f"{pairs.name} {pairs.split} has no caption ids: judgements need COCO, read with "
            "keep_info=True (in Python)"
        )
    images = {
        image_id: i for i, image_id in enumerate(pairs.image_ids) if isinstance(image_id, int)
    }
    return images, {caption_id: j for j, caption_id in enumerate(ids)}


def _known(ids: list[Ids], query_index: dict[int, int], answer_index: dict[int, int]) -> np.ndarray:
    """Ids -> indices (P, 2), sorted, each once, without what the collection does not hold."""
    kept = {
        (query_index[query], answer_index[answer])
        for query, answer in ids
        if query in query_index and answer in answer_index
    }
    return np.array(sorted(kept), dtype=np.int64).reshape(-1, 2)
