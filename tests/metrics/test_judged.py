"""Judged figures, against the papers' definitions on sorted lists."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_oracle import cosines

import mmret_lib.metrics.judged
from mmret_lib.data.judgements import Judgements
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


def test_a_constant_model_is_at_chance():
    rows = torch.ones(200, 8)
    judged = evaluate_judged(rows, rows, own_answers(np.arange(200)))
    for way in (judged.i2t, judged.t2i):
        assert way.recall == pytest.approx({1: 0.5, 5: 2.5, 10: 5.0})
        assert way.map_at_r == pytest.approx(0.5) and way.r_precision == pytest.approx(0.5)
    owner = np.repeat(np.arange(40), [1, 5, 2, 7] * 10)
    ones = torch.ones(40, 4), torch.ones(len(owner), 4)
    judged = evaluate_judged(*ones, own_answers(owner))
    plain = evaluate(*ones, owner)
    assert judged.i2t.recall == pytest.approx(plain.i2t.recall)
    own = np.bincount(owner)
    assert judged.i2t.r_precision == pytest.approx(100 * np.mean(own / len(owner)))


def tied_world(seed):
    """Rows of few whole numbers, so that many cosines are equal, and random judgements."""
    rng = np.random.default_rng(seed)
    image_emb, text_emb = (rng.integers(-1, 2, size=(n, 2)).astype(float) for n in (9, 15))
    image_emb[:3] = text_emb[:3] = [1.0, 0.0]
    ways = (np.argwhere(rng.random(shape) < 0.3) for shape in ((9, 15), (15, 9)))
    return image_emb, text_emb, Judgements("tied", *ways)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_ties_are_the_mean_of_drawn_orders(seed):
    image_emb, text_emb, judgements = tied_world(seed)
    report = evaluate_judged(image_emb, text_emb, judgements, ks=(1, 3))
    scores = cosines(image_emb, text_emb).round(6)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(800):
        shuffled = scores + 1e-7 * rng.random(scores.shape)  # a random order among equal ones
        ways = (shuffled, judgements.i2t), (shuffled.T, judgements.t2i)
        for recall, precision, average in (by_sorting(*way, (1, 3)) for way in ways):
            drawn += [recall[1], recall[3], 100 * np.mean(precision), 100 * np.mean(average)]
    drawn = np.reshape(drawn, (800, 2, 4))
    for way, values in zip((report.i2t, report.t2i), drawn.transpose(1, 2, 0), strict=True):
        expected = [way.recall[1], way.recall[3], way.r_precision, way.map_at_r]
        deviation = np.abs(values.mean(1) - expected)
        assert (deviation < 5 * values.std(1) / np.sqrt(800) + 1e-9).all()
        assert (values.std(1) > 1).all()  # ties decide much here


@pytest.mark.parametrize("seed", range(4))
def test_ties_count_as_in_the_plain_report(seed):
    """Also where more tie than the deepest place that is looked at."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(60), rng.integers(1, 4, 60))
    image_emb, text_emb = (rng.integers(0, 2, size=(n, 3)) * 1.0 for n in (60, len(owner)))
    ks = (1, 2, 5)
    plain = evaluate(image_emb, text_emb, owner, ks=ks)
    judged = evaluate_judged(image_emb, text_emb, own_answers(owner), ks=ks)
    assert judged.i2t.recall == pytest.approx(plain.i2t.recall)
    assert judged.t2i.recall == pytest.approx(plain.t2i.recall)
    assert plain.t2i.counts.tied.max() > 10


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
