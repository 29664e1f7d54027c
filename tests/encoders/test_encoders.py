"""The encoders: shapes, weights from everywhere, freezing, saving, and every refusal."""

import json
import pickle
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import torchvision
from hub_server import HubServer
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    DistilBertConfig,
    DistilBertForMaskedLM,
    FunnelConfig,
    GPT2Config,
    LayoutLMConfig,
    RobertaConfig,
    SqueezeBertConfig,
    T5Config,
)

import mmret_lib.files.places
from mmret_lib.encoders import DualEncoder, ImageEncoder, MiniResNet, TextEncoder, train_wordpiece
from mmret_lib.encoders.weights import read_safetensors
from mmret_lib.files.errors import DataError, MissingFile

CAPTIONS = [
    "A baby elephant plays in the water.",
    "Two large zebras stand on dry dirt.",
    "A red bus on the street next to an umbrella.",
    "A steaming bowl of ramen on a table.",
    "Three flamingos stand beside a big fish at night.",
] * 4
WEIRD = [
    "",
    "   ",
    "zebra",
    "a 🦓 beside a 👩‍👩‍👧 and 🇫🇷",
    "فيل صغير يلعب في الماء",
    "‮siht daer‬ <b>bold</b> &amp;",
    "half an emoji: \ud83d",
    "\x00\t\n control",
    "word " * 10_000,
    "x" * 10_000,
]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def photos(count: int = 4, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def mini(**settings) -> DualEncoder:
    settings = {"image_weights": None, "text_weights": None, "captions": CAPTIONS} | settings
    return DualEncoder.from_names(**settings)


# ------------------------------------------------------------------- checkpoints to read

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "a", "baby", "elephant", "plays", "in", "the", "water", ".", "two", "zebra"]
WORDS += ["##s"]


SMALL = {
    "vocab_size": 400,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 66,
}
GROUPS = ("q", "k", "v", "post_attention", "intermediate", "output")


def tiny_sizes(vocab_size: int = len(WORDS)) -> dict:
    return {"vocab_size": vocab_size, "max_position_embeddings": 64}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A folder with `distilbert` and `bert`, small but saved by transformers itself."""
    root = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    distilbert = DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=32, **tiny_sizes())
    bert = BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        **tiny_sizes(),
    )
    # As published: with the masked-word head that an encoder has no use for.
    for name, model in {
        "distilbert": DistilBertForMaskedLM(distilbert),
        "bert": BertForMaskedLM(bert),
    }.items():
        model.save_pretrained(root / name)
        BertTokenizer({word: i for i, word in enumerate(WORDS)}).save_pretrained(root / name)
    return root


@pytest.fixture
def tiny_copy(tiny: Path, tmp_path: Path) -> Path:
    """The tiny DistilBERT's folder, free to be spoilt."""
    return shutil.copytree(tiny / "distilbert", tmp_path / "spoilt")


