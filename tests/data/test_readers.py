"""The readers of COCO, Flickr8k and Flickr30k, on small folders written here: good, odd and bad."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from mmret_lib.data import load_pairs
from mmret_lib.data.coco import read_coco
from mmret_lib.data.flickr import read_flickr8k, read_flickr30k
from mmret_lib.files.errors import DataError, MissingFile

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


# ---------------------------------------------------------------- COCO


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


def test_coco_is_read_in_the_order_of_ids(tmp_path):
    put_coco(tmp_path, coco_content())
    pairs = read_coco(tmp_path, "val2017")
    assert pairs.image_ids == [10, 20, 30]
    assert pairs.images == [tmp_path / "val2017" / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    assert pairs.captions == ["of a", "first of b.", "second of b", "of c"]
    assert pairs.owner.tolist() == [0, 1, 1, 2]
    assert (pairs.name, pairs.split, pairs.skipped) == ("coco", "val2017", ())
    assert pairs.image_info is None and pairs.caption_info is None


def test_raw_records_are_kept_on_request(tmp_path):
    content = coco_content()
    put_coco(tmp_path, content)
    pairs = read_coco(tmp_path, "val2017", name="scenes", keep_info=True)
    assert pairs.name == "scenes"
    assert pairs.image_info[2]["scene"] == {"n": 3}
    assert pairs.caption_info[0]["claim"] == {"kind": "bear"}
    assert [info["id"] for info in pairs.caption_info] == [9, 4, 5, 1]


def test_reading_prints_nothing(tmp_path, capfd):
    put_coco(tmp_path, coco_content())
    read_coco(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_the_paths_can_be_overridden(tmp_path):
    put_coco(tmp_path, coco_content(), split="val2014")
    (tmp_path / "annotations/captions_val2014.json").rename(tmp_path / "mine.json")
    (tmp_path / "val2014").rename(tmp_path / "photos")
    pairs = read_coco(tmp_path, "mine", annotations="mine.json", images="photos")
    assert pairs.split == "mine" and pairs.images[0] == tmp_path / "photos" / "a.jpg"


def test_images_without_captions_are_left_out_and_counted(tmp_path):
    content = coco_content()
    content["images"].append({"id": 40, "file_name": "d.jpg"})
    put_coco(tmp_path, content)
    pairs = read_coco(tmp_path)
    assert len(pairs) == 3
    assert len(pairs.skipped) == 1
    assert "captions_val2017.json: image id 40 (d.jpg) has no caption" in pairs.skipped[0]


def test_missing_photos_are_counted_or_refused(tmp_path):
    put_coco(tmp_path, coco_content(), photos=("a.jpg", "c.jpg"))
    with pytest.raises(MissingFile) as caught:
        read_coco(tmp_path)
    message = str(caught.value)
    assert "1 of the 3 images" in message and "image id 20" in message and "b.jpg" in message
    assert "max_missing=1" in message
    pairs = read_coco(tmp_path, max_missing=0.5)
    assert pairs.image_ids == [10, 30]
    assert len(pairs.skipped) == 1 and "image id 20" in pairs.skipped[0]
    with pytest.raises(DataError, match="max_missing is 2"):
        read_coco(tmp_path, max_missing=2)


def test_no_photo_at_all_is_an_error_at_any_share(tmp_path):
    put_coco(tmp_path, coco_content(), photos=())
    with pytest.raises(DataError, match="no image with a caption is left"):
        read_coco(tmp_path, max_missing=1)


def test_photos_may_lie_in_folders_below_and_be_links(tmp_path):
    content = coco_content()
    content["images"][0]["file_name"] = "deep/er/c.jpg"
    put_coco(tmp_path, content, photos=("a.jpg", "deep/er/c.jpg"))
    put_photo(tmp_path / "elsewhere.jpg")
    (tmp_path / "val2017" / "b.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    assert len(read_coco(tmp_path)) == 3


@pytest.mark.parametrize(
    "caption",
    [
        "word " * 10_000 + "end",
        "A 🐘 and a 👨‍👩‍👧‍👦",
        "فيل صغير يلعب في الماء",
        "<script>alert('x')</script> & <b>bold</b>",
        "two\nlines and\ta tab",
        "𝒜 beyond the first plane, é composed and é not",
    ],
)
def test_captions_are_data_and_stay_as_they_are(tmp_path, caption):
    content = coco_content()
    content["annotations"][3]["caption"] = caption
    put_coco(tmp_path, content)
    assert read_coco(tmp_path).captions_of(2) == [caption]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_json_in_any_of_its_encodings(tmp_path, encoding):
    content = coco_content()
    content["annotations"][3]["caption"] = "Ein Bär – un ours 🐻"
    put_coco(tmp_path, json.dumps(content, ensure_ascii=False).encode(encoding))
    assert read_coco(tmp_path).captions_of(2) == ["Ein Bär – un ours 🐻"]


def test_text_ids_and_foreign_keys_are_fine(tmp_path):
    content = coco_content()
    content["categories"] = [{"no": "id"}]  # on which pycocotools alone would stumble
    for record in content["images"]:
        record["id"] = str(record["id"])
    for record in content["annotations"]:
        record["image_id"] = str(record["image_id"])
    put_coco(tmp_path, content)
    assert read_coco(tmp_path).image_ids == ["10", "20", "30"]


GOOD = json.dumps(coco_content())


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(b"", "not json", id="empty file"),
        pytest.param(b"<html>404</html>", "not json .line 1, column 1", id="web page"),
        pytest.param(GOOD[: len(GOOD) // 2].encode(), "not json", id="truncated"),
        pytest.param(GOOD.encode() + b"}", "not json", id="more behind"),
        pytest.param(b"[1, 2]", "holds a json list, not an object", id="list"),
        pytest.param(b"null", "holds a json NoneType", id="null"),
        pytest.param(b'{"images": ' + b"[" * 100_000, "nested too deeply", id="deep"),
        pytest.param(b'{"images": ' + b"9" * 5000 + b"}", "not json that can be", id="long number"),
        pytest.param(b'{"images": [], "x": NaN}', "NaN is not json", id="NaN"),
        pytest.param(b'{"images": [], "x": -Infinity}', "-Infinity is not json", id="infinity"),
        pytest.param(
            GOOD[:-1].encode() + b', "images": []}', "key 'images' stands twice", id="twice"
        ),
        pytest.param(b'{"caption": "\xff\xfe\xfd"}', "not json that can be read", id="bytes"),
        pytest.param(b'{"annotations": []}', "lacks 'images'; it has 'annotations'", id="images"),
        pytest.param(b'{"images": []}', "lacks 'annotations'", id="annotations"),
        pytest.param(b"{}", "lacks 'images'; it has nothing", id="nothing"),
        pytest.param(b'{"images": {}, "annotations": []}', "'images' is {}, not a list", id="dict"),
        pytest.param(b'{"images": [], "annotations": []}', "no image with a caption", id="none"),
    ],
)
def test_json_that_is_no_caption_file(tmp_path, content, fault):
    put_coco(tmp_path, content)
    with pytest.raises(DataError, match=f"captions_val2017.json.*{fault}"):
        read_coco(tmp_path)


BIG = 2**63


@pytest.mark.parametrize(
    ("key", "place", "change", "fault"),
    [
        ("images", 1, 7, r"images\[1\] is 7, not an object"),
        ("images", 1, None, r"images\[1\] is None, not an object"),
        ("images", 1, {"id": ...}, r"images\[1\]: id is None"),
        ("images", 1, {"id": None}, r"images\[1\]: id is None"),
        ("images", 1, {"id": True}, r"images\[1\]: id is True"),
        ("images", 1, {"id": 1.5}, r"images\[1\]: id is 1.5"),
        ("images", 1, {"id": [10]}, r"images\[1\]: id is \[10\]"),
        ("images", 1, {"id": BIG}, r"images\[1\]: id is 9223372036854775808"),
        ("images", 1, {"id": "10"}, "some ids of 'images' are numbers and some are texts"),
        ("images", 1, {"id": 30}, r"images\[1\]: id 30 stands twice"),
        ("images", 1, {"file_name": ...}, "image id 10: the file name is None"),
        ("images", 1, {"file_name": ""}, "image id 10: the file name is ''"),
        ("images", 1, {"file_name": 5}, "image id 10: the file name is 5"),
        ("annotations", 2, "text", r"annotations\[2\] is 'text', not an object"),
        ("annotations", 2, {"id": ...}, r"annotations\[2\]: id is None"),
        ("annotations", 2, {"id": 5}, r"annotations\[2\]: id 5 stands twice"),
        ("annotations", 2, {"image_id": ...}, "annotation id 9: image_id None is not the id"),
        ("annotations", 2, {"image_id": 99}, "annotation id 9: image_id 99 is not the id of any"),
        ("annotations", 2, {"image_id": "10"}, "annotation id 9: image_id '10' is not the id"),
        ("annotations", 2, {"image_id": {}}, "annotation id 9: image_id {} is not the id"),
        ("annotations", 2, {"caption": ...}, "annotation id 9: the caption is None, not a text"),
        ("annotations", 2, {"caption": 3}, "annotation id 9: the caption is 3, not a text"),
        ("annotations", 2, {"caption": ["a"]}, "annotation id 9: the caption is .'a'., not a text"),
        ("annotations", 2, {"caption": ""}, "annotation id 9: the caption is empty"),
        ("annotations", 2, {"caption": " \n\u00a0"}, "annotation id 9: the caption is empty"),
        ("annotations", 2, {"caption": "\ud83d"}, r"annotation id 9: .*not valid Unicode"),
    ],
)
def test_a_bad_record_is_named_with_file_and_remedy(tmp_path, key, place, change, fault):
    content = coco_content()
    if isinstance(change, dict):
        record = {**content[key][place], **change}
        change = {name: value for name, value in record.items() if value is not ...}
    content[key][place] = change
    put_coco(tmp_path, content)
    with pytest.raises(DataError, match=f"captions_val2017.json: .*{fault}") as caught:
        read_coco(tmp_path)
    remedies = ("mend this record", "write it", "write one", "use one kind", "save the file")
    assert any(remedy in str(caught.value) for remedy in remedies)
    str(caught.value).encode()  # half a surrogate in the data must not break the message


@pytest.mark.parametrize("name", CLIMBING)
def test_file_names_that_climb_out_are_refused(tmp_path, name):
    put_photo(tmp_path.parent / "x.jpg")  # a file is there: only the rule protects it
    content = coco_content()
    content["images"][1]["file_name"] = name
    put_coco(tmp_path, content)
    with pytest.raises(DataError, match=r"captions_val2017.json: image id 10: .*leads out of its"):
        read_coco(tmp_path)


def test_missing_folders_and_files_say_what_was_expected(tmp_path):
    with pytest.raises(MissingFile, match=r"nowhere does not exist; expected annotations/captions"):
        read_coco(tmp_path / "nowhere")
    with pytest.raises(MissingFile, match=r"captions_val2017\.json does not exist"):
        read_coco(tmp_path)
    put_coco(tmp_path, coco_content())
    with pytest.raises(MissingFile, match=r"expected .* There are captions_val2017\.json"):
        read_coco(tmp_path, "val2014")
    (tmp_path / "val2017").rename(tmp_path / "other")
    with pytest.raises(MissingFile, match="val2017 does not exist; expected"):
        read_coco(tmp_path)
    (tmp_path / "val2017").write_text("a file")
    with pytest.raises(MissingFile, match="val2017 is not a folder"):
        read_coco(tmp_path)


# ---------------------------------------------------------------- Karpathy's split file


def karpathy_content() -> dict:
    def record(place: int, split: str, folder: str, captions: list[str]) -> dict:
        return {
            "imgid": place,
            "cocoid": 100 - place,  # so that the order of ids is not the order of the file
            "split": split,
            "filepath": folder,
            "filename": f"COCO_{folder}_{place}.jpg",
            "sentids": list(range(len(captions))),
            "sentences": [{"raw": c, "tokens": c.split(), "sentid": 0} for c in captions],
        }

    return {
        "dataset": "coco",
        "images": [
            record(0, "test", "val2014", ["One.", " Two. "]),
            record(1, "train", "train2014", ["Three."]),
            record(2, "restval", "val2014", ["Four."]),
            record(3, "test", "val2014", ["Five."]),
        ],
    }


def put_karpathy(root: Path, content) -> None:
    (root / "dataset_coco.json").write_text(json.dumps(content))
    for place, record in enumerate(karpathy_content()["images"]):
        put_photo(root / record["filepath"] / f"COCO_{record['filepath']}_{place}.jpg")


@pytest.mark.parametrize(
    ("split", "ids", "captions"),
    [
        ("test", [100, 97], ["One.", "Two.", "Five."]),
        ("train+restval", [99, 98], ["Three.", "Four."]),
        ("restval", [98], ["Four."]),
        ("all", [100, 99, 98, 97], ["One.", "Two.", "Three.", "Four.", "Five."]),
    ],
)
def test_karpathy_splits_keep_the_order_of_the_file(tmp_path, split, ids, captions):
    put_karpathy(tmp_path, karpathy_content())
    pairs = read_coco(tmp_path, split, karpathy="dataset_coco.json")
    assert (pairs.image_ids, pairs.captions) == (ids, captions)
    assert all(path.is_file() for path in pairs.images)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"split": None}, r"images\[3\] has no split"),
        ({"cocoid": None}, r"images\[3\]: cocoid or filename is None"),
        ({"cocoid": 100}, r"images\[3\]: image 100 stands twice"),
        ({"sentences": None}, r"images\[3\]: sentences is None"),
        ({"sentences": ["text"]}, r"images\[3\]: sentences is \['text'\]"),
        ({"sentences": [{"raw": ""}]}, r"images\[3\]: sentences\[0\]: the caption is empty"),
        ({"sentences": [{}]}, r"images\[3\]: sentences\[0\]: the caption is None"),
        ({"filename": None}, r"images\[3\]: the file name is None"),
        ({"filename": "../../x.jpg"}, r"images\[3\]: the file name .* leads out"),
        ({"filepath": "/etc"}, r"images\[3\]: the file name .* leads out"),
        ({"filepath": ".."}, r"images\[3\]: the file name .* leads out"),
    ],
)
def test_bad_records_in_karpathys_file(tmp_path, change, fault):
    content = karpathy_content()
    content["images"][3].update(change)
    put_karpathy(tmp_path, content)
    with pytest.raises(DataError, match=f"dataset_coco.json: {fault}"):
        read_coco(tmp_path, "test", karpathy="dataset_coco.json")


def test_an_unknown_karpathy_split_lists_the_known(tmp_path):
    put_karpathy(tmp_path, karpathy_content())
    with pytest.raises(DataError, match=r"no split 'val2017'; it has restval, test, train"):
        read_coco(tmp_path, karpathy="dataset_coco.json")
    with pytest.raises(DataError, match="either annotations or karpathy"):
        read_coco(tmp_path, annotations="a.json", karpathy="dataset_coco.json")


# ---------------------------------------------------------------- Flickr8k

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


@pytest.mark.parametrize("photos", ["Images", "Flicker8k_Dataset", "Images/Images"])
@pytest.mark.parametrize(
    "form", ["captions.txt", "Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt"]
)
def test_flickr8k_in_each_of_its_forms(tmp_path, form, photos):
    put_flickr8k(tmp_path, form=form, photos=photos)
    pairs = read_flickr8k(tmp_path, "all")
    assert pairs.captions == [caption for _, caption in FLICKR]
    assert pairs.owner.tolist() == [0, 0, 1, 2]
    assert pairs.image_ids == ["b.jpg", "a.jpg", "c.jpg"]
    assert pairs.images[0] == tmp_path / photos / "b.jpg"
    assert pairs.skipped == ()


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["a.jpg"]),
        ("dev", ["c.jpg"]),
        ("val", ["c.jpg"]),
        ("dev+train", ["a.jpg", "c.jpg"]),
    ],
)
def test_flickr8k_splits(tmp_path, split, names):
    put_flickr8k(tmp_path)
    pairs = read_flickr8k(tmp_path, split)
    assert (pairs.image_ids, pairs.split, pairs.skipped) == (names, split, ())


def test_names_of_the_official_list_that_are_not_here_are_counted_in_one_line(tmp_path):
    put_flickr8k(tmp_path)
    listed = "".join(f"{number}.jpg\n" for number in range(999)) + "b.jpg\n"
    (tmp_path / "Flickr_8k.testImages.txt").write_text(listed)
    pairs = read_flickr8k(tmp_path, "test")
    assert pairs.image_ids == ["b.jpg"]
    assert len(pairs.skipped) == 1
    assert "Flickr_8k.testImages.txt: 999 of its 1,000 names have no caption" in pairs.skipped[0]
    assert len(pairs.skipped[0]) < 400


def test_rows_of_one_photo_are_brought_together(tmp_path):
    put_flickr8k(tmp_path, [FLICKR[0], FLICKR[2], FLICKR[1]])
    pairs = read_flickr8k(tmp_path, "all")
    assert pairs.captions_of(0) == [FLICKR[0][1], FLICKR[1][1]]


def test_a_caption_whose_photo_is_missing(tmp_path):
    put_flickr8k(tmp_path, [*FLICKR, ("gone.jpg", "A ghost .")])
    with pytest.raises(MissingFile, match=r"1 of the 4 images that .*line 6: .*gone\.jpg is miss"):
        read_flickr8k(tmp_path, "all")
    pairs = read_flickr8k(tmp_path, "all", max_missing=0.3)
    assert len(pairs) == 3 and "gone.jpg" in pairs.skipped[0]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "line 1 is ''; expected the header image,caption"),
        ("a.jpg,A dog .\n", "line 1 is 'a.jpg,A dog .'; expected the header"),
        ("image,caption\n", "no image with a caption is left"),
        ("image,caption\na.jpg,A dog , a cat\n", "line 2 has 3 fields .* double quotes"),
        ("image,caption\na.jpg\n", "line 2 has 1 fields"),
        ("image,caption\na.jpg,x\na.jpg, \n", "line 3: the caption is empty"),
        ('image,caption\na.jpg,"never closed\nb.jpg,x\n', "check its double quotes"),
        ('image,caption\na.jpg,"x" y\n', "line 2: .*check its double quotes"),
        (f"image,caption\na.jpg,{'x' * 200_000}\n", "line 2: field larger than"),
        ("image,caption\n,A dog\n", "line 2: the file name is ''"),
        *[(f'image,caption\n"{name}",x\n', "line 2: .* leads out") for name in CLIMBING],
    ],
)
def test_bad_caption_files(tmp_path, content, fault):
    put_flickr8k(tmp_path)
    (tmp_path / "captions.txt").write_bytes(content.encode())
    with pytest.raises(DataError, match=f"captions.txt: .*{fault}"):
        read_flickr8k(tmp_path, "all")


def test_a_caption_file_of_another_encoding(tmp_path):
    put_flickr8k(tmp_path)
    (tmp_path / "captions.txt").write_bytes("image,caption\na.jpg,Café\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"captions.txt: byte 23 is not UTF-8; .*save it as UTF-8"):
        read_flickr8k(tmp_path, "all")
    (tmp_path / "captions.txt").write_bytes("image,caption\na.jpg,Café\n".encode("utf-8-sig"))
    assert read_flickr8k(tmp_path, "all").captions == ["Café"]


def test_a_bad_token_row(tmp_path):
    put_flickr8k(tmp_path, form="Flickr8k.token.txt")
    (tmp_path / "Flickr8k.token.txt").write_text("a.jpg#0\tFine .\na.jpg A dog\n")
    with pytest.raises(DataError, match=r"Flickr8k.token.txt: line 2 is 'a.jpg A dog'; expected"):
        read_flickr8k(tmp_path, "all")


def test_flickr8k_says_what_is_missing(tmp_path):
    with pytest.raises(MissingFile, match=r"has no captions.txt or Flickr8k.token.txt; expected"):
        read_flickr8k(tmp_path)
    put_flickr8k(tmp_path)
    with pytest.raises(DataError, match="no split 'validation'; it has train, dev, test"):
        read_flickr8k(tmp_path, "validation")
    (tmp_path / "Flickr_8k.testImages.txt").unlink()
    with pytest.raises(MissingFile, match=r"has no Flickr_8k.testImages.txt"):
        read_flickr8k(tmp_path, "test")
    (tmp_path / "Images").rename(tmp_path / "Pictures")
    with pytest.raises(MissingFile, match=r"has no folder Images or Flicker8k_Dataset"):
        read_flickr8k(tmp_path)


# ---------------------------------------------------------------- Flickr30k

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


@pytest.mark.parametrize(
    "folder",
    ["flickr30k-images", "flickr30k_images", "Images", "flickr30k_images/flickr30k_images"],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_results_csv_with_its_broken_row(tmp_path, folder, ending):
    put_flickr30k(tmp_path, folder)
    (tmp_path / "results.csv").write_bytes(RESULTS.replace("\n", ending).encode())
    pairs = read_flickr30k(tmp_path, "all")
    assert pairs.captions == RESULTS_CAPTIONS
    assert pairs.owner.tolist() == [0, 0, 1, 1]
    assert pairs.images[1] == tmp_path / folder / "2199200615.jpg"


def test_results_csv_within_the_image_folder(tmp_path):
    put_flickr30k(tmp_path, "flickr30k_images/flickr30k_images")
    (tmp_path / "flickr30k_images" / "results.csv").write_text(RESULTS)
    assert read_flickr30k(tmp_path, "all").captions == RESULTS_CAPTIONS


def test_the_token_file(tmp_path):
    put_flickr30k(tmp_path, "Images")
    token = "1.jpg#0\tTwo men .\n1.jpg#1\tMen .\n2199200615.jpg#0\tA dog .\n"
    (tmp_path / "results_20130124.token").write_text(token)
    pairs = read_flickr30k(tmp_path, "all")
    assert pairs.captions == ["Two men .", "Men .", "A dog ."]


def test_karpathys_file_gives_splits_and_captions(tmp_path):
    put_flickr30k(tmp_path, "flickr30k-images")
    (tmp_path / "results.csv").write_text(RESULTS)
    images = [
        {"filename": "1.jpg", "split": "train", "imgid": 0, "sentences": [{"raw": "Two men."}]},
        {"filename": "2199200615.jpg", "split": "val", "imgid": 1, "sentences": [{"raw": "Dog."}]},
    ]
    (tmp_path / "dataset_flickr30k.json").write_text(json.dumps({"images": images}))
    pairs = read_flickr30k(tmp_path, "val")
    assert (pairs.image_ids, pairs.captions) == (["2199200615.jpg"], ["Dog."])
    assert pairs.images[0].is_file()
    assert read_flickr30k(tmp_path, "train+val").captions == ["Two men.", "Dog."]


def test_splits_need_karpathys_file(tmp_path):
    put_flickr30k(tmp_path, "Images")
    (tmp_path / "results.csv").write_text(RESULTS)
    with pytest.raises(MissingFile, match=r"dataset_flickr30k.json does not exist.*split='all'"):
        read_flickr30k(tmp_path)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("1.jpg| A dog .", "line 2 is '1.jpg. A dog .'; expected image name"),
        ("1.jpg", "line 2 is '1.jpg'"),
        ("1.jpg| 0| ", "line 2: the caption is empty"),
        ("../../x.jpg| 0| A dog", "line 2: the file name '../../x.jpg' leads out"),
    ],
)
def test_bad_rows_in_results_csv(tmp_path, row, fault):
    put_flickr30k(tmp_path, "Images")
    (tmp_path / "results.csv").write_text(f"image_name| comment_number| comment\n{row}\n")
    with pytest.raises(DataError, match=f"results.csv: {fault}"):
        read_flickr30k(tmp_path, "all")


# ---------------------------------------------------------------- load_pairs


def test_load_pairs_finds_the_reader_and_passes_options_on(tmp_path):
    put_coco(tmp_path / "coco", coco_content(), photos=("a.jpg", "b.jpg"))
    pairs = load_pairs("coco", root=str(tmp_path / "coco"), split="val2017", max_missing=0.5)
    assert (pairs.name, len(pairs)) == ("coco", 2)
    put_flickr8k(tmp_path / "f8")
    assert load_pairs("flickr8k", tmp_path / "f8").split == "test"
    put_flickr30k(tmp_path / "f30", "Images")
    (tmp_path / "f30" / "results.csv").write_text(RESULTS)
    assert load_pairs("flickr30k", tmp_path / "f30", "all").name == "flickr30k"


def test_an_unknown_data_set_lists_the_known_and_guesses():
    with pytest.raises(DataError, match=r"scenes, coco, flickr8k, flickr30k. Did you mean 'flickr"):
        load_pairs("Flickr8")
    with pytest.raises(DataError, match="no data set 'imagenet'") as caught:
        load_pairs("imagenet")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "layout"),
    [("coco", "captions_<split>.json"), ("flickr8k", "captions.txt"), ("flickr30k", "results.csv")],
)
def test_a_real_set_needs_a_folder_and_says_what_belongs_in_it(name, layout, tmp_path):
    with pytest.raises(DataError, match=f"{name} is not built in: pass root=.*{layout}"):
        load_pairs(name)
    with pytest.raises(MissingFile, match=f"nowhere does not exist; expected .*{layout}"):
        load_pairs(name, root=tmp_path / "nowhere")
