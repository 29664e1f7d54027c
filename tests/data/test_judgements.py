"""Judged figures against sorted lists, readers against small files of the published forms."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmret_lib.metrics.judged
from mmret_lib.data import Pairs, load_pairs
from mmret_lib.data.judgements import Judgements, read_judgements, scene_truth
from mmret_lib.data.world.captions import Claim
from mmret_lib.data.world.scenes import images_that_fit
from mmret_lib.files.errors import DataError, MissingFile
from mmret_lib.metrics import evaluate
from mmret_lib.metrics.judged import evaluate_judged


def own_answers(owner, name="own"):
    pairs = np.stack([owner, np.arange(len(owner))], 1)
    return Judgements(name, pairs[np.lexsort(pairs.T[::-1])], pairs[:, ::-1].copy())


def world(images=30, dim=8, seed=0, share=0.1):
    """Embeddings that half agree, one to three captions an image, and random judgements."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(images), rng.integers(1, 4, images))
    image_emb = rng.normal(size=(images, dim))
    text_emb = image_emb[owner] + rng.normal(size=(len(owner), dim))
    ways = (
        np.argwhere(rng.random(shape) < share)
        for shape in ((images, len(owner)), (len(owner), images))
    )
    return image_emb, text_emb, owner, Judgements("test", *ways)


def cosines(image_emb, text_emb):
    units = [emb / np.linalg.norm(emb, axis=1, keepdims=True) for emb in (image_emb, text_emb)]
    return units[0] @ units[1].T


def by_sorting(scores, pairs, ks):
    """The papers' definitions on sorted lists, one query after the other."""
    recall, precision, average = {k: [] for k in ks}, [], []
    for query in np.unique(pairs[:, 0]):
        right = set(pairs[pairs[:, 0] == query, 1])
        order = list(np.argsort(-scores[query]))
        for k in ks:
            recall[k].append(any(answer in right for answer in order[:k]))
        first = order[: len(right)]
        precision.append(len(right.intersection(first)) / len(right))
        found = 0
        terms = []
        for place, answer in enumerate(first, 1):
            found += answer in right
            terms.append(found / place if answer in right else 0)
        average.append(sum(terms) / len(right))
    return {k: 100 * np.mean(v) for k, v in recall.items()}, precision, average


def assert_judged(direction, expected):
    recall, precision, average = expected
    assert direction.recall == pytest.approx(recall)
    assert direction.r_precision == pytest.approx(100 * np.mean(precision))
    assert direction.map_at_r == pytest.approx(100 * np.mean(average))
    np.testing.assert_allclose(direction.average_precision, 100 * np.array(average))


@pytest.mark.parametrize("share", [0.03, 0.3, 0.9])
@pytest.mark.parametrize("held", [1, 2**22])
def test_figures_are_those_of_sorted_lists(monkeypatch, share, held):
    monkeypatch.setattr(mmret_lib.metrics.judged, "HELD", held)
    image_emb, text_emb, _, judgements = world(share=share)
    ks = (1, 3, 10)
    report = evaluate_judged(image_emb, text_emb, judgements, ks=ks)
    scores = cosines(image_emb, text_emb)
    assert_judged(report.i2t, by_sorting(scores, judgements.i2t, ks))
    assert_judged(report.t2i, by_sorting(scores.T, judgements.t2i, ks))
    assert report.i2t.queries == len(np.unique(judgements.i2t[:, 0]))
    assert report.t2i.answers == pytest.approx(len(judgements.t2i) / report.t2i.queries)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_judgements(data):
    rows = st.lists(st.integers(-3, 3), min_size=3, max_size=3)
    image_emb, text_emb = (
        np.array(data.draw(st.lists(rows, min_size=1, max_size=6)), dtype=float) for _ in "12"
    )
    # Hairs that make all scores different, so that there is one order.
    rng = np.random.default_rng(0)
    image_emb, text_emb = (emb + 1e-2 * rng.normal(size=emb.shape) for emb in (image_emb, text_emb))
    sizes = len(image_emb), len(text_emb)
    ways = []
    for shape in (sizes, sizes[::-1]):
        cells = st.tuples(*(st.integers(0, n - 1) for n in shape))
        ways.append(np.array(sorted(data.draw(st.sets(cells, min_size=1)))))
    report = evaluate_judged(image_emb, text_emb, Judgements("drawn", *ways), ks=(1, 2))
    scores = cosines(image_emb, text_emb)
    if (
        len(np.unique(scores)) == scores.size
        and np.diff(np.sort(scores, axis=None)).min(initial=1) > 1e-6
    ):
        assert_judged(report.i2t, by_sorting(scores, ways[0], (1, 2)))
        assert_judged(report.t2i, by_sorting(scores.T, ways[1], (1, 2)))