@pytest.fixture(scope="module")
def timm_resnet18() -> nn.Module:
    timm = pytest.importorskip("timm")  # comes with open_clip
    torch.manual_seed(0)
    return timm.create_model("resnet18.tv_in1k", pretrained=False).eval()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch, tiny: Path):
    """A hub on 127.0.0.1, with empty caches on this side."""
    root = tmp_path / "hub"
    shutil.copytree(tiny / "distilbert", root / "somebody" / "tiny-distilbert")
    constants = huggingface_hub.constants
    with HubServer(root, moved={"tiny-distilbert": "somebody/tiny-distilbert"}) as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("MMRET_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to connect fails the test."""

    def refuse(*address):
        raise AssertionError(f"asked the network: {address[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


class Trap:
    """A pickle that would write a file when opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


# ------------------------------------------------------------------------------- images


def test_mini_resnet_is_small_and_scales_with_its_width():
    model = MiniResNet()
    assert 1_200_000 < parameters(model) < 1_300_000
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, model.features) == (2, 256)
    assert MiniResNet(width=8)(torch.zeros(2, 3, 40, 72)).shape == (2, 64)


@pytest.mark.parametrize(
    "name, features", [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)]
)
def test_resnets_are_torchvisions_without_the_classifier(name, features):
    encoder = ImageEncoder(name, weights=None).eval()
    assert encoder.features == features
    assert encoder.image_size == 224
    theirs = torchvision.models.get_model(name, weights=None).state_dict()
    wanted = {n: v.shape for n, v in theirs.items() if not n.startswith("fc.")}
    assert {n: v.shape for n, v in encoder.backbone.state_dict().items()} == wanted
    with torch.no_grad():
        assert encoder(photos(1)).shape == (1, 128)


def test_pixels_are_normalised_inside_whatever_their_type():
    encoder = ImageEncoder(weights=None, dim=16).eval()
    images = photos()
    normalised = torchvision.transforms.functional.normalize(
        images / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
    )
    with torch.no_grad():
        expected = encoder.projection(encoder.backbone(normalised))
        torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoder(images / 255), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            encoder(images), encoder.projection(encoder.extract_features(images))
        )


def test_memory_format_changes_speed_only():
    fast = ImageEncoder(weights=None, channels_last=True).eval()
    plain = ImageEncoder(weights=None, channels_last=False).eval()
    plain.load_state_dict(fast.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fast(photos()), plain(photos()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 64, 64, dtype=torch.uint8),
        torch.zeros(2, 64, 64, 3, dtype=torch.uint8),
        torch.zeros(2, 3, 64, 64, dtype=torch.int64),
    ],
    ids=["no batch", "channels last", "int64"],
)
def test_images_of_another_make_are_refused(images):
    with pytest.raises(ValueError, match=r"images must be"):
        ImageEncoder(weights=None)(images)


@pytest.mark.parametrize(
    "backbone, weights",
    [("resnet18", "mini"), ("mini", "imagenet"), ("resnet19", None), ("mini_resnet", "mini")],
)
def test_image_settings_that_do_not_exist(backbone, weights):
    with pytest.raises(DataError, match=r"resnet18|--image-weights"):
        ImageEncoder(backbone, weights)


def test_image_backbone_survives_saving_beside_other_files(tmp_path):
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "README.md").write_text("how these weights were made")
    saved = ImageEncoder(weights=None).eval()
    for module in saved.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_()
    saved.save_backbone(folder)
    for weights in (folder, str(folder), folder / "model.safetensors"):
        read = ImageEncoder(weights=weights).eval()
        with torch.no_grad():
            assert torch.equal(read.extract_features(photos()), saved.extract_features(photos()))
    assert (folder / "README.md").read_text() == "how these weights were made"
    assert json.loads((folder / "config.json").read_text())["features"] == 256
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


# ------------------------------------------------------------------ weights from the hub


def publish_resnet18(hub: HubServer, model: nn.Module) -> Path:
    folder = hub.root / "timm" / "resnet18.tv_in1k"
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_imagenet_weights_come_from_the_hub_and_then_from_its_cache(hub, timm_resnet18):
    publish_resnet18(hub, timm_resnet18)
    encoder = ImageEncoder("resnet18", "imagenet").eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        maps = timm_resnet18.forward_features((images - encoder.mean) / encoder.std)
        expected = timm_resnet18.forward_head(maps, pre_logits=True)
        torch.testing.assert_close(encoder.extract_features(images), expected, rtol=1e-4, atol=1e-5)
    assert "GET timm/resnet18.tv_in1k/model.safetensors" in hub.requests

    hub.stop()
    again = ImageEncoder("resnet18", "imagenet").eval()
    with torch.no_grad():
        assert torch.equal(again.extract_features(images), encoder.extract_features(images))


def test_weights_placed_by_hand_come_first(hub, timm_resnet18, tmp_path):
    folder = publish_resnet18(hub, timm_resnet18)
    by_hand = tmp_path / "cache" / "weights" / "timm" / "resnet18.tv_in1k"
    shutil.move(folder, by_hand)
    encoder = ImageEncoder("resnet18", "imagenet")
    assert torch.equal(encoder.backbone.conv1.weight, timm_resnet18.conv1.weight)
    assert hub.requests == []

    (by_hand / "model.safetensors").unlink()
    with pytest.raises(MissingFile, match=r"lacks model\.safetensors .*--image-weights none"):
        ImageEncoder("resnet18", "imagenet")


@pytest.mark.parametrize("fault", ["no such model", "no such file", "connection refused"])
def test_weights_that_cannot_be_fetched_say_what_to_do(hub, tmp_path, fault):
    if fault == "no such file":
        (hub.root / "timm" / "resnet18.tv_in1k").mkdir(parents=True)
    if fault == "connection refused":
        hub.stop()
    started = time.monotonic()
    with pytest.raises(MissingFile) as caught:
        ImageEncoder("resnet18", "imagenet")
    assert time.monotonic() - started < 5
    message = str(caught.value)
    reasons = {
        "no such model": "knows no model of that name",
        "no such file": "has no file model.safetensors",
        "connection refused": f"could not be fetched from {hub.url}: [Errno",
    }
    by_hand = tmp_path / "cache" / "weights" / "timm" / "resnet18.tv_in1k"
    for part in ("timm/resnet18.tv_in1k", reasons[fault], str(by_hand), "--image-weights none"):
        assert part in message
    assert "\n" not in message


def test_endpoint_of_the_environment_is_asked(hub, tmp_path):
    """HF_ENDPOINT is read when huggingface_hub is imported: a process of its own tells."""
    wanted = "'somebody/tiny-distilbert', ('config.json',), ('absent.json',), ''"
    script = f"from mmret_lib.encoders.weights import hub_files; print(hub_files({wanted}))"
    environment = {
        "PATH": "",
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "MMRET_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(mmret_lib.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, stdout=subprocess.PIPE
    )
    fetched = Path(done.stdout.decode().strip()) / "config.json"
    assert fetched.read_bytes() == (hub.root / "somebody/tiny-distilbert/config.json").read_bytes()


@pytest.mark.parametrize("name", ["somebody/tiny-distilbert", "tiny-distilbert"])
def test_text_backbone_comes_from_the_hub_under_both_names(hub, tiny, name):
    encoder = TextEncoder(name, "pretrained").eval()
    local = TextEncoder(tiny / "distilbert", "pretrained").eval()
    tokens = local.tokenize(CAPTIONS)
    with torch.no_grad():
        assert torch.equal(encoder.extract_features(**tokens), local.extract_features(**tokens))
    assert encoder.backbone_name == name
    assert f"HEAD {name}/vocab.txt" in hub.requests

    hub.stop()  # the cache also knows which files the model does not have
    again = TextEncoder(name, "pretrained").eval()
    with torch.no_grad():
        assert torch.equal(again.extract_features(**tokens), encoder.extract_features(**tokens))


def test_random_weights_fetch_no_weights(hub):
    TextEncoder("somebody/tiny-distilbert", None)
    assert "GET somebody/tiny-distilbert/tokenizer.json" in hub.requests
    assert not any("safetensors" in request for request in hub.requests)


def test_text_backbone_that_cannot_be_fetched(hub, tmp_path):
    with pytest.raises(MissingFile) as caught:
        TextEncoder("distilbert-base-uncased", "pretrained")
    by_hand = tmp_path / "cache" / "weights" / "distilbert-base-uncased"
    for part in ("knows no model", str(by_hand), "model.safetensors", "--text-weights none"):
        assert part in str(caught.value)
    with pytest.raises(MissingFile, match=r"could not be fetched .*'no such name'"):
        TextEncoder("no such name", "pretrained")
    hub.stop()
    with pytest.raises(MissingFile, match=r"could not be fetched .*--text-backbone mini"):
        TextEncoder("distilbert-base-uncased", None)


# ----------------------------------------------------------------------- damaged weights


def spoil(path: Path, fault: str) -> None:
    state = load_file(path)
    first = min(name for name in state if "num_batches" not in name)
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "text":
        path.write_text("<html>502 Bad Gateway</html>")
    elif fault == "missing":
        save_file({n: v for n, v in state.items() if n != first}, path)
    elif fault == "unknown":
        save_file({**state, "surprise": torch.zeros(1)}, path)
    elif fault == "shape":
        save_file({**state, first: torch.zeros(7)}, path)


@pytest.mark.parametrize(
    "fault, said",
    [
        ("truncated", "cut short"),
        ("empty", "cut short"),
        ("text", "cut short"),
        ("missing", "missing: bn1.bias"),
        ("unknown", "unknown: surprise"),
        ("shape", "wrong shape: bn1.bias (7,) where (32,) is needed"),
    ],
)
def test_damaged_weights_are_refused_by_name(tmp_path, fault, said):
    ImageEncoder(weights=None).save_backbone(tmp_path)
    path = tmp_path / "model.safetensors"
    spoil(path, fault)
    with pytest.raises(DataError) as caught:
        ImageEncoder(weights=path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_weights_of_another_backbone_are_refused(tmp_path):
    ImageEncoder(weights=None).save_backbone(tmp_path)
    with pytest.raises(DataError, match=r"layer1.* more"):
        ImageEncoder("resnet18", tmp_path)
    with pytest.raises(MissingFile, match="no weights file"):
        ImageEncoder("resnet18", tmp_path / "absent.safetensors")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".pkl", ".safetensors"])
@pytest.mark.parametrize("protocol", ["zip", 2, 5])
def test_a_pickle_is_refused_and_never_opened(tmp_path, suffix, protocol):
    sprung = tmp_path / "sprung"
    path = tmp_path / f"weights{suffix}"
    if protocol == "zip":
        torch.save({"conv1.weight": Trap(sprung)}, path)
    else:
        path.write_bytes(pickle.dumps(Trap(sprung), protocol=protocol))
    with pytest.raises(DataError, match=r"weights\.\w+ is a pickle .* \.safetensors file"):
        ImageEncoder(weights=path)
    assert not sprung.exists()


def test_a_safetensors_file_that_begins_like_a_pickle_is_read(tmp_path):
    """It opens with its header's length in eight bytes, and 0x0280 is how pickles begin."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    content = np.float32([2.5]).tobytes()
    path = tmp_path / "w.safetensors"
    path.write_bytes((0x280).to_bytes(8, "little") + header.ljust(0x280).encode() + content)
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert read_safetensors(path)["w"].item() == 2.5


def test_what_the_course_should_ship_but_is_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(mmret_lib.files.places, "PACKAGE", tmp_path / "mmret_lib")
    with pytest.raises(MissingFile, match=r"mini/image .*--image-weights none"):
        ImageEncoder()
    with pytest.raises(MissingFile, match=r"mini/text .*--text-weights none"):
        TextEncoder()
    clone, wheel = tmp_path / "data" / "mini", tmp_path / "mmret_lib" / "shipped_data" / "mini"
    clone.mkdir(parents=True)
    assert mmret_lib.files.places.shipped("mini") == clone
    wheel.mkdir(parents=True)
    assert mmret_lib.files.places.shipped("mini") == wheel


def test_shipped_mini_backbones_are_read_from_their_place(tmp_path, monkeypatch):
    monkeypatch.setattr(mmret_lib.files.places, "PACKAGE", tmp_path / "mmret_lib")
    made = mini()
    made.image.save_backbone(tmp_path / "data" / "mini" / "image")
    made.text.save_backbone(tmp_path / "data" / "mini" / "text")
    read = DualEncoder.from_names()
    tokens = made.eval().text.tokenize(CAPTIONS)
    assert torch.equal(read.text.tokenize(CAPTIONS)["input_ids"], tokens["input_ids"])
    read.eval()
    with torch.no_grad():
        assert torch.equal(
            read.image.extract_features(photos()), made.image.extract_features(photos())
        )
        assert torch.equal(
            read.text.extract_features(**tokens), made.text.extract_features(**tokens)
        )


# -------------------------------------------------------------------------------- texts


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
    with pytest.raises(DataError, match=r"captions=pairs\.captions"):
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
        {"pooling": "max"},
        {"max_length": 1000},
        {"max_length": 2},
        {"weights": "mini"},
        {"weights": "imagenet"},
    ],
    ids=str,
)
def test_text_settings_that_do_not_exist(tiny, settings):
    with pytest.raises(DataError, match=r"choose|3 to 64 tokens"):
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
    refused("cannot be used as a text backbone")
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
    assert grads["projection.weight"] and not any("pooler" in name for name in grads)
    model = DualEncoder(ImageEncoder(weights=None), text).eval()
    model.save(tmp_path / "model")
    read = DualEncoder.load(tmp_path / "model")
    assert torch.equal(read.encode_texts(CAPTIONS), model.encode_texts(CAPTIONS))


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


