"""The text branch: vocabularies, pooling, and BERTs of other makers."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import (
    CAPTIONS,
    GROUPS,
    SMALL,
    SPECIAL,
    WEIRD,
    WORDS,
    Trap,
    spoil,
)
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    FunnelConfig,
    GPT2Config,
    LayoutLMConfig,
    RobertaConfig,
    SqueezeBertConfig,
    T5Config,
)

from mmret_lib.encoders import DualEncoder, ImageEncoder, TextEncoder, train_wordpiece
from mmret_lib.files.errors import DataError, MissingFile


def test_vocabulary_is_the_same_every_time():
    """The trainer's hash maps are seeded anew for each run, so repeats in one process differ."""
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzéß中文字"))
    words = ["".join(generator.choice(letters, 6)) for _ in range(300)]
    captions = [" ".join(generator.choice(words, 8)) for _ in range(200)]
    first = train_wordpiece(captions, size=400).get_vocab()
    assert len(first) == 400
    for _ in range(4):
        assert train_wordpiece(captions, size=400).get_vocab() == first


def test_vocabulary_is_lower_case_word_pieces():
    tokenizer = train_wordpiece(CAPTIONS)
    assert tokenizer.convert_ids_to_tokens(range(5)) == SPECIAL
    assert tokenizer.tokenize("BABY Élephant") == ["baby", "elephant"]
    pieces = tokenizer.tokenize("waterbus b ##a")
    assert pieces[:2] == ["water", "##b"]
    assert pieces[-4:] == ["b", "[UNK]", "[UNK]", "a"]  # nothing but [..] is cut out whole
    assert tokenizer.mask_token_id == 4
    assert tokenizer.decode(tokenizer("a baby")["input_ids"]) == "[CLS] a baby [SEP]"


def test_a_script_of_many_signs_does_not_fill_the_vocabulary():
    signs = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]
    captions = ["a zebra " + " ".join(signs[i : i + 10]) for i in range(0, 3000, 10)]
    vocabulary = train_wordpiece(captions, size=400).get_vocab()
    assert len(vocabulary) <= 400
    assert "zebra" in vocabulary


def test_mini_text_needs_captions_or_weights():
    with pytest.raises(DataError, match="captions: give it those"):
        TextEncoder("mini", None)


@pytest.mark.parametrize("name", ["mini", "bert", "distilbert"])
def test_weird_texts_have_embeddings_and_fit(tiny, name):
    if name == "mini":
        encoder = TextEncoder("mini", None, captions=CAPTIONS, max_length=20)
    else:
        encoder = TextEncoder(tiny / name, "pretrained", max_length=20)
    tokens = encoder.eval().tokenize(WEIRD)
    assert tokens["input_ids"].shape == tokens["attention_mask"].shape == (len(WEIRD), 20)
    ends = tokens["attention_mask"].sum(1) - 1
    last = tokens["input_ids"].gather(1, ends[:, None])[:, 0]
    assert (tokens["input_ids"][:, 0] == encoder.tokenizer.cls_token_id).all()
    assert (last == encoder.tokenizer.sep_token_id).all()  # truncation keeps the closing token
    with torch.no_grad():
        embeddings = encoder(**tokens)
    assert embeddings.shape == (len(WEIRD), 128)
    assert embeddings.isfinite().all()


@pytest.mark.parametrize("texts", ["zebra", [b"zebra"], [None]], ids=repr)
def test_only_lists_of_strings_are_tokenised(texts):
    with pytest.raises(TypeError, match="list of strings"):
        TextEncoder("mini", None, captions=CAPTIONS).tokenize(texts)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("name", ["mini", "bert", "distilbert"])
def test_padding_never_changes_an_embedding(tiny, name, pooling):
    settings = {"pooling": pooling}
    if name == "mini":
        encoder = TextEncoder("mini", None, captions=CAPTIONS, **settings)
    else:
        encoder = TextEncoder(tiny / name, "pretrained", **settings)
    encoder.eval()
    texts = ["zebra", "", "a baby elephant plays in the water . " * 3]
    with torch.no_grad():
        together = encoder(**encoder.tokenize(texts))
        alone = torch.cat([encoder(**encoder.tokenize([text])) for text in texts])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[2]).abs().max() > 1e-3  # the texts do differ


