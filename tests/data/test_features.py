"""The files of kept features: written once, found again, mended where damaged, refused if wrong."""

import json
import shutil

import numpy as np
import pytest
from small_stores import photo_set

from mmret_lib.data.feature_files import SPAN, Side, make_side, names_of
from mmret_lib.data.features import join, rows_of
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.files.records import entry_of, read_manifest, write_manifest

ORIGIN = {"side": "image", "backbone": "b", "data": "d", "dtype": "float32", "views": 1}
ORIGIN |= {"augment": "shift"}
ROWS, LENGTH = 3 * SPAN - 10, 4
VALUES = np.random.default_rng(0).standard_normal((ROWS, 2, LENGTH)).astype(np.float32)
NAMES = names_of(range(ROWS))


class Computer:
    """Computes spans of VALUES, and notes which; dies, if asked to, before span `dies`."""

    def __init__(self, dies=None):
        self.computed, self.dies = [], dies

    def __call__(self, todo):
        for k in todo:
            if k == self.dies:
                raise KeyboardInterrupt
            self.computed.append(k)
            yield k, (VALUES[k * SPAN : (k + 1) * SPAN].astype(ORIGIN["dtype"]), {}, None)


def make(folder, compute=None, **changes):
    origin = ORIGIN | changes
    compute = compute or Computer()
    return make_side(folder, origin, NAMES, LENGTH, compute, about="rows", progress=False)


def values_file(folder):
    (path,) = folder.glob("values-*.npy")
    return path


def test_read_in_any_view_and_found_by_name(tmp_path):
    side = make(tmp_path / "image")
    np.testing.assert_array_equal(side.values, VALUES)
    rows = np.array([5, 0, 5])
    np.testing.assert_array_equal(side.read(rows), VALUES[rows, 0])
    np.testing.assert_array_equal(side.read(rows, np.array([1, 0, 0])), VALUES[rows, [1, 0, 0]])
    np.testing.assert_array_equal(side.find([7, "8", 9999]), [7, 8, -1])
    with pytest.raises(DataError, match="no features of 1 of the 2 images, the first is 9999"):
        rows_of(side, [3, 9999])
    with pytest.raises(ValueError, match="read-only"):
        side.values[0] = 0


def test_computed_once(tmp_path):
    make(tmp_path)
    again = Computer()
    side = make(tmp_path, again)
    assert again.computed == []
    np.testing.assert_array_equal(Side.open(tmp_path, ORIGIN).values, side.values)
    assert sorted(p.name.partition("-")[0] for p in tmp_path.iterdir()) == [
        ".lock",
        "manifest.json",
        "names",
        "values",
    ]


def test_interrupted_it_goes_on_where_it_stopped(tmp_path):
    first, second = Computer(dies=2), Computer()
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, first)
    with pytest.raises(MissingFile, match="there are no kept features"):
        Side.open(tmp_path)
    side = make(tmp_path, second)
    assert (first.computed, second.computed) == ([0, 1], [2])
    np.testing.assert_array_equal(side.values, VALUES)


def test_only_what_is_damaged_is_computed_again(tmp_path):
    make(tmp_path)
    path = values_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[128 + SPAN * 2 * LENGTH * 4 + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"the first: images {SPAN} to {2 * SPAN - 1}"):
        Side.open(tmp_path)
    again = Computer()
    np.testing.assert_array_equal(make(tmp_path, again).values, VALUES)
    assert again.computed == [1]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: values_file(f).write_bytes(values_file(f).read_bytes()[:-7]), "bytes instead"),
        (lambda f: values_file(f).unlink(), "is missing"),
        (lambda f: (f / "manifest.json").write_text("{"), "not json"),
        (lambda f: (f / "manifest.json").unlink(), "there are no kept features"),
        (lambda f: next(f.glob("names-*")).write_bytes(b"x"), "bytes instead"),
    ],
    ids=["cut short", "values gone", "manifest damaged", "manifest gone", "names damaged"],
)
def test_damage_is_named_and_mended(tmp_path, spoil, words):
    make(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=words):
        Side.open(tmp_path)
    np.testing.assert_array_equal(make(tmp_path).values, VALUES)


