"""A disk that is full, or may not be written to: one error, whichever library wrote."""

import errno
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from full_disk import no_file_larger_than
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file
from transformers import DistilBertConfig

from mmret_lib.encoders.text import train_wordpiece
from mmret_lib.encoders.weights import write_safetensors
from mmret_lib.files.disk import disk_errors
from mmret_lib.files.errors import DataError, DiskError
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import whole_file, whole_folder, write_text


def figure(path):
    chart = Figure()
    chart.subplots().plot([1, 2, 3])
    chart.savefig(path, dpi=200)


def noise(path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path.with_suffix(".png"))


def faiss_index(path):
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexFlatIP(64)
    index.add(np.ones((500, 64), dtype=np.float32))
    faiss.write_index(index, str(path))


def several_files(path):
    """shutil collects the errors of all files in one of its own."""
    source = path.with_name("source")
    source.mkdir()
    for name in ("a", "b"):
        with (source / name).open("wb") as file:
            os.truncate(file.fileno(), 0)
            file.write(b"x" * 900)
    shutil.copytree(source, path / "copies", copy_function=too_large)


def too_large(source, target):
    with open(target, "wb") as file:
        file.write(b"x" * 5000)


WRITERS = {
    "safetensors": lambda path: save_file({"w": torch.ones(9999)}, path),
    "tokenizers": lambda path: train_wordpiece(["a red bus", "zebra"] * 9).save_pretrained(path),
    "a config": lambda path: DistilBertConfig(
        id2label={i: f"label {i}" for i in range(99)}
    ).save_pretrained(path),
    "numpy": lambda path: np.save(path, np.ones(9999)),
    "pandas": lambda path: pd.DataFrame({"a": range(9999)}).to_csv(path),
    "matplotlib": figure,
    "pillow": noise,
    "faiss": faiss_index,
    "shutil": several_files,
    "python": lambda path: path.write_text("a" * 9999),
}


@pytest.mark.parametrize("library", WRITERS)
def test_each_library_that_finds_no_room_gives_the_same_error(library, tmp_path):
    target = tmp_path / "out"
    full = "(File too large|No space left on device)"  # NumPy says only that it is not written
    message = rf"out: {full} while writing it\. [\d,]+ MB are free .* Make room .* another"
    with (
        no_file_larger_than(1000),
        pytest.raises(DiskError, match=message) as caught,
        whole_folder(target) as draft,
    ):
        WRITERS[library](draft / "file")
    assert str(caught.value.strerror) in full
    assert isinstance(caught.value, OSError) and isinstance(caught.value, DataError)
    assert not target.exists() and not list(tmp_path.glob(".*"))
    # The same without a folder of its own.
    (tmp_path / "plain").mkdir()
    with (
        no_file_larger_than(1000),
        pytest.raises(DiskError, match=f"{full} while drawing"),
        disk_errors(tmp_path / "plain", "drawing"),
    ):
        WRITERS[library](tmp_path / "plain" / "file")


def test_a_file_keeps_its_old_content(tmp_path):
    path = tmp_path / "figures.json"
    write_text(path, "old")
    with no_file_larger_than(1000), pytest.raises(DiskError, match=r"figures\.json: File too"):
        write_json(path, {"figures": list(range(999))})
    with (
        no_file_larger_than(1000),
        pytest.raises(DiskError, match=r"figures\.json: No space"),
        whole_file(path) as file,
    ):
        np.save(file, np.ones(9999))
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_weights_that_find_no_room(tmp_path):
    with no_file_larger_than(1000), pytest.raises(DiskError, match=r"w\.safetensors: File too"):
        write_safetensors(tmp_path / "w.safetensors", torch.nn.Linear(99, 99))


def test_a_disk_that_is_read_only_needs_another_remedy(tmp_path):
    message = r"Read-only .* Check the disk and the rights"
    with pytest.raises(DiskError, match=message), whole_folder(tmp_path / "out"):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_other_errors_pass(tmp_path):
    """What is wrong with a photo, or with the code, is no fault of the disk."""
    for error in (
        ValueError("a bug"),
        KeyError("name"),
        FileNotFoundError(errno.ENOENT, "gone", "/photos/a.jpg"),
        PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/photos/a.jpg"),
        DataError("a caption is empty"),
    ):
        with pytest.raises(type(error)) as caught, whole_folder(tmp_path / "out"):
            raise error
        assert caught.value is error
    with pytest.raises(ValueError, match="a bug"), disk_errors(tmp_path, "writing"):
        raise ValueError("a bug")
