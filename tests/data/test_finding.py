"""Photos and captions that lie elsewhere than the archives put them."""

import shutil

import pytest
from photo_folders import coco_content, put_coco, put_flickr8k, put_photo

from mmret_lib.data import finding, load_pairs
from mmret_lib.data.coco import read_coco
from mmret_lib.data.flickr import read_flickr8k
from mmret_lib.files.errors import DataError, MissingFile


def move(root, start, end):
    (root / end).parent.mkdir(parents=True, exist_ok=True)
    (root / start).rename(root / end)


@pytest.mark.parametrize("place", ["val2017_/val2017", "images/val2017", "a/b/photos", "photos"])
def test_coco_photos_in_another_folder(tmp_path, place):
    put_coco(tmp_path, coco_content())
    assert read_coco(tmp_path).notes == ()
    move(tmp_path, "val2017", place)
    pairs = read_coco(tmp_path)
    assert pairs.images[0] == tmp_path / place / "a.jpg"
    assert pairs.notes == (f"the photos were found in {tmp_path / place}",)
    named = read_coco(tmp_path, images=place.partition("/")[0])
    assert named.images == pairs.images


@pytest.mark.parametrize("place", ["Flickr8k_Dataset/Flicker8k_Dataset", "archive/Images", "x/y"])
def test_flickr_photos_in_another_folder(tmp_path, place):
    put_flickr8k(tmp_path, photos=place)
    pairs = read_flickr8k(tmp_path, "all")
    assert pairs.images[0] == tmp_path / place / "b.jpg" and len(pairs.notes) == 1
    # What macOS and Windows add is no photo.
    for name in ("__MACOSX/Images/._b.jpg", "__MACOSX/Images/b.jpg", ".cache/b.jpg", "Thumbs.db"):
        put_photo(tmp_path / name)
    assert read_flickr8k(tmp_path, "all").images == pairs.images


def test_photos_one_folder_deeper_under_a_folder_of_the_usual_name(tmp_path):
    put_coco(tmp_path, coco_content())
    move(tmp_path, "val2017", "inner")
    move(tmp_path, "inner", "val2017/val2017")
    assert read_coco(tmp_path).images[0] == tmp_path / "val2017" / "val2017" / "a.jpg"


def test_photos_beside_the_captions(tmp_path):
    put_flickr8k(tmp_path, photos=".")
    assert read_flickr8k(tmp_path, "all").images[0] == tmp_path / "b.jpg"


def test_several_folders_with_such_photos_are_refused_and_named(tmp_path):
    put_flickr8k(tmp_path, photos="large")
    shutil.copytree(tmp_path / "large", tmp_path / "small")
    with pytest.raises(DataError, match=r"txt names are in .*/large, .*/small; .*--images"):
        read_flickr8k(tmp_path, "all")
    pairs = read_flickr8k(tmp_path, "all", images="small")
    assert pairs.images[0] == tmp_path / "small" / "b.jpg" and pairs.notes == ()
    assert load_pairs("flickr8k", tmp_path, "all", images=tmp_path / "large").images[0].is_file()
    with pytest.raises(MissingFile, match=r"nowhere does not exist; expected the photos"):
        read_flickr8k(tmp_path, "all", images="nowhere")


def test_a_link_to_the_folder_is_the_same_folder(tmp_path):
    put_flickr8k(tmp_path, photos="photos")
    (tmp_path / "again").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "circle").symlink_to(tmp_path)
    (tmp_path / "photos" / "self").symlink_to(tmp_path / "photos" / "self")
    assert len(read_flickr8k(tmp_path, "all")) == 3


def test_a_large_folder_is_not_listed_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "MOST_ENTRIES", 2)
    monkeypatch.setattr(finding, "MOST_FOLDERS", 3)
    for number in range(20):
        put_photo(tmp_path / "Pictures" / f"z{number}.jpg")
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        put_photo(tmp_path / "Pictures" / name)
    put_flickr8k(tmp_path, photos="q")
    shutil.rmtree(tmp_path / "q")
    for number in range(20):
        (tmp_path / "Pictures" / f"folder{number}").mkdir()
    listed = [len(names) for _, names, _ in finding.folders_below(tmp_path)]
    assert len(listed) <= 3 and max(listed) <= 3


def test_coco_captions_in_the_folder_of_their_archive(tmp_path):
    put_coco(tmp_path, coco_content())
    move(tmp_path, "annotations", "annotations_trainval2017/annotations")
    pairs = read_coco(tmp_path)
    assert len(pairs) == 3 and "annotations_trainval2017" in pairs.notes[0]
    shutil.copytree(tmp_path / "annotations_trainval2017", tmp_path / "copy")
    with pytest.raises(DataError, match=r"have the same name; move the right one to .*/annota"):
        read_coco(tmp_path)


@pytest.mark.parametrize(
    ("written", "there"),
    [("a.jpg", "a.JPG"), ("A.PNG", "a.png"), ("caf\u00e9.jpg", "cafe\u0301.jpg")],
)
def test_names_in_another_spelling(tmp_path, written, there):
    content = coco_content()
    content["images"][1]["file_name"] = written
    put_coco(tmp_path, content, photos=(there, "b.jpg", "c.jpg"))
    assert read_coco(tmp_path).images[0] == tmp_path / "val2017" / there
