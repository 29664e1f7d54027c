"""VSE++'s published layout: rows once or five times, regions, and each way of being wrong."""

import numpy as np
import pytest

from mmret_lib.data import load_pairs
from mmret_lib.data.feature_files import Side
from mmret_lib.data.pixel_hash import UNKNOWN
from mmret_lib.encoders import DualEncoder
from mmret_lib.encoders.features import data_for
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.metrics import evaluate
from mmret_lib.search import SearchIndex
from mmret_lib.studies.evaluate_run import evaluate_run
from mmret_lib.training import TrainConfig, build_loss, build_model
from mmret_lib.training.run import train_run

IMAGES, LENGTH = 20, 12
VALUES = np.random.default_rng(0).standard_normal((IMAGES, LENGTH)).astype(np.float32)


def write(folder, split="test", values=VALUES, captions=5 * IMAGES):
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{split}_ims.npy", values)
    lines = [f"picture {j // 5} of a série , told {j % 5} times ." for j in range(captions)]
    (folder / f"{split}_caps.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def values_of(pairs):
    return Side.open(pairs.features / "image").values[:, 0]


@pytest.mark.parametrize("kind", ["once", "five times", "regions", "float64"])
def test_the_same_features_in_each_form(tmp_path, kind):
    values = {
        "once": VALUES,
        "five times": np.repeat(VALUES, 5, axis=0),
        "regions": VALUES[:, None] + np.array([-1, 0, 1], np.float32)[:, None],
        "float64": VALUES.astype(np.float64),
    }[kind]
    pairs = load_pairs("vsepp", root=write(tmp_path / "data", values=values))
    assert len(pairs) == IMAGES and len(pairs.captions) == 5 * IMAGES
    assert pairs.captions_of(3)[2] == "picture 3 of a série , told 2 times ."
    np.testing.assert_allclose(values_of(pairs), VALUES, rtol=1e-6, atol=1e-6)
    again = load_pairs("vsepp", root=tmp_path / "data")
    assert again.features == pairs.features


def test_one_caption_an_image(tmp_path):
    pairs = load_pairs("vsepp", root=write(tmp_path / "data", captions=IMAGES))
    assert len(pairs) == IMAGES and len(pairs.captions) == IMAGES


def test_an_empty_line_is_left_out_and_the_others_stay_with_their_rows(tmp_path):
    folder = write(tmp_path / "data")
    spoil_captions(folder, 9, b"\r")
    pairs = load_pairs("vsepp", root=folder)
    assert len(pairs) == IMAGES and len(pairs.captions) == 5 * IMAGES - 1
    assert len(pairs.captions_of(1)) == 4 and pairs.captions_of(19)[4].startswith("picture 19")
    assert pairs.skipped == (f"{folder / 'test_caps.txt'}: line 9: the caption is empty ('\\r')",)


def test_an_image_without_a_caption_is_left_out_and_the_others_keep_their_features(tmp_path):
    folder = write(tmp_path / "data", captions=IMAGES)
    spoil_captions(folder, 4, b"")
    pairs = load_pairs("vsepp", root=folder, max_missing=0.05)
    assert pairs.image_ids == [place for place in range(IMAGES) if place != 3]
    assert pairs.captions[3] == "picture 0 of a série , told 4 times ."
    assert "image 3 (line 4) has no caption" in pairs.skipped[1]
    data = data_for(build_model("simclr", pairs, dim=8), pairs, progress=False)
    np.testing.assert_allclose(data[3:4].reshape(-1), VALUES[4], rtol=1e-6)


@pytest.mark.parametrize("end", ["\n\n", "", "\r\n \n"])
def test_blank_lines_at_the_end_and_marks_at_the_beginning_are_no_captions(tmp_path, end):
    path = write(tmp_path / "data") / "test_caps.txt"
    lines = path.read_text(encoding="utf-8").rstrip().split("\n")
    path.write_bytes(("\r\n".join(lines) + end).encode("utf-8-sig"))
    pairs = load_pairs("vsepp", root=tmp_path / "data")
    assert len(pairs.captions) == 5 * IMAGES and pairs.skipped == ()
    assert pairs.captions[0] == lines[0]


def spoil_captions(folder, line, content):
    path = folder / "test_caps.txt"
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = content
    path.write_bytes(b"\n".join(lines))


def not_finite(folder):
    values = VALUES.copy()
    values[7, 3] = np.nan
    np.save(folder / "test_ims.npy", values)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda f: [spoil_captions(f, n, b"  ") for n in (9, 10)],
            r"2 of the 100 captions .*line 9: ",
        ),
        (lambda f: spoil_captions(f, 9, b"\xff"), r"test_caps\.txt: line 9: .* is not UTF-8"),
        (lambda f: write(f, captions=99), r"has 99 lines and .*test_ims\.npy 20 rows"),
        (not_finite, r"test_ims\.npy: row 7 is not finite"),
        (lambda f: np.save(f / "test_ims.npy", np.ones((20, 3), int)), r"holds int64 \(20, 3\)"),
        (lambda f: np.save(f / "test_ims.npy", np.ones(20)), r"holds float64 \(20,\)"),
        (
            lambda f: np.save(f / "test_ims.npy", np.array([{}] * 20), allow_pickle=True),
            "cannot be read as an array",
        ),
        (lambda f: (f / "test_ims.npy").write_bytes(b"\x93NUMPY"), "cannot be read as an array"),
        (lambda f: (f / "test_ims.npy").unlink(), r"test_ims\.npy is missing"),
        (lambda f: (f / "test_caps.txt").unlink(), r"test_caps\.txt is missing"),
    ],
)
def test_whatever_is_wrong_is_named(tmp_path, spoil, words):
    folder = write(tmp_path / "data")
    spoil(folder)
    with pytest.raises(DataError, match=words):
        load_pairs("vsepp", root=folder)
    with pytest.raises(MissingFile, match="does not exist"):
        load_pairs("vsepp", root=tmp_path / "nowhere")


@pytest.mark.slow
def test_trained_saved_opened_and_searched_without_any_photo(tmp_path, capsys):
    root = tmp_path / "data"
    write(root, "train")
    write(root, "dev")
    train, dev = (load_pairs("vsepp", root=root, split=split) for split in ("train", "dev"))
    model = build_model("simclr", train, dim=8)
    config = TrainConfig(epochs=2, batch_size=10, device="cpu")
    run = train_run(
        tmp_path / "run", model, build_loss("simclr"), train, config, validation=dev, progress=False
    )
    assert run.history.rows[-1]["t2i_r1"] > 0
    opened = DualEncoder.load(tmp_path / "run" / "model")
    assert opened.trained_on.tolist() == [UNKNOWN]  # there were no pixels
    evaluate_run(opened, dev, name="mine")
    assert "were trained on cannot be checked" in capsys.readouterr().out
    assert opened.image.backbone_name == "features:12"
    index = SearchIndex.build(opened, dev, progress=False)
    assert len(index.by_text("picture 3", k=2)) == 2
    evaluate(index.image_emb, index.text_emb, dev.owner)
    with pytest.raises(DataError, match="has no backbone"):
        index.by_image(np.zeros((64, 64, 3), np.uint8))
    longer = load_pairs("vsepp", root=write(tmp_path / "other", values=VALUES[:, :5]))
    with pytest.raises(DataError, match="features of another backbone"):
        SearchIndex.build(opened, longer, progress=False)
