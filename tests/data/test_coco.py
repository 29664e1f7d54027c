"""The reader of COCO caption folders and of Karpathy's split file: good, odd and bad files."""

import json
import shutil

import pytest
from photo_folders import CLIMBING, coco_content, put_coco, put_photo

from mmret_lib.data import load_pairs, splits_beside, usual_splits
from mmret_lib.data.assembling import Photo
from mmret_lib.data.coco import read_coco
from mmret_lib.data.coco_sample import hold_out
from mmret_lib.files.errors import DataError, MissingFile


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


def test_empty_captions_are_left_out_and_counted(tmp_path):
    content = coco_content()
    content["annotations"] += [
        {"id": 100 + number, "image_id": 30, "caption": f"c {number}"} for number in range(197)
    ]
    content["annotations"][2]["caption"] = "  "
    content["annotations"][0]["caption"] = None
    put_coco(tmp_path, content)
    pairs = read_coco(tmp_path, keep_info=True)
    assert pairs.image_ids == [20, 30] and len(pairs.captions) == 199
    assert pairs.captions_of(0) == ["first of b."]
    assert [info["id"] for info in pairs.caption_info[:2]] == [4, 1]
    source = tmp_path / "annotations" / "captions_val2017.json"
    assert pairs.skipped == (
        f"{source}: annotation id 9: the caption is empty ('  ')",
        f"{source}: annotation id 5: the caption is empty",
        f"{source}: image id 10 (a.jpg) has no caption",
    )


def test_missing_photos_are_counted_or_refused(tmp_path):
    put_coco(tmp_path, coco_content(), photos=("a.jpg", "c.jpg"))
    with pytest.raises(MissingFile) as caught:
        read_coco(tmp_path)
    message = str(caught.value)
    assert "1 of the 3 images" in message and "image id 20" in message and "b.jpg" in message
    assert "--max-missing 0.34 (in Python max_missing=0.34)" in message
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
        pytest.param(b"<html>404</html>", "not json .*line 1 column 1", id="web page"),
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
        ("annotations", 2, {"caption": ...}, "annotation id 9: the caption is empty"),
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
    remedies = ("mend this record", "write it", "write one", "use one kind", "write them")
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
    shutil.rmtree(tmp_path / "val2017")
    with pytest.raises(MissingFile, match=r"has no folder val2017, and no photo .*--images FOLDER"):
        read_coco(tmp_path)
    (tmp_path / "val2017").write_text("a file")
    with pytest.raises(MissingFile, match="has no folder val2017"):
        read_coco(tmp_path)


# ---------------------------------------------------------------- what to train and validate on


def put_many(root, split="train2017", count=40):
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(count)],
        "annotations": [{"id": n, "image_id": n, "caption": "a dog"} for n in range(count)],
    }
    put_coco(root, content, photos=[f"{n}.jpg" for n in range(count)], split=split)


def test_photos_are_held_out_of_train2017_to_validate_on(tmp_path):
    """Else no best model of COCO could be kept; these ids must stay the same ever after."""
    put_many(tmp_path)
    val = load_pairs("coco", root=tmp_path, split="train2017-val")
    train = load_pairs("coco", root=tmp_path, split="train2017-train")
    assert val.image_ids == [23, 28, 34, 39]
    assert sorted(val.image_ids + train.image_ids) == list(range(40))
    assert (val.split, train.split) == ("train2017-val", "train2017-train")
    assert val.images[0].parent == tmp_path / "train2017"
    with pytest.raises(MissingFile, match=r"captions_train2014\.json does not exist"):
        load_pairs("coco", root=tmp_path, split="train2014-val")


def test_a_thousand_photos_are_held_out_at_most():
    photos = [Photo("", n, "", []) for n in range(20_000)]
    assert len(hold_out(photos, "val")) == 1000 and len(hold_out(photos, "train")) == 19_000


def test_the_usual_splits_of_coco(tmp_path):
    put_many(tmp_path)
    official = ("train2017-train", "train2017-val", "val2017")
    assert usual_splits("coco", tmp_path) == official
    (tmp_path / "annotations" / "dataset_coco.json").write_text("{}")
    assert usual_splits("coco", tmp_path) == ("train+restval", "val", "test")
    (tmp_path / "annotations" / "dataset_coco.json").unlink()
    captions = tmp_path / "annotations" / "captions_train2017.json"
    captions.rename(captions.with_name("captions_train2014.json"))
    assert usual_splits("coco", tmp_path) == ("train2014-train", "train2014-val", "val2014")


@pytest.mark.parametrize(
    ("train", "with_karpathy", "without"),
    [
        ("train+restval", ("val", "test"), None),
        ("train", ("val", "test"), None),
        ("train+restval+val", (None, "test"), None),
        ("train2017", (None, "val2017"), (None, "val2017")),
        ("train2017-train", (None, "val2017"), ("train2017-val", "val2017")),
        ("train2014", (None, "val2014"), (None, "val2014")),
    ],
)
def test_nothing_is_validated_or_tested_on_photos_to_train_on(
    tmp_path, train, with_karpathy, without
):
    put_many(tmp_path)
    if without is not None:
        assert splits_beside("coco", tmp_path, train) == without
    (tmp_path / "dataset_coco.json").write_text("{}")
    assert splits_beside("coco", tmp_path, train) == with_karpathy


def test_splits_of_other_sets_that_hold_the_photos_to_train_on(tmp_path):
    assert splits_beside("flickr8k", tmp_path, "train") == ("dev", "test")
    for train in ("train+dev", "train+val", "all"):
        assert splits_beside("flickr8k", tmp_path, train) == (None, "test")
    assert splits_beside("scenes", None, "train") == ("val", "test")