def test_pooling_is_what_it_says():
    encoder = TextEncoder("mini", None, captions=CAPTIONS).eval()
    tokens = encoder.tokenize(["zebra", "a baby elephant"])
    with torch.no_grad():
        states = encoder.backbone(**tokens).last_hidden_state
        assert torch.equal(encoder.extract_features(**tokens), states[:, 0])
        encoder.pooling = "mean"
        by_hand = [
            row[: int(mask.sum())].mean(0)
            for row, mask in zip(states, tokens["attention_mask"], strict=True)
        ]
        torch.testing.assert_close(encoder.extract_features(**tokens), torch.stack(by_hand))


@pytest.mark.parametrize("name", ["distilbert", "bert"])
def test_pretrained_text_equals_transformers_own(tiny, name):
    encoder = TextEncoder(tiny / name, "pretrained").eval()
    tokens = AutoTokenizer.from_pretrained(tiny / name)(CAPTIONS, padding=True, return_tensors="pt")
    theirs = AutoModel.from_pretrained(tiny / name)
    ours = encoder.tokenize(CAPTIONS)
    assert torch.equal(ours["input_ids"], tokens["input_ids"])
    with torch.no_grad():
        expected = theirs(**tokens).last_hidden_state[:, 0]
        torch.testing.assert_close(encoder.extract_features(**ours), expected)
    assert not any("pooler" in n for n, _ in encoder.named_parameters())
    assert encoder.backbone.training is False
    encoder.train()
    assert all(module.training for module in encoder.modules())


def test_random_text_weights_keep_the_models_sizes_and_vocabulary(tiny_copy):
    (tiny_copy / "model.safetensors").unlink()
    encoder = TextEncoder(tiny_copy, None)
    assert encoder.features == 16
    assert encoder.tokenizer.get_vocab() == {word: i for i, word in enumerate(WORDS)}


