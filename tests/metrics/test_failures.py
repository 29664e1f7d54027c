"""The table of queries against a full float64 matrix."""

import numpy as np
import pytest
import torch

import mmret_lib.metrics.failures
from mmret_lib.data.judgements import Judgements
from mmret_lib.metrics import evaluate
from mmret_lib.metrics.failures import query_table


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    owner = rng.permutation(np.repeat(np.arange(40), rng.integers(1, 4, 40)))
    image_emb = rng.normal(size=(40, 8))
    return image_emb, image_emb[owner] + rng.normal(size=(len(owner), 8)), owner


@pytest.mark.parametrize("tile", [7, 1024])
def test_every_query_with_its_right_and_its_best_wrong_answer(world, monkeypatch, tile):
    monkeypatch.setattr(mmret_lib.metrics.failures, "TILE", tile)
    image_emb, text_emb, owner = world
    table = query_table(torch.tensor(image_emb), text_emb, owner)
    units = [emb / np.linalg.norm(emb, axis=1, keepdims=True) for emb in (image_emb, text_emb)]
    scores = units[0] @ units[1].T
    own = owner == np.arange(40)[:, None]  # (N, M)
    report = evaluate(image_emb, text_emb, owner)
    for way, matrix, mine, ranks in (
        ("i2t", scores, own, report.i2t.ranks),
        ("t2i", scores.T, own.T, report.t2i.ranks),
    ):
        part = table[table.direction == way]
        assert part["query"].tolist() == list(range(len(matrix)))
        np.testing.assert_array_equal(part["rank"], ranks + 1)
        assert (part["tied"] == 0).all() and (part["hit_5"] == (part["rank"] <= 5)).all()
        right, wrong = np.where(mine, matrix, -9), np.where(mine, -9, matrix)
        np.testing.assert_array_equal(part["right"], right.argmax(1))
        np.testing.assert_array_equal(part["wrong"], wrong.argmax(1))
        np.testing.assert_allclose(part["right_score"], right.max(1), atol=1e-12)
        np.testing.assert_allclose(part["wrong_score"], wrong.max(1), atol=1e-12)
        np.testing.assert_allclose(part["lead"], right.max(1) - wrong.max(1), atol=1e-12)
        assert ((part["lead"] > 1e-6) == (part["rank"] == 1)).all()
    assert 0.1 < (table["lead"] > 0).mean() < 0.9


def test_names_and_judgements_stand_beside(world):
    image_emb, text_emb, owner = world
    bare = query_table(image_emb, text_emb, owner)
    first = bare[bare.direction == "t2i"].iloc[3]
    fits = Judgements("one", np.array([[0, 0]]), np.array([[3, first["wrong"]]]))
    table = query_table(
        image_emb,
        text_emb,
        owner,
        images=[f"{i}.png" for i in range(40)],
        captions=[f"caption {j}" for j in range(len(owner))],
        judgements=fits,
    )
    row = table[table.direction == "t2i"].iloc[3]
    assert row["query_name"] == "caption 3" and row["right_name"] == f"{owner[3]}.png"
    assert row["wrong_name"] == f"{row['wrong']}.png"
    assert row["wrong_fits"] and table["wrong_fits"].sum() == 1
    row = table.iloc[5]
    assert (row["direction"], row["query_name"]) == ("i2t", "5.png")
    assert row["wrong_name"] == f"caption {row['wrong']}"


def test_the_means_of_the_hits_are_the_recalls(world):
    image_emb, text_emb, owner = world
    image_emb, text_emb = image_emb.round(), text_emb.round()  # many scores tie
    table, report = query_table(image_emb, text_emb, owner), evaluate(image_emb, text_emb, owner)
    assert (table["tied"] > 0).sum() > 5
    for way, part in table.groupby("direction"):
        for k in (1, 5, 10):
            assert 100 * part[f"hit_{k}"].mean() == pytest.approx(report.as_dict()[f"{way}_r{k}"])


def test_where_nothing_is_wrong():
    table = query_table(np.eye(1, 3), np.ones((2, 3)), [0, 0], images=["a"], captions=["b", "c"])
    assert table["wrong"].tolist() == [-1] * 3
    assert table["wrong_score"].isna().all() and table["lead"].isna().all()
    assert table["wrong_name"].tolist() == [""] * 3
    assert table["rank"].tolist() == [1] * 3


def test_what_is_refused(world):
    image_emb, text_emb, owner = world
    with pytest.raises(ValueError, match="images holds 2 names for 40 rows"):
        query_table(image_emb, text_emb, owner, images=["a", "b"])
    with pytest.raises(ValueError, match=r"owner\[0\] is 99"):
        query_table(image_emb, text_emb, [99, *owner[1:]])
    text_emb[3] = np.inf
    with pytest.raises(ValueError, match="text_emb row 3 is not finite"):
        query_table(image_emb, text_emb, owner)
