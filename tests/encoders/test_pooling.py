"""How a text's token states become one vector, by the model's own file or as asked."""

import json
import shutil

import pytest
import torch
from small_models import CAPTIONS
from transformers import AutoModel, AutoTokenizer

from mmret_lib.encoders import DualEncoder, ImageEncoder, TextEncoder
from mmret_lib.encoders.pooling import pool, read_pooling, write_pooling
from mmret_lib.files.errors import DataError


def say(folder, content) -> None:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("content", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_max_tokens": True, "word_embedding_dimension": 16}, "max"),
        ({"pooling_mode": "cls"}, "first"),
        ({"pooling_mode": ["mean"], "include_prompt": True}, "mean"),
        ({"pooling_mode": "mean", "pooling_mode_mean_tokens": True}, "mean"),
    ],
    ids=str,
)
def test_auto_is_what_the_folder_says(tiny_copy, content, pooling):
    say(tiny_copy, content)
    assert TextEncoder(tiny_copy, "pretrained").pooling == pooling
    assert TextEncoder(tiny_copy, None).pooling == pooling
    assert TextEncoder(tiny_copy, "pretrained", pooling="max").pooling == "max"


def test_auto_is_the_first_token_where_the_folder_says_nothing(tiny):
    assert TextEncoder(tiny / "distilbert", "pretrained").pooling == "first"
    assert TextEncoder("mini", None, captions=CAPTIONS).pooling == "first"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean_tokens"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, "mean_sqrt_len_tokens"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "first and mean"),
        ({"pooling_mode_mean_tokens": False}, "no pooling"),
        (["mean"], "cannot be read"),
        ({"pooling_mode": 7}, "cannot be read"),
    ],
    ids=str,
)
def test_other_poolings_are_refused_by_name(tiny_copy, content, named):
    say(tiny_copy, content)
    with pytest.raises(DataError) as caught:
        TextEncoder(tiny_copy, "pretrained")
    for part in (str(tiny_copy / "1_Pooling"), named, "choose first, mean, max (--pooling)"):
        assert part in str(caught.value)
    assert TextEncoder(tiny_copy, "pretrained", pooling="mean").pooling == "mean"


def test_pools_against_plain_loops():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(3, 5, 4, generator=generator) - 3  # all maxima below 0
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    for row, count in enumerate((5, 2)):
        real = states[row, :count]
        torch.testing.assert_close(pool(states, mask, "mean")[row], real.mean(0))
        torch.testing.assert_close(pool(states, mask, "max")[row], real.amax(0))
        assert torch.equal(pool(states, mask, "first")[row], real[0])
    for pooling in ("mean", "max"):  # no token at all
        assert torch.equal(pool(states, mask, pooling)[2], torch.zeros(4))


def test_the_mean_of_half_precision_states_is_not_summed_in_half_precision():
    """4,000 such states add up to more than float16 can hold."""
    states = torch.full((1, 4000, 2), 60.0, dtype=torch.float16)
    mean = pool(states, torch.ones(1, 4000, dtype=torch.int64), "mean")
    assert mean.dtype == torch.float16
    assert mean.tolist() == [[60.0, 60.0]]


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_autocast_pools_as_float32_does(tiny, pooling):
    encoder = TextEncoder(tiny / "distilbert", "pretrained", pooling=pooling).eval()
    tokens = encoder.tokenize(["", "zebra", "a baby elephant plays in the water . " * 5])
    with torch.no_grad():
        exact = encoder(**tokens)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = encoder(**tokens)
    assert rough.isfinite().all()
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.05)


def test_a_saved_model_keeps_the_pooling_that_was_read(tiny_copy, tmp_path):
    say(tiny_copy, {"pooling_mode_mean_tokens": True})
    text = TextEncoder(tiny_copy, "pretrained", dim=8)
    model = DualEncoder(ImageEncoder(weights=None, dim=8), text).eval()
    model.save(tmp_path / "model")
    shutil.rmtree(tiny_copy)
    assert json.loads((tmp_path / "model/model.json").read_text())["text"]["pooling"] == "mean"
    read = DualEncoder.load(tmp_path / "model")
    assert torch.equal(read.encode_texts(CAPTIONS), model.encode_texts(CAPTIONS))


@pytest.mark.parametrize("pooling", ["first", "mean", "max"])
def test_a_saved_backbone_says_how_it_pools(tiny, tmp_path, pooling):
    text = TextEncoder(tiny / "distilbert", "pretrained", pooling=pooling)
    text.save_backbone(tmp_path / "saved")
    assert read_pooling(tmp_path / "saved") == pooling
    assert TextEncoder(tmp_path / "saved", "pretrained").pooling == pooling
    write_pooling(tmp_path / "saved", "max", 16)  # replaces it
    assert read_pooling(tmp_path / "saved") == "max"


def test_the_pooling_comes_from_the_hub_too(hub):
    say(hub.root / "somebody" / "tiny-distilbert", {"pooling_mode_mean_tokens": True})
    encoder = TextEncoder("somebody/tiny-distilbert", "pretrained")
    assert encoder.pooling == "mean"
    hub.stop()
    assert TextEncoder("somebody/tiny-distilbert", "pretrained").pooling == "mean"


@pytest.mark.slow
def test_minilm_equals_transformers_own_with_masked_mean(real_data):
    folder = real_data / "weights" / "all-MiniLM-L6-v2"
    if not folder.is_dir():
        pytest.skip(f"the weights of all-MiniLM-L6-v2 are not at {folder}")
    texts = ["", "A cat.", "Baby elephant plays in the water", "two people ride " * 10]
    encoder = TextEncoder(folder, "pretrained").eval()
    assert (encoder.pooling, encoder.features) == ("mean", 384)
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    theirs = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = theirs(**tokens).last_hidden_state
        mask = tokens["attention_mask"][:, :, None].float()
        expected = (states * mask).sum(1) / mask.sum(1)
        found = encoder.extract_features(**encoder.tokenize(texts))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
