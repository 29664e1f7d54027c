"""What `evaluate` takes, and what it refuses by name."""

import math

import numpy as np
import pytest
import torch
from rank_oracle import assert_ranks, cosines, oracle, world

from mmret_lib.metrics import evaluate, report_from_scores


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types(device, dtype):
    image_emb, text_emb, owner = world(noise=2.0)
    image_emb, text_emb = (torch.tensor(emb).to(dtype) for emb in (image_emb, text_emb))
    report = evaluate(image_emb.to(device), text_emb.to(device), owner)
    assert_ranks(report, oracle(cosines(image_emb, text_emb), owner))


def test_zero_vectors_score_zero_with_everything(device):
    image_emb, text_emb, owner = world(noise=2.0)
    image_emb[3] = 0
    text_emb[owner == 5] = 0
    report = evaluate(torch.tensor(image_emb, device=device), text_emb, owner)
    assert_ranks(report, oracle(cosines(image_emb, text_emb), owner))
    assert report.i2t.ranks[3] == (len(owner) - (owner == 3).sum()) / 2


@pytest.mark.parametrize("scale", [1e-30, 1e-13, 1e30])
def test_length_does_not_matter(scale):
    image_emb, text_emb, owner = world(noise=2.0)
    report = evaluate(image_emb * np.float32(scale), text_emb * np.float32(scale), owner)
    assert_ranks(report, oracle(cosines(image_emb, text_emb), owner))


def test_any_container():
    image_emb, text_emb, owner = world(noise=2.0)
    expected = oracle(cosines(image_emb, text_emb), owner)
    frozen = text_emb.copy()
    frozen.flags.writeable = False
    weights = torch.tensor(image_emb, requires_grad=True)
    for image_given, text_given, owner_given in (
        (weights, frozen, owner.tolist()),
        (image_emb[::-1][::-1], text_emb.astype(">f4"), torch.tensor(owner, dtype=torch.int32)),
        (image_emb.tolist(), np.asfortranarray(text_emb), owner.astype(np.uint8)),
    ):
        assert_ranks(evaluate(image_given, text_given, owner_given), expected)


def test_one_image_is_first(device):
    report = evaluate(torch.ones(1, 4, device=device), torch.randn(3, 4), [0, 0, 0])
    assert_ranks(report, ([0.0], [0.0, 0.0, 0.0]))


@pytest.mark.parametrize("setting", ["autocast", "older", "newer"])
def test_training_precision_is_set_aside_and_put_back(device, setting):
    image_emb, text_emb, owner = world(60, 128, noise=2.0)
    expected = oracle(cosines(image_emb, text_emb), owner)
    image_emb, text_emb = torch.tensor(image_emb, device=device), torch.tensor(text_emb)
    matmul = torch.backends.cuda.matmul
    if setting == "autocast":
        with torch.autocast(device, dtype=torch.bfloat16):
            assert_ranks(evaluate(image_emb, text_emb, owner), expected)
        return
    try:
        if setting == "older":
            torch.set_float32_matmul_precision("medium")
        else:
            matmul.fp32_precision = "tf32"
        before = matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
        assert_ranks(evaluate(image_emb, text_emb, owner), expected)
        assert before == (matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision)
        with pytest.raises(ValueError, match="not finite"):
            evaluate(image_emb * math.nan, text_emb, owner)
        assert before == (matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("branch", ["image_emb", "text_emb"])
def test_one_bad_number_is_refused_by_row(device, branch, bad):
    image_emb, text_emb, owner = world()
    given = {"image_emb": image_emb, "text_emb": text_emb}
    given[branch][7, 3] = bad
    given = {name: torch.tensor(emb, device=device) for name, emb in given.items()}
    with pytest.raises(ValueError, match=rf"{branch} row 7 is not finite \(1 of"):
        evaluate(**given, owner=owner)


def test_a_length_beyond_float64_is_refused():
    image_emb, text_emb, owner = world()
    text_emb = text_emb.astype(np.float64)
    text_emb[2] = 1e200
    with pytest.raises(ValueError, match="text_emb row 2 is not finite"):
        evaluate(image_emb, text_emb, owner)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_emb": torch.ones(3, 4, dtype=torch.int64)}, "image_emb holds torch.int64"),
        ({"text_emb": [[1, 2, 3, 4]] * 3}, "text_emb holds torch.int64"),
        ({"image_emb": torch.ones(3)}, r"image_emb has shape \(3,\)"),
        ({"image_emb": torch.ones(0, 4)}, r"image_emb has shape \(0, 4\)"),
        ({"text_emb": torch.ones(3, 5)}, "4 dimensions and text_emb 5"),
        ({"owner": [0, 1]}, r"owner has shape \(2,\)"),
        ({"owner": [0.0, 1.0, 2.0]}, "type float64"),
        ({"owner": [True, False, True]}, "type bool"),
        ({"owner": [0, 1, 3]}, r"owner\[2\] is 3, outside 0 to 2"),
        ({"owner": [0, -1, 2]}, r"owner\[1\] is -1"),
        ({"owner": [0, 2, 2]}, r"image 1 has no caption \(1 such\)"),
        ({"ks": ()}, "at least one K"),
        ({"ks": (0, 1)}, "each 1 or more"),
        ({"tile": 0}, "tile is 0"),
        ({"protocol": "5k"}, "protocol is '5k'"),
        ({"protocol": "1k"}, "it needs 5000 images or more"),
    ],
)
def test_what_cannot_be_ranked_is_named(change, message):
    given = {"image_emb": torch.ones(3, 4), "text_emb": torch.ones(3, 4), "owner": [0, 1, 2]}
    with pytest.raises(ValueError, match=message):
        evaluate(**(given | change))


def test_folds_need_whole_thousands_and_captions_in_order():
    row = torch.ones(5500, 2)
    with pytest.raises(ValueError, match="whole thousands, and there are 5500"):
        evaluate(row, row, range(5500), protocol="1k")
    owner = [*range(5000)]
    owner[10:12] = 11, 10
    with pytest.raises(ValueError, match=r"owner\[11\] = 10 follows 11"):
        evaluate(row[:5000], row[:5000], owner, protocol="1k")


def test_scores_that_cannot_be_ranked():
    scores = np.zeros((2, 3))
    scores[1, 2] = math.nan
    with pytest.raises(ValueError, match=r"i2t_scores\[1, 2\] is NaN"):
        report_from_scores(scores, owner=[0, 1, 1])
    with pytest.raises(ValueError, match=r"t2i_scores\[1, 2\] is NaN"):
        report_from_scores(np.zeros((2, 3)), scores, owner=[0, 1, 1])
    with pytest.raises(ValueError, match="of the same pool"):
        report_from_scores(np.zeros((2, 3)), np.zeros((3, 3)), owner=[0, 1, 1])
    with pytest.raises(ValueError, match="expected \\(images, captions\\)"):
        report_from_scores(np.zeros(3), owner=[0, 1, 1])
    with pytest.raises(ValueError, match="image 0 has no caption"):
        report_from_scores(np.zeros((2, 3)), owner=[1, 1, 1])
