"""`load_pairs` finds the reader of a data set by its name."""

import subprocess
import sys

import pytest
from photo_folders import RESULTS, coco_content, put_coco, put_flickr8k, put_flickr30k

from mmret_lib.data import load_pairs
from mmret_lib.files.errors import DataError, MissingFile


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
    with pytest.raises(
        DataError, match=r"scenes, album, coco, flickr8k, flickr30k, .*Did you mean 'flickr"
    ):
        load_pairs("Flickr8")
    with pytest.raises(DataError, match="no data set 'imagenet'") as caught:
        load_pairs("imagenet")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "layout"),
    [("coco", "captions_<split>.json"), ("flickr8k", "captions.txt"), ("flickr30k", "results.csv")],
)
def test_a_real_set_needs_a_folder_and_says_what_belongs_in_it(name, layout, tmp_path):
    with pytest.raises(DataError, match=f"{name} is not built in: pass --root .*root=.*{layout}"):
        load_pairs(name)
    with pytest.raises(MissingFile, match=f"nowhere does not exist; expected .*{layout}"):
        load_pairs(name, root=tmp_path / "nowhere")


def test_images_are_found_from_another_working_folder(tmp_path, monkeypatch):
    """A root given as a relative path or with ~ is recorded as what it means, not as it reads."""
    put_coco(tmp_path / "coco", coco_content())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path / "coco")
    pairs = [load_pairs("coco", root=root) for root in (".", "../coco", "~/coco")]
    monkeypatch.chdir(tmp_path)
    assert all(path.is_file() for found in pairs for path in found.images)


def test_importing_the_package_does_not_import_what_its_worker_processes_run():
    """Python warns of a module that is imported before it is run with -m, in every worker."""
    code = "import sys, mmret_lib.data; print(sorted(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "'mmret_lib.data.packing'" not in modules
    assert "'torch'" not in modules