# ------------------------------------------------------------------------- both branches


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(module: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(v, before[name]) for name, v in module.state_dict().items())


def test_training_and_search_give_the_same_embeddings(device):
    model = mini(dim=48).to(device).eval()
    tokens = {name: value.to(device) for name, value in model.text.tokenize(CAPTIONS[:4]).items()}
    with torch.no_grad():
        image_emb, text_emb = model(photos(4).to(device), tokens)
    assert image_emb.shape == text_emb.shape == (4, 48)
    tolerance = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(model.encode_images(photos(4)), image_emb, **tolerance)
    torch.testing.assert_close(model.encode_images(photos(4).numpy()), image_emb, **tolerance)
    torch.testing.assert_close(model.encode_texts(CAPTIONS[:4]), text_emb, **tolerance)
    norms = image_emb.norm(dim=1)
    assert (norms - 1).abs().max() > 0.01  # the losses normalise, not the model


def test_search_is_at_rest_even_in_training():
    model = mini(standardise=True).train()
    before = snapshot(model)
    first = model.encode_images(photos(1)), model.encode_texts(["zebra"])  # one row: no statistics
    again = model.encode_images(photos(1)), model.encode_texts(["zebra"])
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not moved(model, before)
    assert not first[0].requires_grad
    assert not first[1].requires_grad
    assert all(module.training for module in model.modules())


