"""The built-in world's own truth, and readers of the published files of judgements."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmret_lib.data import Pairs, load_pairs
from mmret_lib.data.judgements import read_judgements, scene_truth
from mmret_lib.data.world.captions import Claim
from mmret_lib.data.world.scenes import images_that_fit
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.metrics import evaluate
from mmret_lib.metrics.judged import evaluate_judged

# --- the built-in world ---


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return load_pairs("scenes", folder, split="test", size=60, identical=0.2, wrong_captions=0.2)


def test_scene_truth_is_every_image_that_fits(scenes):
    truth = scene_truth(scenes)
    fits = {
        (index, place)
        for place, info in enumerate(scenes.caption_info)
        for index in images_that_fit(scenes, Claim.from_dict(info["claim"]))
    }
    assert set(map(tuple, truth.i2t)) == fits
    assert {(image, caption) for caption, image in truth.t2i} == fits
    own = set(zip(scenes.owner.tolist(), range(len(scenes.captions)), strict=True))
    wrong = {place for place, info in enumerate(scenes.caption_info) if info["wrong"]}
    assert own - fits and {caption for _, caption in own - fits} <= wrong
    assert fits - own, "no caption fits another image"
    with pytest.raises(DataError, match="only the built-in world"):
        scene_truth(coco_pairs())


def test_truth_forgives_what_recall_does_not(scenes):
    """A reader who knows what fits, and guesses among it, fails by plain recall only."""
    truth = scene_truth(scenes)
    fits = np.zeros((len(scenes), len(scenes.captions)))
    fits[tuple(truth.i2t.T)] = 1
    # Images as unit vectors, captions pointing at all that fit, a hair more to the later ones.
    text_emb = (fits * np.linspace(1, 1.01, len(scenes))[:, None]).T + 1e-6
    judged = evaluate_judged(np.eye(len(scenes)), text_emb, truth)
    assert judged.t2i.recall[1] == judged.t2i.map_at_r == 100
    assert evaluate(np.eye(len(scenes)), text_emb, scenes.owner).t2i.recall[1] < 90


# --- published files ---


def coco_pairs():
    """Three images 10 11 12 with two captions each, 100 to 105, as Karpathy's file names them."""
    return Pairs(
        images=[Path(f"COCO_val2014_{i:012d}.jpg") for i in (10, 11, 12)],
        captions=[f"caption {j}" for j in range(6)],
        owner=np.repeat(np.arange(3), 2),
        image_ids=[10, 11, 12],
        name="coco",
        split="test",
        image_info=[{}] * 3,
        caption_info=[{"sentid": 100 + j} for j in range(6)],
    )


