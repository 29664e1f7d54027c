"""The pocket text backbone: its vocabulary, its two losses, and a distillation in small."""

import json
import math

import pytest
import torch
from small_models import CAPTIONS
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from mmret_lib.encoders import TextEncoder, distil, distil_texts
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import shipped


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """A file with 60 different captions of the words that the tiny teacher knows."""
    words = ["baby", "elephant", "plays", "water", "zebras"]
    lines = [f"a {a} {b} in the {c}." for a in words for b in words for c in words][:60]
    path = tmp_path_factory.mktemp("captions") / "captions.txt"
    path.write_text("\n".join([*lines, lines[0], "", "  "]) + "\n")
    return path


def test_captions_are_read_once_each(captions, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"captions\.txt has 60 different captions.* at least 4000"):
        distil_texts.read_captions(captions)
    monkeypatch.setattr(distil_texts, "HELD_OUT", 20)
    assert len(distil_texts.read_captions(captions)) == 60
    (tmp_path / "latin").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(DataError, match="latin is not UTF-8"):
        distil_texts.read_captions(tmp_path / "latin")


def test_the_small_vocabulary_splits_as_the_teachers(tiny):
    teacher = TextEncoder(tiny / "bert", "pretrained").tokenizer
    whole = distil_texts.small_vocabulary(teacher.backend_tokenizer, CAPTIONS)
    texts = ["two zebras", "A baby elephant plays in the water.", "", "unheard"]
    for text in texts:
        assert whole.tokenize(text) == teacher.tokenize(text)
    kept = distil_texts.small_vocabulary(teacher.backend_tokenizer, ["zebras in ."] * 3, size=11)
    vocabulary = kept.get_vocab()
    assert sorted(vocabulary.values()) == list(range(11))
    assert {"[PAD]", "[UNK]", "a", "##s", "zebra", "in", "."} < set(vocabulary)
    assert vocabulary["[PAD]"] == 0
    ids = kept("two zebras")["input_ids"]
    assert kept.convert_ids_to_tokens(ids) == ["[CLS]", "[UNK]", "zebra", "##s", "[SEP]"]


def test_a_teacher_with_other_pieces_is_refused():
    from tokenizers.models import BPE

    with pytest.raises(DataError, match="splits by BPE"):
        distil_texts.small_vocabulary(Tokenizer(BPE()), CAPTIONS)


def test_further_texts_hold_every_word_and_short_pieces():
    captions = ["A man rides a horse .", "Two dogs"]
    texts = distil_texts.further_texts(captions, ["fjord", "tuba"], count=50)
    assert len(texts) == 102
    assert texts[:2] == ["a photo of a fjord", "a photo of a tuba"]
    for text in texts[2:52]:
        changed = sum(word not in " ".join(captions).split() for word in text.split())
        assert changed == 1
    for text in texts[52:]:
        assert any(text in caption for caption in captions)
        assert 2 <= len(text.split()) <= 5
    assert texts == distil_texts.further_texts(captions, ["fjord", "tuba"], count=50)


def test_cosine_loss_is_zero_only_for_the_same_directions():
    target = torch.nn.functional.normalize(torch.randn(6, 4), dim=1)
    assert distil.cosine_loss(3 * target, target).item() == pytest.approx(0, abs=1e-6)
    assert distil.cosine_loss(-target, target).item() == pytest.approx(2)


def test_similarity_kl_against_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, n, generator=generator).double() for n in (3, 7))
    expected = 0.0
    for row in range(5):
        others = [column for column in range(5) if column != row]
        logits = [
            [torch.cosine_similarity(e[row], e[o], dim=0).item() / 0.1 for o in others]
            for e in (student, teacher)
        ]
        q, p = ([math.exp(v) / sum(map(math.exp, values)) for v in values] for values in logits)
        expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 5
    found = distil.similarity_kl(student, teacher, 0.1)
    assert found.item() == pytest.approx(expected * 0.1**2)
    assert distil.similarity_kl(teacher, teacher, 0.1).item() == pytest.approx(0)