def test_batches_and_order_do_not_matter_in_search():
    model = mini().eval()
    texts = WEIRD + CAPTIONS[:5]
    tolerance = {"rtol": 1e-4, "atol": 1e-5}
    one_by_one = torch.cat([model.encode_texts([text]) for text in texts])
    torch.testing.assert_close(model.encode_texts(texts, batch_size=4), one_by_one, **tolerance)
    images = photos(7)
    torch.testing.assert_close(
        model.encode_images(images, batch_size=3), model.encode_images(images), **tolerance
    )
    for nothing in ([], "zebra"):
        with pytest.raises(TypeError, match="list of at least one string"):
            model.encode_texts(nothing)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize(
    "part, trained",
    [
        ("all", {"image.backbone", "image.projection", "text.backbone", "text.projection"}),
        ("projections", {"image.projection", "text.projection"}),
        ("image", {"image.backbone", "image.projection"}),
        ("text", {"text.backbone", "text.projection"}),
    ],
)
def test_what_is_frozen_does_not_move(part, trained, standardise):
    model = mini(standardise=standardise)
    model.train_only("text")  # an earlier choice leaves nothing behind
    model.train_only(part)
    groups = model.parameter_groups(0.1, 0.1, 0.1)
    optimiser = torch.optim.SGD(groups)
    names = ("image.backbone", "image.projection", "text.backbone", "text.projection")
    parts = {name: model.get_submodule(name) for name in names}
    before = {name: snapshot(module) for name, module in parts.items()}
    norms = snapshot(model.image_norm)
    tokens = model.text.tokenize(CAPTIONS[:4])
    model.eval()
    model.train()
    for _ in range(2):
        image_emb, text_emb = model(photos(4), tokens)
        optimiser.zero_grad()
        (image_emb.cos().sum() + (text_emb - image_emb).sin().sum()).backward()
        optimiser.step()
    assert {name for name in names if moved(parts[name], before[name])} == trained
    assert {n for n in names if any(m.training for m in parts[n].modules())} == trained
    assert {n for n in names if any(p.grad is not None for p in parts[n].parameters())} == trained
    assert moved(model.image_norm, norms) is standardise  # measured, never frozen


