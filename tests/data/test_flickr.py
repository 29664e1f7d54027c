"""The readers of Flickr8k and Flickr30k, in each of their published forms."""

import csv
import json
import shutil

import pytest
from photo_folders import (
    CLIMBING,
    FLICKR,
    RESULTS,
    RESULTS_CAPTIONS,
    put_flickr8k,
    put_flickr30k,
)

from mmret_lib.data.flickr import read_flickr8k, read_flickr30k
from mmret_lib.files.errors import DataError, MissingFile


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
        ("", "line 1 is ''; expected a first line that names the columns"),
        ("image,caption\n", "no image with a caption is left"),
        ("image,caption\na.jpg,A dog , a cat\n", "line 2 has 3 fields .* double quotes"),
        ("image,caption\na.jpg\n", "line 2 has 1 fields"),
        ("image,caption\na.jpg,x\na.jpg, \n", "line 3: the caption is empty"),
        ('image,caption\na.jpg,"never closed\nb.jpg,x\n', "check its double quotes"),
        ('image,caption\na.jpg,"x" y\n', "line 2: .*check its double quotes"),
        (f"image,caption\na.jpg,{'x' * 200_000}\n", "line 2: field larger than"),
        ("image,caption\n,A dog\n", "line 2: the file name is ''"),
        *[
            (f'image,caption\n"{name}",x\n', "line 2: .* leads out|line 2 holds a NUL")
            for name in CLIMBING
        ],
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
    with pytest.raises(DataError, match=r"captions.txt: line 2: byte 23 .*save it as UTF-8"):
        read_flickr8k(tmp_path, "all")
    (tmp_path / "captions.txt").write_bytes("image,caption\na.jpg,Café\n".encode("utf-8-sig"))
    assert read_flickr8k(tmp_path, "all").captions == ["Café"]


def put_row_among_many(root, row):
    """A caption file of 199 good rows for b.jpg, and this one."""
    put_flickr8k(root)
    rows = [f"b.jpg,Dog {number} .\n" for number in range(199)]
    (root / "captions.txt").write_text("image,caption\n" + "".join(rows) + row)


def test_an_empty_caption_is_left_out_and_named(tmp_path):
    put_row_among_many(tmp_path, "a.jpg, \n")
    pairs = read_flickr8k(tmp_path, "all")
    assert len(pairs.captions) == 199 and pairs.image_ids == ["b.jpg"]
    source = tmp_path / "captions.txt"
    assert pairs.skipped == (
        f"{source}: line 201: the caption is empty (' ')",
        f"{source}: line 201 (a.jpg) has no caption",
    )
    with pytest.raises(DataError, match=r"1 of the 200 captions .*--max-missing 0.01 "):
        read_flickr8k(tmp_path, "all", max_missing=0)


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
    shutil.rmtree(tmp_path / "Images")
    with pytest.raises(MissingFile, match=r"has no folder Images or Flicker8k_Dataset .*--images"):
        read_flickr8k(tmp_path)


def put_karpathy(path, **splits) -> None:
    """Karpathy's file with a caption of its own for each photo: name -> split."""
    images = [
        {"filename": name + ".jpg", "split": split, "sentences": [{"raw": f"Of {name}."}]}
        for name, split in splits.items()
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"images": images}))


@pytest.mark.parametrize("gone", ["captions.txt", "Flickr_8k.devImages.txt"])
@pytest.mark.parametrize("place", ["", "karpathy", "annotations", "..", "Images"])
def test_karpathys_flickr8k_in_place_of_what_is_missing(tmp_path, gone, place):
    root = tmp_path / "flickr8k"
    put_flickr8k(root)
    (root / gone).unlink()
    put_karpathy(root / place / "dataset_flickr8k.json", c="val", a="train", b="test")
    for split, name in (("dev", "c"), ("val", "c"), ("train", "a"), ("test", "b")):
        pairs = read_flickr8k(root, split)
        assert (pairs.image_ids, pairs.captions) == ([f"{name}.jpg"], [f"Of {name}."])
        assert pairs.images[0].is_file() and pairs.split == split
        assert "dataset_flickr8k.json" in pairs.notes[0]