CXC = """caption,image,agg_score,sampling_method
COCO_val2014:sentid:100,COCO_val2014_000000000010.jpg,5.0,c2i_original
COCO_val2014:sentid:100,COCO_val2014_000000000012.jpg,3.0,c2i_intrasim
COCO_val2014:sentid:101,COCO_val2014_000000000010.jpg,2.99,c2i_original
COCO_val2014:sentid:103,COCO_val2014_000000000010.jpg,4.4,c2i_intrasim
COCO_val2014:sentid:103,COCO_val2014_000000000010.jpg,4.4,c2i_intrasim
COCO_val2014:sentid:103,COCO_val2014_000000000099.jpg,5.0,c2i_intrasim
COCO_val2014:sentid:999,COCO_val2014_000000000011.jpg,5.0,c2i_original
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_cxc_counts_ratings_from_three(tmp_path, encoding):
    (tmp_path / "sits_test.csv").write_text(CXC, encoding=encoding)
    (tmp_path / "sits_test_raw.csv").write_text("not to be read")
    for path in (tmp_path, tmp_path / "sits_test.csv"):
        (found,) = read_judgements(path, coco_pairs())
        assert "CxC" in found.name and "3 or more" in found.name
        assert found.t2i.tolist() == [[0, 0], [0, 2], [3, 0]]
        assert found.i2t.tolist() == [[0, 0], [0, 3], [2, 0]]


def test_captions_of_the_official_file_are_known_by_id(tmp_path):
    (tmp_path / "sits_val.csv").write_text(CXC)
    pairs = coco_pairs()
    official = Pairs(
        pairs.images,
        pairs.captions,
        pairs.owner,
        pairs.image_ids,
        name="coco",
        caption_info=[{"id": 100 + j, "image_id": 10 + j // 2} for j in range(6)],
    )
    (found,) = read_judgements(tmp_path, official)
    assert found.t2i.tolist() == [[0, 0], [0, 2], [3, 0]]


def write_answers(folder, name, i2t, t2i):
    (folder / f"{name}_image_to_caption.json").write_text(json.dumps(i2t))
    (folder / f"{name}_caption_to_image.json").write_text(json.dumps(t2i))


def test_eccv_caption_has_its_own_queries_each_way(tmp_path):
    write_answers(tmp_path, "eccv", {"12": [100, 105, 777]}, {"102": [11, 10], "555": [10]})
    write_answers(tmp_path, "cxc", {"10": [100]}, {"100": [10]})
    write_answers(tmp_path, "original", {"10": [100, 101]}, {"100": [10]})
    cxc, eccv = read_judgements(tmp_path, coco_pairs())
    assert eccv.name == "ECCV Caption" and "CxC" in cxc.name
    assert eccv.i2t.tolist() == [[2, 0], [2, 5]]
    assert eccv.t2i.tolist() == [[2, 0], [2, 1]]
    for half in ("image_to_caption", "caption_to_image"):
        (alone,) = read_judgements(tmp_path / f"eccv_{half}.json", coco_pairs())
        assert alone.i2t.tolist() == eccv.i2t.tolist()
        assert alone.t2i.tolist() == eccv.t2i.tolist()


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({}, MissingFile, "holds neither sits"),
        ({"sits_val.csv": "image1,image2,agg_score,sampling_method\n"}, DataError, "begins with"),
        ({"sits_val.csv": ""}, DataError, "begins with"),
        ({"sits_val.csv": CXC + "COCO:1,COCO_2.jpg,high,x\n"}, DataError, "line 9: 'COCO:1"),
        ({"sits_val.csv": CXC + "COCO:1,COCO_2.jpg\n"}, DataError, "line 9"),
        ({"sits_val.csv": CXC + "\udcff"}, DataError, "not a table in UTF-8"),
        (
            {"sits_val.csv": CXC.splitlines()[0]},
            DataError,
            "judges no image and caption of coco test",
        ),
        ({"eccv_image_to_caption.json": '{"10": [100]}'}, MissingFile, "eccv_caption_to_image"),
        (
            {"eccv_image_to_caption.json": '{"10": 100}', "eccv_caption_to_image.json": "{}"},
            DataError,
            "key '10' should name a query",
        ),
        (
            {"eccv_image_to_caption.json": '{"x": [1]}', "eccv_caption_to_image.json": "{}"},
            DataError,
            "key 'x'",
        ),
        (
            {"eccv_image_to_caption.json": "[1]", "eccv_caption_to_image.json": "{}"},
            DataError,
            "not an object",
        ),
    ],
)
def test_files_that_do_not_hold_what_they_should(tmp_path, files, error, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(error, match=message):
        read_judgements(tmp_path, coco_pairs())


def test_what_cannot_be_read_as_judgements(tmp_path):
    with pytest.raises(MissingFile, match="nowhere does not exist"):
        read_judgements(tmp_path / "nowhere", coco_pairs())
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="neither CxC's sits"):
        read_judgements(tmp_path / "notes.txt", coco_pairs())
    (tmp_path / "sits_val.csv").write_text(CXC)
    pairs = coco_pairs()
    bare = Pairs(pairs.images, pairs.captions, pairs.owner, pairs.image_ids, name="coco")
    with pytest.raises(DataError, match="keep_info=True"):
        read_judgements(tmp_path, bare)