def test_frozen_dropout_is_off():
    model = mini().train()
    tokens = model.text.tokenize(CAPTIONS[:4])
    assert not torch.equal(
        model.text.extract_features(**tokens), model.text.extract_features(**tokens)
    )
    model.train_only("projections")
    assert torch.equal(model.text.extract_features(**tokens), model.text.extract_features(**tokens))
    model.train_only("all")
    assert not torch.equal(
        model.text.extract_features(**tokens), model.text.extract_features(**tokens)
    )
    with pytest.raises(DataError, match="choose all, projections, image, text"):
        model.train_only("images")


def test_parameter_groups_hold_each_trained_parameter_once():
    model = mini(standardise=True)
    groups = model.parameter_groups(backbone_lr=1e-4, projection_lr=1e-3, weight_decay=0.05)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert rate[id(parameter)] == (1e-3 if "projection" in name else 1e-4), name
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            norm = isinstance(module, nn.BatchNorm2d | nn.LayerNorm)
            assert decay[id(parameter)] == (0 if norm or name == "bias" else 0.05), (module, name)
    torch.optim.AdamW(groups)
    model.train_only("projections")
    assert len(model.parameter_groups(1, 1, 1)) == 2


def test_standardised_branches_have_mean_0_and_deviation_1():
    """Whatever a branch's scale and offset per dimension, the ranking sees neither."""
    model = mini(standardise=True, dim=16)
    tokens = model.text.tokenize(CAPTIONS[:5])
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        for branch, norm in ((model.image, model.image_norm), (model.text, model.text_norm)):
            branch.projection.weight.mul_(torch.logspace(1, 3, 16)[:, None])
            branch.projection.bias.fill_(1000.0)
            norm.momentum = None  # plain averages: exact for a batch that repeats
        model.image.backbone.eval()
        for _ in range(3):
            model(photos(5), tokens)
        model.eval()
        for embeddings in model(photos(5), tokens):
            torch.testing.assert_close(embeddings.mean(0), torch.zeros(16), atol=2e-3, rtol=0)
            torch.testing.assert_close(embeddings.std(0), torch.ones(16), atol=2e-2, rtol=0)