def test_agreement_counts_shared_neighbours():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, 5, generator=generator), torch.randn(40, 9, generator=generator)
    assert distil.agreement(a, 2 * a) == {"neighbours": 100.0, "spearman": 1.0}

    def near(embeddings, row):
        cosines = torch.cosine_similarity(embeddings[row : row + 1], embeddings)
        cosines[row] = -2
        return set(cosines.topk(10).indices.tolist())

    shared = sum(len(near(a, row) & near(b, row)) for row in range(40)) / 400
    assert distil.agreement(a, b)["neighbours"] == pytest.approx(100 * shared, abs=0.01)
    assert abs(distil.agreement(a, b)["spearman"]) < 0.2


def test_principal_axes_keep_what_lies_along_them():
    generator = torch.Generator().manual_seed(0)
    plane = torch.randn(30, 2, generator=generator) @ torch.randn(2, 6, generator=generator)
    axes = distil.principal_axes(plane, 2)
    torch.testing.assert_close(axes.T @ axes, torch.eye(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(plane @ axes @ axes.T, plane, rtol=1e-4, atol=1e-4)


def test_the_pocket_text_backbone_is_small_and_knows_what_captions_mean():
    encoder = TextEncoder("pocket", "pocket").eval()
    assert (encoder.pooling, encoder.features) == ("mean", 160)
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    assert sum(path.stat().st_size for path in shipped("pocket/text").rglob("*")) < 5e6
    texts = [
        "Baby elephant plays in the water",
        "a young elephant splashing in a river",
        "a red bus on the street",
        "a double decker drives down the road",
        "",
        "dogs 🐶 " * 200,
    ]
    features = distil.embed_texts(encoder, texts, "texts")
    assert features.isfinite().all()
    similarities = (features @ features.T).fill_diagonal_(-1)
    assert similarities[:4].argmax(1).tolist() == [1, 0, 3, 2]


def test_the_pocket_text_backbone_with_random_weights_keeps_its_vocabulary():
    random, shipped_one = TextEncoder("pocket", None), TextEncoder("pocket", "pocket")
    assert random.vocabulary() == shipped_one.vocabulary()
    name = "backbone.embeddings.word_embeddings.weight"
    assert not torch.equal(random.state_dict()[name], shipped_one.state_dict()[name])
    with pytest.raises(DataError, match="choose pocket or none"):
        TextEncoder("pocket", "mini")


@pytest.mark.slow
def test_a_distillation_in_small_writes_what_transformers_reads(
    tiny, captions, tmp_path, monkeypatch
):
    for module in (distil, distil_texts):
        monkeypatch.setattr(module, "HELD_OUT", 20)
    with pytest.raises(DataError, match="fewer than 160"):
        distil.distil_sentences(tmp_path / "out", captions, tiny / "bert")
    with pytest.raises(DataError, match="No form cake"):
        distil.distil_sentences(tmp_path / "out", captions, tiny / "bert", forms=["cake"])
    assert not (tmp_path / "out").exists()
    figures = distil.distil_sentences(
        tmp_path / "out", captions, tiny / "bert", epochs=2, batch_size=8, features=8
    )
    assert figures["kept"] in ("cosine", "kl")
    other = {"cosine": "kl", "kl": "cosine"}[figures["kept"]]
    assert figures[figures["kept"]]["neighbours"] >= figures[other]["neighbours"]
    assert 0 < figures["cosine"]["cosine"] <= 1
    student = TextEncoder(tmp_path / "out", "pretrained").eval()
    assert student.pooling == "mean"
    assert {p.dtype for p in student.parameters()} == {torch.float32}
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")(CAPTIONS[:1], return_tensors="pt")
    tokens.pop("token_type_ids", None)
    theirs = AutoModel.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    with torch.no_grad():
        expected = theirs(**tokens).last_hidden_state.mean(1)
        found = student.extract_features(**student.tokenize(CAPTIONS[:1]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "modules.json"}
    switches = json.loads((tmp_path / "out/1_Pooling/config.json").read_text())
    assert switches["pooling_mode_mean_tokens"]
    assert not switches["pooling_mode_cls_token"]