def test_the_official_files_of_flickr8k_come_first(tmp_path):
    put_flickr8k(tmp_path)
    put_karpathy(tmp_path / "dataset_flickr8k.json", a="test")
    assert read_flickr8k(tmp_path, "train").captions == ["A girl in a pink dress ."]
    assert len(read_flickr8k(tmp_path, "all")) == 3
    (tmp_path / "captions.txt").unlink()
    assert read_flickr8k(tmp_path, "all").captions == ["Of a."]


@pytest.mark.parametrize("place", ["flickr30k-images", "karpathy", "..", "../caption_datasets"])
def test_karpathys_flickr30k_wherever_it_lies(tmp_path, place):
    root = tmp_path / "flickr30k"
    put_flickr30k(root, "flickr30k-images")
    (root / place).mkdir(exist_ok=True)
    put_karpathy(root / place / "dataset_flickr30k.json", **{"1": "train", "2199200615": "val"})
    assert read_flickr30k(root, "val").captions == ["Of 2199200615."]


# ---------------------------------------------------------------- columns by their names


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image,caption,id", "{name},{caption},{number}"),
        ("id,caption,image", "{number},{caption},{name}"),
        ("image_name,comment_number,comment", "{name},{number}, {caption}"),
        ("filename\traw", "{name}\t{caption}"),
        ("Image;Caption;split_of_mine", "{name};{caption};x"),
        ("image_name| comment_number| comment", "{name}| {number}| {caption}"),
        ("image_name| comment| comment_number", "{name}| {caption}| {number}"),
        ("comment_number| image_name| comment", "{number}| {name}| {caption} | more"),
    ],
)
def test_columns_go_by_their_names(tmp_path, header, row):
    put_flickr8k(tmp_path)
    rows = [row.format(name=f"{n}.jpg", caption=f"Dog {n}", number=i) for i, n in enumerate("ba")]
    (tmp_path / "captions.txt").write_text("\r\n".join([header, *rows]))
    pairs = read_flickr8k(tmp_path, "all")
    assert pairs.image_ids == ["b.jpg", "a.jpg"]
    assert [caption.partition(" |")[0] for caption in pairs.captions] == ["Dog b", "Dog a"]


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("image,words,id", "no caption column .*'image', 'words', 'id'"),
        ("a.jpg,A dog .,1", "no image column .*the first line must name the columns"),
        ("image,caption,comment", "'caption' and 'comment' could each be the caption column"),
        ("image,image_name,caption", "'image' and 'image_name' could each be the image column"),
        ("image| caption| comment", "'caption' and 'comment' could each be"),
    ],
)
def test_columns_that_are_missing_or_ambiguous_are_refused(tmp_path, header, fault):
    put_flickr8k(tmp_path)
    row = "b.jpg| x| y" if "|" in header else "b.jpg,x,y"
    (tmp_path / "captions.txt").write_text(f"{header}\n{row}\n")
    with pytest.raises(
        DataError, match=f"captions.txt.*{fault}.*data set folder, with --captions FILE"
    ):
        read_flickr8k(tmp_path, "all")


# ---------------------------------------------------------------- copies without lists


def put_kaggle(root, count=400):
    """Kaggle's form: photos and captions, no lists."""
    for number in range(count):
        (root / "Images").mkdir(parents=True, exist_ok=True)
        (root / "Images" / f"{number}.jpg").touch()
    rows = [f"{number}.jpg,Photo {number} ." for number in range(count)]
    (root / "captions.txt").write_text("\n".join(["image,caption", *rows]))
    return rows