def test_branches_of_different_length_are_refused():
    with pytest.raises(ValueError, match="image 16, text 128"):
        DualEncoder(
            ImageEncoder(weights=None, dim=16), TextEncoder("mini", None, captions=CAPTIONS)
        )


# ---------------------------------------------------------------------- saved and read back


SAVED = {
    "mini": {},
    "mean, standardised": {"pooling": "mean", "standardise": True, "dim": 24, "max_length": 9},
    "resnet18": {"image_backbone": "resnet18", "image_size": 96},
}


@pytest.mark.parametrize("settings", SAVED.values(), ids=SAVED)
def test_a_saved_model_gives_the_same_bits_without_a_network(tmp_path, no_network, settings):
    model = mini(**settings)
    model.train()
    model(photos(3), model.text.tokenize(CAPTIONS[:3]))  # statistics of its own
    model.save(tmp_path / "run" / "model")
    read = DualEncoder.load(tmp_path / "run" / "model")
    assert not read.training
    assert torch.equal(read.encode_images(photos()), model.encode_images(photos()))
    assert torch.equal(read.encode_texts(WEIRD), model.encode_texts(WEIRD))
    assert read.image.image_size == model.image.image_size
    read.save(tmp_path / "again")
    for name in ("model.json", "model.safetensors", "text/config.json", "text/tokenizer.json"):
        first, second = tmp_path / "run" / "model" / name, tmp_path / "again" / name
        assert first.read_bytes() == second.read_bytes(), name