def test_half_precision_checkpoints_are_trained_in_single(tiny_copy):
    half = AutoModel.from_pretrained(tiny_copy, dtype=torch.float16)
    half.save_pretrained(tiny_copy)
    for weights in ("pretrained", None):
        encoder = TextEncoder(tiny_copy, weights)
        assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def test_a_cased_vocabulary_stays_cased(tiny_copy):
    """Without tokenizer_config.json, AutoTokenizer would rebuild it lower-case."""
    words = {word: i for i, word in enumerate([*SPECIAL, "A", "a", "Z", "z", "##a"])}
    cased = Tokenizer(WordPiece(words, unk_token="[UNK]"))
    cased.normalizer = normalizers.BertNormalizer(lowercase=False)
    cased.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    (tiny_copy / "tokenizer_config.json").unlink()
    cased.save(str(tiny_copy / "tokenizer.json"))
    encoder = TextEncoder(tiny_copy, "pretrained")
    ids = encoder.tokenize(["A a Z", "za"])
    assert ids["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert ids["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_an_old_vocabulary_file_is_enough(tiny_copy):
    (tiny_copy / "tokenizer.json").unlink()
    (tiny_copy / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    encoder = TextEncoder(tiny_copy, "pretrained")
    assert encoder.tokenize(["two zebras"])["input_ids"].tolist() == [[2, 13, 14, 15, 3]]


@pytest.mark.parametrize(
    "settings",
    [
        {"pooling": "median"},
        {"max_length": 1000},
        {"max_length": 2},
        {"weights": "mini"},
        {"weights": "imagenet"},
    ],
    ids=str,
)
def test_text_settings_that_do_not_exist(tiny, settings):
    with pytest.raises(DataError, match=r"choose|3 to 66 tokens"):
        TextEncoder(tiny / "distilbert", **({"weights": "pretrained"} | settings))


def test_a_text_folder_that_is_not_there_is_not_looked_up_on_the_hub(no_network, tmp_path):
    for name in (tmp_path / "absent", "./absent", "~/absent", "runs/a/text"):
        with pytest.raises(MissingFile, match="There is no folder"):
            TextEncoder(name, "pretrained")


def test_damaged_text_folders(tiny_copy, tmp_path):
    def refused(said: str, error: type[DataError] = DataError) -> None:
        with pytest.raises(error) as caught:
            TextEncoder(tiny_copy, "pretrained")
        assert str(tiny_copy) in str(caught.value)
        assert said in str(caught.value)

    weights, config = tiny_copy / "model.safetensors", tiny_copy / "config.json"
    good_weights, good_config = weights.read_bytes(), config.read_text()
    spoil(weights, "truncated")
    refused("cut short")
    save_file({"something": torch.zeros(2)}, weights, metadata={"format": "pt"})
    refused("does not hold this model's weights")
    weights.write_bytes(good_weights)
    sizes = json.loads(good_config)
    config.write_text(json.dumps({**sizes, "dim": 32}))
    refused("holds the weights of another model than config.json describes (embeddings.")
    refused("is (16,), should be (32,)")
    config.write_text(json.dumps({**sizes, "vocab_size": 8}))
    weights.unlink()
    with pytest.raises(
        DataError, match="vocabulary has 16 entries, but the backbone has vectors for 8"
    ):
        TextEncoder(tiny_copy, None)
    refused("lacks model.safetensors", MissingFile)
    torch.save({"a": Trap(tmp_path / "sprung")}, tiny_copy / "pytorch_model.bin")
    refused("pytorch_model.bin is a pickle")
    assert not (tmp_path / "sprung").exists()
    weights.write_bytes(good_weights)
    for broken in ("{", "[]", "{}"):
        config.write_text(broken)
        refused("cannot be used as a text backbone")
    config.write_text(good_config)
    (tiny_copy / "tokenizer.json").write_text("{")
    refused("cannot be used as a text backbone")
    (tiny_copy / "tokenizer.json").unlink()
    refused("lacks tokenizer.json", MissingFile)
    config.unlink()
    refused("lacks config.json", MissingFile)


@pytest.mark.parametrize(
    "config", [T5Config(d_model=16), GPT2Config(n_embd=16, n_head=2)], ids=["t5", "gpt2"]
)
def test_models_that_are_no_bert_are_refused(tiny_copy, config):
    config.save_pretrained(tiny_copy)
    with pytest.raises(DataError, match="no encoder of the BERT family"):
        TextEncoder(tiny_copy, None)


@pytest.mark.parametrize(
    "config",
    [
        SqueezeBertConfig(**SMALL, embedding_size=16, **{f"{name}_groups": 1 for name in GROUPS}),
        LayoutLMConfig(**SMALL),
        RobertaConfig(**SMALL, pad_token_id=0),
        FunnelConfig(vocab_size=400, block_sizes=[1], d_model=16, n_head=2, d_head=8, d_inner=32),
    ],
    ids=lambda config: config.model_type,
)
def test_other_kinds_of_bert_train_and_open_again(tmp_path, config):
    """The first two always call their pooler, the last has no limit to the number of tokens."""
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / "source")
    train_wordpiece(CAPTIONS, size=400).save_pretrained(tmp_path / "source")
    text = TextEncoder(tmp_path / "source", "pretrained")
    text(**text.tokenize(CAPTIONS)).sum().backward()
    grads = {n: p.grad is not None for n, p in text.named_parameters()}
    assert grads["projection.weight"]
    assert not any("pooler" in name for name in grads)
    model = DualEncoder(ImageEncoder(weights=None), text).eval()
    model.save(tmp_path / "model")
    read = DualEncoder.load(tmp_path / "model")
    assert torch.equal(read.encode_texts(CAPTIONS), model.encode_texts(CAPTIONS))


def test_a_backbone_that_reserves_positions_takes_fewer_tokens(tmp_path):
    """With 66 tokens RoBERTa asked for a position that it has not, in the middle of training."""
    config = RobertaConfig(**SMALL, pad_token_id=0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    train_wordpiece(CAPTIONS, size=400).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="takes 3 to 65 tokens"):
        TextEncoder(tmp_path, "pretrained", max_length=66)
    text = TextEncoder(tmp_path, "pretrained", max_length=65)
    assert text(**text.tokenize(["zebra " * 100])).isfinite().all()


def test_code_that_comes_with_a_model_is_never_run(tiny_copy, tmp_path):
    sprung = tmp_path / "sprung"
    (tiny_copy / "theirs.py").write_text(f"open({str(sprung)!r}, 'w')\nclass Config: pass\n")
    own = {"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"}
    config = json.loads((tiny_copy / "config.json").read_text())
    (tiny_copy / "config.json").write_text(
        json.dumps({**config, "model_type": "theirs", "auto_map": own})
    )
    with pytest.raises(DataError, match="cannot be used as a text backbone"):
        TextEncoder(tiny_copy, "pretrained")
    (tiny_copy / "config.json").write_text(json.dumps({**config, "auto_map": own}))
    TextEncoder(tiny_copy, "pretrained")  # known by itself: theirs is left alone
    assert not sprung.exists()