def test_a_worked_example():
    """Captions in the order 0 1 2 3 for image 0; 0 and 3 are right: places 1 and 4, R = 2."""
    angles = np.radians([10, 20, 30, 40])
    text_emb = np.stack([np.cos(angles), np.sin(angles)], 1)
    image_emb = np.array([[1.0, 0.0], [0.0, 1.0]])
    judgements = Judgements("one", np.array([[0, 0], [0, 3]]), np.array([[3, 1]]))
    report = evaluate_judged(image_emb, text_emb, judgements, ks=(1, 2))
    assert report.i2t.recall == {1: 100.0, 2: 100.0}
    assert report.i2t.r_precision == 50.0
    assert report.i2t.map_at_r == 50.0  # (1/1 + 0) / 2: place 4 lies beyond R
    assert report.t2i.recall == {1: 0.0, 2: 100.0}  # 40 degrees are nearer to image 0
    assert report.t2i.map_at_r == 0.0
    assert report.i2t.queries_of.tolist() == [0] and report.t2i.queries_of.tolist() == [3]


def test_judged_by_the_data_set_alone_it_is_plain_recall():
    image_emb, text_emb, owner, _ = world(60)
    plain = evaluate(image_emb, text_emb, owner)
    judged = evaluate_judged(image_emb, text_emb, own_answers(owner))
    assert judged.i2t.recall == pytest.approx(plain.i2t.recall)
    assert judged.t2i.recall == pytest.approx(plain.t2i.recall)
    near = plain.t2i.ranks < 10
    np.testing.assert_array_equal(judged.t2i.ranks[near], plain.t2i.ranks[near])


def test_a_constant_model_is_not_perfect():
    rows = torch.ones(200, 8)
    judged = evaluate_judged(rows, rows, own_answers(np.arange(200)))
    assert set(judged.i2t.recall.values()) == {0.0}
    assert judged.t2i.map_at_r == judged.t2i.r_precision == 0
    plain = evaluate(torch.ones(9, 4), torch.ones(9, 4), range(9))
    judged = evaluate_judged(torch.ones(9, 4), torch.ones(9, 4), own_answers(np.arange(9)))
    assert judged.i2t.recall == plain.i2t.recall == {1: 0, 5: 100, 10: 100}


def test_more_right_answers_never_lower_recall():
    image_emb, text_emb, owner, judgements = world(60, share=0.02)
    both = [
        np.unique(np.concatenate(pairs), axis=0)
        for pairs in zip(
            (judgements.i2t, judgements.t2i),
            (own_answers(owner).i2t, own_answers(owner).t2i),
            strict=True,
        )
    ]
    fewer = evaluate_judged(image_emb, text_emb, own_answers(owner))
    more = evaluate_judged(image_emb, text_emb, Judgements("more", *both))
    for way in ("i2t", "t2i"):
        for k in (1, 5, 10):
            assert getattr(more, way).recall[k] >= getattr(fewer, way).recall[k]
    assert more.t2i.recall[1] > fewer.t2i.recall[1]


def test_torchmetrics_agrees_on_r_precision():
    retrieval = pytest.importorskip("torchmetrics.retrieval")
    image_emb, text_emb, _, judgements = world(share=0.2)
    scores = torch.tensor(cosines(image_emb, text_emb)).float()
    right = torch.zeros(scores.shape, dtype=torch.bool)
    right[tuple(torch.from_numpy(judgements.i2t.T.copy()))] = True
    judged = right.any(1)
    query = torch.arange(len(scores))[:, None].expand(scores.shape)[judged]
    theirs = retrieval.RetrievalRPrecision()(
        scores[judged].flatten(), right[judged].flatten(), indexes=query.flatten()
    )
    ours = evaluate_judged(image_emb, text_emb, judgements).i2t
    assert ours.r_precision == pytest.approx(100 * float(theirs), abs=1e-3)


def test_what_is_printed_and_written():
    image_emb, text_emb, _, judgements = world()
    report = evaluate_judged(image_emb, text_emb, judgements)
    flat = report.as_dict()
    assert json.loads(json.dumps(flat)) == flat
    assert {"i2t_r1", "i2t_map_at_r", "t2i_r_precision", "t2i_queries"} <= set(flat)
    assert "judged by test" in str(report) and f"{report.t2i.map_at_r:.1f}" in str(report)


def test_what_cannot_be_judged():
    image_emb, text_emb, owner, judgements = world()
    with pytest.raises(ValueError, match="of another collection"):
        evaluate_judged(image_emb[:5], text_emb, judgements)
    with pytest.raises(ValueError, match="judges no query of t2i"):
        evaluate_judged(
            image_emb, text_emb, Judgements("half", judgements.i2t, np.empty((0, 2), np.int64))
        )
    image_emb[4] = np.nan
    with pytest.raises(ValueError, match="image_emb row 4 is not finite"):
        evaluate_judged(image_emb, text_emb, own_answers(owner))


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


def test_cxc_counts_ratings_from_three(tmp_path):
    (tmp_path / "sits_test.csv").write_text(CXC)
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