@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_a_saved_model_needs_nothing_of_the_pretrained_one(tiny, tmp_path, no_network, name):
    source = shutil.copytree(tiny / name, tmp_path / "source")
    text = TextEncoder(source, "pretrained")
    model = DualEncoder(ImageEncoder(weights=None), text)
    model.save(tmp_path / "model")
    shutil.rmtree(source)
    read = DualEncoder.load(tmp_path / "model")
    assert torch.equal(read.encode_texts(CAPTIONS), model.encode_texts(CAPTIONS))
    assert read.text.backbone_name == str(source)
    assert str(tmp_path) not in (tmp_path / "model" / "text" / "config.json").read_text()


def test_a_new_model_replaces_the_old_one_whole(tmp_path):
    small, large = mini(dim=8), mini(dim=16)
    small.save(tmp_path / "model")
    large.save(tmp_path / "model")
    assert DualEncoder.load(tmp_path / "model").dim == 16
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_save_that_fails_leaves_the_old_model(tmp_path, monkeypatch):
    model = mini()
    model.save(tmp_path / "model")
    before = model.encode_texts(CAPTIONS)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(type(model.text.tokenizer), "save_pretrained", full)
    nn.init.zeros_(model.text.projection.weight)
    with pytest.raises(OSError, match="no space left"):
        model.save(tmp_path / "model")
    with pytest.raises(OSError, match="no space left"):
        model.save(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert torch.equal(DualEncoder.load(tmp_path / "model").encode_texts(CAPTIONS), before)


def test_saving_deletes_nobodys_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"holds thesis\.tex"):
        mini().save(tmp_path)
    with pytest.raises(DataError, match="not only a saved model"):
        mini().save(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    mini().save(folder)
    return folder


@pytest.fixture
def model_folder(saved_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved_model, tmp_path / "model")


@pytest.mark.parametrize(
    "absent",
    [".", "model.json", "model.safetensors", "text", "text/config.json", "text/tokenizer.json"],
)
def test_a_model_with_a_part_missing(model_folder, no_network, monkeypatch, absent):
    monkeypatch.chdir(model_folder.parent)  # "model/text" must not pass for a name on the hub
    path = model_folder / absent
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(MissingFile) as caught:
        DualEncoder.load("model")
    assert str(model_folder) in str(caught.value)
    assert absent.removeprefix("text/") in str(caught.value)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"version": 2}, "version 2, this mmret reads version 1"),
        ({"version": None}, "version None"),
        ({"format": "cake"}, "does not describe a saved mmret model"),
        ({"dim": 64}, "wrong shape: image.projection.weight (128, 256) where (64, 256)"),
        ({"dim": "128"}, "dim cannot be '128'"),
        ({"dim": -1}, "dim cannot be -1"),
        ({"standardise": True}, "missing: image_norm.running_mean"),
        ({"surprise": 1}, "surprise missing or unknown"),
        ({"image": {"backbone": "mini"}}, "image.channels_last, image.image_size missing"),
        ({"image": None}, "image.backbone"),
        (
            {"text": {"backbone": "mini", "pooling": "max", "max_length": 64}},
            "choose first or mean",
        ),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_named(model_folder, changes, said):
    path = model_folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DataError) as caught:
        DualEncoder.load(model_folder)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000], ids=lambda c: repr(c[:9])
)
def test_settings_that_are_no_json_object(model_folder, content):
    (model_folder / "model.json").write_bytes(content)
    with pytest.raises(DataError, match=r"model\.json (is not JSON|does not describe)"):
        DualEncoder.load(model_folder)


@pytest.mark.parametrize("fault", ["truncated", "empty", "text", "missing", "unknown", "shape"])
def test_damaged_model_weights(model_folder, fault):
    spoil(model_folder / "model.safetensors", fault)
    with pytest.raises(DataError, match=r"model\.safetensors (cannot be read|does not hold)"):
        DualEncoder.load(model_folder)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "text/extra.pkl", "notes"])
def test_a_model_folder_with_a_pickle_in_it(model_folder, tmp_path, name):
    torch.save({"a": Trap(tmp_path / "sprung")}, model_folder / name)
    with pytest.raises(DataError, match="is a pickle"):
        DualEncoder.load(model_folder)
    assert not (tmp_path / "sprung").exists()