def test_every_flipped_byte_of_a_copy_is_noticed(tmp_path):
    make(tmp_path / "sound")
    rng = np.random.default_rng(1)
    for turn in range(20):
        folder = tmp_path / f"hit-{turn}"
        shutil.copytree(tmp_path / "sound", folder)
        path = sorted(p for p in folder.iterdir() if p.name != ".lock")[turn % 3]
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        with pytest.raises(DataError):
            Side.open(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbone": "other"}, "features of another backbone, or other weights of it"),
        ({"data": "other"}, "features of other images"),
        ({"dtype": "float16"}, "features of another type"),
        ({"views": 2}, r"features of another number of views \(1, where 2 is wanted\)"),
        ({"augment": "crop"}, "features of another augmentation"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_features_of_something_else_are_not_overwritten(tmp_path, changes, words):
    make(tmp_path)
    for use in (make, lambda folder, **c: Side.open(folder, ORIGIN | c)):
        with pytest.raises(DataError, match=words):
            use(tmp_path, **changes)
    np.testing.assert_array_equal(make(tmp_path).values, VALUES)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"holds thesis\.tex, which is not part of kept features"):
        make(tmp_path)


def test_a_number_that_is_not_finite_is_refused_when_read(tmp_path):
    """Such as a file that another program wrote, with checksums that are right."""
    make(tmp_path)
    path = values_file(tmp_path)
    values = np.array(np.load(path))
    values[7, 0, 1] = np.nan
    np.save(path, values)
    manifest = read_manifest(tmp_path / "manifest.json", "mmret features", 1)
    rows = {name: manifest["values"][name] for name in ("rows", "unreadable", "unit")}
    write_manifest(tmp_path / "manifest.json", {**manifest, "values": entry_of(path) | rows})
    side = Side.open(tmp_path)
    assert np.isfinite(side.read(np.arange(7))).all()
    with pytest.raises(DataError, match="row 7 of its images is not finite"):
        side.read(np.array([1, 7]))


def test_a_wrong_length_or_type_is_refused(tmp_path):
    make(tmp_path)
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    content.pop("sha256")
    values = content["values"]
    write_manifest(path, {**content, "values": {**values, "rows": ROWS - 1}})
    with pytest.raises(DataError, match=r"it holds features \(182, 2, 4\) of 182 names"):
        Side.open(tmp_path)
    write_manifest(path, {**content, "values": {**content["names"], "rows": ROWS}})
    with pytest.raises(DataError, match=r"no features that can be used: names-\S+ holds uint64"):
        Side.open(tmp_path)


def test_photos_that_cannot_be_read_are_left_out(tmp_path):
    pairs = photo_set(tmp_path / "photos", ROWS)

    def compute(todo):
        for k in todo:
            faults = {str(SPAN): "64.png is empty"} if k == 1 else {}
            yield k, (VALUES[k * SPAN : (k + 1) * SPAN], faults, None)

    side = make(tmp_path / "image", compute)
    features = join(pairs, side, np.arange(ROWS), None)
    assert len(features) == ROWS - 1 and len(features.pairs.captions) == 2 * (ROWS - 1)
    assert features.pairs.skipped == (f"1 of {ROWS} images could not be read: 64.png is empty",)
    assert features.pairs.image_ids[SPAN] == SPAN + 1
    np.testing.assert_array_equal(features[SPAN], VALUES[SPAN + 1, 0])


def test_a_subset_is_the_same_rows(tmp_path):
    pairs = photo_set(tmp_path / "photos", ROWS)
    features = join(pairs, make(tmp_path / "image"), np.arange(ROWS), None)
    part = features.subset([9, 2])
    np.testing.assert_array_equal(part[:], VALUES[[9, 2], 0])
    assert part.pairs.captions == part.texts(slice(None)) == ["picture 9"] * 2 + ["picture 2"] * 2
    assert part.manifest["images"]["key"] != features.manifest["images"]["key"]
    buffer = np.empty((2, LENGTH), np.float32)
    part.read_into(np.array([1, 0]), buffer, np.array([1, 0]))
    np.testing.assert_array_equal(buffer, VALUES[[2, 9], [1, 0]])
