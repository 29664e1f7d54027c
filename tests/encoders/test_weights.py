"""Weights from the hub, by hand, shipped or damaged; pickles are never opened."""

import json
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import HubServer
from safetensors.torch import save_file
from small_models import (
    CAPTIONS,
    Trap,
    mini,
    photos,
    spoil,
)
from torch import nn

import mmret_lib.files.places
from mmret_lib.encoders import DualEncoder, ImageEncoder, TextEncoder, weights
from mmret_lib.encoders.weights import digest_of, module_digest, read_safetensors
from mmret_lib.files.errors import DataError, MissingFile


def publish_resnet18(hub: HubServer, model: nn.Module) -> Path:
    folder = hub.root / "timm" / "resnet18.tv_in1k"
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("truncated", "cut short"),
        ("empty", "cut short"),
        ("text", "cut short"),
        ("missing", 'Missing key(s) in state_dict: "bn1.bias"'),
        ("unknown", 'Unexpected key(s) in state_dict: "surprise"'),
        ("shape", "size mismatch for bn1.bias"),
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
    with pytest.raises(DataError, match=r"Missing key.*layer1"):
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


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
def test_the_lines_that_a_refused_pickle_shows_convert_it(tmp_path, wrapped):
    encoder = ImageEncoder(weights=None)
    state = {**encoder.backbone.state_dict(), "epoch": 3}
    state["conv1.weight"] = state["conv1.weight"].to(memory_format=torch.channels_last)
    path = tmp_path / "it's mine.pt"
    torch.save(state if wrapped is None else {wrapped: state, "optimizer": {}}, path)
    with pytest.raises(DataError) as caught:
        ImageEncoder(weights=path)
    _, _, lines = str(caught.value).partition("\n")
    assert lines.count("\n") <= 4
    exec(lines, {})
    read = ImageEncoder(weights=tmp_path / "it's mine.safetensors")
    for name, value in encoder.backbone.state_dict().items():
        assert torch.equal(read.backbone.state_dict()[name], value)


def test_the_lines_that_a_refused_pickle_shows_open_no_trap(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"conv1.weight": Trap(tmp_path / "sprung")}, path)
    with pytest.raises(DataError) as caught:
        ImageEncoder(weights=path)
    with pytest.raises(pickle.UnpicklingError):
        exec(str(caught.value).partition("\n")[2], {})
    assert not (tmp_path / "sprung").exists()


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


def test_a_digest_is_computed_again_only_when_a_weight_was_written_to(monkeypatch):
    computed = []

    def counting(state, start=b""):
        computed.append(len(state))
        return digest_of(state, start)

    monkeypatch.setattr(weights, "digest_of", counting)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    seen = set()

    def check(times):
        for start in (b"", b"other"):
            for _ in range(2):
                digest = module_digest(module, module.state_dict(), start)
                assert digest == digest_of(module.state_dict(), start)
        assert len(computed) == times and digest not in seen
        seen.add(digest)

    check(2)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    module(torch.randn(4, 3)).square().sum().backward()  # writes the BatchNorm's statistics, too
    optimizer.step()
    check(4)
    module.load_state_dict({name: value + 1 for name, value in module.state_dict().items()})
    check(6)
    module[0].weight = nn.Parameter(torch.zeros(2, 3))
    check(8)
    module.half()
    check(10)
    with torch.inference_mode():
        module[0].bias = nn.Parameter(torch.ones(2), requires_grad=False)
    check(14)  # writes to such a tensor are not counted