def test_without_lists_photos_are_divided_by_their_names(tmp_path):
    rows = put_kaggle(tmp_path)
    parts = {split: read_flickr8k(tmp_path, split) for split in ("train", "val", "test")}
    names = [name for pairs in parts.values() for name in pairs.image_ids]
    assert sorted(names) == sorted(f"{number}.jpg" for number in range(400))
    assert [len(pairs) for pairs in parts.values()] == [310, 47, 43]
    assert parts["test"].image_ids[:4] == ["8.jpg", "9.jpg", "32.jpg", "44.jpg"]
    assert parts["test"].split == "seeded-test" and parts["val"].split == "seeded-val"
    (note,) = parts["test"].notes
    assert "divided by a hash of their names" in note and "cannot be compared" in note
    assert f"mmret data flickr8k --root {tmp_path} --parts text" in note
    assert read_flickr8k(tmp_path, "all").notes == ()
    # Neither the order of the file nor what else it holds matters.
    (tmp_path / "captions.txt").write_text("\n".join(["image,caption", *rows[:99:-1]]))
    again = read_flickr8k(tmp_path, "test").image_ids
    assert sorted(again) == sorted(n for n in parts["test"].image_ids if int(n[:-4]) >= 100)


def test_the_division_by_names_stays_where_the_lists_come_later(tmp_path):
    put_kaggle(tmp_path)
    before = read_flickr8k(tmp_path, "test")
    for split in ("train", "dev", "test"):
        (tmp_path / f"Flickr_8k.{split}Images.txt").write_text("1.jpg\n")
    assert read_flickr8k(tmp_path, "test").image_ids == ["1.jpg"]
    again = read_flickr8k(tmp_path, before.split)
    assert (again.image_ids, again.split) == (before.image_ids, before.split)


def test_flickr30k_without_karpathys_file_is_divided_by_names(tmp_path):
    put_kaggle(tmp_path)
    parts = [read_flickr30k(tmp_path, split) for split in ("train", "val+test")]
    assert [len(pairs) for pairs in parts] == [377, 23]
    assert parts[1].split == "seeded-val+test" and "--parts karpathy" in parts[1].notes[0]
    images = [
        {"filename": f"{number}.jpg", "split": "val", "sentences": [{"raw": "A dog."}]}
        for number in range(400)
    ]
    (tmp_path / "dataset_flickr30k.json").write_text(json.dumps({"images": images}))
    assert len(read_flickr30k(tmp_path, "val")) == 400
    assert read_flickr30k(tmp_path, "seeded-val+test").image_ids == parts[1].image_ids


def test_flickr30k_in_one_table_with_lists_of_captions_and_splits(tmp_path):
    """The form in which the Hugging Face hub has it."""
    put_flickr30k(tmp_path, "flickr30k-images")
    table = tmp_path / "flickr_annotations_30k.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ("raw", "sentids", "split", "filename", "img_id"),
                (json.dumps(["Two men.", 'A "man".']), "[0, 1]", "train", "1.jpg", 0),
                (json.dumps(["A dog."]), "[2]", "test", "2199200615.jpg", 1),
            ]
        )
    pairs = read_flickr30k(tmp_path, "train")
    assert (pairs.captions, pairs.split, pairs.notes) == (["Two men.", 'A "man".'], "train", ())
    assert read_flickr30k(tmp_path, "test").image_ids == ["2199200615.jpg"]
    with pytest.raises(DataError, match="no split 'val'; it has test, train"):
        read_flickr30k(tmp_path, "val")


# ---------------------------------------------------------------- Flickr30k


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


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("1.jpg| A dog .", "line 2 is '1.jpg. A dog .'; expected image_name"),
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


def test_the_form_of_a_caption_file_is_told_by_its_first_line(tmp_path):
    """A copy of results.csv under the name captions.txt, as some mirrors have it."""
    put_flickr30k(tmp_path, "Images")
    (tmp_path / "captions.txt").write_text(RESULTS)
    assert read_flickr30k(tmp_path, "all").captions == RESULTS_CAPTIONS
